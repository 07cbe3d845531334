use super::{assert_found, document, rule};
use crate::net::{Family, Protocol};
use crate::policy::{Icmp, Port, RuleAction};

/// Asserts what is found in a rule in flow style; `*` stands for the path of the rule.
fn assert_found_in_rule(name: &str, rule: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|told| told.replace('*', "spec.ingress[0]")).collect();
    let text = document("GlobalNetworkPolicy", None, &format!("{{ingress: [{rule}]}}"));
    assert_found(name, &text, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn rule_selectors_are_scoped_as_in_calico() {
    let of_a = "projectcalico.org/namespace == \"a\"";
    // Policy namespace, fields of the source, positive and negative selector.
    for (name, namespace, source, positive, negative) in [
        ("global, nothing", None, "{}", None, None),
        ("global, negative", None, "{notSelector: x == 'y'}", None, Some("x == \"y\"")),
        ("global, positive", None, "{selector: x == 'y'}", Some("x == \"y\"".to_owned()), None),
        ("global, everything known", None, "{selector: all()}", Some("all()".to_owned()), None),
        (
            "global, both",
            None,
            "{selector: x == 'y', notSelector: has(z)}",
            Some("(x == \"y\" && !has(z))".to_owned()),
            None,
        ),
        (
            "global, namespaces",
            None,
            "{namespaceSelector: env != 'prod'}",
            Some("pcns.env != \"prod\"".to_owned()),
            None,
        ),
        ("namespaced, nothing", Some("a"), "{}", None, None),
        (
            "namespaced, empty texts",
            Some("a"),
            "{selector: '', notSelector: '', namespaceSelector: '', nets: [10.0.0.0/8]}",
            None,
            None,
        ),
        ("namespaced, positive", Some("a"), "{selector: has(x)}", Some(format!("({of_a} && has(x))")), None),
        ("namespaced, everything known", Some("a"), "{selector: all()}", Some(of_a.to_owned()), None),
        (
            "namespaced, negative",
            Some("a"),
            "{notSelector: app == 'y'}",
            Some(format!("({of_a} && !app == \"y\")")),
            None,
        ),
        (
            "namespaced, all namespaces",
            Some("a"),
            "{namespaceSelector: all()}",
            Some("has(projectcalico.org/namespace)".to_owned()),
            None,
        ),
        (
            "namespaced, what has no namespace",
            Some("a"),
            "{namespaceSelector: global(), selector: app == 'x'}",
            Some("(!has(projectcalico.org/namespace) && app == \"x\")".to_owned()),
            None,
        ),
    ] {
        let source = rule("NetworkPolicy", namespace, &format!("{{action: Allow, source: {source}}}")).source;
        assert_eq!(source.selector.map(|selector| selector.to_string()), positive, "{name}");
        assert_eq!(source.not_selector.map(|selector| selector.to_string()).as_deref(), negative, "{name}");
    }
}

#[test]
fn rules_are_read_with_all_their_criteria() {
    let rule = rule(
        "GlobalNetworkPolicy",
        None,
        "{action: Deny, protocol: 6, notProtocol: UDP, ipVersion: 4, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}, \
         destination: {ports: [80, '443', '8000:8010', http], notPorts: [22]}}",
    );
    assert_eq!((rule.action, rule.index, rule.location.line), (RuleAction::Deny, 0, 4));
    assert_eq!((rule.protocol, rule.not_protocol), (Some(Protocol::TCP), Some(Protocol::UDP)));
    assert_eq!(rule.family, Some(Family::V4));
    let shown = |port: &Port| match port {
        Port::Range(range) => range.to_string(),
        Port::Named(name) => name.clone(),
    };
    assert_eq!(rule.destination.ports.iter().map(shown).collect::<Vec<_>>(), ["80", "443", "8000:8010", "http"]);
    assert_eq!(rule.source.nets[0].to_string(), "10.0.0.0/8");
}

#[test]
fn icmp_decides_the_family_by_name_and_by_number() {
    for (protocol, family) in
        [("ICMP", Family::V4), ("1", Family::V4), ("'1'", Family::V4), ("ICMPv6", Family::V6), ("58", Family::V6)]
    {
        let rule = rule(
            "NetworkPolicy",
            None,
            &format!("{{action: Allow, protocol: {protocol}, icmp: {{type: 8, code: 0}}}}"),
        );
        assert_eq!((rule.family, rule.protocol), (Some(family), Some(family.icmp())), "{protocol}");
        assert_eq!(rule.icmp, Some(Icmp { icmp_type: 8, code: Some(0) }));
    }
    assert_eq!(rule("NetworkPolicy", None, "{action: Allow, protocol: ICMP, icmp: {}}").icmp, None);
    assert_eq!(rule("NetworkPolicy", None, "{action: Allow, protocol: 47}").family, None);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for (name, rule, expected) in [
        ("lower-case protocol", "{action: Allow, protocol: §tcp}", vec!["DG3012 *.protocol"]),
        ("unknown protocol", "{action: Allow, protocol: §'256'}", vec!["DG3012 *.protocol"]),
        ("protocol 0", "{action: Allow, protocol: §0}", vec!["DG2008 *.protocol"]),
        ("port without protocol", "{action: Allow, source: {ports: [http, §80]}}", vec!["DG3014 *.source.ports[1]"]),
        (
            "port without protocol, beside another protocol that is excluded",
            "{action: Allow, notProtocol: UDP, destination: {notPorts: [§53]}}",
            vec!["DG3014 *.destination.notPorts[0]"],
        ),
        (
            "port of a protocol without ports",
            "{action: Allow, protocol: UDPLite, destination: {§ports: [http]}}",
            vec!["DG3015 *.destination.ports"],
        ),
        ("port 0", "{action: Allow, protocol: TCP, source: {ports: [§0]}}", vec!["DG2008 *.source.ports[0]"]),
        ("port 65536", "{action: Allow, protocol: TCP, source: {ports: [§65536]}}", vec!["DG2008 *.source.ports[0]"]),
        (
            "range in reverse",
            "{action: Allow, protocol: TCP, source: {ports: [§'9:8']}}",
            vec!["DG3013 *.source.ports[0]"],
        ),
        (
            "range with a dash",
            "{action: Allow, protocol: TCP, source: {ports: [§80-90]}}",
            vec!["DG3013 *.source.ports[0]"],
        ),
        ("port name", "{action: Allow, protocol: TCP, source: {ports: [§HTTP]}}", vec!["DG3013 *.source.ports[0]"]),
        ("ICMP without protocol", "{action: Allow, §icmp: {type: 8}}", vec!["DG3016 *.icmp"]),
        ("notICMP without protocol", "{action: Allow, §notICMP: {type: 8}}", vec!["DG3016 *.notICMP"]),
        ("ICMP of TCP", "{action: Allow, protocol: TCP, §icmp: {}}", vec!["DG3016 *.icmp"]),
        ("ICMP code alone", "{action: Allow, protocol: ICMP, icmp: §{code: 0}}", vec!["DG3017 *.icmp"]),
        ("ICMP of IPv6", "{action: Allow, protocol: ICMP, ipVersion: §6}", vec!["DG3018 *.ipVersion"]),
        ("not ICMPv6 of IPv4", "{action: Allow, notProtocol: 58, ipVersion: §4}", vec!["DG3018 *.ipVersion"]),
        ("IP version 5", "{action: Allow, ipVersion: §5}", vec!["DG2007 *.ipVersion"]),
        ("address alone", "{action: Allow, source: {nets: [§10.0.0.1]}}", vec!["DG3019 *.source.nets[0]"]),
        ("host bits", "{action: Allow, source: {nets: [§10.0.0.1/24]}}", vec!["DG3020 *.source.nets[0]"]),
        ("no block", "{action: Allow, source: {notNets: [§x]}}", vec!["DG3019 *.source.notNets[0]"]),
        (
            "both families",
            "{action: Allow, source: {nets: [10.0.0.0/8]}, destination: {nets: [§'2001:db8::/32']}}",
            vec!["DG3021 *.destination.nets[0]"],
        ),
        (
            "another family than stated",
            "{action: Allow, ipVersion: 6, source: {notNets: [§10.0.0.0/8]}}",
            vec!["DG3021 *.source.notNets[0]"],
        ),
        ("nothing left", "{action: Allow, source: {notNets: [§0.0.0.0/0]}}", vec!["DG3022 *.source.notNets[0]"]),
        ("nothing left of IPv6", "{action: Allow, source: {notNets: [§'::/0']}}", vec!["DG3022 *.source.notNets[0]"]),
        (
            "global() beside something",
            "{action: Allow, source: {namespaceSelector: §global() || has(x)}}",
            vec!["DG3011 *.source.namespaceSelector"],
        ),
        (
            "global() negated",
            "{action: Allow, source: {namespaceSelector: §'!global()'}}",
            vec!["DG3011 *.source.namespaceSelector"],
        ),
        ("global() as a selector", "{action: Allow, source: {selector: §global()}}", vec!["DG3011 *.source.selector"]),
        ("global() excluded", "{action: Allow, source: {notSelector: §global()}}", vec!["DG3011 *.source.notSelector"]),
        (
            "annotation key",
            "{action: Allow, metadata: {annotations: {§'a b': x}}}",
            vec!["DG3004 *.metadata.annotations[\"a b\"]"],
        ),
        (
            "several at once",
            "{action: Allow, protocol: §tcp, source: {nets: [§x], selector: a§, ports: [§0:1]}}",
            vec![
                "DG3012 *.protocol",
                "DG3019 *.source.nets[0]",
                "DG3010 *.source.selector",
                "DG3013 *.source.ports[0]",
            ],
        ),
    ] {
        assert_found_in_rule(name, rule, &expected);
    }
}

#[test]
fn rules_at_the_edge_are_accepted() {
    for rule in [
        "{action: Allow, source: {ports: [http]}}",
        "{action: Allow, protocol: TCP, destination: {notPorts: [nosuchname]}}",
        "{action: Allow, protocol: 132, destination: {ports: [1, 65535]}}",
        "{action: Allow, protocol: UDPLite, destination: {ports: []}}",
        "{action: Log, protocol: 255}",
        "{action: Allow, protocol: ICMPv6, notICMP: {type: 254, code: 255}}",
        "{action: Pass, source: {nets: [0.0.0.0/0]}}",
        "{action: Allow, source: {namespaceSelector: 'global( )'}}",
        "{action: Allow, metadata: {annotations: {Example.COM/Key: x}}}",
        "{action: Allow, source: {selector: 'has(x)\n'}}",
    ] {
        assert_found_in_rule("at the edge", rule, &[]);
    }
}
