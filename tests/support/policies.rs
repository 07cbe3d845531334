//! Random but valid policies, every rule feature among them, from a seed.
//!
//! What makes classes of endpoints alike is common here: several policies on overlapping selectors, policies without
//! rules (Kubernetes' default deny among them), and policies with rules of one IP version only.
//!
//! Input: a seed. Output: the text of a policy file for the world of three networks (n1, n2, n3), the namespaces a and
//! b, the labels app and role, and the named ports http (tcp) and dns (udp). The same seed gives the same text.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

/// Subnets of the world, IPv4 and IPv6, by network.
pub(crate) const SUBNETS: [(&str, &str, &str); 3] = [
    ("n1", "10.101.0.0/24", "2001:db8:101::/64"),
    ("n2", "10.102.0.0/24", "2001:db8:102::/64"),
    ("n3", "10.103.0.0/24", "2001:db8:103::/64"),
];

const NETS_V4: [&str; 8] = [
    "10.101.0.0/24",
    "10.102.0.0/24",
    "10.101.0.10/32",
    "10.102.0.20/32",
    "10.101.0.8/30",
    "203.0.113.0/24",
    "0.0.0.0/0",
    "10.96.0.0/12",
];
const NETS_V6: [&str; 7] = [
    "2001:db8:101::/64",
    "2001:db8:102::/64",
    "2001:db8:101::10/128",
    "2001:db8:102::20/128",
    "2001:db8:1::/64",
    "::/0",
    "2001:db8::/32",
];
const SELECTORS: [&str; 12] = [
    "app == 'x'",
    "app == 'y'",
    "app in {'x', 'y'}",
    "app not in {'x'}",
    "!has(role)",
    "has(role)",
    "all()",
    "app != 'x' || role == 'db'",
    "role == 'db' && app contains 'x'",
    "dockgate.io/network == 'n1'",
    "app starts with 'z'",
    "!(app == 'y') && has(app)",
];
/// Selectors that hold and cut one another.
const OVERLAPPING: [&str; 4] = ["all()", "app in {'x', 'y'}", "has(role)", "app == 'x'"];
const NAMESPACE_SELECTORS: [&str; 5] =
    ["all()", "projectcalico.org/name == 'a'", "kubernetes.io/metadata.name in {'b'}", "!has(nothing)", "global()"];
/// The network sets that every file begins with.
const SETS: &str = r#"{"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
 "metadata": {"name": "partners", "namespace": "a", "labels": {"app": "x"}},
 "spec": {"nets": ["203.0.113.0/25", "2001:db8:1::/64", "10.103.0.30"]}}
---
{"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
 "metadata": {"name": "everything", "labels": {"app": "zone", "role": "db"}},
 "spec": {"nets": ["0.0.0.0/0", "2001:db8:103::/64"]}}
---
{"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "first"},
 "spec": {"order": 10, "defaultAction": "Deny"}}
---
{"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "second"},
 "spec": {"order": 20, "defaultAction": "Pass"}}
"#;

/// The policies of a seed, as the text of one file.
pub(crate) fn policies(seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let shared_tier = random.random_ratio(1, 2).then(|| ["first", "second", "default"][random.random_range(0..3)]);
    let mut generator = Generator { random, shared_tier };
    let count = generator.random.random_range(if shared_tier.is_some() { 2..=5 } else { 1..=4 });
    let documents = (0..count).map(|index| generator.policy(index).to_string());
    std::iter::once(SETS.to_owned()).chain(documents).collect::<Vec<_>>().join("\n---\n")
}

struct Generator {
    random: StdRng,
    /// The tier of all Calico policies of the file, which then select overlapping endpoints.
    shared_tier: Option<&'static str>,
}

/// How much a policy says.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    /// Rules of any kind.
    Full,
    /// Rules for one IP version only: IPv6 if true.
    OneFamily(bool),
    /// No rule.
    Empty,
}

/// What the parts of one rule have to agree on.
#[derive(Clone, Copy)]
struct Frame {
    v6: bool,
    ports: Ports,
}

#[derive(Clone, Copy, PartialEq)]
enum Ports {
    None,
    NamedOnly,
    Any,
}

impl Generator {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn policy(&mut self, index: usize) -> Value {
        match self.random.random_range(0..5) {
            0 if self.chance(40) => self.default_deny(index),
            0 => self.kubernetes(index),
            1 => self.calico(index, "GlobalNetworkPolicy", None),
            2 => {
                let namespace = self.one(&["a", "b"]);
                self.calico(index, "NetworkPolicy", Some(namespace))
            }
            _ => self.calico(index, "NetworkPolicy", None),
        }
    }

    fn extent(&mut self) -> Extent {
        match self.random.random_range(0..6) {
            0 => Extent::Empty,
            1 => Extent::OneFamily(self.chance(50)),
            _ => Extent::Full,
        }
    }

    fn calico(&mut self, index: usize, kind: &str, namespace: Option<&str>) -> Value {
        let mut spec = Map::new();
        let extent = self.extent();
        let selectors: &[&str] = if self.shared_tier.is_some() { &OVERLAPPING } else { &SELECTORS };
        if let Some(tier) = self.shared_tier {
            spec.insert("tier".to_owned(), json!(tier));
        } else if self.chance(50) {
            spec.insert("tier".to_owned(), json!(self.one(&["first", "second", "default"])));
        }
        if self.chance(60) {
            spec.insert("order".to_owned(), json!(f64::from(self.random.random_range(-2..4_i32)) / 2.0));
        }
        if self.chance(75) {
            spec.insert("selector".to_owned(), json!(self.one(selectors)));
        }
        if kind == "GlobalNetworkPolicy" && self.chance(30) {
            // global() is refused here: it is for rules.
            spec.insert("namespaceSelector".to_owned(), json!(self.one(&NAMESPACE_SELECTORS[..4])));
        }
        match self.random.random_range(0..6) {
            0 => drop(spec.insert("types".to_owned(), json!(["Ingress"]))),
            1 => drop(spec.insert("types".to_owned(), json!(["Egress"]))),
            2 => drop(spec.insert("types".to_owned(), json!(["Ingress", "Egress"]))),
            _ => (),
        }
        for (direction, percent) in [("ingress", 75), ("egress", 50)] {
            if extent != Extent::Empty && self.chance(percent) {
                let count = self.random.random_range(1..=4);
                let rules: Vec<_> = (0..count).map(|_| self.rule(extent)).collect();
                spec.insert(direction.to_owned(), json!(rules));
            }
        }
        let mut metadata = json!({"name": format!("p{index}")});
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        let kind = if self.chance(5) { format!("Staged{kind}") } else { kind.to_owned() };
        json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec})
    }

    fn rule(&mut self, extent: Extent) -> Value {
        let mut rule = Map::new();
        let action = self.one(&["Allow", "Allow", "Allow", "Allow", "Deny", "Deny", "Log", "Pass"]);
        rule.insert("action".to_owned(), json!(action));
        let v6 = match extent {
            Extent::OneFamily(v6) => v6,
            Extent::Full | Extent::Empty => self.chance(40),
        };
        let mut frame = Frame { v6, ports: Ports::NamedOnly };
        match self.random.random_range(0..10) {
            0..=2 => Self::protocol(&mut rule, &mut frame, json!("TCP"), Ports::Any),
            3 | 4 => Self::protocol(&mut rule, &mut frame, json!("UDP"), Ports::Any),
            5 => Self::protocol(&mut rule, &mut frame, json!(6), Ports::Any),
            6 => Self::protocol(&mut rule, &mut frame, json!("SCTP"), Ports::Any),
            7 => self.icmp(&mut rule, &mut frame),
            _ if extent == Extent::Full && self.chance(40) => {
                let protocol = self.one(&["TCP", "UDP", "ICMP", "ICMPv6"]);
                rule.insert("notProtocol".to_owned(), json!(protocol));
                frame.v6 = protocol == "ICMPv6" || (protocol != "ICMP" && frame.v6);
            }
            _ => (),
        }
        if extent != Extent::Full || self.chance(15) {
            rule.insert("ipVersion".to_owned(), json!(if frame.v6 { 6 } else { 4 }));
        }
        for side in ["source", "destination"] {
            if self.chance(60) {
                rule.insert(side.to_owned(), self.entity(frame));
            }
        }
        Value::Object(rule)
    }

    fn protocol(rule: &mut Map<String, Value>, frame: &mut Frame, protocol: Value, ports: Ports) {
        rule.insert("protocol".to_owned(), protocol);
        frame.ports = ports;
    }

    fn icmp(&mut self, rule: &mut Map<String, Value>, frame: &mut Frame) {
        let (name, echo) = if frame.v6 { ("ICMPv6", 128) } else { ("ICMP", 8) };
        rule.insert("protocol".to_owned(), json!(name));
        frame.ports = Ports::None;
        let field = if self.chance(30) { "notICMP" } else { "icmp" };
        let icmp = match self.random.random_range(0..4) {
            0 => json!({"type": echo}),
            1 => json!({"type": echo, "code": 0}),
            2 => json!({"type": echo, "code": 1}),
            _ => return,
        };
        rule.insert(field.to_owned(), icmp);
    }

    fn entity(&mut self, frame: Frame) -> Value {
        let mut entity = Map::new();
        if self.chance(40) {
            entity.insert("selector".to_owned(), json!(self.one(&SELECTORS)));
        }
        if self.chance(15) {
            entity.insert("notSelector".to_owned(), json!(self.one(&SELECTORS)));
        }
        if self.chance(20) {
            entity.insert("namespaceSelector".to_owned(), json!(self.one(&NAMESPACE_SELECTORS)));
        }
        if self.chance(25) {
            entity.insert("nets".to_owned(), self.nets(frame, true));
        }
        if self.chance(12) {
            entity.insert("notNets".to_owned(), self.nets(frame, false));
        }
        if self.chance(45) && frame.ports != Ports::None {
            entity.insert("ports".to_owned(), self.ports(frame));
        }
        if self.chance(12) && frame.ports != Ports::None {
            entity.insert("notPorts".to_owned(), self.ports(frame));
        }
        Value::Object(entity)
    }

    fn nets(&mut self, frame: Frame, with_everything: bool) -> Value {
        let all: &[&str] = if frame.v6 { &NETS_V6 } else { &NETS_V4 };
        let usable: Vec<&str> = all.iter().copied().filter(|net| with_everything || !net.ends_with("/0")).collect();
        let count = self.random.random_range(1..=3);
        json!(usable.sample(&mut self.random, count).collect::<Vec<_>>())
    }

    fn ports(&mut self, frame: Frame) -> Value {
        let mut ports: Vec<Value> = Vec::new();
        if frame.ports == Ports::Any {
            for port in [json!(80), json!(81), json!("80:81"), json!(53), json!("1:65535"), json!("50:60")] {
                if self.chance(25) {
                    ports.push(port);
                }
            }
            if self.chance(10) {
                // More than one multiport match holds.
                ports.extend((1..=20).map(|port| json!(port * 100)));
            }
        }
        for name in ["http", "dns", "nobody"] {
            if self.chance(20) {
                ports.push(json!(name));
            }
        }
        if ports.is_empty() {
            ports.push(json!("http"));
        }
        json!(ports)
    }

    /// The first policy of most clusters: every container of a namespace, and no rule.
    fn default_deny(&mut self, index: usize) -> Value {
        let types: &[&str] = if self.chance(50) { &["Ingress"] } else { &["Ingress", "Egress"] };
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": format!("k{index}"), "namespace": self.one(&["a", "b"])},
            "spec": {"podSelector": {}, "policyTypes": types},
        })
    }

    fn kubernetes(&mut self, index: usize) -> Value {
        let mut spec = Map::new();
        let selector = self.label_selector();
        spec.insert("podSelector".to_owned(), selector);
        for (direction, peers, percent) in [("ingress", "from", 75), ("egress", "to", 40)] {
            if self.chance(percent) {
                let count = self.random.random_range(0..=2);
                let rules: Vec<_> = (0..count).map(|_| self.kubernetes_rule(peers)).collect();
                spec.insert(direction.to_owned(), json!(rules));
            }
        }
        if self.chance(30) {
            spec.insert("policyTypes".to_owned(), json!(["Ingress", "Egress"]));
        }
        let namespace = self.one(&["a", "b"]);
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": format!("k{index}"), "namespace": namespace}, "spec": spec,
        })
    }

    fn label_selector(&mut self) -> Value {
        match self.random.random_range(0..5) {
            0 => json!({}),
            1 => json!({"matchLabels": {"app": self.one(&["x", "y"])}}),
            2 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "zone"]}]}),
            3 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["y"]}]}),
            _ => json!({"matchExpressions": [{"key": "role", "operator": self.one(&["Exists", "DoesNotExist"])}]}),
        }
    }

    fn kubernetes_rule(&mut self, peers: &str) -> Value {
        let mut rule = Map::new();
        if self.chance(75) {
            let count = self.random.random_range(1..=2);
            let entries: Vec<_> = (0..count).map(|_| self.kubernetes_peer()).collect();
            rule.insert(peers.to_owned(), json!(entries));
        }
        if self.chance(60) {
            let ports = [
                json!({"port": 80}),
                json!({"protocol": "TCP", "port": 80, "endPort": 81}),
                json!({"protocol": "UDP"}),
                json!({"protocol": "UDP", "port": "dns"}),
                json!({"port": "http"}),
                json!({}),
            ];
            let count = self.random.random_range(1..=2);
            rule.insert("ports".to_owned(), json!(ports.sample(&mut self.random, count).collect::<Vec<_>>()));
        }
        Value::Object(rule)
    }

    fn kubernetes_peer(&mut self) -> Value {
        match self.random.random_range(0..5) {
            0 => json!({"podSelector": self.label_selector()}),
            1 => json!({"namespaceSelector": {}}),
            2 => json!({
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.one(&["a", "b"])}},
                "podSelector": self.label_selector(),
            }),
            3 => json!({"ipBlock": {"cidr": "10.96.0.0/12", "except": ["10.101.0.0/24"]}}),
            _ => json!({"ipBlock": {"cidr": self.one(&["2001:db8::/32", "203.0.113.0/24", "10.102.0.0/24"])}}),
        }
    }
}
