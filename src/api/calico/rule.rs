//! A Calico rule: an action and the criteria under which it is taken.
//!
//! Input: an entry of `spec.ingress` or `spec.egress`. Output: [`Rule`], unchecked. All criteria of a rule hold together;
//! one that is left out matches everything, which is why a misspelt one must be an error.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::int_or_string::{Port, Protocol};
use crate::api::schema::plain_enum;

/// A rule. The first rule that matches a packet decides; Log only logs and goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rule {
    /// What is done with a packet that matches: Allow lets it through, Deny drops it, Pass hands it to the next tier, Log
    /// logs it and goes on to the next rule.
    pub action: Action,
    /// The only IP version the rule applies to: 4 or 6. Default: both, except where the protocol is ICMP (4) or ICMPv6 (6)
    /// or the nets say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// Protocol that must match: TCP, UDP, ICMP, ICMPv6, SCTP or UDPLite in exactly this case, or a number from 1 to 255.
    /// Default: every protocol. Numeric ports need one that has ports (TCP, UDP, SCTP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Protocol that must not match; written as `protocol` is. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code that must match. Needs `protocol: ICMP` or `protocol: ICMPv6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// ICMP type and code that must not match. Needs `protocol: ICMP` or `protocol: ICMPv6`.
    #[serde(rename = "notICMP", skip_serializing_if = "Option::is_none")]
    pub not_icmp: Option<Icmp>,
    /// Where the packet comes from. Default: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<EntityRule>,
    /// Where the packet goes to. Default: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<EntityRule>,
    /// HTTP methods and paths. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Remarks about the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RuleMetadata>,
}

/// What is done with a packet that matches a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum Action {
    /// The packet passes this side's policy.
    Allow,
    /// The packet is dropped.
    Deny,
    /// The packet is logged and goes on to the next rule.
    Log,
    /// The packet goes on to the next tier.
    Pass,
}

/// An IP version, written as the number 4 or 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A number that is no IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IP version: use 4 or 6")]
pub struct NotAnIpVersion(u8);

impl TryFrom<u8> for IpVersion {
    type Error = NotAnIpVersion;

    fn try_from(number: u8) -> Result<Self, NotAnIpVersion> {
        match number {
            4 => Ok(IpVersion::V4),
            6 => Ok(IpVersion::V6),
            other => Err(NotAnIpVersion(other)),
        }
    }
}

impl From<IpVersion> for u8 {
    fn from(version: IpVersion) -> u8 {
        match version {
            IpVersion::V4 => 4,
            IpVersion::V6 => 6,
        }
    }
}

impl JsonSchema for IpVersion {
    fn schema_name() -> Cow<'static, str> {
        "IpVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [4, 6] })
    }
}

/// One end of a rule. All fields that are set hold together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EntityRule {
    /// CIDR blocks, one of which must hold the address. No host bits, no bare addresses; one IP version in the whole rule.
    /// At most 256. Default: any address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub nets: Option<Vec<String>>,
    /// CIDR blocks, none of which may hold the address; written as `nets` is. At most 256. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub not_nets: Option<Vec<String>>,
    /// Selector for containers and network sets, one of which must have the address. In a policy with a namespace it finds
    /// those of that namespace only, unless `namespaceSelector` says otherwise. At most 1024 characters. Default: any
    /// address, known or not; `all()` is any known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Selector for containers and network sets, none of which may have the address. At most 1024 characters. In a policy
    /// with a namespace it limits the rule to addresses of that namespace, unless `namespaceSelector` says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub not_selector: Option<String>,
    /// Selector for the labels of namespaces: only containers and network sets of these count. `all()` is every namespace;
    /// `global()`, which must stand alone, is what has no namespace. At most 1024 characters. Default: the policy's own
    /// namespace, or no limit where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub namespace_selector: Option<String>,
    /// Ports, one of which must match: numbers, ranges `first:last`, or names that the container declares in its label
    /// `dockgate.io/ports`. Numbers need a `protocol` that has ports. At most 50. Default: any port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    pub ports: Option<Vec<Port>>,
    /// Ports, none of which may match; written as `ports` is. At most 50. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    pub not_ports: Option<Vec<Port>>,
    /// Kubernetes service accounts. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccounts>,
    /// A Kubernetes service. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMatch>,
}

/// An ICMP type, and a code of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Icmp {
    /// ICMP type from 0 to 254, e.g. 8 for an IPv4 echo request. Default: every type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 254))]
    pub icmp_type: Option<i32>,
    /// ICMP code from 0 to 255; needs `type`. Default: every code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 255))]
    pub code: Option<i32>,
}

/// HTTP criteria. Not enforceable by dockgate; refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Http {
    /// HTTP methods. At most 20. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub methods: Option<Vec<String>>,
    /// HTTP paths. At most 20. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub paths: Option<Vec<HttpPath>>,
}

/// An HTTP path. Not enforceable by dockgate; refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpPath {
    /// The whole path. At most 1024 characters. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub exact: Option<String>,
    /// The beginning of the path. At most 1024 characters. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
}

/// Remarks about a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleMetadata {
    /// Free texts by key; they have no effect on traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Kubernetes service accounts. Not enforceable by dockgate; refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceAccounts {
    /// Names of service accounts. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub names: Option<Vec<String>>,
    /// Selector for the labels of service accounts. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
}

/// A Kubernetes service. Not enforceable by dockgate; refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceMatch {
    /// Name of the service. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Namespace of the service. Not enforceable by dockgate; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
}
