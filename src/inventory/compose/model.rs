//! The merged tree as services and networks.
//!
//! Input: a tree that [`super::gather`] merged. Output: what it says, checked by itself; what needs the whole world, such
//! as addresses, is checked by [`super::world`].

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Content, Entry, Map, Node};
use super::ports;
use crate::inventory::PublishedPort;
use crate::net::Family;
use crate::policy::codes::{self, Code};
use crate::policy::diagnostic::did_you_mean;
use crate::policy::{Diagnostic, Location};

/// Compose's label prefix for services in `network_mode` and its kin.
const SERVICE_PREFIX: &str = "service:";

/// A service of which containers are made.
pub(super) struct Service {
    pub(super) name: String,
    pub(super) place: Node,
    pub(super) container_name: Option<Node>,
    pub(super) image: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) label_files: Vec<Node>,
    pub(super) connection: Connection,
    /// Each with the place where it is published.
    pub(super) ports: BTreeMap<PublishedPort, Node>,
    pub(super) replicas: usize,
    /// Service, condition and whether a restart restarts this one too, as Compose's label has it.
    pub(super) depends_on: BTreeMap<String, (String, bool)>,
}

/// What a service is connected to.
pub(super) enum Connection {
    /// Networks by the key under which the file declares them.
    Networks(BTreeMap<String, Membership>),
    /// `network_mode: host`.
    Host,
    /// `network_mode: none`.
    Nothing,
    /// `network_mode: bridge`: the engine's default network.
    DefaultBridge,
    /// `network_mode: service:NAME`.
    Service(String, Node),
    /// `network_mode: container:NAME`.
    Container(String, Node),
}

/// A service's place on a network.
pub(super) struct Membership {
    /// Where the network is named, with what is said of it.
    pub(super) place: Node,
    pub(super) ipv4: Option<Node>,
    pub(super) ipv6: Option<Node>,
    pub(super) mac: Option<Node>,
}

/// A network that is declared, or `default`.
pub(super) struct Network {
    pub(super) place: Node,
    /// `None`: the project's name and the key.
    pub(super) name: Option<String>,
    pub(super) external: bool,
    pub(super) driver: String,
    pub(super) bridge: Option<Node>,
    pub(super) internal: bool,
    /// Families of which it has addresses.
    pub(super) families: BTreeSet<Family>,
    pub(super) pools: Vec<Pool>,
}

/// One item of `ipam.config`.
pub(super) struct Pool {
    pub(super) subnet: Node,
    pub(super) gateway: Option<Node>,
    pub(super) range: Option<Node>,
    pub(super) reserved: Vec<Node>,
}

/// Services that are enabled, and networks, by their keys.
pub(super) struct Model {
    pub(super) services: Vec<Service>,
    pub(super) networks: BTreeMap<String, Network>,
}

/// Reads the model. A service with profiles is part of it if one of them is active.
pub(super) fn read(tree: &Node, profiles: &BTreeSet<String>, findings: &mut Vec<Diagnostic>) -> Model {
    let mut reader = Reader { findings };
    let networks = reader.entries(tree.get("networks")).into_iter();
    let mut networks: BTreeMap<String, Network> =
        networks.map(|(name, entry)| (name, reader.network(&entry.key, &entry.value))).collect();
    let services = reader.entries(tree.get("services"));
    let names: Vec<&String> = services.iter().map(|(name, _)| name).collect();
    let mut enabled = Vec::new();
    for (name, entry) in &services {
        let node = &entry.value;
        let of = reader.texts(node.get("profiles"));
        let is_active = of.is_empty() || profiles.contains("*") || of.iter().any(|profile| profiles.contains(profile));
        // Of a provider's service Compose makes no container.
        if is_active && node.get("provider").is_none() {
            enabled.push(reader.service(name, &entry.key, node));
        }
    }
    for service in &enabled {
        let Connection::Networks(memberships) = &service.connection else { continue };
        for (key, membership) in memberships {
            if key == "default" && !networks.contains_key(key) {
                networks.insert(key.clone(), reader.default_network(&membership.place));
            }
            if !networks.contains_key(key) {
                reader.unknown_network(membership, key, networks.keys());
            }
        }
    }
    for service in &enabled {
        if let Connection::Service(name, place) = &service.connection
            && !enabled.iter().any(|other| other.name == *name)
        {
            let message = if names.contains(&name) {
                format!("the service `{name}` is in no active profile")
            } else {
                format!("there is no service `{name}`")
            };
            let known = names.iter().map(|name| name.as_str());
            reader.findings.push(super::gather::unknown_service(place, message, name, known));
        }
    }
    Model { services: enabled, networks }
}

struct Reader<'f> {
    findings: &'f mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn report(&mut self, node: &Node, code: &Code, message: impl Into<String>) {
        self.findings.push(node.finding(code, message));
    }

    fn service(&mut self, name: &str, key: &Location, node: &Node) -> Service {
        let depends_on = self.depends_on(node);
        Service {
            name: name.to_owned(),
            place: Node { location: key.clone(), ..node.clone() },
            container_name: node.get("container_name").cloned().filter(|name| self.text(name).is_some()),
            image: node.get("image").and_then(|image| self.text(image)),
            labels: self.labels(node.get("labels")),
            label_files: self.items(node.get("label_file")).to_vec(),
            connection: self.connection(node),
            ports: self.ports(node),
            replicas: self.replicas(node),
            depends_on,
        }
    }

    fn replicas(&mut self, node: &Node) -> usize {
        let scale = node.get("scale");
        let replicas = node.get("deploy").and_then(|deploy| deploy.get("replicas"));
        let stated: Vec<usize> = [scale, replicas]
            .into_iter()
            .flatten()
            .filter_map(|node| {
                let number = node.text().and_then(|text| text.parse().ok()).filter(|number| *number <= MAX_REPLICAS);
                if number.is_none() {
                    self.report(node, &codes::OUT_OF_RANGE, format!("a number from 0 to {MAX_REPLICAS} is expected"));
                }
                number
            })
            .collect();
        if let ([one, other], Some(scale)) = (stated.as_slice(), scale)
            && one != other
        {
            self.report(scale, &codes::CONTRADICTION, "`scale` and `deploy.replicas` say different numbers");
        }
        stated.first().copied().unwrap_or(1)
    }

    fn connection(&mut self, node: &Node) -> Connection {
        let memberships = self.entries(node.get("networks"));
        let stated = node.get("network_mode").filter(|mode| mode.text().is_none_or(|text| !text.is_empty()));
        let Some(mode) = stated else {
            let mut memberships: BTreeMap<String, Membership> =
                memberships.into_iter().map(|(name, entry)| (name, self.membership(entry))).collect();
            if memberships.is_empty() {
                let place = node.get("networks").unwrap_or(node).clone();
                memberships.insert("default".to_owned(), Membership { place, ipv4: None, ipv6: None, mac: None });
            }
            service_mac(node, &mut memberships);
            return Connection::Networks(memberships);
        };
        let text = self.text(mode).unwrap_or_default();
        if !memberships.is_empty() {
            self.report(mode, &codes::NETWORK_MODE, "a service has `network_mode` or `networks`, not both");
        }
        let shared = |prefix| text.strip_prefix(prefix).filter(|name: &&str| !name.is_empty()).map(str::to_owned);
        let connection = match text.as_str() {
            "host" => Connection::Host,
            "none" => Connection::Nothing,
            "bridge" | "default" => Connection::DefaultBridge,
            _ => match (shared(SERVICE_PREFIX), shared("container:")) {
                (Some(name), _) => Connection::Service(name, mode.clone()),
                (None, Some(name)) => Connection::Container(name, mode.clone()),
                (None, None) => {
                    let message = format!("`{text}` is not a network mode that is read");
                    let hint = did_you_mean(&text, ["host", "none", "bridge"]).unwrap_or_else(|| {
                        "use `host`, `none`, `bridge`, `service:NAME` or `container:NAME`; list a network of another \
                         project under `networks`, with `external: true`"
                            .to_owned()
                    });
                    self.findings.push(mode.finding(&codes::NETWORK_MODE, message).with_help(hint));
                    Connection::Nothing
                }
            },
        };
        if let (Connection::Service(..) | Connection::Container(..), Some(ports)) = (&connection, node.get("ports")) {
            let message = format!("a service with `network_mode: {text}` publishes no ports: the other one does");
            self.report(ports, &codes::NETWORK_MODE, message);
        }
        connection
    }

    fn membership(&mut self, entry: &Entry) -> Membership {
        let node = &entry.value;
        if !matches!(node.content, Content::Map(_)) && !node.is_null() {
            self.report(node, &codes::WRONG_TYPE, "a mapping such as `ipv4_address: 172.20.0.5` is expected here");
        }
        let part = |key| node.get(key).cloned();
        Membership {
            place: Node { location: entry.key.clone(), ..node.clone() },
            ipv4: part("ipv4_address"),
            ipv6: part("ipv6_address"),
            mac: part("mac_address"),
        }
    }

    fn ports(&mut self, node: &Node) -> BTreeMap<PublishedPort, Node> {
        let mut published = BTreeMap::new();
        for item in self.items(node.get("ports")) {
            let read = match item.text() {
                Some(text) => ports::short(&text).map_err(|problem| (problem, item.clone())),
                None => ports::long(item).map(|port| vec![port]),
            };
            match read {
                Ok(ports) => {
                    let place = item.get("published").unwrap_or(item);
                    for port in ports {
                        published.entry(port).or_insert_with(|| place.clone());
                    }
                }
                Err((problem, place)) => self.report(&place, problem.code, problem.message),
            }
        }
        published
    }

    fn labels(&mut self, node: Option<&Node>) -> BTreeMap<String, String> {
        let entries = self.entries(node);
        entries.into_iter().filter_map(|(name, entry)| Some((name, self.text(&entry.value)?))).collect()
    }

    /// What the label of Compose lists: stated dependencies, and those that come from sharing something with a service.
    fn depends_on(&mut self, node: &Node) -> BTreeMap<String, (String, bool)> {
        const STARTED: &str = "service_started";
        let mut dependencies = BTreeMap::new();
        for (name, entry) in self.entries(node.get("depends_on")) {
            let value = &entry.value;
            let condition = value.get("condition").and_then(Node::text).unwrap_or_else(|| STARTED.to_owned());
            let restart = value.get("restart").is_some_and(|restart| self.boolean(restart));
            dependencies.insert(name, (condition, restart));
        }
        let links = self.texts(node.get("links"));
        let shared = ["network_mode", "ipc", "pid", "uts", "cgroup"].into_iter().filter_map(|key| {
            let mode = node.get(key)?.text()?;
            mode.strip_prefix(SERVICE_PREFIX).map(str::to_owned)
        });
        let volumes = self.texts(node.get("volumes_from"));
        let volumes = volumes.iter().filter(|from| !from.starts_with("container:"));
        let first = |text: &String| text.split(':').next().unwrap_or_default().to_owned();
        let implied = links.iter().map(first).chain(shared).map(|name| (name, true));
        for (name, restart) in implied.chain(volumes.map(|from| (first(from), false))) {
            dependencies.entry(name).or_insert((STARTED.to_owned(), restart));
        }
        dependencies
    }

    fn network(&mut self, key: &Location, node: &Node) -> Network {
        let external = node.get("external").is_some_and(|external| self.boolean(external));
        let flag = |reader: &mut Self, key, absent| node.get(key).map_or(absent, |value| reader.boolean(value));
        if external && let Content::Map(map) = &node.content {
            for (key, entry) in map.iter().filter(|(key, entry)| !is_external_key(key) && !entry.value.is_null()) {
                let message = format!("an external network is made by somebody else, who decides on `{key}`");
                self.report(&entry.value, &codes::CONTRADICTION, message);
            }
        }
        let options = node.get("driver_opts");
        let families = [(Family::V4, "enable_ipv4", true), (Family::V6, "enable_ipv6", false)];
        let families = families
            .into_iter()
            .filter(|(_, key, absent)| flag(self, key, *absent))
            .map(|(family, ..)| family)
            .collect();
        Network {
            place: Node { location: key.clone(), ..node.clone() },
            name: node.get("name").and_then(|name| self.text(name)).filter(|name| !name.is_empty()),
            external,
            driver: node.get("driver").and_then(|driver| self.text(driver)).unwrap_or_else(|| "bridge".to_owned()),
            bridge: options.and_then(|options| options.get("com.docker.network.bridge.name")).cloned(),
            internal: flag(self, "internal", false),
            families,
            pools: self.pools(node),
        }
    }

    fn default_network(&mut self, place: &Node) -> Network {
        let node = place.with(Content::Map(Map::new()));
        self.network(&node.location, &node)
    }

    fn pools(&mut self, node: &Node) -> Vec<Pool> {
        let config = node.get("ipam").and_then(|ipam| ipam.get("config"));
        let mut pools = Vec::new();
        for item in self.items(config) {
            let Some(subnet) = item.get("subnet").cloned() else { continue };
            let reserved =
                self.entries(item.get("aux_addresses")).into_iter().map(|(_, entry)| entry.value.clone()).collect();
            pools.push(Pool {
                subnet,
                gateway: item.get("gateway").cloned(),
                range: item.get("ip_range").cloned(),
                reserved,
            });
        }
        pools
    }

    fn unknown_network<'n>(
        &mut self,
        membership: &Membership,
        key: &str,
        known: impl Iterator<Item = &'n String> + Clone,
    ) {
        let finding = membership
            .place
            .finding(&codes::UNKNOWN_NETWORK, format!("there is no network `{key}` under the top-level `networks`"));
        let listed: Vec<String> = known.clone().map(|name| format!("`{name}`")).collect();
        let help = did_you_mean(key, known.map(String::as_str)).unwrap_or_else(|| match listed.as_slice() {
            [] => format!("declare it: `networks: {{{key}: {{}}}}`"),
            listed => format!("the networks are {}", listed.join(", ")),
        });
        self.findings.push(finding.with_help(help));
    }

    /// The entries of a mapping; of anything else a finding, and nothing.
    fn entries<'n>(&mut self, node: Option<&'n Node>) -> Vec<(String, &'n Entry)> {
        match node.map(|node| (&node.content, node)) {
            None => Vec::new(),
            Some((Content::Map(map), _)) => map.iter().map(|(name, entry)| (name.clone(), entry)).collect(),
            Some((_, node)) => {
                self.report(node, &codes::WRONG_TYPE, "a mapping is expected here");
                Vec::new()
            }
        }
    }

    /// The items of a list; of anything else a finding, and nothing.
    fn items<'n>(&mut self, node: Option<&'n Node>) -> &'n [Node] {
        match node.map(|node| (&node.content, node)) {
            None => &[],
            Some((Content::List(items), _)) => items,
            Some((_, node)) => {
                self.report(node, &codes::WRONG_TYPE, "a list is expected here");
                &[]
            }
        }
    }

    fn texts(&mut self, node: Option<&Node>) -> Vec<String> {
        self.items(node).iter().filter_map(|item| self.text(item)).collect()
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        let text = node.text();
        if text.is_none() {
            self.report(node, &codes::WRONG_TYPE, "text is expected here");
        }
        text
    }

    fn boolean(&mut self, node: &Node) -> bool {
        match node.text().map(|text| text.to_ascii_lowercase()).as_deref() {
            Some("true" | "y" | "yes" | "on") => true,
            Some("false" | "n" | "no" | "off") => false,
            _ => {
                self.report(node, &codes::WRONG_TYPE, "`true` or `false` is expected here");
                false
            }
        }
    }
}

/// The MAC address of a service is that on the network with the highest priority, else the first by name.
fn service_mac(node: &Node, memberships: &mut BTreeMap<String, Membership>) {
    let Some(mac) = node.get("mac_address") else { return };
    let priority = |membership: &Membership| -> i64 {
        let stated = membership.place.get("priority").and_then(Node::text);
        stated.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let highest = memberships.values().map(priority).max();
    if let Some(membership) = memberships.values_mut().find(|membership| Some(priority(membership)) == highest) {
        membership.mac.get_or_insert_with(|| mac.clone());
    }
}

/// Most containers of one service: more than a subnet of Docker's usual size has room for.
const MAX_REPLICAS: usize = 65_536;

fn is_external_key(key: &str) -> bool {
    matches!(key, "external" | "name")
}
