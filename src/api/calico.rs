//! The `projectcalico.org/v3` kinds as a person writes them.
//!
//! Input: a document of one of these kinds. Output: a struct of the same name, unchecked. Fields that Calico has and
//! dockgate cannot enforce are here all the same, so that they are refused by name and not as unknown.

mod policy;
mod rule;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubernetes::{EgressRule, IngressRule, LabelSelector};
use super::schema::plain_enum;

pub use super::kubernetes::PolicyType;
pub use policy::{
    GlobalNetworkPolicy, GlobalNetworkPolicySpec, NetworkPolicy, NetworkPolicySpec, PerformanceHint, PolicySpec,
    StagedGlobalNetworkPolicy, StagedGlobalNetworkPolicySpec, StagedNetworkPolicy, StagedNetworkPolicySpec,
};
pub use rule::{
    Action, EntityRule, Http, HttpPath, Icmp, IpVersion, Rule, RuleMetadata, ServiceAccounts, ServiceMatch,
};

/// What a staged policy stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum StagedAction {
    /// The policy of the same name would be created or replaced.
    #[default]
    Set,
    /// The policy of the same name would be deleted.
    Delete,
    /// The policy is a suggestion made from observed traffic.
    Learn,
    /// A suggestion that was put aside.
    Ignore,
}

/// A Kubernetes NetworkPolicy on trial. It lies in the tier `default` at order 1000, as an enforced one does.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcalico.org",
    version = "v3",
    kind = "StagedKubernetesNetworkPolicy",
    plural = "stagedkubernetesnetworkpolicies",
    shortname = "sknp",
    namespaced,
    derive = "PartialEq",
    doc = "A Kubernetes NetworkPolicy on trial: checked and reported, never enforced.",
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StagedKubernetesNetworkPolicySpec {
    /// What the staged policy stands for: Set, Delete, Learn or Ignore. Default: Set. With Delete no other field may be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_action: Option<StagedAction>,
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

/// Addresses that rule selectors of the same namespace find by the labels of the set.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcalico.org",
    version = "v3",
    kind = "NetworkSet",
    plural = "networksets",
    shortname = "netset",
    shortname = "netsets",
    namespaced,
    derive = "PartialEq",
    doc = "Addresses under a name. Rule selectors of its namespace match them by `metadata.labels`.",
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NetworkSetSpec {
    /// CIDR blocks and single addresses, IPv4 and IPv6 side by side; host bits are cleared. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub nets: Option<Vec<String>>,
}

/// Addresses that rule selectors find by the labels of the set, without a namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcalico.org",
    version = "v3",
    kind = "GlobalNetworkSet",
    plural = "globalnetworksets",
    shortname = "gns",
    derive = "PartialEq",
    doc = "Addresses under a name, for the whole host. Rule selectors match them by `metadata.labels`.",
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GlobalNetworkSetSpec {
    /// CIDR blocks and single addresses, IPv4 and IPv6 side by side; host bits are cleared. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub nets: Option<Vec<String>>,
}

/// A group of policies that is evaluated as a whole, before or after other tiers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcalico.org",
    version = "v3",
    kind = "Tier",
    plural = "tiers",
    status = "TierStatus",
    derive = "PartialEq",
    doc = "A group of policies, evaluated in order of the tiers. The tiers kube-admin (order 1000, Pass), default (1000000, Deny) and kube-baseline (10000000, Pass) are always there.",
    printcolumn(name = "Order", type_ = "number", json_path = ".spec.order"),
    printcolumn(name = "Default", type_ = "string", json_path = ".spec.defaultAction"),
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TierSpec {
    /// Place among the tiers: lower first, negative and fractional numbers allowed. Default: after all that have one.
    /// Equal ones go by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// What becomes of a packet that the tier's policies select but do not decide: Deny drops it, Pass hands it to the next
    /// tier. Default: Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<DefaultAction>,
}

/// What a tier does with packets that its policies select but do not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum DefaultAction {
    /// They are dropped.
    #[default]
    Deny,
    /// They go on to the next tier.
    Pass,
}

/// What Calico reports about a tier. Read over and not checked, so that a tier copied out of a cluster is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierStatus {
    /// Conditions as Calico wrote them; they have no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<TierCondition>>,
}

/// One condition of a tier, in the form of Kubernetes' `metav1.Condition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierCondition {
    /// Name of the condition.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub condition_type: Option<String>,
    /// True, False or Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Generation of the tier that the condition speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time of the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// Reason in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
