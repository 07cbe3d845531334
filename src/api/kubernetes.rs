//! The `networking.k8s.io/v1` NetworkPolicy as a person writes it.
//!
//! Input: a document of that kind. Output: [`KubernetesNetworkPolicy`], unchecked. The types are dockgate's own and not
//! `k8s-openapi`'s, because those ignore unknown fields, and a misspelt `podSelector` would widen a rule in silence.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::int_or_string::KubernetesPort;
use super::schema::plain_enum;

/// What a Kubernetes NetworkPolicy selects and allows. Policies only add: a container that several of them select gets
/// the union of what they allow, and what none allows is denied.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.k8s.io",
    version = "v1",
    kind = "NetworkPolicy",
    root = "KubernetesNetworkPolicy",
    plural = "networkpolicies",
    shortname = "netpol",
    namespaced,
    derive = "PartialEq",
    doc = "Kubernetes' own NetworkPolicy, enforced on Docker containers. Without `metadata.namespace` it covers the whole host.",
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Containers that the policy applies to, by label, within the policy's namespace. Default and `{}`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// What may reach the containers. Nothing is let in that no rule of any policy allows; an empty list lets nothing in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// What the containers may reach. Has an effect only where `policyTypes` has Egress, stated or by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
    /// Directions that the policy governs. Default: Ingress, and also Egress if there are egress rules. A direction that is
    /// named here and has no rules is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub policy_types: Option<Vec<PolicyType>>,
}

/// A direction of policy, seen from the container that it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum PolicyType {
    /// Towards the container.
    Ingress,
    /// From the container.
    Egress,
}

/// Peers and ports, any pair of which may reach the selected containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IngressRule {
    /// Who may connect; any one of them suffices. Default and an empty list: everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<Peer>>,
    /// Ports of the selected containers; any one of them suffices. Default and an empty list: every port of every protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PolicyPort>>,
}

/// Peers and ports, any pair of which the selected containers may reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressRule {
    /// Whom the containers may connect to; any one of them suffices. Default and an empty list: everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Peer>>,
    /// Ports of the peer; any one of them suffices. Default and an empty list: every port of every protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PolicyPort>>,
}

/// One kind of peer: at least one field, and `ipBlock` stands alone. Containers are never outside addresses: a peer
/// without `ipBlock` means known containers only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Peer {
    /// Containers by label. Without `namespaceSelector` only those of the policy's own namespace; `{}` is all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces by label; `{}` is every namespace. Every namespace has the label `kubernetes.io/metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// A block of addresses. Excludes the other two fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A block of addresses with holes. It matches the packet's address, be it a container's or an outside one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IpBlock {
    /// The block, IPv4 or IPv6, e.g. `203.0.113.0/24`.
    pub cidr: String,
    /// Blocks that are left out. Each must lie strictly inside `cidr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<String>>,
}

/// A port or a range of ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyPort {
    /// The protocol. Default: TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TransportProtocol>,
    /// A port from 1 to 65535, or the name of a port that the destination container declares in its label
    /// `dockgate.io/ports`. Default: every port of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<KubernetesPort>,
    /// Last port of a range that begins at `port`, which must then be a number and not above it. At most 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<i32>,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(transform = plain_enum)]
pub enum TransportProtocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

/// Selects by label: every entry of both fields must hold. Empty, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<LabelRequirement>>,
}

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LabelRequirement {
    /// Key of the label.
    pub key: String,
    /// How the label is compared.
    pub operator: LabelOperator,
    /// Values to compare with: at least one for In and NotIn, none for Exists and DoesNotExist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum LabelOperator {
    /// The label is there with one of the values.
    In,
    /// The label has none of the values; holds also where it is missing.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}
