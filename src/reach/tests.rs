use std::net::IpAddr;

use super::sample::{SHOP, compiled, inventory};
use super::*;

const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db}
spec:
  selector: app == 'db'
  ingress:
    - {action: Deny, protocol: TCP, source: {selector: app == 'api'}, destination: {ports: [5440]}}
    - {action: Allow, protocol: TCP, source: {selector: app == 'api'}, destination: {ports: ['5432:5499']}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web}
spec:
  selector: app == 'web'
  ingress:
    - {action: Allow, protocol: TCP, source: {nets: [203.0.113.0/24]}, destination: {ports: [80]}}
";

fn world() -> (Inventory, Compiled) {
    let inventory = inventory(SHOP);
    let compiled = compiled(POLICIES, &inventory);
    (inventory, compiled)
}

fn party(reach: &Reach<'_>, name: &str) -> Party {
    let address = || name.parse::<IpAddr>().ok();
    let container = reach.containers().iter().position(|container| container.name == name).map(Party::Container);
    let block = || {
        reach
            .outside()
            .iter()
            .position(|block| address().is_some_and(|address| block.contains(address)))
            .map(Party::Outside)
    };
    container.or_else(block).unwrap_or(Party::Host)
}

/// What is open from one to another, as text: `TCP 80, ping`.
fn open(reach: &Reach<'_>, from: &str, to: &str) -> String {
    let ways = reach.ways(party(reach, from), party(reach, to)).iter().filter(|way| !way.open().is_empty());
    let told = ways.map(|way| match (&way.via, way.service) {
        (Via::Direct, Service::Ping) => "ping".to_owned(),
        (Via::Direct, service) => format!("{service} {}", way.open()),
        (Via::Published { host_port }, service) => format!("{service} {} at {host_port}", way.open()),
        (Via::Proxy { host_port }, service) => format!("{service} {} by proxy at {host_port}", way.open()),
    });
    let mut told: Vec<String> = told.collect();
    // There is one for each network that both are on.
    told.dedup();
    told.join(", ")
}

#[test]
fn every_pair_has_its_ports_exactly() {
    let (inventory, compiled) = world();
    let reach = Reach::new(&inventory, &compiled, &BTreeSet::new());
    let everything = "TCP all, UDP all, SCTP all, ping";
    for (from, to, expected) in [
        ("api-1", "db", "TCP 5432:5439,5441:5499"),
        ("api-2", "db", "TCP 5432:5439,5441:5499"),
        ("db", "api-1", everything),
        ("api-1", "api-2", everything),
        ("api-1", "api-1", ""),
        // Docker isolates its networks.
        ("web-1", "db", ""),
        ("web-1", "web-2", ""),
        ("203.0.113.7", "web-1", "TCP 80 at 8080"),
        ("203.0.113.7", "web-2", "TCP 80 at 8081"),
        ("198.51.100.7", "web-1", ""),
        // Published nowhere.
        ("203.0.113.7", "db", ""),
        ("web-1", "198.51.100.7", everything),
        ("host", "db", everything),
        ("db", "host", "TCP 1:8079,8082:65535, UDP all, SCTP all, ping"),
    ] {
        assert_eq!(open(&reach, from, to), expected, "{from} -> {to}");
    }
    assert!(reach.containers().iter().all(|container| container.name != "alone"), "it is the host");
}

#[test]
fn the_rules_that_decide_are_named_in_the_order_of_the_two_sides() {
    let (inventory, compiled) = world();
    let reach = Reach::new(&inventory, &compiled, &BTreeSet::new());
    let ways = reach.ways(party(&reach, "api-1"), party(&reach, "db"));
    let tcp = ways.iter().find(|way| way.service == Service::Ports(Protocol::TCP)).expect("it was asked");
    let told: Vec<(String, Decision, &str)> =
        tcp.parts.iter().map(|part| (part.ports.to_string(), part.decision, part.rules[0].as_str())).collect();
    assert_eq!(
        told,
        [
            ("1:5431,5500:65535".to_owned(), Decision::Deny, "end of tier default after db, ingress"),
            ("5432:5439,5441:5499".to_owned(), Decision::Allow, "db ingress[1]"),
            ("5440".to_owned(), Decision::Deny, "db ingress[0]"),
        ]
    );
}

#[test]
fn the_outside_is_divided_where_rules_divide_it_and_has_no_address_of_ours() {
    let (inventory, compiled) = world();
    let further = BTreeSet::from(["192.0.2.0/25".parse().expect("a block")]);
    let reach = Reach::new(&inventory, &compiled, &further);
    let block_of = |text: &str| {
        let address = text.parse().expect("an address");
        reach.outside().iter().find(|block| block.contains(address)).cloned()
    };
    for (one, other, same) in [
        ("203.0.113.1", "203.0.113.255", true),
        ("203.0.113.1", "203.0.112.255", false),
        ("203.0.113.1", "203.0.114.0", false),
        ("192.0.2.127", "192.0.2.128", false),
        ("2001:db8::1", "2001:db8::2", true),
    ] {
        assert_eq!(block_of(one) == block_of(other), same, "{one}, {other}");
    }
    for nobodys in ["10.1.0.7", "10.2.0.1", "127.0.0.1", "224.0.0.1", "::1", "fe80::1", "ff02::1"] {
        assert_eq!(block_of(nobodys), None, "{nobodys}");
    }
}
