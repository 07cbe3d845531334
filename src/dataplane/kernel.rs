//! The kernel of this network namespace, as far as dockgate works on it.
//!
//! Input: a [`Ruleset`]. Output: the kernel holds it. What the kernel holds is kept in memory after each success, so that
//! a change of members costs one message and no listing; after any failure it is read again.
//!
//! All calls are blocking and concern the network namespace of the calling thread.

#![expect(clippy::disallowed_methods, reason = "the door to the kernel waits for it")]

mod execute;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use imbl::OrdSet;
use nix::sched::{CloneFlags, unshare};

use self::execute::make_bridge;
use crate::dataplane::antispoof::Decision;
use crate::dataplane::ipset::Ipset;
use crate::dataplane::links::Links;
use crate::dataplane::nftables::Nft;
use crate::dataplane::plan::{plan_decided, plan_sets, removal};
use crate::dataplane::port::Port;
use crate::dataplane::read_back::{self, Found, ReadBack, Scope};
use crate::dataplane::state::{DOCKER_USER, Jump, Problem, State};
use crate::dataplane::{Error, Step, Touched, Variant, antispoof, bridge, port, preflight};
use crate::net::{Family, InterfaceName};
use crate::ruleset::{
    Action, AddressSet, AntiSpoofing, ChainName, Chains, Hook, Match, Rule, Ruleset, SetKind, SetName, Side,
};

/// What the user chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The variant; `None` finds the one that Docker uses.
    pub variant: Option<Variant>,
}

/// What enforcing a ruleset came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The steps that were taken; none when the kernel held the ruleset already.
    pub steps: Vec<Step>,
    /// What is not as it should be all the same.
    pub problems: Vec<Problem>,
    /// Whether a read-back that came to this found somebody else's work. Ports of containers come and go by themselves.
    pub drift: bool,
}

/// The kernel, with what it is known to hold.
#[derive(Debug)]
pub struct Kernel {
    variant: Variant,
    ipset: Ipset,
    nft: Nft,
    /// Why there can be no table against spoofing, if so.
    without_table: Option<String>,
    /// Whether the packet filter takes no rules about SCTP.
    without_sctp: bool,
    links: Links,
    sightings: port::Sightings,
    /// Bridges of which ports may have come or gone since they were read.
    moved: Touched<InterfaceName>,
    /// Whether the other variant may hold rules of ours, from before the engine went over to this one.
    came_over: bool,
    /// What was read for the repair that is to follow.
    observed: Option<State>,
    mirror: Option<Mirror>,
    /// Another one with each write and whatever else makes the mirror another: what a listing says that began before is older
    /// than something that is known.
    epoch: Arc<()>,
}

/// What the kernel holds since the last success.
#[derive(Debug)]
struct Mirror {
    state: State,
    chains: Chains,
    /// `None` where nothing is governed.
    decision: Option<Decision>,
}

impl Kernel {
    /// Checks that this machine can enforce anything, and finds the variant. Changes nothing.
    pub fn open(options: Options) -> Result<Kernel, Error> {
        let variant = preflight::check(options.variant)?;
        Ok(Kernel::new(variant, preflight::without_table()))
    }

    fn new(variant: Variant, without_table: Option<String>) -> Kernel {
        Kernel {
            variant,
            ipset: Ipset::default(),
            nft: Nft::default(),
            without_table,
            without_sctp: false,
            links: Links::default(),
            sightings: port::Sightings::default(),
            moved: Touched::default(),
            came_over: true,
            observed: None,
            mirror: None,
            epoch: Arc::default(),
        }
    }

    /// The variant in use.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Reads what the kernel holds of ours. Changes nothing.
    pub fn observe(&mut self) -> Result<State, Error> {
        let mut state = read_back::observe(self.variant)?;
        self.ask_for_table(&mut state);
        Ok(state)
    }

    /// As [`Kernel::observe`], for a [`Kernel::repair`] that follows at once: it starts from this.
    pub fn observe_to_repair(&mut self) -> Result<&State, Error> {
        let state = self.observe()?;
        Ok(self.observed.insert(state))
    }

    /// What was missing may have been installed since.
    fn ask_for_table(&mut self, state: &mut State) {
        self.without_table = self.without_table.take().and_then(|_| preflight::without_table());
        state.without_table = self.without_table.clone().or(state.without_table.take());
    }

    /// As [`Kernel::observe`], with the ports of the bridges on which `desired` binds endpoints.
    pub fn observe_for(&mut self, desired: &Ruleset) -> Result<State, Error> {
        let mut state = self.observe()?;
        self.read_ports(&mut state, desired)?;
        Ok(state)
    }

    fn read_ports(&mut self, state: &mut State, desired: &Ruleset) -> Result<(), Error> {
        state.ports.clear();
        if let Some(wanted) = desired.anti_spoofing.as_ref().filter(|_| state.without_table.is_none()) {
            let bindings = wanted.bindings.iter().map(|binding| binding.bridge.clone());
            let bridges = desired.bridges.iter().cloned().chain(bindings).collect();
            self.sightings.forget_all_but(&bridges);
            let held = antispoof::held(wanted, state);
            let known = held.iter().map(|(port, _)| port).collect();
            self.links.forget();
            let ports = self.links.ports(&bridges, &known).map_err(Error::Bridges)?;
            self.take_ports(state, wanted, &bridges, &held, &ports);
        } else {
            self.links.forget();
        }
        self.moved = Touched::default();
        Ok(())
    }

    /// Takes in the ports of some bridges, which are among those that were read.
    fn take_ports(
        &mut self,
        state: &mut State,
        wanted: &AntiSpoofing,
        bridges: &BTreeSet<InterfaceName>,
        held: &BTreeSet<(InterfaceName, Arc<str>)>,
        read: &BTreeSet<Port>,
    ) {
        let ports: BTreeSet<Port> = bridges.iter().flat_map(|bridge| port::on_bridge(read, bridge)).cloned().collect();
        let seen = self.sightings.see(Instant::now(), bridges, &ports, held, wanted);
        let gone: Vec<Port> =
            bridges.iter().flat_map(|bridge| port::on_bridge(&state.ports, bridge)).cloned().collect();
        for port in &gone {
            state.ports.remove(port);
        }
        let seen_anew: BTreeSet<&InterfaceName> = gone.iter().chain(&ports).map(|port| &port.name).collect();
        state.strangers.retain(|(name, _)| !seen_anew.contains(name));
        for name in &seen_anew {
            state.young.remove(*name);
        }
        state.ports.extend(ports);
        state.strangers.extend(seen.strangers);
        state.young.extend(seen.young);
    }

    /// Executes steps in order, up to the first that fails. What is worth knowing but keeps no later step from being
    /// taken is in the result.
    pub fn apply(&mut self, steps: &[Step]) -> Result<Vec<Problem>, Error> {
        self.mirror = None;
        if !steps.is_empty() {
            self.epoch = Arc::default();
        }
        let mut problems = Vec::new();
        for step in steps {
            let done = self.execute(step, &mut problems);
            done.map_err(|source| Error::Step { step: Box::new(step.clone()), source })?;
        }
        Ok(problems)
    }

    /// Makes the kernel hold the ruleset, starting from what it is known to hold.
    pub fn enforce(&mut self, desired: &Ruleset) -> Result<Outcome, Error> {
        self.as_far_as_it_can(desired, Kernel::enforce_exactly)
    }

    /// Reads the kernel and makes it hold the ruleset. Steps in the outcome mean that it did not: for a controller that
    /// has enforced this ruleset before, that somebody else has changed something.
    pub fn repair(&mut self, desired: &Ruleset) -> Result<Outcome, Error> {
        self.as_far_as_it_can(desired, Kernel::repair_exactly)
    }

    /// Not every kernel has a match for SCTP, and no tool says that it is the one that is missing. Where rules are refused
    /// and are taken without that match, there and back, they are in force without it, and that is told.
    fn as_far_as_it_can(
        &mut self,
        desired: &Ruleset,
        carry_out: fn(&mut Kernel, &Ruleset) -> Result<Outcome, Error>,
    ) -> Result<Outcome, Error> {
        if !self.without_sctp {
            let refused = match carry_out(self, desired) {
                Err(error) if error.is_refusal() && matches!(&error, Error::Step { step, .. } if step.is_rules()) => {
                    error
                }
                done => return done,
            };
            if self.repair_exactly(&desired.without_sctp()).is_err() {
                return Err(refused);
            }
            // Somebody else's lock is no longer there at the second try.
            if let Ok(outcome) = self.repair_exactly(desired) {
                return Ok(outcome);
            }
            self.without_sctp = true;
            self.mirror = None;
        }
        let mut outcome = carry_out(self, &desired.without_sctp())?;
        outcome.problems.push(Problem::Sctp);
        Ok(outcome)
    }

    fn enforce_exactly(&mut self, desired: &Ruleset) -> Result<Outcome, Error> {
        let Some(Mirror { mut state, chains, decision }) = self.mirror.take() else {
            return self.repair_exactly(desired);
        };
        let is_the_same = chains == desired.chains && desired.bridges.is_subset(&state.filtered_bridges);
        let (decision, outdated) = match (&desired.anti_spoofing, decision) {
            (Some(wanted), Some(former)) if state.without_table.is_none() => {
                // An endpoint that is new, or has no port yet, may have one by now.
                let mut outdated = former.outdated(wanted, &desired.bridges);
                let moved = match std::mem::take(&mut self.moved) {
                    Touched::Any => former.all(wanted, &desired.bridges),
                    Touched::Only(mut these) => {
                        these.retain(|bridge| former.is_about(bridge));
                        these
                    }
                };
                let read: BTreeSet<InterfaceName> = outdated.union(&moved).cloned().collect();
                if !read.is_empty() {
                    let known = former.known_ports(wanted, &read, &outdated);
                    let ports = self.links.ports(&read, &known.iter().collect()).map_err(Error::Bridges)?;
                    outdated.extend(moved.into_iter().filter(|on| port::have_moved(&state.ports, &ports, &known, on)));
                    self.take_ports(&mut state, wanted, &outdated, &former.held(wanted, &outdated), &ports);
                }
                let decision = former.renewed(wanted, &state, &desired.bridges, &outdated);
                self.sightings.forget(outdated.iter().filter(|bridge| !decision.is_about(bridge)));
                (Some(decision), Some(outdated))
            }
            _ => {
                self.read_ports(&mut state, desired)?;
                (state.decide(desired), None)
            }
        };
        if !is_the_same {
            return self.carry_out(&state, desired, decision, Some(&chains), outdated.as_ref());
        }
        let outdated = outdated.unwrap_or_default();
        let steps = plan_sets(&state, desired, decision.as_ref());
        let problems = self.apply(&steps)?;
        if failed_table(&problems).is_some() {
            // Somebody else may have changed it. Whose a port is, is known all the same.
            self.mirror = Some(Mirror { state, chains, decision });
            return self.repair_exactly(desired);
        }
        let state = state.with_sets(desired, &undestroyed(&problems), decision.as_ref());
        if let (Some(wanted), Some(decision)) = (&desired.anti_spoofing, &decision) {
            self.sightings.see_bound(Instant::now(), &outdated, &decision.held(wanted, &outdated), wanted);
        }
        Ok(self.remember(steps, problems, Mirror { state, chains, decision }, desired))
    }

    fn repair_exactly(&mut self, desired: &Ruleset) -> Result<Outcome, Error> {
        let mirror = self.mirror.take();
        let observed = match self.observed.take() {
            Some(observed) => observed,
            None => self.observe()?,
        };
        self.repair_observed(mirror, observed, desired)
    }

    fn repair_observed(
        &mut self,
        mirror: Option<Mirror>,
        mut observed: State,
        desired: &Ruleset,
    ) -> Result<Outcome, Error> {
        self.epoch = Arc::default();
        let table_is_ours = mirror.as_ref().is_some_and(|mirror| mirror.state.table == observed.table);
        observed.former_table = mirror.and_then(|Mirror { state, .. }| state.former_table.or(state.table));
        self.read_ports(&mut observed, desired)?;
        let decision = observed.decide(desired);
        let outcome = self.carry_out(&observed, desired, decision, None, None)?;
        let by_ports = |step: &Step| matches!(step, Step::Elements(_)) && table_is_ours;
        let outcome = Outcome { drift: !outcome.steps.iter().all(by_ports), ..outcome };
        if !self.leave_other_variant()? {
            return Ok(outcome);
        }
        // Sets that the other variant's rules used can be destroyed now.
        let again = self.repair(desired)?;
        Ok(Outcome { steps: [outcome.steps, again.steps].concat(), problems: again.problems, drift: outcome.drift })
    }

    /// A listing of the kernel that can be made beside other work; `None` where more is to be tried at a read-back than to look
    /// for changes by others, for which there is [`Kernel::repair`].
    ///
    /// With iptables-legacy, of which the kernel notifies nobody, it is always a listing of everything.
    pub fn read_back(&self, desired: &Ruleset, scope: Scope) -> Option<ReadBack> {
        let Mirror { state, decision, .. } = self.mirror.as_ref()?;
        let is_whole = !self.came_over
            && state.without_table.is_none()
            && state.odd_sets.is_empty()
            && state.sets.keys().eq(desired.sets.keys())
            && desired.bridges.is_subset(&state.filtered_bridges);
        if !is_whole {
            return None;
        }
        let (bridges, bound) = match (&desired.anti_spoofing, decision) {
            (Some(wanted), Some(decision)) => {
                let bridges = decision.all(wanted, &desired.bridges);
                let bound = decision.known_ports(wanted, &bridges, &BTreeSet::new());
                (bridges, bound)
            }
            _ => Default::default(),
        };
        let (known, epoch) = (State { ports: BTreeSet::new(), ..state.clone() }, Arc::clone(&self.epoch));
        let (variant, scope) = (self.variant, if self.variant == Variant::Nft { scope } else { Scope::Everything });
        Some(ReadBack { variant, scope, known, bridges, bound, epoch })
    }

    /// Sets right what a listing found, and what differs otherwise. Whether others have changed something is in the outcome.
    pub fn settle(&mut self, found: Found, desired: &Ruleset) -> Result<Outcome, Error> {
        let Some(Mirror { state, .. }) = &self.mirror else { return self.repair(desired) };
        if found.is_ours(state, desired) {
            let moved = found.moved(&state.ports);
            if !moved.is_empty() {
                // What notifications came to and what a listing shows are not the same, or not yet.
                self.links.forget();
            }
            self.moved.extend(Touched::Only(moved));
            return self.enforce(desired);
        }
        // Nothing is known that is newer.
        if Arc::ptr_eq(&found.epoch, &self.epoch) && !self.without_sctp {
            let (mirror, mut observed) = (self.mirror.take(), found.observed);
            self.ask_for_table(&mut observed);
            return self.repair_observed(mirror, observed, desired);
        }
        self.repair(desired)
    }

    /// Removes what the other variant holds of ours, once this one holds all of it: it would go on to judge packets by what
    /// was known then. Returns whether there was anything. A table that cannot be read holds nothing of ours that anybody
    /// could have put there with iptables.
    fn leave_other_variant(&mut self) -> Result<bool, Error> {
        if !self.came_over {
            return Ok(false);
        }
        let other = self.variant.other();
        let Some(held) = read_back::observe_rules(other).ok().filter(|_| preflight::has_commands(other)) else {
            self.came_over = false;
            return Ok(false);
        };
        let steps = removal(&held);
        let mut kernel = Kernel { came_over: false, ..Kernel::new(other, self.without_table.clone()) };
        kernel.apply(&steps)?;
        self.came_over = false;
        Ok(!steps.is_empty())
    }

    /// Reads anew what these bridges do, by interface index, and takes the rest of the kernel for what it is known to be. What
    /// differs is set right by the next [`Kernel::enforce`], which reads their ports as well. A bridge that does not exist is
    /// left as it was remembered: its network is about to go, or the bridge to come.
    pub fn observe_links(&mut self, touched: &Touched<u32>) -> Result<(), Error> {
        let Some(mirror) = &mut self.mirror else { return Ok(()) };
        self.epoch = Arc::default();
        self.links.catch_up();
        let read = match touched {
            // One that is gone cannot say which it was.
            Touched::Only(these) => {
                these.iter().map(|index| bridge::switch(*index)).collect::<Result<Vec<_>, _>>().ok()
            }
            Touched::Any => None,
        };
        let switches: BTreeMap<InterfaceName, bool> = if let Some(found) = read {
            let found: BTreeMap<InterfaceName, bool> = found.into_iter().flatten().collect();
            self.moved.extend(Touched::Only(found.keys().cloned().collect()));
            found
        } else {
            self.moved = Touched::Any;
            bridge::switches().map_err(Error::Bridges)?
        };
        for (bridge, filtered) in switches {
            if filtered {
                mirror.state.filtered_bridges.insert(bridge);
            } else {
                mirror.state.filtered_bridges.remove(&bridge);
            }
        }
        Ok(())
    }

    /// Where our jumps stand in a kernel that holds a ruleset.
    pub fn anchors(&self) -> Vec<Jump> {
        self.mirror.as_ref().map(|mirror| mirror.state.jumps.keys().cloned().collect()).unwrap_or_default()
    }

    /// Makes the kernel hold the ruleset before an engine has started, so that the engine's start does not open it.
    ///
    /// In the filter table, an engine puts its own rules above ours in FORWARD, or its jump to DOCKER-USER above them; which,
    /// differs between versions, and some add that jump only together with the chain. So there ours stands in both places: in
    /// FORWARD, where [`Kernel::repair`] puts it while nothing leads to DOCKER-USER, and where `anchors` say it stood.
    ///
    /// A bridge that does not exist yet is made, because only a bridge that exists can be told to show its traffic to
    /// netfilter; an engine takes the bridge of a network that it finds.
    pub fn prepare(&mut self, desired: &Ruleset, anchors: &[Jump]) -> Result<Outcome, Error> {
        let mut problems = Vec::new();
        let present = bridge::switches().map_err(Error::Bridges)?;
        for bridge in desired.bridges.iter().filter(|bridge| !present.contains_key(bridge)) {
            problems.extend(make_bridge(bridge).err());
        }
        let mut outcome = self.repair(desired)?;
        let standing = self.anchors();
        // What an earlier version kept may be of another table than the rules are in now.
        let is_wanted = |jump: &&Jump| {
            let leads = |to: &Jump| (to.family, to.table, to.hook) == (jump.family, jump.table, jump.hook);
            jump.chain == DOCKER_USER && !standing.contains(jump) && standing.iter().any(leads)
        };
        for jump in anchors.iter().filter(is_wanted) {
            let failed = |source| Error::Step { step: Box::new(Step::InsertJump(jump.clone())), source };
            self.make_chain(jump.family, &jump.chain).map_err(failed)?;
            self.apply(&[Step::InsertJump(jump.clone())])?;
            outcome.steps.push(Step::InsertJump(jump.clone()));
        }
        // That a bridge is not there has its reason in why it could not be made.
        outcome.problems.retain(|problem| !matches!(problem, Problem::NoBridge { .. }));
        outcome.problems.extend(problems);
        Ok(outcome)
    }

    /// `decision` is about what is desired, and what was seen of the bridges; `held` are the chains whose rules are in the
    /// kernel, if they are known, and `outdated` the bridges about which was decided anew, if not about all.
    fn carry_out(
        &mut self,
        from: &State,
        desired: &Ruleset,
        mut decision: Option<Decision>,
        held: Option<&Chains>,
        mut outdated: Option<&BTreeSet<InterfaceName>>,
    ) -> Result<Outcome, Error> {
        let mut steps = plan_decided(from, desired, decision.as_ref(), held);
        let mut problems = self.apply(&steps)?;
        let mut state = from.after_decided(desired, decision.as_ref(), held);
        if let Some(reason) = failed_table(&problems).map(ToOwned::to_owned) {
            // It is left as it is until the kernel is read again, and nobody else's change.
            state.table.clone_from(&from.table);
            state.former_table.clone_from(&from.former_table);
            state.without_table = Some(reason);
            // Without it nobody is asked for a port.
            decision = decision.map(|_| Decision::default());
            outdated = None;
            steps.retain(|step| !matches!(step, Step::Table(_) | Step::Elements(_)));
            // It is among the lasting problems now.
            problems.retain(|problem| desired.anti_spoofing.is_none() || !matches!(problem, Problem::Spoofing { .. }));
        }
        // What was not done is remembered as it is, so that it is tried again and no set is taken for a new one.
        let undestroyed = undestroyed(&problems);
        state.keep_sets(&from.sets, &undestroyed);
        state.odd_sets.extend(from.odd_sets.iter().filter(|name| undestroyed.contains(name.as_str())).cloned());
        for problem in &problems {
            if let Problem::UnfilteredBridge { bridge, .. } | Problem::NoBridge { bridge } = problem {
                state.filtered_bridges.remove(bridge);
                // It was not taken, and will be tried at every read-back: that is nobody's change.
                steps.retain(|step| *step != Step::FilterBridge(bridge.clone()));
            }
        }
        if let Some(wanted) = &desired.anti_spoofing {
            if let (Some(outdated), Some(decision)) = (outdated, &decision) {
                self.sightings.see_bound(Instant::now(), outdated, &decision.held(wanted, outdated), wanted);
            } else {
                let bridges = decision.iter().flat_map(|decision| decision.all(wanted, &desired.bridges)).collect();
                self.sightings.see_bound(Instant::now(), &bridges, &antispoof::held(wanted, &state), wanted);
            }
        }
        let chains = desired.chains.clone();
        Ok(self.remember(steps, problems, Mirror { state, chains, decision }, desired))
    }

    fn remember(&mut self, steps: Vec<Step>, mut problems: Vec<Problem>, mirror: Mirror, desired: &Ruleset) -> Outcome {
        let standing = mirror.state.problems_decided(desired, mirror.decision.as_ref());
        // A bridge that could not be switched is in both lists, here with the reason.
        problems.extend(standing.into_iter().filter(|problem| !matches!(problem, Problem::UnfilteredBridge { .. })));
        self.mirror = Some(mirror);
        let drift = steps.iter().any(|step| !matches!(step, Step::Elements(_)));
        Outcome { steps, problems, drift }
    }

    /// Has the kernel judge a ruleset without touching what is in force, in a network namespace that ends with the call.
    /// Its failure names the step and, where the tools say so, the line.
    pub fn test(&self, desired: &Ruleset) -> Result<(), Error> {
        let mut kernel = self.for_trial();
        // Bridges do not exist there, and what the table against spoofing holds is of no policy's making.
        let desired = Ruleset { bridges: BTreeSet::new(), anti_spoofing: None, ..desired.clone() };
        let trial = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::NoTrial(errno.into()))?;
            kernel.repair(&desired).map(drop)
        });
        trial.join().unwrap_or_else(|_| Err(Error::NoTrial(std::io::Error::other("the trial panicked"))))
    }

    /// As [`Kernel::test`], for a ruleset that no kernel refuses which can enforce anything: where this fails, a trial says
    /// nothing about the ruleset that is tried.
    pub fn test_nothing(&self) -> Result<(), Error> {
        let mut nothing = Ruleset::default();
        for family in Family::ALL {
            let set = SetName::known(family);
            let members = OrdSet::new();
            nothing.sets.insert(set.clone(), AddressSet { family, kind: SetKind::NetInterface, members });
            let known = Match::Set { side: Side::Source, set, kind: SetKind::NetInterface, negated: false };
            let rule = Rule { matches: [known].into(), action: Action::Return, comment: "nothing".into() };
            nothing.chains.insert(family, [(ChainName::base(Hook::Forward), vec![rule].into())].into());
        }
        self.test(&nothing)
    }

    /// One that knows nothing yet but what this machine lacks: that is no fault of a ruleset.
    fn for_trial(&self) -> Kernel {
        let without_sctp = self.without_sctp;
        Kernel { came_over: false, without_sctp, ..Kernel::new(self.variant, self.without_table.clone()) }
    }
}

/// Why a step of the table against spoofing failed, if one did.
fn failed_table(problems: &[Problem]) -> Option<&str> {
    problems.iter().find_map(|problem| match problem {
        Problem::Spoofing { reason } => Some(reason.as_str()),
        _ => None,
    })
}

/// The sets that a step could not destroy.
fn undestroyed(problems: &[Problem]) -> BTreeSet<&str> {
    problems
        .iter()
        .filter_map(|problem| match problem {
            Problem::SetInUse { set, .. } => Some(set.as_str()),
            Problem::UnfilteredBridge { .. }
            | Problem::NoBridge { .. }
            | Problem::ForeignReference { .. }
            | Problem::Spoofing { .. }
            | Problem::Sctp
            | Problem::Unbound { .. } => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_fails_no_trial() {
        let reason = Some("the command `nft` is not in PATH".to_owned());
        let kernel = Kernel::new(Variant::Nft, reason.clone());
        assert_eq!(kernel.for_trial().without_table, reason, "the trial would look for the table with that command");
    }
}
