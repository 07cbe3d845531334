use super::*;
use crate::reach::sample::{NAMES, compiled, inventory};

const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db}
spec:
  selector: app == 'db'
  ingress:
    - {action: Allow, protocol: TCP, source: {selector: app == 'api'}, destination: {ports: [5432]}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: canary}
spec:
  selector: has(canary)
  ingress:
    - {action: Allow, protocol: TCP, source: {nets: [203.0.113.0/25, 203.0.113.128/25, 198.51.100.7/32]}}
";

fn table(by: By) -> Table {
    let inventory = inventory(NAMES);
    let compiled = compiled(POLICIES, &inventory);
    Table::new(&Reach::new(&inventory, &compiled, &BTreeSet::new()), &inventory, by)
}

fn told(table: &Table, from: &str, to: &str) -> Vec<String> {
    let index = |name: &str| table.groups.iter().position(|group| group.name == name).expect("a group");
    let (from, to) = (index(from), index(to));
    let rows = table.rows.iter().filter(|row| (row.from, row.to) == (from, to));
    rows.map(|row| {
        let families: Vec<String> = row.families.iter().map(ToString::to_string).collect();
        let Row { decision, service, ports, via, rules, .. } = row;
        format!("{decision:?} {service} {ports} {via:?} {} by {rules:?}", families.join("+"))
    })
    .collect()
}

#[test]
fn replicas_are_one_service_where_their_answers_are_the_same() {
    let names: Vec<String> = table(By::Service).groups.into_iter().map(|group| group.name).collect();
    assert_eq!(
        names,
        [
            "batch",
            "batch-1, batch-2",
            "cache",
            "container host",
            "db",
            "web-1, web-2",
            "web-3",
            "host",
            "outside",
            "outside 198.51.100.7/32, 203.0.113.0/24",
        ]
    );
}

#[test]
fn every_container_can_be_a_group() {
    let table = table(By::Container);
    let containers = table.groups.iter().filter(|group| group.kind == GroupKind::Containers);
    assert!(containers.clone().all(|group| group.members.len() == 1));
    assert_eq!(containers.count(), 10);
}

#[test]
fn the_outside_is_named_where_it_differs_and_the_rest_is_both_families() {
    let table = table(By::Service);
    let outside: Vec<&Group> = table.groups.iter().filter(|group| group.kind == GroupKind::Outside).collect();
    let [rest, named] = outside.as_slice() else { panic!("{outside:#?}") };
    assert_eq!(named.nets.iter().map(Cidr::to_string).collect::<Vec<_>>(), ["198.51.100.7/32", "203.0.113.0/24"]);
    let families: BTreeSet<Family> = rest.nets.iter().map(|net| net.family()).collect();
    assert_eq!(families.len(), 2);
}

#[test]
fn rows_say_ports_ways_families_and_rules() {
    let table = table(By::Service);
    assert_eq!(
        told(&table, "container host", "db"),
        [
            "Allow TCP 5432 Direct IPv4 by [\"db ingress[0]\"]",
            "Deny TCP 1:5431,5433:65535 Direct IPv4 by [\"end of tier default after db, ingress\"]",
            "Deny UDP all Direct IPv4 by [\"end of tier default after db, ingress\"]",
            "Deny SCTP all Direct IPv4 by [\"end of tier default after db, ingress\"]",
            "Deny ping all Direct IPv4 by [\"end of tier default after db, ingress\"]",
        ]
    );
    // Both families as one, and replicas among themselves.
    let among = told(&table, "web-1, web-2", "web-1, web-2");
    assert_eq!(among.first().map(String::as_str), Some("Allow TCP all Direct IPv4+IPv6 by []"), "{among:#?}");
    // Each replica has a port of the host of its own.
    let published = told(&table, "outside", "web-1, web-2");
    for port in [8080, 8081] {
        let row = format!("Allow TCP 80 Published {{ host_port: {port} }} IPv4+IPv6 by []");
        assert!(published.contains(&row), "{row}: {published:#?}");
    }
    // Docker isolates its networks: nothing is said of them.
    assert_eq!(told(&table, "cache", "db"), [""; 0]);
}

#[test]
fn between_networks_a_row_says_whether_it_holds_for_all_of_their_containers() {
    let table = table(By::Network);
    let names: Vec<&str> = table.groups.iter().map(|group| group.name.as_str()).collect();
    // Nobody on `lan` can be reached by policy.
    assert_eq!(names, ["back", "front", "host", "outside", "outside 198.51.100.7/32, 203.0.113.0/24"]);
    let in_short = |from: &str, to: &str| -> Vec<String> {
        let index = |name: &str| table.groups.iter().position(|group| group.name == name).expect("a group");
        let (from, to) = (index(from), index(to));
        let rows = table.rows.iter().filter(|row| (row.from, row.to) == (from, to));
        let tcp = rows.filter(|row| row.service == Service::Ports(crate::net::Protocol::TCP));
        tcp.map(|Row { decision, pairs, ports, via, families, rules, .. }| {
            format!("{decision:?} {pairs:?} {ports} {via:?} in {} by {}", families.len(), rules.join("; "))
        })
        .collect()
    };
    // What only `db` closes is open between some, and what it opens to `host` is among that.
    assert_eq!(in_short("back", "back"), ["Allow Some all Direct in 1 by db ingress[0]"]);
    // `web-3` has a policy, everyone else has none: of both families, because all of the network have both.
    assert_eq!(in_short("front", "front")[0], "Allow Some all Direct in 2 by ");
    // Docker keeps them apart, except by ports of this host.
    for row in in_short("back", "front").iter().chain(&in_short("front", "back")) {
        assert!(row.contains(" Proxy ") && row.starts_with("Allow Some 80") || row.starts_with("Deny All 80"), "{row}");
    }
    assert_eq!(in_short("back", "front").len(), 3);
    assert_eq!(in_short("front", "back"), [""; 0]);
    assert_eq!(in_short("host", "back"), ["Allow All all Direct in 1 by "]);
    assert_eq!(in_short("back", "outside"), ["Allow All all Direct in 1 by "]);
}
