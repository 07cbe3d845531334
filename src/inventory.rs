//! Networks, containers and endpoints of one host, with the labels that selectors see.
//!
//! Input: snapshots and changes from Docker, an Inventory file, or Compose files. Output: an [`Inventory`], a plain value.
//! An endpoint is one container's attachment to one network; its implicit labels cannot be forged by the container.

mod addresses;
mod change;
pub mod compose;
mod containers;
pub mod docker;
mod engine;
pub mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::net::{Cidr, Family, InterfaceName, MacAddress, Protocol};
use crate::selector::{NAMESPACE_LABEL, NAMESPACE_PREFIX, ORCHESTRATOR};

pub use crate::selector::ORCHESTRATOR_LABEL;
pub use change::{Change, Difference, Former};
pub use containers::Containers;
pub use engine::Engine;

/// Implicit label: container name.
pub const CONTAINER_LABEL: &str = "dockgate.io/container";
/// Implicit label: Docker network name.
pub const NETWORK_LABEL: &str = "dockgate.io/network";
/// Implicit label: image reference.
pub const IMAGE_LABEL: &str = "dockgate.io/image";
/// Container label that declares named ports, e.g. `http=8080/tcp,metrics=9090/tcp`.
pub const PORTS_LABEL: &str = "dockgate.io/ports";
/// Calico's old Docker convention: a label with this prefix also counts without it.
const CALICO_LABEL_PREFIX: &str = "org.projectcalico.label.";
/// Labels that say a container's namespace; the first that is not empty counts.
const NAMESPACE_SOURCES: [&str; 3] = [NAMESPACE_LABEL, "com.docker.compose.project", "com.docker.stack.namespace"];

/// Implicit labels of a namespace, which say its name.
const NAMESPACE_NAMES: [&str; 2] = ["kubernetes.io/metadata.name", "projectcalico.org/name"];

/// Full Docker network id, or the name where an Inventory file gives none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NetworkId(pub Arc<str>);

/// Full Docker container id, or the name where an Inventory file gives none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ContainerId(pub Arc<str>);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Docker network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Id.
    pub id: NetworkId,
    /// Name.
    pub name: String,
    /// Driver as Docker names it: `bridge`, `host`, `macvlan`, `overlay`, ...
    pub driver: String,
    /// The Linux bridge of a `bridge` network: `com.docker.network.bridge.name`, or `br-` and 12 characters of the id.
    pub bridge: Option<InterfaceName>,
    /// Subnets, both families.
    pub subnets: Vec<Cidr>,
    /// Gateway addresses: the host's own on that network.
    pub gateways: Vec<IpAddr>,
    /// Whether Docker keeps it from the outside.
    pub internal: bool,
}

impl Network {
    /// Whether its bridge is one that the engine has made and named for it. A bridge with a name of somebody's choice can be
    /// this host's way to its LAN; on that of the default network are the steps of builds, and on `docker_gwbridge` what
    /// carries overlay networks to the outside.
    pub fn has_own_bridge(&self) -> bool {
        let id = self.id.0.get(..12).unwrap_or(&self.id.0);
        self.bridge.as_ref().is_some_and(|bridge| bridge.as_str().strip_prefix("br-") == Some(id))
    }
}

/// A published port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PublishedPort {
    /// Host address that it is bound to; the unspecified address for all of its family, `None` for all of both.
    pub host_address: Option<IpAddr>,
    /// Port on the host; `None` until Docker has chosen one.
    pub host_port: Option<u16>,
    /// Port in the container.
    pub container_port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

/// A named port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamedPort {
    /// Name.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Port in the container.
    pub port: u16,
}

/// Why a container's traffic on a network cannot be policed by this host's packet filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Unenforceable {
    /// `--network host`: it has no address of its own.
    HostNetwork,
    /// `--network container:X`: it shares the endpoint of another container, whose labels count.
    SharedWith(String),
    /// A driver whose packets pass none of the host's netfilter hooks, e.g. macvlan, ipvlan, overlay.
    Driver(String),
    /// A bridge network whose bridge has a name that cannot stand in a rule.
    BridgeName,
}

impl Unenforceable {
    /// Whether packets of the endpoint show its address where this host's rules see them. Within an overlay network they
    /// are wrapped, and they leave it under the address on another network; on a macvlan or ipvlan network the address is
    /// one of the network outside, by which its packets may come back to this host.
    pub fn shows_its_address(&self) -> bool {
        match self {
            Unenforceable::Driver(driver) => driver != "overlay",
            Unenforceable::BridgeName => true,
            // They have no address of their own.
            Unenforceable::HostNetwork | Unenforceable::SharedWith(_) => false,
        }
    }
}

impl PublishedPort {
    /// The only address of the host at which it is; `None` is all.
    pub fn bound_to(&self) -> Option<IpAddr> {
        self.host_address.filter(|address| !address.is_unspecified())
    }

    /// Whether clients outside reach it in a family: one that is bound to the loopback is this host's alone.
    pub fn is_reached_from_outside(&self, family: Family) -> bool {
        self.host_address.is_none_or(|address| Family::of(address) == family && !address.is_loopback())
    }

    /// Whether it is at this address of the host. One of `0.0.0.0` may be at those of IPv6, too: there are engines whose
    /// `docker-proxy` listens for both.
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.bound_to().is_none_or(|bound| bound == address)
    }

    /// Whether both would be the same port of the host, which only one container can hold.
    fn collides_with(&self, other: &PublishedPort) -> bool {
        let on_one = |one: Option<IpAddr>, other: Option<IpAddr>| match (one, other) {
            (Some(one), Some(other)) if Family::of(one) == Family::of(other) => {
                one == other || one.is_unspecified() || other.is_unspecified()
            }
            (Some(_), Some(_)) => false,
            _ => true,
        };
        self.protocol == other.protocol
            && self.host_port.is_some()
            && self.host_port == other.host_port
            && on_one(self.host_address, other.host_address)
    }
}

impl fmt::Display for Unenforceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unenforceable::HostNetwork => f.write_str("host network: the container has no address of its own"),
            Unenforceable::SharedWith(container) => {
                write!(f, "shares the endpoint of container {container}, whose labels count")
            }
            Unenforceable::Driver(driver) => {
                write!(f, "driver {driver}: its packets pass none of the host's netfilter hooks")
            }
            Unenforceable::BridgeName => {
                f.write_str("its bridge has a name that cannot stand in a rule: use letters, digits, `-`, `_` and `.`")
            }
        }
    }
}

/// One container's attachment to one network. No address means that Docker has not given one yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The network.
    pub network: NetworkId,
    /// Docker's endpoint id; tells a new attachment from an old one that had the same address. Empty while unknown.
    pub endpoint_id: Arc<str>,
    /// IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// Global IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// MAC address.
    pub mac: Option<MacAddress>,
}

impl Attachment {
    /// An attachment that Docker has not given an address yet, or whose addresses are no longer its own.
    pub fn pending(network: NetworkId) -> Attachment {
        Attachment { network, endpoint_id: "".into(), ipv4: None, ipv6: None, mac: None }
    }

    /// Whether it has no address.
    pub fn is_pending(&self) -> bool {
        self.ipv4.is_none() && self.ipv6.is_none()
    }

    /// Whether both claim an address, which only one of them can have.
    fn collides_with(&self, other: &Attachment) -> bool {
        // The ids last: they are longer, and this is asked of every container of the host.
        ((self.ipv4.is_some() && self.ipv4 == other.ipv4) || (self.ipv6.is_some() && self.ipv6 == other.ipv6))
            && self.network == other.network
    }
}

/// Labels of a container. Most texts in them are those of other containers as well, and are there once.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Labels of texts that nobody else has.
pub fn labels(labels: impl IntoIterator<Item = (String, String)>) -> Labels {
    labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Id.
    pub id: ContainerId,
    /// Name without the leading slash.
    pub name: String,
    /// Image reference as the user wrote it, as long as its tag points to the image; see [`Inventory::apply`].
    pub image: String,
    /// Docker labels as they are; [`Container::namespace`] and [`Inventory::endpoints`] interpret them.
    pub labels: Labels,
    /// Attachments, sorted by network id.
    pub attachments: Vec<Attachment>,
    /// Set when the whole container is out of reach (`host`, `container:X`).
    pub unenforceable: Option<Unenforceable>,
    /// Published ports, as Docker listed them when the container ran.
    pub published: Vec<PublishedPort>,
    /// Whether Docker has listed it as running since it last got or lost an address. Before, `published` may be those of
    /// an earlier run: ports that Docker chooses are others after each start.
    pub listed: bool,
    /// Published ports on which policy has been in force for long enough that nobody is still on the way past it.
    pub judged: BTreeSet<PublishedPort>,
    /// Namespace that an Inventory file states; `None` means: from the labels.
    pub stated_namespace: Option<String>,
}

impl Container {
    /// Whether it is attached to a network, with an address there or not yet.
    pub fn is_on(&self, network: &NetworkId) -> bool {
        self.attachments.iter().any(|attachment| attachment.network == *network)
    }

    /// The namespace: stated, else label `projectcalico.org/namespace`, else the Compose project, else the Swarm stack,
    /// else `default`. A source that is empty counts as absent.
    pub fn namespace(&self) -> &str {
        self.stated_namespace
            .as_deref()
            .into_iter()
            .chain(NAMESPACE_SOURCES.iter().filter_map(|key| self.labels.get(*key).map(Arc::as_ref)))
            .find(|namespace| !namespace.is_empty())
            .unwrap_or("default")
    }

    /// Whether every way to it through a published port is known and judged.
    pub fn ports_are_judged(&self) -> bool {
        self.listed && self.published.iter().all(|port| self.judged.contains(port))
    }

    /// Named ports from the label `dockgate.io/ports`, and the parts of it that could not be read.
    pub fn named_ports(&self) -> (Vec<NamedPort>, Vec<String>) {
        let mut ports = Vec::new();
        let mut unreadable = Vec::new();
        let declared = self.labels.get(PORTS_LABEL).map_or("", Arc::as_ref);
        for part in declared.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match parse_named_port(part) {
                Some(port) => ports.push(port),
                None => unreadable.push(part.to_owned()),
            }
        }
        (ports, unreadable)
    }
}

fn parse_named_port(text: &str) -> Option<NamedPort> {
    let (name, target) = text.split_once('=')?;
    let (port, protocol) = target.split_once('/').unwrap_or((target, "tcp"));
    let protocol = match protocol.trim().to_ascii_lowercase().as_str() {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        "sctp" => Protocol::SCTP,
        _ => return None,
    };
    let port = port.trim().parse().ok().filter(|port| *port != 0)?;
    let name = name.trim();
    (!name.is_empty()).then(|| NamedPort { name: name.to_owned(), protocol, port })
}

/// One container's attachment to one network, with everything that policy asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The container.
    pub container: &'a Container,
    /// The network; `None` for a container without any, e.g. `--network host`.
    pub network: Option<&'a Network>,
    /// The attachment; `None` for a container without any.
    pub attachment: Option<&'a Attachment>,
    /// Labels as selectors see them: Docker's, Calico's convention, the implicit ones and the namespace's.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Why policy does not reach it, if so.
    pub unenforceable: Option<Unenforceable>,
}

impl Endpoint<'_> {
    /// The address of a family, once Docker has given one.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        let attachment = self.attachment?;
        match family {
            Family::V4 => attachment.ipv4,
            Family::V6 => attachment.ipv6,
        }
    }

    /// What endpoints are sorted by; ids come last, for names that occur twice.
    pub(crate) fn order(&self) -> (&str, Option<&str>, &ContainerId, Option<&NetworkId>) {
        let network = self.network;
        (&self.container.name, network.map(|n| n.name.as_str()), &self.container.id, network.map(|n| &n.id))
    }

    /// `CONTAINER@NETWORK`, or `CONTAINER` without a network, as it stands in messages.
    pub fn name(&self) -> String {
        match self.network {
            Some(network) => format!("{}@{}", self.container.name, network.name),
            None => self.container.name.clone(),
        }
    }
}

/// Everything dockgate knows of the host's containers and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Networks by id.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Containers by id: created, running and paused ones. One that has ended keeps no attachment addresses.
    pub containers: Containers,
    /// Labels of namespaces beyond the implicit `kubernetes.io/metadata.name` and `projectcalico.org/name`.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Networks on which somebody has come to be known a moment ago, before whom nobody was there. Others may be there that are
    /// not known yet.
    pub arrivals: BTreeSet<NetworkId>,
}

impl Inventory {
    /// The labels of a namespace, implicit ones included, with the prefix under which selectors look them up.
    pub fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = self
            .namespaces
            .get(namespace)
            .into_iter()
            .flatten()
            .map(|(key, value)| (format!("{NAMESPACE_PREFIX}{key}"), value.clone()))
            .collect();
        for key in NAMESPACE_NAMES {
            labels.insert(format!("{NAMESPACE_PREFIX}{key}"), namespace.to_owned());
        }
        labels
    }

    /// All endpoints, by container name and then network name. A container that is out of reach and has no attachment is
    /// one endpoint without a network, so that it is reported. An attachment to a network that is not known yet is left
    /// out: there is no bridge to police it on, and [`Change::Network`] brings it in.
    pub fn endpoints(&self) -> Vec<Endpoint<'_>> {
        let of_container = |container| self.endpoints_with_labels(container);
        let mut endpoints: Vec<_> = self.containers.values().flat_map(of_container).collect();
        endpoints.sort_by(|a, b| a.order().cmp(&b.order()));
        endpoints
    }

    /// The endpoints of a container, by network id.
    pub(crate) fn endpoints_with_labels<'a>(&'a self, container: &'a Container) -> Vec<Endpoint<'a>> {
        let labels = self.container_labels(container);
        self.endpoints_of(container, |network| {
            let mut labels = labels.clone();
            labels.extend(network.map(|network| (NETWORK_LABEL.to_owned(), network.name.clone())));
            Arc::new(labels)
        })
    }

    /// The endpoints of a container, by network id, with labels of the caller's making.
    pub(crate) fn endpoints_of<'a>(
        &'a self,
        container: &'a Container,
        mut labels: impl FnMut(Option<&'a Network>) -> Arc<BTreeMap<String, String>>,
    ) -> Vec<Endpoint<'a>> {
        let mut endpoints = Vec::new();
        for attachment in &container.attachments {
            let Some(network) = self.networks.get(&attachment.network) else { continue };
            let by_network = network.bridge.is_none().then(|| match network.driver.as_str() {
                "bridge" => Unenforceable::BridgeName,
                driver => Unenforceable::Driver(driver.to_owned()),
            });
            endpoints.push(Endpoint {
                container,
                network: Some(network),
                attachment: Some(attachment),
                labels: labels(Some(network)),
                unenforceable: container.unenforceable.clone().or(by_network),
            });
        }
        if container.attachments.is_empty() && container.unenforceable.is_some() {
            let unenforceable = container.unenforceable.clone();
            endpoints.push(Endpoint {
                container,
                network: None,
                attachment: None,
                labels: labels(None),
                unenforceable,
            });
        }
        endpoints
    }

    /// One of the labels of an endpoint as selectors see them, without making all of them.
    pub(crate) fn label<'a>(
        &'a self,
        container: &'a Container,
        network: Option<&'a Network>,
        key: &str,
    ) -> Option<&'a str> {
        if let Some(key) = key.strip_prefix(NAMESPACE_PREFIX) {
            let namespace = container.namespace();
            let own = || self.namespaces.get(namespace)?.get(key).map(String::as_str);
            return if NAMESPACE_NAMES.contains(&key) { Some(namespace) } else { own() };
        }
        match key {
            NETWORK_LABEL => network.map(|network| network.name.as_str()),
            NAMESPACE_LABEL => Some(container.namespace()),
            ORCHESTRATOR_LABEL => Some(ORCHESTRATOR),
            CONTAINER_LABEL => Some(&container.name),
            IMAGE_LABEL => Some(&container.image),
            key => {
                let of_calico = || container.labels.get(format!("{CALICO_LABEL_PREFIX}{key}").as_str());
                container.labels.get(key).or_else(of_calico).map(Arc::as_ref)
            }
        }
    }

    /// The container whose network stack a container uses: with `--network container:X` that of X, if X is known.
    pub fn stack_of<'a>(&'a self, container: &'a Container) -> Option<&'a Container> {
        let Some(Unenforceable::SharedWith(owner)) = &container.unenforceable else { return Some(container) };
        let by_id = self.containers.get(&ContainerId(owner.as_str().into()));
        by_id.or_else(|| self.containers.values().find(|container| container.name == *owner))
    }

    /// Takes policy on all published ports as in force for long: for a world that is only asked about.
    pub fn trust_ports(&mut self) {
        let all = |container: &Container| -> BTreeSet<PublishedPort> { container.published.iter().cloned().collect() };
        let untrusted = self.containers.values().filter(|container| container.judged != all(container));
        let untrusted: Vec<ContainerId> = untrusted.map(|container| container.id.clone()).collect();
        for id in untrusted {
            self.containers.change(&id, |container| container.judged = all(container));
        }
    }

    /// Takes off the labels of containers that nobody asks for. Those that say namespace and ports of a container stay.
    pub fn keep_labels(&mut self, is_asked_for: impl Fn(&str) -> bool) {
        for container in self.containers.values_mut() {
            container.labels.retain(|key, _| {
                let key: &str = key;
                NAMESPACE_SOURCES.contains(&key)
                    || key == PORTS_LABEL
                    || is_asked_for(key)
                    || key.strip_prefix(CALICO_LABEL_PREFIX).is_some_and(&is_asked_for)
            });
        }
    }

    fn container_labels(&self, container: &Container) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (key, value) in &container.labels {
            if let Some(short) = key.strip_prefix(CALICO_LABEL_PREFIX) {
                labels.insert(short.to_owned(), value.to_string());
            }
        }
        labels.extend(container.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        // A container must not be able to speak for its namespace, nor for what Docker says of it.
        labels.retain(|key, _| !key.starts_with(NAMESPACE_PREFIX) && key != NETWORK_LABEL);
        let namespace = container.namespace();
        labels.extend(self.namespace_labels(namespace));
        for (key, value) in [
            (NAMESPACE_LABEL, namespace),
            (ORCHESTRATOR_LABEL, ORCHESTRATOR),
            (CONTAINER_LABEL, container.name.as_str()),
            (IMAGE_LABEL, container.image.as_str()),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }
}

#[cfg(test)]
mod tests;
