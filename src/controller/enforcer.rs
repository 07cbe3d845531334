//! Carries the wanted ruleset to the kernel, and keeps account of how that went.
//!
//! Input: the core and what an event asks of the kernel. Output: a changed kernel, and the facts for the status. After a
//! failure it tries again with growing pauses; it never removes anything because something else failed.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

mod flows;
mod recognition;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::compile::{self, OutOfReach};
use crate::dataplane::{self, Found, Kernel, Outcome, Problem, ReadBack, Scope, Touched};
use crate::inventory::{Container, Engine};
use crate::policy::{PolicySet, Severity};
use crate::telemetry::{
    EndpointsStatus, EngineStatus, Finding, KernelStatus, PoliciesStatus, Status, UnenforceableEndpoint, chain,
};
use crate::verdict::flow::Concerned;

use super::boot::Coverage;
use super::core::{Core, Need, PolicyState};
use flows::Flows;

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Failures in a row after which the policies are tried one by one. One failure can be somebody else's lock.
const PATIENCE: u32 = 2;

/// How long an endpoint may have no port before that is told. Older engines report the attachment 0.3 s before the
/// container's end of the cable has its MAC address.
const PORT_PATIENCE: Duration = Duration::from_secs(1);
/// Pause until the port of such an endpoint is looked for again, at first. The kernel notifies of most ports; not of a MAC
/// address that is set in the namespace of a container.
const FIRST_PORT_POLL: Duration = Duration::from_millis(10);
/// The longest such pause.
const LAST_PORT_POLL: Duration = Duration::from_millis(500);
/// The pause grows with the time for which the port has been missing: to this part of it.
const PORT_POLL_PART: u32 = 32;

/// Why the kernel is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Something changed on our side.
    Event,
    /// The kernel is read back, because the time has come or because it said that something has changed: a difference is
    /// somebody else's work.
    ReadBack,
}

/// The kernel and the account of what was done to it.
#[derive(Debug, Default)]
pub(super) struct Enforcer {
    options: dataplane::Options,
    kernel: Option<Kernel>,
    in_sync: bool,
    /// Whether a read-back has failed since the kernel last held the wanted ruleset.
    read_back_failed: bool,
    account: KernelStatus,
    problems: Vec<String>,
    memory_trouble: Option<String>,
    watch_trouble: Option<String>,
    state_directory: PathBuf,
    /// What is kept for the next boot.
    kept: Option<Coverage>,
    boot_trouble: Option<String>,
    failures: u32,
    retry_at: Option<Instant>,
    /// When to try the policies again that the kernel refused.
    reconsider_at: Option<Instant>,
    /// When to look for the ports of endpoints without one.
    poll_at: Option<Instant>,
    /// Bridges that have changed since links were last read, by interface index.
    touched: Touched<u32>,
    /// Endpoints without a port, each with the time since when.
    unbound: BTreeMap<String, Instant>,
    flows: Flows,
}

impl Enforcer {
    /// Nothing is read or written yet.
    pub(super) fn new(options: dataplane::Options, state_directory: &Path) -> Enforcer {
        Enforcer { options, state_directory: state_directory.to_owned(), ..Enforcer::default() }
    }

    /// Whether the kernel holds the wanted ruleset.
    pub(super) fn in_sync(&self) -> bool {
        self.in_sync
    }

    /// Number of changes applied since the start.
    pub(super) fn applied(&self) -> u64 {
        self.account.applied
    }

    /// When to try again after a failure or for endpoints without a port, and what that asks of the kernel.
    pub(super) fn retry(&self) -> Option<(Instant, Need)> {
        // A failure of the whole comes first: without success no flow is judged.
        let judge = self.flows.judge_again_at().filter(|_| self.retry_at.is_none());
        let due = [
            (self.retry_at, Need::Observe),
            (judge, Need::Apply),
            (self.reconsider_at, Need::Apply),
            (self.poll_at, Need::Apply),
        ];
        due.into_iter().filter_map(|(at, need)| Some((at?, need))).min()
    }

    /// What a look for ports, a judgement or the end of some flows can change of the status.
    pub(super) fn told(&self, core: &Core) -> (KernelStatus, Vec<String>) {
        let problems = self.problems.iter().chain(&self.boot_trouble).cloned();
        (self.account.clone(), problems.chain(self.flows.problems(core)).collect())
    }

    /// Why the last good policies could not be kept, if so.
    pub(super) fn set_memory_trouble(&mut self, trouble: Option<String>) {
        self.memory_trouble = trouble;
    }

    /// Why the kernel does not notify us of changes, if so.
    pub(super) fn set_watch_trouble(&mut self, trouble: Option<&str>) {
        self.watch_trouble = trouble.map(str::to_owned);
    }

    /// The kernel says that something about these bridges has changed, which the next look at links concerns.
    pub(super) fn note_links(&mut self, touched: Touched<u32>) {
        self.touched.extend(touched);
    }

    /// Whether the last good policies could not be kept.
    pub(super) fn has_memory_trouble(&self) -> bool {
        self.memory_trouble.is_some()
    }

    /// Makes the kernel hold what the core wants. Does nothing before both policies and inventory are known.
    pub(super) fn enforce(&mut self, core: &mut Core, need: Need, cause: Cause) {
        if need == Need::Nothing || !core.is_complete() {
            return;
        }
        let reads_back = need != Need::Apply || !self.in_sync;
        self.carry_out(core, cause, reads_back, |enforcer, core| enforcer.attempt(core, need));
    }

    /// A listing of the kernel to be made beside other work; `None` where it is to be read at once.
    pub(super) fn read_back(&self, core: &mut Core, scope: Scope) -> Option<ReadBack> {
        let kernel = self.kernel.as_ref().filter(|_| self.in_sync)?;
        // While nobody notifies us, everything may have changed.
        let scope = if self.watch_trouble.is_none() { scope } else { Scope::Everything };
        kernel.read_back(&core.compiled()?.ruleset, scope)
    }

    /// Sets right what such a listing has found. Where something has failed since, the kernel is read anyway.
    pub(super) fn settle(&mut self, core: &mut Core, found: Found, cause: Cause) {
        if !self.in_sync {
            return;
        }
        self.carry_out(core, cause, true, |enforcer, core| {
            let (Some(kernel), Some(compiled)) = (&mut enforcer.kernel, core.compiled()) else {
                return Ok(Outcome::default());
            };
            kernel.settle(found, &compiled.ruleset)
        });
    }

    fn carry_out(
        &mut self,
        core: &mut Core,
        cause: Cause,
        reads_back: bool,
        attempt: impl FnOnce(&mut Enforcer, &mut Core) -> Result<Outcome, dataplane::Error>,
    ) {
        let started = Instant::now();
        self.reconsider_refused(core, started);
        self.end_flows_of_former_owners(core);
        match attempt(self, core) {
            Ok(outcome) => {
                self.succeeded(&outcome, cause, started.elapsed());
                // The rules come first: what is sent on a flow that was ended is then judged by them. Where something
                // was missing, whoever took it out, flows may have opened that no ruleset ever allowed.
                // An endpoint that has a port only now could send nothing before.
                let something_was_missing = reads_back && outcome.drift;
                let is_due = self.flows.judge_again_at().is_some_and(|at| at <= started);
                let mut concerned =
                    if something_was_missing || is_due { Concerned::Everybody } else { core.concerned() };
                // What could not be judged before may be anybody's.
                if !concerned.is_nobody() && self.flows.are_unjudged() {
                    concerned = Concerned::Everybody;
                }
                self.judge_flows(core, &concerned);
                self.keep_for_boot(core);
            }
            Err(failure) => {
                self.failed(&failure, cause);
                // At the second failure, and ever more rarely after it. A lock that somebody holds would fail every trial.
                let is_time = self.failures >= PATIENCE && self.failures.is_power_of_two();
                if is_time && failure.is_refusal() && self.exclude_refused(core) {
                    self.enforce(core, Need::Observe, cause);
                }
            }
        }
    }

    fn attempt(&mut self, core: &mut Core, need: Need) -> Result<Outcome, dataplane::Error> {
        if !core.is_complete() {
            return Ok(Outcome::default());
        }
        let kernel = match &mut self.kernel {
            Some(kernel) => kernel,
            // Not before the inventory is known: only then is the engine up, whose chains decide the variant.
            None => self.kernel.insert(Kernel::open(self.options)?),
        };
        self.account.variant = Some(kernel.variant());
        if core.is_new() {
            let observed = kernel.observe_to_repair()?;
            core.recognise(|inventory, wanted| recognition::judged_before(observed, inventory, wanted));
        }
        let Some(compiled) = core.compiled() else { return Ok(Outcome::default()) };
        if need == Need::Observe || !self.in_sync {
            self.touched = Touched::default();
            return kernel.repair(&compiled.ruleset);
        }
        if need == Need::ObserveSoon {
            self.touched = Touched::Any;
        }
        if need >= Need::ObserveLinks {
            kernel.observe_links(&std::mem::take(&mut self.touched))?;
        }
        kernel.enforce(&compiled.ruleset)
    }

    fn succeeded(&mut self, outcome: &Outcome, cause: Cause, took: Duration) {
        // What a read-back was to repair is found by the try after it, whose cause is the failure.
        let reads_back = (cause == Cause::ReadBack && self.in_sync) || std::mem::take(&mut self.read_back_failed);
        if reads_back && outcome.drift {
            self.account.repairs += 1;
            warn!(steps = outcome.steps.len(), "somebody changed our rules; repaired");
        }
        if !outcome.steps.is_empty() {
            self.account.applied += 1;
            info!(steps = outcome.steps.len(), milliseconds = took.as_secs_f64() * 1000.0, "applied");
            for step in &outcome.steps {
                debug!(%step, "step");
            }
        }
        let now = Instant::now();
        let problems = self.due(&outcome.problems, now);
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            warn!("{problem}");
        }
        self.problems = problems;
        self.in_sync = true;
        self.failures = 0;
        self.retry_at = None;
        self.poll_at = self.unbound.values().map(|since| port_pause(now - *since)).min().map(|pause| now + pause);
        self.account.last_error = None;
    }

    /// Keeps the rules in force for the next boot. When that fails, enforcement goes on, and it is tried again.
    fn keep_for_boot(&mut self, core: &mut Core) {
        let (Some(kernel), Some(compiled)) = (&self.kernel, core.compiled()) else { return };
        let now = Coverage::of(kernel, &compiled.ruleset);
        if self.kept.as_ref().is_some_and(|kept| kept.is_same(&now)) {
            // So that the next one is compared with what it was made of.
            self.kept = Some(now);
            return;
        }
        let trouble = now.keep(&self.state_directory).err().map(|error| chain(&error));
        match &trouble {
            None => self.kept = Some(now),
            Some(text) => {
                if self.boot_trouble != trouble {
                    error!(error = %text, "a reboot now would not be covered");
                }
                // What is in the file by now is not known.
                self.kept = None;
            }
        }
        self.boot_trouble = trouble;
    }

    /// The problems that are to be told: an endpoint without a port only after some time.
    fn due(&mut self, problems: &[Problem], now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        let mut unbound = BTreeMap::new();
        for problem in problems {
            let text = problem.to_string();
            if let Problem::Unbound { endpoint, .. } = problem {
                let since = self.unbound.get(endpoint).copied().unwrap_or(now);
                unbound.insert(endpoint.clone(), since);
                if now - since < PORT_PATIENCE {
                    continue;
                }
            }
            due.push(text);
        }
        self.unbound = unbound;
        due
    }

    fn failed(&mut self, failure: &dataplane::Error, cause: Cause) {
        self.read_back_failed |= cause == Cause::ReadBack && self.in_sync;
        let text = chain(failure);
        if self.account.last_error.as_ref() != Some(&text) {
            error!(error = %text, "cannot bring the kernel in line; what was in force stays");
        }
        // The variant was read from chains that may be gone by now.
        self.kernel = None;
        self.in_sync = false;
        self.account.last_error = Some(text);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + pause(self.failures));
        self.poll_at = None;
    }

    /// The whole status as of now.
    pub(super) fn status(&self, core: &Core, directory: &Path, accepted: &BTreeSet<String>) -> Status {
        let nothing = PolicyState::default();
        let policies = core.policies().unwrap_or(&nothing);
        let mut problems = trouble_with_policies(core);
        problems.extend(trouble_with_engine(core));
        problems.extend(core.engine().map(Engine::trouble).unwrap_or_default());
        if core.is_complete() && !self.in_sync {
            let reason = self.account.last_error.as_deref().unwrap_or("nothing was applied yet");
            problems.push(format!("the kernel does not hold the policies: {reason}"));
        }
        let endpoints = endpoints(core, &policies.policies, accepted);
        problems.extend(trouble_with_reach(&endpoints));
        problems.extend(self.memory_trouble.clone());
        problems.extend(self.boot_trouble.clone());
        problems.extend(self.watch_trouble.clone());
        problems.extend(self.flows.problems(core));
        problems.extend(self.problems.iter().cloned());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ready: self.in_sync && problems.is_empty(),
            in_sync: self.in_sync,
            problems,
            policies: PoliciesStatus {
                directory: directory.to_owned(),
                files: policies.files,
                policies: policies.policies.policies.iter().filter(|policy| !policy.key.kind.is_staged()).count(),
                diagnostics: policies.diagnostics.iter().map(Finding::from).collect(),
                held: policies.held.clone(),
                missing: policies.missing.clone(),
            },
            engine: EngineStatus {
                connected: core.inventory().is_some() && core.unreachable().is_none(),
                firewall: core.engine().and_then(|engine| engine.firewall.clone()),
            },
            endpoints,
            kernel: self.account.clone(),
        }
    }
}

/// The pause until a port is looked for again that has been missing for so long.
fn port_pause(missing: Duration) -> Duration {
    (missing / PORT_POLL_PART).clamp(FIRST_PORT_POLL, LAST_PORT_POLL)
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE)
}

fn trouble_with_policies(core: &Core) -> Vec<String> {
    let Some(state) = core.policies() else {
        return vec!["the policy directory has not been read yet".to_owned()];
    };
    let mut problems = Vec::new();
    if let Some(reason) = &state.unreadable {
        problems.push(format!("the policy directory cannot be read, the policies in force stay: {reason}"));
    }
    for diagnostic in state.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error) {
        let file = &diagnostic.location.file;
        let consequence = if state.held.contains(file) {
            " (the last good version of the file is in force)"
        } else if state.missing.contains(file) {
            " (nothing of the file is in force)"
        } else {
            ""
        };
        problems.push(format!("{}: {} [{}]{consequence}", diagnostic.location, diagnostic.message, diagnostic.code));
    }
    for key in core.refused() {
        problems.push(format!("the kernel refuses policy {key}; what it selects is closed instead"));
    }
    problems
}

fn trouble_with_engine(core: &Core) -> Option<String> {
    match (core.unreachable(), core.inventory()) {
        (Some(reason), Some(_)) => Some(format!("the Docker engine cannot be reached, rules stay in force: {reason}")),
        (Some(reason), None) => Some(format!("the Docker engine cannot be reached: {reason}")),
        (None, None) => Some("the Docker engine has not been listed yet".to_owned()),
        // One with another firewall than iptables must not look enforced for a moment.
        (None, Some(_)) if core.engine().is_none() => {
            Some("the Docker engine has not said yet how it writes its firewall rules".to_owned())
        }
        (None, Some(_)) => None,
    }
}

/// Policy that looks enforced and is not.
fn trouble_with_reach(endpoints: &EndpointsStatus) -> impl Iterator<Item = String> {
    let selected = endpoints.unenforceable.iter().filter(|found| !found.policies.is_empty() && !found.accepted);
    selected.map(|found| format!("policy is not enforced on {found} (selected by {})", found.policies.join(", ")))
}

fn unreadable_ports(container: &Container) -> Vec<String> {
    let (_, unreadable) = container.named_ports();
    unreadable.into_iter().map(|part| format!("{}: `{part}`", container.name)).collect()
}

fn endpoints(core: &Core, policies: &PolicySet, accepted: &BTreeSet<String>) -> EndpointsStatus {
    let Some(inventory) = core.inventory() else { return EndpointsStatus::default() };
    let (total, governed) = core.endpoints();
    let unenforceable = |found: OutOfReach<'_>| UnenforceableEndpoint {
        container: found.endpoint.container.name.clone(),
        network: found.endpoint.network.map(|network| network.name.clone()),
        reason: found.reason.to_string(),
        policies: found.policies.iter().map(|policy| policy.key.to_string()).collect(),
        accepted: accepted.contains(&found.endpoint.container.name),
    };
    EndpointsStatus {
        total,
        governed,
        unenforceable: compile::out_of_reach(policies, inventory, core.remarkable())
            .into_iter()
            .map(unenforceable)
            .collect(),
        unreadable_ports: core.remarkable().flat_map(unreadable_ports).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::core::Event;
    use super::*;
    use crate::compile;
    use crate::dataplane::conntrack;
    use crate::inventory::{Change, Inventory};
    use crate::policy::Store;

    #[test]
    fn a_port_is_looked_for_ever_more_rarely_and_at_once_whatever_else_fails() {
        let pauses = [0, 40, 300, 1000, 10_000].map(|missing| port_pause(Duration::from_millis(missing)).as_millis());
        assert_eq!(pauses, [10, 10, 10, 31, 312]);
        let unbound = Problem::Unbound {
            endpoint: "web@front".to_owned(),
            bridge: "br-a".parse().expect("a name"),
            reason: "none has its address".to_owned(),
        };
        let mut enforcer = Enforcer::default();
        let outcome = Outcome { problems: vec![unbound], ..Outcome::default() };
        enforcer.succeeded(&outcome, Cause::Event, Duration::ZERO);
        let in_an_hour = Instant::now() + Duration::from_secs(3600);
        enforcer.flows.note_judgement(Err(conntrack::Error::NoInterface), in_an_hour);
        let (at, need) = enforcer.retry().expect("a port is missing");
        assert!(at < in_an_hour, "the judgement that failed does not put it off");
        assert_eq!(need, Need::Apply, "and it reads nothing else");
        enforcer.succeeded(&Outcome::default(), Cause::Event, Duration::ZERO);
        let (at, need) = enforcer.retry().expect("the judgement is to be repeated");
        assert!(at > in_an_hour && need == Need::Apply);
    }

    #[test]
    fn a_repair_is_counted_whether_or_not_its_first_try_failed() {
        let drift = Outcome { drift: true, ..Outcome::default() };
        let failure = || dataplane::Error::NoTrial(std::io::Error::other("a set has vanished"));
        for (name, was_in_sync, causes, outcome, repairs) in [
            ("at once", true, &[][..], &drift, 1),
            ("at the second try", true, &[Cause::ReadBack], &drift, 1),
            ("at the third try", true, &[Cause::ReadBack, Cause::Event], &drift, 1),
            ("nothing to repair", true, &[Cause::ReadBack], &Outcome::default(), 0),
            ("a change of our own that failed", true, &[Cause::Event], &drift, 0),
            ("never in sync before", false, &[Cause::ReadBack], &drift, 0),
        ] {
            let mut enforcer = Enforcer { in_sync: was_in_sync, ..Enforcer::default() };
            for cause in causes {
                enforcer.failed(&failure(), *cause);
            }
            let cause = if causes.is_empty() { Cause::ReadBack } else { Cause::Event };
            enforcer.succeeded(outcome, cause, Duration::ZERO);
            assert_eq!(enforcer.account.repairs, repairs, "{name}");
            enforcer.succeeded(&drift, Cause::Event, Duration::ZERO);
            assert_eq!(enforcer.account.repairs, repairs, "{name}: it is counted once");
        }
    }

    #[test]
    fn an_engine_that_has_not_said_what_it_is_does_not_look_enforced() {
        let mut core = Core::new(compile::Options::default(), Store::default());
        core.take(Event::Policies(Ok(Vec::new())));
        let enforcer = Enforcer { in_sync: true, ..Enforcer::default() };
        let nftables = Engine { firewall: Some("nftables".to_owned()), ..Engine::default() };
        for (change, ready) in [
            (Change::Snapshot(Inventory::default()), false),
            (Change::Engine(Engine::default()), true),
            (Change::Unreachable("gone".to_owned()), false),
            (Change::Snapshot(Inventory::default()), false),
            (Change::Engine(nftables), false),
            (Change::Engine(Engine::default()), true),
        ] {
            let name = format!("{change:?}");
            core.take(Event::Inventory(change));
            let status = enforcer.status(&core, Path::new("policies"), &BTreeSet::new());
            assert_eq!(status.ready, ready, "after {name}: {:?}", status.problems);
        }
    }

    #[test]
    fn flows_that_may_outlive_their_policy_are_a_problem_until_they_are_judged() {
        let core = Core::new(compile::Options::default(), Store::default());
        let mut enforcer = Enforcer { in_sync: true, ..Enforcer::default() };
        let of_flows = |enforcer: &Enforcer| {
            let status = enforcer.status(&core, Path::new("policies"), &BTreeSet::new());
            assert!(!status.ready, "nothing is known yet");
            status.problems.into_iter().filter(|problem| problem.contains("outlive")).collect::<Vec<_>>()
        };
        let in_an_hour = Instant::now() + Duration::from_secs(3600);
        for _ in 1..=2 {
            enforcer.flows.note_judgement(Err(conntrack::Error::NoInterface), in_an_hour);
            assert!(enforcer.retry().is_some_and(|(at, _)| at > in_an_hour), "it is tried again");
            let [problem] = of_flows(&enforcer).try_into().expect("one problem");
            assert!(problem.contains("modprobe nf_conntrack_netlink"), "{problem}");
        }
        let mut core = Core::new(compile::Options::default(), Store::default());
        enforcer.judge_flows(&mut core, &Concerned::Everybody);
        assert_eq!(of_flows(&enforcer), [""; 0]);
    }
}
