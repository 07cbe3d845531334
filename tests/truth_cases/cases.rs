//! The cases: policies, and what they allow and deny.

/// A case: its number, its policies, what is allowed and what is not.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) policies: &'static str,
    pub(crate) allowed: &'static [&'static str],
    pub(crate) denied: &'static [&'static str],
}

macro_rules! case {
    ($name:literal, $policies:expr, allow $allowed:expr, deny $denied:expr) => {
        Case { name: $name, policies: $policies, allowed: &$allowed, denied: &$denied }
    };
}

pub(crate) const CASES: &[Case] = &[
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
