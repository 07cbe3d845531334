//! The open flows that the rules in force would not let open again.
//!
//! Input: the core, and whose flows are concerned. Output: these flows are ended, with an account of it. The kernel asks the
//! rules about the first packet of a flow only, so the rules come first and the flows after them. There can be a quarter of a
//! million, and to end one takes a message: so they are ended in shifts, and what else there is to do goes in between.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::super::core::Core;
use super::{Enforcer, pause};
use crate::dataplane::conntrack::{self, Condemned};
use crate::telemetry::chain;
use crate::verdict::flow::{Concerned, Flow, Judge};

/// Flows of a batch that the log names, at its level for details.
const EXAMPLES: usize = 10;
/// How long flows are ended without a break.
const SHIFT: Duration = Duration::from_millis(100);
/// How long at least the loop does nothing but other work then, unless none can be ended at all.
const BREAK: Duration = Duration::from_millis(10);
/// Flows that are ended between two looks at the clock.
const HANDFUL: usize = 100;

/// How the last judgement of the open flows went, and what is left of it to be done.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Why forbidden flows may be open, if so: the judgement is to be repeated.
    pub(super) trouble: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// When to judge again after a failure.
    pub(super) retry_at: Option<Instant>,
    /// Whether all that were to be judged the last time were.
    is_judged: bool,
    /// Those that are to be ended.
    condemned: Condemned,
    /// How long the next break is.
    pause: Duration,
    /// When the next shift may begin; at once if nobody says.
    rested_at: Option<Instant>,
}

impl Flows {
    /// How many are still to be ended.
    pub(super) fn left(&self) -> usize {
        self.condemned.len()
    }

    /// What is not as it should be with them.
    pub(super) fn problem(&self) -> Option<String> {
        let of = |reason: &str| format!("flows that are open outlive a policy that forbids them: {reason}");
        let left = self.left();
        let are_left = (left > 0).then(|| of(&format!("{left} are still to be ended")));
        self.trouble.as_deref().map(of).or(are_left)
    }

    /// Notes what kept flows from being judged or ended.
    fn note_trouble(&mut self, error: &conntrack::Error) {
        let text = chain(error);
        if self.trouble.as_ref() != Some(&text) {
            error!(error = %text, "flows that policy forbids may stay open");
        }
        self.trouble = Some(text);
        if matches!(error, conntrack::Error::Elsewhere { .. }) {
            // To try again soon would find the same. They are judged with whatever flows are judged next.
            (self.failures, self.retry_at) = (0, None);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + pause(self.failures));
    }

    /// Notes what came of a judgement.
    pub(super) fn note_judgement(&mut self, outcome: Result<(), conntrack::Error>) {
        self.is_judged = outcome.is_ok();
        self.retry_at = None;
        // Not all is well yet where it is: those that were condemned are to be ended first.
        if let Err(error) = outcome {
            self.note_trouble(&error);
        }
    }

    /// Notes what came of ending some.
    fn note_end(&mut self, outcome: Result<(), conntrack::Error>) {
        // Where one of them could not be ended the others are not to wait for that.
        let goes_on = matches!(outcome, Ok(()) | Err(conntrack::Error::End { .. }));
        if let Err(error) = outcome {
            self.note_trouble(&error);
        }
        self.pause = if goes_on { BREAK } else { pause(self.failures) };
        if self.is_judged && self.left() == 0 {
            (self.trouble, self.failures, self.retry_at) = (None, 0, None);
        }
    }
}

impl Enforcer {
    /// An address that goes from one endpoint to another at once is never unknown in between, so its flows are ended before
    /// the rules make them the new one's, however many there are. Where that fails they are judged as the new one's. Nor may
    /// those that were condemned when an address became unknown outlive that.
    pub(super) fn end_flows_of_former_owners(&mut self, core: &mut Core) {
        let held = Concerned::Addresses(core.newly_held());
        if held.is_nobody() {
            return;
        }
        let handed_on = core.handed_on();
        if !handed_on.is_empty() && core.compiled().is_some() {
            let of_another =
                |judge: &Judge<'_>, address: IpAddr| handed_on.contains(&address) && judge.is_governed(address);
            let verdict =
                |flow: &Flow, judge: &Judge<'_>| of_another(judge, flow.source) || of_another(judge, flow.destination);
            let concerned = Concerned::Addresses(handed_on.clone());
            if let Err(error) = condemn(core, &mut self.flows.condemned, &concerned, verdict) {
                warn!(error = %chain(&error), "cannot list flows of containers that have ended before others get their addresses");
            }
        }
        self.end_first(|flow| held.includes(flow));
    }

    /// Condemns the open flows that the rules in force forbid, of those that are concerned, and begins to end them.
    pub(super) fn judge_flows(&mut self, core: &mut Core, concerned: &Concerned) {
        let is_begun = self.flows.condemned.has_untried();
        if !concerned.is_nobody() {
            let judged = condemn(core, &mut self.flows.condemned, concerned, |flow, judge| judge.forbids(flow));
            self.flows.note_judgement(judged);
        }
        // Whatever came of it: a later try judges all flows by the rules of then.
        core.flows_are_judged();
        if self.flows.left() > 0 {
            // A flow to `docker-proxy` has no address of the container in it. The port of the one before may have been the same,
            // and the time in which the proxy gives up whom it has accepted begins when nobody comes to it any more.
            let ports = core.settling_ports();
            let is_of_one = |flow: &Flow, port| ports.contains(&(flow.protocol, port));
            self.end_first(|flow| flow.ports.is_some_and(|(from, to)| is_of_one(flow, from) || is_of_one(flow, to)));
        }
        if !is_begun {
            self.end_condemned_flows();
        }
    }

    /// When to end more of the condemned flows; `None` if there are none.
    pub(in super::super) fn next_shift(&self) -> Option<Instant> {
        let is_due = self.flows.condemned.has_untried();
        is_due.then(|| self.flows.rested_at.unwrap_or_else(Instant::now))
    }

    /// Ends condemned flows for one shift, whatever else fails: rules that were in force forbade them.
    pub(in super::super) fn end_condemned_flows(&mut self) {
        let begun = Instant::now();
        let (mut ended, mut outcome) = (Vec::new(), Ok(()));
        while self.flows.condemned.has_untried() && outcome.is_ok() && begun.elapsed() < SHIFT {
            let these;
            (these, outcome) = self.flows.condemned.end(HANDFUL);
            ended.extend(these);
        }
        self.note_end(&ended, outcome, "ended flows that policy forbids");
        self.rest();
    }

    /// Lets a break begin.
    pub(in super::super) fn rest(&mut self) {
        self.flows.rested_at = Some(Instant::now() + self.flows.pause);
    }

    /// Ends those condemned flows for which this holds, however many they are.
    fn end_first(&mut self, is_one: impl FnMut(&Flow) -> bool) {
        let mut these = self.flows.condemned.take(is_one);
        let (ended, outcome) = these.end(usize::MAX);
        self.flows.condemned.put_back(these);
        self.note_end(&ended, outcome, "ended flows before others get their addresses or ports");
    }

    /// Notes which flows were ended, and what came in the way.
    fn note_end(&mut self, ended: &[Flow], outcome: Result<(), conntrack::Error>, message: &'static str) {
        if !ended.is_empty() {
            self.account.flows_cut += ended.len() as u64;
            info!(flows = ended.len(), "{message}");
            for flow in ended.iter().take(EXAMPLES) {
                debug!(%flow, "ended");
            }
        }
        self.flows.note_end(outcome);
    }
}

/// Condemns the open flows that a judge by the wanted ruleset does by `verdict`, of those that are concerned. Most often there is
/// none of these, and then nobody asks for this host's addresses, of which there are as many as networks.
fn condemn(
    core: &Core,
    condemned: &mut Condemned,
    concerned: &Concerned,
    verdict: impl Fn(&Flow, &Judge<'_>) -> bool,
) -> Result<(), conntrack::Error> {
    if !core.governs_anything() {
        return Ok(());
    }
    let (host, judge) = (OnceCell::new(), OnceCell::new());
    let judge = || {
        let made = judge.get_or_init(|| core.judge(host.get_or_init(conntrack::host_addresses).as_ref().ok()?));
        made.as_ref()
    };
    let listed = condemned.add(|flow| concerned.includes(flow) && judge().is_some_and(|judge| verdict(flow, judge)));
    match host.into_inner() {
        Some(Err(error)) => Err(error),
        _ => listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;

    fn flow() -> Flow {
        let [source, destination] = ["10.0.0.2", "10.0.0.3"].map(|address| address.parse().expect("an address"));
        Flow { source, destination, protocol: Protocol::UDP, ports: Some((40_000, 53)), icmp: None, picked_up: false }
    }

    fn in_the_way() -> conntrack::Error {
        conntrack::Error::End { flow: Box::new(flow()), source: std::io::ErrorKind::ResourceBusy.into() }
    }

    #[test]
    fn a_flow_that_cannot_be_ended_is_tried_ever_more_rarely_until_it_has_ended() {
        let mut flows = Flows::default();
        for failures in 1..=4 {
            // All flows are judged, and so is this one.
            flows.note_judgement(Ok(()));
            assert_eq!(flows.retry_at, None, "it is being tried");
            flows.condemned = Condemned::refused(flow());
            flows.note_end(Err(in_the_way()));
            let [sooner, later] = [failures - 1, failures].map(|failures| Instant::now() + pause(failures));
            assert!(flows.retry_at.is_some_and(|at| at > sooner && at <= later), "after {failures} failures");
            assert_eq!(flows.pause, BREAK, "others do not wait for it");
            // A shift with others.
            flows.note_end(Ok(()));
            assert!(flows.problem().is_some_and(|problem| problem.contains("cannot end the flow UDP 10.0.0.2:40000")));
            assert!(flows.retry_at.is_some());
        }
        flows.note_judgement(Ok(()));
        flows.condemned = Condemned::default();
        assert!(flows.problem().is_some(), "it has not ended yet");
        flows.note_end(Ok(()));
        assert_eq!((flows.problem(), flows.retry_at, flows.failures), (None, None, 0));
    }

    #[test]
    fn what_was_not_judged_stays_a_problem_while_others_are_ended() {
        let mut flows = Flows::default();
        flows.note_judgement(Err(conntrack::Error::NoInterface));
        flows.note_end(Ok(()));
        assert!(flows.problem().is_some() && flows.retry_at.is_some());
        flows.note_end(Err(conntrack::Error::NoInterface));
        assert_eq!(flows.pause, pause(2), "without the interface none can be ended");
    }
}
