use std::net::SocketAddr;

use super::*;
use crate::compile::{self, compile};
use crate::inventory::file;
use crate::policy::{SourceFile, load};

/// web and api on front, which is governed; db on back, which is not.
const WORLD: &str = r#"
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: host}
spec:
  networks:
    - {name: front, bridge: br-front, subnets: [10.1.0.0/24, "fd00:1::/64"], gateways: [10.1.0.1, "fd00:1::1"]}
    - {name: back, bridge: br-back, subnets: [10.2.0.0/24, "fd00:2::/64"], gateways: [10.2.0.1, "fd00:2::1"]}
  containers:
    - name: web
      labels: {app: web}
      networks: [{name: front, ipv4Address: 10.1.0.2, ipv6Address: "fd00:1::2", macAddress: "02:42:0a:01:00:02"}]
    - name: api
      labels: {app: api}
      networks: [{name: front, ipv4Address: 10.1.0.3, ipv6Address: "fd00:1::3"}]
      ports: ["8080:80", "5353:53/udp"]
    - name: db
      labels: {app: db}
      networks: [{name: back, ipv4Address: 10.2.0.2, macAddress: "02:42:0a:02:00:02"}]
"#;

/// api hears web on port 80, and pings; it asks nobody but the addresses of 198.51.100.0/24.
const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api'
  types: [Ingress, Egress]
  ingress:
    - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [80]}}
    - {action: Allow, protocol: ICMP}
  egress:
    - {action: Allow, destination: {nets: [198.51.100.0/24]}}
";

fn world(text: &str) -> Inventory {
    let (inventory, diagnostics) = file::load(&SourceFile::new("inventory.yaml", text));
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    inventory
}

fn ruleset(policy: &str, inventory: &Inventory) -> Ruleset {
    let loaded = load(&[SourceFile::new("p.yaml", policy)]);
    compile(&loaded.policies, inventory, &compile::Options::default()).ruleset
}

fn flow(protocol: Protocol, source: &str, destination: &str) -> Flow {
    let [source, destination] = [source, destination].map(|end| end.parse::<SocketAddr>().expect("address and port"));
    let is_icmp = [Protocol::ICMP, Protocol::ICMPV6].contains(&protocol);
    Flow {
        source: source.ip(),
        destination: destination.ip(),
        protocol,
        ports: (!is_icmp).then(|| (source.port(), destination.port())),
        icmp: is_icmp.then_some((8, 0)),
        picked_up: false,
    }
}

#[test]
fn what_policy_would_not_let_open_is_forbidden_and_nothing_else() {
    use Protocol as P;
    let inventory = world(WORLD);
    let ruleset = ruleset(POLICY, &inventory);
    let host = BTreeSet::from(["203.0.113.1".parse().expect("address"), "10.1.0.1".parse().expect("address")]);
    let judge = Judge::new(&ruleset, &inventory, &host);
    for (name, protocol, source, destination, forbidden) in [
        ("one bridge, allowed", P::TCP, "10.1.0.2:40000", "10.1.0.3:80", false),
        ("one bridge, another port", P::TCP, "10.1.0.2:40000", "10.1.0.3:81", true),
        ("one bridge, IPv6", P::TCP, "[fd00:1::2]:40000", "[fd00:1::3]:80", false),
        ("one bridge, IPv6, another port", P::TCP, "[fd00:1::2]:40000", "[fd00:1::3]:81", true),
        ("one bridge, the other way", P::TCP, "10.1.0.3:40000", "10.1.0.2:80", true),
        ("one bridge, UDP", P::UDP, "10.1.0.2:40000", "10.1.0.3:80", true),
        ("one bridge, ping", P::ICMP, "10.1.0.2:0", "10.1.0.3:0", false),
        ("one bridge, ping the other way", P::ICMP, "10.1.0.3:0", "10.1.0.2:0", true),
        ("routed, from a network that nobody governs", P::TCP, "10.2.0.2:40000", "10.1.0.3:80", true),
        ("routed, to an endpoint that no policy selects", P::TCP, "10.2.0.2:40000", "10.1.0.2:80", false),
        ("from outside, by DNAT", P::TCP, "203.0.113.9:40000", "10.1.0.3:80", true),
        ("from outside, by the proxy", P::TCP, "203.0.113.9:40000", "203.0.113.1:8080", true),
        ("from outside, to a port that is not published", P::TCP, "203.0.113.9:40000", "203.0.113.1:22", false),
        ("to the outside, allowed", P::TCP, "10.1.0.3:40000", "198.51.100.7:443", false),
        ("to the outside", P::TCP, "10.1.0.3:40000", "192.0.2.7:443", true),
        ("to this host", P::TCP, "10.1.0.3:40000", "10.1.0.1:22", true),
        ("to this host by its other address", P::TCP, "10.1.0.3:40000", "203.0.113.1:22", true),
        ("to this host by another network's gateway", P::TCP, "10.1.0.3:40000", "10.2.0.1:22", true),
        ("from this host", P::TCP, "10.1.0.1:40000", "10.1.0.3:81", false),
        ("within this host", P::TCP, "203.0.113.1:40000", "127.0.0.1:8080", false),
        ("from this host to the outside", P::TCP, "203.0.113.1:40000", "192.0.2.7:443", false),
        ("an answer of the proxy that opened a flow", P::UDP, "203.0.113.1:5353", "203.0.113.9:40000", true),
        ("an address that nobody has any more", P::TCP, "10.1.0.2:40000", "10.1.0.9:80", true),
        ("of an address that nobody has any more", P::TCP, "10.1.0.9:40000", "203.0.113.9:80", true),
        ("this host and an address that nobody has any more", P::TCP, "10.1.0.1:40000", "10.1.0.9:80", true),
        ("a network that nobody governs", P::TCP, "10.2.0.2:40000", "203.0.113.9:80", false),
        ("an address that nobody has on such a network", P::TCP, "10.2.0.9:40000", "203.0.113.9:80", false),
        ("other hosts", P::TCP, "203.0.113.8:40000", "203.0.113.9:80", false),
        ("link-local, governed", P::TCP, "[fe80::42:aff:fe01:2]:40000", "[fe80::99]:80", true),
        ("link-local, on a network that nobody governs", P::TCP, "[fe80::42:aff:fe02:2]:40000", "[fe80::99]:80", false),
    ] {
        assert_eq!(judge.forbids(&flow(protocol, source, destination)), forbidden, "{name}");
    }
}

#[test]
fn a_flow_through_a_published_port_is_one_to_the_container_behind_it() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web}
spec:
  selector: app == 'web'
  types: [Egress]
  egress: [{action: Deny, destination: {selector: app == 'db'}}, {action: Allow}]
";
    let with_port =
        WORLD.replace("labels: {app: db}", "labels: {app: db}\n      ports: [\"9090:90\", \"9053:53/udp\"]");
    let (before, after) = (world(WORLD), world(&with_port));
    let host = BTreeSet::from(["203.0.113.1".parse().expect("address"), "2001:db8::1".parse().expect("address")]);
    let (open, closed) = (ruleset(policy, &before), ruleset(policy, &after));
    for (name, protocol, source, destination, forbidden) in [
        ("web", Protocol::TCP, "10.1.0.2:40000", "203.0.113.1:9090", true),
        ("web, IPv6", Protocol::TCP, "[fd00:1::2]:40000", "[2001:db8::1]:9090", true),
        ("web, UDP", Protocol::UDP, "10.1.0.2:40000", "203.0.113.1:9053", true),
        ("an answer that opened a flow", Protocol::UDP, "203.0.113.1:9053", "10.1.0.2:40000", true),
        ("web, to api", Protocol::TCP, "10.1.0.2:40000", "203.0.113.1:8080", false),
        ("api", Protocol::TCP, "10.1.0.3:40000", "203.0.113.1:9090", false),
    ] {
        let flow = flow(protocol, source, destination);
        assert!(!Judge::new(&open, &before, &host).forbids(&flow), "{name}, before the port was published");
        assert_eq!(Judge::new(&closed, &after, &host).forbids(&flow), forbidden, "{name}");
    }
    assert_eq!(concerned(&open, &closed), Concerned::Everybody, "a port that is published may forbid flows");
}

#[test]
fn a_container_that_is_not_listed_yet_keeps_the_flows_of_this_host() {
    let mut inventory = world(WORLD);
    let host = BTreeSet::new();
    let flows = ["10.1.0.3:80", "10.1.0.9:80"].map(|container| flow(Protocol::TCP, "10.1.0.1:40000", container));
    for listed in [true, false] {
        inventory.containers.values_mut().for_each(|container| container.listed = listed);
        let ruleset = ruleset(POLICY, &inventory);
        let judge = Judge::new(&ruleset, &inventory, &host);
        assert_eq!(flows.each_ref().map(|flow| judge.forbids(flow)), [false, true], "listed: {listed}");
    }
    let listed = ruleset(POLICY, &world(WORLD));
    assert!(concerned(&listed, &ruleset(POLICY, &inventory)).is_nobody());
}

#[test]
fn of_a_flow_that_was_picked_up_the_port_tells_who_was_asked() {
    let inventory = world(WORLD);
    let ruleset = ruleset(POLICY, &inventory);
    let host = BTreeSet::new();
    let judge = Judge::new(&ruleset, &inventory, &host);
    for (name, source, destination, forbidden) in [
        ("as it was opened", "10.1.0.2:40000", "10.1.0.3:80", false),
        ("the other way round", "10.1.0.3:80", "10.1.0.2:40000", false),
        ("the other way round, forbidden", "10.1.0.3:81", "10.1.0.2:40000", true),
        ("no service to be seen, one way forbidden", "10.1.0.2:40000", "10.1.0.3:40001", true),
        ("two services, one way forbidden", "10.1.0.2:179", "10.1.0.3:80", true),
    ] {
        let picked_up = Flow { picked_up: true, ..flow(Protocol::TCP, source, destination) };
        assert_eq!(judge.forbids(&picked_up), forbidden, "{name}");
    }
}

#[test]
fn only_a_change_that_can_forbid_asks_for_a_judgement() {
    let replica = "
    - name: web-2
      labels: {app: web}
      networks: [{name: front, ipv4Address: 10.1.0.4}]
";
    let before = ruleset(POLICY, &world(WORLD));
    for (name, policy, world_text, judged) in [
        ("nothing", POLICY.to_owned(), WORLD.to_owned(), false),
        ("a replica comes", POLICY.to_owned(), WORLD.to_owned() + replica, false),
        ("an endpoint has another address", POLICY.to_owned(), WORLD.replace("10.1.0.2,", "10.1.0.7,"), true),
        ("a peer is another", POLICY.to_owned(), WORLD.replace("labels: {app: web}", "labels: {app: x}"), true),
        ("one that was known becomes a peer", POLICY.replace("== 'web'", "in {'web', 'api'}"), WORLD.to_owned(), true),
        ("policy", POLICY.replace("ports: [80]", "ports: [81]"), WORLD.to_owned(), true),
        ("a name of policy", POLICY.replace("name: api", "name: b"), WORLD.to_owned(), true),
        ("a network comes under policy", POLICY.replace("app == 'api'", "all()"), WORLD.to_owned(), true),
        ("a port is published", POLICY.to_owned(), WORLD.replace("8080:80", "8081:80"), true),
    ] {
        assert_eq!(!concerned(&before, &ruleset(&policy, &world(&world_text))).is_nobody(), judged, "{name}");
    }
    let (few, many) = (ruleset(POLICY, &world(WORLD)), ruleset(POLICY, &world(&(WORLD.to_owned() + replica))));
    let gone = Concerned::Addresses(["10.1.0.4", "fd00:1::4"].map(|text| text.parse().expect("an address")).into());
    assert_eq!(concerned(&many, &few), gone, "a replica goes");
    for (source, destination, judged) in [
        ("10.1.0.4:40000", "10.1.0.3:80", true),
        ("10.1.0.3:9", "10.1.0.4:9", true),
        ("10.1.0.2:40000", "10.1.0.3:80", false),
    ] {
        assert_eq!(gone.includes(&flow(Protocol::TCP, source, destination)), judged, "{source} {destination}");
    }
    let looser = ruleset(&POLICY.replace("ports: [80]", "ports: [81]"), &world(WORLD));
    assert_eq!(concerned(&few, &looser), Concerned::Everybody, "policy is about anybody");
}

#[test]
fn a_flow_is_at_a_port_of_this_host_where_that_end_is_the_hosts() {
    let inventory = world(WORLD);
    let ruleset = ruleset(POLICY, &inventory);
    let host = BTreeSet::from(["203.0.113.1", "2001:db8::1"].map(|address| address.parse().expect("an address")));
    let judge = Judge::new(&ruleset, &inventory, &host);
    for (name, source, destination, ports) in [
        ("from outside to docker-proxy", "203.0.113.9:40000", "203.0.113.1:8080", &[8080][..]),
        ("the same, IPv6", "[2001:db8::9]:40000", "[2001:db8::1]:8080", &[8080]),
        ("of a container, by its gateway", "10.2.0.2:40000", "10.2.0.1:8080", &[8080]),
        ("to another container, translated", "203.0.113.9:40000", "10.1.0.3:8080", &[]),
        ("of a container to a server outside", "10.1.0.2:8080", "198.51.100.7:443", &[]),
        ("from this host", "10.1.0.1:53", "10.1.0.3:80", &[53]),
        ("of this host with itself", "127.0.0.1:40000", "203.0.113.1:8080", &[40000, 8080]),
    ] {
        let expected: Vec<_> = ports.iter().map(|port| (Protocol::TCP, *port)).collect();
        assert_eq!(judge.local_ports(&flow(Protocol::TCP, source, destination)), expected, "{name}");
    }
    assert_eq!(judge.local_ports(&flow(Protocol::ICMP, "203.0.113.9:8", "203.0.113.1:0")), []);
}
