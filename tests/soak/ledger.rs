//! What was done, when, and what packets say of it.
//!
//! Input: events as they happen, the packets that were delivered, the outages of allowed ways. Output: a [`Report`]: which
//! of them the events excuse, and which are failures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pair::Outage;
use crate::support::Delivery;

/// The longest time between packets that are told together.
const TOGETHER: Duration = Duration::from_millis(300);

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A container of a probed way restarts. What is recorded is its name.
    Restart,
    /// Another container comes, changes or goes.
    Container,
    /// A network comes or goes.
    Network,
    /// A policy file changes.
    Policy,
    /// Somebody else changes rules of ours.
    Hand,
    /// Somebody else changes the packet filter where nothing of ours is: that excuses nothing.
    OtherHand,
    /// dockgate is killed, stopped or halted, and runs again.
    Dockgate,
    /// dockerd is killed or stopped, and runs again.
    Dockerd,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    kind: Kind,
    what: String,
    from: Instant,
    until: Instant,
    /// How long after it its consequences may show.
    grace: Duration,
}

/// All events so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    began: Instant,
    events: Mutex<Vec<Event>>,
}

impl Ledger {
    /// An empty one, whose time begins now.
    pub(crate) fn new() -> Ledger {
        Ledger { began: Instant::now(), events: Mutex::default() }
    }

    /// Does something, and notes when it began and ended.
    pub(crate) fn record<T>(&self, kind: Kind, what: impl Into<String>, work: impl FnOnce() -> T) -> T {
        self.record_with(kind, what, Duration::ZERO, work)
    }

    /// As [`Ledger::record`], for an event whose consequences may show for some time after it.
    pub(crate) fn record_with<T>(
        &self,
        kind: Kind,
        what: impl Into<String>,
        grace: Duration,
        work: impl FnOnce() -> T,
    ) -> T {
        let from = Instant::now();
        let done = work();
        let event = Event { kind, what: what.into(), from, until: Instant::now(), grace };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        done
    }

    /// What they come to. `delivered` are forbidden packets only.
    pub(crate) fn report(&self, delivered: &[(Instant, Delivery)], outages: &[Outage], counts: Counts) -> Report {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (leaks, windows) = (Vec::new(), Vec::new());
        let mut report = Report { began: self.began, events, counts, windows, leaks, outages: Vec::new() };
        let mut open: BTreeMap<usize, Vec<&(Instant, Delivery)>> = BTreeMap::new();
        for packet in delivered {
            // The last of several, which opened it anew.
            let hands = report.events.iter().enumerate().filter(|(_, event)| event.kind == Kind::Hand);
            let hand = hands.filter(|(_, event)| event.covers(packet.0)).max_by_key(|(_, event)| event.from);
            let hand = hand.map(|(index, _)| index);
            match hand {
                Some(index) => open.entry(index).or_default().push(packet),
                None => report.leaks.push(packet.clone()),
            }
        }
        report.windows = open
            .into_iter()
            .map(|(event, packets)| Window {
                event: report.events[event].clone(),
                packets: packets.len(),
                // Single ones that come later have passed meanwhile, and waited for an answer about the address of a container
                // that is away.
                until: packets
                    .chunk_by(|one, next| next.0 - one.0 < TOGETHER)
                    .next()
                    .map_or(self.began, |first| first[first.len() - 1].0),
            })
            .collect();
        for outage in outages {
            let excuse = report.events.iter().find(|event| event.excuses(outage));
            let entry = (outage.clone(), excuse.cloned());
            report.outages.push(entry);
        }
        report
    }
}

impl Event {
    fn covers(&self, moment: Instant) -> bool {
        self.from <= moment && moment <= self.until + self.grace
    }

    /// Whether it is a reason for an allowed way to be shut: another's change of the rules, or, for a published port, an
    /// engine that is away and then arranges its rules. (Restarts of its own containers are not part of a way's time.)
    fn excuses(&self, outage: &Outage) -> bool {
        let is_reason = match self.kind {
            Kind::Hand => true,
            Kind::Dockerd => outage.way.contains("published"),
            _ => false,
        };
        is_reason && outage.from >= self.from && outage.until <= self.until + self.grace
    }
}

/// How much was probed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Forbidden packets that were sent.
    pub(crate) forbidden: u64,
    /// Allowed datagrams that came through.
    pub(crate) passed: usize,
    /// Allowed datagrams that did not.
    pub(crate) lost: usize,
    /// The longest time from the end of a container's restart until all of its ways were open.
    pub(crate) settled: Duration,
}

/// A time in which forbidden packets came through because somebody else had taken away what holds them.
#[derive(Clone, Debug)]
struct Window {
    event: Event,
    packets: usize,
    until: Instant,
}

/// What a soak came to.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    events: Vec<Event>,
    counts: Counts,
    windows: Vec<Window>,
    leaks: Vec<(Instant, Delivery)>,
    outages: Vec<(Outage, Option<Event>)>,
}

impl Report {
    /// What must not be.
    pub(crate) fn failures(&self) -> Vec<String> {
        // Those of one kind that follow each other are one failure.
        let mut leaks: BTreeMap<u16, Vec<&(Instant, Delivery)>> = BTreeMap::new();
        for leak in &self.leaks {
            leaks.entry(leak.1.mark).or_default().push(leak);
        }
        let follow = |one: &&(Instant, Delivery), next: &&(Instant, Delivery)| next.0 - one.0 < TOGETHER;
        let leaks = leaks.values().flat_map(|leaks| leaks.chunk_by(follow)).map(|leaks| {
            let (first, last) = (leaks[0], leaks[leaks.len() - 1]);
            format!(
                "{:8.3} to {:.3} s  forbidden, and delivered: {} packets, the first {}{}",
                self.seconds(first.0),
                self.seconds(last.0),
                leaks.len(),
                first.1,
                self.around(first.0)
            )
        });
        let outages = self.outages.iter().filter(|(_, excuse)| excuse.is_none()).map(|(outage, _)| {
            let (from, length) = (self.seconds(outage.from), outage.length().as_millis());
            format!(
                "{from:8.3} s  allowed, and shut for {length} ms: {} to {}{}",
                outage.way,
                outage.to,
                self.around(outage.from)
            )
        });
        let mut failures: Vec<String> = leaks.take(20).chain(outages.take(20)).collect();
        if self.counts.forbidden == 0 || self.counts.passed == 0 {
            failures.push("nothing was probed".to_owned());
        }
        failures
    }

    /// The events of the two seconds before a moment.
    fn around(&self, moment: Instant) -> String {
        let is_near =
            |event: &&Event| event.from <= moment && event.until + event.grace + Duration::from_secs(2) >= moment;
        let mut near: Vec<&Event> = self.events.iter().filter(is_near).collect();
        near.sort_by_key(|event| event.from);
        let lines = near.into_iter().map(|event| {
            let (from, until) = (self.seconds(event.from), self.seconds(event.until));
            format!("\n            {from:8.3} to {until:8.3} s  {:?}: {}", event.kind, event.what)
        });
        lines.collect()
    }

    fn seconds(&self, moment: Instant) -> f64 {
        moment.saturating_duration_since(self.began).as_secs_f64()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_kind: BTreeMap<Kind, usize> = BTreeMap::new();
        for event in &self.events {
            *by_kind.entry(event.kind).or_default() += 1;
        }
        let of = |kind| by_kind.get(&kind).copied().unwrap_or(0);
        for (what, kind) in [
            ("restarts of probed containers", Kind::Restart),
            ("changes of other containers", Kind::Container),
            ("changes of networks", Kind::Network),
            ("changes of policies", Kind::Policy),
            ("changes of our rules by other hands", Kind::Hand),
            ("changes of other rules by other hands", Kind::OtherHand),
            ("accidents of dockgate", Kind::Dockgate),
            ("accidents of dockerd", Kind::Dockerd),
        ] {
            writeln!(f, "{:>8}  {what}", of(kind))?;
        }
        let Counts { forbidden, passed, lost, settled } = self.counts;
        let excused: usize = self.windows.iter().map(|window| window.packets).sum();
        writeln!(f, "{forbidden:>8}  forbidden packets were sent")?;
        writeln!(f, "{excused:>8}  of them were delivered soon after another's change of our rules")?;
        writeln!(f, "{:>8}  of them were delivered at another time", self.leaks.len())?;
        writeln!(f, "{passed:>8}  allowed datagrams came through, {lost} did not")?;
        writeln!(f, "{:>8}  ms at most until a restarted container had all of its ways again", settled.as_millis())?;
        let long = |window: &&Window| window.until.duration_since(window.event.from) > Duration::from_secs(1);
        let number = self.windows.iter().filter(long).count();
        writeln!(f, "{number:>8}  of {} windows after another's change were longer than a second", self.windows.len())?;
        if !self.windows.is_empty() {
            writeln!(f, "open after another's change of our rules, and for how long it would have been excused:")?;
        }
        for window in &self.windows {
            let event = &window.event;
            let [open, excused] =
                [window.until, event.until + event.grace].map(|until| until.duration_since(event.from).as_millis());
            writeln!(f, "{:8.1} s  {open:>5} of {excused} ms  {}", self.seconds(event.from), event.what)?;
        }
        if !self.outages.is_empty() {
            writeln!(f, "allowed ways that were shut for five datagrams or more:")?;
        }
        for (outage, excuse) in &self.outages {
            let reason = excuse.as_ref().map_or("NO REASON", |event| event.what.as_str());
            let (from, length) = (self.seconds(outage.from), outage.length().as_millis());
            writeln!(f, "{from:8.1} s  {length:>5} ms  {} to {}: {reason}", outage.way, outage.to)?;
        }
        Ok(())
    }
}
