//! An inventory as the resource that a file holds.
//!
//! Input: an [`Inventory`], usually an engine's. Output: the resource; read again, it gives equal endpoints, except for
//! Docker's endpoint ids, which mean nothing outside of that engine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::{Attachment, Container, Inventory, Network, NetworkId, PublishedPort, Unenforceable};
use super::NO_ADDRESS;
use crate::api::dockgate as wire;
use crate::net::{Family, Protocol};

/// The inventory as a resource, in a stable order. Of a container it holds name, image, labels, networks and ports: nothing
/// of its environment or its command.
pub fn to_resource(inventory: &Inventory) -> wire::Inventory {
    let mut networks: Vec<&Network> = inventory.networks.values().collect();
    networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let mut containers: Vec<&Container> = inventory.containers.values().collect();
    containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let namespace = |(name, labels): (&String, &BTreeMap<String, String>)| wire::Namespace {
        name: name.clone(),
        labels: filled(labels.clone(), BTreeMap::is_empty),
    };
    let spec = wire::InventorySpec {
        networks: filled(networks.into_iter().map(network).collect(), Vec::is_empty),
        containers: filled(
            containers.into_iter().map(|known| container(known, &inventory.networks)).collect(),
            Vec::is_empty,
        ),
        namespaces: filled(inventory.namespaces.iter().map(namespace).collect(), Vec::is_empty),
    };
    wire::Inventory::new("host", spec)
}

fn network(network: &Network) -> wire::Network {
    wire::Network {
        name: network.name.clone(),
        id: filled(network.id.to_string(), |id| *id == network.name),
        driver: filled(network.driver.clone(), |driver| driver == "bridge"),
        subnets: filled(network.subnets.iter().map(ToString::to_string).collect(), Vec::is_empty),
        // Without the field the first address of each subnet is meant.
        gateways: Some(network.gateways.iter().map(ToString::to_string).collect()),
        internal: filled(network.internal, |internal| !internal),
        bridge: network.bridge.as_ref().map(ToString::to_string),
    }
}

fn container(container: &Container, networks: &BTreeMap<NetworkId, Network>) -> wire::Container {
    let mut attachments: Vec<wire::DetailedAttachment> = container
        .attachments
        .iter()
        .filter_map(|known| Some(attachment(known, networks.get(&known.network)?)))
        .collect();
    attachments.sort_by(|a, b| a.name.cmp(&b.name));
    let network_mode = container.unenforceable.as_ref().and_then(|reason| match reason {
        Unenforceable::HostNetwork => Some("host".to_owned()),
        Unenforceable::SharedWith(name) => Some(format!("container:{name}")),
        Unenforceable::Driver(_) | Unenforceable::BridgeName => None,
    });
    let labels = container.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    wire::Container {
        name: container.name.clone(),
        id: filled(container.id.to_string(), |id| *id == container.name),
        namespace: container.stated_namespace.clone(),
        image: filled(container.image.clone(), String::is_empty),
        labels: filled(labels, BTreeMap::is_empty),
        network_mode,
        networks: filled(attachments.into_iter().map(wire::Attachment::Detailed).collect(), Vec::is_empty),
        ports: filled(
            container.published.iter().map(|port| wire::Publication::Short(published_port(port))).collect(),
            Vec::is_empty,
        ),
    }
}

fn attachment(attachment: &Attachment, network: &Network) -> wire::DetailedAttachment {
    // Where there is a subnet, an address that is left out would be assigned.
    let address = |family, address: Option<IpAddr>| match address {
        Some(address) => Some(address.to_string()),
        None => network.subnets.iter().any(|subnet| subnet.family() == family).then(|| NO_ADDRESS.to_owned()),
    };
    wire::DetailedAttachment {
        name: network.name.clone(),
        ipv4_address: address(Family::V4, attachment.ipv4),
        ipv6_address: address(Family::V6, attachment.ipv6),
        mac_address: attachment.mac.map(|mac| mac.to_string()),
    }
}

/// Compose's short form: `[[HOST-ADDRESS:]HOST-PORT:]CONTAINER-PORT[/PROTOCOL]`.
fn published_port(port: &PublishedPort) -> String {
    let host_address = match port.host_address {
        Some(IpAddr::V4(address)) => format!("{address}:"),
        Some(IpAddr::V6(address)) => format!("[{address}]:"),
        None => String::new(),
    };
    let host_port = match (port.host_port, port.host_address) {
        (Some(host_port), _) => format!("{host_port}:"),
        (None, Some(_)) => ":".to_owned(),
        (None, None) => String::new(),
    };
    let protocol = match port.protocol {
        Protocol::UDP => "/udp",
        Protocol::SCTP => "/sctp",
        _ => "",
    };
    format!("{host_address}{host_port}{}{protocol}", port.container_port)
}

/// The value, unless it is what the field's absence means.
fn filled<T>(value: T, is_default: impl Fn(&T) -> bool) -> Option<T> {
    if is_default(&value) { None } else { Some(value) }
}
