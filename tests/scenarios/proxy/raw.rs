//! Clients of published ports that lie about themselves, or have no address that policy could name.
//!
//! Each has its positive beside it: the same kind of packet from somebody whom policy allows reaches the container.

use std::net::IpAddr;
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

pub(super) fn scenarios() -> Vec<Scenario<Published>> {
    let scenario = |name, path, rests_on, run| Scenario { name, path, family: "IPv6", accident: "", rests_on, run };
    let proxy = "outside → docker-proxy → container";
    vec![scenario(
        "outside_under_the_address_of_a_friend_v6",
        proxy,
        &[Protection::Rules("gate: address of a bridge network from elsewhere")],
        outside_claims_to_be_a_friend,
    )]
}
