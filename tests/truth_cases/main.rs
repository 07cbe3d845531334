//! The micro truth cases of Calico's semantics, from YAML to verdict.
//!
//! The world: namespace a (env=prod) with w1 (app=x) and w2 (app=y), namespace b with w3 (app=x); NetworkSet a/ns1
//! (app=x) 10.9.0.0/24; GlobalNetworkSet g1 (app=x) 10.8.0.0/24; an outside address. Host endpoints do not exist in
//! dockgate, so the h1 of the cases has no row here.

mod cases;

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::inventory::{Attachment, Container, ContainerId, Inventory, Network, NetworkId};
use dockgate::net::{InterfaceName, Protocol};
use dockgate::policy::{Loaded, SourceFile, load};
use dockgate::ruleset::{Action, Hook};
use dockgate::verdict::{Decision, Packet, Verdict, evaluate};

use cases::CASES;

const SETS: &str = r"
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: ns1, namespace: a, labels: {app: x}}
spec: {nets: [10.9.0.0/24]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: g1, labels: {app: x}}
spec: {nets: [10.8.0.0/24]}
";

fn container(name: &str, namespace: &str, app: &str, ports: &str, address: &str) -> Container {
    let labels = [("app", app), ("dockgate.io/ports", ports), ("projectcalico.org/namespace", namespace)];
    Container {
        id: ContainerId(name.into()),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
        attachments: vec![Attachment {
            network: NetworkId("net".into()),
            endpoint_id: format!("endpoint-{name}").into(),
            ipv4: Some(address.parse().expect("address")),
            ipv6: None,
            mac: None,
        }],
        unenforceable: None,
        published: vec![],
        listed: true,
        judged: std::collections::BTreeSet::new(),
        stated_namespace: None,
    }
}

fn bridge() -> InterfaceName {
    "br-net".parse().expect("interface name")
}

fn inventory() -> Inventory {
    let network = Network {
        id: NetworkId("net".into()),
        name: "net".to_owned(),
        driver: "bridge".to_owned(),
        bridge: Some(bridge()),
        subnets: vec!["172.18.0.0/16".parse().expect("subnet")],
        gateways: vec!["172.18.0.1".parse().expect("gateway")],
        internal: false,
    };
    let containers = [
        container("w1", "a", "x", "http=80/tcp", "172.18.0.2"),
        container("w2", "a", "y", "", "172.18.0.3"),
        container("w3", "b", "x", "http=8000/tcp", "172.18.0.4"),
    ];
    let prod = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    Inventory {
        networks: BTreeMap::from([(network.id.clone(), network)]),
        containers: containers.into_iter().map(|container| (container.id.clone(), container)).collect(),
        namespaces: BTreeMap::from([("a".to_owned(), prod), ("b".to_owned(), BTreeMap::new())]),
        ..Inventory::default()
    }
}

fn address(name: &str) -> IpAddr {
    let text = match name {
        "w1" => "172.18.0.2",
        "w2" => "172.18.0.3",
        "w3" => "172.18.0.4",
        "ns1" => "10.9.0.9",
        "g1" => "10.8.0.8",
        "ext" => "203.0.113.5",
        other => other,
    };
    text.parse().unwrap_or_else(|_| panic!("no such party: {name}"))
}

fn read(policies: &str) -> Loaded {
    load(&[SourceFile::new("case.yaml", format!("{SETS}---\n{policies}"))])
}

/// Loads the policies of a case, which must be free of errors.
fn compiled(case: &str, policies: &str) -> Compiled {
    let loaded = read(policies);
    let errors: Vec<_> =
        loaded.diagnostics.iter().filter(|d| d.severity == dockgate::policy::Severity::Error).collect();
    assert!(errors.is_empty(), "case {case}: {errors:#?}");
    compile(&loaded.policies, &inventory(), &Options::default())
}

/// `FROM > TO : PORT/PROTOCOL`, e.g. `w1 > w2 : 80/TCP`.
fn judge(compiled: &Compiled, flow: &str) -> Verdict {
    let (parties, service) = flow.split_once(" : ").expect("`FROM > TO : PORT/PROTOCOL`");
    let (from, to) = parties.split_once(" > ").expect("`FROM > TO`");
    let (port, protocol) = service.split_once('/').expect("`PORT/PROTOCOL`");
    let source = address(from);
    let destination = address(to);
    let on_network = |address: IpAddr| match address {
        IpAddr::V4(v4) if v4.octets()[0] == 172 => Some(bridge()),
        _ => None,
    };
    let protocol: Protocol = protocol.parse().expect("protocol");
    let packet = Packet {
        hook: Hook::Forward,
        in_interface: on_network(source),
        out_interface: on_network(destination),
        source,
        destination,
        protocol,
        source_port: protocol.has_ports().then_some(40_000),
        destination_port: protocol.has_ports().then(|| port.parse().expect("port")),
        icmp: (protocol == Protocol::ICMP).then_some((8, 0)),
    };
    evaluate(&compiled.ruleset, &packet)
}

#[test]
fn every_case_has_its_verdicts() {
    let mut wrong = Vec::new();
    for case in CASES {
        let compiled = compiled(case.name, case.policies);
        let expected = case.allowed.iter().map(|flow| (flow, Decision::Allow));
        for (flow, decision) in expected.chain(case.denied.iter().map(|flow| (flow, Decision::Deny))) {
            let verdict = judge(&compiled, flow);
            if verdict.decision != decision {
                wrong.push(format!("case {}\n  {flow}: expected {decision:?}\n  {:#?}", case.name, verdict.trace));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_verdict_names_policy_rule_file_and_line() {
    let compiled = compiled("17b", CASES.iter().find(|case| case.name.starts_with("20 ")).expect("case 20").policies);
    let verdict = judge(&compiled, "w2 > w1 : 54/UDP");
    let origin = &compiled.origins[&verdict.trace.last().expect("a deciding rule").comment];
    assert_eq!(origin.policy.to_string(), "a/p");
    assert_eq!(origin.rule, Some(0));
    let lines: Vec<_> = SETS.lines().chain(["---"]).collect();
    assert_eq!(origin.location.to_string(), format!("case.yaml:{}:7", lines.len() + 8));
}

#[test]
fn log_is_met_before_what_follows_it() {
    for (name, last) in [("17a", Action::Return), ("17b", Action::Drop)] {
        let case = CASES.iter().find(|case| case.name.starts_with(name)).expect("case");
        let verdict = judge(&compiled(name, case.policies), "w2 > w1 : 80/TCP");
        let actions: Vec<_> = verdict.trace.iter().map(|hit| &hit.action).collect();
        let [.., before, end] = actions.as_slice() else { panic!("{name}: {actions:?}") };
        assert!(matches!(before, Action::Log { .. }), "{name}: {actions:?}");
        assert_eq!(**end, last, "{name}");
    }
}

/// Cases 24, 25, 32 (last part), 33 and 35: what must not load, and what must.
#[test]
fn what_is_refused_and_what_is_not() {
    let in_source = |source: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: p}}\nspec:\n  ingress:\n  \
             - action: Allow\n    source: {source}\n"
        )
    };
    let selector = |text: &str| in_source(&format!("{{selector: {text:?}}}"));
    let rows = [
        ("24 bare address in a rule", in_source("{nets: [10.0.0.1]}"), false),
        (
            "24 bare address in a set",
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: s}\nspec: {nets: [10.0.0.1]}\n"
                .to_owned(),
            true,
        ),
        ("25 mixed families", in_source("{nets: [10.0.0.0/8]}\n    destination: {nets: ['2001:db8::/32']}"), false),
        ("32 leading comma", selector("a in {,}"), false),
        ("33 blank before parenthesis", selector("has (a)"), false),
        ("33 single equals sign", selector("a = \"b\""), false),
        ("33 bare word", selector("a == b"), false),
        ("33 newline inside", selector("a ==\n\"b\""), false),
        ("35 key of 512 bytes", selector(&format!("has({})", "k".repeat(512))), true),
        ("35 key of 513 bytes", selector(&format!("has({})", "k".repeat(513))), false),
    ];
    for (name, yaml, valid) in rows {
        let errors = read(&yaml)
            .diagnostics
            .into_iter()
            .filter(|d| d.severity == dockgate::policy::Severity::Error)
            .collect::<Vec<_>>();
        assert_eq!(errors.is_empty(), valid, "{name}: {errors:#?}");
    }
}
