//! Compiling everything, and what has changed.
//!
//! Input: policies, inventory, options; later the containers that have changed. Output: a [`Compiled`]. Which rules there are
//! depends on policies, networks and classes; who is in a set depends on the containers alone. So a container that joins or
//! leaves a class that others are in changes members and no rule, and that is all that is done then. An edit of rules changes
//! their chains and nobody's class. Whatever else may differ is compiled anew; all of it comes to the same ruleset, as a
//! property test holds.

mod edit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdSet;

use crate::inventory::{Container, Endpoint, Former, Inventory, Network, NetworkId, PublishedPort};
use crate::net::{Cidr, Family, InterfaceName};
use crate::policy::{Direction, PolicySet};
use crate::ruleset::{AntiSpoofing, Chains, Member, packed};

use super::chains::dispatch::FEW;
use super::chains::{ChainBuilder, Class, GovernedNetwork, Source};
use super::label_sets::LabelSets;
use super::made::Made;
use super::membership::{Candidate, Membership, Shown, by_container, candidates};
use super::sets::SetBuilder;
use super::{Compiled, Options};

/// Label sets that may come to be known beyond twice those of the last full compilation until there is another. Where
/// selectors ask for names of containers, every new container has one of its own.
const SPARE_LABEL_SETS: usize = 1000;

/// A ruleset, with what is needed to follow its containers.
#[derive(Debug)]
pub struct Compiler {
    /// The policies that were compiled.
    policies: PolicySet,
    compiled: Compiled,
    /// What was made of the rules of policies.
    made: Made,
    /// Up to so many networks and classes stand in a row.
    few: usize,
    label_sets: LabelSets,
    membership: Membership,
    /// Members that sets have whoever is there: blocks of network sets, by number of the set.
    fixed: HashMap<usize, OrdSet<Member>>,
    /// How many endpoints have each address.
    owners: HashMap<IpAddr, usize>,
    /// Label sets at the last full compilation.
    label_sets_at_first: usize,
}

impl Compiler {
    /// Compiles everything.
    pub fn new(policies: &PolicySet, inventory: &Inventory, options: &Options) -> Compiler {
        Compiler::with_rows_of(FEW, policies, inventory, options)
    }

    /// Compiles everything, with up to `few` networks and classes in a row.
    pub(crate) fn with_rows_of(few: usize, policies: &PolicySet, inventory: &Inventory, options: &Options) -> Compiler {
        Compiler::after(few, policies, inventory, options, Made::default(), &Chains::default())
    }

    /// Compiles everything anew, with what was made of rules.
    #[must_use]
    pub fn anew(self, policies: &PolicySet, inventory: &Inventory, options: &Options) -> Compiler {
        let Compiler { few, made, compiled, .. } = self;
        Compiler::after(few, policies, inventory, options, made, &compiled.ruleset.chains)
    }

    fn after(
        few: usize,
        policies: &PolicySet,
        inventory: &Inventory,
        options: &Options,
        former: Made,
        former_chains: &Chains,
    ) -> Compiler {
        let mut label_sets = LabelSets::new(policies);
        let all = all_candidates(&mut label_sets, policies, inventory);
        let networks = governed_networks(policies, inventory, &label_sets, &all);
        let publishes =
            |endpoint: &&Endpoint<'_>| endpoint.network.is_some() && !endpoint.container.published.is_empty();
        let publishing: Vec<_> = all.iter().map(|candidate| &candidate.endpoint).filter(publishes).collect();
        let source = Source { policies, options, networks: &networks, publishing: &publishing, few };
        let Built { compiled, membership, made } = build(source, inventory, former, former_chains);
        let label_sets_at_first = label_sets.distinct.len();
        let (owners, fixed) = (HashMap::new(), HashMap::new());
        let policies = policies.clone();
        let mut whole =
            Compiler { policies, compiled, made, few, label_sets, membership, fixed, owners, label_sets_at_first };
        whole.fill(&all);
        whole
    }

    /// The ruleset.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The ruleset alone.
    pub fn into_compiled(self) -> Compiled {
        self.compiled
    }

    /// How many endpoints there are, and of how many policy is in force.
    pub fn endpoints(&self) -> (usize, usize) {
        (self.membership.endpoints, self.membership.governed)
    }

    /// Whether a network is governed although no policy selected anybody who was there at the last compilation.
    pub fn awaits(&self, network: &NetworkId) -> bool {
        self.membership.awaits(network)
    }

    /// How many endpoints there were on a network at the last compilation, those out of reach included.
    pub fn endpoints_on(&self, network: &NetworkId) -> usize {
        self.membership.endpoints_on(network)
    }

    /// Notes whether the engine is away; see [`AntiSpoofing::frozen`].
    pub fn set_frozen(&mut self, frozen: bool) {
        if let Some(anti_spoofing) = &mut self.compiled.ruleset.anti_spoofing {
            anti_spoofing.frozen = frozen;
        }
    }

    /// Follows the change of some containers, where they change nothing but members. Returns whether it did; where it did
    /// not, everything is to be compiled anew. Policies and networks are those of the beginning, and `former` has every
    /// container that differs from the last time.
    #[must_use]
    pub fn follow(&mut self, policies: &PolicySet, inventory: &Inventory, former: &Former) -> bool {
        let mut changes = Vec::new();
        for (id, before) in former {
            let before = before.as_ref().map(|container| self.candidates(policies, inventory, container));
            let after = inventory.containers.get(id).map(|container| self.candidates(policies, inventory, container));
            let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
            if !same_services(&before, &after) {
                return false;
            }
            changes.push((before, after));
        }
        if self.label_sets.distinct.len() > 2 * self.label_sets_at_first + SPARE_LABEL_SETS {
            return false;
        }
        self.membership.pick(&self.label_sets);
        // All leave before any comes, so that an address which goes from one to another has one owner. Classes are counted at
        // the end: one that is left and joined at once is no other.
        let mut left = Vec::new();
        for (before, _) in &changes {
            if !self.count_out(before) {
                return false;
            }
            left.push(self.membership.of(&self.label_sets, before));
        }
        let mut come = Vec::new();
        for (_, after) in &changes {
            if !self.count_in(after) {
                return false;
            }
            come.push(self.membership.of(&self.label_sets, after));
        }
        if !self.membership.has_same_classes() {
            return false;
        }
        self.replace(&left, &come);
        true
    }

    fn candidates<'a>(
        &mut self,
        policies: &PolicySet,
        inventory: &'a Inventory,
        container: &'a Container,
    ) -> Vec<Candidate<'a>> {
        candidates(&mut self.label_sets, policies, inventory, container)
    }

    /// Puts all endpoints in, after the sets and classes are known.
    fn fill(&mut self, all: &[Candidate<'_>]) {
        self.membership.pick(&self.label_sets);
        let mut members: Vec<Vec<Member>> = vec![Vec::new(); self.membership.names.len()];
        let mut bindings = Vec::new();
        for of_container in by_container(all) {
            self.count_in(of_container);
            let shown = self.membership.of(&self.label_sets, of_container);
            for (set, member) in shown.members {
                members[set].push(member);
            }
            bindings.extend(shown.bindings);
        }
        self.membership.set_compiled();
        for (number, mut members) in members.into_iter().enumerate() {
            let Some(set) = self.compiled.ruleset.sets.get_mut(&self.membership.names[number]) else { continue };
            if !set.members.is_empty() {
                self.fixed.insert(number, set.members.clone());
                members.extend(set.members.iter().cloned());
            }
            members.sort_unstable();
            set.members = packed(members);
        }
        if let Some(anti_spoofing) = &mut self.compiled.ruleset.anti_spoofing {
            bindings.sort_unstable();
            anti_spoofing.bindings = packed(bindings);
        }
    }

    /// Counts endpoints that are new. Returns whether each has its addresses alone.
    fn count_in(&mut self, candidates: &[Candidate<'_>]) -> bool {
        let mut alone = true;
        for candidate in candidates {
            for address in addresses(&candidate.endpoint) {
                let owners = self.owners.entry(address).or_default();
                *owners += 1;
                alone &= *owners == 1;
            }
            self.membership.count(&self.label_sets, candidate, 1);
        }
        alone
    }

    /// Counts endpoints no more. Returns whether each had its addresses alone.
    fn count_out(&mut self, candidates: &[Candidate<'_>]) -> bool {
        let mut alone = true;
        for candidate in candidates {
            for address in addresses(&candidate.endpoint) {
                alone &= self.owners.remove(&address) == Some(1);
            }
            self.membership.count(&self.label_sets, candidate, -1);
        }
        alone
    }

    fn replace(&mut self, left: &[Shown], come: &[Shown]) {
        let ruleset = &mut self.compiled.ruleset;
        for (number, member) in left.iter().flat_map(|shown| &shown.members) {
            let is_fixed = self.fixed.get(number).is_some_and(|fixed| fixed.contains(member));
            if let Some(set) = ruleset.sets.get_mut(&self.membership.names[*number]).filter(|_| !is_fixed) {
                set.members.remove(member);
            }
        }
        for (number, member) in come.iter().flat_map(|shown| &shown.members) {
            if let Some(set) = ruleset.sets.get_mut(&self.membership.names[*number]) {
                set.members.insert(member.clone());
            }
        }
        if let Some(anti_spoofing) = &mut ruleset.anti_spoofing {
            for binding in left.iter().flat_map(|shown| &shown.bindings) {
                anti_spoofing.bindings.remove(binding);
            }
            anti_spoofing.bindings.extend(come.iter().flat_map(|shown| &shown.bindings).cloned());
        }
    }
}

/// A ruleset without endpoints, with who belongs where.
struct Built {
    compiled: Compiled,
    membership: Membership,
    made: Made,
}

/// Makes the rules, the sets that they ask for, and everything else that depends on policies and networks. `former` is what the
/// last compilation made.
fn build(source: Source<'_, '_>, inventory: &Inventory, former: Made, former_chains: &Chains) -> Built {
    let networks = source.networks;
    let mut sets = SetBuilder::after(source.policies, inventory, former);
    for governed in networks {
        sets.membership.govern(&governed.network.id, &governed.bridge);
    }
    if networks.iter().any(|governed| !governed.egress.is_empty()) {
        sets.membership.judge_all();
    }
    let mut compiled = Compiled::default();
    let none = BTreeMap::new();
    for family in Family::ALL {
        if !networks.is_empty() {
            sets.places(family, ungoverned_subnets(inventory, networks, family).into_iter());
            let bridged = inventory.networks.values().filter(|network| network.bridge.is_some());
            sets.bridged_subnets(family, bridged.flat_map(|network| &network.subnets));
        }
        let former = former_chains.get(&family).unwrap_or(&none);
        let mut builder = ChainBuilder::new(source, family, &mut sets, former);
        builder.base_chains(networks);
        let (chains, origins) = builder.finish();
        compiled.ruleset.chains.insert(family, chains);
        compiled.origins.extend(origins);
    }
    compiled.ruleset.anti_spoofing = (!networks.is_empty()).then(|| without_bindings(networks));
    compiled.ruleset.bridges = networks.iter().map(|governed| governed.bridge.clone()).collect();
    let (sets, meanings, membership, made) = sets.finish();
    (compiled.ruleset.sets, compiled.meanings) = (sets, meanings);
    Built { compiled, membership, made }
}

fn all_candidates<'a>(
    label_sets: &mut LabelSets,
    policies: &PolicySet,
    inventory: &'a Inventory,
) -> Vec<Candidate<'a>> {
    let containers = inventory.containers.values();
    containers.flat_map(|container| candidates(label_sets, policies, inventory, container)).collect()
}

fn addresses(endpoint: &Endpoint<'_>) -> impl Iterator<Item = IpAddr> {
    Family::ALL.into_iter().filter_map(|family| endpoint.address(family))
}

/// Whether published ports, which have rules of their own, are the same ports of the same endpoints.
fn same_services(before: &[Candidate<'_>], after: &[Candidate<'_>]) -> bool {
    let published = |candidates: &[Candidate<'_>]| -> Vec<PublishedPort> {
        candidates.first().map(|first| first.endpoint.container.published.clone()).unwrap_or_default()
    };
    let (ports_before, ports_after) = (published(before), published(after));
    if ports_before.is_empty() && ports_after.is_empty() {
        return true;
    }
    let is_same = |(before, after): (&Candidate<'_>, &Candidate<'_>)| {
        let (one, other) = (&before.endpoint, &after.endpoint);
        (before.label_set, &before.named_ports) == (after.label_set, &after.named_ports)
            && (one.network, &one.unenforceable) == (other.network, &other.unenforceable)
            && addresses(one).eq(addresses(other))
    };
    ports_before == ports_after && before.len() == after.len() && before.iter().zip(after).all(is_same)
}

/// The networks on which a policy is in force, with their classes, by network name.
///
/// An endpoint counts as soon as it is known, address or not: so the gate of a network is closed before its first
/// container has an address. As long as nobody is on a network, any policy may select whoever comes first, so that its gate
/// is closed, too, and is when dockgate is late or does not run at that moment. It stays closed for a moment after that: the
/// first that is known need not be the first that is there. Not so where others may be on the bridge whom the engine does not
/// list: see [`Network::has_own_bridge`].
fn governed_networks<'a>(
    policies: &'a PolicySet,
    inventory: &'a Inventory,
    label_sets: &LabelSets,
    candidates: &'a [Candidate<'a>],
) -> Vec<GovernedNetwork<'a>> {
    let mut by_network: BTreeMap<_, (&'a Network, Vec<&'a Candidate<'a>>)> = BTreeMap::new();
    let mut awaiting: BTreeMap<_, &'a Network> = BTreeMap::new();
    if policies.policies.iter().any(|policy| !policy.key.kind.is_staged()) {
        let of_containers = inventory.networks.values().filter(|network| network.has_own_bridge());
        awaiting.extend(of_containers.map(|network| (&network.id, network)));
    }
    for candidate in candidates {
        let Some(network) = candidate.endpoint.network else { continue };
        if !inventory.arrivals.contains(&network.id) {
            awaiting.remove(&network.id);
        }
        if candidate.endpoint.unenforceable.is_none() {
            let entry = by_network.entry((&network.name, &network.id)).or_insert((network, Vec::new()));
            entry.1.push(candidate);
        }
    }
    for network in awaiting.values() {
        by_network.entry((&network.name, &network.id)).or_insert((network, Vec::new()));
    }
    let mut governed = Vec::new();
    for (network, candidates) in by_network.into_values() {
        let classes = Direction::ALL.map(|direction| classes(policies, label_sets, &candidates, direction));
        if !awaiting.contains_key(&network.id) && classes.iter().all(Vec::is_empty) {
            continue;
        }
        let [ingress, egress] = classes;
        if let Some(bridge) = network.bridge.clone() {
            governed.push(GovernedNetwork { network, bridge, ingress, egress });
        }
    }
    governed
}

/// Endpoints that the same policies govern in a direction, in the order of those policies.
fn classes<'a>(
    policies: &'a PolicySet,
    label_sets: &LabelSets,
    candidates: &[&'a Candidate<'a>],
    direction: Direction,
) -> Vec<Class<'a>> {
    let mut by_policies: HashMap<&Arc<[usize]>, Class<'a>> = HashMap::new();
    for candidate in candidates {
        let governing = label_sets.distinct[candidate.label_set].governing(direction);
        if governing.is_empty() {
            continue;
        }
        let class = by_policies.entry(governing).or_insert_with(|| Class::new(policies, governing, Vec::new()));
        class.members.push(&candidate.endpoint);
    }
    Class::sorted(by_policies.into_values())
}

/// Of networks without policy everything is known that may come from their bridges: a policy elsewhere may trust a
/// container there, and nobody who is not on that bridge may claim its address.
fn ungoverned_subnets(
    inventory: &Inventory,
    governed: &[GovernedNetwork<'_>],
    family: Family,
) -> BTreeSet<(Cidr, InterfaceName)> {
    let governed: BTreeSet<_> = governed.iter().map(|governed| &governed.bridge).collect();
    let mut members = BTreeSet::new();
    for network in inventory.networks.values() {
        let Some(bridge) = network.bridge.as_ref().filter(|bridge| !governed.contains(bridge)) else { continue };
        let subnets = network.subnets.iter().filter(|subnet| subnet.family() == family);
        members.extend(subnets.flat_map(|subnet| subnet.storable()).map(|subnet| (subnet, bridge.clone())));
    }
    members
}

fn without_bindings(networks: &[GovernedNetwork<'_>]) -> AntiSpoofing {
    AntiSpoofing {
        bindings: OrdSet::new(),
        gateways: networks.iter().flat_map(|governed| governed.network.gateways.iter().copied()).collect(),
        subnets: networks.iter().flat_map(|governed| governed.network.subnets.iter().copied()).collect(),
        frozen: false,
    }
}

#[cfg(test)]
mod tests;
