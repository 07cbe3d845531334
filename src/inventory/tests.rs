use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn network(id: &str) -> Network {
    Network {
        id: NetworkId(id.into()),
        name: format!("{id}-name"),
        driver: "bridge".to_owned(),
        bridge: "br-test".parse().ok(),
        subnets: Vec::new(),
        gateways: Vec::new(),
        internal: false,
    }
}

fn attachment(network: &str, last_byte: u8) -> Attachment {
    Attachment {
        network: NetworkId(network.into()),
        endpoint_id: format!("{network}-{last_byte}").into(),
        ipv4: Some(IpAddr::from([10, 0, 0, last_byte])),
        ipv6: Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last_byte)])),
        mac: "02:42:0a:00:00:02".parse().ok(),
    }
}

fn container(id: &str, labels: &[(&str, &str)], attachments: Vec<Attachment>) -> Container {
    Container {
        id: ContainerId(id.into()),
        name: format!("{id}-name"),
        image: "shop/web:1".to_owned(),
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        attachments,
        unenforceable: None,
        published: Vec::new(),
        listed: true,
        judged: BTreeSet::new(),
        stated_namespace: None,
    }
}

fn inventory(networks: &[Network], containers: &[Container]) -> Inventory {
    Inventory {
        networks: networks.iter().map(|network| (network.id.clone(), network.clone())).collect(),
        containers: containers.iter().map(|container| (container.id.clone(), container.clone())).collect(),
        ..Inventory::default()
    }
}

fn pending(id: &str) -> Attachment {
    Attachment::pending(NetworkId(id.into()))
}

fn attached(container: &str, attachment: Attachment) -> Change {
    Change::Attached { container: ContainerId(container.into()), attachment }
}

fn detached(container: &str, network: &str) -> Change {
    Change::Detached { container: ContainerId(container.into()), network: NetworkId(network.into()) }
}

/// Name, stated namespace, labels, expected namespace.
type NamespaceRow = (&'static str, Option<&'static str>, &'static [(&'static str, &'static str)], &'static str);
/// Name, label, expected ports, expected unreadable parts.
type PortsRow = (&'static str, &'static str, &'static [(&'static str, Protocol, u16)], &'static [&'static str]);

#[test]
fn a_namespace_has_four_sources_in_order() {
    const COMPOSE: (&str, &str) = ("com.docker.compose.project", "shop");
    const STACK: (&str, &str) = ("com.docker.stack.namespace", "stack");
    let rows: [NamespaceRow; 8] = [
        ("nothing said", None, &[], "default"),
        ("stated by a file", Some("stated"), &[(NAMESPACE_LABEL, "label")], "stated"),
        ("label before Compose", None, &[(NAMESPACE_LABEL, "label"), COMPOSE], "label"),
        ("Compose before Swarm", None, &[STACK, COMPOSE], "shop"),
        ("Swarm", None, &[STACK], "stack"),
        ("empty label is absent", None, &[(NAMESPACE_LABEL, ""), COMPOSE], "shop"),
        ("empty statement is absent", Some(""), &[STACK], "stack"),
        ("all empty", None, &[(NAMESPACE_LABEL, "")], "default"),
    ];
    for (name, stated, labels, expected) in rows {
        let mut container = container("c", labels, Vec::new());
        container.stated_namespace = stated.map(str::to_owned);
        assert_eq!(container.namespace(), expected, "{name}");
    }
}

#[test]
fn named_ports_come_from_the_label_and_unreadable_parts_are_returned() {
    let rows: [PortsRow; 6] = [
        ("two", "http=8080/tcp,dns=53/udp", &[("http", Protocol::TCP, 8080), ("dns", Protocol::UDP, 53)], &[]),
        ("protocol defaults to TCP", "http=80", &[("http", Protocol::TCP, 80)], &[]),
        ("blanks and case", " http = 80 / TCP , ", &[("http", Protocol::TCP, 80)], &[]),
        ("SCTP", "ss7=2905/sctp", &[("ss7", Protocol::SCTP, 2905)], &[]),
        (
            "bad parts do not hide good ones",
            "x,=1,http=80,y=0,z=70000,i=1/icmp",
            &[("http", Protocol::TCP, 80)],
            &["x", "=1", "y=0", "z=70000", "i=1/icmp"],
        ),
        ("empty", "", &[], &[]),
    ];
    for (name, text, expected, unreadable) in rows {
        let (ports, bad) = container("c", &[(PORTS_LABEL, text)], Vec::new()).named_ports();
        let ports: Vec<_> = ports.iter().map(|port| (port.name.as_str(), port.protocol, port.port)).collect();
        assert_eq!(ports, expected, "{name}");
        assert_eq!(bad, unreadable, "{name}");
    }
}

#[test]
fn a_container_cannot_forge_implicit_labels() {
    let forged = [
        (ORCHESTRATOR_LABEL, "x"),
        (CONTAINER_LABEL, "x"),
        (NETWORK_LABEL, "x"),
        (IMAGE_LABEL, "x"),
        ("pcns.team", "x"),
        ("pcns.projectcalico.org/name", "x"),
        ("org.projectcalico.label.dockgate.io/container", "x"),
        ("org.projectcalico.label.dockgate.io/network", "x"),
        ("org.projectcalico.label.pcns.team", "x"),
    ];
    let mut inventory = inventory(&[network("n")], &[container("c", &forged, vec![attachment("n", 2)])]);
    inventory.namespaces.insert("default".to_owned(), BTreeMap::from([("team".to_owned(), "shop".to_owned())]));
    let labels = &inventory.endpoints()[0].labels;
    for (key, expected) in [
        (NAMESPACE_LABEL, "default"),
        (ORCHESTRATOR_LABEL, "docker"),
        (CONTAINER_LABEL, "c-name"),
        (NETWORK_LABEL, "n-name"),
        (IMAGE_LABEL, "shop/web:1"),
        ("pcns.team", "shop"),
        ("pcns.projectcalico.org/name", "default"),
        ("pcns.kubernetes.io/metadata.name", "default"),
    ] {
        assert_eq!(labels.get(key).map(String::as_str), Some(expected), "{key}");
    }
}

#[test]
fn an_endpoint_without_a_network_has_no_network_label() {
    let mut host = container("c", &[(NETWORK_LABEL, "forged")], Vec::new());
    host.unenforceable = Some(Unenforceable::HostNetwork);
    let inventory = inventory(&[], &[host]);
    let endpoints = inventory.endpoints();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].labels.get(NETWORK_LABEL), None);
    assert_eq!(endpoints[0].name(), "c-name");
}

#[test]
fn calicos_prefixed_labels_count_without_the_prefix_and_lose_to_plain_ones() {
    let labels = [("org.projectcalico.label.tier", "db"), ("org.projectcalico.label.app", "old"), ("app", "new")];
    let inventory = inventory(&[network("n")], &[container("c", &labels, vec![attachment("n", 2)])]);
    let labels = &inventory.endpoints()[0].labels;
    assert_eq!(labels["tier"], "db");
    assert_eq!(labels["app"], "new");
    assert_eq!(labels["org.projectcalico.label.tier"], "db");
}

#[test]
fn endpoints_are_sorted_by_name_and_unknown_networks_are_left_out() {
    let inventory = inventory(
        &[network("n1"), network("n2")],
        &[
            container("b", &[], vec![attachment("n2", 2), attachment("n1", 3)]),
            container("a", &[], vec![attachment("n1", 2), attachment("unknown", 9)]),
            container("none", &[], Vec::new()),
        ],
    );
    let names: Vec<_> = inventory.endpoints().iter().map(Endpoint::name).collect();
    assert_eq!(names, ["a-name@n1-name", "b-name@n1-name", "b-name@n2-name"]);
}

#[test]
fn a_network_without_a_bridge_is_reported_by_its_driver() {
    let mut macvlan = network("n");
    macvlan.driver = "macvlan".to_owned();
    macvlan.bridge = None;
    let inventory = inventory(&[macvlan], &[container("c", &[], vec![attachment("n", 2)])]);
    assert_eq!(inventory.endpoints()[0].unenforceable, Some(Unenforceable::Driver("macvlan".to_owned())));
}

/// One row: its name, the world before, the change, whether it differs, the world after.
type Row = (&'static str, Inventory, Change, bool, Inventory);

#[test]
fn each_change_does_what_it_says() {
    let one = |attachments| inventory(&[network("n")], &[container("a", &[], attachments)]);
    let two = |a, b| inventory(&[network("n")], &[container("a", &[], a), container("b", &[], b)]);
    let only_v4 = Attachment { ipv6: None, endpoint_id: "new".into(), ..attachment("n", 2) };
    let rows: Vec<Row> = vec![
        ("container created", inventory(&[], &[]), Change::Container(container("a", &[], vec![]).into()), true, {
            inventory(&[], &[container("a", &[], vec![])])
        }),
        ("container as known", one(vec![]), Change::Container(container("a", &[], vec![]).into()), false, one(vec![])),
        (
            "container replaces attachments",
            one(vec![attachment("n", 2)]),
            Change::Container(container("a", &[], vec![pending("n")]).into()),
            true,
            one(vec![pending("n")]),
        ),
        (
            "container takes an address over",
            two(vec![attachment("n", 2)], vec![]),
            Change::Container(container("b", &[], vec![attachment("n", 2)]).into()),
            true,
            two(vec![pending("n")], vec![attachment("n", 2)]),
        ),
        ("container gone", one(vec![]), Change::ContainerGone(ContainerId("a".into())), true, {
            inventory(&[network("n")], &[])
        }),
        ("unknown container gone", one(vec![]), Change::ContainerGone(ContainerId("z".into())), false, one(vec![])),
        ("network created", inventory(&[], &[]), Change::Network(network("n")), true, inventory(&[network("n")], &[])),
        ("network as known", one(vec![]), Change::Network(network("n")), false, one(vec![])),
        (
            "network gone takes its attachments along",
            one(vec![pending("n"), pending("other")]),
            Change::NetworkGone(NetworkId("n".into())),
            true,
            inventory(&[], &[container("a", &[], vec![pending("other")])]),
        ),
        ("unknown network gone", one(vec![]), Change::NetworkGone(NetworkId("z".into())), false, one(vec![])),
        (
            "pending attachment gets its address",
            one(vec![pending("n")]),
            attached("a", attachment("n", 2)),
            true,
            one(vec![attachment("n", 2)]),
        ),
        (
            "attached to one more network, in order",
            one(vec![attachment("n", 2)]),
            attached("a", attachment("m", 7)),
            true,
            one(vec![attachment("m", 7), attachment("n", 2)]),
        ),
        (
            "attached as known",
            one(vec![attachment("n", 2)]),
            attached("a", attachment("n", 2)),
            false,
            one(vec![attachment("n", 2)]),
        ),
        ("unknown container attached", one(vec![]), attached("z", attachment("n", 2)), false, one(vec![])),
        (
            "address reused after a lost disconnect: the old holder loses both families",
            two(vec![attachment("n", 2)], vec![pending("n")]),
            attached("b", only_v4.clone()),
            true,
            two(vec![pending("n")], vec![only_v4]),
        ),
        (
            "the same address on another network is no claim",
            two(vec![attachment("m", 2)], vec![]),
            attached("b", attachment("n", 2)),
            true,
            two(vec![attachment("m", 2)], vec![attachment("n", 2)]),
        ),
        ("detached stays pending, its ports unlisted", one(vec![attachment("n", 2)]), detached("a", "n"), true, {
            inventory(&[network("n")], &[Container { listed: false, ..container("a", &[], vec![pending("n")]) }])
        }),
        ("detached twice", one(vec![pending("n")]), detached("a", "n"), false, one(vec![pending("n")])),
        ("detached from an unknown network", one(vec![]), detached("a", "z"), false, one(vec![])),
        ("unreachable", one(vec![]), Change::Unreachable("gone".to_owned()), false, one(vec![])),
    ];
    for (name, mut world, change, differs, expected) in rows {
        assert_eq!(world.apply(change).is_any(), differs, "{name}");
        assert_eq!(world, expected, "{name}");
    }
}

/// A copy has no account of who has which address: what comes of a change must not depend on it.
#[test]
fn an_address_has_one_owner_whatever_came_before() {
    const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];
    const NETWORKS: [&str; 2] = ["n", "m"];
    let mut taken_over = 0;
    for seed in 0..200 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut world = inventory(&NETWORKS.map(network), &[]);
        for step in 0..40 {
            let (id, on) = (IDS[random.random_range(0..5)], NETWORKS[random.random_range(0..2)]);
            let mut any = |on: &str| match random.random_range(0..6) {
                0 => pending(on),
                1 => Attachment { ipv6: None, ..attachment(on, random.random_range(2..6)) },
                _ => attachment(on, random.random_range(2..6)),
            };
            let (one, two) = (any("m"), any("n"));
            let change = match random.random_range(0..20) {
                0..=2 => Change::Container(container(id, &[], vec![one, two]).into()),
                3 => Change::Container(container(id, &[], vec![]).into()),
                4..=11 => attached(id, if on == "m" { one } else { two }),
                12..=15 => detached(id, on),
                16..=17 => Change::ContainerGone(ContainerId(id.into())),
                18 => Change::NetworkGone(NetworkId(on.into())),
                _ => Change::Snapshot(world.clone()),
            };
            let mut copy = world.clone();
            let difference = world.apply(change.clone());
            assert_eq!(copy.apply(change.clone()), difference, "seed {seed}, step {step}: {change:?}");
            assert_eq!(copy, world, "seed {seed}, step {step}: {change:?}");
            taken_over += usize::from(difference.containers.len() > 1);
            let mut owners = BTreeSet::new();
            for attachment in world.containers.values().flat_map(|container| &container.attachments) {
                for address in attachment.ipv4.into_iter().chain(attachment.ipv6) {
                    assert!(owners.insert((&attachment.network, address)), "seed {seed}, step {step}: {change:?}");
                }
            }
        }
    }
    assert!(taken_over > 500, "{taken_over}");
}

#[test]
fn a_snapshot_replaces_everything_but_namespaces() {
    let mut world = inventory(&[network("n")], &[container("a", &[], vec![])]);
    world.namespaces.insert("shop".to_owned(), BTreeMap::new());
    let snapshot = inventory(&[network("m")], &[]);
    assert!(world.apply(Change::Snapshot(snapshot.clone())).is_any());
    assert_eq!((&world.networks, &world.containers), (&snapshot.networks, &snapshot.containers));
    assert!(world.namespaces.contains_key("shop"));
    assert!(!world.apply(Change::Snapshot(snapshot)).is_any(), "the same again differs in nothing");
}

#[test]
fn what_the_list_forgets_of_a_living_container_is_remembered() {
    let port = PublishedPort { host_address: None, host_port: Some(8080), container_port: 80, protocol: Protocol::TCP };
    let mut running = container("c", &[], vec![attachment("n", 2)]);
    running.published = vec![port.clone()];
    let mut known = inventory(&[network("n")], &[running.clone()]);

    // The tag was moved to another image, and the container is between its end and its next start.
    let mut stopped = container("c", &[], vec![pending("n")]);
    stopped.image = "sha256:0123".to_owned();
    stopped.listed = false;
    for change in [Change::Container(stopped.clone().into()), Change::Snapshot(inventory(&[network("n")], &[stopped]))]
    {
        known.apply(change);
        let container = &known.containers[&running.id];
        assert_eq!((container.image.as_str(), &container.published), ("shop/web:1", &vec![port.clone()]));
    }

    // Running again without a published port: then it has none.
    known.apply(Change::Container(container("c", &[], vec![attachment("n", 3)]).into()));
    assert!(known.containers[&running.id].published.is_empty());
}

#[test]
fn a_remembered_port_goes_to_whom_docker_gives_it() {
    let port = |address: &str, host_port| PublishedPort {
        host_address: address.parse().ok(),
        host_port: Some(host_port),
        container_port: 80,
        protocol: Protocol::TCP,
    };
    let with = |id: &str, listed, published: &[PublishedPort]| Container {
        published: published.to_vec(),
        judged: published.iter().cloned().collect(),
        listed,
        ..container(id, &[], vec![])
    };
    let old = [port("0.0.0.0", 1), port("::", 1), port("0.0.0.0", 2), port("127.0.0.1", 3)];
    let mut world = inventory(&[], &[with("old", false, &old)]);
    world.apply(Change::Container(with("new", false, &[port("0.0.0.0", 2)]).into()));
    assert_eq!(world.containers[&ContainerId("old".into())].published, old, "neither holds it");
    world.apply(Change::Container(with("new", true, &[port("192.0.2.1", 1), port("0.0.0.0", 3)]).into()));
    let left = &world.containers[&ContainerId("old".into())];
    assert_eq!(left.published, [port("::", 1), port("0.0.0.0", 2)]);
    assert_eq!(left.judged, left.published.iter().cloned().collect());
    assert!(!left.ports_are_judged(), "it is not listed");
    let new = &world.containers[&ContainerId("new".into())];
    assert!(new.listed && new.judged.is_empty() && !new.ports_are_judged(), "nothing has been in force yet");
}

/// What a container claims of itself, of its namespace and of its network, and what counts.
#[test]
fn a_label_alone_is_what_it_is_among_all() {
    let forged = [
        ("app", "web"),
        ("org.projectcalico.label.app", "api"),
        ("org.projectcalico.label.role", "db"),
        ("org.projectcalico.label.dockgate.io/network", "forged"),
        ("dockgate.io/network", "forged"),
        ("dockgate.io/container", "forged"),
        ("projectcalico.org/namespace", "shop"),
        ("projectcalico.org/orchestrator", "k8s"),
        ("pcns.team", "forged"),
        ("org.projectcalico.label.pcns.team", "forged"),
    ];
    let one = container("c", &forged, vec![attachment("n", 2)]);
    let mut alone = container("h", &forged, vec![]);
    alone.unenforceable = Some(Unenforceable::HostNetwork);
    let mut world = inventory(&[network("n")], &[one, alone]);
    world.namespaces.insert("shop".to_owned(), [("team".to_owned(), "sales".to_owned())].into());
    let endpoints = world.endpoints();
    assert_eq!(endpoints.len(), 2);
    for endpoint in &endpoints {
        let mut keys: BTreeSet<String> = endpoint.labels.keys().cloned().collect();
        keys.extend(endpoint.container.labels.keys().map(ToString::to_string));
        keys.extend(["role", "none", "pcns.none", "pcns.kubernetes.io/metadata.name"].map(str::to_owned));
        for key in keys {
            let told = world.label(endpoint.container, endpoint.network, &key);
            assert_eq!(told, endpoint.labels.get(&key).map(String::as_str), "{key} of {}", endpoint.name());
        }
    }
    assert_eq!(endpoints[0].labels.get("pcns.team").map(String::as_str), Some("sales"), "the prefix is the right one");
}

#[test]
fn copies_share_containers_until_one_is_changed() {
    let listed = || inventory(&[network("n")], &[container("a", &[], vec![attachment("n", 2)])]);
    let id = ContainerId("a".into());
    let place = |of: &Inventory| std::ptr::from_ref(&of.containers[&id]);
    let known = listed();
    let mut follows = known.clone();
    assert_eq!(place(&follows), place(&known));
    assert!(!follows.apply(Change::Snapshot(listed())).is_any());
    assert_eq!(place(&follows), place(&known), "a list that says the same changes nothing");
    let difference = follows.apply(detached("a", "n"));
    assert_ne!(place(&follows), place(&known));
    assert_eq!(difference.containers[&id].as_deref(), known.containers.get(&id), "what it was is told");
    assert!(!known.containers[&id].attachments[0].is_pending(), "and is what others have");
}
