//! The `dockgate.io/v1alpha1` Inventory as a person writes it: a host's networks and containers without Docker.
//!
//! Input: an Inventory document, or what the engine says of itself. Output: [`Inventory`], unchecked. It is read and
//! written in one form, so that what was seen on a host can be kept beside the policies and judged elsewhere. Names are
//! those of a Compose file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::schema::{plain_enum, text_or_object};

/// Networks and containers of one host.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dockgate.io",
    version = "v1alpha1",
    kind = "Inventory",
    plural = "inventories",
    derive = "PartialEq",
    doc = "The networks and containers of one Docker host, as a file. `dockgate get inventory -o yaml` writes one.",
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InventorySpec {
    /// The networks. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
    /// The containers. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<Container>>,
    /// Namespaces that have labels. One that is not listed has only its implicit labels. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<Namespace>>,
}

/// A Docker network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Network {
    /// Name, unique among the networks.
    pub name: String,
    /// Docker's id of the network. Default: the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Driver as Docker names it. Policy is enforced on `bridge` only. Default: `bridge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Subnets, IPv4 and IPv6, e.g. `172.20.0.0/16`. Containers without a stated address get the next free one of each
    /// version, in order. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Vec<String>>,
    /// The host's own addresses on the network. Default: the first address of each subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<String>>,
    /// Whether Docker keeps the network from the outside. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// Linux bridge of the network, at most 15 characters. Default: `br-` and the first 12 characters of the id, as Docker
    /// does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub bridge: Option<String>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Container {
    /// Name, unique among the containers.
    pub name: String,
    /// Docker's id of the container. Default: the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Namespace. Default: from the labels `projectcalico.org/namespace`, `com.docker.compose.project` and
    /// `com.docker.stack.namespace`, in this order, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Image reference. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Docker labels. Named ports stand in `dockgate.io/ports`, e.g. `http=8080/tcp,metrics=9090/tcp`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// What the container has instead of networks: `host`, `none` or `container:NAME`. Excludes `networks`. Default: the
    /// container has its own networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// Networks that the container is on: names, or objects where an address is to be stated. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Attachment>>,
    /// Published ports, as in a Compose file: `8080:80`, `127.0.0.1:8080:80/tcp`, or objects. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Publication>>,
}

/// A namespace and its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Namespace {
    /// Name, unique among the namespaces.
    pub name: String,
    /// Labels for namespace selectors, beyond `kubernetes.io/metadata.name` and `projectcalico.org/name`, which every
    /// namespace has. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// A container's attachment to a network, short or long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attachment {
    /// The network's name; addresses are assigned.
    Network(String),
    /// With addresses.
    Detailed(DetailedAttachment),
}

/// A container's attachment to a network with its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DetailedAttachment {
    /// Name of the network.
    pub name: String,
    /// IPv4 address, or `none`, as for a container that does not run. Default: the next free one, if the network has an IPv4
    /// subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<String>,
    /// IPv6 address, or `none`, as for a container that does not run. Default: the next free one, if the network has an IPv6
    /// subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// MAC address, e.g. `02:42:ac:14:00:02`. Default: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

impl From<Attachment> for DetailedAttachment {
    fn from(attachment: Attachment) -> Self {
        match attachment {
            Attachment::Network(name) => DetailedAttachment { name, ..DetailedAttachment::default() },
            Attachment::Detailed(detailed) => detailed,
        }
    }
}

/// A published port, short or long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Publication {
    /// `[[HOST-ADDRESS:]HOST-PORT:]CONTAINER-PORT[/PROTOCOL]`; reads by [`PublishedPort::from_str`].
    Short(String),
    /// With names.
    Detailed(PublishedPort),
}

/// A port of the host that leads to a port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PublishedPort {
    /// Port in the container, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub target: u16,
    /// Port on the host, 1 to 65535. Default: one that Docker chooses, unknown here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub published: Option<u16>,
    /// Address of the host that the port is bound to. Default: all.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// Protocol: tcp, udp or sctp. Default: tcp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<PublishedProtocol>,
}

/// A protocol that Docker can publish, in Docker's own lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = plain_enum)]
pub enum PublishedProtocol {
    /// Transmission Control Protocol.
    #[default]
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

/// Why a text is not a published port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a published port: use `[[host-address:]host-port:]container-port[/protocol]`, without ranges")]
pub struct NotAPublishedPort(String);

impl FromStr for PublishedPort {
    type Err = NotAPublishedPort;

    /// Reads Compose's short form. An IPv6 host address stands in brackets. Ranges of ports are not read.
    fn from_str(text: &str) -> Result<Self, NotAPublishedPort> {
        parse_published_port(text).ok_or_else(|| NotAPublishedPort(text.to_owned()))
    }
}

fn parse_published_port(text: &str) -> Option<PublishedPort> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, "tcp")) => (ports, PublishedProtocol::Tcp),
        Some((ports, "udp")) => (ports, PublishedProtocol::Udp),
        Some((ports, "sctp")) => (ports, PublishedProtocol::Sctp),
        Some(_) => return None,
        None => (text, PublishedProtocol::Tcp),
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (host, target) = match ports.rsplit_once(':') {
        Some((host, target)) => (Some(host), port(target)?),
        None => (None, port(ports)?),
    };
    let (address, published) = match host.map(|host| host.rsplit_once(':').ok_or(host)) {
        None => (None, None),
        Some(Err(published)) => (None, Some(port(published)?)),
        // `127.0.0.1::80` leaves the choice of the host port to Docker.
        Some(Ok((address, ""))) => (Some(address), None),
        Some(Ok((address, published))) => (Some(address), Some(port(published)?)),
    };
    let host_ip = match address {
        None => None,
        Some(address) => match address.strip_prefix('[').and_then(|address| address.strip_suffix(']')) {
            Some(address) => Some(address.parse::<Ipv6Addr>().ok()?.to_string()),
            None => Some(address.parse::<Ipv4Addr>().ok()?.to_string()),
        },
    };
    Some(PublishedPort { target, published, host_ip, protocol: Some(protocol) })
}

impl TryFrom<Publication> for PublishedPort {
    type Error = NotAPublishedPort;

    fn try_from(publication: Publication) -> Result<Self, NotAPublishedPort> {
        match publication {
            Publication::Short(text) => text.parse(),
            Publication::Detailed(port) => Ok(port),
        }
    }
}

impl JsonSchema for Attachment {
    fn schema_name() -> Cow<'static, str> {
        "Attachment".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        text_or_object(
            "The name of a network, or an object with `name` and addresses.",
            DetailedAttachment::json_schema(generator),
        )
    }
}

impl JsonSchema for Publication {
    fn schema_name() -> Cow<'static, str> {
        "Publication".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        text_or_object(
            "A published port: `[[host-address:]host-port:]container-port[/protocol]`, or an object with `target`.",
            PublishedPort::json_schema(generator),
        )
    }
}
