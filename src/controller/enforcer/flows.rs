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

use super::super::core::{Core, Doubt, LocalPorts, NewlyHeld};
use super::{Enforcer, pause};
use crate::dataplane::conntrack::{self, Condemned};
use crate::telemetry::chain;
use crate::verdict::flow::{Concerned, Flow, Judge, LocalPort};

/// Flows of a batch that the log names, at its level for details.
const EXAMPLES: usize = 10;
/// How long flows are ended without a break.
const SHIFT: Duration = Duration::from_millis(100);
/// How long at least the loop does nothing but other work then.
const BREAK: Duration = Duration::from_millis(10);
/// Flows that are ended between two looks at the clock.
const HANDFUL: usize = 100;

/// How long until flows in other conntrack zones are looked at again.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(60);
/// Containers that a problem names.
const NAMED: usize = 10;

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

    /// Notes a failure, and when to try again after so many. Whatever else fails until then belongs to the same try.
    fn note(&mut self, error: &conntrack::Error, now: Instant, pause: impl FnOnce(u32) -> Duration) {
        if self.retry_at.is_some() && !self.is_due(now) {
            return;
        }
        let text = chain(error);
        // Which flow it names can differ from try to try.
        if self.reason.is_none() {
            error!(error = %text, "flows that policy forbids may stay open");
        }
        self.reason = Some(text);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pause(self.failures));
    }
}

/// How the last judgement of the open flows went, and what is left of it to be done.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// What came in the way of a judgement, which is to be repeated of all flows.
    unjudged: Trouble,
    /// That some are left to others, to whom they may belong.
    elsewhere: Trouble,
    /// Those that are to be ended.
    condemned: Condemned,
    /// What came in the way of ending some of them.
    unended: Trouble,
    /// When the next shift may begin; at once if nobody says.
    rested_at: Option<Instant>,
}

impl Flows {
    /// What is not as it should be with them, and with published ports because of it.
    pub(super) fn problems(&self, core: &Core) -> Vec<String> {
        let unended = match self.condemned.len() {
            0 => None,
            _ if self.condemned.has_refused() => self.unended.reason.clone(),
            left => Some(format!("{left} are still to be ended")),
        };
        let reasons = self.unjudged.reason.iter().chain(&self.elsewhere.reason).chain(&unended);
        let outlive = |reason| format!("flows that are open outlive a policy that forbids them: {reason}");
        let doubt = self.doubt(core);
        let shut: Vec<_> = core.shut(&doubt).map(|container| container.name.as_str()).collect();
        let waiting = (!shut.is_empty()).then(|| {
            let until = if self.unjudged.reason.is_some() { "flows can be judged" } else { "such flows are gone" };
            let named = shut.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let others = shut.len().saturating_sub(NAMED);
            let more = if others > 0 { format!(" and {others} others") } else { String::new() };
            format!("until {until}, this host, docker-proxy included, does not reach published ports of {named}{more}")
        });
        reasons.map(outlive).chain(waiting).collect()
    }

    /// Whether there may be flows that policy forbids and that nobody has condemned.
    pub(super) fn are_unjudged(&self) -> bool {
        self.unjudged.reason.is_some() || self.elsewhere.reason.is_some()
    }

    /// When to judge all flows again after a failure.
    pub(super) fn judge_again_at(&self) -> Option<Instant> {
        self.unjudged.retry_at.into_iter().chain(self.elsewhere.retry_at).min()
    }

    /// Notes what came of a judgement.
    pub(super) fn note_judgement(&mut self, outcome: Result<(), conntrack::Error>, now: Instant) {
        match outcome {
            Ok(()) => (self.unjudged, self.elsewhere) = Default::default(),
            Err(error @ conntrack::Error::Elsewhere { .. }) => {
                self.unjudged = Trouble::default();
                self.elsewhere.note(&error, now, |_| ELSEWHERE_PAUSE);
            }
            Err(error) => {
                self.unjudged.note(&error, now, pause);
                // The next judgement that can be made tells of them.
                self.elsewhere.retry_at = None;
            }
        }
    }

    /// Notes what came of ending some.
    fn note_end(&mut self, outcome: Result<(), conntrack::Error>, now: Instant) {
        if let Err(error) = outcome {
            self.unended.note(&error, now, pause);
        }
        if self.condemned.is_empty() {
            self.unended = Trouble::default();
        }
    }

    /// The settling ports at which there is a condemned flow.
    fn ports_of_condemned(&self, core: &Core) -> LocalPorts {
        if self.condemned.is_empty() {
            return LocalPorts::new();
        }
        let mut ports = core.settling_ports();
        ports.retain(|port| self.condemned.are_at(*port));
        ports
    }

    /// Where a flow may lead that policy forbids, of settling ports.
    fn doubt(&self, core: &Core) -> Doubt {
        // Of those elsewhere nobody knows whose they are, so that no port waits for them.
        if self.unjudged.reason.is_some() { Doubt::Everywhere } else { Doubt::At(self.ports_of_condemned(core)) }
    }

    /// When to end more of the condemned ones; `None` if there are none.
    fn next_shift(&self) -> Option<Instant> {
        if self.condemned.has_untried() {
            return Some(self.rested_at.unwrap_or_else(Instant::now));
        }
        let again = self.unended.retry_at.filter(|_| self.condemned.has_refused());
        again.map(|at| self.rested_at.map_or(at, |rested| at.max(rested)))
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
            match condemn(core, &mut self.flows.condemned, &concerned, verdict) {
                Ok(()) | Err(conntrack::Error::Elsewhere { .. }) => {}
                Err(error) => {
                    warn!(error = %chain(&error), "cannot list flows of containers that have ended before others get their addresses");
                }
            }
        }
        let held = Concerned::Addresses(addresses);
        self.flows.condemned.retry(|flow| held.includes(flow));
        self.end_first(|flow, _| held.includes(flow));
    }

    /// Condemns the open flows that the rules in force forbid, of those that are concerned, and begins to end them.
    pub(super) fn judge_flows(&mut self, core: &mut Core, concerned: &Concerned) {
        let is_begun = self.flows.condemned.has_untried();
        if !concerned.is_nobody() {
            let judged = condemn(core, &mut self.flows.condemned, concerned, |flow, judge| judge.forbids(flow));
            self.flows.note_judgement(judged, Instant::now());
        }
        // Whatever came of it: a later try judges all flows by the rules of then.
        core.flows_are_judged();
        // A flow to `docker-proxy` has no address of the container in it. The port of the one before may have been the same,
        // and the time in which the proxy gives up whom it has accepted begins when nobody comes to it any more.
        let ports = self.flows.ports_of_condemned(core);
        if !ports.is_empty() {
            self.end_first(|_, at| at.iter().any(|port| ports.contains(port)));
            core.unsettle(ports);
        }
        if !is_begun {
            self.end_condemned_flows();
        }
    }

    /// Lets the time run after which this host may reach published ports, while the kernel holds the wanted ruleset and no flow
    /// leads there that policy forbids, and that after which networks may open.
    pub(in super::super) fn let_ports_settle(&self, core: &mut Core, now: Instant) {
        if self.in_sync {
            core.applied(now.into_std(), &self.flows.doubt(core));
        } else {
            core.not_applied();
        }
    }

    /// When to end more of the condemned flows; `None` if there are none.
    pub(in super::super) fn next_shift(&self) -> Option<Instant> {
        self.flows.next_shift()
    }

    /// Ends condemned flows for one shift, whatever else fails: rules that were in force forbade them.
    pub(in super::super) fn end_condemned_flows(&mut self) {
        let begun = Instant::now();
        let flows = &mut self.flows;
        // Not while others wait, or these would have their turn again and again.
        if flows.unended.is_due(begun) && !flows.condemned.has_untried() {
            flows.condemned.retry(|_| true);
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

    /// Ends those condemned flows for which this holds, however many they are; it is told at which ports of this host they are.
    fn end_first(&mut self, is_one: impl FnMut(&Flow, &[LocalPort]) -> bool) {
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
        self.flows.note_end(outcome, Instant::now());
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
    let listed = condemned.add(|flow| {
        let judge = concerned.includes(flow).then(judge)??;
        verdict(flow, judge).then(|| judge.local_ports(flow))
    });
    match host.into_inner() {
        Some(Err(error)) => Err(error),
        _ => listed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::compile::Options;
    use crate::dataplane::conntrack::tests::refused;
    use crate::inventory::{Change, file};
    use crate::net::Protocol;
    use crate::policy::{SourceFile, Store};

    use super::super::super::core::Event;
    use super::super::LONGEST_PAUSE;

    const PORT: LocalPort = (Protocol::UDP, 8053);

    const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: dns}
spec: {selector: app == 'dns', ingress: [{action: Allow, protocol: UDP}]}
";

    const INVENTORY: &str = r#"
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: host}
spec:
  networks:
    - {name: front, bridge: br-front, subnets: [10.0.0.0/24], gateways: [10.0.0.1]}
    - {name: back, bridge: br-back, subnets: [10.1.0.0/24], gateways: [10.1.0.1]}
  containers:
    - {name: dns, labels: {app: dns}, networks: [{name: front, ipv4Address: 10.0.0.3}], ports: ["8053:53/udp", "8080:80"]}
    - {name: web, labels: {app: web}, networks: [{name: back, ipv4Address: 10.1.0.3}], ports: ["8053:53/udp"]}
"#;

    /// From anybody to a port of this host.
    fn flow() -> Flow {
        let [source, destination] = ["10.0.0.2", "10.0.0.1"].map(|address| address.parse().expect("an address"));
        Flow { source, destination, protocol: PORT.0, ports: Some((40_000, PORT.1)), icmp: None, picked_up: false }
    }

    fn in_the_way() -> conntrack::Error {
        conntrack::Error::End { flow: Box::new(flow()), source: std::io::ErrorKind::ResourceBusy.into() }
    }

    fn elsewhere() -> conntrack::Error {
        conntrack::Error::Elsewhere { flows: 1, first: Box::new(flow()) }
    }

    fn nothing() -> Core {
        Core::new(Options::default(), Store::default())
    }

    /// A governed container with the published port, and one without policy, that have started a moment ago.
    fn starting() -> Core {
        let mut core = nothing();
        core.take(Event::Policies(Ok(vec![SourceFile::new("p.yaml", POLICY)])));
        let (mut inventory, diagnostics) = file::load(&SourceFile::new("i.yaml", INVENTORY));
        assert!(diagnostics.is_empty(), "{diagnostics:#?}");
        inventory.containers.values_mut().for_each(|container| container.judged.clear());
        core.take(Event::Inventory(Change::Snapshot(inventory)));
        core.compiled();
        core
    }

    #[test]
    fn a_flow_that_cannot_be_ended_is_tried_ever_more_rarely_until_it_has_ended() {
        let mut flows = Flows { condemned: refused(flow(), vec![PORT]), ..Flows::default() };
        let mut now = Instant::now();
        for failures in 1..=4 {
            flows.note_end(Err(in_the_way()), now);
            let at = Some(now + pause(failures));
            assert_eq!(flows.next_shift(), at, "after {failures} failures");
            // Others, of a shift of the same try; and whatever comes of judgements meanwhile.
            flows.note_end(Err(in_the_way()), now);
            flows.note_end(Ok(()), now);
            flows.note_judgement(Err(elsewhere()), now);
            flows.note_judgement(Ok(()), now);
            assert_eq!(flows.next_shift(), at);
            let [problem] = flows.problems(&nothing()).try_into().expect("one problem");
            assert!(problem.contains("cannot end the flow UDP 10.0.0.2:40000"), "{problem}");
            now += pause(failures);
        }
        flows.condemned.retry(|_| true);
        assert!(flows.next_shift().is_some_and(|at| at <= Instant::now()), "it is due");
        assert!(flows.problems(&nothing()).iter().any(|problem| problem.contains("1 are still to be ended")));
        flows.condemned = Condemned::default();
        flows.note_end(Ok(()), now);
        assert_eq!((flows.problems(&nothing()), flows.next_shift(), flows.unended.failures), (Vec::new(), None, 0));
    }

    #[test]
    fn what_cannot_be_ended_is_tried_again_where_nothing_is_governed_any_more() {
        let mut enforcer = Enforcer::default();
        enforcer.flows.condemned = refused(flow(), vec![PORT]);
        let in_an_hour = Instant::now() + Duration::from_secs(3600);
        enforcer.flows.note_end(Err(in_the_way()), in_an_hour);
        enforcer.judge_flows(&mut nothing(), &Concerned::Everybody);
        assert_eq!(enforcer.next_shift(), Some(in_an_hour + pause(1)), "a judgement of nothing does not put it off");
    }

    #[test]
    fn what_was_not_judged_stays_a_problem_while_others_are_ended() {
        let mut flows = Flows::default();
        let mut now = Instant::now();
        for failures in 1..=4 {
            flows.note_judgement(Err(conntrack::Error::NoInterface), now);
            let at = Some(now + pause(failures));
            assert_eq!(flows.judge_again_at(), at, "after {failures} failures");
            // By an event, before its time.
            flows.note_judgement(Err(conntrack::Error::NoInterface), now);
            assert_eq!(flows.judge_again_at(), at, "what is not tried by the clock puts nothing off");
            flows.note_end(Ok(()), now);
            assert!(flows.are_unjudged() && flows.problems(&nothing()).len() == 1);
            now += pause(failures);
        }
        flows.note_judgement(Ok(()), now);
        assert!(!flows.are_unjudged() && flows.problems(&nothing()).is_empty());
    }

    #[test]
    fn flows_elsewhere_are_looked_at_again_now_and_then() {
        let mut flows = Flows::default();
        let mut now = Instant::now();
        for _ in 0..3 {
            flows.note_judgement(Err(elsewhere()), now);
            assert_eq!(flows.judge_again_at(), Some(now + ELSEWHERE_PAUSE));
            assert!(flows.are_unjudged() && flows.problems(&nothing()).len() == 1);
            now += ELSEWHERE_PAUSE;
        }
        flows.note_judgement(Err(conntrack::Error::NoInterface), now);
        assert_eq!(flows.judge_again_at(), Some(now + pause(1)), "that is due goes with the whole");
        assert_eq!(flows.problems(&nothing()).len(), 2, "they have not gone yet");
        flows.note_judgement(Ok(()), now);
        assert_eq!((flows.judge_again_at(), flows.problems(&nothing())), (None, Vec::new()));
    }

    #[test]
    fn no_shift_begins_without_a_break() {
        let mut enforcer = Enforcer::default();
        enforcer.flows.condemned = refused(flow(), vec![PORT]);
        enforcer.flows.note_end(Err(in_the_way()), Instant::now() - LONGEST_PAUSE);
        assert!(enforcer.flows.unended.is_due(Instant::now()));
        enforcer.rest();
        for _ in 0..2 {
            assert!(enforcer.next_shift().is_some_and(|at| Some(at) == enforcer.flows.rested_at));
            enforcer.flows.condemned.retry(|_| true);
        }
    }

    #[test]
    fn published_ports_wait_for_flows_that_may_lead_there() {
        let told = |enforcer: &Enforcer, core: &Core| {
            let problems = enforcer.flows.problems(core);
            problems.into_iter().filter(|problem| problem.contains("does not reach")).collect::<Vec<_>>()
        };
        let mut core = starting();
        let mut enforcer = Enforcer::default();
        let now = Instant::now();
        let settles = |enforcer: &Enforcer, core: &mut Core| {
            enforcer.let_ports_settle(core, now);
            core.settles_at().is_some()
        };
        assert!(!settles(&enforcer, &mut core), "the kernel holds something else");
        enforcer.in_sync = true;
        enforcer.flows.note_judgement(Err(conntrack::Error::NoInterface), now);
        assert!(!settles(&enforcer, &mut core), "nobody knows where flows lead");
        let shut = |until: &str| {
            format!("until {until}, this host, docker-proxy included, does not reach published ports of dns")
        };
        assert_eq!(told(&enforcer, &core), [shut("flows can be judged")], "that of web does not wait");
        enforcer.flows.note_judgement(Err(elsewhere()), now);
        assert!(settles(&enforcer, &mut core), "one in another zone keeps no port shut");
        assert_eq!(told(&enforcer, &core), [""; 0]);
        enforcer.flows.note_judgement(Ok(()), now);

        let nobody = Concerned::Addresses(BTreeSet::new());
        enforcer.flows.condemned = refused(flow(), vec![(Protocol::TCP, PORT.1)]);
        enforcer.judge_flows(&mut core, &nobody);
        assert!(core.settles_at().is_some() && settles(&enforcer, &mut core), "it is at another port");
        enforcer.flows.condemned = refused(flow(), vec![PORT]);
        enforcer.judge_flows(&mut core, &nobody);
        assert_eq!(core.settles_at(), None, "its time begins anew");
        assert!(!settles(&enforcer, &mut core), "it leads there");
        assert_eq!(told(&enforcer, &core), [shut("such flows are gone")]);
        enforcer.flows.condemned = Condemned::default();
        assert!(settles(&enforcer, &mut core), "none does");
        assert_eq!(told(&enforcer, &core), [""; 0]);
        enforcer.in_sync = false;
        assert!(!settles(&enforcer, &mut core), "somebody may have been let in");
        assert_eq!(told(&enforcer, &core), [""; 0], "not because of flows");
    }
}
