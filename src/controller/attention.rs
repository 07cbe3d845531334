//! Since when dockgate has been listening without a gap.
//!
//! Input: a task of the runtime that runs again and again. Output: the end of the last time in which it did not. A process that
//! is halted or gets no processor hears nothing of what happens, and its clock goes on; a loop that is busy is not deaf, because
//! others listen for it.

#![expect(clippy::disallowed_methods, reason = "it is about the clock")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one run of the task to the next.
const INTERVAL: Duration = Duration::from_millis(50);
/// A longer time between two runs is a gap.
const GAP: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Listening {
    since: Instant,
    /// When the task last ran.
    seen: Instant,
}

impl Listening {
    fn at(now: Instant) -> Listening {
        Listening { since: now, seen: now }
    }

    fn see(&mut self, now: Instant) {
        self.since = self.since(now);
        self.seen = now;
    }

    /// After a gap whoever asks can come before the task.
    fn since(&self, now: Instant) -> Instant {
        if now.saturating_duration_since(self.seen) > GAP { now } else { self.since }
    }
}

/// Keeps account of it while somebody wants to know: a host on which nothing happens is not woken for it.
#[derive(Debug, Default)]
pub(super) struct Attention(Option<Arc<Mutex<Listening>>>);

impl Attention {
    /// Begins now, goes on or ends.
    pub(super) fn keep(&mut self, is_wanted: bool) {
        self.0 = is_wanted.then(|| self.0.take().unwrap_or_else(Attention::begin));
    }

    fn begin() -> Arc<Mutex<Listening>> {
        let listening = Arc::new(Mutex::new(Listening::at(Instant::now())));
        let of_task = Arc::downgrade(&listening);
        tokio::spawn(async move {
            while let Some(listening) = of_task.upgrade() {
                listening.lock().unwrap_or_else(PoisonError::into_inner).see(Instant::now());
                drop(listening);
                tokio::time::sleep(INTERVAL).await;
            }
        });
        listening
    }

    /// Since when there has been no gap.
    pub(super) fn since(&self, now: Instant) -> Instant {
        let since =
            |listening: &Arc<Mutex<Listening>>| listening.lock().unwrap_or_else(PoisonError::into_inner).since(now);
        self.0.as_ref().map_or(now, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_seen_by_whoever_comes_first_after_it() {
        let start = Instant::now();
        for is_seen_first in [true, false] {
            let mut listening = Listening::at(start);
            listening.see(start + INTERVAL);
            assert_eq!(listening.since(start + INTERVAL + GAP), start, "late, and no gap");
            let resumed = start + INTERVAL + GAP * 2;
            if is_seen_first {
                listening.see(resumed);
            }
            assert_eq!(listening.since(resumed), resumed);
            listening.see(resumed);
            listening.see(resumed + INTERVAL);
            assert_eq!(listening.since(resumed + INTERVAL), resumed);
        }
    }

    #[tokio::test]
    async fn the_task_runs_while_it_is_wanted() {
        let mut attention = Attention::default();
        attention.keep(true);
        let listening = Arc::downgrade(attention.0.as_ref().expect("it has begun"));
        let begun = attention.since(Instant::now());
        tokio::time::sleep(INTERVAL * 3).await;
        attention.keep(true);
        let of_task = listening.upgrade().expect("it goes on");
        assert!(of_task.lock().expect("nobody panics").seen > begun);
        drop(of_task);
        attention.keep(false);
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(listening.upgrade().is_none(), "the task has ended");
    }
}
