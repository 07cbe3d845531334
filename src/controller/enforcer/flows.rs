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
/// How long at least the loop does nothing but other work then.
const BREAK: Duration = Duration::from_millis(10);
/// Flows that are ended between two looks at the clock.
const HANDFUL: usize = 100;

/// How the last judgement of the open flows went, and what is left of it to be done.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Why forbidden flows may be open, if so: the judgement is to be repeated.
    pub(super) trouble: Option<String>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When to judge again after a failure.
    pub(super) retry_at: Option<Instant>,
    /// Those that are to be ended.
    condemned: Condemned,
    /// When the next shift may begin.
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
}

impl Enforcer {
    /// An address that goes from one endpoint to another at once is never unknown in between, so its flows are ended before
    /// the rules make them the new one's, however many there are. Where that fails they are judged as the new one's. Nor may
    /// those that were condemned when an address became unknown outlive that.
    pub(super) fn end_flows_of_former_owners(&mut self, core: &mut Core) {
        if self.flows.left() > 0 {
            let held = Concerned::Addresses(core.newly_held());
            if !held.is_nobody() {
                let mut condemned = self.flows.condemned.take(|flow| held.includes(flow));
                self.note_end(condemned.end(usize::MAX), "ended flows that policy forbids");
            }
        }
        let handed_on = core.handed_on();
        if handed_on.is_empty() || core.compiled().is_none() {
            return;
        }
        let concerned = Concerned::Addresses(handed_on.clone());
        let of_another =
            |judge: &Judge<'_>, address: IpAddr| handed_on.contains(&address) && judge.is_governed(address);
        let verdict =
            |flow: &Flow, judge: &Judge<'_>| of_another(judge, flow.source) || of_another(judge, flow.destination);
        let mut condemned = Condemned::default();
        if let Err(error) = condemn(core, &mut condemned, &concerned, verdict) {
            warn!(error = %chain(&error), "cannot list flows of containers that have ended before others get their addresses");
        }
        self.note_end(condemned.end(usize::MAX), "ended flows of containers that have ended");
    }

    /// Condemns the open flows that the rules in force forbid, of those that are concerned, and begins to end them.
    pub(super) fn judge_flows(&mut self, core: &mut Core, concerned: &Concerned) {
        let is_begun = self.flows.left() > 0;
        let listed = condemn(core, &mut self.flows.condemned, concerned, |flow, judge| judge.forbids(flow));
        // Whatever came of it: a later try judges all flows by the rules of then.
        core.flows_are_judged();
        self.note_judgement(listed);
        if !is_begun {
            self.end_condemned_flows();
        }
    }

    /// When to end more of the condemned flows; `None` if there are none.
    pub(in super::super) fn next_shift(&self) -> Option<Instant> {
        self.flows.rested_at.filter(|_| self.flows.left() > 0)
    }

    /// Ends condemned flows for one shift, whatever else fails: rules that were in force forbade them.
    pub(in super::super) fn end_condemned_flows(&mut self) {
        let begun = Instant::now();
        let (mut ended, mut outcome) = (Vec::new(), Ok(()));
        while self.flows.left() > 0 && outcome.is_ok() && begun.elapsed() < SHIFT {
            let these;
            (these, outcome) = self.flows.condemned.end(HANDFUL);
            ended.extend(these);
        }
        self.note_end((ended, outcome), "ended flows that policy forbids");
        self.rest();
    }

    /// Lets a break begin.
    pub(in super::super) fn rest(&mut self) {
        self.flows.rested_at = Some(Instant::now() + BREAK);
    }

    pub(super) fn note_judgement(&mut self, outcome: Result<(), conntrack::Error>) {
        let Err(error) = outcome else {
            (self.flows.trouble, self.flows.failures, self.flows.retry_at) = (None, 0, None);
            return;
        };
        let text = chain(&error);
        if self.flows.trouble.as_ref() != Some(&text) {
            error!(error = %text, "flows that policy forbids may stay open");
        }
        self.flows.trouble = Some(text);
        if matches!(error, conntrack::Error::Elsewhere { .. }) {
            // To try again soon would find the same. They are judged with whatever flows are judged next.
            (self.flows.failures, self.flows.retry_at) = (0, None);
            return;
        }
        self.flows.failures = self.flows.failures.saturating_add(1);
        self.flows.retry_at = Some(Instant::now() + pause(self.flows.failures));
    }

    /// Notes which flows were ended, and what came in the way.
    fn note_end(&mut self, (ended, outcome): (Vec<Flow>, Result<(), conntrack::Error>), message: &'static str) {
        if !ended.is_empty() {
            self.account.flows_cut += ended.len() as u64;
            info!(flows = ended.len(), "{message}");
            for flow in ended.iter().take(EXAMPLES) {
                debug!(%flow, "ended");
            }
        }
        if let Err(error) = outcome {
            self.note_judgement(Err(error));
        }
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
