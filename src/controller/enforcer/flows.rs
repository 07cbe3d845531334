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

use super::super::core::{Core, NewlyHeld, PublishedPorts};
use super::{Enforcer, pause};
use crate::dataplane::conntrack::{self, Condemned};
use crate::net::Protocol;
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

/// Something about flows that failed, and when it is tried again.
#[derive(Debug, Default)]
struct Trouble {
    reason: Option<String>,
    /// Tries that have failed in a row.
    failures: u32,
    retry_at: Option<Instant>,
}

impl Trouble {
    fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }

    /// Notes a failure. Whatever else fails until the next try belongs to this one.
    fn note(&mut self, error: &conntrack::Error) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.say(error);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pause(self.failures));
    }

    /// Notes a failure that is not to be tried again by the clock.
    fn note_for_good(&mut self, error: &conntrack::Error) {
        self.say(error);
        (self.failures, self.retry_at) = (0, None);
    }

    fn say(&mut self, error: &conntrack::Error) {
        let text = chain(error);
        if self.reason.as_ref() != Some(&text) {
            error!(error = %text, "flows that policy forbids may stay open");
        }
        self.reason = Some(text);
    }
}

/// How the last judgement of the open flows went, and what is left of it to be done.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// What came in the way of a judgement, which is to be repeated of all flows.
    unjudged: Trouble,
    /// Those that are to be ended.
    condemned: Condemned,
    /// What came in the way of ending some of them.
    unended: Trouble,
    /// When the next shift may begin; at once if nobody says.
    rested_at: Option<Instant>,
}

impl Flows {
    /// What is not as it should be with them.
    pub(super) fn problems(&self) -> Vec<String> {
        let unended = match self.condemned.len() {
            0 => None,
            _ if self.condemned.has_refused() => self.unended.reason.clone(),
            left => Some(format!("{left} are still to be ended")),
        };
        let reasons = self.unjudged.reason.iter().chain(&unended);
        reasons.map(|reason| format!("flows that are open outlive a policy that forbids them: {reason}")).collect()
    }

    /// Whether there may be flows that policy forbids and that nobody has condemned.
    pub(super) fn are_unjudged(&self) -> bool {
        self.unjudged.reason.is_some()
    }

    /// When to judge all flows again after a failure.
    pub(super) fn judge_again_at(&self) -> Option<Instant> {
        self.unjudged.retry_at
    }

    /// Notes what came of a judgement.
    pub(super) fn note_judgement(&mut self, outcome: Result<(), conntrack::Error>) {
        match outcome {
            Ok(()) => self.unjudged = Trouble::default(),
            // To try again soon would find the same. They are judged with whatever flows are judged next.
            Err(error @ conntrack::Error::Elsewhere { .. }) => self.unjudged.note_for_good(&error),
            Err(error) => self.unjudged.note(&error),
        }
    }

    /// Notes what came of ending some.
    fn note_end(&mut self, outcome: Result<(), conntrack::Error>) {
        if let Err(error) = outcome {
            self.unended.note(&error);
        }
        if self.condemned.is_empty() {
            self.unended = Trouble::default();
        }
    }

    /// Those of these ports to which a flow leads that policy forbids, or from which one comes.
    fn ports_of_condemned(&self, ports: &PublishedPorts) -> PublishedPorts {
        // There may be very many.
        if ports.is_empty() {
            return PublishedPorts::new();
        }
        self.condemned.flows().flat_map(own_ports).filter(|port| ports.contains(port)).collect()
    }

    /// Those of these ports to which a flow may lead that policy forbids.
    pub(super) fn doubtful(&self, ports: PublishedPorts) -> PublishedPorts {
        // Of those elsewhere nobody knows whose they are, so that no port waits for them.
        if self.unjudged.retry_at.is_some() { ports } else { self.ports_of_condemned(&ports) }
    }

    /// When to end more of the condemned ones; `None` if there are none.
    fn next_shift(&self) -> Option<Instant> {
        let more = self.condemned.has_untried().then(|| self.rested_at.unwrap_or_else(Instant::now));
        let again = self.unended.retry_at.filter(|_| self.condemned.has_refused());
        more.into_iter().chain(again).min()
    }
}

impl Enforcer {
    /// An address that goes from one endpoint to another at once is never unknown in between, so its flows are ended before
    /// the rules make them the new one's, however many there are. Where that fails they are judged as the new one's. Nor may
    /// those that were condemned when an address became unknown outlive that.
    pub(super) fn end_flows_of_former_owners(&mut self, core: &mut Core) {
        let NewlyHeld { addresses, handed_on } = core.newly_held();
        if addresses.is_empty() {
            return;
        }
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
        let held = Concerned::Addresses(addresses);
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
        if !self.flows.condemned.is_empty() {
            // A flow to `docker-proxy` has no address of the container in it. The port of the one before may have been the same,
            // and the time in which the proxy gives up whom it has accepted begins when nobody comes to it any more.
            let ports = self.flows.ports_of_condemned(&core.settling_ports());
            if !ports.is_empty() {
                self.end_first(|flow| own_ports(flow).any(|port| ports.contains(&port)));
                core.unsettle(&ports);
            }
        }
        if !is_begun {
            self.end_condemned_flows();
        }
    }

    /// Those of these published ports that are not to open to this host yet, because a flow may lead there that policy forbids.
    pub(in super::super) fn doubtful(&self, ports: PublishedPorts) -> PublishedPorts {
        self.flows.doubtful(ports)
    }

    /// When to end more of the condemned flows; `None` if there are none.
    pub(in super::super) fn next_shift(&self) -> Option<Instant> {
        self.flows.next_shift()
    }

    /// Ends condemned flows for one shift, whatever else fails: rules that were in force forbade them.
    pub(in super::super) fn end_condemned_flows(&mut self) {
        let begun = Instant::now();
        let flows = &mut self.flows;
        if flows.unended.is_due(begun) {
            flows.condemned.retry();
        }
        let (mut ended, mut outcome) = (Vec::new(), Ok(()));
        // Where one of them cannot be ended the others do not wait for that.
        while flows.condemned.has_untried() && begun.elapsed() < SHIFT {
            let (these, of_these) = flows.condemned.end(HANDFUL);
            ended.extend(these);
            outcome = outcome.and(of_these);
        }
        self.note_end(&ended, outcome, "ended flows that policy forbids");
        self.rest();
    }

    /// Lets a break begin.
    pub(in super::super) fn rest(&mut self) {
        self.flows.rested_at = Some(Instant::now() + BREAK);
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

/// The ports that a flow is from and to.
fn own_ports(flow: &Flow) -> impl Iterator<Item = (Protocol, u16)> + use<> {
    let (protocol, ports) = (flow.protocol, flow.ports);
    ports.into_iter().flat_map(|(from, to)| [from, to]).map(move |port| (protocol, port))
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
    use crate::compile::Options;
    use crate::policy::Store;

    fn flow() -> Flow {
        let [source, destination] = ["10.0.0.2", "10.0.0.3"].map(|address| address.parse().expect("an address"));
        Flow { source, destination, protocol: Protocol::UDP, ports: Some((40_000, 53)), icmp: None, picked_up: false }
    }

    fn in_the_way() -> conntrack::Error {
        conntrack::Error::End { flow: Box::new(flow()), source: std::io::ErrorKind::ResourceBusy.into() }
    }

    fn elsewhere() -> conntrack::Error {
        conntrack::Error::Elsewhere { flows: 1, first: Box::new(flow()) }
    }

    /// What its time has come for.
    fn let_it_be_due(trouble: &mut Trouble) {
        trouble.retry_at = trouble.retry_at.map(|_| Instant::now());
    }

    #[test]
    fn a_flow_that_cannot_be_ended_is_tried_ever_more_rarely_until_it_has_ended() {
        let mut flows = Flows { condemned: Condemned::refused(flow()), ..Flows::default() };
        for failures in 1..=4 {
            let_it_be_due(&mut flows.unended);
            flows.note_end(Err(in_the_way()));
            let [sooner, later] = [failures - 1, failures].map(|failures| Instant::now() + pause(failures));
            let at = flows.next_shift();
            assert!(at.is_some_and(|at| at > sooner && at <= later), "after {failures} failures");
            // Others, of a shift of the same try; and whatever comes of judgements meanwhile.
            flows.note_end(Err(in_the_way()));
            flows.note_end(Ok(()));
            flows.note_judgement(Err(elsewhere()));
            flows.note_judgement(Ok(()));
            assert_eq!(flows.next_shift(), at);
            let [problem] = flows.problems().try_into().expect("one problem");
            assert!(problem.contains("cannot end the flow UDP 10.0.0.2:40000"), "{problem}");
        }
        flows.condemned.retry();
        assert!(flows.next_shift().is_some_and(|at| at <= Instant::now()), "it is due");
        assert!(flows.problems().iter().any(|problem| problem.contains("1 are still to be ended")));
        flows.condemned = Condemned::default();
        flows.note_end(Ok(()));
        assert_eq!((flows.problems(), flows.next_shift(), flows.unended.failures), (Vec::new(), None, 0));
    }

    #[test]
    fn what_cannot_be_ended_is_tried_again_where_nothing_is_governed_any_more() {
        let mut enforcer = Enforcer::default();
        enforcer.flows.condemned = Condemned::refused(flow());
        enforcer.flows.note_end(Err(in_the_way()));
        let at = enforcer.next_shift();
        let mut core = Core::new(Options::default(), Store::default());
        enforcer.judge_flows(&mut core, &Concerned::Everybody);
        assert!(at.is_some() && enforcer.next_shift() == at, "a judgement of nothing does not put it off");
    }

    #[test]
    fn what_was_not_judged_stays_a_problem_while_others_are_ended() {
        let mut flows = Flows::default();
        for failures in 1..=4 {
            let_it_be_due(&mut flows.unjudged);
            flows.note_judgement(Err(conntrack::Error::NoInterface));
            let at = flows.judge_again_at();
            assert!(at.is_some_and(|at| at > Instant::now() + pause(failures - 1)), "after {failures} failures");
            // By an event, before its time.
            flows.note_judgement(Err(conntrack::Error::NoInterface));
            assert_eq!(flows.judge_again_at(), at, "what is not tried by the clock puts nothing off");
            flows.note_end(Ok(()));
            assert!(flows.are_unjudged() && flows.problems().len() == 1);
        }
        flows.note_judgement(Err(elsewhere()));
        assert_eq!((flows.problems().len(), flows.judge_again_at()), (1, None), "the clock would find the same");
        flows.note_judgement(Ok(()));
        assert!(!flows.are_unjudged() && flows.problems().is_empty());
    }

    #[test]
    fn a_published_port_waits_for_flows_that_may_lead_there() {
        let ports = |ports: &[(Protocol, u16)]| ports.iter().copied().collect::<PublishedPorts>();
        let all = ports(&[(Protocol::UDP, 53), (Protocol::TCP, 53), (Protocol::UDP, 54)]);
        let mut flows = Flows::default();
        assert_eq!(flows.doubtful(all.clone()), ports(&[]));
        flows.note_judgement(Err(conntrack::Error::NoInterface));
        assert_eq!(flows.doubtful(all.clone()), all, "nobody knows where flows lead");
        flows.note_judgement(Err(elsewhere()));
        assert_eq!(flows.doubtful(all.clone()), ports(&[]), "one in another zone keeps no port shut");
        flows.condemned = Condemned::refused(flow());
        assert_eq!(flows.doubtful(all), ports(&[(Protocol::UDP, 53)]));
    }
}
