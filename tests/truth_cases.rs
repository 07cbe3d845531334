//! The micro truth cases of Calico's semantics, from YAML to verdict.
//!
//! The world: namespace a (env=prod) with w1 (app=x) and w2 (app=y), namespace b with w3 (app=x); NetworkSet a/ns1
//! (app=x) 10.9.0.0/24; GlobalNetworkSet g1 (app=x) 10.8.0.0/24; an outside address. Host endpoints do not exist in
//! dockgate, so the h1 of the cases has no row here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::inventory::{Attachment, Container, ContainerId, Inventory, Network, NetworkId};
use dockgate::net::{InterfaceName, Protocol};
use dockgate::policy::{Loaded, SourceFile, load};
use dockgate::ruleset::{Action, Hook};
use dockgate::verdict::{Decision, Packet, Verdict, evaluate};

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
        id: ContainerId(name.to_owned()),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        attachments: vec![Attachment {
            network: NetworkId("net".to_owned()),
            endpoint_id: format!("endpoint-{name}"),
            ipv4: Some(address.parse().expect("address")),
            ipv6: None,
            mac: None,
        }],
        unenforceable: None,
        published: vec![],
        stated_namespace: None,
    }
}

fn bridge() -> InterfaceName {
    "br-net".parse().expect("interface name")
}

fn inventory() -> Inventory {
    let network = Network {
        id: NetworkId("net".to_owned()),
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

/// A case: its number, its policies, what is allowed and what is not.
struct Case {
    name: &'static str,
    policies: &'static str,
    allowed: &'static [&'static str],
    denied: &'static [&'static str],
}

macro_rules! case {
    ($name:literal, $policies:expr, allow $allowed:expr, deny $denied:expr) => {
        Case { name: $name, policies: $policies, allowed: &$allowed, denied: &$denied }
    };
}

const CASES: &[Case] = &[
    case!("1 neither rules nor types: ingress closed, egress open, others untouched",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x'}
",
        allow ["w1 > w2 : 80/TCP", "w1 > ext : 80/TCP", "ext > w2 : 80/TCP", "w1 > w3 : 80/TCP", "ext > w3 : 80/TCP"],
        deny ["w2 > w1 : 80/TCP", "w3 > w1 : 80/TCP", "ext > w1 : 80/TCP", "ns1 > w1 : 0/ICMP"]),
    case!("2 only egress rules: ingress untouched",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', egress: [{action: Allow}]}
",
        allow ["ext > w1 : 80/TCP", "w2 > w1 : 80/TCP", "w1 > ext : 443/TCP", "w1 > w3 : 53/UDP"],
        deny []),
    case!("3 both types, no rules: both directions closed",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', types: [Ingress, Egress]}
",
        allow ["w2 > w3 : 80/TCP"],
        deny ["w1 > w2 : 80/TCP", "w1 > ext : 80/TCP", "w2 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("4 selector all() in a namespaced policy: the namespace's endpoints and sets only",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Allow, source: {selector: all()}}]}
",
        allow ["w2 > w1 : 80/TCP", "ns1 > w1 : 80/TCP"],
        deny ["w3 > w1 : 80/TCP", "g1 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("5 empty source: everything",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Allow}]}
",
        allow ["w2 > w1 : 80/TCP", "w3 > w1 : 80/TCP", "g1 > w1 : 80/TCP", "ext > w1 : 80/TCP"],
        deny []),
    case!("6 namespaceSelector all(): endpoints and sets of every namespace, nothing global",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Allow, source: {namespaceSelector: all()}}]}
",
        allow ["w2 > w1 : 80/TCP", "w3 > w1 : 80/TCP", "ns1 > w1 : 80/TCP"],
        deny ["g1 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("7 namespaceSelector global(): global sets only",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec:
  selector: app == 'x'
  ingress: [{action: Allow, source: {namespaceSelector: global(), selector: app == 'x'}}]
",
        allow ["g1 > w1 : 80/TCP"],
        deny ["w2 > w1 : 80/TCP", "w3 > w1 : 80/TCP", "ns1 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("8 notSelector alone in a namespaced policy: own namespace implied",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {ingress: [{action: Allow, source: {notSelector: app == 'y'}}]}
",
        allow ["w1 > w2 : 80/TCP", "ns1 > w1 : 80/TCP"],
        deny ["w2 > w1 : 80/TCP", "w3 > w1 : 80/TCP", "g1 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("9 notSelector alone in a global policy: everything else, outside included",
        r"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {ingress: [{action: Allow, source: {notSelector: app == 'y'}}]}
",
        allow ["w1 > w2 : 80/TCP", "w3 > w1 : 80/TCP", "ns1 > w1 : 80/TCP", "g1 > w1 : 80/TCP", "ext > w1 : 80/TCP"],
        deny ["w2 > w1 : 80/TCP", "w2 > w3 : 80/TCP"]),
    case!("10 negated selector in a global policy: known endpoints and sets only",
        r#"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {ingress: [{action: Allow, source: {selector: "!(app=='y')"}}]}
"#,
        allow ["w1 > w2 : 80/TCP", "w3 > w1 : 80/TCP", "ns1 > w1 : 80/TCP", "g1 > w1 : 80/TCP"],
        deny ["w2 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("11 a missing namespace label counts as different",
        r"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {ingress: [{action: Allow, source: {namespaceSelector: env != 'prod'}}]}
",
        allow ["w3 > w1 : 80/TCP", "g1 > w1 : 80/TCP"],
        deny ["w1 > w2 : 80/TCP", "w2 > w1 : 80/TCP", "ns1 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("12 an empty selector in a global policy selects every endpoint",
        r"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {types: [Ingress]}
",
        allow ["w1 > ext : 80/TCP"],
        deny ["w1 > w2 : 80/TCP", "w1 > w3 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!(
        "13 the end of a tier with default Deny decides",
        r"
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: t1}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: t1.first}
spec:
  tier: t1
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: second}
spec:
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]
",
        allow["w2 > w1 : 80/TCP"],
        deny["w2 > w1 : 443/TCP"]
    ),
    case!("14 a tier with default Pass hands on",
        r"
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: t1}
spec: {order: 10, defaultAction: Pass}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: t1.first}
spec:
  tier: t1
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: second}
spec:
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]
",
        allow ["w2 > w1 : 80/TCP", "w2 > w1 : 443/TCP"],
        deny ["w2 > w1 : 81/TCP"]),
    case!("15 a tier with staged policies only is not there",
        r"
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: t1}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: t1.staged}
spec: {tier: t1, selector: dockgate.io/container == 'w1', ingress: [{action: Deny}]}
",
        allow ["w2 > w1 : 80/TCP", "ext > w1 : 443/TCP"],
        deny []),
    case!(
        "16 Pass skips the rest of its tier",
        r"
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: t1}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: t1.pass}
spec:
  tier: t1
  order: 1
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Pass, protocol: TCP, destination: {ports: [443]}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: t1.deny}
spec:
  tier: t1
  order: 2
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [443]}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: last}
spec:
  selector: dockgate.io/container == 'w1'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]
",
        allow["w2 > w1 : 443/TCP"],
        deny["w2 > w1 : 80/TCP"]
    ),
    case!("17a Log before Allow",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Log}, {action: Allow}]}
",
        allow ["w2 > w1 : 80/TCP"],
        deny []),
    case!("17b Log alone",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Log}]}
",
        allow [],
        deny ["w2 > w1 : 80/TCP"]),
    case!(
        "18 of two policies without order, a-b comes before a",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: a, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Deny}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: a-b, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
",
        allow["w2 > w1 : 80/TCP"],
        deny["w2 > w1 : 81/TCP"]
    ),
    case!("19 orders -1, 0.5, absent",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: absent, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Deny}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: half, namespace: a}
spec: {order: 0.5, selector: app == 'x', ingress: [{action: Allow, protocol: TCP, destination: {ports: ['80:81']}}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: minus, namespace: a}
spec: {order: -1, selector: app == 'x', ingress: [{action: Deny, protocol: TCP, destination: {ports: [80]}}]}
",
        allow ["w2 > w1 : 81/TCP"],
        deny ["w2 > w1 : 80/TCP", "w2 > w1 : 82/TCP"]),
    case!("20 Deny UDP except port 53",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec:
  selector: app == 'x'
  ingress:
    - {action: Deny, protocol: UDP, destination: {notPorts: [53]}}
    - {action: Allow}
",
        allow ["w2 > w1 : 53/UDP", "w2 > w1 : 80/TCP", "w2 > w1 : 0/ICMP"],
        deny ["w2 > w1 : 54/UDP"]),
    case!("21 a named port is each endpoint's own",
        r"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec:
  ingress: [{action: Allow, protocol: TCP, destination: {selector: app == 'x', ports: [http, 8080]}}]
",
        allow ["w2 > w1 : 80/TCP", "w2 > w1 : 8080/TCP", "w2 > w3 : 8000/TCP", "w2 > w3 : 8080/TCP"],
        deny ["w2 > w1 : 8000/TCP", "w2 > w3 : 80/TCP", "w1 > w2 : 8080/TCP"]),
    case!("22 notPorts with a name that nobody declares matches everything",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Allow, protocol: TCP, destination: {notPorts: [nosuchname]}}]}
",
        allow ["w2 > w1 : 1/TCP", "w2 > w1 : 80/TCP"],
        deny ["w2 > w1 : 80/UDP"]),
    case!("23 nets and notNets",
        r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {selector: app == 'x', ingress: [{action: Allow, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}}]}
",
        allow ["10.2.3.4 > w1 : 80/TCP"],
        deny ["10.1.2.3 > w1 : 80/TCP", "11.0.0.1 > w1 : 80/TCP"]),
    case!("26 Kubernetes policy without policyTypes, with egress rules: both directions",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec:
  podSelector: {matchLabels: {app: x}}
  egress: [{ports: [{protocol: UDP, port: 53}]}]
",
        allow ["w1 > ext : 53/UDP"],
        deny ["w1 > ext : 80/TCP", "w2 > w1 : 80/TCP"]),
    case!("27a Kubernetes ingress [{}]: allow all",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {}, ingress: [{}]}
",
        allow ["ext > w1 : 80/TCP", "w3 > w2 : 1/UDP"],
        deny []),
    case!("27b Kubernetes ingress []: deny all",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {}, ingress: []}
",
        allow ["w1 > ext : 80/TCP", "ext > w3 : 80/TCP"],
        deny ["ext > w1 : 80/TCP", "w1 > w2 : 80/TCP"]),
    case!("27c Kubernetes ingress absent: deny all",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {}}
",
        allow ["w1 > ext : 80/TCP"],
        deny ["ext > w1 : 80/TCP", "w1 > w2 : 80/TCP"]),
    case!("28 Kubernetes ports [{}]: all TCP only",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {}, ingress: [{ports: [{}]}]}
",
        allow ["ext > w1 : 80/TCP", "ext > w1 : 65535/TCP"],
        deny ["ext > w1 : 53/UDP", "ext > w1 : 0/ICMP"]),
    case!("29 Kubernetes port without a number absorbs its protocol's ports",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}, {protocol: TCP}]}]}
",
        allow ["ext > w1 : 80/TCP", "ext > w1 : 81/TCP"],
        deny ["ext > w1 : 80/UDP"]),
    case!("30 Kubernetes podSelector {}: containers of the own namespace only",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {matchLabels: {app: x}}, ingress: [{from: [{podSelector: {}}]}]}
",
        allow ["w2 > w1 : 80/TCP"],
        deny ["w3 > w1 : 80/TCP", "ns1 > w1 : 80/TCP", "g1 > w1 : 80/TCP", "ext > w1 : 80/TCP"]),
    case!("31 two Kubernetes policies: their union",
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all, namespace: a}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-w2, namespace: a}
spec: {podSelector: {matchLabels: {app: x}}, ingress: [{from: [{podSelector: {matchLabels: {app: 'y'}}}]}]}
",
        allow ["w2 > w1 : 80/TCP"],
        deny ["w1 > w2 : 80/TCP", "w3 > w1 : 80/TCP"]),
    case!("32 a trailing comma in a set is legal, an empty set never matches",
        r#"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {selector: 'app in {"x",}', ingress: [{action: Allow, source: {selector: 'app in {}'}}]}
"#,
        allow ["w1 > w2 : 80/TCP"],
        deny ["w2 > w1 : 80/TCP", "w1 > w3 : 80/TCP"]),
    case!("34 the inversion binds to one comparison",
        r#"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {selector: '!app == "x" && projectcalico.org/namespace == "a"'}
"#,
        allow ["w2 > w1 : 80/TCP", "w1 > w3 : 80/TCP"],
        deny ["w1 > w2 : 80/TCP"]),
];

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
