//! Which packets a connection is: where on this host the first packet of a flow between two ends is seen.
//!
//! Input: an inventory, two ends as a person names them, and what is sent. Output: one [`Path`] for every way and
//! family in which the flow can go, each with the [`Packet`] that [`super::evaluate`] judges.
//! What a flow's way is decides the hook (design §3.1), so an answer about policy starts here.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::inventory::{Container, ContainerId, Endpoint, Inventory, Network, NetworkId, Unenforceable};
use crate::net::{Family, InterfaceName, Protocol};
use crate::ruleset::Hook;

use super::Packet;

/// The name of this host as an end.
pub const HOST: &str = "host";
/// Shortest beginning of a container id that is taken for one; Docker itself takes any, but prints 12.
const SHORTEST_ID: usize = 4;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A container.
    Container {
        /// The container whose network stack it is.
        container: ContainerId,
        /// The only network that counts; `None` is all of the container's.
        network: Option<NetworkId>,
    },
    /// An address that no container of the inventory has.
    Address(IpAddr),
    /// This host.
    Host(Option<IpAddr>),
}

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
        }
    }
}

impl Route {
    /// What Docker's own rules add to the verdict, where they are known to.
    pub fn remark(&self) -> Option<&'static str> {
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
    /// The family.
    pub fn family(&self) -> Family {
        Family::of(self.packet.source)
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
    /// Both ends are one network stack.
    #[error("both ends are the container {0}: what it sends to itself never leaves it")]
    Itself(String),
    /// Neither end is a container, nor on a container network.
    #[error("neither end is on a Docker network: dockgate judges only traffic of containers")]
    NoContainer,
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

impl End {
    /// The end that a text names: `host`, an address, a container by name or id, or `CONTAINER@NETWORK`.
    ///
    /// An address that a container has is that container on that network; a gateway or loopback address is the host.
    pub fn find(inventory: &Inventory, text: &str) -> Result<End, Error> {
        if text == HOST {
            return Ok(End::Host(None));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(End::of_address(inventory, address.to_canonical()));
        }
        let (name, network) = text.split_once('@').map_or((text, None), |(name, network)| (name, Some(network)));
        let named = find_container(inventory, name).ok_or(()).or_else(|()| find_by_id(inventory, name))?;
        let container = stack_of(inventory, named);
        if container.unenforceable == Some(Unenforceable::HostNetwork) {
            // Such a container is host processes to every packet filter.
            return Ok(End::Host(None));
        }
        let network = network.map(|network| {
            let attached = |id: &NetworkId| inventory.networks.get(id).is_some_and(|found| found.name == network);
            let attachment = container.attachments.iter().find(|attachment| attached(&attachment.network));
            attachment
                .map(|attachment| attachment.network.clone())
                .ok_or_else(|| Error::NotAttached { container: container.name.clone(), network: network.to_owned() })
        });
        Ok(End::Container { container: container.id.clone(), network: network.transpose()? })
    }

    fn of_address(inventory: &Inventory, address: IpAddr) -> End {
        for container in inventory.containers.values() {
            for attachment in &container.attachments {
                if [attachment.ipv4, attachment.ipv6].contains(&Some(address)) {
                    let network = Some(attachment.network.clone());
                    return End::Container { container: container.id.clone(), network };
                }
            }
        }
        let is_gateway = inventory.networks.values().any(|network| network.gateways.contains(&address));
        if is_gateway || address.is_loopback() { End::Host(Some(address)) } else { End::Address(address) }
    }
}

fn find_container<'a>(inventory: &'a Inventory, name: &str) -> Option<&'a Container> {
    inventory.containers.values().find(|container| container.name == name)
}

fn find_by_id<'a>(inventory: &'a Inventory, beginning: &str) -> Result<&'a Container, Error> {
    let unknown = || Error::Unknown(beginning.to_owned());
    if beginning.len() < SHORTEST_ID {
        return Err(unknown());
    }
    let mut found = inventory.containers.values().filter(|container| container.id.0.starts_with(beginning));
    match (found.next(), found.next()) {
        (Some(container), None) => Ok(container),
        (Some(_), Some(_)) => Err(Error::Ambiguous(beginning.to_owned())),
        _ => Err(unknown()),
    }
}

/// The container whose network stack a container uses: with `--network container:X` that of X.
fn stack_of<'a>(inventory: &'a Inventory, container: &'a Container) -> &'a Container {
    let Some(Unenforceable::SharedWith(owner)) = &container.unenforceable else { return container };
    inventory
        .containers
        .get(&ContainerId(owner.clone()))
        .or_else(|| find_container(inventory, owner))
        .unwrap_or(container)
}

/// A place where a flow can begin or end, in one family.
#[derive(Clone)]
struct Point<'a> {
    endpoint: Option<Endpoint<'a>>,
    /// The network and its bridge; `None` is outside.
    bridge: Option<(&'a Network, &'a InterfaceName)>,
    address: IpAddr,
}

/// All ways of a flow, in the families asked for in which both ends have an address.
pub fn paths<'a>(
    inventory: &'a Inventory,
    from: &End,
    to: &End,
    traffic: Traffic,
    families: &[Family],
) -> Result<Paths<'a>, Error> {
    if let (End::Container { container: source, .. }, End::Container { container: destination, .. }) = (from, to)
        && source == destination
    {
        let name = inventory.containers.get(source).map_or_else(|| source.to_string(), |found| found.name.clone());
        return Err(Error::Itself(name));
    }
    let endpoints = inventory.endpoints();
    let mut judged = Vec::new();
    for &family in families {
        let sources = points(inventory, &endpoints, from, family);
        let destinations = points(inventory, &endpoints, to, family);
        let both = Ends { from, to, traffic, family };
        judged.extend(both.ways(&sources, &destinations));
    }
    let out_of_reach: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| from.includes(endpoint) || to.includes(endpoint))
        .filter_map(|endpoint| Some((endpoint.name(), endpoint.unenforceable.clone()?)))
        .collect();
    if !judged.is_empty() {
        return Ok(Paths { judged, out_of_reach });
    }
    Err(match out_of_reach.into_iter().next() {
        Some((endpoint, reason)) => Error::OutOfReach { endpoint, reason },
        None if is_on_a_network(inventory, from) || is_on_a_network(inventory, to) => Error::NoCommonFamily,
        None => Error::NoContainer,
    })
}

impl End {
    fn includes(&self, endpoint: &Endpoint<'_>) -> bool {
        let End::Container { container, network } = self else { return false };
        endpoint.container.id == *container
            && network.as_ref().is_none_or(|network| endpoint.network.is_some_and(|found| found.id == *network))
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

fn points<'a>(inventory: &'a Inventory, endpoints: &[Endpoint<'a>], end: &End, family: Family) -> Vec<Point<'a>> {
    match end {
        End::Container { .. } => endpoints
            .iter()
            .filter(|endpoint| end.includes(endpoint) && endpoint.unenforceable.is_none())
            .filter_map(|endpoint| {
                let network = endpoint.network?;
                let bridge = Some((network, network.bridge.as_ref()?));
                Some(Point { endpoint: Some(endpoint.clone()), bridge, address: endpoint.address(family)? })
            })
            .collect(),
        End::Address(address) if Family::of(*address) == family => {
            vec![Point { endpoint: None, bridge: network_of(inventory, *address), address: *address }]
        }
        End::Address(_) | End::Host(_) => vec![],
    }
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
        let host = self.host(network, address)?;
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
        let (protocol, source_port, destination_port, icmp) = match self.traffic {
            Traffic::Ports { protocol, source, destination } => (protocol, Some(source), Some(destination), None),
            Traffic::EchoRequest => (self.family.icmp(), None, None, Some((echo_request(self.family), 0))),
        };
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

/// ICMP type of an echo request (RFC 792, RFC 4443).
fn echo_request(family: Family) -> u8 {
    match family {
        Family::V4 => 8,
        Family::V6 => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Attachment;

    /// Networks front (both families), back (internal) and edge (macvlan); web on front and back, api on front, db on
    /// back, lan on edge, agent on the host's network, sidecar in web's.
    fn world() -> Inventory {
        let network = |name: &str, octet: u8, internal: bool| Network {
            id: NetworkId(format!("{name}-id")),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            bridge: Some(format!("br-{name}").parse().unwrap()),
            subnets: vec![
                format!("172.18.{octet}.0/24").parse().unwrap(),
                format!("fd00:{octet}::/64").parse().unwrap(),
            ],
            gateways: vec![format!("172.18.{octet}.1").parse().unwrap(), format!("fd00:{octet}::1").parse().unwrap()],
            internal,
        };
        let edge = Network { driver: "macvlan".to_owned(), bridge: None, ..network("edge", 3, false) };
        let networks = [network("front", 1, false), network("back", 2, true), edge];
        let attachment = |name: &str, octet: u8, host: u8, v6: bool| Attachment {
            network: NetworkId(format!("{name}-id")),
            endpoint_id: String::new(),
            ipv4: format!("172.18.{octet}.{host}").parse().ok(),
            ipv6: v6.then(|| format!("fd00:{octet}::{host}").parse().unwrap()),
            mac: None,
        };
        let container = |name: &str, attachments: Vec<Attachment>| Container {
            id: ContainerId(format!("{name}0123456789")),
            name: name.to_owned(),
            image: "busybox".to_owned(),
            labels: [].into(),
            attachments,
            unenforceable: None,
            published: vec![],
            stated_namespace: None,
        };
        let out_of_reach = |name, reason| Container { unenforceable: Some(reason), ..container(name, vec![]) };
        let containers = [
            container("web", vec![attachment("front", 1, 2, true), attachment("back", 2, 2, false)]),
            container("api", vec![attachment("front", 1, 3, true)]),
            container("db", vec![attachment("back", 2, 3, false)]),
            container("lan", vec![attachment("edge", 3, 2, false)]),
            out_of_reach("agent", Unenforceable::HostNetwork),
            out_of_reach("sidecar", Unenforceable::SharedWith("web0123456789".to_owned())),
        ];
        Inventory {
            networks: networks.into_iter().map(|network| (network.id.clone(), network)).collect(),
            containers: containers.into_iter().map(|container| (container.id.clone(), container)).collect(),
            namespaces: [].into(),
        }
    }

    const HTTP: Traffic = Traffic::Ports { protocol: Protocol::TCP, source: 49_152, destination: 80 };

    /// Every way as `HOOK in>out source>destination: route`.
    fn ways(from: &str, to: &str) -> Result<Vec<String>, Error> {
        let world = world();
        let (from, to) = (End::find(&world, from)?, End::find(&world, to)?);
        let found = paths(&world, &from, &to, HTTP, &Family::ALL)?;
        let interface = |name: &Option<InterfaceName>| name.as_ref().map_or("*".to_owned(), ToString::to_string);
        let shown = |path: &Path<'_>| {
            let Packet { hook, in_interface, out_interface, source, destination, .. } = &path.packet;
            let (from, to) = (interface(in_interface), interface(out_interface));
            format!("{} {from}>{to} {source}>{destination}: {}", hook.kernel_chain(), path.route)
        };
        Ok(found.judged.iter().map(shown).collect())
    }

    #[test]
    fn every_pair_of_ends_has_its_ways() {
        for (name, from, to, expected) in [
            (
                "one shared network, both families",
                "web",
                "api",
                vec![
                    "FORWARD br-front>br-front 172.18.1.2>172.18.1.3: on network front",
                    "FORWARD br-front>br-front fd00:1::2>fd00:1::3: on network front",
                ],
            ),
            (
                "shared network in one family",
                "web",
                "db",
                vec!["FORWARD br-back>br-back 172.18.2.2>172.18.2.3: on network back"],
            ),
            (
                "no shared network",
                "api",
                "db",
                vec!["FORWARD br-front>br-back 172.18.1.3>172.18.2.3: from network front to network back"],
            ),
            (
                "by the network that is named",
                "web@front",
                "db",
                vec!["FORWARD br-front>br-back 172.18.1.2>172.18.2.3: from network front to network back"],
            ),
            (
                "by address",
                "172.18.1.2",
                "fd00:1::3",
                vec![
                    "FORWARD br-front>br-front 172.18.1.2>172.18.1.3: on network front",
                    "FORWARD br-front>br-front fd00:1::2>fd00:1::3: on network front",
                ],
            ),
            (
                "by id",
                "api01234",
                "db",
                vec!["FORWARD br-front>br-back 172.18.1.3>172.18.2.3: from network front to network back"],
            ),
            (
                "from outside",
                "203.0.113.9",
                "web",
                vec![
                    "FORWARD *>br-back 203.0.113.9>172.18.2.2: from the outside to network back",
                    "FORWARD *>br-front 203.0.113.9>172.18.1.2: from the outside to network front",
                ],
            ),
            (
                "to outside",
                "web",
                "2001:db8::9",
                vec!["FORWARD br-front>* fd00:1::2>2001:db8::9: from network front to the outside"],
            ),
            (
                "an IPv4 address in IPv6 clothes",
                "api",
                "::ffff:203.0.113.9",
                vec!["FORWARD br-front>* 172.18.1.3>203.0.113.9: from network front to the outside"],
            ),
            (
                "an address that nobody has on a network",
                "172.18.1.77",
                "api",
                vec!["FORWARD br-front>br-front 172.18.1.77>172.18.1.3: on network front"],
            ),
            (
                "to this host",
                "api",
                "host",
                vec![
                    "INPUT br-front>* 172.18.1.3>172.18.1.1: from network front to this host",
                    "INPUT br-front>* fd00:1::3>fd00:1::1: from network front to this host",
                ],
            ),
            (
                "to this host by another gateway address",
                "api",
                "172.18.2.1",
                vec!["INPUT br-front>* 172.18.1.3>172.18.2.1: from network front to this host"],
            ),
            (
                "from a container on the host's network",
                "agent",
                "db",
                vec!["OUTPUT *>br-back 172.18.2.1>172.18.2.3: from this host to network back"],
            ),
            (
                "from a container in another's network stack",
                "sidecar",
                "db",
                vec!["FORWARD br-back>br-back 172.18.2.2>172.18.2.3: on network back"],
            ),
        ] {
            assert_eq!(ways(from, to).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_judged_says_why() {
        for (name, from, to, text) in [
            ("typing error", "wbe", "api", "`wbe` is no container here, no address, and not `host`"),
            ("short id", "we", "api", "`we` is no container here, no address, and not `host`"),
            ("wrong network", "web@edge", "api", "container web is not on network edge"),
            ("itself", "web@front", "web@back", "both ends are the container web"),
            ("its own stack", "sidecar", "web", "both ends are the container web"),
            ("outside to outside", "203.0.113.9", "203.0.113.10", "neither end is on a Docker network"),
            ("host to host", "host", "agent", "neither end is on a Docker network"),
            ("no common family", "db", "2001:db8::9", "the two ends have no address of the same family"),
            ("macvlan", "lan", "api", "policy cannot reach lan@edge: driver macvlan"),
        ] {
            let error = ways(from, to).unwrap_err().to_string();
            assert!(error.starts_with(text), "{name}: {error}");
        }
    }

    #[test]
    fn echo_requests_are_those_of_their_family() {
        let world = world();
        let end = |name| End::find(&world, name).unwrap();
        let found = paths(&world, &end("web"), &end("api"), Traffic::EchoRequest, &Family::ALL).unwrap();
        let sent: Vec<_> = found.judged.iter().map(|path| (path.packet.protocol, path.packet.icmp)).collect();
        assert_eq!(sent, [(Protocol::ICMP, Some((8, 0))), (Protocol::ICMPV6, Some((128, 0)))]);
        assert!(found.judged.iter().all(|path| path.packet.destination_port.is_none()));
    }

    #[test]
    fn a_way_out_of_policys_reach_is_told_beside_the_judged_ones() {
        let mut world = world();
        let lan = world.containers[&ContainerId("lan0123456789".to_owned())].attachments[0].clone();
        let web = world.containers.get_mut(&ContainerId("web0123456789".to_owned())).unwrap();
        web.attachments.push(Attachment { ipv4: "172.18.3.9".parse().ok(), ..lan });
        let end = |name| End::find(&world, name).unwrap();
        let found = paths(&world, &end("web"), &end("api"), HTTP, &Family::ALL).unwrap();
        assert_eq!(found.judged.len(), 2);
        assert_eq!(found.out_of_reach, [("web@edge".to_owned(), Unenforceable::Driver("macvlan".to_owned()))]);
    }
}
