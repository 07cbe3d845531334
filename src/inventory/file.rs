//! Inventory files (kind `Inventory` of `dockgate.io/v1alpha1`): a world without Docker.
//!
//! Input: the text of an Inventory file. Output: the same [`Inventory`] that an engine in this state would give, and all
//! findings at once, each at its place. [`to_resource`] is the way back.

mod resource;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::addresses::{self, Pool};
use super::{Attachment, Container, ContainerId, Inventory, Network, NetworkId, PublishedPort, Unenforceable, labels};
use crate::api::dockgate as wire;
use crate::api::{self, Kind};
use crate::net::{self, Cidr, Family, InterfaceName, MacAddress, Protocol};
use crate::policy::codes::{self, Code};
use crate::policy::document::{self, Document};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, Severity, SourceFile};

pub use resource::to_resource;

/// The kind.
const KIND: &str = "Inventory";
/// In the place of an address: the container has none of this version.
const NO_ADDRESS: &str = "none";
/// Longest text after `br-` in an interface name, as Docker fills it.
const BRIDGE_ID_LENGTH: usize = 12;

/// Reads an Inventory file. Addresses that are left out are assigned from the network's subnets in order.
///
/// The inventory holds what could be read; it is complete only when no finding is an error.
pub fn load(file: &SourceFile) -> (Inventory, Vec<Diagnostic>) {
    let (documents, mut diagnostics) = document::parse(file);
    let mut inventory = None;
    for document in &documents {
        match kind_of(document) {
            Some(_) if inventory.is_some() => diagnostics.push(second(document)),
            Some(kind) => {
                let (read, findings) = read(document, kind);
                inventory = Some(read);
                diagnostics.extend(findings);
            }
            None => diagnostics.push(other(document)),
        }
    }
    if documents.is_empty() && diagnostics.is_empty() {
        let location = Location { file: file.path.clone(), line: 1, column: 1 };
        diagnostics.push(Diagnostic::new(&codes::NO_KIND, location, &FieldPath::root(), "the file is empty"));
    }
    Diagnostic::sort(&mut diagnostics);
    (inventory.unwrap_or_default(), diagnostics)
}

/// The findings about the Inventories among a file's documents; the other documents are not looked at.
pub fn check(file: &SourceFile) -> Vec<Diagnostic> {
    let (documents, _) = document::parse(file);
    let mut diagnostics = Vec::new();
    let mut is_first = true;
    for document in documents.iter().filter(|document| document.text("kind") == Some(KIND)) {
        match kind_of(document) {
            Some(_) if !is_first => diagnostics.push(second(document)),
            Some(kind) => {
                is_first = false;
                diagnostics.extend(read(document, kind).1);
            }
            None => diagnostics.push(other(document)),
        }
    }
    diagnostics
}

fn kind_of(document: &Document) -> Option<&'static Kind> {
    match (document.text("apiVersion"), document.text("kind")) {
        (Some(api_version), Some(KIND)) => api::find(api_version, KIND),
        _ => None,
    }
}

fn second(document: &Document) -> Diagnostic {
    let message = "the file holds two inventories";
    document.finding(&codes::DUPLICATE_RESOURCE, &FieldPath::root().key("kind"), message)
}

/// The finding about a document that is no Inventory.
fn other(document: &Document) -> Diagnostic {
    let root = FieldPath::root();
    if document.value().get("services").is_some_and(serde_json::Value::is_object) {
        return document
            .finding(&codes::NO_KIND, &root, "this is a Compose file, not an Inventory")
            .with_help("name it with `--compose FILE`, or as `world.compose` of a PolicyTest");
    }
    if let (Some(api_version), Some(KIND)) = (document.text("apiVersion"), document.text("kind")) {
        let message = format!("unknown apiVersion `{api_version}`");
        return document
            .finding(&codes::UNKNOWN_API_VERSION, &root.key("apiVersion"), message)
            .with_help(format!("{KIND} belongs to `dockgate.io/v1alpha1`"));
    }
    let message = "this is not an Inventory of dockgate.io/v1alpha1";
    document.finding(&codes::UNKNOWN_KIND, &root.key("kind"), message)
}

fn read(document: &Document, kind: &Kind) -> (Inventory, Vec<Diagnostic>) {
    let shape = document.check(kind);
    if shape.iter().any(|finding| finding.severity == Severity::Error) {
        return (Inventory::default(), shape);
    }
    let resource: wire::Inventory = match document.deserialize() {
        Ok(resource) => resource,
        Err(finding) => return (Inventory::default(), vec![*finding]),
    };
    let spec = FieldPath::root().key("spec");
    read_spec(document, &spec, resource.spec, shape)
}

/// Reads the `spec` of an Inventory that stands at a path of another document, whose shape has been checked.
pub fn read_inline(
    document: &Document,
    spec: &FieldPath,
    resource: wire::InventorySpec,
) -> (Inventory, Vec<Diagnostic>) {
    read_spec(document, spec, resource, Vec::new())
}

fn read_spec(
    document: &Document,
    spec: &FieldPath,
    resource: wire::InventorySpec,
    shape: Vec<Diagnostic>,
) -> (Inventory, Vec<Diagnostic>) {
    let mut reader = Reader::new(document, shape);
    for (index, network) in resource.networks.into_iter().flatten().enumerate() {
        reader.network(&spec.key("networks").index(index), network);
    }
    for (index, container) in resource.containers.into_iter().flatten().enumerate() {
        reader.container(&spec.key("containers").index(index), container);
    }
    for (index, namespace) in resource.namespaces.into_iter().flatten().enumerate() {
        let path = spec.key("namespaces").index(index).key("name");
        if reader.claim(&path, Claim::Namespace, &namespace.name) {
            reader.inventory.namespaces.insert(namespace.name, namespace.labels.unwrap_or_default());
        }
    }
    reader.finish()
}

/// What can be there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    NetworkName,
    NetworkId,
    Bridge,
    ContainerName,
    ContainerId,
    Namespace,
}

impl Claim {
    fn describe(self) -> &'static str {
        match self {
            Claim::NetworkName => "network",
            Claim::NetworkId => "network with the id",
            Claim::Bridge => "network with the bridge",
            Claim::ContainerName => "container",
            Claim::ContainerId => "container with the id",
            Claim::Namespace => "namespace",
        }
    }
}

/// An attachment that gets an address once all stated ones are known.
struct Unassigned {
    container: ContainerId,
    network: NetworkId,
    family: Family,
    path: FieldPath,
}

/// Reads the parts of one document.
struct Reader<'d> {
    document: &'d Document,
    diagnostics: Vec<Diagnostic>,
    inventory: Inventory,
    claims: BTreeSet<(Claim, String)>,
    network_ids: BTreeMap<String, NetworkId>,
    pools: BTreeMap<NetworkId, Pool>,
    unassigned: Vec<Unassigned>,
    /// Names in `container:NAME`, which may stand further below.
    shared: Vec<(FieldPath, String)>,
}

impl<'d> Reader<'d> {
    fn new(document: &'d Document, diagnostics: Vec<Diagnostic>) -> Reader<'d> {
        Reader {
            document,
            diagnostics,
            inventory: Inventory::default(),
            claims: BTreeSet::new(),
            network_ids: BTreeMap::new(),
            pools: BTreeMap::new(),
            unassigned: Vec::new(),
            shared: Vec::new(),
        }
    }

    fn report(&mut self, code: &Code, path: &FieldPath, message: impl Into<String>) {
        self.diagnostics.push(self.document.finding(code, path, message));
    }

    /// Whether nothing else claimed it; reports it otherwise.
    fn claim(&mut self, path: &FieldPath, claim: Claim, text: &str) -> bool {
        let is_first = self.claims.insert((claim, text.to_owned()));
        if !is_first {
            self.report(&codes::NAME_TWICE, path, format!("there is a {} `{text}` already", claim.describe()));
        }
        is_first
    }

    fn network(&mut self, path: &FieldPath, network: wire::Network) {
        let id = network.id.clone().unwrap_or_else(|| network.name.clone());
        let is_first = self.claim(&path.key("name"), Claim::NetworkName, &network.name)
            && self.claim(&path.key("id"), Claim::NetworkId, &id);
        if !is_first {
            return;
        }
        let driver = network.driver.clone().unwrap_or_else(|| "bridge".to_owned());
        let bridge = self.bridge(&path.key("bridge"), &driver, &id, network.bridge.as_deref());
        let subnets = self.subnets(&path.key("subnets"), network.subnets.unwrap_or_default());
        let gateways = match network.gateways {
            Some(stated) => self.gateways(&path.key("gateways"), stated, &subnets),
            None => subnets.iter().filter_map(|subnet| addresses::first(*subnet)).collect(),
        };
        let id = NetworkId(id.into());
        let internal = network.internal.unwrap_or(false);
        let network = Network { id: id.clone(), name: network.name, driver, bridge, subnets, gateways, internal };
        self.pools.insert(id.clone(), Pool::new(&network.subnets, &network.gateways));
        self.network_ids.insert(network.name.clone(), id.clone());
        self.inventory.networks.insert(id, network);
    }

    fn bridge(&mut self, path: &FieldPath, driver: &str, id: &str, stated: Option<&str>) -> Option<InterfaceName> {
        let Some(text) = stated else { return (driver == "bridge").then(|| self.free_bridge(id)).flatten() };
        if driver != "bridge" {
            self.report(&codes::BRIDGE, path, format!("a network with the driver `{driver}` has no bridge"));
            return None;
        }
        match text.parse() {
            Ok(name) => self.claim(path, Claim::Bridge, text).then_some(name),
            Err(error) => {
                self.report(&codes::BRIDGE, path, crate::net::Error::to_string(&error));
                None
            }
        }
    }

    /// The bridge that Docker would make. Where the id is a name, its beginning may be taken and is then numbered.
    fn free_bridge(&mut self, id: &str) -> Option<InterfaceName> {
        let plain: String =
            id.chars().map(|c| if c.is_ascii_graphic() && c != '/' { c } else { '_' }).take(BRIDGE_ID_LENGTH).collect();
        let numbered = (2..).map(|number: u32| {
            let number = format!("-{number}");
            let kept: String = plain.chars().take(BRIDGE_ID_LENGTH - number.len()).collect();
            format!("br-{kept}{number}")
        });
        let name = std::iter::once(format!("br-{plain}"))
            .chain(numbered)
            .find(|name| self.claims.insert((Claim::Bridge, name.clone())))?;
        name.parse().ok()
    }

    fn subnets(&mut self, path: &FieldPath, texts: Vec<String>) -> Vec<Cidr> {
        let mut subnets: Vec<Cidr> = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let path = path.index(index);
            let Some(subnet) = text.parse::<Cidr>().ok().filter(|_| text.contains('/')) else {
                self.report(&codes::CIDR, &path, format!("`{text}` is not a subnet such as `172.20.0.0/16`"));
                continue;
            };
            if subnet.to_string() != text && addresses::has_host_bits(&text, subnet) {
                self.report(&codes::HOST_BITS, &path, format!("`{text}` has bits set beyond its prefix: `{subnet}`"));
            } else if subnets.iter().any(|other| other.contains(subnet.network()) || subnet.contains(other.network())) {
                self.report(&codes::ADDRESS_TWICE, &path, format!("`{text}` overlaps another subnet of the network"));
            } else {
                subnets.push(subnet);
            }
        }
        subnets
    }

    fn gateways(&mut self, path: &FieldPath, texts: Vec<String>, subnets: &[Cidr]) -> Vec<IpAddr> {
        let mut gateways = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(address) if addresses::is_covered(address, subnets) => gateways.push(address),
                Ok(_) => {
                    let message = format!("`{text}` is in no subnet of the network");
                    self.report(&codes::ADDRESS, &path.index(index), message);
                }
                Err(_) => self.report(&codes::ADDRESS, &path.index(index), format!("`{text}` is not an IP address")),
            }
        }
        gateways
    }

    fn container(&mut self, path: &FieldPath, container: wire::Container) {
        let id = container.id.clone().unwrap_or_else(|| container.name.clone());
        let is_first = self.claim(&path.key("name"), Claim::ContainerName, &container.name)
            && self.claim(&path.key("id"), Claim::ContainerId, &id);
        if !is_first {
            return;
        }
        let id = ContainerId(id.into());
        let unenforceable = self.network_mode(path, &container);
        let published = self.ports(&path.key("ports"), container.ports.unwrap_or_default());
        let attachments =
            self.attachments(&path.key("networks"), &id, &container.name, container.networks.unwrap_or_default());
        let container = Container {
            id: id.clone(),
            name: container.name,
            image: container.image.unwrap_or_default(),
            labels: labels(container.labels.unwrap_or_default()),
            attachments,
            unenforceable,
            judged: published.iter().cloned().collect(),
            published,
            listed: true,
            stated_namespace: container.namespace,
        };
        self.inventory.containers.insert(id, container);
    }

    fn network_mode(&mut self, path: &FieldPath, container: &wire::Container) -> Option<Unenforceable> {
        let mode = container.network_mode.as_deref()?;
        let path = path.key("networkMode");
        if container.networks.as_ref().is_some_and(|networks| !networks.is_empty()) {
            let message = format!("a container with the network mode `{mode}` is on no network");
            self.report(&codes::NETWORK_MODE, &path, message);
        }
        match (mode, mode.strip_prefix("container:").filter(|name| !name.is_empty())) {
            ("host", _) => Some(Unenforceable::HostNetwork),
            ("none", _) => None,
            (_, Some(name)) => {
                self.shared.push((path, name.to_owned()));
                Some(Unenforceable::SharedWith(name.to_owned()))
            }
            _ => {
                let message = format!("`{mode}` is not a network mode: use `host`, `none` or `container:NAME`");
                self.report(&codes::NETWORK_MODE, &path, message);
                None
            }
        }
    }

    fn ports(&mut self, path: &FieldPath, publications: Vec<wire::Publication>) -> Vec<PublishedPort> {
        let mut ports = BTreeSet::new();
        for (index, publication) in publications.into_iter().enumerate() {
            let path = path.index(index);
            let port = match wire::PublishedPort::try_from(publication) {
                Ok(port) => port,
                Err(error) => {
                    self.report(&codes::PORT, &path, error.to_string());
                    continue;
                }
            };
            let Ok(host_address) = port.host_ip.as_deref().map(str::parse::<IpAddr>).transpose() else {
                self.report(&codes::ADDRESS, &path.key("hostIP"), "not an IP address");
                continue;
            };
            let protocol = match port.protocol.unwrap_or_default() {
                wire::PublishedProtocol::Tcp => Protocol::TCP,
                wire::PublishedProtocol::Udp => Protocol::UDP,
                wire::PublishedProtocol::Sctp => Protocol::SCTP,
            };
            let (host_port, container_port) = (port.published, port.target);
            ports.insert(PublishedPort { host_address, host_port, container_port, protocol });
        }
        ports.into_iter().collect()
    }

    fn attachments(
        &mut self,
        path: &FieldPath,
        container: &ContainerId,
        name: &str,
        attachments: Vec<wire::Attachment>,
    ) -> Vec<Attachment> {
        let mut read: BTreeMap<NetworkId, Attachment> = BTreeMap::new();
        for (index, attachment) in attachments.into_iter().enumerate() {
            let path = path.index(index);
            let name_path =
                if matches!(attachment, wire::Attachment::Network(_)) { path.clone() } else { path.key("name") };
            let attachment = wire::DetailedAttachment::from(attachment);
            let Some(network) = self.network_ids.get(&attachment.name).cloned() else {
                self.report_unknown_network(&name_path, &attachment.name);
                continue;
            };
            if read.contains_key(&network) {
                let message = format!("the container is on `{}` already", attachment.name);
                self.report(&codes::NAME_TWICE, &name_path, message);
                continue;
            }
            let mut read_attachment = Attachment::pending(network.clone());
            for (family, field, stated) in [
                (Family::V4, "ipv4Address", attachment.ipv4_address),
                (Family::V6, "ipv6Address", attachment.ipv6_address),
            ] {
                if let Some(text) = stated {
                    *slot(&mut read_attachment, family) =
                        self.stated_address(&path.key(field), &network, name, family, &text);
                } else {
                    let (container, network) = (container.clone(), network.clone());
                    self.unassigned.push(Unassigned { container, network, family, path: name_path.clone() });
                }
            }
            read_attachment.mac = self.mac_address(&path.key("macAddress"), attachment.mac_address);
            read.insert(network, read_attachment);
        }
        read.into_values().collect()
    }

    fn report_unknown_network(&mut self, path: &FieldPath, name: &str) {
        let known: Vec<String> = self.network_ids.keys().map(|name| format!("`{name}`")).collect();
        let help = if known.is_empty() {
            "list it under `spec.networks`".to_owned()
        } else {
            format!("the networks are {}", known.join(", "))
        };
        let finding = self.document.finding(&codes::UNKNOWN_NETWORK, path, format!("there is no network `{name}`"));
        self.diagnostics.push(finding.with_help(help));
    }

    fn stated_address(
        &mut self,
        path: &FieldPath,
        network: &NetworkId,
        holder: &str,
        family: Family,
        text: &str,
    ) -> Option<IpAddr> {
        if text == NO_ADDRESS {
            return None;
        }
        let Some(address) = text.parse::<IpAddr>().ok().filter(|address| Family::of(*address) == family) else {
            let message = format!("`{text}` is not an {family} address, nor `{NO_ADDRESS}`");
            self.report(&codes::ADDRESS, path, message);
            return None;
        };
        match self.pools.get_mut(network)?.claim(address, holder) {
            Ok(()) => Some(address),
            Err(refusal) => {
                self.report(refusal.code(), path, format!("`{text}` {refusal}"));
                None
            }
        }
    }

    fn mac_address(&mut self, path: &FieldPath, text: Option<String>) -> Option<MacAddress> {
        text?.parse().map_err(|error: net::Error| self.report(&codes::ADDRESS, path, error.to_string())).ok()
    }

    /// Assigns the addresses that were left out, and checks what needs the whole document.
    fn finish(mut self) -> (Inventory, Vec<Diagnostic>) {
        for Unassigned { container, network, family, path } in std::mem::take(&mut self.unassigned) {
            let Some(pool) = self.pools.get_mut(&network).filter(|pool| pool.has(family)) else { continue };
            let Some(address) = pool.next(family) else {
                let message = format!("the {family} subnets of `{network}` have no address left for `{container}`");
                self.report(&codes::SUBNET_FULL, &path, message);
                continue;
            };
            let attachments = self.inventory.containers.get_mut(&container).map(|container| &mut container.attachments);
            if let Some(attachment) = attachments.into_iter().flatten().find(|known| known.network == network) {
                *slot(attachment, family) = Some(address);
            }
        }
        for (path, name) in std::mem::take(&mut self.shared) {
            if !self.claims.contains(&(Claim::ContainerName, name.clone())) {
                self.report(&codes::SHARES_UNKNOWN, &path, format!("there is no container `{name}`"));
            }
        }
        (self.inventory, self.diagnostics)
    }
}

fn slot(attachment: &mut Attachment, family: Family) -> &mut Option<IpAddr> {
    match family {
        Family::V4 => &mut attachment.ipv4,
        Family::V6 => &mut attachment.ipv6,
    }
}
