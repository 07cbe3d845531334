//! Clients of published ports that lie about themselves, or have no address that policy could name.
//!
//! Each has its positive beside it: the same kind of packet from somebody whom policy allows reaches the container.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::Published;
use crate::scenario::Scenario;
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::wire::{self, UDP, Wire, neighbour};
use crate::support::{Protection, assert_by_packets};

/// How long a packet that may arrive is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that may not is waited for, after its positive control has arrived by the same way.
const SHORT: Duration = Duration::from_millis(300);

fn datagram(source: IpAddr, destination: IpAddr, port: u16, data: &[u8]) -> Vec<u8> {
    wire::packet(source, destination, UDP, &wire::udp(source, destination, (wire::fresh_number(), port), data))
}

fn wire_of(world: &Published, container: &str) -> Wire {
    Wire::open(world.container(container).namespace(), "eth0")
}

/// The outside claims to be a friend of the container's, of a network with IPv6.
fn outside_claims_to_be_a_friend(world: &mut Published) {
    let outside = Wire::open(world.lab.outside(), "ext0");
    let to = neighbour(world.lab.outside(), HOST[1]);
    let api = wire_of(world, "api");
    outside.send(to, &datagram(OUTSIDE[1], HOST[1], 8080, b"outside itself"));
    assert!(api.hears(b"outside itself", PATIENCE), "a client that policy allows is carried to the container");
    let friend = world.container("far-friend").address("back", true);
    outside.send(to, &datagram(friend, HOST[1], 8080, b"as if a friend"));
    assert_by_packets!(!api.hears(b"as if a friend", SHORT), "a friend's address was claimed from outside");
}

/// A neighbour of the host's, from a link-local address and to one: no policy can name it.
fn link_local_client(world: &mut Published) {
    let listed = world.lab.run(&["ip", "-6", "-o", "address", "show", "dev", "ext0", "scope", "link"]);
    let words: Vec<&str> = listed.split([' ', '/']).collect();
    let own = words.iter().find_map(|word| word.parse::<Ipv6Addr>().ok()).expect("the host has a link-local address");
    let outside = Wire::open(world.lab.outside(), "ext0");
    let to = neighbour(world.lab.outside(), HOST[1]);
    let api = wire_of(world, "api");
    outside.send(to, &datagram(OUTSIDE[1], own.into(), 8080, b"to a link-local address"));
    assert!(api.hears(b"to a link-local address", PATIENCE), "the proxy listens on all addresses of the host");
    let nobody: IpAddr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99).into();
    for destination in [own.into(), HOST[1]] {
        outside.send(to, &datagram(nobody, destination, 8080, b"from a link-local address"));
    }
    assert_by_packets!(!api.hears(b"from a link-local address", SHORT), "a client without a name was let through");
}

/// IPv6 on a network that has none: nothing there has an address, and what is sent all the same reaches nobody.
fn ipv6_on_a_network_without(world: &mut Published) {
    let (stranger, api) = (world.container("stranger"), world.container("api"));
    let to = neighbour(stranger.namespace(), api.address("front", false));
    let (sender, listener) = (wire_of(world, "friend"), wire_of(world, "api"));
    let v4 = ["friend", "api"].map(|name| world.container(name).address("front", false));
    sender.send(to, &datagram(v4[0], v4[1], 80, b"IPv4 of a friend"));
    assert!(listener.hears(b"IPv4 of a friend", PATIENCE));
    let made_up = |host| IpAddr::from([0x2001, 0xdb8, 0x80, 0, 0, 0, 0, host]);
    let link_local = |host| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, host]);
    for (source, destination) in [(made_up(3), made_up(2)), (link_local(3), link_local(2))] {
        sender.send(to, &datagram(source, destination, 80, b"IPv6 of nobody"));
    }
    assert_by_packets!(!listener.hears(b"IPv6 of nobody", SHORT), "IPv6 passed on a network that has none");
}

pub(super) fn scenarios() -> Vec<Scenario<Published>> {
    let scenario = |name, path, rests_on, run| Scenario { name, path, family: "IPv6", accident: "", rests_on, run };
    let proxy = "outside → docker-proxy → container";
    vec![
        scenario(
            "outside_under_the_address_of_a_friend_v6",
            proxy,
            &[Protection::Rules("gate: address of a bridge network from elsewhere")],
            outside_claims_to_be_a_friend,
        ),
        scenario("outside_from_a_link_local_address_v6", proxy, super::PORT, link_local_client),
        scenario(
            "raw_ipv6_on_a_network_without_v6",
            "container → container, same bridge",
            &[Protection::Together(&[Protection::Table, Protection::Rules("gate: unknown")])],
            ipv6_on_a_network_without,
        ),
    ]
}
