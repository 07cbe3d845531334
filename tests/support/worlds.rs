//! Random inventories that fit the policies of `policies.rs`, from a seed.
//!
//! Input: a seed. Output: an [`Inventory`]: three bridge networks and one that no bridge serves, containers with and without
//! the labels that generated selectors ask for, some on two networks, some without an address of a family, some with
//! published ports. The same seed gives the same inventory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dockgate::inventory::{Attachment, Container, ContainerId, Inventory, Network, NetworkId, PublishedPort};
use dockgate::net::{Cidr, Protocol};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::policies::SUBNETS;

/// Last part of the containers' addresses: inside and outside the blocks that generated rules name.
const HOSTS: [u8; 10] = [8, 9, 10, 11, 12, 20, 21, 30, 31, 40];
/// A network that no bridge serves: its containers are peers, and no policy governs them here.
const FLAT: (&str, &str, &str) = ("flat", "10.104.0.0/24", "2001:db8:104::/64");
fn network((name, v4, v6): (&str, &str, &str)) -> Network {
    let is_flat = name == FLAT.0;
    Network {
        id: NetworkId(name.into()),
        name: name.to_owned(),
        driver: if is_flat { "macvlan" } else { "bridge" }.to_owned(),
        bridge: (!is_flat).then(|| format!("br-{name}").parse().expect("interface name")),
        subnets: [v4, v6].iter().map(|subnet| subnet.parse().expect("subnet")).collect(),
        gateways: [v4, v6].iter().filter_map(|subnet| gateway(subnet)).collect(),
        internal: false,
    }
}

/// A container on one network, or now and then on two; now and then without an address of a family.
fn container(random: &mut StdRng, host: u8) -> Container {
    let mut labels = BTreeMap::new();
    let choices: [(&str, &[&str]); 4] = [
        ("app", &["x", "y", "zone", ""]),
        ("role", &["db", "", ""]),
        ("projectcalico.org/namespace", &["a", "a", "b", "c"]),
        ("dockgate.io/ports", &["http=80/tcp", "http=81/tcp,dns=53/udp", "dns=53/tcp,dns=53/udp", "http=53/udp", ""]),
    ];
    for (key, values) in choices {
        let value = values.choose(random).copied().unwrap_or_default();
        if !value.is_empty() {
            labels.insert(key.into(), value.into());
        }
    }
    let count = if random.random_ratio(1, 6) { 2 } else { 1 };
    let mut networks: Vec<_> =
        if random.random_ratio(1, 12) { vec![FLAT] } else { SUBNETS.sample(random, count).copied().collect() };
    networks.sort_unstable();
    let mut address = |subnet: &str, end: &str| -> Option<IpAddr> {
        let address = subnet.replace(end, &host.to_string()).parse().expect("address");
        random.random_ratio(9, 10).then_some(address)
    };
    let attachments = networks.into_iter().map(|(network, v4, v6)| Attachment {
        network: NetworkId(network.into()),
        endpoint_id: format!("{host}-{network}").into(),
        ipv4: address(v4, "0/24"),
        ipv6: address(v6, "/64"),
        mac: None,
    });
    Container {
        id: ContainerId(format!("container-{host}").into()),
        name: format!("container-{host}"),
        image: "busybox".to_owned(),
        attachments: attachments.collect(),
        labels,
        unenforceable: None,
        published: vec![],
        listed: true,
        judged: BTreeSet::new(),
        stated_namespace: None,
    }
}

/// The inventory of a seed: ten containers, one of which may be out of policy's reach, on three bridges.
pub(crate) fn inventory(seed: u64) -> Inventory {
    let random = &mut StdRng::seed_from_u64(seed);
    let networks = SUBNETS.into_iter().chain([FLAT]).map(network);
    let mut containers = HOSTS.map(|host| container(random, host));
    for container in &mut containers {
        container.published = published(random, container);
    }
    let prod = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let mut inventory = Inventory {
        networks: networks.map(|network| (network.id.clone(), network)).collect(),
        containers: containers.into_iter().map(|container| (container.id.clone(), container)).collect(),
        namespaces: BTreeMap::from([("a".to_owned(), prod)]),
        ..Inventory::default()
    };
    inventory.trust_ports();
    inventory
}

fn gateway(subnet: &str) -> Option<IpAddr> {
    subnet.parse::<Cidr>().expect("subnet").hosts().nth(usize::from(subnet.contains(':')))
}

/// Ports of the host for a container, now and then: on all addresses, on those of one family, on one.
fn published(random: &mut StdRng, container: &Container) -> Vec<PublishedPort> {
    let mut ports = Vec::new();
    for (index, (protocol, container_port)) in
        [(Protocol::TCP, 80), (Protocol::UDP, 53), (Protocol::TCP, 81)].into_iter().enumerate()
    {
        if random.random_ratio(1, 4) {
            let addresses = [None, Some("0.0.0.0"), Some("::"), Some("203.0.113.1"), Some("127.0.0.1")];
            let host_address = addresses.choose(random).copied().flatten().map(|text| text.parse().expect("address"));
            // No two containers have one port of the host.
            let number =
                container.name.rsplit('-').next().and_then(|number| number.parse::<u16>().ok()).expect("a number");
            let host_port =
                random.random_ratio(9, 10).then_some(8000 + 10 * number + u16::try_from(index).expect("few"));
            ports.push(PublishedPort { host_address, host_port, container_port, protocol });
        }
    }
    ports
}
