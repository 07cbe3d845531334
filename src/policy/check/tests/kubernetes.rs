use super::{assert_found, document, governed, loaded, policy};
use crate::policy::Direction::{self, Egress, Ingress};
use crate::policy::{Peer, Policy, Port};

fn kubernetes(namespace: Option<&str>, spec: &str) -> Policy {
    policy(&document("kubernetes", namespace, spec))
}

/// A peer in words.
fn shown(peer: &Peer) -> String {
    let nets =
        |sign: &str, nets: &[crate::net::Cidr]| nets.iter().map(|net| format!("{sign}{net}")).collect::<Vec<_>>();
    let port = |port: &Port| match port {
        Port::Range(range) => format!(":{range}"),
        Port::Named(name) => format!(":{name}"),
    };
    let mut parts: Vec<String> = peer.selector.iter().map(ToString::to_string).collect();
    parts.extend(nets("", &peer.nets));
    parts.extend(nets("-", &peer.not_nets));
    parts.extend(peer.ports.iter().map(port));
    parts.join(" ")
}

/// `INDEX PROTOCOL SOURCE > DESTINATION` of each rule of a direction.
fn rules(policy: &Policy, direction: Direction) -> Vec<String> {
    let rules = policy.rules(direction).expect("the direction is governed");
    rules
        .iter()
        .map(|rule| {
            let protocol = rule.protocol.map_or_else(|| "any".to_owned(), |protocol| protocol.to_string());
            format!("{} {protocol} {} > {}", rule.index, shown(&rule.source), shown(&rule.destination))
        })
        .collect()
}

const CONTAINER: &str = "projectcalico.org/orchestrator == \"docker\"";

#[test]
fn policy_types_default_as_in_kubernetes() {
    for (name, spec, expected) in [
        ("nothing", "{podSelector: {}}", vec![(Ingress, 0)]),
        ("egress rules", "{podSelector: {}, egress: [{}]}", vec![(Ingress, 0), (Egress, 1)]),
        ("no egress rules", "{podSelector: {}, egress: []}", vec![(Ingress, 0)]),
        ("allow all", "{podSelector: {}, ingress: [{}]}", vec![(Ingress, 1)]),
        ("deny all", "{podSelector: {}, ingress: []}", vec![(Ingress, 0)]),
        ("stated", "{podSelector: {}, policyTypes: [Egress]}", vec![(Egress, 0)]),
    ] {
        assert_eq!(governed(&kubernetes(Some("a"), spec)), expected, "{name}");
    }
}

#[test]
fn a_policy_lies_in_the_default_tier_at_order_1000() {
    let policy = kubernetes(Some("a"), "{podSelector: {matchLabels: {app: db}}}");
    assert_eq!((policy.tier.as_str(), policy.order.0), ("default", Some(1000.0)));
    let expected = format!("({CONTAINER} && app == \"db\" && projectcalico.org/namespace == \"a\")");
    assert_eq!(policy.selector.to_string(), expected);
    assert_eq!(kubernetes(None, "{}").selector.to_string(), CONTAINER);
}

#[test]
fn peers_are_containers_namespaces_or_blocks() {
    let of_a = "projectcalico.org/namespace == \"a\"";
    for (name, peer, expected) in [
        ("own namespace", "{podSelector: {}}", format!("({of_a} && {CONTAINER})")),
        ("every namespace", "{namespaceSelector: {}}", format!("(has(projectcalico.org/namespace) && {CONTAINER})")),
        (
            "both",
            "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}, podSelector: {matchLabels: {x: y}}}",
            format!("(pcns.kubernetes.io/metadata.name == \"b\" && {CONTAINER} && x == \"y\")"),
        ),
        (
            "expressions",
            "{podSelector: {matchExpressions: [{key: a, operator: In, values: [y, x]}, {key: b, operator: NotIn, values: [z]}, \
             {key: c, operator: Exists}, {key: d, operator: DoesNotExist}]}}",
            format!("({of_a} && {CONTAINER} && a in {{\"x\", \"y\"}} && b not in {{\"z\"}} && has(c) && !has(d))"),
        ),
        ("block", "{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}", "10.0.0.0/8 -10.1.0.0/16".to_owned()),
    ] {
        let policy = kubernetes(Some("a"), &format!("{{ingress: [{{from: [{peer}]}}]}}"));
        assert_eq!(rules(&policy, Ingress), [format!("0 any {expected} > ")], "{name}");
    }
}

#[test]
fn host_bits_of_a_block_are_cleared_with_a_warning() {
    let block = "{ipBlock: {cidr: §10.0.0.7/8, except: [10.1.0.0/16, §10.2.3.4/16]}}";
    let text = document("kubernetes", Some("a"), &format!("{{ingress: [{{from: [{block}]}}]}}"));
    let field = "spec.ingress[0].from[0].ipBlock";
    assert_found("block", &text, &[&format!("DG5031 {field}.cidr"), &format!("DG5031 {field}.except[1]")]);
    let policy = &loaded(&text.replace('§', "")).policies.policies[0];
    assert_eq!(rules(policy, Ingress), ["0 any 10.0.0.0/8 -10.1.0.0/16 -10.2.0.0/16 > "]);
}

#[test]
fn ports_become_one_rule_for_each_protocol_and_peer() {
    for (name, ports, expected) in [
        ("nothing", "[]", vec!["0 any  > "]),
        ("an entry without a field", "[{}]", vec!["0 TCP  > "]),
        ("a whole protocol", "[{port: 80}, {protocol: TCP}]", vec!["0 TCP  > "]),
        ("a range", "[{port: 80, endPort: 90}]", vec!["0 TCP  > :80:90"]),
        ("two protocols", "[{port: 53}, {port: 53, protocol: UDP}]", vec!["0 TCP  > :53", "0 UDP  > :53"]),
        (
            "many",
            "[{port: 81, endPort: 90}, {port: 4}, {port: 2}, {port: foo}, {port: 80, endPort: 81}, {port: 3}, {port: 1}, \
             {port: 9090}, {port: http}, {port: '443'}]",
            vec!["0 TCP  > :foo :http :1:4 :80:90 :443 :9090"],
        ),
    ] {
        assert_eq!(
            rules(&kubernetes(None, &format!("{{ingress: [{{ports: {ports}}}]}}")), Ingress),
            expected,
            "{name}"
        );
    }
    let policy = kubernetes(
        None,
        "{egress: [{}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 11.0.0.0/8}}], ports: [{port: 1}, {protocol: UDP}]}]}",
    );
    let expected =
        ["0 any  > ", "1 TCP  > 10.0.0.0/8 :1", "1 TCP  > 11.0.0.0/8 :1", "1 UDP  > 10.0.0.0/8", "1 UDP  > 11.0.0.0/8"];
    assert_eq!(rules(&policy, Egress), expected);
}

#[test]
fn rules_that_kubernetes_refuses_are_refused() {
    for (name, rule, expected) in [
        ("empty peer", "{from: [§{}]}", "DG3023 *.from[0]"),
        ("peer of null", "{from: [§{podSelector: ~}]}", "DG3023 *.from[0]"),
        (
            "block beside a selector",
            "{from: [{podSelector: {}, §ipBlock: {cidr: 10.0.0.0/8}}]}",
            "DG3023 *.from[0].ipBlock",
        ),
        ("block without length", "{from: [{ipBlock: {cidr: §10.0.0.1}}]}", "DG3019 *.from[0].ipBlock.cidr"),
        ("no block", "{from: [{ipBlock: {cidr: §x, except: [10.0.0.0/8]}}]}", "DG3019 *.from[0].ipBlock.cidr"),
        (
            "hole outside",
            "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [§11.0.0.0/16]}}]}",
            "DG3024 *.from[0].ipBlock.except[0]",
        ),
        (
            "hole as large",
            "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [§10.0.0.0/8]}}]}",
            "DG3024 *.from[0].ipBlock.except[0]",
        ),
        (
            "hole of the other family",
            "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [§'::/96']}}]}",
            "DG3024 *.from[0].ipBlock.except[0]",
        ),
        ("port 0", "{ports: [{port: §'0'}]}", "DG3013 *.ports[0].port"),
        ("range as text", "{ports: [{port: §'1:2'}]}", "DG3013 *.ports[0].port"),
        ("end of a name", "{ports: [{port: http, endPort: §90}]}", "DG3025 *.ports[0].endPort"),
        ("end without a port", "{ports: [{endPort: §90}]}", "DG3025 *.ports[0].endPort"),
        ("end below the port", "{ports: [{port: 90, endPort: §80}]}", "DG3025 *.ports[0].endPort"),
        ("protocol in lower case", "{ports: [{protocol: §tcp}]}", "DG2007 *.ports[0].protocol"),
        (
            "In without values",
            "{from: [{podSelector: {matchExpressions: [§{key: a, operator: In}]}}]}",
            "DG3026 *.from[0].podSelector.matchExpressions[0]",
        ),
        (
            "Exists with values",
            "{from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: §[b]}]}}]}",
            "DG3026 *.from[0].podSelector.matchExpressions[0].values",
        ),
        (
            "key",
            "{from: [{podSelector: {matchLabels: {§'a b': c}}}]}",
            "DG3003 *.from[0].podSelector.matchLabels[\"a b\"]",
        ),
    ] {
        let expected = expected.replace('*', "spec.ingress[0]");
        assert_found(name, &document("kubernetes", Some("a"), &format!("{{ingress: [{rule}]}}")), &[&expected]);
    }
}
