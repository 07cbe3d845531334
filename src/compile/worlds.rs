//! Random worlds for tests of what follows changes: containers, what may happen to them, policies, and edits of these.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::inventory::{
    Attachment, Change, Container, ContainerId, Inventory, Network, NetworkId, PublishedPort, Unenforceable,
};
use crate::net::Protocol;
use crate::policy::{PolicySet, Severity, SourceFile, load};

/// Selectors by labels that few and many have, by names, by namespaces; named ports; blocks that are an endpoint's address; a
/// policy for one direction and for both; a network set.
pub(crate) const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec:
  selector: app == 'web'
  types: [Ingress, Egress]
  ingress:
    - {action: Allow, protocol: TCP, source: {selector: app == 'api'}, destination: {ports: [http]}}
    - {action: Allow, source: {selector: role == 'blocks'}}
  egress:
    - {action: Allow, destination: {selector: \"app in {'api', 'db'}\"}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api'
  ingress:
    - {action: Allow, source: {namespaceSelector: kubernetes.io/metadata.name == 'shop', selector: app == 'web'}}
    - {action: Deny, source: {selector: dockgate.io/container == 'c3'}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: on-b}
spec:
  selector: dockgate.io/network == 'b' && has(tier)
  egress:
    - {action: Allow, protocol: UDP, destination: {selector: 'all()', ports: [dns]}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: blocks, labels: {role: blocks}}
spec: {nets: [10.0.0.3/32, 192.0.2.0/24, 'fd00::2/128']}
";

pub(crate) fn address(network: usize, host: u16) -> [Option<IpAddr>; 2] {
    let v6 = if network == 0 { "fd00:".to_owned() } else { format!("fd00:{network}:") };
    [format!("10.0.{network}.{host}").parse().ok(), format!("{v6}:{host:x}").parse().ok()]
}

pub(crate) fn network_id(number: usize) -> NetworkId {
    NetworkId(format!("network{number}").into())
}

/// Governed and ungoverned bridges, a bridge of somebody's own, and a driver that is out of reach.
pub(crate) fn networks() -> Vec<Network> {
    let network = |(number, (name, driver, bridge)): (usize, (&str, &str, Option<&str>))| Network {
        id: network_id(number),
        name: name.to_owned(),
        driver: driver.to_owned(),
        bridge: bridge.map(|bridge| bridge.parse().expect("a name")),
        subnets: vec![
            format!("10.0.{number}.0/24").parse().expect("a subnet"),
            format!("fd00:{number}::/64").parse().expect("a subnet"),
        ],
        gateways: vec![],
        internal: false,
    };
    let networks = [
        ("a", "bridge", Some("br-network0")),
        ("b", "bridge", Some("br-network1")),
        ("c", "bridge", Some("own")),
        ("d", "macvlan", None),
    ];
    networks.into_iter().enumerate().map(network).collect()
}

pub(crate) fn attachment(random: &mut StdRng) -> Attachment {
    let number = random.random_range(0..4);
    if random.random_bool(0.2) {
        return Attachment::pending(network_id(number));
    }
    let [ipv4, ipv6] = address(number, random.random_range(2..9));
    Attachment {
        network: network_id(number),
        endpoint_id: random.random_range(0..100).to_string().into(),
        ipv4,
        ipv6: ipv6.filter(|_| random.random_bool(0.5)),
        mac: format!("02:00:00:00:00:{:02x}", random.random_range(0..9)).parse().ok(),
    }
}

pub(crate) fn container(random: &mut StdRng) -> Container {
    let number = random.random_range(0..8);
    let mut labels = BTreeMap::new();
    let mut label = |random: &mut StdRng, key: &str, values: &[&str]| {
        if random.random_bool(0.7) {
            let value = values.choose(random).expect("there is one");
            labels.insert(key.to_owned(), (*value).to_owned());
        }
    };
    label(random, "app", &["web", "api", "db"]);
    label(random, "tier", &["x"]);
    label(random, "com.docker.compose.project", &["shop"]);
    label(random, "org.projectcalico.label.app", &["db"]);
    label(random, "dockgate.io/ports", &["http=80/tcp", "dns=53/udp,http=81"]);
    label(random, "nobody-asks", &["1", "2", "3"]);
    let mut attachments: Vec<Attachment> = (0..random.random_range(0..3)).map(|_| attachment(random)).collect();
    attachments.sort_by(|one, other| one.network.cmp(&other.network));
    attachments.dedup_by(|one, other| one.network == other.network);
    let port = PublishedPort {
        host_address: None,
        host_port: Some(8000 + number),
        container_port: 80,
        protocol: Protocol::TCP,
    };
    Container {
        id: ContainerId(format!("container{number}").into()),
        name: format!("c{number}"),
        image: "image".to_owned(),
        labels: crate::inventory::labels(labels),
        attachments,
        unenforceable: random.random_bool(0.1).then_some(Unenforceable::HostNetwork),
        published: random.random_bool(0.15).then_some(port).into_iter().collect(),
        listed: random.random_bool(0.8),
        judged: BTreeSet::new(),
        stated_namespace: None,
    }
}

pub(crate) fn change(random: &mut StdRng, inventory: &Inventory) -> Change {
    let known: Vec<&ContainerId> = inventory.containers.keys().collect();
    let known = known.choose(random).map(|id| (*id).clone());
    match (random.random_range(0..10), known) {
        (0..=2, _) | (_, None) => Change::Container(container(random).into()),
        (3..=5, Some(container)) => Change::Attached { container, attachment: attachment(random) },
        (6..=7, Some(container)) => Change::Detached { container, network: network_id(random.random_range(0..4)) },
        (8, Some(container)) => Change::ContainerGone(container),
        (_, Some(id)) => {
            let mut listed = inventory.containers[&id].clone();
            listed.listed = true;
            Change::Container(listed.into())
        }
    }
}

/// What may be done to the policies: to rules alone, so that other sets are asked for, or other labels, or not; to who is
/// governed, and in which order; to blocks; to the places of all that comes behind.
const EDITS: [(&str, &str); 11] = [
    ("ports: [http]", "ports: [dns, 80]"),
    ("{action: Deny, source: {selector: dockgate.io/container == 'c3'}}", "{action: Pass}"),
    ("{action: Allow, source: {selector: role == 'blocks'}}", "{action: Log, source: {selector: app == 'api'}}"),
    ("{selector: 'all()', ports: [dns]}", "{selector: 'all()', ports: [53]}"),
    ("{selector: 'all()', ports: [dns]}", "{selector: \"nobody-asks == '1'\", ports: [dns]}"),
    ("{action: Allow, protocol: UDP,", "{action: Deny, ipVersion: 6, protocol: UDP,"),
    ("  selector: app == 'api'\n", "  selector: app == 'db'\n"),
    ("metadata: {name: on-b}\nspec:\n", "metadata: {name: on-b}\nspec:\n  order: 1\n"),
    ("metadata: {name: api}", "metadata: {name: zz}"),
    ("192.0.2.0/24", "198.51.100.0/24"),
    ("\n---\n", "\n# Another line.\n---\n"),
];

/// The policies after some edits. Most leave alone who is governed.
pub(crate) fn edited(random: &mut StdRng) -> String {
    let edits = EDITS.iter().zip(0..).filter(|(_, number)| random.random_bool(if *number < 6 { 0.4 } else { 0.1 }));
    edits.fold(POLICIES.to_owned(), |text, ((from, to), _)| text.replace(from, to))
}

pub(crate) fn policies(text: &str) -> PolicySet {
    let loaded = load(&[SourceFile::new("p.yaml", text)]);
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    loaded.policies
}
