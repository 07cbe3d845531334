//! The controller's state and what it makes of each event: pure, without kernel, files or clock.
//!
//! Input: an [`Event`]. Output: what it asks of the kernel, a [`Need`], and the ruleset that is to be there. One owner
//! holds this state; nothing in it is shared or locked.

mod arrivals;
mod settling;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::compile::{self, Compiled, Compiler};
use crate::inventory::{Change, Container, ContainerId, Difference, Engine, Former, Inventory, NetworkId};
use crate::policy::{
    Diagnostic, Direction, Peer, Policy, PolicyKey, PolicySet, Rule, RuleAction, SourceFile, Store, Update, files,
};
use crate::ruleset::Ruleset;
use crate::telemetry::chain;
use crate::verdict::flow::{Concerned, Judge, concerned};

use arrivals::Arrivals;
use settling::Settling;
pub use settling::{Doubt, LocalPorts};

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// The policy directory was read, or could not be.
    Policies(Result<Vec<SourceFile>, files::Error>),
    /// Docker changed.
    Inventory(Change),
}

/// What an event asks of the kernel, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The difference between what we applied last and what is wanted now.
    Apply,
    /// Bridges are to be read first, because one of them has changed.
    ObserveLinks,
    /// The same, and the kernel is to be read back soon, because somebody else may have changed it: Docker rewrites its own
    /// chains whenever a network is created, and moves our jump in FORWARD below its own rules.
    ObserveSoon,
    /// The kernel is to be read first, because somebody else may have changed it: Docker has started.
    Observe,
}

/// What is known of the policy directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// The policies in force.
    pub policies: PolicySet,
    /// Findings about the files as they are now.
    pub diagnostics: Vec<Diagnostic>,
    /// Files of which an earlier version is in force; see [`Update::held`].
    pub held: Vec<PathBuf>,
    /// Invalid files that have no good version.
    pub missing: Vec<PathBuf>,
    /// Number of files read.
    pub files: usize,
    /// Why the directory could not be read the last time.
    pub unreadable: Option<String>,
}

/// The state of the loop.
#[derive(Debug)]
pub struct Core {
    options: compile::Options,
    store: Store,
    policies: Option<PolicyState>,
    inventory: Option<Inventory>,
    /// Whether nobody has said yet on whose published ports policy was in force before this controller.
    is_new: bool,
    unreachable: Option<String>,
    /// `None` until the engine that is connected has said what it is.
    engine: Option<Engine>,
    refused: BTreeSet<PolicyKey>,
    settling: Settling,
    arrivals: Arrivals,
    /// The ruleset as it was compiled last; `None` where policies or networks differ by now.
    compiler: Option<Compiler>,
    /// As it was compiled last, where they do.
    outdated: Option<Compiler>,
    /// Whether networks differ.
    rewired: bool,
    /// Containers that have changed since it was compiled, as they were then.
    changed: Former,
    /// Containers of which there may be something to tell: see [`is_remarkable`].
    remarkable: BTreeSet<ContainerId>,
    /// The ruleset by which the open flows were judged last; `None` before the first time, or when it is the wanted one.
    judged: Option<Ruleset>,
    /// Whether the open flows were judged by the ruleset that was compiled last.
    is_judged: bool,
    /// Containers that have changed since the open flows were judged last, as they were then; `None` before the first time.
    since_judged: Option<Former>,
}

impl Core {
    /// The state before anything is known.
    pub fn new(options: compile::Options, store: Store) -> Core {
        Core {
            options,
            store,
            policies: None,
            inventory: None,
            is_new: true,
            unreachable: None,
            engine: None,
            refused: BTreeSet::new(),
            settling: Settling::default(),
            arrivals: Arrivals::default(),
            compiler: None,
            outdated: None,
            rewired: false,
            changed: Former::new(),
            remarkable: BTreeSet::new(),
            judged: None,
            is_judged: false,
            since_judged: None,
        }
    }

    /// Takes an event.
    pub fn take(&mut self, event: Event) -> Need {
        match event {
            Event::Policies(Ok(files)) => self.take_files(&files),
            Event::Policies(Err(error)) => self.take_unreadable(&error),
            Event::Inventory(Change::Unreachable(reason)) => {
                // Bindings of addresses to ports are frozen from now on.
                let need = if self.unreachable.is_none() && self.is_complete() { Need::Apply } else { Need::Nothing };
                self.unreachable = Some(reason);
                self.arrivals.wait();
                // The one that comes back may be another.
                self.engine = None;
                need
            }
            Event::Inventory(Change::Engine(engine)) => {
                self.engine = Some(engine);
                Need::Nothing
            }
            Event::Inventory(change) => self.take_change(change),
        }
    }

    /// The ruleset is about to be another one. That by which flows were judged is kept, to compare with.
    fn supersede(&mut self) {
        if std::mem::take(&mut self.is_judged) {
            self.judged = self.compiler.as_ref().map(|compiler| compiler.compiled().ruleset.clone());
        }
    }

    /// More has changed than containers.
    fn invalidate(&mut self) {
        self.supersede();
        self.outdated = self.compiler.take().or_else(|| self.outdated.take());
    }

    /// Networks have changed, or which of them are kept closed.
    fn rewire(&mut self) {
        self.rewired = true;
        self.invalidate();
    }

    /// These containers have changed.
    fn note(&mut self, difference: Difference) {
        if !difference.is_any() {
            return;
        }
        self.note_arrivals(&difference);
        self.supersede();
        self.remark(&difference);
        if difference.networks {
            self.rewire();
        }
        self.settling.wait_for(difference.containers.keys());
        if let Some(since_judged) = &mut self.since_judged {
            for (id, former) in &difference.containers {
                since_judged.entry(id.clone()).or_insert_with(|| former.clone());
            }
        }
        for (id, former) in difference.containers {
            self.changed.entry(id).or_insert(former);
        }
    }

    /// Keeps account of the containers of which there may be something to tell, so that nobody has to ask all of them for
    /// each status.
    fn remark(&mut self, difference: &Difference) {
        let Some(inventory) = &self.inventory else { return };
        if difference.networks {
            let all = inventory.containers.values().filter(|container| is_remarkable(container, inventory));
            self.remarkable = all.map(|container| container.id.clone()).collect();
            return;
        }
        for id in difference.containers.keys() {
            if inventory.containers.get(id).is_some_and(|container| is_remarkable(container, inventory)) {
                self.remarkable.insert(id.clone());
            } else {
                self.remarkable.remove(id);
            }
        }
    }

    fn take_files(&mut self, files: &[SourceFile]) -> Need {
        let update = self.store.update(files);
        self.take_update(update)
    }

    fn take_update(&mut self, update: Update) -> Need {
        let before = self.policies.take();
        let changed = before.as_ref().is_none_or(|before| before.policies != update.policies);
        if changed {
            self.refused.clear();
            self.invalidate();
        }
        self.policies = Some(PolicyState {
            policies: update.policies,
            diagnostics: update.diagnostics,
            held: update.held,
            missing: update.missing,
            files: update.files,
            unreadable: None,
        });
        if changed { Need::Apply } else { Need::Nothing }
    }

    /// A directory that cannot be read is an error, not an empty policy: what was in force stays, and after a restart
    /// the last good versions of all files are taken.
    fn take_unreadable(&mut self, error: &files::Error) -> Need {
        let reason = chain(error);
        if let Some(state) = &mut self.policies {
            state.unreadable = Some(reason);
            return Need::Nothing;
        }
        let last_good = self.store.last_good();
        let need = self.take_update(last_good);
        if let Some(state) = &mut self.policies {
            state.unreadable = Some(reason);
        }
        need
    }

    fn take_change(&mut self, change: Change) -> Need {
        let by_docker = match change {
            Change::Snapshot(_) => Some(Need::Observe),
            Change::Network(_) | Change::NetworkGone(_) => Some(Need::ObserveSoon),
            _ => None,
        };
        // A stream that has broken begins anew with a snapshot.
        if matches!(change, Change::Snapshot(_)) {
            self.unreachable = None;
        } else if self.inventory.is_none() {
            // A change before the first listing is part of that listing.
            return Need::Nothing;
        }
        self.note_networks(&change);
        let difference = self.inventory.get_or_insert_default().apply(change);
        let differs = difference.is_any();
        self.note(difference);
        by_docker.unwrap_or(if differs { Need::Apply } else { Need::Nothing })
    }

    /// Whether [`Core::recognise`] is to be called before the wanted ruleset is carried to the kernel.
    pub fn is_new(&self) -> bool {
        self.is_new && self.is_complete()
    }

    /// Asks which of the containers that are known by now have had policy in force on their published ports all the time. The
    /// ports of the others settle as those of a container that starts now: it may have done so while no controller ran.
    pub fn recognise(&mut self, judged: impl FnOnce(&Inventory, &Ruleset) -> Vec<ContainerId>) {
        self.compiled();
        let (Some(inventory), Some(compiler)) = (&self.inventory, &self.compiler) else { return };
        for id in judged(inventory, &compiler.compiled().ruleset) {
            self.judge_ports(&id, true);
        }
        self.is_new = false;
    }

    /// Keeps policies out that the kernel refused: in their place stands a rule that denies what they select, because
    /// leaving them out could open what they close. Returns whether anything differs now.
    pub fn refuse(&mut self, policies: BTreeSet<PolicyKey>) -> bool {
        let changed = policies != self.refused;
        if changed {
            self.refused = policies;
            self.invalidate();
        }
        changed
    }

    /// Whether both policies and inventory are known. Nothing is written before.
    pub fn is_complete(&self) -> bool {
        self.policies.is_some() && self.inventory.is_some()
    }

    /// The wanted ruleset; `None` until both policies and inventory are known. It is compiled here, once for however
    /// many events came before.
    pub fn compiled(&mut self) -> Option<&Compiled> {
        let (Some(state), Some(inventory)) = (&self.policies, &self.inventory) else { return None };
        let policies = if self.refused.is_empty() {
            Cow::Borrowed(&state.policies)
        } else {
            Cow::Owned(closed(&state.policies, &self.refused))
        };
        let changed = std::mem::take(&mut self.changed);
        let rewired = std::mem::take(&mut self.rewired);
        self.arrivals.compiled();
        let options = &self.options;
        let compiler = match (self.compiler.take(), self.outdated.take()) {
            (Some(mut known), _) => {
                let follows = changed.is_empty() || known.follow(&policies, inventory, &changed);
                if follows { known } else { known.anew(&policies, inventory, options) }
            }
            (None, Some(outdated)) if rewired => outdated.anew(&policies, inventory, options),
            (None, Some(outdated)) => outdated.brought_to(&policies, inventory, options, &changed),
            (None, None) => Compiler::new(&policies, inventory, options),
        };
        let compiler = self.compiler.insert(compiler);
        compiler.set_frozen(self.unreachable.is_some());
        Some(compiler.compiled())
    }

    /// How many endpoints there are, and of how many policy is in force; of none before the first compilation.
    pub fn endpoints(&self) -> (usize, usize) {
        let known = || self.inventory.as_ref().map_or(0, |inventory| inventory.endpoints().len());
        self.compiler.as_ref().map_or_else(|| (known(), 0), Compiler::endpoints)
    }

    /// Whose flows that were open when flows were judged last the wanted ruleset may forbid: before the first time anybody's.
    pub fn concerned(&self) -> Concerned {
        match (&self.judged, &self.compiler) {
            _ if self.is_judged => Concerned::Addresses(BTreeSet::new()),
            (Some(before), Some(after)) => concerned(before, &after.compiled().ruleset),
            _ => Concerned::Everybody,
        }
    }

    /// Notes that the open flows which the wanted ruleset forbids are known.
    pub fn flows_are_judged(&mut self) {
        self.is_judged = self.compiler.is_some();
        self.judged = None;
        self.since_judged = Some(Former::new());
    }

    /// The addresses that have come to endpoints since flows were judged last.
    pub fn newly_held(&self) -> NewlyHeld {
        let mut held = NewlyHeld::default();
        let (Some(inventory), Some(former)) = (&self.inventory, &self.since_judged) else { return held };
        // Whose container has not changed has the same addresses as before, and nobody else has them.
        let before = owners(former.values().flatten().map(Arc::as_ref));
        for (key, now) in owners(former.keys().filter_map(|id| inventory.containers.get(id))) {
            let (_, address) = key;
            let before = before.get(&key);
            if before.is_none_or(|before| *before != now || now.1.is_empty()) {
                held.addresses.insert(address);
            }
            if before.is_some_and(|before| {
                let reattached = before.1 != now.1 && !before.1.is_empty() && !now.1.is_empty();
                before.0 != now.0 || reattached
            }) {
                held.handed_on.insert(address);
            }
        }
        held
    }

    /// Whether there is a network that a policy governs, by what was compiled last. Without one no flow is forbidden.
    pub fn governs_anything(&self) -> bool {
        self.compiler.as_ref().is_some_and(|compiler| !compiler.compiled().ruleset.bridges.is_empty())
    }

    /// A judge of flows by the wanted ruleset; `None` until there is one. `host` are the addresses of this host.
    pub fn judge<'a>(&'a self, host: &'a BTreeSet<IpAddr>) -> Option<Judge<'a>> {
        Some(Judge::new(&self.compiler.as_ref()?.compiled().ruleset, self.inventory.as_ref()?, host))
    }

    /// What is known of the policy directory; `None` until it was read.
    pub fn policies(&self) -> Option<&PolicyState> {
        self.policies.as_ref()
    }

    /// What is known of Docker; `None` until it was listed.
    pub fn inventory(&self) -> Option<&Inventory> {
        self.inventory.as_ref()
    }

    /// The containers of which there may be something to tell: policy cannot reach them, or a label cannot be read.
    pub fn remarkable(&self) -> impl Iterator<Item = &Container> + Clone {
        let inventory = self.inventory.as_ref();
        self.remarkable.iter().filter_map(move |id| inventory?.containers.get(id))
    }

    /// Why the engine cannot be reached, while it cannot.
    pub fn unreachable(&self) -> Option<&str> {
        self.unreachable.as_deref()
    }

    /// What the engine has said of itself; `None` until it has.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Policies that the kernel refused.
    pub fn refused(&self) -> &BTreeSet<PolicyKey> {
        &self.refused
    }

    /// Last good versions of the policy files, to be kept across restarts.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The ruleset of one policy alone, to find out whether the kernel takes it.
    pub fn alone(&self, key: &PolicyKey) -> Option<Compiled> {
        let (state, inventory) = (self.policies.as_ref()?, self.inventory.as_ref()?);
        let policies = state.policies.policies.iter().filter(|policy| policy.key == *key).cloned().collect();
        let alone = PolicySet { policies, ..state.policies.clone() };
        Some(compile::compile(&alone, inventory, &self.options))
    }
}

/// Whether policy may be unable to reach a container, or a label of it cannot be read.
fn is_remarkable(container: &Container, inventory: &Inventory) -> bool {
    compile::may_be_out_of_reach(container, inventory) || !container.named_ports().1.is_empty()
}

/// Addresses of endpoints, by whose they were when flows were judged last.
#[derive(Debug, Default)]
pub struct NewlyHeld {
    /// Those that are not, beyond doubt, of the same endpoint as then.
    pub addresses: BTreeSet<IpAddr>,
    /// Those of them that were another endpoint's: a flow of the former must not reach the latter, whatever policy says of
    /// the two.
    pub handed_on: BTreeSet<IpAddr>,
}

/// A container, and Docker's id of its attachment to a network, which can be unknown and is empty then.
type Owner = (ContainerId, Arc<str>);

/// Endpoints by network and address.
type Owners = BTreeMap<(NetworkId, IpAddr), Owner>;

fn owners<'a>(containers: impl Iterator<Item = &'a Container>) -> Owners {
    let attachments = containers
        .flat_map(|container| container.attachments.iter().map(move |attachment| (&container.id, attachment)));
    let owned = attachments.flat_map(|(container, attachment)| {
        [attachment.ipv4, attachment.ipv6].into_iter().flatten().map(move |address| {
            ((attachment.network.clone(), address), (container.clone(), attachment.endpoint_id.clone()))
        })
    });
    owned.collect()
}

/// The policies with the rules of some replaced by one that denies everything.
fn closed(policies: &PolicySet, refused: &BTreeSet<PolicyKey>) -> PolicySet {
    let mut closed = policies.clone();
    for policy in closed.policies.iter_mut().filter(|policy| refused.contains(&policy.key)) {
        for direction in Direction::ALL {
            let deny = policy.rules(direction).map(|_| vec![deny_everything(policy)].into());
            match direction {
                Direction::Ingress => policy.ingress = deny,
                Direction::Egress => policy.egress = deny,
            }
        }
    }
    closed
}

fn deny_everything(policy: &Policy) -> Rule {
    Rule {
        index: 0,
        peer: None,
        action: RuleAction::Deny,
        family: None,
        protocol: None,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: Peer::default(),
        destination: Peer::default(),
        location: policy.location.clone(),
    }
}

#[cfg(test)]
mod tests;
