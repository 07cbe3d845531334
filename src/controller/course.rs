//! What the loop keeps from one turn to the next, and what a turn is to do.
//!
//! Input: what the clock, the kernel and a listing beside the loop say. Output: which listing is due, and what is to be done
//! with one. Most that the clock asks for leave out what the kernel notifies us of.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::dataplane::{Found, ReadBack, Scope};
use crate::telemetry;

use super::attention::Attention;
use super::beside::{Beside, Listed, Occasion};
use super::core::Need;
use super::enforcer::Cause;
use super::pace::Pace;

/// How many read-backs by the clock leave out what the kernel notifies us of, before one that does not.
const SPARING: u32 = 5;
/// How many of the latter are given up because they do not end, before everything is read in the loop.
const GIVEN_UP: u32 = 5;

/// How far a reload that the service manager waits for has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    None,
    Asked,
    Read,
}

/// What the loop attends to, in the order in which it does so.
///
/// What others have taken out is put back before anything else: what is forbidden passes as long. Then come containers: an
/// address is worth more than an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matter {
    /// A read-back beside the loop has been made.
    Listed,
    /// A read-back is due for what the kernel has said.
    ReadBack,
    /// What the kernel says.
    Notices,
    /// What the engine says.
    Changes,
    /// The policy directory.
    Files,
    /// Something is to be tried again.
    Retry,
    /// Published ports or networks may open.
    Settled,
    /// Links are to be looked at.
    Links,
    /// A read-back is due by the clock.
    Resync,
    /// Condemned flows are to be ended.
    Flows,
    /// The service manager is to hear that we are alive.
    Alive,
}

/// Who has had a turn, until nobody else waits for one. A turn can take seconds, and there may be more of the same by then: so
/// what comes first in order is not all that comes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round(Vec<Matter>);

impl Round {
    /// Whether it may have a turn.
    pub(super) fn admits(&self, matter: Matter) -> bool {
        !self.0.contains(&matter)
    }

    /// It has a turn.
    pub(super) fn takes(&mut self, matter: Matter) {
        self.0.push(matter);
    }

    /// Whether anybody has had a turn.
    pub(super) fn is_begun(&self) -> bool {
        !self.0.is_empty()
    }
}

/// What a turn of the loop is to do.
pub(super) struct Turn {
    pub(super) need: Need,
    pub(super) cause: Cause,
    /// Whether it is a look at the kernel that changes nothing else of the status.
    pub(super) is_look: bool,
    /// What a read-back beside the loop found, and when it began.
    pub(super) found: Option<(Instant, Found)>,
    /// Whether it ends condemned flows and does nothing else.
    pub(super) ends_flows: bool,
}

impl Turn {
    /// What an event asks for.
    pub(super) fn of(need: Need) -> Turn {
        Turn { need, cause: Cause::Event, is_look: false, found: None, ends_flows: false }
    }

    /// What the clock or the kernel asks for.
    pub(super) fn read_back(need: Need) -> Turn {
        Turn { cause: Cause::ReadBack, ..Turn::of(need) }
    }
}

/// What the loop keeps from one turn to the next.
pub(super) struct Course {
    pub(super) pace: Pace,
    pub(super) beside: Beside,
    pub(super) resync: Interval,
    /// Read-backs by the clock since the last one of everything.
    sparing: u32,
    /// Those of everything that were given up since one was not.
    given_up: u32,
    /// Whether the read-back that is due is for what the engine does, and not for what others do.
    pub(super) engine_writes: bool,
    pub(super) alive: Interval,
    /// Whether the service manager wants to hear that we are alive.
    pub(super) is_watched: bool,
    pub(super) reload: Reload,
    pub(super) round: Round,
    pub(super) attention: Attention,
}

impl Course {
    pub(super) fn new(resync_interval: Duration) -> Course {
        // Whoever begins has everything read before its first change.
        let mut resync = tokio::time::interval_at(Instant::now() + resync_interval, resync_interval);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watchdog = telemetry::watchdog_interval();
        Course {
            pace: Pace::default(),
            beside: Beside::default(),
            resync,
            sparing: 0,
            given_up: 0,
            engine_writes: false,
            alive: tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600))),
            is_watched: watchdog.is_some(),
            reload: Reload::None,
            round: Round::default(),
            attention: Attention::default(),
        }
    }

    /// What a read-back is to be of.
    pub(super) fn scope(&self, occasion: Occasion) -> Scope {
        let is_sparing = occasion == Occasion::Clock && self.sparing < SPARING;
        if is_sparing { Scope::Unnotified } else { Scope::Everything }
    }

    /// A listing beside the loop begins.
    pub(super) fn begins(&mut self, occasion: Occasion, scope: Scope, listing: ReadBack) {
        match scope {
            Scope::Everything => self.everything_is_read(),
            Scope::Unnotified => self.sparing += 1,
        }
        self.beside.begin(occasion, listing);
    }

    /// Everything is being read: what was noticed until now is settled by that.
    pub(super) fn everything_is_read(&mut self) {
        self.pace.begins();
        self.sparing = 0;
        self.engine_writes = false;
    }

    /// What is to be done with a listing that was made beside the loop, or was not.
    pub(super) fn listed(&mut self, occasion: Occasion, began: Instant, listed: Listed) -> Turn {
        let turn = Turn { cause: occasion.cause(), ..Turn::of(Need::Nothing) };
        match listed {
            Listed::Found(found) => {
                self.given_up = 0;
                Turn { found: Some((began, *found)), ..turn }
            }
            // Nobody has said that anything is amiss, and containers that keep it from ending would wait. Not for ever.
            Listed::Endless if occasion == Occasion::Clock && self.given_up < GIVEN_UP => {
                self.given_up += 1;
                self.sparing = SPARING;
                Turn { is_look: true, ..turn }
            }
            Listed::Failed | Listed::Endless => {
                self.given_up = 0;
                Turn { need: Need::Observe, ..turn }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listing_that_never_ends_is_made_in_the_loop_at_last() {
        let mut course = Course::new(Duration::from_secs(3600));
        let now = Instant::now();
        let mut need = |occasion, listed| course.listed(occasion, now, listed).need;
        assert_eq!(need(Occasion::Notice, Listed::Endless), Need::Observe, "something is amiss");
        assert_eq!(need(Occasion::Clock, Listed::Failed), Need::Observe, "nothing is known");
        for round in 0..2 {
            for time in 0..GIVEN_UP {
                assert_eq!(need(Occasion::Clock, Listed::Endless), Need::Nothing, "{round}, {time}");
            }
            assert_eq!(need(Occasion::Clock, Listed::Endless), Need::Observe, "{round}: it has been long enough");
        }
        assert_eq!(need(Occasion::Clock, Listed::Endless), Need::Nothing);
        assert_eq!(course.sparing, SPARING, "the next one is of everything again");
        course.pace.noticed(now);
        course.everything_is_read();
        assert_eq!((course.sparing, course.pace.due()), (0, None));
    }
}
