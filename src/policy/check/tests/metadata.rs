use std::collections::BTreeMap;

use super::{assert_found, document, loaded};

#[test]
fn names_have_the_form_of_their_kind() {
    let long = "x".repeat(253);
    for (kind, name, valid) in [
        ("NetworkPolicy", "th.ing", true),
        ("NetworkPolicy", "t.h.i.ng", false),
        ("NetworkPolicy", "knp.default.a.b.c", true),
        ("NetworkPolicy", "ossg.default.a", true),
        ("NetworkPolicy", "knp.other.a", false),
        ("NetworkPolicy", long.as_str(), true),
        ("NetworkPolicy", "-a", false),
        ("NetworkPolicy", "Web", false),
        ("GlobalNetworkPolicy", "knp.default.a", false),
        ("GlobalNetworkPolicy", "a.b", true),
        ("kubernetes", "a.b.c", true),
        ("NetworkSet", "a.b.c", true),
        ("Tier", "a.b", false),
        ("Tier", "a-b", true),
    ] {
        let mark = if valid { "" } else { "§" };
        let text = document(kind, None, "{}").replace("name: x", &format!("name: {mark}{name}"));
        let expected: &[&str] = if valid { &[] } else { &["DG3001 metadata.name"] };
        assert_found(&format!("{kind} {name}"), &text, expected);
    }
}

#[test]
fn namespaces_may_be_compose_projects() {
    for (namespace, valid) in [("my_app-1", true), ("Stack", true), ("''", false), ("a/b", false), ("-a", false)] {
        let mark = if valid { "" } else { "§" };
        let expected: &[&str] = if valid { &[] } else { &["DG3002 metadata.namespace"] };
        assert_found(namespace, &document("NetworkPolicy", Some(&format!("{mark}{namespace}")), "{}"), expected);
    }
    let global = document("GlobalNetworkPolicy", Some("a"), "{}").replace("namespace:", "§namespace:");
    assert_found("global", &global, &["DG2004 metadata.namespace"]);
}

#[test]
fn labels_and_annotations_are_qualified() {
    for (name, field, expected) in [
        ("valid", "labels: {a.b/c: '', d: X_y.z}, annotations: {Example.com/a: any text}", vec![]),
        ("value", "labels: {a: §'b c'}", vec!["DG3003 metadata.labels.a"]),
        ("key", "labels: {§a/b/c: d}", vec!["DG3003 metadata.labels[\"a/b/c\"]"]),
        ("prefix", "labels: {§A.b/c: d}", vec!["DG3003 metadata.labels[\"A.b/c\"]"]),
        ("annotation", "annotations: {§' ': d}", vec!["DG3004 metadata.annotations[\" \"]"]),
    ] {
        let text = document("NetworkPolicy", None, "{}").replace("name: x", &format!("name: x, {field}"));
        assert_found(name, &text, &expected);
    }
    let large = format!("name: x, annotations: §{{a: {}}}", "x".repeat(256 * 1024));
    let text = document("NetworkPolicy", None, "{}").replace("name: x", &large);
    assert_found("large", &text, &["DG3004 metadata.annotations"]);
}

#[test]
fn network_sets_carry_their_namespace_and_may_not_claim_what_is_implicit() {
    let text = document("NetworkSet", Some("a"), "{nets: [10.0.0.1, §10.1.2.3/16, '2001:db8::/32']}");
    let text = text.replace("name: x", "name: x, labels: {role: feed}");
    assert_found("host bits", &text, &["DG5031 spec.nets[1]"]);
    let text = text.replace('§', "");
    let set = &loaded(&text).policies.network_sets[0];
    let labels = BTreeMap::from([("projectcalico.org/namespace", "a"), ("role", "feed")]);
    assert!(set.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(labels));
    let nets: Vec<String> = set.nets.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.1/32", "10.1.0.0/16", "2001:db8::/32"]);
    for key in ["projectcalico.org/namespace", "projectcalico.org/orchestrator", "pcns.env", "dockgate.io/container"] {
        let text =
            document("GlobalNetworkSet", None, "{}").replace("name: x", &format!("name: x, labels: {{§{key}: a}}"));
        assert_found(key, &text, &[&format!("DG3005 metadata.labels[{key:?}]")]);
    }
    let text = document("NetworkSet", Some("a"), "{nets: [§x, §10.0.0.0/33]}");
    assert_found("nets", &text, &["DG3019 spec.nets[0]", "DG3019 spec.nets[1]"]);
}
