use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::inventory::{Attachment, Change, ContainerId, Network, NetworkId, Unenforceable};
use crate::net::Protocol;
use crate::policy::{Severity, SourceFile, load};

/// Selectors by labels that few and many have, by names, by namespaces; named ports; blocks that are an endpoint's address; a
/// policy for one direction and for both; a network set.
const POLICIES: &str = "
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

fn address(network: usize, host: u16) -> [Option<IpAddr>; 2] {
    let v6 = if network == 0 { "fd00:".to_owned() } else { format!("fd00:{network}:") };
    [format!("10.0.{network}.{host}").parse().ok(), format!("{v6}:{host:x}").parse().ok()]
}

fn network_id(number: usize) -> NetworkId {
    NetworkId(format!("network{number}").into())
}

/// Governed and ungoverned bridges, a bridge of somebody's own, and a driver that is out of reach.
fn networks() -> Vec<Network> {
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

fn attachment(random: &mut StdRng) -> Attachment {
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

fn container(random: &mut StdRng) -> Container {
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

fn change(random: &mut StdRng, inventory: &Inventory) -> Change {
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
fn edited(random: &mut StdRng) -> String {
    let edits = EDITS.iter().zip(0..).filter(|(_, number)| random.random_bool(if *number < 6 { 0.4 } else { 0.1 }));
    edits.fold(POLICIES.to_owned(), |text, ((from, to), _)| text.replace(from, to))
}

fn policies(text: &str) -> PolicySet {
    let loaded = load(&[SourceFile::new("p.yaml", text)]);
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    loaded.policies
}

/// The incremental ruleset is that of a full compilation after every change, whatever came before.
#[test]
fn what_is_followed_is_what_is_compiled_anew() {
    let random = &mut StdRng::seed_from_u64(0);
    let variants: Vec<PolicySet> = (0..60).map(|_| policies(&edited(random))).collect();
    let options = Options::default();
    let (mut followed, mut anew, mut edited) = (0, 0, 0);
    for seed in 0..400 {
        let random = &mut StdRng::seed_from_u64(seed);
        let of_networks = networks().into_iter().map(|network| (network.id.clone(), network));
        let mut inventory = Inventory { networks: of_networks.collect(), ..Inventory::default() };
        for _ in 0..random.random_range(0..12) {
            inventory.apply(Change::Container(container(random).into()));
        }
        let mut policies = variants.choose(random).expect("there are some");
        // In a tree each branch has sets of its own.
        let few = if seed % 2 == 0 { FEW } else { 1 };
        let mut compiler = Compiler::with_rows_of(few, policies, &inventory, &options);
        let mut former = Former::new();
        for step in 0..25 {
            let change = change(random, &inventory);
            let difference = inventory.apply(change.clone());
            for (id, before) in difference.containers {
                former.entry(id).or_insert(before);
            }
            if random.random_bool(0.2) {
                // Ports come to be judged without an event.
                for container in inventory.containers.values_mut() {
                    former.entry(container.id.clone()).or_insert_with(|| Some(container.clone().into()));
                    container.judged = container.published.iter().cloned().collect();
                }
            }
            // Several changes can come at once.
            if random.random_bool(0.3) {
                continue;
            }
            let former = std::mem::take(&mut former);
            if random.random_bool(0.3) {
                policies = variants.choose(random).expect("there are some");
                compiler = compiler.brought_to(policies, &inventory, &options, &former);
                edited += 1;
            } else if compiler.follow(policies, &inventory, &former) {
                followed += 1;
            } else {
                compiler = compiler.anew(policies, &inventory, &options);
                anew += 1;
            }
            let fresh = Compiler::with_rows_of(few, policies, &inventory, &options).into_compiled();
            assert_eq!(compiler.compiled(), &fresh, "seed {seed}, step {step}: {change:?}");
        }
    }
    let all = [followed, anew, edited];
    assert!(all.iter().all(|times| *times > 1000), "every way is tried: {all:?} followed, anew, edited");
}

/// An edit of a rule is followed, and all chains but those of that rule are the very ones of before.
#[test]
fn an_edit_of_a_rule_makes_few_chains() {
    let (random, options) = (&mut StdRng::seed_from_u64(3), Options::default());
    let of_networks = networks().into_iter().map(|network| (network.id.clone(), network));
    let mut inventory = Inventory { networks: of_networks.collect(), ..Inventory::default() };
    for _ in 0..20 {
        inventory.apply(Change::Container(container(random).into()));
    }
    let (before, after) = (policies(POLICIES), policies(&POLICIES.replace("ports: [http]", "ports: [80]")));
    let mut compiler = Compiler::new(&before, &inventory, &options);
    let former = compiler.compiled().ruleset.clone();
    assert!(compiler.follow_edit(&before, &after, &inventory, &options), "rules alone differ");
    assert_eq!(compiler.compiled(), &super::super::compile(&after, &inventory, &options));
    let mut new = 0;
    for (family, chains) in compiler.compiled().ruleset.chains.iter() {
        for (name, chain) in chains {
            let is_shared = former.chain(*family, name).is_some_and(|former| Arc::ptr_eq(former, chain));
            let is_about = chain.iter().any(|rule| rule.comment.contains("web"));
            assert!(is_shared || is_about, "{name}: {chain:?}");
            new += usize::from(!is_shared);
        }
    }
    assert!(new > 0, "the edit changes rules");
}

/// A replica of a service changes members alone, whatever else is on the host.
#[test]
fn a_replica_is_followed() {
    let (policies, options) = (load(&[SourceFile::new("p.yaml", POLICIES)]).policies, Options::default());
    let of_networks = networks().into_iter().map(|network| (network.id.clone(), network));
    let mut inventory = Inventory { networks: of_networks.collect(), ..Inventory::default() };
    let replica = |number: u16| {
        let random = &mut StdRng::seed_from_u64(0);
        let [ipv4, ipv6] = address(0, number + 2);
        let on_a = Attachment { network: network_id(0), ipv4, ipv6, ..attachment(random) };
        Container {
            id: ContainerId(number.to_string().into()),
            name: format!("web-{number}"),
            labels: [("app".into(), "web".into())].into(),
            attachments: vec![on_a],
            unenforceable: None,
            published: vec![],
            ..container(random)
        }
    };
    inventory.apply(Change::Container(replica(0).into()));
    let mut compiler = Compiler::new(&policies, &inventory, &options);
    for number in 1..5 {
        let difference = inventory.apply(Change::Container(replica(number).into()));
        assert!(compiler.follow(&policies, &inventory, &difference.containers), "{number}");
    }
    let difference = inventory.apply(Change::ContainerGone(ContainerId("0".into())));
    assert!(compiler.follow(&policies, &inventory, &difference.containers), "it goes");
    assert_eq!(compiler.compiled(), &super::super::compile(&policies, &inventory, &options));
}
