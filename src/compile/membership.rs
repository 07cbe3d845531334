//! In which sets an endpoint is, and what binds it to its port.
//!
//! Input: the sets that rules ask for, each with who belongs to it. Output: the members and bindings that a container's
//! endpoints are. It is asked for every container when everything is compiled, and for those that have changed when nothing
//! else has, so that both come to the same sets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::inventory::{Container, ContainerId, Endpoint, Inventory, NamedPort, NetworkId, Unenforceable};
use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::policy::{Direction, PolicySet};
use crate::ruleset::{Binding, Member, Role, SetKind, SetName};
use crate::selector::Selector;

use super::label_sets::LabelSets;

/// An endpoint with what is asked of it again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) endpoint: Endpoint<'a>,
    pub(super) named_ports: Vec<NamedPort>,
    /// Its position in [`LabelSets::distinct`].
    pub(super) label_set: usize,
}

/// The endpoints of a container, with those of their labels that selectors ask for.
pub(super) fn candidates<'a>(
    label_sets: &mut LabelSets,
    policies: &PolicySet,
    inventory: &'a Inventory,
    container: &'a Container,
) -> Vec<Candidate<'a>> {
    let mut positions = Vec::new();
    let endpoints = inventory.endpoints_of(container, |network| {
        let position = label_sets.position(policies, inventory, container, network);
        positions.push(position);
        Arc::clone(&label_sets.distinct[position].labels)
    });
    let (named_ports, _) = container.named_ports();
    let candidate = |(endpoint, label_set)| Candidate { endpoint, named_ports: named_ports.clone(), label_set };
    endpoints.into_iter().zip(positions).map(candidate).collect()
}

/// How many endpoints there are, and were when everything was compiled. Rules depend on whether there are any.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    now: usize,
    compiled: usize,
}

impl Count {
    /// Whether there are none now where there were some, or some where there were none.
    fn deviates(self) -> bool {
        (self.now == 0) != (self.compiled == 0)
    }

    /// Counts some more or fewer, and by how much that changes the number of deviations.
    fn add(&mut self, step: isize) -> isize {
        let before = isize::from(self.deviates());
        self.now = self.now.saturating_add_signed(step);
        isize::from(self.deviates()) - before
    }
}

/// The endpoints of a network that the same policies govern in a direction.
#[derive(Debug, Default)]
struct OfClass {
    endpoints: Count,
    /// Numbers of the sets in which their addresses of a family are.
    sets: BTreeSet<(Family, usize)>,
}

/// What an endpoint's network decides.
#[derive(Debug, Default)]
struct OfNetwork {
    /// Those on it, those out of reach included.
    endpoints: Count,
    /// Its bridge, if it is governed.
    bridge: Option<InterfaceName>,
    /// The classes of ingress and egress, by the positions of their policies.
    classes: [HashMap<Arc<[usize]>, OfClass>; 2],
}

impl OfNetwork {
    fn classes(&self, direction: Direction) -> &HashMap<Arc<[usize]>, OfClass> {
        let [ingress, egress] = &self.classes;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    fn class_mut(&mut self, direction: Direction, governing: &Arc<[usize]>) -> &mut OfClass {
        let [ingress, egress] = &mut self.classes;
        let classes = match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        };
        classes.entry(Arc::clone(governing)).or_default()
    }
}

/// A set of those whom a selector picks.
#[derive(Debug)]
struct OfSelector {
    set: usize,
    family: Family,
    kind: SetKind,
    selector: Selector,
}

/// A set of named ports.
#[derive(Debug)]
struct OfPort {
    family: Family,
    selector: Option<Selector>,
    name: String,
    protocol: Option<Protocol>,
}

/// The sets of selectors and of named ports whose selectors pick a label set.
#[derive(Clone, Debug)]
struct Picked {
    selected: Vec<usize>,
    ports: Vec<usize>,
}

/// The sets, and who belongs to them.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The sets by number.
    pub(super) names: Vec<SetName>,
    numbers: HashMap<SetName, usize>,
    selected: Vec<OfSelector>,
    /// By number of the set.
    ports: BTreeMap<usize, OfPort>,
    /// By position of the label set.
    picked: Vec<Picked>,
    /// Sets of known and of listed endpoints.
    places: Vec<(Family, usize, usize)>,
    networks: HashMap<NetworkId, OfNetwork>,
    /// Bridges of governed networks.
    bridges: BTreeSet<InterfaceName>,
    /// Whether every container has ports that are judged, because an egress policy is in force.
    all_judged: bool,
    /// Networks and classes that have endpoints and had none when everything was compiled, or the other way round.
    deviations: isize,
    /// All endpoints, those on no network included.
    pub(super) endpoints: usize,
    /// Those for which a policy is in force.
    pub(super) governed: usize,
}

/// What a container is in the kernel.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Members, each with the number of its set.
    pub(super) members: Vec<(usize, Member)>,
    pub(super) bindings: Vec<Arc<Binding>>,
}

impl Membership {
    /// The number of a set.
    pub(super) fn number(&mut self, name: &SetName) -> usize {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// Whether endpoints can be members of a set.
    pub(super) fn has_set(&self, name: &SetName) -> bool {
        self.numbers.contains_key(name)
    }

    /// Whether endpoints can be members of the same sets.
    pub(super) fn has_same_sets(&self, other: &Membership) -> bool {
        self.numbers.len() == other.numbers.len() && self.numbers.keys().all(|name| other.has_set(name))
    }

    /// The governed networks, each with its bridge.
    pub(super) fn governed_networks(&self) -> impl Iterator<Item = (&NetworkId, &InterfaceName)> {
        self.networks.iter().filter_map(|(id, network)| Some((id, network.bridge.as_ref()?)))
    }

    /// Whether a network is governed, and no policy governs anybody on it.
    pub(super) fn awaits(&self, network: &NetworkId) -> bool {
        self.networks.get(network).is_some_and(|network| network.bridge.is_some())
            && Direction::ALL.into_iter().all(|direction| self.classes_of(network, direction).next().is_none())
    }

    /// How many endpoints are on a network, those out of reach included.
    pub(super) fn endpoints_on(&self, network: &NetworkId) -> usize {
        self.networks.get(network).map_or(0, |network| network.endpoints.now)
    }

    /// The classes of a network that have endpoints, by the positions of their policies.
    pub(super) fn classes_of(&self, network: &NetworkId, direction: Direction) -> impl Iterator<Item = &Arc<[usize]>> {
        let classes = self.networks.get(network).into_iter().flat_map(move |network| network.classes(direction));
        classes.filter(|(_, class)| class.endpoints.now > 0).map(|(governing, _)| governing)
    }

    /// A set holds whom a selector picks.
    pub(super) fn add_selected(&mut self, name: &SetName, family: Family, kind: SetKind, selector: &Selector) {
        let set = self.number(name);
        self.selected.push(OfSelector { set, family, kind, selector: selector.clone() });
    }

    /// A set holds the ports of a name of those whom a selector picks, or of all.
    pub(super) fn add_ports(
        &mut self,
        name: &SetName,
        family: Family,
        selector: Option<&Selector>,
        port: &str,
        protocol: Option<Protocol>,
    ) {
        let set = self.number(name);
        let of_port = || OfPort { family, selector: selector.cloned(), name: port.to_owned(), protocol };
        self.ports.entry(set).or_insert_with(of_port);
    }

    /// A set holds a class of a network.
    pub(super) fn add_class(
        &mut self,
        name: &SetName,
        family: Family,
        network: &NetworkId,
        direction: Direction,
        governing: &Arc<[usize]>,
    ) {
        let set = self.number(name);
        let class = self.networks.entry(network.clone()).or_default().class_mut(direction, governing);
        class.sets.insert((family, set));
    }

    /// Two sets hold the known endpoints of governed networks, and those of them that this host may reach.
    pub(super) fn add_places(&mut self, family: Family, known: &SetName, listed: &SetName) {
        let numbers = (self.number(known), self.number(listed));
        self.places.push((family, numbers.0, numbers.1));
    }

    /// A network is governed.
    pub(super) fn govern(&mut self, network: &NetworkId, bridge: &InterfaceName) {
        self.networks.entry(network.clone()).or_default().bridge = Some(bridge.clone());
        self.bridges.insert(bridge.clone());
    }

    /// An egress policy is in force: those whom it governs are judged on the way to every container.
    pub(super) fn judge_all(&mut self) {
        self.all_judged = true;
    }

    /// Counts an endpoint once more, or once less.
    pub(super) fn count(&mut self, label_sets: &LabelSets, candidate: &Candidate<'_>, step: isize) {
        let endpoint = &candidate.endpoint;
        self.endpoints = self.endpoints.saturating_add_signed(step);
        let label_set = &label_sets.distinct[candidate.label_set];
        if endpoint.unenforceable.is_none() && label_set.is_governed() {
            self.governed = self.governed.saturating_add_signed(step);
        }
        let Some(network) = endpoint.network else { return };
        let of_network = self.networks.entry(network.id.clone()).or_default();
        self.deviations += of_network.endpoints.add(step);
        for direction in Direction::ALL.into_iter().filter(|_| endpoint.unenforceable.is_none()) {
            let governing = label_set.governing(direction);
            if !governing.is_empty() {
                self.deviations += of_network.class_mut(direction, governing).endpoints.add(step);
            }
        }
    }

    /// Everything was compiled for the endpoints that are counted now.
    pub(super) fn set_compiled(&mut self) {
        self.deviations = 0;
        for network in self.networks.values_mut() {
            network.endpoints.compiled = network.endpoints.now;
            for class in network.classes.iter_mut().flat_map(HashMap::values_mut) {
                class.endpoints.compiled = class.endpoints.now;
            }
        }
    }

    /// Whether the same networks and classes have endpoints as when everything was compiled, so that the same rules are
    /// wanted.
    pub(super) fn has_same_classes(&self) -> bool {
        self.deviations == 0
    }

    /// Asks every selector about label sets that it was not asked about yet.
    pub(super) fn pick(&mut self, label_sets: &LabelSets) {
        for label_set in &label_sets.distinct[self.picked.len()..] {
            let picks = |selector: &Selector| selector.matches(&label_set.labels);
            let selected = (0..self.selected.len()).filter(|number| picks(&self.selected[*number].selector));
            let ports = self.ports.iter().filter(|(_, of_port)| of_port.selector.as_ref().is_none_or(picks));
            let picked = Picked { selected: selected.collect(), ports: ports.map(|(set, _)| *set).collect() };
            self.picked.push(picked);
        }
    }

    /// What a container is, all of whose endpoints are given.
    pub(super) fn of(&self, label_sets: &LabelSets, candidates: &[Candidate<'_>]) -> Shown {
        let mut shown = Shown::default();
        let is_judged = self.all_judged || candidates.iter().any(|candidate| self.is_judged(label_sets, candidate));
        for candidate in candidates {
            self.place(candidate, is_judged, &mut shown);
            self.classify(label_sets, candidate, &mut shown);
            let is_named = self.name(candidate, &mut shown);
            shown.bindings.extend(self.binding(candidate, is_named).map(Arc::new));
        }
        shown
    }

    fn network(&self, endpoint: &Endpoint<'_>) -> Option<&OfNetwork> {
        self.networks.get(&endpoint.network?.id)
    }

    /// The bridge of a governed network, if policy reaches the endpoint there.
    fn governed_bridge(&self, endpoint: &Endpoint<'_>) -> Option<&InterfaceName> {
        self.network(endpoint).filter(|_| endpoint.unenforceable.is_none())?.bridge.as_ref()
    }

    /// Whether an ingress policy is in force for it: who comes to its container through a published port is judged on the way.
    fn is_judged(&self, label_sets: &LabelSets, candidate: &Candidate<'_>) -> bool {
        let governing = label_sets.distinct[candidate.label_set].governing(Direction::Ingress);
        self.governed_bridge(&candidate.endpoint).is_some()
            && self
                .network(&candidate.endpoint)
                .is_some_and(|network| network.classes(Direction::Ingress).contains_key(governing))
    }

    /// Where it is known.
    fn place(&self, candidate: &Candidate<'_>, is_judged: bool, shown: &mut Shown) {
        let endpoint = &candidate.endpoint;
        let Some(bridge) = self.governed_bridge(endpoint) else { return };
        let is_open_to_host = !is_judged || endpoint.container.ports_are_judged();
        for (family, known, listed) in &self.places {
            let Some(address) = endpoint.address(*family) else { continue };
            let member = Member::NetInterface { net: Cidr::host(address), interface: bridge.clone() };
            shown.members.extend(is_open_to_host.then(|| (*listed, member.clone())));
            shown.members.push((*known, member));
        }
    }

    /// By which policies it is governed.
    fn classify(&self, label_sets: &LabelSets, candidate: &Candidate<'_>, shown: &mut Shown) {
        let endpoint = &candidate.endpoint;
        if self.governed_bridge(endpoint).is_none() {
            return;
        }
        let Some(network) = self.network(endpoint) else { return };
        for direction in Direction::ALL {
            let governing = label_sets.distinct[candidate.label_set].governing(direction);
            let Some(class) = network.classes(direction).get(governing) else { continue };
            for (family, set) in &class.sets {
                shown.members.extend(endpoint.address(*family).map(|address| (*set, Member::Ip(address))));
            }
        }
    }

    /// Which rules name it, be it to let it pass or to keep it out. An address that no packet of its endpoint shows is left
    /// out: whoever shows it is somebody else. Returns whether any does.
    fn name(&self, candidate: &Candidate<'_>, shown: &mut Shown) -> bool {
        let endpoint = &candidate.endpoint;
        let before = shown.members.len();
        if !endpoint.unenforceable.as_ref().is_none_or(Unenforceable::shows_its_address) {
            return false;
        }
        let picked = &self.picked[candidate.label_set];
        for OfSelector { set, family, kind, .. } in picked.selected.iter().map(|number| &self.selected[*number]) {
            let Some(address) = endpoint.address(*family) else { continue };
            let member = if *kind == SetKind::Net { Member::Net(Cidr::host(address)) } else { Member::Ip(address) };
            shown.members.push((*set, member));
        }
        for (set, of_port) in picked.ports.iter().map(|set| (*set, &self.ports[set])) {
            let Some(address) = endpoint.address(of_port.family) else { continue };
            let ports = candidate.named_ports.iter().filter(|port| port.name == of_port.name);
            for port in ports.filter(|port| of_port.protocol.is_none_or(|protocol| protocol == port.protocol)) {
                let member = Member::IpPort { address, protocol: port.protocol.number(), port: port.port };
                shown.members.push((set, member));
            }
        }
        shown.members.len() > before
    }

    /// `None` while the attachment is pending, and for endpoints of networks without policy that no rule names.
    fn binding(&self, candidate: &Candidate<'_>, is_named: bool) -> Option<Binding> {
        let endpoint = &candidate.endpoint;
        let bridge = endpoint.network?.bridge.as_ref().filter(|_| endpoint.unenforceable.is_none())?;
        let role = match self.governed_bridge(endpoint) {
            Some(_) => Role::Governed,
            None if is_named && !self.bridges.contains(bridge) => Role::Peer,
            None => return None,
        };
        let attachment = endpoint.attachment.filter(|attachment| !attachment.is_pending())?;
        let mut addresses: Vec<_> = Family::ALL.into_iter().filter_map(|family| endpoint.address(family)).collect();
        addresses.shrink_to_fit();
        Some(Binding {
            endpoint: endpoint.name(),
            attachment: attachment.endpoint_id.clone(),
            bridge: bridge.clone(),
            mac: attachment.mac,
            addresses,
            role,
        })
    }
}

/// The containers of some candidates, each with all of its endpoints.
pub(super) fn by_container<'c, 'a>(candidates: &'c [Candidate<'a>]) -> impl Iterator<Item = &'c [Candidate<'a>]> {
    let id = |candidate: &Candidate<'a>| -> &'a ContainerId { &candidate.endpoint.container.id };
    candidates.chunk_by(move |one, other| id(one) == id(other))
}
