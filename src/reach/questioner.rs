//! The ways between two ends, asked of the rules.
//!
//! Input: an inventory, and the ruleset that was compiled for it. Output: for two ends all [`Way`]s. How rules see an end
//! is found once for each, because it takes part in as many pairs as there are others.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use crate::compile::Compiled;
use crate::inventory::{Container, Inventory, PublishedPort};
use crate::net::{Family, InterfaceName, PortRange, PortSet, Protocol};
use crate::ruleset::{Action, Side};
use crate::verdict::path::{End, Finder, Path, Route, Traffic};
use crate::verdict::ports::{Ends, Evaluator, Memberships, View};
use crate::verdict::{Decision, Packet};

use super::{CLIENT_PORT, Part, Parts, Service, Via, Way};

/// Asks about two ends.
pub(super) struct Questioner<'a> {
    compiled: &'a Compiled,
    finder: Finder<'a>,
    evaluator: Evaluator<'a>,
    /// Ports of this host behind which there is a container.
    published: Vec<&'a PublishedPort>,
    views: RefCell<BTreeMap<(Side, IpAddr), Vec<Seen>>>,
    /// Parts that were found before.
    found: RefCell<HashMap<Vec<Divided<'a>>, Parts>>,
}

/// Ports, what becomes of them, and the comments of the rules that say so.
type Divided<'a> = (PortSet, Decision, Vec<&'a str>);

/// How rules see an address, by the interface of its packets.
type Seen = (Option<InterfaceName>, Rc<View>);

/// What makes a container different from others to rules.
pub(super) type Identity<'a> = (Vec<(&'a str, Vec<Memberships<'a>>)>, &'a [PublishedPort]);

impl<'a> Questioner<'a> {
    pub(super) fn new(inventory: &'a Inventory, compiled: &'a Compiled) -> Questioner<'a> {
        let finder = Finder::new(inventory);
        let containers: BTreeMap<_, _> =
            finder.endpoints().iter().map(|endpoint| (&endpoint.container.id, endpoint.container)).collect();
        Questioner {
            compiled,
            finder,
            evaluator: Evaluator::new(&compiled.ruleset),
            published: containers.into_values().flat_map(|container| &container.published).collect(),
            views: RefCell::default(),
            found: RefCell::default(),
        }
    }

    pub(super) fn containers(&self) -> Vec<&'a Container> {
        let (mut containers, mut seen) = (Vec::new(), BTreeSet::new());
        let reached = self.finder.endpoints().iter().filter(|endpoint| endpoint.unenforceable.is_none());
        for endpoint in reached {
            // Those of one container lie together, except where two of one name are on the same networks.
            if seen.insert(&endpoint.container.id) {
                containers.push(endpoint.container);
            }
        }
        containers
    }

    pub(super) fn identity(&self, container: &'a Container) -> Identity<'a> {
        let endpoints = self.finder.endpoints_of(&container.id);
        let networks = endpoints.filter(|endpoint| endpoint.unenforceable.is_none()).filter_map(|endpoint| {
            let network = endpoint.network?;
            let addresses = Family::ALL.into_iter().filter_map(|family| endpoint.address(family));
            let memberships = addresses.map(|address| self.evaluator.memberships(address, network.bridge.as_ref()));
            Some((&*network.id.0, memberships.collect()))
        });
        (networks.collect(), &container.published)
    }

    /// What rules can ask about an address outside.
    pub(super) fn memberships(&self, address: IpAddr) -> Memberships<'a> {
        self.evaluator.memberships(address, None)
    }

    pub(super) fn ways(&self, from: &End, to: &End) -> Vec<Way> {
        let mut ways = Vec::new();
        for path in self.paths(from, to, Protocol::TCP, 1) {
            ways.extend(self.own_ways(&path));
        }
        for (protocol, port) in self.published(to) {
            ways.extend(self.proxied(from, to, protocol, port));
        }
        ways.sort_by(|a, b| (a.service, a.family, &a.via).cmp(&(b.service, b.family, &b.via)));
        ways
    }

    /// The ways that Docker's own rules leave, except those through `docker-proxy`.
    fn paths(&self, from: &End, to: &End, protocol: Protocol, destination: u16) -> Vec<Path<'a>> {
        let traffic = Traffic::Ports { protocol, source: CLIENT_PORT, destination };
        let found = self.finder.paths(from, to, traffic, &Family::ALL);
        let mut paths = found.map(|paths| paths.judged).unwrap_or_default();
        // Docker says no to these, whatever policy says.
        paths.retain(|path| path.route.closed_by_docker().is_none());
        paths
    }

    /// The ways by the other's own address.
    fn own_ways(&self, path: &Path<'a>) -> Vec<Way> {
        let mut ways = Vec::new();
        let seen = [Side::Source, Side::Destination].map(|side| self.view(&path.packet, side));
        let ends = Ends { source: &seen[0], destination: &seen[1] };
        for service in Service::ALL {
            let traffic = match service {
                Service::Ports(protocol) => Traffic::Ports { protocol, source: CLIENT_PORT, destination: 1 },
                Service::Ping => Traffic::EchoRequest,
            };
            let questions = match (&path.route, service) {
                (Route::ThroughPublishedPort { .. }, _) | (Route::FromOutside { .. }, Service::Ping) => Vec::new(),
                (Route::FromOutside { .. }, Service::Ports(protocol)) => Self::translated(path, protocol),
                (Route::ToHost { .. }, Service::Ports(protocol)) => {
                    vec![(Via::Direct, self.held_by_nobody(path, protocol))]
                }
                _ => vec![(Via::Direct, PortSet::all())],
            };
            for (via, ports) in questions {
                let parts = self.parts(self.divided(&path.packet_of(traffic), ends, ports));
                if !parts.is_empty() {
                    let (family, network) = (path.family(), network_of(&path.route));
                    ways.push(Way { via, family, service, network, parts });
                }
            }
        }
        ways
    }

    fn view(&self, packet: &Packet, side: Side) -> Rc<View> {
        let (address, interface) = packet.end(side);
        let mut views = self.views.borrow_mut();
        let seen = views.entry((side, address)).or_default();
        if let Some((_, view)) = seen.iter().find(|(known, _)| known.as_ref() == interface) {
            return Rc::clone(view);
        }
        let view = Rc::new(self.evaluator.view(packet, side));
        seen.push((interface.cloned(), Rc::clone(&view)));
        view
    }

    /// The ports of the container that the kernel translates from one of this host's, for clients outside.
    fn translated(path: &Path<'_>, protocol: Protocol) -> Vec<(Via, PortSet)> {
        let Some(endpoint) = &path.destination else { return Vec::new() };
        let mut questions = Vec::new();
        for port in endpoint.container.published.iter().filter(|port| port.protocol == protocol) {
            let (Some(host_port), Some(range)) = (port.host_port, PortRange::single(port.container_port)) else {
                continue;
            };
            if port.is_reached_from_outside(path.family()) {
                questions.push((Via::Published { host_port }, [range].into_iter().collect()));
            }
        }
        questions
    }

    /// The ports of this host on a network behind which there is no container: what reaches those is told of them.
    fn held_by_nobody(&self, path: &Path<'a>, protocol: Protocol) -> PortSet {
        let published = self.published.iter().filter(|port| port.protocol == protocol);
        let held = published.filter(|port| port.is_at(path.packet.destination));
        let held: PortSet = held.filter_map(|port| PortRange::single(port.host_port?)).collect();
        held.complement()
    }

    fn published(&self, to: &End) -> BTreeSet<(Protocol, u16)> {
        let End::Container { container, .. } = to else { return BTreeSet::new() };
        let ports = self.finder.endpoints_of(container).next().into_iter().flat_map(|found| &found.container.published);
        ports.map(|port| (port.protocol, port.container_port)).collect()
    }

    fn proxied(&self, from: &End, to: &End, protocol: Protocol, port: u16) -> Vec<Way> {
        let Some(range) = PortRange::single(port) else { return Vec::new() };
        let way_of = |path: Path<'a>| {
            let Route::ThroughPublishedPort { port: host_port, .. } = path.route else { return None };
            let seen = [Side::Source, Side::Destination].map(|side| self.view(&path.packet, side));
            let ends = Ends { source: &seen[0], destination: &seen[1] };
            // It is judged by the port of the host, and told by the container's.
            let mut divided = self.divided(&path.packet, ends, PortRange::single(host_port).into_iter().collect());
            for (ports, ..) in &mut divided {
                *ports = [range].into_iter().collect();
            }
            let parts = self.parts(divided);
            let (via, service) = (Via::Proxy { host_port }, Service::Ports(protocol));
            Some(Way { via, family: path.family(), service, network: network_of(&path.route), parts })
        };
        self.paths(from, to, protocol, port).into_iter().filter_map(way_of).collect()
    }

    /// Divides ports by what becomes of them and why, in their order.
    fn divided(&self, packet: &Packet, ends: Ends<'_>, ports: PortSet) -> Vec<Divided<'a>> {
        let mut divided: Vec<Divided<'a>> = Vec::new();
        for share in self.evaluator.divide(packet, ends, ports) {
            let decided = share.trace.iter().filter(|rule| {
                matches!(rule.action, Action::Return | Action::Drop | Action::Reject)
                    && self.compiled.origins.contains_key(&rule.comment)
            });
            let rules: Vec<&str> = decided.map(|rule| &*rule.comment).collect();
            let same = |other: &&mut Divided<'a>| (other.1, &other.2) == (share.decision, &rules);
            match divided.iter_mut().find(same) {
                Some((so_far, ..)) => *so_far = so_far.union(&share.ports),
                None => divided.push((share.ports, share.decision, rules)),
            }
        }
        divided.sort();
        divided
    }

    /// The same in a form that lasts, once for all that are equal.
    fn parts(&self, divided: Vec<Divided<'a>>) -> Parts {
        let mut found = self.found.borrow_mut();
        if let Some(parts) = found.get(&divided) {
            return parts.clone();
        }
        let part = |(ports, decision, rules): &Divided<'a>| Part {
            ports: ports.clone(),
            decision: *decision,
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        };
        let parts = Parts::new(divided.iter().map(part).collect());
        found.insert(divided, parts.clone());
        parts
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
