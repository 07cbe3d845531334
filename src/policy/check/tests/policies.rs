use super::{assert_found, document, found, governed, loaded, policy};
use crate::policy::Direction::{Egress, Ingress};
use crate::policy::{DefaultAction, PolicyKind};

#[test]
fn types_default_as_in_calicos_api() {
    for (name, spec, expected) in [
        ("neither rules nor types", "{}", vec![(Ingress, 0)]),
        ("egress only", "{egress: [{action: Allow}]}", vec![(Egress, 1)]),
        ("both", "{ingress: [{action: Allow}], egress: [{action: Allow}]}", vec![(Ingress, 1), (Egress, 1)]),
        ("ingress only", "{ingress: [{action: Allow}]}", vec![(Ingress, 1)]),
        ("empty lists", "{ingress: [], egress: []}", vec![(Ingress, 0)]),
        ("stated without rules", "{types: [Ingress, Egress]}", vec![(Ingress, 0), (Egress, 0)]),
        ("null", "{types: ~, egress: ~, ingress: ~}", vec![(Ingress, 0)]),
    ] {
        assert_eq!(governed(&policy(&document("NetworkPolicy", None, spec))), expected, "{name}");
    }
}

#[test]
fn rules_of_a_direction_that_is_not_governed_are_inert_and_reported() {
    let text = document("NetworkPolicy", None, "{types: [Egress], ingress: [{action: Allow}]}");
    assert_found("inert", &text.replace("ingress:", "§ingress:"), &["DG3101 spec.ingress"]);
    assert_eq!(governed(&loaded(&text).policies.policies[0]), [(Egress, 0)]);
}

#[test]
fn selectors_are_scoped_by_namespace() {
    for (name, kind, namespace, spec, expected) in [
        (
            "own namespace",
            "NetworkPolicy",
            Some("a"),
            "{selector: b == 'c'}",
            "(b == \"c\" && projectcalico.org/namespace == \"a\")",
        ),
        ("empty, own namespace", "NetworkPolicy", Some("a"), "{}", "projectcalico.org/namespace == \"a\""),
        ("without a namespace", "NetworkPolicy", None, "{selector: b == 'c'}", "b == \"c\""),
        ("empty, without a namespace", "NetworkPolicy", None, "{}", "all()"),
        ("global", "GlobalNetworkPolicy", None, "{selector: b == 'c'}", "b == \"c\""),
        (
            "global with namespaces",
            "GlobalNetworkPolicy",
            None,
            "{selector: all(), namespaceSelector: env != 'prod'}",
            "pcns.env != \"prod\"",
        ),
        (
            "global with all namespaces",
            "GlobalNetworkPolicy",
            None,
            "{selector: b == 'all()', namespaceSelector: all()}",
            "(b == \"all()\" && has(projectcalico.org/namespace))",
        ),
    ] {
        assert_eq!(policy(&document(kind, namespace, spec)).selector.to_string(), expected, "{name}");
    }
}

#[test]
fn a_policy_without_a_namespace_is_noted() {
    for (kind, codes) in [("NetworkPolicy", vec!["DG3201"]), ("GlobalNetworkPolicy", vec![])] {
        let loaded = loaded(&document(kind, None, "{}"));
        assert_eq!(loaded.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), codes, "{kind}");
    }
    assert_eq!(loaded(&document("NetworkPolicy", Some("a"), "{}")).diagnostics, []);
}

#[test]
fn what_cannot_be_enforced_is_refused_by_name() {
    for (name, spec, expected) in [
        ("service account selector", "{§serviceAccountSelector: a == 'b'}", "DG4001 spec.serviceAccountSelector"),
        ("doNotTrack", "{§doNotTrack: true}", "DG4004 spec.doNotTrack"),
        ("preDNAT", "{§preDNAT: true}", "DG4004 spec.preDNAT"),
        ("applyOnForward", "{§applyOnForward: true}", "DG4004 spec.applyOnForward"),
        ("http", "{ingress: [{action: Allow, §http: {methods: [GET]}}]}", "DG4003 spec.ingress[0].http"),
        (
            "services",
            "{egress: [{action: Allow, destination: {§services: {name: x}}}]}",
            "DG4002 spec.egress[0].destination.services",
        ),
        (
            "service accounts",
            "{ingress: [{action: Allow, source: {§serviceAccounts: {names: [x]}}}]}",
            "DG4001 spec.ingress[0].source.serviceAccounts",
        ),
    ] {
        assert_found(name, &document("GlobalNetworkPolicy", None, spec), &[expected]);
    }
    for spec in ["{doNotTrack: false}", "{applyOnForward: false}", "{serviceAccountSelector: ''}"] {
        policy(&document("GlobalNetworkPolicy", None, spec));
    }
    policy(&document("GlobalNetworkPolicy", None, "{performanceHints: [AssumeNeededOnEveryNode]}"));
}

#[test]
fn broken_selectors_are_found_at_the_character() {
    for (name, spec, expected) in [
        ("plain", "{selector: a §= 'b'}", "DG3010 spec.selector"),
        ("quoted", "{selector: \"has §(a)\"}", "DG3010 spec.selector"),
        ("escaped", "{selector: §\"a == \\\"b\\\" &&\"}", "DG3010 spec.selector"),
        ("namespaces", "{namespaceSelector: a§}", "DG3010 spec.namespaceSelector"),
        ("global()", "{selector: §global()}", "DG3011 spec.selector"),
        ("global() on namespaces of a policy", "{namespaceSelector: §global()}", "DG3011 spec.namespaceSelector"),
    ] {
        assert_found(name, &document("GlobalNetworkPolicy", None, spec), &[expected]);
    }
    policy(&document("GlobalNetworkPolicy", None, "{selector: a == 'global('}"));
}

#[test]
fn staged_deletions_say_nothing_else() {
    for kind in ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"] {
        let deletion = loaded(&document(kind, None, "{stagedAction: Delete, tier: default}"));
        assert!(deletion.policies.policies.is_empty() && deletion.resources[kind] == 1, "{kind}");
        let text = document(kind, None, "{stagedAction: Delete, §order: 1, §ingress: []}");
        assert_found(kind, &text, &["DG3027 spec.order", "DG3027 spec.ingress"]);
    }
    let text = document("StagedKubernetesNetworkPolicy", None, "{stagedAction: Delete, §podSelector: {}}");
    assert_found("Kubernetes", &text, &["DG3027 spec.podSelector"]);
    let staged = policy(&document("StagedGlobalNetworkPolicy", None, "{stagedAction: Learn}"));
    assert_eq!((staged.key.kind, staged.key.kind.is_staged()), (PolicyKind::StagedGlobalNetworkPolicy, true));
}

#[test]
fn tiers_are_declared_or_well_known() {
    let tiers = |text: &str| -> Vec<String> { loaded(text).policies.tiers.into_iter().map(|tier| tier.name).collect() };
    assert_eq!(tiers(""), ["kube-admin", "default", "kube-baseline"]);
    assert_eq!(tiers(&document("Tier", None, "{order: 500}")), ["x", "kube-admin", "default", "kube-baseline"]);
    assert_eq!(tiers(&document("Tier", None, "{}")), ["kube-admin", "default", "kube-baseline", "x"]);
    let known = |spec: &str| document("Tier", None, spec).replace("name: x", "name: kube-admin");
    assert_eq!(found(&known("{order: 1000, defaultAction: Pass}")), Vec::<String>::new());
    assert_eq!(tiers(&known("{order: 1000, defaultAction: Pass}")).len(), 3);
    assert_found("default action", &known("§{order: 1000}"), &["DG3028 spec.defaultAction"]);
    assert_found("order", &known("{order: §5, defaultAction: Pass}"), &["DG3028 spec.order"]);
}

#[test]
fn a_policy_in_an_unknown_tier_is_reported_and_comes_last() {
    let unknown = document("GlobalNetworkPolicy", None, "{tier: defualt, order: -1}");
    assert_found("unknown tier", &unknown.replace("defualt", "§defualt"), &["DG3029 spec.tier"]);
    let known = document("GlobalNetworkPolicy", None, "{tier: kube-baseline}").replace("name: x", "name: y");
    let loaded = loaded(&format!("{unknown}---\n{known}"));
    assert_eq!(loaded.diagnostics[0].help.as_deref(), Some("did you mean `default`?"));
    let names: Vec<&str> = loaded.policies.policies.iter().map(|policy| policy.key.name.as_str()).collect();
    assert_eq!(names, ["y", "x"]);
    let last = loaded.policies.tiers.last().expect("tiers");
    assert_eq!((last.name.as_str(), last.declared, last.default_action), ("defualt", false, DefaultAction::Deny));
}
