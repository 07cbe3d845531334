//! The open flows that the rules in force would not let open again.
//!
//! Input: the core, and whose flows are concerned. Output: these flows are ended, with an account of it. The kernel asks the
//! rules about the first packet of a flow only, so the rules come first and the flows after them.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

use std::cell::OnceCell;
use std::net::IpAddr;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::super::core::Core;
use super::{Enforcer, pause};
use crate::dataplane::conntrack;
use crate::telemetry::chain;
use crate::verdict::flow::{Concerned, Flow, Judge};

/// Flows of a batch that the log names, at its level for details.
const EXAMPLES: usize = 10;

/// How the last judgement of the open flows went.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Why forbidden flows may be open, if so: the judgement is to be repeated.
    pub(super) trouble: Option<String>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When to judge again after a failure.
    pub(super) retry_at: Option<Instant>,
}

impl Enforcer {
    /// An address that goes from one endpoint to another at once is never unknown in between, so its flows are ended before
    /// the rules make them the new one's. Where that fails they are judged as the new one's.
    pub(super) fn end_flows_of_former_owners(&mut self, core: &mut Core) {
        let handed_on = core.handed_on();
        if handed_on.is_empty() || core.compiled().is_none() {
            return;
        }
        let of_another =
            |judge: &Judge<'_>, address: IpAddr| handed_on.contains(&address) && judge.is_governed(address);
        let concerned = Concerned::Addresses(handed_on.clone());
        let condemned =
            |flow: &Flow, judge: &Judge<'_>| of_another(judge, flow.source) || of_another(judge, flow.destination);
        let ended = end_flows(core, &concerned, condemned);
        self.note_ended(&ended.0, "ended flows of containers that have ended");
        if let Err(error) = ended.1 {
            warn!(error = %chain(&error), "cannot end flows of containers that have ended before others get their addresses");
        }
    }

    /// Ends the open flows that the rules in force forbid, of those that are concerned.
    pub(super) fn judge_flows(&mut self, core: &mut Core, concerned: &Concerned) {
        let (ended, outcome) = end_flows(core, concerned, |flow, judge| judge.forbids(flow));
        self.note_ended(&ended, "ended flows that policy forbids");
        // Whatever came of it: a later try judges all flows by the rules of then.
        core.flows_are_judged();
        self.note_judgement(outcome);
    }

    pub(super) fn note_judgement(&mut self, outcome: Result<(), conntrack::Error>) {
        let Err(error) = outcome else {
            self.flows = Flows::default();
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

    fn note_ended(&mut self, ended: &[Flow], message: &'static str) {
        if ended.is_empty() {
            return;
        }
        self.account.flows_cut += ended.len() as u64;
        info!(flows = ended.len(), "{message}");
        for flow in ended.iter().take(EXAMPLES) {
            debug!(%flow, "ended");
        }
    }
}

/// Ends the flows that the judge of the wanted ruleset condemns by `verdict`, of those that are concerned. Most often there is
/// none of those, and then nobody asks for this host's addresses, of which there are as many as networks.
fn end_flows(
    core: &Core,
    concerned: &Concerned,
    verdict: impl Fn(&Flow, &Judge<'_>) -> bool,
) -> (Vec<Flow>, Result<(), conntrack::Error>) {
    if !core.governs_anything() {
        return (Vec::new(), Ok(()));
    }
    let (host, judge) = (OnceCell::new(), OnceCell::new());
    let judge = || {
        let made = judge.get_or_init(|| core.judge(host.get_or_init(conntrack::host_addresses).as_ref().ok()?));
        made.as_ref()
    };
    let is_condemned = |flow: &Flow| concerned.includes(flow) && judge().is_some_and(|judge| verdict(flow, judge));
    let (ended, outcome) = conntrack::end(is_condemned);
    match host.into_inner() {
        Some(Err(error)) => (ended, Err(error)),
        _ => (ended, outcome),
    }
}
