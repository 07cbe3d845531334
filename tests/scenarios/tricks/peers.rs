//! A network without policy on which a rule elsewhere trusts a container: nobody else is that one, and all else goes on.
//!
//! `web` is whom a rule for `guard` names; `imitator` is beside it, and no rule names it.

use std::net::{IpAddr, UdpSocket};

use super::{FOR_WEB, PATIENCE, Protection, SHORT, Tricks, v4_of, v6_of};
use crate::scenario::Scenario;
use crate::support::Container;
use crate::support::assert_by_packets;
use crate::support::frame::{
    self, ARP, BROADCAST, Ear, Hears, IPV6, Mac, advertisement, arp, frame, icmpv6, mac_of, solicitation, tagged, udp,
};
use crate::support::lab::OUTSIDE;

const SIDE: &str = "container → container, another network";
const ON_SIDE: &str = "container → container, network without policy";
/// A port of the host that nobody publishes.
const PORT: u16 = 7200;

fn wire(container: &Container) -> frame::Wire {
    frame::Wire::open(container.namespace(), "eth0")
}

fn side(container: &Container, v6: bool) -> IpAddr {
    container.address("side", v6)
}

fn address(texts: [&str; 2], v6: bool) -> IpAddr {
    texts[usize::from(v6)].parse().expect("an address")
}

fn gateway(v6: bool) -> IpAddr {
    address(["10.89.0.1", "2001:db8:89::1"], v6)
}

fn bridge(world: &Tricks) -> String {
    let id = world.lab.docker(&["network", "inspect", "--format", "{{.Id}}", "side"]);
    format!("br-{}", &id[..12])
}

/// The imitator sends as web, to a published port of the gateway over IPv4 and routed over IPv6.
fn imitated(world: &Tricks, v6: bool) {
    let (web, imitator) = (wire(&world.web), wire(&world.imitator));
    let listener = wire(&world.guard);
    let to = mac_of(world.lab.host(), &bridge(world));
    let destination = if v6 { world.guard.address("front", true) } else { gateway(false) };
    let datagram = |from: Mac, text: &[u8]| {
        let (protocol, packet) = udp(side(&world.web, v6), destination, FOR_WEB, text);
        frame(to, from, protocol, &packet)
    };
    // On one flow: were it open already, the imitator's datagram would belong to it.
    imitator.send(&datagram(imitator.mac, b"as if it were web"));
    imitator.send(&datagram(web.mac, b"under its MAC too"));
    // Tags of no VLAN are taken off on the way.
    let (protocol, packet) = udp(side(&world.web, v6), destination, FOR_WEB, b"tagged as if web");
    imitator.send(&tagged(to, imitator.mac, &[(0x8100, 0)], protocol, &packet));
    let lies: [&[u8]; 3] = [b"as if it were web", b"under its MAC too", b"tagged as if web"];
    let (_, early) = listener.listen(&[b"never sent"], &lies, SHORT);
    web.send(&datagram(web.mac, b"web itself"));
    let (honest, late) = listener.listen(&[b"web itself"], &lies, PATIENCE);
    assert!(honest[0], "not even web is heard: nothing is shown");
    assert_by_packets!(
        early.iter().chain(&late).all(|heard| !heard),
        "a container of a network without policy was judged as its neighbour: {early:?} {late:?}"
    );
}

/// The imitator tells the host that web's address is its own.
fn spoken_for(world: &Tricks, v6: bool) {
    let imitator = wire(&world.imitator);
    let bridge = bridge(world);
    let ear = frame::Wire::open(world.lab.host(), &bridge);
    let (web, own) = (side(&world.web, v6), side(&world.imitator, v6));
    let (protocol, lie, honest) = if v6 {
        let (web, own, to) = (v6_of(web), v6_of(own), v6_of(gateway(true)));
        let lie = icmpv6(own, to, 136, &advertisement(web, imitator.mac)).1;
        (IPV6, lie, icmpv6(own, to, 135, &solicitation(to, Some(imitator.mac))).1)
    } else {
        let to = (ear.mac, v4_of(gateway(false)));
        let claim = |address| arp(2, (imitator.mac, address), to);
        (ARP, claim(v4_of(web)), claim(v4_of(own)))
    };
    for message in [&lie, &honest] {
        imitator.send(&frame(ear.mac, imitator.mac, protocol, message));
    }
    let (heard, lies) = ear.listen(&[&honest], &[&lie], PATIENCE);
    world.lab.run(&["ip", "neigh", "flush", "dev", &bridge]);
    assert!(heard[0], "not even what it says of itself is heard: nothing is shown");
    assert_by_packets!(!lies[0], "a container of a network without policy spoke for its neighbour");
}

/// Whom a rule names goes by no other address where that rule could ask: else it would take off what the rule says.
fn disguised(world: &Tricks, v6: bool) {
    let web = wire(&world.web);
    let ear = Ear::open(world.lab.host(), PORT);
    let to = mac_of(world.lab.host(), &bridge(world));
    let added = address(["10.89.0.222", "2001:db8:89::222"], v6);
    let foreign = address(["198.51.100.7", "2001:db8:bad::7"], v6);
    for (from, text) in
        [(added, &b"an added address"[..]), (foreign, b"a foreign address"), (side(&world.web, v6), b"its own")]
    {
        let (protocol, packet) = udp(from, gateway(v6), PORT, text);
        web.send(&frame(to, web.mac, protocol, &packet));
    }
    let (heard, lies) = ear.listen(&[b"its own"], &[b"an added address", b"a foreign address"], PATIENCE);
    assert!(heard[0], "not even its own address is heard: nothing is shown");
    assert_by_packets!(lies.iter().all(|heard| !heard), "whom a rule names went by another address: {lies:?}");
}

/// Everything else on that network is as it would be without us.
fn all_else_goes_on(world: &Tricks, v6: bool) {
    let (web, imitator) = (wire(&world.web), wire(&world.imitator));
    let added = address(["10.89.0.222", "2001:db8:89::222"], v6);
    let more = address(["10.89.0.223", "2001:db8:89::223"], v6);
    let (of_web, of_imitator) = (side(&world.web, v6), side(&world.imitator, v6));
    // Between neighbours: under added addresses, with tags, in other protocols, for another than the frame.
    let mut to_web: Vec<Vec<u8>> = Vec::new();
    for (from, to, text) in [
        (of_imitator, of_web, "under its own address"),
        (added, of_web, "under an added address"),
        (of_imitator, more, "to an added address"),
    ] {
        let (protocol, packet) = udp(from, to, PORT, text.as_bytes());
        to_web.push(frame(web.mac, imitator.mac, protocol, &packet));
        to_web.push(tagged(web.mac, imitator.mac, &[(0x8100, 5)], protocol, &packet));
    }
    to_web.push(frame(web.mac, imitator.mac, 0x88b5, b"an experiment"));
    for message in &to_web {
        imitator.send(message);
    }
    let (protocol, packet) = udp(more, added, PORT, b"back, under an added address");
    let to_imitator = frame(imitator.mac, web.mac, protocol, &packet);
    web.send(&to_imitator);
    // The kernel takes a tag off and keeps it beside the frame, so what is looked for is what is behind it.
    let wanted: Vec<&[u8]> = to_web.iter().map(|message| message.get(20..60).unwrap_or(&message[20..])).collect();
    let (heard, _) = web.listen(&wanted, &[], PATIENCE);
    assert!(heard.iter().all(|heard| *heard), "{heard:?}");
    assert!(imitator.listen(&[&to_imitator[14..]], &[], PATIENCE).0[0], "what web sends under an added address");
    // From the host, to the host and to the outside.
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let host = world.lab.host().run(|| UdpSocket::bind(any)).expect("the host has addresses");
    for (to, at) in [(of_web, &web), (of_imitator, &imitator)] {
        host.send_to(b"from the host", (to, PORT)).expect("the host may send");
        assert!(at.listen(&[b"from the host"], &[], PATIENCE).0[0], "from the host to {to}");
    }
    let (at_host, outside) = (Ear::open(world.lab.host(), PORT), frame::Wire::open(world.lab.outside(), "ext0"));
    let gateway_mac = mac_of(world.lab.host(), &bridge(world));
    for (sender, from) in [(&web, of_web), (&imitator, of_imitator), (&imitator, added)] {
        for (to, ear) in [(gateway(v6), &at_host as &dyn Hears), (OUTSIDE[usize::from(v6)], &outside)] {
            let text = format!("from {from} to {to}");
            let (protocol, packet) = udp(from, to, PORT, text.as_bytes());
            sender.send(&frame(gateway_mac, sender.mac, protocol, &packet));
            assert!(ear.listen(&[text.as_bytes()], &[], PATIENCE).0[0], "{text}");
        }
    }
    // Who comes is asked for nothing.
    let hello = arp(1, (imitator.mac, v4_of(address(["10.89.0.222", "::"], false))), ([0; 6], v4_of(gateway(false))));
    imitator.send(&frame(BROADCAST, imitator.mac, ARP, &hello));
    assert!(web.listen(&[&hello], &[], PATIENCE).0[0], "an added address asks for a neighbour");
}

pub(super) fn scenarios() -> Vec<Scenario<Tricks>> {
    const TABLE: &[Protection] = &[Protection::Table];
    let scenario =
        |name, path, family, rests_on, run: fn(&mut Tricks)| super::scenario(name, path, family, "", rests_on, run);
    vec![
        scenario("a_neighbour_without_policy_is_not_whom_a_rule_names_v4", SIDE, "IPv4", TABLE, |w| imitated(w, false)),
        scenario("a_neighbour_without_policy_is_not_whom_a_rule_names_v6", SIDE, "IPv6", TABLE, |w| imitated(w, true)),
        scenario("arp_for_whom_a_rule_names", ON_SIDE, "IPv4", TABLE, |w| spoken_for(w, false)),
        scenario("neighbour_discovery_for_whom_a_rule_names", ON_SIDE, "IPv6", TABLE, |w| spoken_for(w, true)),
        scenario("whom_a_rule_names_goes_by_its_own_address_v4", super::TO_HOST, "IPv4", TABLE, |w| {
            disguised(w, false);
        }),
        scenario("whom_a_rule_names_goes_by_its_own_address_v6", super::TO_HOST, "IPv6", TABLE, |w| disguised(w, true)),
        scenario("a_network_without_policy_goes_on_v4", ON_SIDE, "IPv4", &[], |w| all_else_goes_on(w, false)),
        scenario("a_network_without_policy_goes_on_v6", ON_SIDE, "IPv6", &[], |w| all_else_goes_on(w, true)),
    ]
}
