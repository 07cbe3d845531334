//! Who may reach whom, on which ports: exact answers about a whole world.
//!
//! Input: an [`Inventory`] and the ruleset that was compiled for it. Output: a [`Reach`], which has for every two parties
//! the ways between them, each with the whole port space divided among verdicts. It asks [`evaluate_ports`], so that what it
//! says is what the kernel does.
//!
//! Parties that no rule can tell apart are asked about once: a rule sees an endpoint only as a member of sets and blocks, so
//! that those with the same memberships, networks and published ports have the same answers. So the work grows with the
//! number of different services and not with that of their replicas.

pub mod change;
mod outside;
#[cfg(test)]
mod sample;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::compile::Compiled;
use crate::inventory::{Container, ContainerId, Inventory, PublishedPort};
use crate::net::{Cidr, Family, InterfaceName, PortRange, PortSet, Protocol};
use crate::ruleset::{Action, Match, Member, Ruleset, SetKind, SetName};
use crate::verdict::path::{End, Finder, Path, Route, Traffic};
use crate::verdict::ports::evaluate_ports;
use crate::verdict::{Decision, Packet, Verdict, evaluate, holds};

pub use outside::{Block, boundaries};

/// The port that clients are taken to send from: the first that Linux gives them without being asked.
pub const CLIENT_PORT: u16 = 49_152;

/// Someone who may reach or be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A container: its index in [`Reach::containers`].
    Container(usize),
    /// This host.
    Host,
    /// Addresses outside of which no rule can tell one from another: the index in [`Reach::outside`].
    Outside(usize),
}

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Ports of a protocol that has them.
    Ports(Protocol),
    /// The answer to an ICMP or ICMPv6 echo request.
    Ping,
}

impl Service {
    /// All that is asked about.
    pub const ALL: [Service; 4] =
        [Service::Ports(Protocol::TCP), Service::Ports(Protocol::UDP), Service::Ports(Protocol::SCTP), Service::Ping];
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Service::Ports(protocol) => protocol.fmt(f),
            Service::Ping => f.write_str("ping"),
        }
    }
}

impl Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How one reaches the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "via")]
pub enum Via {
    /// By its own address: on a network of both, to and from this host, to the outside.
    Direct,
    /// From the outside to a port of this host that the kernel translates to the container's.
    Published {
        /// The port of the host.
        host_port: u16,
    },
    /// To a port of this host that `docker-proxy` holds.
    Proxy {
        /// The port of the host.
        host_port: u16,
    },
}

/// One way from a party to another, for one service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// How it goes.
    pub via: Via,
    /// The family.
    pub family: Family,
    /// The service.
    pub service: Service,
    /// The network of the containers by which it goes: the sender's, for what goes out of it; `None` from outside through
    /// `docker-proxy`.
    pub network: Option<String>,
    /// What becomes of it, by destination port: the container's own where it is published under another. For a ping one
    /// part of all ports.
    pub parts: Vec<Part>,
}

/// Ports that the same rules decide about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The ports, never none.
    pub ports: PortSet,
    /// Whether they may be reached.
    pub decision: Decision,
    /// Comments of the policy rules that say so, keys into [`Compiled::origins`]: of the sender's side first. None where no
    /// policy governs, or where a fixed rule denies.
    pub rules: Vec<String>,
}

impl Way {
    /// The ports that may be reached by it.
    pub fn open(&self) -> PortSet {
        self.parts
            .iter()
            .filter(|part| part.decision == Decision::Allow)
            .fold(PortSet::empty(), |open, part| open.union(&part.ports))
    }
}

/// The answers.
#[derive(Debug)]
pub struct Reach<'a> {
    containers: Vec<&'a Container>,
    outside: Vec<Block>,
    /// The class of each container, and of each block.
    class_of_container: Vec<usize>,
    class_of_block: Vec<usize>,
    /// Ways by the classes of both ends; see [`Class`].
    ways: BTreeMap<(Class, Class), Vec<Way>>,
}

/// Parties that no rule can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Containers(usize),
    Host,
    Outside(usize),
}

impl<'a> Reach<'a> {
    /// Answers about a world. `boundaries` divides the outside further than the ruleset itself does, so that the answers of
    /// two rulesets can be compared block by block: see [`boundaries`].
    pub fn new(inventory: &'a Inventory, compiled: &'a Compiled, boundaries: &BTreeSet<Cidr>) -> Reach<'a> {
        let questioner = Questioner { compiled, finder: Finder::new(inventory) };
        let asked = Asked::of(&compiled.ruleset);
        let containers = questioner.containers();
        let identities = containers.iter().map(|container| questioner.identity(&asked, container));
        let (class_of_container, members) = classes(identities);
        let outside = outside::blocks(inventory, &compiled.ruleset, boundaries);
        let (class_of_block, blocks) = classes(outside.iter().map(|block| asked.memberships(block.first, None)));

        let container = |index: usize| End::Container { container: containers[index].id.clone(), network: None };
        let address = |index: usize| End::Address(outside[index].first);
        let mut ways = BTreeMap::new();
        let host = End::Host(None);
        for (class, from) in members.iter().enumerate() {
            let key = Class::Containers(class);
            for (other, to) in members.iter().enumerate() {
                // Of one class two different members, where it has them: nobody reaches himself by way of the host.
                let Some(to) = to.iter().find(|to| **to != from[0]) else { continue };
                let found = questioner.ways(&container(from[0]), &container(*to));
                ways.insert((key, Class::Containers(other)), found);
            }
            ways.insert((key, Class::Host), questioner.ways(&container(from[0]), &host));
            ways.insert((Class::Host, key), questioner.ways(&host, &container(from[0])));
            for (block, of_class) in blocks.iter().enumerate() {
                let (outer, inner) = (address(of_class[0]), container(from[0]));
                ways.insert((key, Class::Outside(block)), questioner.ways(&inner, &outer));
                ways.insert((Class::Outside(block), key), questioner.ways(&outer, &inner));
            }
        }
        Reach { containers, outside, class_of_container, class_of_block, ways }
    }

    /// The containers that policy can reach, by name.
    pub fn containers(&self) -> &[&'a Container] {
        &self.containers
    }

    /// The addresses outside, in blocks of which no rule can tell one address from another.
    pub fn outside(&self) -> &[Block] {
        &self.outside
    }

    /// All parties: containers, this host, the outside.
    pub fn parties(&self) -> impl Iterator<Item = Party> + '_ {
        let containers = (0..self.containers.len()).map(Party::Container);
        containers.chain([Party::Host]).chain((0..self.outside.len()).map(Party::Outside))
    }

    /// The container with this id; `None` for one that policy cannot reach.
    pub fn party_of(&self, id: &ContainerId) -> Option<Party> {
        self.containers.iter().position(|container| container.id == *id).map(Party::Container)
    }

    /// The ways from one party to another. None from a party to itself, between this host and the outside, and where
    /// there is no common family.
    pub fn ways(&self, from: Party, to: Party) -> &[Way] {
        if from == to {
            return &[];
        }
        self.ways.get(&(self.class(from), self.class(to))).map_or(&[], Vec::as_slice)
    }

    fn class(&self, party: Party) -> Class {
        match party {
            Party::Container(index) => Class::Containers(self.class_of_container[index]),
            Party::Host => Class::Host,
            Party::Outside(index) => Class::Outside(self.class_of_block[index]),
        }
    }
}

/// The class of each by what it is, and the members of each class.
fn classes<I: Ord>(identities: impl Iterator<Item = I>) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut numbers = BTreeMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut class_of = Vec::new();
    for (index, identity) in identities.enumerate() {
        let class = *numbers.entry(identity).or_insert(members.len());
        if class == members.len() {
            members.push(Vec::new());
        }
        members[class].push(index);
        class_of.push(class);
    }
    (class_of, members)
}

/// What rules ask about an address.
struct Asked<'a> {
    ruleset: &'a Ruleset,
    nets: BTreeSet<Cidr>,
    /// What sets of addresses and ports have for an address.
    ports: BTreeMap<IpAddr, BTreeSet<(&'a SetName, u8, u16)>>,
}

/// The answers to all that rules ask about an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Memberships<'a> {
    family: Family,
    sets: BTreeSet<&'a SetName>,
    nets: BTreeSet<Cidr>,
    ports: BTreeSet<(&'a SetName, u8, u16)>,
}

impl<'a> Asked<'a> {
    fn of(ruleset: &'a Ruleset) -> Asked<'a> {
        let mut ports: BTreeMap<IpAddr, BTreeSet<_>> = BTreeMap::new();
        for (name, set) in &ruleset.sets {
            for member in &set.members {
                if let Member::IpPort { address, protocol, port } = member {
                    ports.entry(*address).or_default().insert((name, *protocol, *port));
                }
            }
        }
        Asked { ruleset, nets: nets(ruleset), ports }
    }

    fn memberships(&self, address: IpAddr, interface: Option<&InterfaceName>) -> Memberships<'a> {
        let sets = self.ruleset.sets.iter().filter(|(_, set)| set.kind != SetKind::IpPort);
        Memberships {
            family: Family::of(address),
            sets: sets.filter(|(_, set)| holds(set, address, None, interface)).map(|(name, _)| name).collect(),
            nets: self.nets.iter().filter(|net| net.contains(address)).copied().collect(),
            ports: self.ports.get(&address).cloned().unwrap_or_default(),
        }
    }
}

/// The blocks for which rules ask without a set.
fn nets(ruleset: &Ruleset) -> BTreeSet<Cidr> {
    let rules = ruleset.chains.values().flat_map(BTreeMap::values).flatten();
    let net_of = |condition: &Match| match condition {
        Match::Net { net, .. } => Some(*net),
        _ => None,
    };
    rules.flat_map(|rule| &rule.matches).filter_map(net_of).collect()
}

/// Asks about two ends.
struct Questioner<'a> {
    compiled: &'a Compiled,
    finder: Finder<'a>,
}

/// What makes a container different from others to rules.
type Identity<'a> = (Vec<(&'a str, Vec<Memberships<'a>>)>, &'a [PublishedPort]);

impl<'a> Questioner<'a> {
    fn containers(&self) -> Vec<&'a Container> {
        let mut containers: Vec<&Container> = Vec::new();
        let reached = self.finder.endpoints().iter().filter(|endpoint| endpoint.unenforceable.is_none());
        for endpoint in reached {
            if containers.last().is_none_or(|last| last.id != endpoint.container.id) {
                containers.push(endpoint.container);
            }
        }
        containers
    }

    fn identity(&self, asked: &Asked<'a>, container: &'a Container) -> Identity<'a> {
        let endpoints = self.finder.endpoints().iter().filter(|endpoint| endpoint.container.id == container.id);
        let networks = endpoints.filter(|endpoint| endpoint.unenforceable.is_none()).filter_map(|endpoint| {
            let network = endpoint.network?;
            let addresses = Family::ALL.into_iter().filter_map(|family| endpoint.address(family));
            let memberships = addresses.map(|address| asked.memberships(address, network.bridge.as_ref()));
            Some((network.id.0.as_str(), memberships.collect()))
        });
        (networks.collect(), &container.published)
    }

    fn ways(&self, from: &End, to: &End) -> Vec<Way> {
        let mut ways = Vec::new();
        for path in self.paths(from, to, Service::Ports(Protocol::TCP), 1) {
            ways.extend(self.own_ways(&path));
        }
        for path in self.paths(from, to, Service::Ping, 1) {
            if !matches!(path.route, Route::FromOutside { .. }) {
                let verdict = evaluate(&self.compiled.ruleset, &path.packet);
                let parts = vec![self.part(PortSet::all(), &verdict)];
                let (family, network) = (path.family(), network_of(&path.route));
                ways.push(Way { via: Via::Direct, family, service: Service::Ping, network, parts });
            }
        }
        for (protocol, port) in self.published(to) {
            ways.extend(self.proxied(from, to, protocol, port));
        }
        ways.sort_by(|a, b| (a.service, a.family, &a.via).cmp(&(b.service, b.family, &b.via)));
        ways
    }

    /// The ways that Docker's own rules leave, except those through `docker-proxy`.
    fn paths(&self, from: &End, to: &End, service: Service, destination: u16) -> Vec<Path<'a>> {
        let traffic = match service {
            Service::Ports(protocol) => Traffic::Ports { protocol, source: CLIENT_PORT, destination },
            Service::Ping => Traffic::EchoRequest,
        };
        let found = self.finder.paths(from, to, traffic, &Family::ALL);
        let mut paths = found.map(|paths| paths.judged).unwrap_or_default();
        // Docker says no to these, whatever policy says.
        paths.retain(|path| path.route.remark().is_none());
        paths
    }

    /// The ways by the other's own address, of all protocols with ports.
    fn own_ways(&self, path: &Path<'a>) -> Vec<Way> {
        let mut ways = Vec::new();
        for service in Service::ALL {
            let Service::Ports(protocol) = service else { continue };
            let packet = Packet { protocol, ..path.packet.clone() };
            let questions = match &path.route {
                Route::ThroughPublishedPort { .. } => Vec::new(),
                Route::FromOutside { .. } => Self::translated(path, protocol),
                Route::ToHost { .. } => vec![(Via::Direct, self.held_by_nobody(path, protocol))],
                _ => vec![(Via::Direct, PortSet::all())],
            };
            for (via, ports) in questions {
                let shares = evaluate_ports(&self.compiled.ruleset, &packet, ports);
                let parts: Vec<Part> =
                    shares.iter().map(|share| self.part(share.ports.clone(), &share.verdict)).collect();
                if !parts.is_empty() {
                    let (family, network) = (path.family(), network_of(&path.route));
                    ways.push(Way { via, family, service, network, parts: merged(parts) });
                }
            }
        }
        ways
    }

    /// The ports of the container that the kernel translates from one of this host's, for clients outside.
    fn translated(path: &Path<'_>, protocol: Protocol) -> Vec<(Via, PortSet)> {
        let Some(endpoint) = &path.destination else { return Vec::new() };
        let mut questions = Vec::new();
        for port in endpoint.container.published.iter().filter(|port| port.protocol == protocol) {
            let (Some(host_port), Some(range)) = (port.host_port, PortRange::single(port.container_port)) else {
                continue;
            };
            if is_reached_from_outside(port, path.family()) {
                questions.push((Via::Published { host_port }, [range].into_iter().collect()));
            }
        }
        questions
    }

    /// The ports of this host on a network behind which there is no container: what reaches those is told of them.
    fn held_by_nobody(&self, path: &Path<'a>, protocol: Protocol) -> PortSet {
        let containers = self.finder.endpoints().iter().map(|endpoint| endpoint.container);
        let published = containers.flat_map(|container| &container.published).filter(|port| port.protocol == protocol);
        let held = published.filter(|port| is_bound_to(port, path.packet.destination));
        let held: PortSet = held.filter_map(|port| PortRange::single(port.host_port?)).collect();
        held.complement()
    }

    fn published(&self, to: &End) -> BTreeSet<(Protocol, u16)> {
        let End::Container { container, .. } = to else { return BTreeSet::new() };
        let endpoint = self.finder.endpoints().iter().find(|endpoint| endpoint.container.id == *container);
        let ports = endpoint.into_iter().flat_map(|endpoint| &endpoint.container.published);
        ports.map(|port| (port.protocol, port.container_port)).collect()
    }

    fn proxied(&self, from: &End, to: &End, protocol: Protocol, port: u16) -> Vec<Way> {
        let Some(range) = PortRange::single(port) else { return Vec::new() };
        let way_of = |path: Path<'a>| {
            let Route::ThroughPublishedPort { port: host_port, .. } = path.route else { return None };
            let verdict = evaluate(&self.compiled.ruleset, &path.packet);
            let parts = vec![self.part([range].into_iter().collect(), &verdict)];
            let (via, service) = (Via::Proxy { host_port }, Service::Ports(protocol));
            Some(Way { via, family: path.family(), service, network: network_of(&path.route), parts })
        };
        self.paths(from, to, Service::Ports(protocol), port).into_iter().filter_map(way_of).collect()
    }

    fn part(&self, ports: PortSet, verdict: &Verdict) -> Part {
        let decided = verdict.trace.iter().filter(|hit| {
            matches!(hit.action, Action::Return | Action::Drop | Action::Reject)
                && self.compiled.origins.contains_key(&hit.comment)
        });
        Part { ports, decision: verdict.decision, rules: decided.map(|hit| hit.comment.clone()).collect() }
    }
}

fn network_of(route: &Route) -> Option<String> {
    match route {
        Route::SameNetwork { network } => Some(network.clone()),
        Route::BetweenNetworks { from, .. } | Route::ToOutside { from, .. } | Route::ToHost { from } => {
            Some(from.clone())
        }
        Route::FromOutside { to, .. } | Route::FromHost { to } => Some(to.clone()),
        Route::ThroughPublishedPort { from, .. } => from.clone(),
    }
}

/// Whether clients outside reach a published port in a family: one that is bound to the loopback is this host's alone.
pub(crate) fn is_reached_from_outside(port: &PublishedPort, family: Family) -> bool {
    port.host_address.is_none_or(|address| Family::of(address) == family && !address.is_loopback())
}

/// Whether a published port is one of this address of the host.
pub(crate) fn is_bound_to(port: &PublishedPort, address: IpAddr) -> bool {
    port.host_address
        .is_none_or(|bound| Family::of(bound) == Family::of(address) && (bound.is_unspecified() || bound == address))
}

/// Parts about which the same rules say the same as one, in the order of their ports.
fn merged(parts: Vec<Part>) -> Vec<Part> {
    let mut by_reason: BTreeMap<(bool, Vec<String>), PortSet> = BTreeMap::new();
    for Part { ports, decision, rules } in parts {
        let so_far = by_reason.entry((decision == Decision::Allow, rules)).or_default();
        *so_far = so_far.union(&ports);
    }
    let part_of = |((allowed, rules), ports)| Part {
        ports,
        decision: if allowed { Decision::Allow } else { Decision::Deny },
        rules,
    };
    let mut parts: Vec<Part> = by_reason.into_iter().map(part_of).collect();
    parts.sort();
    parts
}
