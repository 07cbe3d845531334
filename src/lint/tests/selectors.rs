use super::*;

#[test]
#[rustfmt::skip]
fn selectors_that_can_never_match() {
    check(None, [
        ("two values", policy("selector: «DG5001»a == 'x' && a == 'y'")),
        ("one of two values", policy("selector: a == 'x' || a == 'y'")),
        ("what a cluster has", global("selector: «DG5001»projectcalico.org/orchestrator == 'k8s'")),
        ("what Docker has", global("selector: projectcalico.org/orchestrator == 'docker'")),
        ("two namespaces", policy("selector: «DG5001»projectcalico.org/namespace == 'other'")),
        ("another namespace selector", global("namespaceSelector: \"!all()\", selector: «DG5001»has(a)")),
        ("a Kubernetes policy", kubernetes("podSelector: «DG5001»{matchLabels: {a: x}, matchExpressions: [{key: a, operator: DoesNotExist}]}")),
        ("a source", ingress("{action: Allow, source: {selector: «DG5001»\"!has(a) && a == 'x'\"}}")),
        ("a source beside what it is not", ingress("{action: Allow, source: {selector: «DG5001»a == 'x', notSelector: has(a)}}")),
        ("a source without the label", ingress("{action: Deny, source: {selector: \"!has(a)\"}}")),
        ("no container, but a network set", global("selector: a == 'x', ingress: [{action: Allow, source: {selector: \"!has(projectcalico.org/orchestrator)\"}}]")),
        ("a source of Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: «DG5001»{matchLabels: {a: x}, matchExpressions: [{key: a, operator: NotIn, values: [x]}]}}, {podSelector: {}}]}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn selectors_that_match_nothing_here() {
    check_in(&shop(), [
        ("a misspelt value", policy("selector: «DG5002»app == 'wbe'")),
        ("a value", policy("selector: app == 'web'")),
        ("a container out of reach is one all the same", calico("NetworkPolicy", "name: p, namespace: home", "selector: app == 'camera', types: [Egress]").replace("apiVersion: proj", "«DG3105»apiVersion: proj")),
        ("a namespace without containers", calico("NetworkPolicy", "name: p, namespace: «DG5002»shpo", "")),
        ("a namespace without containers is told once", calico("NetworkPolicy", "name: p, namespace: «DG5002»shpo", "ingress: [{action: Allow, source: {selector: app == 'web'}}]")),
        ("a container of another namespace", policy("selector: «DG5002»app == 'camera'")),
        ("a source", ingress("{action: Allow, source: {selector: «DG5002»app == 'wbe'}}")),
        ("a namespace", ingress("{action: Allow, source: {namespaceSelector: kubernetes.io/metadata.name == 'kube-system'}}").replace("kubernetes.io", "«DG5002»kubernetes.io")),
        ("another namespace", ingress("{action: Allow, source: {namespaceSelector: kubernetes.io/metadata.name == 'ops'}}")),
        ("a peer of Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {}}, {podSelector: «DG5002»{matchLabels: {app: wbe}}}]}]")),
        ("a namespace of Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {}, namespaceSelector: «DG5002»{matchLabels: {team: x}}}], ports: [{port: 80}, {port: 80, protocol: UDP}]}]")),
        ("a network set", calico("NetworkSet", "name: s, namespace: shop, labels: {app: office}", "nets: [203.0.113.0/24]") + &ingress("{action: Allow, source: {selector: app == 'office'}}")),
        ("a network set of another namespace", calico("NetworkSet", "name: s, namespace: ops, labels: {app: office}", "nets: [203.0.113.0/24]") + &ingress("{action: Allow, source: {selector: «DG5002»app == 'office'}}")),
        ("what is excluded", global("selector: app == 'web', ingress: [{action: Deny, source: {notSelector: «DG5002»app == 'wbe'}}]")),
    ]);
}

#[test]
fn what_there_is_of_a_label_is_told() {
    let help = |text: &str| {
        let found = findings(text, Some(&shop()));
        found.iter().map(|found| found.help.clone().unwrap_or_default()).collect::<Vec<_>>().join("; ")
    };
    let rows = [
        ("app == 'wbe'", "the values of `app` are `api`, `camera`, `db`, `web`"),
        ("aap == 'web'", "no container has the label `aap`"),
        ("app == 'web' && role == 'db'", "each part of it matches a container, but none matches all parts"),
    ];
    for (selector, expected) in rows {
        assert_eq!(help(&policy(&format!("selector: {selector}"))), expected, "{selector}");
    }
    assert_eq!(
        help(&calico("NetworkPolicy", "name: p, namespace: shpo", "")),
        "the namespaces are `home`, `ops`, `shop`"
    );
}

#[test]
fn a_network_set_out_of_scope_and_labels_of_namespaces_are_told_by_name() {
    let set = calico("GlobalNetworkSet", "name: office, labels: {net: office}", "nets: [203.0.113.0/24]");
    let found = findings(&(set + &ingress("{action: Allow, source: {selector: net == 'office'}}")), Some(&shop()));
    let [found] = &found[..] else { panic!("{found:#?}") };
    let help = found.help.as_deref().unwrap_or_default();
    assert!(help.starts_with("the GlobalNetworkSet `office` does, but"), "{help}");

    let found = findings(
        &ingress("{action: Allow, source: {namespaceSelector: projectcalico.org/name == 'shpo'}}"),
        Some(&shop()),
    );
    let [found] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(
        found.message,
        "no container and no network set matches `namespaceSelector: projectcalico.org/name == \"shpo\"`"
    );
}

#[test]
#[rustfmt::skip]
fn selectors_that_always_match() {
    check(None, [
        ("one value or not", policy("selector: «DG5003»a != 'x' || a == 'x'")),
        ("not one or not the other", policy("selector: «DG5003»a != 'x' || a != 'y'")),
        ("neither", policy("selector: a != 'x' && a != 'y'")),
        ("all, in so many words", policy("selector: all()")),
        ("all namespaces", global("namespaceSelector: all()")),
        ("beside something else", policy("selector: «DG5003»b == 'z' && (has(a) || !has(a))")),
        ("a source", ingress("{action: Deny, source: {selector: «DG5003»a != 'x' || a != 'y'}}")),
        ("two labels", ingress("{action: Deny, source: {selector: a != 'x' || b != 'y'}}")),
    ]);
}

#[test]
#[rustfmt::skip]
fn allow_rules_for_what_has_no_label() {
    let rule = |selector: &str| ingress(&format!("{{action: Allow, source: {{selector: {selector}}}}}"));
    check(None, [
        ("another value", rule("«DG5004»role != 'db'")),
        ("none of several", rule("«DG5004»\"role not in {'db', 'cache'}\"")),
        ("all others, in so many words", rule("\"!(role == 'db')\"")),
        ("the label is asked for", rule("has(role) && role != 'db'")),
        ("another label is asked for", rule("app == 'web' && role != 'db'")),
        ("without the label, in so many words", rule("\"!has(role)\"")),
        ("a label that every container has", rule("projectcalico.org/namespace != 'x'")),
        ("what denies", ingress("{action: Deny, source: {selector: role != 'db'}}")),
        ("what the policy selects", policy("selector: role != 'proxy', types: [Ingress]")),
        ("its own side", ingress("{action: Allow, destination: {selector: role != 'db'}}")),
        ("the side of an egress rule", egress("{action: Allow, destination: {selector: «DG5004»role != 'db'}}")),
        ("Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {a: x}}}, {podSelector: «DG5004»{matchExpressions: [{key: role, operator: NotIn, values: [db]}]}}]}]")),
    ]);
    check(Some(&shop()), [
        ("web has no role", rule("«DG5004»role != 'db'")),
        ("every container has an app", rule("app != 'db'")),
        ("not so in other namespaces", global("selector: app == 'web', ingress: [{action: Allow, source: {selector: «DG5004»app != 'db'}}]")),
    ]);
    let found = findings(&unmark(&rule("role != 'db'")).0, Some(&shop()));
    assert_eq!(found[0].message, "this also allows what has no label `role`: web@front");
}

#[test]
#[rustfmt::skip]
fn allow_rules_for_strangers() {
    let rule = |action: &str, source: &str| global(&format!("ingress: [{{action: {action}, source: {{{source}}}}}]"));
    check(None, [
        ("all but one", rule("Allow", "notSelector: «DG5005»app == 'x'")),
        ("all but one within blocks", rule("Allow", "notSelector: app == 'x', nets: [10.0.0.0/8]")),
        ("all but one of the known", rule("Allow", "selector: all(), notSelector: app == 'x'")),
        ("a policy of a namespace sees that only", ingress("{action: Allow, source: {notSelector: app == 'x', selector: has(app)}}")),
        ("what denies", rule("Deny", "notSelector: app == 'x'")),
    ]);
}

#[test]
#[rustfmt::skip]
fn peers_with_an_empty_condition() {
    let source = |source: &str| ingress(&format!("{{action: Allow, source: {{{source}}}}}"));
    check(None, [
        ("an empty selector", source("«DG5006»selector: ''")),
        ("a key with nothing behind it", source("«DG5006»selector: ")),
        ("a global policy", global("ingress: [{action: Allow, source: {«DG5006»selector: ''}}]")),
        ("no namespace", source("«DG5006»namespaceSelector: ''")),
        ("nothing is excluded", source("«DG5006»notSelector: ''")),
        ("told once", source("«DG5006»selector: '', namespaceSelector: ''")),
        ("the peer of an egress rule", egress("{action: Deny, destination: {«DG5006»selector: ''}}")),
        ("its own side", ingress("{action: Allow, destination: {selector: ''}}")),
        ("beside blocks", source("selector: '', nets: [10.0.0.0/8]")),
        ("an empty list of blocks", source("«DG5006»selector: '', nets: []")),
        ("beside a namespace", source("selector: '', namespaceSelector: kubernetes.io/metadata.name == 'ops'")),
        ("all that is known, in so many words", source("selector: all()")),
        ("every address, in so many words", ingress("{action: Allow}")),
        ("what the policy selects", policy("selector: '', types: [Ingress]")),
        ("a staged policy", source("«DG5006»selector: ''").replace("kind: Net", "kind: StagedNet")),
        ("Kubernetes", kubernetes("podSelector: {}, ingress: [{«DG5006»from: []}], egress: [{«DG5006»to: }]")),
        ("Kubernetes, one port", kubernetes("podSelector: {}, ingress: [{«DG5006»from: [], ports: [{port: 80}]}]")),
        ("Kubernetes, every container", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]")),
        ("Kubernetes, every address in so many words", kubernetes("podSelector: {}, ingress: [{}]")),
    ]);
}

#[test]
fn selectors_are_told_as_their_author_wrote_them() {
    let message = |text: &str| {
        let found = findings(text, Some(&shop()));
        found.iter().map(|found| found.message.clone()).collect::<Vec<_>>().join("; ")
    };
    let peer = |peer: &str| {
        message(&kubernetes(&format!("podSelector: {{matchLabels: {{app: web}}}}, ingress: [{{from: [{peer}]}}]")))
    };
    assert_eq!(
        message(&policy("selector: app == 'wbe'")),
        "the policy selects nothing: no container matches `app == \"wbe\"` in namespace `shop`"
    );
    assert_eq!(
        peer("{podSelector: {matchLabels: {app: wbe}}}"),
        "no container and no network set matches `app == \"wbe\"` in namespace `shop`"
    );
    assert_eq!(
        peer("{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: web}}}"),
        "no container and no network set matches `namespaceSelector: team == \"x\", selector: app == \"web\"`"
    );
    let own = "selector: app == 'web', ingress: [{action: Allow, \
               destination: {namespaceSelector: kubernetes.io/metadata.name == 'ops', selector: app == 'api'}}]";
    assert!(
        message(&policy(own))
            .ends_with("never `namespaceSelector: kubernetes.io/metadata.name == \"ops\", selector: app == \"api\"`"),
        "{}",
        message(&policy(own))
    );
}
