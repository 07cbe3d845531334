//! When to read the kernel back after it has notified us of a change.
//!
//! Input: the moments of notifications and of read-backs. Output: when the next one is due. A tool that rewrites rules in
//! several steps leads to one read-back, and an engine that writes rules all day keeps us busy for a quarter of the time
//! at most, however many rules there are to be read.

use std::time::Duration;

use tokio::time::Instant;

/// How long further changes are waited for, so that one read-back finds them all.
const GATHER: Duration = Duration::from_millis(50);
/// Least time from the end of a read-back to the beginning of the next one for a notification.
const REST: Duration = Duration::from_millis(200);
/// The same as a multiple of what a read-back took that found nothing. Who does find something looks again soon: whoever
/// was at it may not be done.
const REST_FACTOR: u32 = 3;

/// How long further changes of links are waited for. To read links is to wait for the kernel's lock on them, which the
/// engine holds for most of a container's start: one look at the end of a burst, and the engine's own word before it.
const LINKS_GATHER: Duration = Duration::from_millis(5);

/// The pace of read-backs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
    rested: Option<Instant>,
    links_due: Option<Instant>,
}

impl Pace {
    /// When to read the kernel back, if it is to be.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// When to read links alone, if they are to be.
    pub(super) fn links_due(&self) -> Option<Instant> {
        self.links_due
    }

    /// A link has changed. Further changes do not put the look off.
    pub(super) fn links_noticed(&mut self, now: Instant) {
        self.links_due.get_or_insert(now + LINKS_GATHER);
    }

    /// Links are being read: what was noticed until now is settled.
    pub(super) fn links_read(&mut self) {
        self.links_due = None;
    }

    /// Something has changed. Further changes do not put the read-back off: it comes, even if they never stop.
    pub(super) fn noticed(&mut self, now: Instant) {
        let gathered = now + GATHER;
        self.due.get_or_insert(self.rested.map_or(gathered, |rested| rested.max(gathered)));
    }

    /// The kernel is being read back: what was noticed until now is settled by that.
    pub(super) fn begins(&mut self) {
        self.due = None;
    }

    /// The kernel was read back, and something was found or not.
    pub(super) fn read_back(&mut self, began: Instant, ended: Instant, found: bool) {
        let rest = if found { REST } else { REST.max((ended - began) * REST_FACTOR) };
        let rested = ended + rest;
        self.rested = Some(rested);
        self.due = self.due.map(|due| due.max(rested));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_burst_is_read_back_once_and_no_later_for_being_long() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(), None);
        for at in [0, 10, 40] {
            pace.noticed(start + ms(at));
        }
        assert_eq!(pace.due(), Some(start + GATHER));
    }

    #[test]
    fn a_burst_of_links_is_looked_at_once_and_no_later_for_being_long() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for at in [0, 10, 40] {
            pace.links_noticed(start + ms(at));
        }
        assert_eq!((pace.links_due(), pace.due()), (Some(start + LINKS_GATHER), None));
        pace.links_read();
        assert_eq!(pace.links_due(), None);
    }

    #[test]
    fn read_backs_keep_their_distance() {
        let start = Instant::now();
        for (name, took, found, noticed, due) in [
            ("right after a short one", 10, false, 20, 10 + 200),
            ("long after it", 10, false, 5000, 5050),
            ("right after a long one", 200, false, 210, 200 + 600),
            ("right after a long one that found something", 200, true, 210, 200 + 200),
        ] {
            let mut pace = Pace::default();
            pace.noticed(start);
            pace.begins();
            pace.read_back(start, start + ms(took), found);
            assert_eq!(pace.due(), None, "{name}");
            pace.noticed(start + ms(noticed));
            assert_eq!(pace.due(), Some(start + ms(due)), "{name}");
        }
    }
}
