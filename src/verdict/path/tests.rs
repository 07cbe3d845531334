use super::*;
use crate::inventory::{Attachment, Container, ContainerId, NetworkId, PublishedPort};

/// Networks front (both families), back (internal) and edge (macvlan); web on front and back, api on front, db on
/// back, lan on edge, agent on the host's network, sidecar in web's.
fn world() -> Inventory {
    let network = |name: &str, octet: u8, internal: bool| Network {
        id: NetworkId(format!("{name}-id").into()),
        name: name.to_owned(),
        driver: "bridge".to_owned(),
        bridge: Some(format!("br-{name}").parse().unwrap()),
        subnets: vec![format!("172.18.{octet}.0/24").parse().unwrap(), format!("fd00:{octet}::/64").parse().unwrap()],
        gateways: vec![format!("172.18.{octet}.1").parse().unwrap(), format!("fd00:{octet}::1").parse().unwrap()],
        internal,
    };
    let edge = Network { driver: "macvlan".to_owned(), bridge: None, ..network("edge", 3, false) };
    let networks = [network("front", 1, false), network("back", 2, true), edge];
    let attachment = |name: &str, octet: u8, host: u8, v6: bool| Attachment {
        network: NetworkId(format!("{name}-id").into()),
        endpoint_id: "".into(),
        ipv4: format!("172.18.{octet}.{host}").parse().ok(),
        ipv6: v6.then(|| format!("fd00:{octet}::{host}").parse().unwrap()),
        mac: None,
    };
    let container = |name: &str, attachments: Vec<Attachment>| Container {
        id: ContainerId(format!("{name}0123456789").into()),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        labels: [].into(),
        attachments,
        unenforceable: None,
        published: vec![],
        listed: true,
        judged: std::collections::BTreeSet::new(),
        stated_namespace: None,
    };
    let out_of_reach = |name, reason| Container { unenforceable: Some(reason), ..container(name, vec![]) };
    let containers = [
        container("web", vec![attachment("front", 1, 2, true), attachment("back", 2, 2, false)]),
        container("api", vec![attachment("front", 1, 3, true)]),
        container("db", vec![attachment("back", 2, 3, false)]),
        container("lan", vec![attachment("edge", 3, 2, false)]),
        container("hermit", vec![]),
        out_of_reach("agent", Unenforceable::HostNetwork),
        out_of_reach("sidecar", Unenforceable::SharedWith("web0123456789".to_owned())),
    ];
    Inventory {
        networks: networks.into_iter().map(|network| (network.id.clone(), network)).collect(),
        containers: containers.into_iter().map(|container| (container.id.clone(), container)).collect(),
        ..Inventory::default()
    }
}

const HTTP: Traffic = Traffic::Ports { protocol: Protocol::TCP, source: 49_152, destination: 80 };

/// Every way as `HOOK in>out source>destination: route`.
fn ways(from: &str, to: &str) -> Result<Vec<String>, Error> {
    let world = world();
    let (from, to) = (End::find(&world, from)?, End::find(&world, to)?);
    let found = Finder::new(&world).paths(&from, &to, HTTP, &Family::ALL)?;
    let interface = |name: &Option<InterfaceName>| name.as_ref().map_or("*".to_owned(), ToString::to_string);
    let shown = |path: &Path<'_>| {
        let Packet { hook, in_interface, out_interface, source, destination, .. } = &path.packet;
        let (from, to) = (interface(in_interface), interface(out_interface));
        format!("{} {from}>{to} {source}>{destination}: {}", hook.kernel_chain(), path.route)
    };
    Ok(found.judged.iter().map(shown).collect())
}

#[test]
fn every_pair_of_ends_has_its_ways() {
    for (name, from, to, expected) in [
        (
            "one shared network, both families",
            "web",
            "api",
            vec![
                "FORWARD br-front>br-front 172.18.1.2>172.18.1.3: on network front",
                "FORWARD br-front>br-front fd00:1::2>fd00:1::3: on network front",
            ],
        ),
        (
            "shared network in one family",
            "web",
            "db",
            vec!["FORWARD br-back>br-back 172.18.2.2>172.18.2.3: on network back"],
        ),
        (
            "no shared network",
            "api",
            "db",
            vec!["FORWARD br-front>br-back 172.18.1.3>172.18.2.3: from network front to network back"],
        ),
        (
            "by the network that is named",
            "web@front",
            "db",
            vec!["FORWARD br-front>br-back 172.18.1.2>172.18.2.3: from network front to network back"],
        ),
        (
            "by address",
            "172.18.1.2",
            "fd00:1::3",
            vec![
                "FORWARD br-front>br-front 172.18.1.2>172.18.1.3: on network front",
                "FORWARD br-front>br-front fd00:1::2>fd00:1::3: on network front",
            ],
        ),
        (
            "by id",
            "api01234",
            "db",
            vec!["FORWARD br-front>br-back 172.18.1.3>172.18.2.3: from network front to network back"],
        ),
        (
            "from outside",
            "203.0.113.9",
            "web",
            vec![
                "FORWARD *>br-back 203.0.113.9>172.18.2.2: from the outside to network back",
                "FORWARD *>br-front 203.0.113.9>172.18.1.2: from the outside to network front",
            ],
        ),
        (
            "to outside",
            "web",
            "2001:db8::9",
            vec!["FORWARD br-front>* fd00:1::2>2001:db8::9: from network front to the outside"],
        ),
        (
            "an IPv4 address in IPv6 clothes",
            "api",
            "::ffff:203.0.113.9",
            vec!["FORWARD br-front>* 172.18.1.3>203.0.113.9: from network front to the outside"],
        ),
        (
            "an address that nobody has on a network",
            "172.18.1.77",
            "api",
            vec!["FORWARD br-front>br-front 172.18.1.77>172.18.1.3: on network front"],
        ),
        (
            "to this host",
            "api",
            "host",
            vec![
                "INPUT br-front>* 172.18.1.3>172.18.1.1: from network front to this host",
                "INPUT br-front>* fd00:1::3>fd00:1::1: from network front to this host",
            ],
        ),
        (
            "to this host by another gateway address",
            "api",
            "172.18.2.1",
            vec!["INPUT br-front>* 172.18.1.3>172.18.2.1: from network front to this host"],
        ),
        (
            "from a container on the host's network",
            "agent",
            "db",
            vec!["OUTPUT *>br-back 172.18.2.1>172.18.2.3: from this host to network back"],
        ),
        (
            "from a container in another's network stack",
            "sidecar",
            "db",
            vec!["FORWARD br-back>br-back 172.18.2.2>172.18.2.3: on network back"],
        ),
    ] {
        assert_eq!(ways(from, to).unwrap(), expected, "{name}");
    }
}

#[test]
fn the_metadata_service_of_a_cloud_can_be_asked_about() {
    let expected = "FORWARD br-front>* 172.18.1.3>169.254.169.254: from network front to the outside";
    assert_eq!(ways("api", "169.254.169.254"), Ok(vec![expected.to_owned()]));
}

#[test]
fn what_cannot_be_judged_says_why() {
    for (name, from, to, text) in [
        ("typing error", "wbe", "api", "`wbe` is no container here, no address, and not `host`"),
        ("short id", "we", "api", "`we` is no container here, no address, and not `host`"),
        ("wrong network", "web@edge", "api", "container web is not on network edge"),
        ("itself", "web@front", "web@back", "both ends are the container web"),
        ("its own stack", "sidecar", "web", "both ends are the container web"),
        ("outside to outside", "203.0.113.9", "203.0.113.10", "neither end is on a Docker network"),
        ("host to host", "host", "agent", "neither end is on a Docker network"),
        ("no common family", "db", "2001:db8::9", "the two ends have no address of the same family"),
        ("macvlan", "lan", "api", "policy cannot reach lan@edge: driver macvlan"),
        ("nothing but a loopback", "hermit", "api", "container hermit is on no network"),
        ("its own loopback", "api", "127.0.0.1", "`127.0.0.1` is the sender's own loopback"),
        ("its own loopback, by IPv6", "api", "::1", "`::1` is the sender's own loopback"),
        ("another name of it", "172.18.1.77", "127.9.9.9", "`127.9.9.9` is the sender's own loopback"),
        ("any address", "api", "0.0.0.0", "`0.0.0.0` is nobody's address"),
        ("any address, as a source", "::", "api", "`::` is nobody's address"),
        ("a group", "api", "224.0.0.251", "`224.0.0.251` is the address of many receivers"),
        ("a group of IPv6", "api", "ff02::fb", "`ff02::fb` is the address of many receivers"),
        ("everybody", "api", "255.255.255.255", "`255.255.255.255` is the address of many receivers"),
        ("everybody of a network", "api", "172.18.1.255", "`172.18.1.255` is the address of many receivers"),
        ("a link that nobody knows", "api", "fe80::99", "`fe80::99` counts on a single link only"),
    ] {
        let error = ways(from, to).unwrap_err().to_string();
        assert!(error.starts_with(text), "{name}: {error}");
    }
}

#[test]
fn published_ports_are_reached_through_the_proxy_too() {
    let ways = |host_address: Option<&str>, from: &str| {
        let mut world = world();
        let db = world.containers.get_mut(&ContainerId("db0123456789".into())).unwrap();
        db.published = vec![PublishedPort {
            host_address: host_address.map(|address| address.parse().unwrap()),
            host_port: Some(8080),
            container_port: 80,
            protocol: Protocol::TCP,
        }];
        let end = |name| End::find(&world, name).unwrap();
        let found = Finder::new(&world).paths(&end(from), &end("db"), HTTP, &Family::ALL).unwrap();
        let shown = |path: &Path<'_>| format!("{} {}", path.packet.destination, path.route);
        let proxied = |path: &&Path<'_>| path.packet.destination_port == Some(8080);
        found.judged.iter().filter(proxied).map(shown).collect::<Vec<_>>()
    };
    let through = "through port 8080 of this host";
    let (v4, v6) =
        (format!("172.18.1.1 from network front {through}"), format!("fd00:1::1 from network front {through}"));
    for (name, host_address, from, expected) in [
        ("a container, in both families", None, "api", vec![v4.clone(), v6]),
        (
            "a container, where the port is bound",
            Some("192.0.2.7"),
            "api",
            vec![format!("192.0.2.7 from network front {through}")],
        ),
        ("nobody but the host", Some("127.0.0.1"), "api", vec![]),
        ("outside, by DNAT alone", None, "203.0.113.9", vec![]),
        (
            "outside, in a family that the container does not have",
            None,
            "2001:db8::9",
            vec![format!(":: from the outside {through}")],
        ),
    ] {
        assert_eq!(ways(host_address, from), expected, "{name}");
    }
}

#[test]
fn a_port_of_this_host_that_is_published_leads_to_its_container() {
    let ways = |host_address: Option<&str>, from: &str, to: &str, port: u16, protocol: Protocol| {
        let mut world = world();
        let db = world.containers.get_mut(&ContainerId("db0123456789".into())).unwrap();
        db.published = vec![PublishedPort {
            host_address: host_address.map(|address| address.parse().unwrap()),
            host_port: Some(8080),
            container_port: 80,
            protocol: Protocol::TCP,
        }];
        let (from, to) = (End::find(&world, from)?, End::find(&world, to)?);
        let traffic = Traffic::Ports { protocol, source: 49_152, destination: port };
        let found = Finder::new(&world).connections(&from, &to, traffic, &Family::ALL)?;
        let shown = |path: &Path<'_>| {
            let to = path.destination.as_ref().map_or("nobody", |endpoint| &endpoint.container.name);
            format!("{}:{} {to}", path.packet.destination, path.packet.destination_port.unwrap())
        };
        Ok::<_, Error>(found.judged.iter().map(shown).collect::<Vec<_>>())
    };
    let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
    for (name, bound_to, from, to, port, protocol, expected) in [
        ("all addresses", None, "api", "host", 8080, tcp, vec!["172.18.1.1:8080 db", "fd00:1::1:8080 db"]),
        ("a gateway of another network", None, "api", "172.18.2.1", 8080, tcp, vec!["172.18.2.1:8080 db"]),
        ("its own port", None, "db", "host", 8080, tcp, vec!["172.18.2.1:8080 db"]),
        ("another port", None, "api", "172.18.1.1", 80, tcp, vec!["172.18.1.1:80 nobody"]),
        ("another protocol", None, "api", "172.18.1.1", 8080, udp, vec!["172.18.1.1:8080 nobody"]),
        ("bound to the gateway", Some("172.18.1.1"), "api", "172.18.1.1", 8080, tcp, vec!["172.18.1.1:8080 db"]),
        ("bound elsewhere", Some("192.0.2.7"), "api", "172.18.1.1", 8080, tcp, vec!["172.18.1.1:8080 nobody"]),
        (
            "an address of the host by its port",
            Some("192.0.2.7"),
            "api",
            "192.0.2.7",
            8080,
            tcp,
            vec!["192.0.2.7:8080 db"],
        ),
        (
            "the host as a whole has the bound address, too",
            Some("192.0.2.7"),
            "api",
            "host",
            8080,
            tcp,
            vec!["172.18.1.1:8080 nobody", "192.0.2.7:8080 db", "fd00:1::1:8080 nobody"],
        ),
        (
            "nobody but the host itself",
            Some("127.0.0.1"),
            "api",
            "host",
            8080,
            tcp,
            vec!["172.18.1.1:8080 nobody", "fd00:1::1:8080 nobody"],
        ),
    ] {
        assert_eq!(
            ways(bound_to, from, to, port, protocol),
            Ok(expected.iter().map(|way| (*way).to_owned()).collect()),
            "{name}"
        );
    }
    for (from, port, text) in [
        ("203.0.113.9", 8080, "port 8080 of this host leads to port 80 of container db"),
        ("agent", 8080, "port 8080 of this host leads to port 80 of container db"),
        ("203.0.113.9", 8081, "neither end is on a Docker network"),
    ] {
        let error = ways(None, from, "host", port, tcp).unwrap_err().to_string();
        assert!(error.starts_with(text), "{from}: {error}");
    }
}

#[test]
fn echo_requests_are_those_of_their_family() {
    let world = world();
    let end = |name| End::find(&world, name).unwrap();
    let found = Finder::new(&world).paths(&end("web"), &end("api"), Traffic::EchoRequest, &Family::ALL).unwrap();
    let sent: Vec<_> = found.judged.iter().map(|path| (path.packet.protocol, path.packet.icmp)).collect();
    assert_eq!(sent, [(Protocol::ICMP, Some((8, 0))), (Protocol::ICMPV6, Some((128, 0)))]);
    assert!(found.judged.iter().all(|path| path.packet.destination_port.is_none()));
}

#[test]
fn a_link_local_address_is_on_the_bridge_of_the_container_that_has_it() {
    let mut world = world();
    let api = world.containers.get_mut(&ContainerId("api0123456789".into())).unwrap();
    api.attachments[0].mac = "02:42:ac:12:01:03".parse().ok();
    let end = |name| End::find(&world, name).unwrap();
    let found = Finder::new(&world).paths(&end("web"), &end("fe80::42:acff:fe12:103"), HTTP, &Family::ALL).unwrap();
    let [path] = found.judged.as_slice() else { panic!("{found:?}") };
    assert_eq!(path.route, Route::SameNetwork { network: "front".to_owned() });
    assert_eq!(path.destination.as_ref().map(Endpoint::name).as_deref(), Some("api@front"));
}

#[test]
fn a_way_out_of_policys_reach_is_told_beside_the_judged_ones() {
    let mut world = world();
    let lan = world.containers[&ContainerId("lan0123456789".into())].attachments[0].clone();
    let web = world.containers.get_mut(&ContainerId("web0123456789".into())).unwrap();
    web.attachments.push(Attachment { ipv4: "172.18.3.9".parse().ok(), ..lan });
    let end = |name| End::find(&world, name).unwrap();
    let found = Finder::new(&world).paths(&end("web"), &end("api"), HTTP, &Family::ALL).unwrap();
    assert_eq!(found.judged.len(), 2);
    assert_eq!(found.out_of_reach, [("web@edge".to_owned(), Unenforceable::Driver("macvlan".to_owned()))]);
}
