//! Policies and inventory to a ruleset.
//!
//! Input: a [`PolicySet`] and an [`Inventory`]. Output: a [`Ruleset`] and, for every policy comment in it, its origin.
//! Rules name classes of endpoints, never an endpoint: endpoints of a network that the same policies govern share a
//! chain and a set, so that a container that comes or goes changes set members and no rule.

mod chains;
pub mod clause;
mod gate;
mod label_sets;
mod meaning;
mod rules;
mod sets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::inventory::{Container, ContainerId, Endpoint, Inventory, Network, Unenforceable};
use crate::net::{Cidr, Family, InterfaceName};
use crate::policy::{Direction, Location, Policy, PolicyKey, PolicySet};
use crate::ruleset::{AntiSpoofing, Binding, Role, Ruleset, SetName};

pub use clause::Clause;
pub use gate::Gate;
pub use meaning::Meaning;

pub(crate) use rules::exists_in;

use chains::dispatch::FEW;
use chains::{ChainBuilder, Class, GovernedNetwork};
use label_sets::LabelSets;
use sets::{Candidate, SetBuilder};

/// How a denied packet is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyAction {
    /// Not at all.
    #[default]
    Drop,
    /// By a TCP reset or an ICMP error.
    Reject,
}

/// What the user chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Options {
    /// How a denied packet is answered.
    pub deny_action: DenyAction,
    /// NFLOG group of Log rules.
    pub log_group: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options { deny_action: DenyAction::Drop, log_group: 100 }
    }
}

/// Where a rule of the ruleset comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The policy; for the end of a tier, the last policy of it that governs the endpoint.
    pub policy: PolicyKey,
    /// Its tier.
    pub tier: String,
    /// Direction.
    pub direction: Direction,
    /// Index of the rule in the policy; `None` for the tier's default action.
    pub rule: Option<usize>,
    /// Where it stands in the files.
    pub location: Location,
}

/// A ruleset with its provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compiled {
    /// The ruleset.
    pub ruleset: Ruleset,
    /// Origin by rule comment. Fixed rules (gate, connection state) have none.
    pub origins: BTreeMap<String, Origin>,
    /// What each set stands for.
    pub meanings: BTreeMap<SetName, Meaning>,
}

/// Compiles. Total: whatever passed the checks of [`crate::policy`] has a ruleset.
pub fn compile(policies: &PolicySet, inventory: &Inventory, options: &Options) -> Compiled {
    compile_with(policies, inventory, options, FEW)
}

/// Compiles, with up to `few` networks and classes in a row.
pub(crate) fn compile_with(policies: &PolicySet, inventory: &Inventory, options: &Options, few: usize) -> Compiled {
    let candidates: Vec<Candidate<'_>> = inventory
        .endpoints()
        .into_iter()
        .map(|endpoint| Candidate { named_ports: endpoint.container.named_ports().0, endpoint })
        .collect();
    let label_sets = LabelSets::new(policies, &candidates);
    let networks = governed_networks(policies, inventory, &candidates, &label_sets);
    let attached: Vec<_> =
        candidates.iter().map(|candidate| &candidate.endpoint).filter(|e| e.network.is_some()).collect();
    let mut sets = SetBuilder::new(policies, inventory, &label_sets.distinct);
    let mut compiled = Compiled::default();
    for family in Family::ALL {
        if !networks.is_empty() {
            let classified = known_members(&networks, family, |_| true);
            sets.known(
                family,
                classified.into_iter().chain(ungoverned_subnets(inventory, &networks, family)).collect(),
            );
            let judged: BTreeSet<_> = networks.iter().flat_map(judged_containers).collect();
            let all_judged = networks.iter().any(|governed| !governed.egress.is_empty());
            let is_judged = |container: &Container| all_judged || judged.contains(&container.id);
            let open_to_host = |container: &Container| !is_judged(container) || container.ports_are_judged();
            sets.listed(family, known_members(&networks, family, open_to_host));
            let bridged = inventory.networks.values().filter(|network| network.bridge.is_some());
            sets.bridged_subnets(family, bridged.flat_map(|network| &network.subnets));
        }
        let mut builder = ChainBuilder::new(policies, options, &mut sets, &attached, family, few);
        builder.base_chains(&networks);
        let (chains, origins) = builder.finish();
        compiled.ruleset.chains.insert(family, chains);
        compiled.origins.extend(origins);
    }
    let peers = peers(&candidates, &networks, &sets.named);
    compiled.ruleset.anti_spoofing = (!networks.is_empty()).then(|| anti_spoofing(&networks, &peers));
    compiled.ruleset.sets = sets.sets;
    compiled.meanings = sets.meanings;
    compiled.ruleset.bridges = networks.iter().map(|governed| governed.bridge.clone()).collect();
    compiled
}

/// The enforced (not staged) policies that govern an endpoint in a direction, in evaluation order.
pub fn policies_of<'a>(policies: &'a PolicySet, endpoint: &Endpoint<'_>, direction: Direction) -> Vec<&'a Policy> {
    policies.policies.iter().filter(|policy| label_sets::governs(policy, &endpoint.labels, direction)).collect()
}

/// An endpoint that no rule of ours can reach, and the enforced policies that select it all the same.
#[derive(Clone, Debug)]
pub struct OutOfReach<'a> {
    /// The endpoint.
    pub endpoint: Endpoint<'a>,
    /// Why.
    pub reason: Unenforceable,
    /// Policies that select it and are not in force for it, in evaluation order.
    pub policies: Vec<&'a Policy>,
}

impl fmt::Display for OutOfReach<'_> {
    /// Which container, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which policy cannot reach: {}", self.endpoint.name(), self.reason)
    }
}

/// All endpoints that policy cannot reach, by container name.
///
/// A container that shares another's endpoint is judged as that one: a policy that governs the other is in force for it,
/// too, and one that selects it by labels of its own is not.
pub fn out_of_reach<'a>(policies: &'a PolicySet, inventory: &'a Inventory) -> Vec<OutOfReach<'a>> {
    let endpoints = inventory.endpoints();
    let selecting = |endpoint: &Endpoint<'_>| {
        let both = Direction::ALL.map(|direction| policies_of(policies, endpoint, direction));
        let selects = |policy: &&Policy| both.iter().flatten().any(|found| found.key == policy.key);
        policies.policies.iter().filter(selects).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for endpoint in &endpoints {
        let Some(reason) = endpoint.unenforceable.clone() else { continue };
        let mut policies = selecting(endpoint);
        if let Unenforceable::SharedWith(_) = reason {
            let owner = inventory.stack_of(endpoint.container).map(|owner| &owner.id);
            let reached = endpoints.iter().filter(|other| other.unenforceable.is_none());
            let in_force = reached.filter(|other| Some(&other.container.id) == owner).flat_map(selecting);
            let in_force: BTreeSet<&PolicyKey> = in_force.map(|policy| &policy.key).collect();
            policies.retain(|policy| !in_force.contains(&policy.key));
        }
        found.push(OutOfReach { endpoint: endpoint.clone(), reason, policies });
    }
    found
}

/// The networks on which a policy is in force, with their classes, by network name.
///
/// An endpoint counts as soon as it is known, address or not: so the gate of a network is closed before its first
/// container has an address. As long as nobody is on a network, any policy may select whoever comes first, so that its gate
/// is closed, too, and is when dockgate is late or does not run at that moment. Not so where others may be on the bridge
/// whom the engine does not list: see [`Network::has_own_bridge`].
fn governed_networks<'a>(
    policies: &'a PolicySet,
    inventory: &'a Inventory,
    candidates: &'a [Candidate<'a>],
    label_sets: &LabelSets<'a>,
) -> Vec<GovernedNetwork<'a>> {
    let mut by_network: BTreeMap<_, (&'a Network, Vec<(&'a Endpoint<'a>, usize)>)> = BTreeMap::new();
    let mut empty: BTreeMap<_, &'a Network> = BTreeMap::new();
    if policies.policies.iter().any(|policy| !policy.key.kind.is_staged()) {
        let of_containers = inventory.networks.values().filter(|network| network.has_own_bridge());
        empty.extend(of_containers.map(|network| (&network.id, network)));
    }
    for (Candidate { endpoint, .. }, label_set) in candidates.iter().zip(&label_sets.of_endpoints) {
        if let Some(network) = endpoint.network {
            empty.remove(&network.id);
        }
        if let (Some(network), None) = (endpoint.network, &endpoint.unenforceable) {
            let entry = by_network.entry((&network.name, &network.id)).or_insert((network, Vec::new()));
            entry.1.push((endpoint, *label_set));
        }
    }
    by_network.extend(empty.into_values().map(|network| ((&network.name, &network.id), (network, Vec::new()))));
    let mut governed = Vec::new();
    for (network, endpoints) in by_network.into_values() {
        let classes = Direction::ALL.map(|direction| classes(policies, label_sets, &endpoints, direction));
        if !endpoints.is_empty() && classes.iter().all(Vec::is_empty) {
            continue;
        }
        let [ingress, egress] = classes;
        if let Some(bridge) = network.bridge.clone() {
            let endpoints = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
            governed.push(GovernedNetwork { network, bridge, endpoints, ingress, egress });
        }
    }
    governed
}

/// Endpoints that the same policies govern in a direction, in the order of those policies.
fn classes<'a>(
    policies: &'a PolicySet,
    label_sets: &LabelSets<'a>,
    endpoints: &[(&'a Endpoint<'a>, usize)],
    direction: Direction,
) -> Vec<Class<'a>> {
    let mut by_policies: HashMap<&[usize], Class<'a>> = HashMap::new();
    for (endpoint, label_set) in endpoints {
        let governing = label_sets.distinct[*label_set].governing(direction);
        if governing.is_empty() {
            continue;
        }
        let class = by_policies.entry(governing).or_insert_with(|| {
            let policies = governing.iter().map(|position| &policies.policies[*position]).collect();
            Class { policies, members: Vec::new() }
        });
        class.members.push(endpoint);
    }
    let mut classes: Vec<_> = by_policies.into_values().collect();
    classes.sort_by(|one, other| one.keys().cmp(other.keys()));
    classes
}

/// Containers with an ingress policy: who comes to them through a published port is judged on the way. Where an egress
/// policy is in force, those whom it governs are judged on the way to every container.
fn judged_containers<'a>(governed: &GovernedNetwork<'a>) -> impl Iterator<Item = &'a ContainerId> {
    governed.ingress.iter().flat_map(|class| &class.members).map(|endpoint| &endpoint.container.id)
}

fn known_members(
    networks: &[GovernedNetwork<'_>],
    family: Family,
    of: impl Fn(&Container) -> bool,
) -> BTreeSet<(Cidr, InterfaceName)> {
    let mut members = BTreeSet::new();
    for governed in networks {
        let endpoints = governed.endpoints.iter().filter(|endpoint| of(endpoint.container));
        let addresses = endpoints.filter_map(|endpoint| endpoint.address(family));
        members.extend(addresses.map(|address| (Cidr::host(address), governed.bridge.clone())));
    }
    members
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

/// Endpoints of bridge networks without policy that a rule names, each with its bridge.
fn peers<'a>(
    candidates: &'a [Candidate<'a>],
    governed: &[GovernedNetwork<'_>],
    named: &BTreeSet<IpAddr>,
) -> Vec<(&'a Endpoint<'a>, &'a InterfaceName)> {
    let governed: BTreeSet<_> = governed.iter().map(|governed| &governed.bridge).collect();
    let is_named = |endpoint: &Endpoint<'_>| {
        Family::ALL.into_iter().filter_map(|family| endpoint.address(family)).any(|address| named.contains(&address))
    };
    let mut peers = Vec::new();
    for Candidate { endpoint, .. } in candidates {
        let bridge = endpoint.network.and_then(|network| network.bridge.as_ref());
        let bridge = bridge.filter(|bridge| endpoint.unenforceable.is_none() && !governed.contains(bridge));
        peers.extend(bridge.filter(|_| is_named(endpoint)).map(|bridge| (endpoint, bridge)));
    }
    peers
}

fn anti_spoofing(networks: &[GovernedNetwork<'_>], peers: &[(&Endpoint<'_>, &InterfaceName)]) -> AntiSpoofing {
    let of_networks = networks.iter().flat_map(|governed| {
        governed.endpoints.iter().filter_map(|endpoint| binding(endpoint, &governed.bridge, Role::Governed))
    });
    let of_peers = peers.iter().filter_map(|(endpoint, bridge)| binding(endpoint, bridge, Role::Peer));
    AntiSpoofing {
        bindings: of_networks.chain(of_peers).collect(),
        gateways: networks.iter().flat_map(|governed| governed.network.gateways.iter().copied()).collect(),
        subnets: networks.iter().flat_map(|governed| governed.network.subnets.iter().copied()).collect(),
        frozen: false,
    }
}

/// `None` while the attachment is pending.
fn binding(endpoint: &Endpoint<'_>, bridge: &InterfaceName, role: Role) -> Option<Binding> {
    let attachment = endpoint.attachment.filter(|attachment| !attachment.is_pending())?;
    Some(Binding {
        endpoint: endpoint.name(),
        attachment: attachment.endpoint_id.clone(),
        bridge: bridge.clone(),
        mac: attachment.mac,
        addresses: Family::ALL.into_iter().filter_map(|family| endpoint.address(family)).collect(),
        role,
    })
}
