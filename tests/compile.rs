//! What the compiled ruleset is like: few rules, stable names, closed gates. From YAML, without a kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dockgate::compile::{Compiled, DenyAction, Options, compile};
use dockgate::inventory::{
    Attachment, Container, ContainerId, Inventory, Network, NetworkId, PublishedPort, Unenforceable,
};
use dockgate::net::{Family, InterfaceName, Protocol};
use dockgate::policy::{PolicySet, Severity, SourceFile, load};
use dockgate::ruleset::{Action, ChainName, Hook, Match, Role, SetName, differences};
use dockgate::verdict::{Decision, Packet, evaluate};

const WEB_TO_API: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: allow-web-to-api}
spec:
  selector: app == 'api'
  ingress: [{action: Allow, source: {selector: app == 'web'}}]
";

fn policies(text: &str) -> PolicySet {
    let loaded = load(&[SourceFile::new("p.yaml", text)]);
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    loaded.policies
}

fn bridge(name: &str) -> InterfaceName {
    format!("br-{name}").parse().expect("interface name")
}

fn network(name: &str, third: u8) -> Network {
    Network {
        id: NetworkId(name.into()),
        name: name.to_owned(),
        driver: "bridge".to_owned(),
        bridge: Some(bridge(name)),
        subnets: vec![
            format!("10.{third}.0.0/16").parse().expect("subnet"),
            format!("2001:db8:{third}::/64").parse().expect("subnet"),
        ],
        gateways: vec![],
        internal: false,
    }
}

fn container(name: &str, app: &str, network: &str, address: Option<(u8, u16)>) -> Container {
    let ipv4 = |(third, host): (u8, u16)| {
        let [high, low] = host.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, third, high, low))
    };
    let ipv6 = |(third, host): (u8, u16)| {
        let third = u16::from_str_radix(&third.to_string(), 16).expect("digits are hexadecimal digits too");
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, host))
    };
    Container {
        id: ContainerId(name.into()),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        labels: BTreeMap::from([("app".into(), app.into())]),
        attachments: vec![Attachment {
            network: NetworkId(network.into()),
            endpoint_id: name.into(),
            ipv4: address.map(ipv4),
            ipv6: address.map(ipv6),
            mac: None,
        }],
        unenforceable: None,
        published: vec![],
        listed: true,
        judged: std::collections::BTreeSet::new(),
        stated_namespace: None,
    }
}

fn inventory(networks: Vec<Network>, containers: Vec<Container>) -> Inventory {
    Inventory {
        networks: networks.into_iter().map(|network| (network.id.clone(), network)).collect(),
        containers: containers.into_iter().map(|container| (container.id.clone(), container)).collect(),
        ..Inventory::default()
    }
}

/// One api and `webs` web containers on one network.
fn shop(webs: u16) -> Inventory {
    let api = container("api", "api", "front", Some((1, 2)));
    let webs = (0..webs).map(|n| container(&format!("web-{n}"), "web", "front", Some((1, 100 + n))));
    inventory(vec![network("front", 1)], webs.chain([api]).collect())
}

fn compiled(text: &str, inventory: &Inventory) -> Compiled {
    compile(&policies(text), inventory, &Options::default())
}

fn tcp(source: &str, input: Option<&str>, destination: &str, output: Option<&str>) -> Packet {
    Packet {
        hook: Hook::Forward,
        in_interface: input.map(bridge),
        out_interface: output.map(bridge),
        source: source.parse().expect("source"),
        destination: destination.parse().expect("destination"),
        protocol: Protocol::TCP,
        source_port: Some(40_000),
        destination_port: Some(80),
        icmp: None,
    }
}

#[test]
fn scaling_a_service_changes_set_members_and_no_rule() {
    let policy = format!("{WEB_TO_API}---{}", WEB_TO_API.replace("allow-web-to-api", "webs").replace("'api'", "'web'"));
    let (before, after) = (compiled(&policy, &shop(1000)), compiled(&policy, &shop(1001)));
    assert_eq!(before.ruleset.chains, after.ruleset.chains);
    assert_eq!(before.ruleset.sets.keys().collect::<Vec<_>>(), after.ruleset.sets.keys().collect::<Vec<_>>());
    let mut grown = 0;
    for (name, set) in &after.ruleset.sets {
        let (added, removed) = differences(&before.ruleset.sets[name].members, &set.members);
        assert!(added.len() <= 1 && removed.is_empty(), "{name}");
        grown += added.len();
    }
    assert_eq!(
        grown, 8,
        "of each family: the known and the listed endpoints, the class of the webs, the peers of both rules in one set"
    );
    let rules = after.ruleset.chains.rules().count();
    assert!(rules < 120, "{rules} rules for 1001 endpoints");
}

#[test]
fn equal_worlds_give_equal_rulesets_and_without_policy_there_is_nothing() {
    assert_eq!(compiled(WEB_TO_API, &shop(3)), compiled(WEB_TO_API, &shop(3)));
    let nothing = compile(&PolicySet::default(), &shop(3), &Options::default()).ruleset;
    assert!(nothing.sets.is_empty() && nothing.bridges.is_empty());
    for family in Family::ALL {
        assert_eq!(nothing.chains[&family].len(), 3, "the base chains");
        assert!(nothing.chains[&family].values().all(|chain| chain.is_empty()));
    }
}

#[test]
fn a_network_is_closed_before_its_container_has_an_address() {
    let world = inventory(vec![network("front", 1)], vec![container("api", "api", "front", None)]);
    let ruleset = compiled(WEB_TO_API, &world).ruleset;
    assert!(ruleset.bridges.contains(&bridge("front")));
    for (source, destination) in [("10.1.0.9", "10.1.0.2"), ("2001:db8:1::9", "2001:db8:1::2")] {
        let verdict = evaluate(&ruleset, &tcp(source, Some("front"), destination, Some("front")));
        assert_eq!(verdict.decision, Decision::Deny, "{source}");
        assert!(verdict.trace.last().expect("a rule").comment.starts_with("gate: "));
    }
    let host = Packet { hook: Hook::Output, ..tcp("10.1.0.1", None, "10.1.0.2", Some("front")) };
    assert_eq!(evaluate(&ruleset, &host).decision, Decision::Deny, "nor does the host's proxy reach it");
}

/// Whoever comes first is closed until it is known which policies select it. On a bridge that the engine did not make may
/// be others, and this host's way to its LAN.
#[test]
fn a_network_without_endpoints_is_closed_while_there_is_any_policy() {
    let lan = Network { bridge: Some("br0".parse().expect("interface name")), ..network("lan", 3) };
    let networks = vec![network("empty", 1), network("free", 2), lan];
    let inventory = inventory(networks, vec![container("other", "other", "free", Some((2, 2)))]);
    let bridges = |text: &str| compiled(text, &inventory).ruleset.bridges;
    assert_eq!(bridges(WEB_TO_API), [bridge("empty")].into(), "not one with endpoints that no policy selects");
    assert_eq!(bridges(&WEB_TO_API.replace("kind: Network", "kind: StagedNetwork")), [].into(), "a staged policy");
    let first = tcp("10.1.0.2", Some("br-empty"), "10.1.0.3", Some("br-empty"));
    let verdict = evaluate(&compiled(WEB_TO_API, &inventory).ruleset, &first);
    assert_eq!(verdict.decision, Decision::Deny);
}

#[test]
fn the_gate_knows_each_address_on_its_own_network_only() {
    let world = inventory(
        vec![network("front", 1), network("back", 2), network("free", 3)],
        vec![
            container("api", "api", "front", Some((1, 2))),
            container("web", "web", "front", Some((1, 3))),
            container("db", "api", "back", Some((2, 2))),
            container("other", "other", "free", Some((3, 2))),
        ],
    );
    let ruleset = compiled(WEB_TO_API, &world).ruleset;
    let rows = [
        ("web reaches api", tcp("10.1.0.3", Some("front"), "10.1.0.2", Some("front")), Decision::Allow),
        ("IPv6 too", tcp("2001:db8:1::3", Some("front"), "2001:db8:1::2", Some("front")), Decision::Allow),
        ("web's address from another bridge", tcp("10.1.0.3", Some("back"), "10.1.0.2", Some("front")), Decision::Deny),
        ("web's address from a free network", tcp("10.1.0.3", Some("free"), "10.1.0.2", Some("front")), Decision::Deny),
        ("web's address from the outside", tcp("10.1.0.3", None, "10.1.0.2", Some("front")), Decision::Deny),
        ("nobody's address", tcp("10.1.0.99", Some("front"), "203.0.113.9", None), Decision::Deny),
        ("to nobody's address", tcp("10.1.0.2", Some("front"), "10.1.0.99", Some("front")), Decision::Deny),
        ("to a link-local address", tcp("2001:db8:1::3", Some("front"), "fe80::2", Some("front")), Decision::Deny),
        ("from a link-local address", tcp("fe80::3", Some("front"), "2001:db8:1::2", Some("front")), Decision::Deny),
        ("a free network is left alone", tcp("10.3.0.99", Some("free"), "203.0.113.9", None), Decision::Allow),
    ];
    for (name, packet, decision) in rows {
        let verdict = evaluate(&ruleset, &packet);
        assert_eq!(verdict.decision, decision, "{name}: {:#?}", verdict.trace);
    }
}

#[test]
fn neighbour_discovery_passes_and_router_advertisements_do_not() {
    let ruleset = compiled(WEB_TO_API, &shop(1)).ruleset;
    let icmp = |icmp_type| Packet {
        protocol: Protocol::ICMPV6,
        source_port: None,
        destination_port: None,
        icmp: Some((icmp_type, 0)),
        ..tcp("fe80::99", Some("front"), "fe80::2", Some("front"))
    };
    for (icmp_type, decision) in [
        (135, Decision::Allow),
        (136, Decision::Allow),
        (143, Decision::Allow),
        (134, Decision::Deny),
        (137, Decision::Deny),
        (128, Decision::Deny),
    ] {
        assert_eq!(evaluate(&ruleset, &icmp(icmp_type)).decision, decision, "type {icmp_type}");
    }
}

#[test]
fn neighbour_discovery_carries_nothing_off_its_link() {
    let closed = WEB_TO_API.replace("selector: app == 'api'", "selector: app == 'api'\n  types: [Ingress, Egress]");
    let ruleset = compiled(&closed, &shop(1)).ruleset;
    let advertisement = |output| Packet {
        protocol: Protocol::ICMPV6,
        source_port: None,
        destination_port: None,
        icmp: Some((136, 0)),
        ..tcp("2001:db8:1::2", Some("front"), "2001:db8:99::1", output)
    };
    assert_eq!(evaluate(&ruleset, &advertisement(None)).decision, Decision::Deny);
    assert_eq!(evaluate(&ruleset, &advertisement(Some("front"))).decision, Decision::Allow);
}

/// Policies that add no rule to a chain make different classes come to the same chain.
#[test]
fn classes_that_come_to_the_same_chain_keep_all_their_members() {
    let without_rules = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: a-first}
spec: {selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: b-nothing}
spec: {selector: has(extra), types: [Ingress]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: c-last}
spec: {selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]}
";
    let without_ipv6_rules =
        without_rules.replace("types: [Ingress]}", "ingress: [{action: Allow, source: {nets: [192.0.2.0/24]}}]}");
    let mut world = shop(2);
    let one = world.containers.get_mut(&ContainerId("web-0".into())).expect("web-0");
    one.labels.insert("extra".into(), "1".into());
    for policy in [without_rules, &without_ipv6_rules] {
        let ruleset = compiled(policy, &world).ruleset;
        for (source, targets) in
            [("10.1.0.2", ["10.1.0.100", "10.1.0.101"]), ("2001:db8:1::2", ["2001:db8:1::64", "2001:db8:1::65"])]
        {
            for target in targets {
                let to =
                    |port| Packet { destination_port: Some(port), ..tcp(source, Some("front"), target, Some("front")) };
                assert_eq!(evaluate(&ruleset, &to(22)).decision, Decision::Deny, "{source} > {target}");
                assert_eq!(evaluate(&ruleset, &to(443)).decision, Decision::Allow, "{source} > {target}");
            }
        }
    }
}

#[test]
fn what_reaches_every_endpoint_needs_every_class() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: api}
spec: {selector: app == 'api', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80, 81]}}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec: {selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
";
    let ruleset = compiled(policy, &shop(2)).ruleset;
    for (destination, source) in [
        ("224.0.0.251", "10.1.0.2"),
        ("255.255.255.255", "10.1.0.2"),
        ("10.1.255.255", "10.1.0.2"),
        ("ff02::fb", "2001:db8:1::2"),
    ] {
        let to =
            |port| Packet { destination_port: Some(port), ..tcp(source, Some("front"), destination, Some("front")) };
        assert_eq!(evaluate(&ruleset, &to(80)).decision, Decision::Allow, "{destination}: both classes allow it");
        assert_eq!(evaluate(&ruleset, &to(81)).decision, Decision::Deny, "{destination}: one class does not");
    }
}

#[test]
fn endpoints_out_of_reach_have_no_class_and_no_network() {
    let mut shared = container("side", "api", "front", Some((1, 9)));
    shared.unenforceable = Some(Unenforceable::SharedWith("web".to_owned()));
    let mut macvlan = network("lan", 4);
    macvlan.bridge = None;
    let world =
        inventory(vec![network("front", 1), macvlan], vec![shared, container("far", "api", "lan", Some((4, 2)))]);
    assert!(compiled(WEB_TO_API, &world).ruleset.bridges.is_empty());
}

/// The driver of a network decides whether the addresses on it are to be seen at this host's hooks.
#[test]
fn a_peer_is_who_shows_its_address() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api'
  types: [Ingress, Egress]
  ingress: [{action: Allow, source: {selector: app == 'web'}}]
  egress: [{action: Allow, protocol: TCP, destination: {selector: app == 'web', ports: [http]}}]
";
    for (driver, decision) in [("overlay", Decision::Deny), ("macvlan", Decision::Allow), ("ipvlan", Decision::Allow)] {
        let lan = Network { driver: driver.to_owned(), bridge: None, ..network("lan", 4) };
        let mut far = container("far", "web", "lan", Some((4, 2)));
        far.labels.insert("dockgate.io/ports".into(), "http=80/tcp".into());
        let world =
            inventory(vec![network("front", 1), lan], vec![container("api", "api", "front", Some((1, 2))), far]);
        let ruleset = compiled(policy, &world).ruleset;
        for (api, far) in [("10.1.0.2", "10.4.0.2"), ("2001:db8:1::2", "2001:db8:4::2")] {
            let from = evaluate(&ruleset, &tcp(far, None, api, Some("front")));
            let to = evaluate(&ruleset, &tcp(api, Some("front"), far, None));
            assert_eq!((from.decision, to.decision), (decision, decision), "{driver}, {far}");
        }
    }
}

#[test]
fn rules_name_policies_and_reject_answers() {
    let options = Options { deny_action: DenyAction::Reject, ..Options::default() };
    let compiled = compile(&policies(WEB_TO_API), &shop(1), &options);
    let verdict = evaluate(&compiled.ruleset, &tcp("203.0.113.9", None, "10.1.0.2", Some("front")));
    let last = verdict.trace.last().expect("a rule");
    assert_eq!(last.action, Action::Reject);
    assert_eq!(&*last.comment, "end of tier default after allow-web-to-api, ingress");
    let allowed = evaluate(&compiled.ruleset, &tcp("10.1.0.100", Some("front"), "10.1.0.2", Some("front")));
    assert_eq!(&*allowed.trace.last().expect("a rule").comment, "allow-web-to-api ingress[0]");
    assert_eq!(compiled.origins["allow-web-to-api ingress[0]"].location.line, 7);
}

#[test]
fn every_set_that_a_rule_names_exists_in_the_rules_family() {
    let ruleset = compiled(WEB_TO_API, &shop(5)).ruleset;
    for (family, chains) in ruleset.chains.iter() {
        for rule in chains.values().flat_map(|chain| chain.iter()) {
            for condition in rule.matches.iter() {
                if let Match::Set { set, kind, .. } = condition {
                    let found = ruleset.sets.get(set).unwrap_or_else(|| panic!("no set {set}"));
                    assert_eq!((found.family, found.kind), (*family, *kind), "{set}");
                }
            }
        }
    }
    assert!(ruleset.sets.contains_key(&SetName::known(Family::V6)));
}

#[test]
fn whom_a_rule_names_is_bound_to_its_port_also_where_no_policy_is() {
    let excluding = WEB_TO_API.replace("selector: app == 'web'", "notSelector: app == 'web'");
    let mut world = shop(0);
    let network = |name: &str, third| (NetworkId(name.into()), network(name, third));
    world.networks.extend([network("side", 2), network("far", 3)]);
    let on = |name: &str, app: &str, network: &str, address| container(name, app, network, Some(address));
    for container in
        [on("web", "web", "side", (2, 2)), on("other", "other", "side", (2, 3)), on("third", "other", "far", (3, 2))]
    {
        world.containers.insert(container.id.clone(), container);
    }
    for policy in [WEB_TO_API, &excluding] {
        let ruleset = compiled(policy, &world).ruleset;
        let bound = ruleset.anti_spoofing.expect("a network is governed");
        let shown: Vec<_> =
            bound.bindings.iter().map(|of| (of.endpoint.as_str(), of.bridge.to_string(), of.role)).collect();
        let front = ("api@front", "br-front".to_owned(), Role::Governed);
        assert_eq!(shown, [front, ("web@side", "br-side".to_owned(), Role::Peer)], "and no other of its network");
        assert!(bound.subnets.iter().all(|subnet| !subnet.contains("10.2.0.2".parse().expect("an address"))));
        assert_eq!(ruleset.bridges, [bridge("front")].into(), "nothing else happens on its bridge");
    }
    let nobody = compiled(&WEB_TO_API.replace("'web'", "'nobody'"), &world).ruleset.anti_spoofing;
    assert_eq!(nobody.expect("a network is governed").bindings.len(), 1);
}

#[test]
fn a_published_port_is_judged_on_the_host_by_the_policy_of_its_container() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api'
  ingress:
    - {action: Allow, protocol: TCP, source: {nets: ['2001:db8:9::/48']}, destination: {ports: [80]}}
    - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [http]}}
    - {action: Allow, protocol: SCTP, source: {nets: [203.0.113.9/32]}, destination: {ports: [82]}}
";
    let mut world = shop(1);
    let api = world.containers.get_mut(&ContainerId("api".into())).expect("api");
    api.labels.insert("dockgate.io/ports".into(), "http=80/tcp".into());
    let publish = |host_port, container_port| PublishedPort {
        host_address: None,
        host_port: Some(host_port),
        container_port,
        protocol: Protocol::TCP,
    };
    let sctp = PublishedPort { protocol: Protocol::SCTP, ..publish(8082, 82) };
    let bound = PublishedPort { host_address: "10.1.0.1".parse().ok(), ..publish(8083, 81) };
    api.published = vec![publish(8080, 80), publish(8081, 81), sctp, bound];
    api.judged = api.published.iter().cloned().collect();
    let ruleset = compiled(policy, &world).ruleset;
    let to_host = |source: &str, input: Option<&str>, port| Packet {
        hook: Hook::Input,
        destination_port: Some(port),
        ..tcp(source, input, if source.contains(':') { "2001:db8:1::1" } else { "10.1.0.1" }, None)
    };
    let by_sctp = |packet: Packet| Packet { protocol: Protocol::SCTP, ..packet };
    let elsewhere = "10.1.0.9".parse().expect("address");
    let rows = [
        ("an allowed client over SCTP", by_sctp(to_host("203.0.113.9", None, 8082)), Decision::Allow),
        ("another client over SCTP", by_sctp(to_host("203.0.113.8", None, 8082)), Decision::Deny),
        ("the port's number over TCP", to_host("203.0.113.8", None, 8082), Decision::Allow),
        ("a port bound to an address", to_host("203.0.113.9", None, 8083), Decision::Deny),
        ("its number on another address", Packet { destination: elsewhere, ..to_host("203.0.113.9", None, 8083) }, {
            Decision::Allow
        }),
        ("an allowed client over IPv6", to_host("2001:db8:9::9", None, 8080), Decision::Allow),
        ("another client over IPv6", to_host("2001:db8:8::9", None, 8080), Decision::Deny),
        ("a client over IPv4", to_host("203.0.113.9", None, 8080), Decision::Deny),
        ("an allowed container", to_host("10.1.0.100", Some("front"), 8080), Decision::Allow),
        ("another container", to_host("10.3.0.2", Some("free"), 8080), Decision::Deny),
        ("a port that no rule allows", to_host("10.1.0.100", Some("front"), 8081), Decision::Deny),
        ("a port of the host's own", to_host("203.0.113.9", None, 22), Decision::Allow),
    ];
    for (name, packet, decision) in rows {
        let verdict = evaluate(&ruleset, &packet);
        assert_eq!(verdict.decision, decision, "{name}: {:#?}", verdict.trace);
    }
    let liar = Packet { in_interface: Some(bridge("free")), ..to_host("10.1.0.100", Some("free"), 8080) };
    assert_eq!(evaluate(&ruleset, &liar).decision, Decision::Deny, "an allowed container's address from elsewhere");
    let itself = Packet { in_interface: Some(InterfaceName::loopback()), ..to_host("203.0.113.9", None, 8080) };
    assert_eq!(evaluate(&ruleset, &itself).decision, Decision::Allow, "the host itself");
}

/// The same number at different addresses of the host is as many ports.
#[test]
fn a_port_number_at_two_addresses_leads_to_two_services() {
    use Decision::{Allow, Deny};
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec: {selector: app == 'api', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db}
spec: {selector: app == 'db', ingress: [{action: Allow, source: {nets: [203.0.113.9/32]}}]}
";
    let publish = |address: &str, container_port| PublishedPort {
        host_address: address.parse().ok(),
        host_port: Some(8080),
        container_port,
        protocol: Protocol::TCP,
    };
    let mut api = container("api", "api", "front", Some((1, 2)));
    api.published = vec![publish("192.0.2.1", 80), publish("192.0.2.2", 81)];
    let mut db = container("db", "db", "back", Some((2, 2)));
    db.published = vec![publish("192.0.2.3", 80)];
    let ruleset = compiled(policy, &inventory(vec![network("front", 1), network("back", 2)], vec![api, db])).ruleset;
    for (address, client, decision) in [
        ("192.0.2.1", "203.0.113.8", Allow),
        ("192.0.2.2", "203.0.113.8", Deny),
        ("192.0.2.3", "203.0.113.8", Deny),
        ("192.0.2.3", "203.0.113.9", Allow),
        ("192.0.2.4", "203.0.113.8", Allow),
    ] {
        let packet = Packet { hook: Hook::Input, destination_port: Some(8080), ..tcp(client, None, address, None) };
        assert_eq!(evaluate(&ruleset, &packet).decision, decision, "{client} to {address}");
    }
}

/// Behind the proxy the destination has the container's address, whatever the family of the client.
#[test]
fn blocks_of_the_destination_are_about_the_container_behind_a_published_port() {
    use Decision::{Allow, Deny};
    let walled = |rule: &str| {
        format!(
            "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {{name: api}}
spec: {{selector: app == 'api', ingress: [{rule}, {{action: Allow, source: {{nets: ['2001:db8:9::/48']}}}}]}}
"
        )
    };
    let world = |v6: bool| {
        let mut world = shop(1);
        let api = world.containers.get_mut(&ContainerId("api".into())).expect("api");
        api.published = vec![PublishedPort {
            host_address: None,
            host_port: Some(8080),
            container_port: 80,
            protocol: Protocol::TCP,
        }];
        api.attachments[0].ipv6 = api.attachments[0].ipv6.filter(|_| v6);
        world
    };
    let client =
        Packet { hook: Hook::Input, destination_port: Some(8080), ..tcp("2001:db8:9::9", None, "2001:db8:1::1", None) };
    for (rule, [only_v4, both]) in [
        ("{action: Deny, destination: {nets: [10.1.0.0/16]}}", [Deny, Allow]),
        ("{action: Deny, destination: {nets: ['2001:db8:1::/64']}}", [Allow, Deny]),
        ("{action: Deny, destination: {notNets: [10.9.0.0/16]}}", [Deny, Deny]),
        ("{action: Deny, destination: {notNets: [10.1.0.0/16]}}", [Allow, Deny]),
        ("{action: Deny, ipVersion: 4, destination: {nets: [10.1.0.0/16]}}", [Allow, Allow]),
        ("{action: Deny, source: {notNets: [203.0.113.9/32]}}", [Allow, Allow]),
        ("{action: Deny, ipVersion: 6}", [Deny, Deny]),
    ] {
        for (v6, decision) in [(false, only_v4), (true, both)] {
            let verdict = evaluate(&compiled(&walled(rule), &world(v6)).ruleset, &client);
            assert_eq!(verdict.decision, decision, "{rule}, IPv6: {v6}: {:#?}", verdict.trace);
        }
    }
}

#[test]
fn a_published_range_is_one_rule_for_each_part_that_policy_tells_apart() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api'
  ingress: [{action: Allow, protocol: UDP, destination: {ports: ['20010:20019']}}]
";
    let mut world = shop(1);
    let api = world.containers.get_mut(&ContainerId("api".into())).expect("api");
    let publish = |host_port, container_port| PublishedPort {
        host_address: None,
        host_port: Some(host_port),
        container_port,
        protocol: Protocol::UDP,
    };
    let same = (20_000..=20_099).map(|port| publish(port, port));
    let moved = (30_000..=30_009).map(|port| publish(port, port - 30_000 + 20_015));
    api.published = same.chain(moved).collect();
    let ruleset = compiled(policy, &world).ruleset;
    for family in Family::ALL {
        let rules = |hook, text: &str| {
            let chain = ruleset.chain(family, &ChainName::base(hook)).expect("a base chain");
            let mut comments: Vec<_> = chain.iter().map(|rule| &*rule.comment).collect();
            comments.retain(|comment| comment.starts_with(text));
            comments.sort_unstable();
            comments.iter().map(|comment| (*comment).to_owned()).collect::<Vec<_>>()
        };
        let judged = ["20000:20009", "20010:20019", "20020:20099", "30000:30004", "30005:30009"];
        assert_eq!(rules(Hook::Input, "published"), judged.map(|range| format!("published port {range}/UDP")));
        let answers = ["20000:20099", "30000:30009"];
        let answer = |range| format!("answer from published port {range}/UDP to a flow that is not open");
        assert_eq!(rules(Hook::Output, "answer"), answers.map(answer));
    }
    let to = |port| Packet {
        hook: Hook::Input,
        protocol: Protocol::UDP,
        destination_port: Some(port),
        ..tcp("203.0.113.9", None, "10.1.0.1", None)
    };
    for (port, decision) in [
        (19_999, Decision::Allow),
        (20_009, Decision::Deny),
        (20_010, Decision::Allow),
        (20_019, Decision::Allow),
        (20_020, Decision::Deny),
        (30_004, Decision::Allow),
        (30_005, Decision::Deny),
        (30_010, Decision::Allow),
    ] {
        assert_eq!(evaluate(&ruleset, &to(port)).decision, decision, "{port}");
    }
}

#[test]
fn egress_policy_is_asked_about_the_container_behind_a_published_port() {
    use Decision::{Allow, Deny};
    const CLIENTS: [&str; 4] = ["web", "guest", "reader", "free"];
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: not-to-the-database}
spec:
  selector: app == 'web'
  types: [Egress]
  egress: [{action: Deny, destination: {selector: app == 'db'}}, {action: Allow}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-abroad}
spec:
  selector: app == 'guest'
  types: [Egress]
  egress: [{action: Deny, destination: {nets: [10.2.0.0/16]}}, {action: Allow}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-http}
spec:
  selector: app == 'reader'
  types: [Egress]
  egress:
    - {action: Allow, protocol: TCP, destination: {nets: [203.0.113.1/32]}}
    - {action: Allow, protocol: TCP, destination: {nets: ['2001:db8:99::1/128']}}
    - {action: Allow, protocol: TCP, destination: {selector: app == 'db', ports: [http]}}
";
    let publish = |address: Option<&str>, host_port, container_port, protocol| PublishedPort {
        host_address: address.map(|address| address.parse().expect("address")),
        host_port: Some(host_port),
        container_port,
        protocol,
    };
    // On a network without policy, and with IPv4 alone.
    let mut db = container("db", "db", "back", Some((2, 2)));
    db.attachments[0].ipv6 = None;
    db.labels.insert("dockgate.io/ports".into(), "http=80/tcp".into());
    db.published = vec![
        publish(None, 8080, 80, Protocol::TCP),
        publish(Some("203.0.113.1"), 5432, 5432, Protocol::TCP),
        publish(None, 5353, 53, Protocol::UDP),
    ];
    let mut other = container("other", "other", "front", Some((1, 9)));
    other.published = vec![publish(None, 8081, 80, Protocol::TCP)];
    let clients = CLIENTS.iter().zip(3..).map(|(app, host)| container(app, app, "front", Some((1, host))));
    let networks = vec![network("front", 1), network("back", 2)];
    let world = inventory(networks, clients.chain([db, other]).collect());
    let ruleset = compiled(policy, &world).ruleset;
    let from = |client: &str, v6: bool, port| {
        let host = 3 + CLIENTS.iter().position(|name| *name == client).expect("a client");
        let (source, destination) = if v6 {
            (format!("2001:db8:1::{host}"), "2001:db8:99::1")
        } else {
            (format!("10.1.0.{host}"), "203.0.113.1")
        };
        let protocol = if port == 5353 { Protocol::UDP } else { Protocol::TCP };
        let packet = tcp(&source, Some("front"), destination, None);
        Packet { hook: Hook::Input, protocol, destination_port: Some(port), ..packet }
    };
    for (client, port, [v4, v6]) in [
        ("web", 8080, [Deny, Deny]),
        ("web", 5432, [Deny, Allow]),
        ("web", 5353, [Deny, Deny]),
        ("web", 8081, [Allow, Allow]),
        ("web", 22, [Allow, Allow]),
        ("guest", 8080, [Deny, Deny]),
        ("guest", 5432, [Deny, Allow]),
        ("guest", 8081, [Allow, Allow]),
        ("reader", 8080, [Allow, Allow]),
        ("reader", 5432, [Deny, Allow]),
        ("reader", 8081, [Deny, Deny]),
        ("free", 8080, [Allow, Allow]),
        ("free", 5432, [Allow, Allow]),
    ] {
        for (v6, decision) in [(false, v4), (true, v6)] {
            let verdict = evaluate(&ruleset, &from(client, v6, port));
            assert_eq!(verdict.decision, decision, "{client} to {port}, IPv6: {v6}: {:#?}", verdict.trace);
        }
    }
    // What was cut on the way to the proxy is not opened anew by its next answer.
    let answer = Packet {
        hook: Hook::Output,
        protocol: Protocol::UDP,
        source_port: Some(5353),
        destination_port: Some(40_000),
        ..tcp("10.1.0.1", None, "10.1.0.3", Some("front"))
    };
    assert_eq!(evaluate(&ruleset, &answer).decision, Deny);
    assert_eq!(evaluate(&ruleset, &Packet { source_port: Some(53), ..answer }).decision, Allow);
}

#[test]
fn ports_that_come_and_go_refill_one_chain_for_each_class() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'web', types: [Egress], egress: [{action: Allow, destination: {selector: app == 'api'}}]}
";
    let with_ports = |ports: std::ops::Range<u16>| {
        let mut world = shop(3);
        let api = world.containers.get_mut(&ContainerId("api".into())).expect("api");
        let port = |host_port| PublishedPort {
            host_address: None,
            host_port: Some(host_port),
            container_port: 80,
            protocol: Protocol::TCP,
        };
        api.published = ports.map(port).collect();
        api.judged = api.published.iter().cloned().collect();
        compiled(policy, &world).ruleset
    };
    let (before, after) = (with_ports(8000..8001), with_ports(8000..9000));
    assert_eq!(before.sets, after.sets);
    for family in Family::ALL {
        let (before, after) = (&before.chains[&family], &after.chains[&family]);
        assert!(before.keys().eq(after.keys()));
        let changed: Vec<_> =
            before.keys().filter(|name| before[*name] != after[*name]).map(ToString::to_string).collect();
        assert!(matches!(changed.as_slice(), [name] if name.starts_with("DG-reach-closed-")), "{changed:?}");
    }
}
