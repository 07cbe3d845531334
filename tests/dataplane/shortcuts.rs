//! The first rules of the table against spoofing are there for what they cost: without them, the same frames pass.

use std::fmt::Debug;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use dockgate::dataplane::Variant;
use dockgate::ruleset::{Binding, Role};

#[path = "../support/frame.rs"]
#[expect(dead_code, reason = "scenarios use more of it")]
mod frame;
#[path = "../support/namespace.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod namespace;

use frame::{BROADCAST, Hears, Mac, Wire};
use namespace::Namespace;

use super::kernel;
use super::namespace::{in_namespace, sh};
use super::spoof::{API, Containers, WEB, api, containers, ruleset, web};

/// Somebody, everybody, groups of both families, and the one address of bridge protocols that hooks see.
fn receivers() -> [Mac; 5] {
    [mac(API), BROADCAST, [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 0x0e]]
}

/// None, that of no VLAN, and another.
const TAGS: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 0)], &[(0x8100, 5)]];

const HONEST: &[u8] = b"an honest one";

const EXPECT: &str = "a fixture of this test";

fn address<A: FromStr<Err: Debug>>(text: &str) -> A {
    text.parse().expect(EXPECT)
}

fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect(EXPECT)).collect();
    bytes.try_into().expect(EXPECT)
}

/// What web may say and what it may not, with the protocols of their frames.
fn packets(text: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let udp = |from: &str, to: &str| -> (u16, Vec<u8>) {
        let [from, to]: [IpAddr; 2] = [from, to].map(address);
        frame::udp(from, to, 7200, text)
    };
    let edited = |(protocol, mut packet): (u16, Vec<u8>), places: &[(usize, u8)]| {
        for (place, byte) in places {
            packet[*place] = *byte;
        }
        (protocol, packet)
    };
    let icmpv6 = |from: &str, kind: u8| {
        let target = address("2001:db8::3");
        let body = [frame::advertisement(target, mac(WEB)), text.to_vec()].concat();
        frame::icmpv6(address(from), address("2001:db8::9"), kind, &body)
    };
    let (own4, own6, api6) = ("172.18.0.2", "2001:db8::2", "2001:db8::9");
    let mut packets = vec![
        udp(own4, "172.18.0.3"),
        udp(own4, "172.18.0.77"),
        udp(own4, "224.0.0.251"),
        udp(own4, "198.51.100.1"),
        udp("172.18.0.3", "172.18.0.3"),
        udp("172.18.0.77", "172.18.0.3"),
        // Membership queries, and reports of IGMP.
        edited(udp(own4, "224.0.0.1"), &[(9, 2), (20, 0x11)]),
        edited(udp(own4, "172.18.0.3"), &[(9, 2), (20, 0x11)]),
        edited(udp(own4, "172.18.0.3"), &[(9, 2), (20, 0x16)]),
        // A length that is no header's.
        edited(udp(own4, "172.18.0.3"), &[(0, 0x41)]),
        udp(own6, api6),
        udp(own6, "ff02::fb"),
        udp("2001:db8::77", api6),
        udp("fe80::42:acff:fe12:2", api6),
        udp("::", api6),
        edited(udp(own6, api6), &[(6, 2)]),
    ];
    // A listener query, what neighbour discovery has, and an echo request.
    for kind in [130, 133, 134, 135, 136, 137, 128] {
        packets.extend([own6, "fe80::42:acff:fe12:2", "::"].map(|from| icmpv6(from, kind)));
        let (protocol, mut packet) = icmpv6(own6, kind);
        // The same behind a header of options.
        packet[5] += 8;
        packet[6] = 0;
        packet.splice(40..40, [58, 0, 1, 4, 0, 0, 0, 0]);
        packets.push((protocol, packet));
    }
    packets
}

/// Which of all frames of web arrive at api.
fn arriving(sender: &Wire, receiver: &Wire) -> Vec<bool> {
    let (protocol, honest) = frame::udp(address("172.18.0.2"), address("172.18.0.3"), 7200, HONEST);
    let mut arriving = Vec::new();
    for to in receivers() {
        for tags in TAGS {
            let mut texts = Vec::new();
            for from in [WEB, API] {
                for index in 0..packets(b"").len() {
                    let text = format!("frame {:04}", texts.len());
                    let (protocol, packet) = &packets(text.as_bytes())[index];
                    sender.send(&match tags {
                        [] => frame::frame(to, mac(from), *protocol, packet),
                        tags => frame::tagged(to, mac(from), tags, *protocol, packet),
                    });
                    texts.push(text);
                }
            }
            sender.send(&frame::frame(mac(API), mac(WEB), protocol, &honest));
            let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let (honest, heard) = receiver.listen(&[HONEST], &texts, Duration::from_secs(3));
            assert!(honest[0], "not even the honest frame has arrived: nothing is shown");
            arriving.extend(heard);
        }
    }
    arriving
}

#[test]
fn shortcuts_of_the_table_pass_what_passes_without_them() {
    for role in [Role::Governed, Role::Peer] {
        in_namespace(|| {
            let guard = Containers(containers(&[WEB, API]));
            let of_role = |binding: Binding| Binding { role, ..binding };
            let mut api = of_role(api());
            api.addresses.push(address("2001:db8::9"));
            let outcome = kernel(Variant::Nft).repair(&ruleset(&[of_role(web()), api])).expect(EXPECT);
            assert_eq!(outcome.problems, []);
            // Nothing but the table decides.
            sh("ip link set br-a type bridge mcast_snooping 0 nf_call_iptables 0 nf_call_ip6tables 0; \
                for of in iptables ip6tables; do echo 0 > /proc/sys/net/bridge/bridge-nf-call-$of; done");
            let [sender, receiver] = [0, 1].map(|index| {
                let namespace = Namespace::open(format!("/run/netns/{}", guard.0[index])).expect(EXPECT);
                Wire::open(&namespace, "eth0")
            });
            let with = arriving(&sender, &receiver);
            let removed = sh("for chain in prerouting postrouting; do \
                 nft -a list chain bridge dockgate $chain | \
                 sed -n -E '/under its own address|for its receiver/s/.*# handle //p' | \
                 while read handle; do nft delete rule bridge dockgate $chain handle $handle; echo $chain; done; done");
            assert_eq!(removed.lines().count(), 4, "{removed}");
            assert_eq!(with, arriving(&sender, &receiver), "{role:?}");
            let arrived = with.iter().filter(|arrived| **arrived).count();
            assert!(arrived > 10 && arrived < with.len() / 2, "{role:?}: {arrived} of {} arrive", with.len());
        });
    }
}
