//! Which packets a connection is: where on this host the first packet of a flow between two ends is seen.
//!
//! Input: an inventory, two ends as a person names them, and what is sent. Output: one [`Path`] for every way and
//! family in which the flow can go, each with the [`Packet`] that [`super::evaluate`] judges.
//! The way of a flow decides the hook, so every answer about policy starts here.

mod end;
mod published;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use serde::Serialize;

use crate::inventory::{ContainerId, Endpoint, Inventory, Network, Unenforceable};
use crate::net::{Family, InterfaceName, Protocol};
use crate::ruleset::Hook;

use super::Packet;
use super::flow::Flow;

pub use end::{End, HOST};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A protocol with ports.
    Ports {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// Source port.
        source: u16,
        /// Destination port, that of the container when it is published under another.
        destination: u16,
    },
    /// An ICMP or ICMPv6 echo request, as the family has it.
    EchoRequest,
}

/// Protocol, source port, destination port, and ICMP type and code.
type Header = (Protocol, Option<u16>, Option<u16>, Option<(u8, u8)>);

impl Traffic {
    /// What a packet of it says in a family.
    fn in_family(self, family: Family) -> Header {
        match self {
            Traffic::Ports { protocol, source, destination } => (protocol, Some(source), Some(destination), None),
            Traffic::EchoRequest => (family.icmp(), None, None, Some((echo_request(family), 0))),
        }
    }
}

/// How a flow goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Route {
    /// Both ends are on one bridge.
    SameNetwork {
        /// Its name.
        network: String,
    },
    /// The host routes from one bridge to another. Docker's isolation drops that, whatever policy says.
    BetweenNetworks {
        /// Network of the source.
        from: String,
        /// Network of the destination.
        to: String,
    },
    /// Out of the host.
    ToOutside {
        /// Network of the source.
        from: String,
        /// Whether Docker keeps the network from the outside anyway.
        internal: bool,
    },
    /// Into the host, after DNAT if the port is published.
    FromOutside {
        /// Network of the destination.
        to: String,
        /// Whether Docker keeps the network from the outside anyway.
        internal: bool,
    },
    /// To this host.
    ToHost {
        /// Network of the source.
        from: String,
    },
    /// From this host.
    FromHost {
        /// Network of the destination.
        to: String,
    },
    /// To a port of this host that is published, where `docker-proxy` takes the connection and opens its own to the
    /// container: the client's true address is seen on the way to the proxy only.
    ThroughPublishedPort {
        /// Network of the source; `None` is outside.
        from: Option<String>,
        /// The port of the host.
        port: u16,
        /// The port of the container behind it.
        container_port: u16,
    },
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::SameNetwork { network } => write!(f, "on network {network}"),
            Route::BetweenNetworks { from, to } => write!(f, "from network {from} to network {to}"),
            Route::ToOutside { from, .. } => write!(f, "from network {from} to the outside"),
            Route::FromOutside { to, .. } => write!(f, "from the outside to network {to}"),
            Route::ToHost { from } => write!(f, "from network {from} to this host"),
            Route::FromHost { to } => write!(f, "from this host to network {to}"),
            Route::ThroughPublishedPort { from: Some(from), port, .. } => {
                write!(f, "from network {from} through port {port} of this host")
            }
            Route::ThroughPublishedPort { from: None, port, .. } => {
                write!(f, "from the outside through port {port} of this host")
            }
        }
    }
}

impl Route {
    /// Why Docker's own rules close it for every packet, whatever the verdict, where they are known to.
    pub fn closed_by_docker(&self) -> Option<&'static str> {
        match self {
            Route::BetweenNetworks { .. } => {
                Some("Docker's own rules isolate its networks from each other, whatever policy allows")
            }
            Route::ToOutside { internal: true, .. } | Route::FromOutside { internal: true, .. } => {
                Some("Docker's own rules keep an internal network from the outside, whatever policy allows")
            }
            _ => None,
        }
    }
}

/// One way of a flow in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// How it goes.
    pub route: Route,
    /// Its first packet.
    pub packet: Packet,
    /// The endpoint that sends, if the inventory has it.
    pub source: Option<Endpoint<'a>>,
    /// The endpoint that receives, if the inventory has it.
    pub destination: Option<Endpoint<'a>>,
}

impl Path<'_> {
    /// Why Docker's own rules close it whatever the verdict: for every packet that goes this way, or for this one because
    /// it comes from outside to what is not published there.
    pub fn closed_by_docker(&self) -> Option<&'static str> {
        self.route.closed_by_docker().or_else(|| self.unpublished())
    }

    fn unpublished(&self) -> Option<&'static str> {
        let Route::FromOutside { .. } = self.route else { return None };
        let Some(wanted) = self.packet.destination_port else {
            return Some("Docker lets nobody outside come to a container but by a published port");
        };
        let published = self.destination.iter().flat_map(|endpoint| &endpoint.container.published);
        let mut fitting =
            published.filter(|port| port.protocol == self.packet.protocol && port.container_port == wanted);
        let is_published = fitting.any(|port| port.host_port.is_some() && port.is_reached_from_outside(self.family()));
        (!is_published).then_some("the port is not published to the outside")
    }

    /// The family.
    pub fn family(&self) -> Family {
        Family::of(self.packet.source)
    }

    /// The first packet of other traffic that goes the same way.
    pub fn packet_of(&self, traffic: Traffic) -> Packet {
        let (protocol, source_port, destination_port, icmp) = traffic.in_family(self.family());
        Packet { protocol, source_port, destination_port, icmp, ..self.packet.clone() }
    }
}

/// All ways of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths<'a> {
    /// Those that can be judged, never empty: IPv4 first, then by network.
    pub judged: Vec<Path<'a>>,
    /// Endpoints of the two ends that policy cannot reach: by them the flow may go unjudged.
    pub out_of_reach: Vec<(String, Unenforceable)>,
}

/// Why there is no way to judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No container has that name, id or address, and it is no address.
    #[error("`{0}` is no container here, no address, and not `{HOST}`")]
    Unknown(String),
    /// Several containers' ids begin so.
    #[error("`{0}` begins the id of several containers")]
    Ambiguous(String),
    /// The container is not on that network.
    #[error("container {container} is not on network {network}")]
    NotAttached {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The container has nothing to be reached by.
    #[error("container {0} is on no network")]
    NoNetwork(String),
    /// All addresses of a machine are no end.
    #[error("`{0}` is nobody's address: it stands for all that a machine has")]
    Unspecified(IpAddr),
    /// A multicast or broadcast address.
    #[error("`{0}` is the address of many receivers at once, and a connection has one")]
    Group(IpAddr),
    /// An address that means something on one link only, and no link that it is on is known.
    #[error("`{0}` counts on a single link only, and nobody on a Docker network here is known to have it")]
    LinkLocal(IpAddr),
    /// What is sent to a loopback address stays where it is.
    #[error("`{0}` is the sender's own loopback: what is sent there never leaves the sender")]
    Loopback(IpAddr),
    /// Both ends are one network stack.
    #[error("both ends are the container {0}: what it sends to itself never leaves it")]
    Itself(String),
    /// Neither end is a container, nor on a container network.
    #[error("neither end is on a Docker network: dockgate judges only traffic of containers")]
    NoContainer,
    /// What asks for a port of this host that a container publishes is no container either.
    #[error("port {port} of this host leads to port {container_port} of container {container}")]
    Published {
        /// The port of the host.
        port: u16,
        /// The container.
        container: String,
        /// Its own port.
        container_port: u16,
        /// TCP, UDP or SCTP.
        protocol: Protocol,
    },
    /// No family, or none that is asked for, in which both ends have an address.
    #[error("the two ends have no address of the same family")]
    NoCommonFamily,
    /// All that could be judged is out of policy's reach.
    #[error("policy cannot reach {endpoint}: {reason}")]
    OutOfReach {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: Unenforceable,
    },
}

/// A place where a flow can begin or end, in one family.
#[derive(Clone)]
struct Point<'a> {
    endpoint: Option<Endpoint<'a>>,
    /// The network and its bridge; `None` is outside.
    bridge: Option<(&'a Network, &'a InterfaceName)>,
    address: IpAddr,
}

/// Finds the ways of flows in one inventory.
#[derive(Clone, Debug)]
pub struct Finder<'a> {
    inventory: &'a Inventory,
    endpoints: Vec<Endpoint<'a>>,
    /// Where each container's are among them.
    of_container: BTreeMap<&'a ContainerId, Vec<usize>>,
}

impl<'a> Finder<'a> {
    /// A finder for one inventory.
    pub fn new(inventory: &'a Inventory) -> Finder<'a> {
        let endpoints = inventory.endpoints();
        let mut of_container: BTreeMap<&ContainerId, Vec<usize>> = BTreeMap::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            of_container.entry(&endpoint.container.id).or_default().push(index);
        }
        Finder { inventory, endpoints, of_container }
    }

    /// The endpoints of the inventory, as [`Inventory::endpoints`] has them.
    pub fn endpoints(&self) -> &[Endpoint<'a>] {
        &self.endpoints
    }

    /// Those of one container, in the same order.
    pub fn endpoints_of(&self, container: &ContainerId) -> impl Iterator<Item = &Endpoint<'a>> {
        self.of_container.get(container).into_iter().flatten().map(|index| &self.endpoints[*index])
    }

    /// Those that an end means.
    fn endpoints_at(&self, end: &End) -> Vec<&Endpoint<'a>> {
        match end {
            End::Container { container, .. } => {
                self.endpoints_of(container).filter(|endpoint| end.includes(endpoint)).collect()
            }
            End::Address(_) | End::Host(_) => Vec::new(),
        }
    }

    /// All ways of a flow, in the families asked for in which both ends have an address. What is sent to this host ends
    /// there, also where a container publishes the port: see [`Finder::connections`].
    pub fn paths(&self, from: &End, to: &End, traffic: Traffic, families: &[Family]) -> Result<Paths<'a>, Error> {
        let inventory = self.inventory;
        if let (End::Container { container: source, .. }, End::Container { container: destination, .. }) = (from, to)
            && source == destination
        {
            let name = inventory.containers.get(source).map_or_else(|| source.to_string(), |found| found.name.clone());
            return Err(Error::Itself(name));
        }
        if let (End::Container { .. } | End::Address(_), End::Host(Some(address))) = (from, to)
            && address.is_loopback()
        {
            return Err(Error::Loopback(*address));
        }
        let mut judged = Vec::new();
        let (sending, receiving) = (self.endpoints_at(from), self.endpoints_at(to));
        for &family in families {
            let sources = self.points(from, &sending, family);
            let destinations = self.points(to, &receiving, family);
            let both = Ends { from, to, traffic, family };
            judged.extend(both.ways(&sources, &destinations));
            judged.extend(both.through_published_ports(&receiving, &sources));
        }
        let ends = sending.into_iter().chain(receiving);
        let mut ends: Vec<_> = ends.filter(|endpoint| endpoint.unenforceable.is_some()).collect();
        ends.sort_by(|one, other| one.order().cmp(&other.order()));
        let out_of_reach: Vec<_> =
            ends.into_iter().filter_map(|endpoint| Some((endpoint.name(), endpoint.unenforceable.clone()?))).collect();
        if !judged.is_empty() {
            return Ok(Paths { judged, out_of_reach });
        }
        Err(match out_of_reach.into_iter().next() {
            Some((endpoint, reason)) => Error::OutOfReach { endpoint, reason },
            None if is_on_a_network(inventory, from) || is_on_a_network(inventory, to) => Error::NoCommonFamily,
            None => Error::NoContainer,
        })
    }

    /// The places of an end in a family, given its endpoints.
    fn points(&self, end: &End, endpoints: &[&Endpoint<'a>], family: Family) -> Vec<Point<'a>> {
        match end {
            End::Container { .. } => endpoints
                .iter()
                .filter(|endpoint| endpoint.unenforceable.is_none())
                .filter_map(|endpoint| {
                    let network = endpoint.network?;
                    let bridge = Some((network, network.bridge.as_ref()?));
                    Some(Point { endpoint: Some((*endpoint).clone()), bridge, address: endpoint.address(family)? })
                })
                .collect(),
            End::Address(address) if Family::of(*address) == family => {
                // No subnet says on which bridge a link-local address is.
                let endpoint = on_link(&self.endpoints, *address).cloned();
                let of_endpoint =
                    || endpoint.as_ref().and_then(|found| Some((found.network?, found.network?.bridge.as_ref()?)));
                let bridge = network_of(self.inventory, *address).or_else(of_endpoint);
                vec![Point { endpoint, bridge, address: *address }]
            }
            End::Address(_) | End::Host(_) => vec![],
        }
    }
}

fn is_on_a_network(inventory: &Inventory, end: &End) -> bool {
    match end {
        End::Container { .. } => true,
        End::Address(address) => network_of(inventory, *address).is_some(),
        End::Host(_) => false,
    }
}

/// The bridge network whose subnet holds an address.
fn network_of(inventory: &Inventory, address: IpAddr) -> Option<(&Network, &InterfaceName)> {
    let holds = |network: &&Network| network.subnets.iter().any(|subnet| subnet.contains(address));
    inventory.networks.values().filter(holds).find_map(|network| Some((network, network.bridge.as_ref()?)))
}

/// The endpoint on a bridge whose interface gives itself this link-local address.
fn on_link<'e, 'a>(endpoints: &'e [Endpoint<'a>], address: IpAddr) -> Option<&'e Endpoint<'a>> {
    let mut reached = endpoints.iter().filter(|endpoint| endpoint.unenforceable.is_none());
    let link_local = |endpoint: &Endpoint<'_>| Some(IpAddr::from(endpoint.attachment?.mac?.link_local()));
    reached.find(|endpoint| link_local(endpoint) == Some(address))
}

/// Two ends in one family.
struct Ends<'e> {
    from: &'e End,
    to: &'e End,
    traffic: Traffic,
    family: Family,
}

impl Ends<'_> {
    fn ways<'a>(&self, sources: &[Point<'a>], destinations: &[Point<'a>]) -> Vec<Path<'a>> {
        match (self.from, self.to) {
            (End::Host(_), End::Host(_)) => vec![],
            (_, End::Host(address)) => sources.iter().filter_map(|source| self.host_bound(source, *address)).collect(),
            (End::Host(address), _) => {
                destinations.iter().filter_map(|destination| self.host_sent(destination, *address)).collect()
            }
            _ => self.forwarded(sources, destinations),
        }
    }

    fn forwarded<'a>(&self, sources: &[Point<'a>], destinations: &[Point<'a>]) -> Vec<Path<'a>> {
        let pairs = || sources.iter().flat_map(|source| destinations.iter().map(move |target| (source, target)));
        let same = |(source, target): &(&Point<'a>, &Point<'a>)| match (source.bridge, target.bridge) {
            (Some((from, _)), Some((to, _))) => from.id == to.id,
            _ => false,
        };
        // Ends that share a network are in each other's subnet: nothing is sent by way of a router.
        let shared: Vec<_> = pairs().filter(same).collect();
        let chosen = if shared.is_empty() { pairs().collect() } else { shared };
        chosen.into_iter().filter_map(|(source, target)| self.forward(source, target)).collect()
    }

    fn forward<'a>(&self, source: &Point<'a>, destination: &Point<'a>) -> Option<Path<'a>> {
        let route = match (source.bridge, destination.bridge) {
            (Some((from, _)), Some((to, _))) if from.id == to.id => Route::SameNetwork { network: from.name.clone() },
            (Some((from, _)), Some((to, _))) => Route::BetweenNetworks { from: from.name.clone(), to: to.name.clone() },
            (Some((from, _)), None) => Route::ToOutside { from: from.name.clone(), internal: from.internal },
            (None, Some((to, _))) => Route::FromOutside { to: to.name.clone(), internal: to.internal },
            (None, None) => return None,
        };
        Some(self.path(Hook::Forward, route, source, destination))
    }

    fn host_bound<'a>(&self, source: &Point<'a>, address: Option<IpAddr>) -> Option<Path<'a>> {
        let (network, _) = source.bridge?;
        let host = self.host(network, address)?;
        Some(self.path(Hook::Input, Route::ToHost { from: network.name.clone() }, source, &host))
    }

    fn host_sent<'a>(&self, destination: &Point<'a>, address: Option<IpAddr>) -> Option<Path<'a>> {
        let (network, _) = destination.bridge?;
        // What this host sends under its loopback address stays within it: to a container it takes another.
        let own = address.filter(|address| !address.is_loopback());
        let host = self.host(network, own).filter(|_| address.is_none_or(|given| Family::of(given) == self.family))?;
        Some(self.path(Hook::Output, Route::FromHost { to: network.name.clone() }, &host, destination))
    }

    /// This host on a network: the address that was given, else its gateway address there.
    fn host<'a>(&self, network: &Network, address: Option<IpAddr>) -> Option<Point<'a>> {
        let gateway = || network.gateways.iter().copied().find(|gateway| Family::of(*gateway) == self.family);
        let address = address.or_else(gateway).filter(|address| Family::of(*address) == self.family)?;
        Some(Point { endpoint: None, bridge: None, address })
    }

    fn path<'a>(&self, hook: Hook, route: Route, source: &Point<'a>, destination: &Point<'a>) -> Path<'a> {
        let interface = |point: &Point<'a>| point.bridge.map(|(_, bridge)| bridge.clone());
        let (protocol, source_port, destination_port, icmp) = self.traffic.in_family(self.family);
        Path {
            packet: Packet {
                hook,
                in_interface: interface(source),
                out_interface: interface(destination),
                source: source.address,
                destination: destination.address,
                protocol,
                source_port,
                destination_port,
                icmp,
            },
            route,
            source: source.endpoint.clone(),
            destination: destination.endpoint.clone(),
        }
    }
}

/// Where flows between addresses go: what [`Finder::paths`] knows of ends, for flows of which only the addresses are known.
#[derive(Clone, Debug)]
pub struct Ways<'a> {
    inventory: &'a Inventory,
    host: &'a BTreeSet<IpAddr>,
    /// Made when it is first asked for, which is rare.
    link_local: OnceLock<BTreeMap<IpAddr, &'a InterfaceName>>,
}

impl<'a> Ways<'a> {
    /// `host` holds the addresses of this host.
    pub fn new(inventory: &'a Inventory, host: &'a BTreeSet<IpAddr>) -> Ways<'a> {
        Ways { inventory, host, link_local: OnceLock::new() }
    }

    /// The first packet of a flow where the rules of this host see it; `None` for one that stays within the host.
    pub fn first_packet(&self, flow: &Flow) -> Option<Packet> {
        let hook = match (self.is_host(flow.source), self.is_host(flow.destination)) {
            (true, true) => return None,
            (true, false) => Hook::Output,
            (false, true) => Hook::Input,
            (false, false) => Hook::Forward,
        };
        let interface = |address, far_from| (hook != far_from).then(|| self.bridge(address).cloned()).flatten();
        Some(Packet {
            hook,
            in_interface: interface(flow.source, Hook::Output),
            out_interface: interface(flow.destination, Hook::Input),
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            source_port: flow.ports.map(|(source, _)| source),
            destination_port: flow.ports.map(|(_, destination)| destination),
            icmp: flow.icmp,
        })
    }

    /// The bridge by which packets with this address come and go.
    pub fn bridge(&self, address: IpAddr) -> Option<&'a InterfaceName> {
        let network = network_of(self.inventory, address).map(|(_, bridge)| bridge);
        let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        // No subnet says on which bridge it is.
        let by_mac = || self.link_local.get_or_init(|| link_local(self.inventory)).get(&address).copied();
        network.or_else(|| is_link_local.then(by_mac).flatten())
    }

    /// Whether an address is one of this host.
    pub fn is_host(&self, address: IpAddr) -> bool {
        let is_gateway = || self.inventory.networks.values().any(|network| network.gateways.contains(&address));
        address.is_loopback() || self.host.contains(&address) || is_gateway()
    }
}

/// The link-local addresses that endpoints form, each with its bridge.
fn link_local(inventory: &Inventory) -> BTreeMap<IpAddr, &InterfaceName> {
    let attachments = inventory.containers.values().flat_map(|container| &container.attachments);
    let with_bridge = attachments.filter_map(|attachment| {
        let bridge = inventory.networks.get(&attachment.network)?.bridge.as_ref()?;
        Some((attachment.mac?.link_local().into(), bridge))
    });
    with_bridge.collect()
}

/// The address that stands for any of the host's.
fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// ICMP type of an echo request (RFC 792, RFC 4443).
fn echo_request(family: Family) -> u8 {
    match family {
        Family::V4 => 8,
        Family::V6 => 128,
    }
}
