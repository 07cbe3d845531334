//! Kinds of policy that other projects have, and what to use in their place.
//!
//! Input: a document's `apiVersion` and `kind`. Output: advice, or none for what nobody is known to mean. Such a document is
//! refused by name: one that was passed over would leave open what its author takes for closed.

/// Kinds that cannot be enforced on a Docker host: API group, kind, or any of the group, and what to do instead. Their
/// versions make no difference to that.
const FOREIGN: &[(&str, Option<&str>, &str)] = &[
    ("projectcalico.org", Some("HostEndpoint"), "dockgate polices containers, not the host's own interfaces"),
    ("projectcalico.org", Some("Profile"), "use a policy without a selector, which covers every container"),
    (
        "policy.networking.k8s.io",
        Some("AdminNetworkPolicy"),
        "use a GlobalNetworkPolicy of `projectcalico.org/v3` in the tier `kube-admin`",
    ),
    (
        "policy.networking.k8s.io",
        Some("BaselineAdminNetworkPolicy"),
        "use a GlobalNetworkPolicy of `projectcalico.org/v3` in the tier `kube-baseline`",
    ),
    (
        "policy.networking.k8s.io",
        Some("ClusterNetworkPolicy"),
        "use a GlobalNetworkPolicy of `projectcalico.org/v3` in the tier `kube-admin` or `kube-baseline`",
    ),
    (
        "cilium.io",
        Some("CiliumNetworkPolicy"),
        "use a NetworkPolicy of `projectcalico.org/v3` or `networking.k8s.io/v1`",
    ),
    ("cilium.io", Some("CiliumClusterwideNetworkPolicy"), "use a GlobalNetworkPolicy of `projectcalico.org/v3`"),
    ("crd.antrea.io", Some("ClusterNetworkPolicy"), "use a GlobalNetworkPolicy of `projectcalico.org/v3`"),
    ("crd.antrea.io", Some("NetworkPolicy"), "use a NetworkPolicy of `projectcalico.org/v3`"),
    (
        "crd.antrea.io",
        Some("Tier"),
        "use a Tier of `projectcalico.org/v3`, which has `order` in the place of `priority`",
    ),
    (
        "crd.antrea.io",
        Some("ClusterGroup"),
        "use a GlobalNetworkSet of `projectcalico.org/v3`, or a selector in each rule",
    ),
    (
        "k8s.ovn.org",
        Some("EgressFirewall"),
        "use a NetworkPolicy of `projectcalico.org/v3` with egress rules on `nets`",
    ),
    (
        "network.openshift.io",
        Some("EgressNetworkPolicy"),
        "use a NetworkPolicy of `projectcalico.org/v3` with egress rules on `nets`",
    ),
    ("v1", Some("EgressNetworkPolicy"), "use a NetworkPolicy of `projectcalico.org/v3` with egress rules on `nets`"),
    (
        "k8s.cni.cncf.io",
        Some("MultiNetworkPolicy"),
        "use a NetworkPolicy, and select the network by the label `dockgate.io/network`",
    ),
    (
        "security.istio.io",
        None,
        "a packet filter sees neither requests nor identities of a mesh: use a NetworkPolicy on labels and ports",
    ),
];

/// Former and internal forms of what is read today: `apiVersion`, and the one in its place.
const FORMER: [(&str, &str); 2] =
    [("extensions/v1beta1", "networking.k8s.io/v1"), ("crd.projectcalico.org/v1", "projectcalico.org/v3")];

/// What to use in the place of a kind of another project, or of a list of them.
pub(super) fn instead(api_version: &str, kind: &str) -> Option<&'static str> {
    let group = api_version.split('/').next().unwrap_or_default();
    let item = kind.strip_suffix("List").unwrap_or(kind);
    let is_meant = |known: Option<&str>| known.is_none_or(|known| known == item);
    FOREIGN.iter().find(|(foreign, known, _)| *foreign == group && is_meant(*known)).map(|(.., advice)| *advice)
}

/// The `apiVersion` that took the place of this one.
pub(super) fn successor(api_version: &str) -> Option<&'static str> {
    FORMER.iter().find(|(former, _)| *former == api_version).map(|(_, today)| *today)
}

/// What to do about a core resource of Kubernetes that stands beside policies.
pub(super) fn beside_policies(kind: &str) -> &'static str {
    match kind {
        "Namespace" => {
            "leave it out: a Compose project is a namespace, and every namespace has the label `kubernetes.io/metadata.name`"
        }
        _ => "leave it out: only policies, network sets and tiers are read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    #[test]
    fn no_kind_is_both_read_and_foreign() {
        for kind in api::KINDS {
            assert_eq!(instead(kind.api_version, kind.kind), None, "{}", kind.name);
            assert_eq!(successor(kind.api_version), None, "{}", kind.name);
        }
        for (_, today) in FORMER {
            assert!(api::KINDS.iter().any(|kind| kind.api_version == today), "{today}");
        }
    }

    #[test]
    fn versions_and_lists_make_no_difference() {
        for (api_version, kind, is_foreign) in [
            ("cilium.io/v2", "CiliumNetworkPolicy", true),
            ("cilium.io/v2alpha1", "CiliumNetworkPolicyList", true),
            ("cilium.io/v2", "CiliumNode", false),
            ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", true),
            ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", true),
            ("security.istio.io/v1", "PeerAuthentication", true),
            ("cilium.io.example.com/v2", "CiliumNetworkPolicy", false),
            ("projectcalico.org/v3", "IPPool", false),
        ] {
            assert_eq!(instead(api_version, kind).is_some(), is_foreign, "{api_version} {kind}");
        }
    }
}
