//! Services and networks as the inventory that an engine would show.
//!
//! Input: a [`Model`]. Output: an [`Inventory`]. Names are those that Compose gives. Ids are hashes of names, so that
//! equal files give equal inventories; addresses are given in the order of names, where an engine gives them in the order
//! in which containers start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::model::{Connection, Membership, Model, Network, Service};
use super::node::Node;
use super::subnets::{DEFAULT_BRIDGE, Plan, Subnets};
use crate::inventory::addresses::{self, Pool};
use crate::inventory::{
    self, Attachment, Container, ContainerId, Inventory, Labels, NetworkId, PublishedPort, Unenforceable,
};
use crate::net::{Cidr, Family, MacAddress};
use crate::policy::Diagnostic;
use crate::policy::codes::{self, Code};

/// The engine's default network.
const BRIDGE_NETWORK: &str = "bridge";
/// Prefix of the labels that Compose sets.
const LABEL_PREFIX: &str = "com.docker.compose.";

/// What the labels of every container of a project say.
pub(super) struct Project {
    pub(super) name: String,
    /// Labels that are the same on all containers, without their prefix.
    pub(super) labels: BTreeMap<&'static str, String>,
}

/// Builds the inventory.
pub(super) fn build(model: &Model, project: &Project, findings: &mut Vec<Diagnostic>) -> Inventory {
    let mut builder = Builder { model, project, findings, inventory: Inventory::default(), pools: BTreeMap::new() };
    builder.networks();
    let containers = builder.containers();
    builder.fixed_addresses(&containers);
    builder.remaining_addresses(&containers);
    builder.shared(&containers);
    builder.circles(&containers);
    builder.host_ports(&containers);
    builder.inventory
}

/// A container that is made of a service.
struct Made<'m> {
    id: ContainerId,
    name: String,
    service: &'m Service,
    /// Networks by id, and what is said of the container's place on each.
    memberships: BTreeMap<NetworkId, Option<&'m Membership>>,
}

struct Builder<'m> {
    model: &'m Model,
    project: &'m Project,
    findings: &'m mut Vec<Diagnostic>,
    inventory: Inventory,
    /// Addresses of each network, and the families of which containers may state one.
    pools: BTreeMap<NetworkId, (Pool, Vec<Family>)>,
}

impl<'m> Builder<'m> {
    fn report(&mut self, node: &Node, code: &Code, message: impl Into<String>) {
        self.findings.push(node.finding(code, message));
    }

    /// The networks that services are on; Compose makes no others.
    fn networks(&mut self) {
        let used: BTreeSet<&String> = self.memberships().map(|(key, _)| key).collect();
        let networks: Vec<(&String, &Network)> =
            self.model.networks.iter().filter(|(key, _)| used.contains(key)).collect();
        let mut subnets = Subnets::new(self.findings);
        let mut plans = Vec::new();
        for (key, network) in networks {
            let hints: Vec<IpAddr> = self
                .model
                .services
                .iter()
                .filter_map(|service| service.memberships().and_then(|memberships| memberships.get(key)))
                .flat_map(|membership| [&membership.ipv4, &membership.ipv6])
                .filter_map(|stated| stated.as_ref()?.text()?.parse().ok())
                .collect();
            plans.push((key, network, subnets.stated(network, &hints)));
        }
        for (_, network, plan) in &mut plans {
            subnets.choose(network, plan);
        }
        for (key, network, plan) in plans {
            self.network(key, network, plan);
        }
        let is_on_default = |service: &Service| {
            matches!(service.connection, Connection::DefaultBridge)
                || service.memberships().into_iter().flatten().any(|(key, _)| self.is_default_bridge(key))
        };
        if self.model.services.iter().any(is_on_default) {
            self.default_bridge();
        }
    }

    fn memberships(&self) -> impl Iterator<Item = (&'m String, &'m Membership)> + use<'m> {
        self.model.services.iter().filter_map(Service::memberships).flatten()
    }

    /// The name that a network has on the host.
    fn network_name(&self, key: &str, network: &Network) -> String {
        match &network.name {
            Some(name) => name.clone(),
            None if network.external => key.to_owned(),
            None => format!("{}_{key}", self.project.name),
        }
    }

    /// Whether a key stands for one of the networks that every engine has.
    fn predefined(&self, key: &str) -> Option<&'static str> {
        let network = self.model.networks.get(key)?;
        let name = self.network_name(key, network);
        ["host", "none", BRIDGE_NETWORK].into_iter().find(|predefined| network.external && name == *predefined)
    }

    fn is_default_bridge(&self, key: &str) -> bool {
        self.predefined(key) == Some(BRIDGE_NETWORK)
    }

    fn network(&mut self, key: &str, network: &Network, plan: Plan) {
        if self.predefined(key).is_some() {
            return;
        }
        let name = self.network_name(key, network);
        let id = NetworkId(hash(&name).into());
        let bridge = match &network.bridge {
            _ if network.driver != "bridge" => None,
            None => format!("br-{}", &id.0[..12]).parse().ok(),
            Some(stated) => {
                let read = stated.text().unwrap_or_default().parse();
                if let Err(error) = &read {
                    self.report(stated, &codes::BRIDGE, crate::net::Error::to_string(error));
                }
                read.ok()
            }
        };
        let mut pool = Pool::new(&plan.subnets, &plan.gateways).within(&plan.ranges);
        for (address, node) in &plan.reserved {
            if let Err(refusal) = pool.claim(*address, "aux_addresses") {
                self.report(node, refusal.code(), format!("`{address}` {refusal}"));
            }
        }
        self.pools.insert(id.clone(), (pool, plan.stated));
        let network = inventory::Network {
            id: id.clone(),
            name,
            driver: network.driver.clone(),
            bridge,
            subnets: plan.subnets,
            gateways: plan.gateways,
            internal: network.internal,
        };
        self.inventory.networks.insert(id, network);
    }

    fn default_bridge(&mut self) {
        let id = NetworkId(hash(BRIDGE_NETWORK).into());
        let (address, prefix) = DEFAULT_BRIDGE;
        let subnets: Vec<Cidr> = Cidr::new(address, prefix).into_iter().collect();
        let gateways: Vec<IpAddr> = subnets.iter().filter_map(|subnet| addresses::first(*subnet)).collect();
        self.pools.insert(id.clone(), (Pool::new(&subnets, &gateways), Vec::new()));
        let network = inventory::Network {
            id: id.clone(),
            name: BRIDGE_NETWORK.to_owned(),
            driver: "bridge".to_owned(),
            bridge: "docker0".parse().ok(),
            subnets,
            gateways,
            internal: false,
        };
        self.inventory.networks.insert(id, network);
    }

    fn containers(&mut self) -> Vec<Made<'m>> {
        let mut made = Vec::new();
        let mut names = BTreeSet::new();
        for service in &self.model.services {
            let stated = service.container_name.as_ref();
            if let Some(node) = stated.filter(|_| service.replicas > 1) {
                let message = format!("{} containers cannot have one name", service.replicas);
                self.report(node, &codes::CONTRADICTION, message);
            }
            for number in 1..=service.replicas {
                let name = stated
                    .and_then(Node::text)
                    .unwrap_or_else(|| format!("{}-{}-{number}", self.project.name, service.name));
                if !names.insert(name.clone()) {
                    // Of several containers with one stated name it was said above.
                    if number == 1 {
                        let message = format!("there is a container `{name}` already");
                        self.report(stated.unwrap_or(&service.place), &codes::NAME_TWICE, message);
                    }
                    continue;
                }
                made.push(self.container(service, name, number));
            }
        }
        made
    }

    fn container(&mut self, service: &'m Service, name: String, number: usize) -> Made<'m> {
        let mut unenforceable = match &service.connection {
            Connection::Host => Some(Unenforceable::HostNetwork),
            Connection::Service(other, _) => Some(Unenforceable::SharedWith(self.first_container(other))),
            Connection::Container(other, _) => Some(Unenforceable::SharedWith(other.clone())),
            Connection::Networks(_) | Connection::Nothing | Connection::DefaultBridge => None,
        };
        let mut memberships = BTreeMap::new();
        let default_bridge = || NetworkId(hash(BRIDGE_NETWORK).into());
        if matches!(service.connection, Connection::DefaultBridge) {
            memberships.insert(default_bridge(), None);
        }
        for (key, membership) in service.memberships().into_iter().flatten() {
            let Some(network) = self.model.networks.get(key) else { continue };
            match self.predefined(key) {
                Some(BRIDGE_NETWORK) => memberships.insert(default_bridge(), Some(membership)),
                Some("host") => {
                    unenforceable = Some(Unenforceable::HostNetwork);
                    None
                }
                Some(_) => None,
                None => memberships.insert(NetworkId(hash(&self.network_name(key, network)).into()), Some(membership)),
            };
        }
        let published: Vec<PublishedPort> =
            if memberships.is_empty() { Vec::new() } else { service.ports.keys().cloned().collect() };
        let id = ContainerId(hash(&name).into());
        let container = Container {
            id: id.clone(),
            name: name.clone(),
            image: service.image.clone().unwrap_or_else(|| format!("{}-{}", self.project.name, service.name)),
            labels: self.labels(service, number),
            attachments: memberships.keys().cloned().map(Attachment::pending).collect(),
            unenforceable,
            judged: published.iter().cloned().collect(),
            published,
            listed: true,
            stated_namespace: None,
        };
        self.inventory.containers.insert(id.clone(), container);
        Made { id, name, service, memberships }
    }

    /// The name of a service's first container, whose network others can share.
    fn first_container(&self, service: &str) -> String {
        let named = self.model.services.iter().find(|known| known.name == service);
        let stated = named.and_then(|service| service.container_name.as_ref()?.text());
        stated.unwrap_or_else(|| format!("{}-{service}-1", self.project.name))
    }

    fn labels(&self, service: &Service, number: usize) -> Labels {
        let dependencies: Vec<String> = service
            .depends_on
            .iter()
            .map(|(name, (condition, restart))| format!("{name}:{condition}:{restart}"))
            .collect();
        let own = [
            ("service", service.name.clone()),
            ("container-number", number.to_string()),
            ("oneoff", "False".to_owned()),
            ("depends_on", dependencies.join(",")),
        ];
        let of_project = self.project.labels.iter().map(|(key, value)| (*key, value.clone()));
        let compose = own.into_iter().chain(of_project).map(|(key, value)| (format!("{LABEL_PREFIX}{key}"), value));
        inventory::labels(service.labels.clone().into_iter().chain(compose))
    }

    /// Gives the addresses that the file states.
    fn fixed_addresses(&mut self, containers: &[Made<'m>]) {
        for made in containers {
            for (network, membership) in &made.memberships {
                let Some(membership) = membership else { continue };
                for (family, stated) in [(Family::V4, &membership.ipv4), (Family::V6, &membership.ipv6)] {
                    let address = stated.as_ref().and_then(|node| self.fixed_address(made, network, family, node));
                    self.assign(&made.id, network, |attachment| *slot(attachment, family) = address);
                }
                if let Some(node) = &membership.mac {
                    match node.text().unwrap_or_default().parse::<MacAddress>() {
                        Ok(mac) => self.assign(&made.id, network, |attachment| attachment.mac = Some(mac)),
                        Err(error) => self.report(node, &codes::ADDRESS, error.to_string()),
                    }
                }
            }
        }
    }

    fn fixed_address(&mut self, made: &Made<'m>, network: &NetworkId, family: Family, node: &Node) -> Option<IpAddr> {
        let text = node.text().unwrap_or_default();
        let Some(address) = text.parse::<IpAddr>().ok().filter(|address| Family::of(*address) == family) else {
            self.report(node, &codes::ADDRESS, format!("`{text}` is not an {family} address"));
            return None;
        };
        let (pool, stated) = self.pools.get_mut(network)?;
        if !stated.contains(&family) {
            let message = format!("`{text}` needs a network with an {family} subnet under `ipam.config`");
            self.report(node, &codes::ADDRESS, message);
            return None;
        }
        match pool.claim(address, &made.name) {
            Ok(()) => Some(address),
            Err(refusal) => {
                let help = format!("leave it out for a free one, or state another of the network's {family} addresses");
                self.findings.push(node.finding(refusal.code(), format!("`{text}` {refusal}")).with_help(help));
                None
            }
        }
    }

    /// Gives the addresses that an engine would choose.
    fn remaining_addresses(&mut self, containers: &[Made<'m>]) {
        for made in containers {
            for (network, membership) in &made.memberships {
                for family in Family::ALL {
                    let is_stated = membership.is_some_and(|membership| match family {
                        Family::V4 => membership.ipv4.is_some(),
                        Family::V6 => membership.ipv6.is_some(),
                    });
                    let pool = self.pools.get_mut(network).map(|(pool, _)| pool).filter(|pool| pool.has(family));
                    let Some(pool) = pool.filter(|_| !is_stated) else { continue };
                    let address = pool.next(family);
                    if address.is_none() {
                        let place = membership.map_or(&made.service.place, |membership| &membership.place);
                        let name = self.inventory.networks.get(network).map_or("", |network| network.name.as_str());
                        let message = format!("the network `{name}` has no {family} address left for `{}`", made.name);
                        let help = "give the network a larger subnet under `ipam.config`, or fewer containers";
                        self.findings.push(place.finding(&codes::SUBNET_FULL, message).with_help(help));
                    }
                    self.assign(&made.id, network, |attachment| *slot(attachment, family) = address);
                }
            }
        }
    }

    fn assign(&mut self, container: &ContainerId, network: &NetworkId, set: impl FnOnce(&mut Attachment)) {
        let attachments = self.inventory.containers.get_mut(container).map(|container| &mut container.attachments);
        if let Some(attachment) = attachments.into_iter().flatten().find(|known| known.network == *network) {
            set(attachment);
        }
    }

    /// Looks for containers whose network others share.
    fn shared(&mut self, containers: &[Made<'m>]) {
        let names: BTreeSet<&str> = containers.iter().map(|made| made.name.as_str()).collect();
        for service in &self.model.services {
            if let Connection::Container(name, node) = &service.connection
                && !names.contains(name.as_str())
            {
                let message = format!("there is no container `{name}` in these files");
                let help = "if another project makes it, nothing can be said here of who reaches this service";
                self.findings.push(node.finding(&codes::SHARES_UNKNOWN, message).with_help(help));
            }
        }
    }

    /// Looks for services that use each other's network, by the name of the service or of its container.
    fn circles(&mut self, containers: &[Made<'m>]) {
        let services: BTreeMap<&str, &str> =
            containers.iter().map(|made| (made.name.as_str(), made.service.name.as_str())).collect();
        let shares = self.model.services.iter().filter_map(|service| {
            let (other, place) = match &service.connection {
                Connection::Service(other, place) => (other.as_str(), place),
                Connection::Container(name, place) => (*services.get(name.as_str())?, place),
                Connection::Networks(_) | Connection::Host | Connection::Nothing | Connection::DefaultBridge => {
                    return None;
                }
            };
            Some((service.name.as_str(), (other, place)))
        });
        let shares: BTreeMap<&str, (&str, &Node)> = shares.collect();
        for (name, (_, place)) in &shares {
            let next = |current: &&str| shares.get(current).map(|(other, _)| *other);
            let chain: Vec<&str> = std::iter::successors(Some(*name), next).take(shares.len() + 1).collect();
            // One that only leads into a circle is in none.
            let Some(end) = chain.iter().skip(1).position(|other| other == name) else { continue };
            let circle = chain[..=end + 1].join(" → ");
            let message = format!("services use each other's network in a circle: {circle}");
            let help = "leave `network_mode` out of one of them, so that it has a network";
            self.findings.push(place.finding(&codes::CIRCLE, message).with_help(help));
        }
    }

    /// Looks for host ports that two containers would have.
    fn host_ports(&mut self, containers: &[Made<'m>]) {
        let mut holders: BTreeMap<u16, Vec<(&Made<'m>, PublishedPort)>> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for made in containers {
            let Some(container) = self.inventory.containers.get(&made.id) else { continue };
            for port in container.published.clone() {
                let Some(number) = port.host_port else { continue };
                let others = holders.entry(number).or_default();
                let other = others.iter().find(|(holder, other)| holder.id != made.id && port.collides_with(other));
                if let Some((other, _)) = other
                    && told.insert((number, &made.service.name))
                {
                    let service = made.service;
                    let (message, help) = if other.service.name == service.name {
                        let message = format!(
                            "only one of the {} containers of `{}` can have port {number} of the host",
                            service.replicas, service.name
                        );
                        (message, "write a range with a port for each, or the container's port alone for any free one")
                    } else {
                        let message = format!("port {number} of the host is published by `{}` already", other.name);
                        (message, "publish it at another port of the host, or at another address")
                    };
                    let place = service.ports.get(&port).unwrap_or(&service.place);
                    self.findings.push(place.finding(&codes::HOST_PORT_TWICE, message).with_help(help));
                }
                others.push((made, port));
            }
        }
    }
}

impl Service {
    /// Its networks; `None` with a `network_mode`.
    fn memberships(&self) -> Option<&BTreeMap<String, Membership>> {
        match &self.connection {
            Connection::Networks(memberships) => Some(memberships),
            Connection::Host
            | Connection::Nothing
            | Connection::DefaultBridge
            | Connection::Service(..)
            | Connection::Container(..) => None,
        }
    }
}

fn slot(attachment: &mut Attachment, family: Family) -> &mut Option<IpAddr> {
    match family {
        Family::V4 => &mut attachment.ipv4,
        Family::V6 => &mut attachment.ipv6,
    }
}

/// An id of Docker's length.
fn hash(name: &str) -> String {
    let mut id = String::new();
    for byte in Sha256::digest(name) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
