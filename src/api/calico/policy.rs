//! Calico's four policy kinds: namespaced or for the whole host, each enforced or staged.
//!
//! Input: a document of one of these kinds. Output: a struct of the same name, and [`PolicySpec`], which holds whatever any
//! of them may say, so that what reads them is written once. serde cannot flatten fields into a struct that refuses unknown
//! ones; the macro below writes the fields they share into each.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PolicyType, Rule, StagedAction};
use crate::api::schema::plain_enum;

/// The spec of any of the four kinds. A field that a kind does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySpec {
    /// Name of the tier.
    pub tier: Option<String>,
    /// Place within the tier.
    pub order: Option<f64>,
    /// Rules for packets towards the selected containers.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for packets from the selected containers.
    pub egress: Option<Vec<Rule>>,
    /// Selector for containers.
    pub selector: Option<String>,
    /// Directions that are governed.
    pub types: Option<Vec<PolicyType>>,
    /// Selector for Kubernetes service accounts; not enforceable.
    pub service_account_selector: Option<String>,
    /// Hints to Calico's agent.
    pub performance_hints: Option<Vec<PerformanceHint>>,
    /// Selector for namespaces; only in the global kinds.
    pub namespace_selector: Option<String>,
    /// Policy before connection tracking; only in the global kinds, not enforceable.
    pub do_not_track: Option<bool>,
    /// Policy before destination NAT; only in the global kinds, not enforceable.
    pub pre_dnat: Option<bool>,
    /// Host endpoint policy for forwarded packets; only in the global kinds.
    pub apply_on_forward: Option<bool>,
    /// What a staged policy stands for; only in the staged kinds.
    pub staged_action: Option<StagedAction>,
}

/// A hint to Calico's agent. It never changes what is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum PerformanceHint {
    /// Prepare the policy on every node, used or not.
    AssumeNeededOnEveryNode,
}

macro_rules! policy_kinds {
    ($(
        $(#[$attribute:meta])*
        $name:ident { $( $(#[$field_attribute:meta])* $field:ident: $type:ty, )* }
    )*) => { $(
        #[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        $(#[$attribute])*
        pub struct $name {
            /// Name of the tier that the policy belongs to. Default: `default`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub tier: Option<String>,
            /// Place within the tier: lower first, negative and fractional numbers allowed. Default: after all that have
            /// one. Equal ones go by name.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub order: Option<f64>,
            /// Rules for packets towards the selected containers; the first that matches decides. What no rule decides is
            /// denied at the end of the tier, if that is its default action. At most 1024.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = 1024))]
            pub ingress: Option<Vec<Rule>>,
            /// Rules for packets from the selected containers; the first that matches decides. What no rule decides is
            /// denied at the end of the tier, if that is its default action. At most 1024.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = 1024))]
            pub egress: Option<Vec<Rule>>,
            /// Selector for the containers that the policy applies to, e.g. `app == 'web'`. At most 1024 characters.
            /// Default: all of them.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = 1024))]
            pub selector: Option<String>,
            /// Directions that the policy governs: Ingress, Egress or both. A direction that is named and has no rules is
            /// closed; rules of one that is not named have no effect. Default: Egress if there are egress rules only, both
            /// if there are both, otherwise Ingress.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
            pub types: Option<Vec<PolicyType>>,
            /// Selector for Kubernetes service accounts. Not enforceable by dockgate; refused.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = 1024))]
            pub service_account_selector: Option<String>,
            /// Hints to Calico's agent; they have no effect on what is enforced.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(extend("x-kubernetes-list-type" = "set"))]
            pub performance_hints: Option<Vec<PerformanceHint>>,
            $( $(#[$field_attribute])* pub $field: $type, )*
        }

        impl From<$name> for PolicySpec {
            fn from(spec: $name) -> PolicySpec {
                PolicySpec {
                    $( $field: spec.$field, )*
                    ..PolicySpec {
                        tier: spec.tier,
                        order: spec.order,
                        ingress: spec.ingress,
                        egress: spec.egress,
                        selector: spec.selector,
                        types: spec.types,
                        service_account_selector: spec.service_account_selector,
                        performance_hints: spec.performance_hints,
                        ..PolicySpec::default()
                    }
                }
            }
        }
    )* };
}

policy_kinds! {
    /// What a policy of one namespace selects and decides.
    #[kube(
        group = "projectcalico.org",
        version = "v3",
        kind = "NetworkPolicy",
        plural = "networkpolicies",
        shortname = "cnp",
        shortname = "caliconetworkpolicy",
        namespaced,
        derive = "PartialEq",
        doc = "Calico's policy of one namespace. Without `metadata.namespace` it covers the whole host, as a GlobalNetworkPolicy does.",
        crates(kube_core = "::kube_core")
    )]
    NetworkPolicySpec {}

    /// What a policy of the whole host selects and decides.
    #[kube(
        group = "projectcalico.org",
        version = "v3",
        kind = "GlobalNetworkPolicy",
        plural = "globalnetworkpolicies",
        shortname = "gnp",
        shortname = "cgnp",
        derive = "PartialEq",
        doc = "Calico's policy of the whole host.",
        crates(kube_core = "::kube_core")
    )]
    GlobalNetworkPolicySpec {
        /// Selector for the labels of namespaces: only containers of these are selected. At most 1024 characters.
        /// Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(length(max = 1024))]
        namespace_selector: Option<String>,
        /// Policy before connection tracking. Default: false. Not enforceable by dockgate; refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        do_not_track: Option<bool>,
        /// Policy before destination NAT. Default: false. Not enforceable by dockgate; refused.
        #[serde(rename = "preDNAT", skip_serializing_if = "Option::is_none")]
        pre_dnat: Option<bool>,
        /// Whether host endpoint policy applies to forwarded packets. Default: false. Not enforceable by dockgate; refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        apply_on_forward: Option<bool>,
    }

    /// What a staged policy of one namespace would select and decide.
    #[kube(
        group = "projectcalico.org",
        version = "v3",
        kind = "StagedNetworkPolicy",
        plural = "stagednetworkpolicies",
        shortname = "scnp",
        shortname = "snp",
        namespaced,
        derive = "PartialEq",
        doc = "A NetworkPolicy on trial: checked and reported, never enforced.",
        crates(kube_core = "::kube_core")
    )]
    StagedNetworkPolicySpec {
        /// What the staged policy stands for: Set, Delete, Learn or Ignore. Default: Set. With Delete no other field but
        /// `tier` may be set.
        #[serde(skip_serializing_if = "Option::is_none")]
        staged_action: Option<StagedAction>,
    }

    /// What a staged policy of the whole host would select and decide.
    #[kube(
        group = "projectcalico.org",
        version = "v3",
        kind = "StagedGlobalNetworkPolicy",
        plural = "stagedglobalnetworkpolicies",
        shortname = "sgnp",
        derive = "PartialEq",
        doc = "A GlobalNetworkPolicy on trial: checked and reported, never enforced.",
        crates(kube_core = "::kube_core")
    )]
    StagedGlobalNetworkPolicySpec {
        /// What the staged policy stands for: Set, Delete, Learn or Ignore. Default: Set. With Delete no other field but
        /// `tier` may be set.
        #[serde(skip_serializing_if = "Option::is_none")]
        staged_action: Option<StagedAction>,
        /// Selector for the labels of namespaces: only containers of these are selected. At most 1024 characters.
        /// Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(length(max = 1024))]
        namespace_selector: Option<String>,
        /// Policy before connection tracking. Default: false. Not enforceable by dockgate; refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        do_not_track: Option<bool>,
        /// Policy before destination NAT. Default: false. Not enforceable by dockgate; refused.
        #[serde(rename = "preDNAT", skip_serializing_if = "Option::is_none")]
        pre_dnat: Option<bool>,
        /// Whether host endpoint policy applies to forwarded packets. Default: false. Not enforceable by dockgate; refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        apply_on_forward: Option<bool>,
    }
}
