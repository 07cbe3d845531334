//! Packets in forms that hide what policy asks for.

use std::net::IpAddr;

use super::{
    BRIDGED, CLOSED, Foreign, GUARD, OPEN, PATIENCE, SHORT, SHUT, Tricks, front, scenario, v4_of, v6_of, wire_of,
};
use crate::scenario::Scenario;
use crate::support::wire::{self, Extras, SCTP, SYN, TCP, UDP, neighbour};
use crate::support::{Container, Protection, Protection::Rules, assert_by_packets};

/// A datagram in pieces, the first of which ends before the data, or within the ports' own header.
fn fragments(world: &Tricks, v6: bool) {
    let (free, guard) = (front(&world.free, v6), front(&world.guard, v6));
    let attacker = wire_of(&world.free);
    let to = neighbour(world.free.namespace(), guard);
    let listener = wire_of(&world.guard);
    let source = wire::fresh_number();
    let send = |protocol: u8, upper: &[u8], cut: usize, order: &[usize]| {
        let id = wire::fresh_number();
        let pieces = [(0, &upper[..cut], true), (cut, &upper[cut..], false)];
        for piece in order {
            let (offset, data, more) = pieces[*piece];
            let offset = u16::try_from(offset).expect("a packet is short");
            attacker.send(to, &fragment(free, guard, protocol, id, (offset, more), data));
        }
    };
    // With a marker at the end, behind more than a bridge passes on in one piece of IPv6 (RFC 8200: 1280 bytes).
    let data = |marker: &str| [&[0; 1300], marker.as_bytes()].concat();
    let datagram = |port: u16, marker: &str| wire::udp(free, guard, (source, port), &data(marker));
    let opening = |port: u16, marker: &str| wire::tcp(free, guard, (source, port), SYN, &data(marker));
    send(UDP, &datagram(OPEN, "whole datagram"), 1232, &[0, 1]);
    assert!(listener.hears(b"whole datagram", PATIENCE), "fragments to an open port arrive");
    send(TCP, &opening(OPEN, "whole segment"), 1232, &[0, 1]);
    assert!(listener.hears(b"whole segment", PATIENCE), "fragments to an open port arrive");
    for cut in [8, 16, 1232] {
        for order in [&[0, 1][..], &[1, 0], &[1], &[1, 1]] {
            send(UDP, &datagram(CLOSED, "in pieces"), cut, order);
            send(TCP, &opening(CLOSED, "in pieces"), cut, order);
        }
    }
    // The first piece names the open port; another one, over the same bytes, the closed port.
    let (honest, false_one) = (datagram(OPEN, "overlapping, in pieces"), datagram(CLOSED, "overlapping, in pieces"));
    for (first, second) in [(&honest, &false_one), (&false_one, &honest)] {
        let id = wire::fresh_number();
        attacker.send(to, &fragment(free, guard, UDP, id, (0, true), &first[..1232]));
        attacker.send(to, &fragment(free, guard, UDP, id, (0, true), &second[..1232]));
        attacker.send(to, &fragment(free, guard, UDP, id, (1224, false), &first[1224..]));
    }
    assert_by_packets!(!listener.hears(b"in pieces", SHORT), "fragments reached a closed port");
}

/// A fragment: its offset in bytes, and whether more follow.
fn fragment(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u16,
    (offset, more): (u16, bool),
    data: &[u8],
) -> Vec<u8> {
    if source.is_ipv4() {
        let fragment = (offset / 8) | (u16::from(more) << 13);
        return wire::v4(
            v4_of(source),
            v4_of(destination),
            protocol,
            Extras { id, fragment, ..Extras::default() },
            data,
        );
    }
    let place = (offset | u16::from(more)).to_be_bytes();
    let header = [&[protocol, 0][..], &place, &[0, 0], &id.to_be_bytes()].concat();
    wire::v6(v6_of(source), v6_of(destination), 44, &[header.as_slice(), data].concat())
}

/// IPv6 extension headers stand between the addresses and the ports that policy asks for.
fn extension_headers(world: &Tricks) {
    let (free, guard) = (front(&world.free, true), front(&world.guard, true));
    let attacker = wire_of(&world.free);
    let to = neighbour(world.free.namespace(), guard);
    let listener = wire_of(&world.guard);
    let send = |headers: &[(u8, [u8; 7])], port: u16, data: &[u8]| {
        let mut next = UDP;
        let mut payload = wire::udp(free, guard, (wire::fresh_number(), port), data);
        for (number, rest) in headers.iter().rev() {
            payload = [&[next][..], rest, &payload].concat();
            next = *number;
        }
        attacker.send(to, &wire::v6(v6_of(free), v6_of(guard), next, &payload));
    };
    // Each eight bytes long, without the first, which names what follows: six bytes of padding; a routing header that has
    // no further stop; a fragment that is the whole.
    let (hop_by_hop, options) = ((0, [0, 1, 4, 0, 0, 0, 0]), (60, [0, 1, 4, 0, 0, 0, 0]));
    let (routing, atomic) = ((43, [0, 4, 0, 0, 0, 0, 0]), (44, [0, 0, 0, 0, 0, 0x47, 0x11]));
    for headers in [&[hop_by_hop][..], &[options], &[options, options], &[hop_by_hop, options], &[atomic]] {
        let marker = format!("open behind {headers:?}");
        send(headers, OPEN, marker.as_bytes());
        assert!(listener.hears(marker.as_bytes(), PATIENCE), "{marker}");
        send(headers, CLOSED, b"closed behind");
    }
    let obsolete = (43, [0, 0, 1, 0, 0, 0, 0]);
    for headers in [&[routing][..], &[obsolete], &[hop_by_hop, routing, atomic], &[atomic, options], &[atomic, atomic]]
    {
        send(headers, CLOSED, b"closed behind");
    }
    assert_by_packets!(!listener.hears(b"closed behind", SHORT), "an extension header hid the port");
}

/// IPv4 options move the ports further on.
fn options(world: &Tricks) {
    let (free, guard) = (v4_of(front(&world.free, false)), v4_of(front(&world.guard, false)));
    let attacker = wire_of(&world.free);
    let to = neighbour(world.free.namespace(), guard.into());
    let listener = wire_of(&world.guard);
    let send = |options: &[u8], port: u16, data: &[u8]| {
        let datagram = wire::udp(free.into(), guard.into(), (wire::fresh_number(), port), data);
        attacker.send(to, &wire::v4(free, guard, UDP, Extras { options, ..Extras::default() }, &datagram));
    };
    // No operation; router alert; record route with room for one address; 40 bytes of nothing.
    for options in [&[1, 1, 1, 1][..], &[148, 4, 0, 0], &[7, 7, 4, 0, 0, 0, 0, 0], &[1; 40]] {
        let marker = format!("open with {options:?}");
        send(options, OPEN, marker.as_bytes());
        assert!(listener.hears(marker.as_bytes(), PATIENCE), "{marker}");
        send(options, CLOSED, b"closed with");
    }
    assert_by_packets!(!listener.hears(b"closed with", SHORT), "options hid the port");
}

/// Protocols that policy on ports of TCP and UDP does not name.
fn other_protocols(world: &Tricks, v6: bool) {
    let free = front(&world.free, v6);
    let attacker = wire_of(&world.free);
    // IPIP, 6in4, ESP, AH, IPComp and one of nobody's, and those with ports where TCP has them.
    let plain = [4, 41, 50, 108, 253];
    let with_ports = [33, 47, 51, 132, 136];
    // As an upper header: a port and 7000, lengths and types that say little.
    let payload =
        [&wire::fresh_number().to_be_bytes()[..], &OPEN.to_be_bytes(), &[0; 12], b"another protocol"].concat();
    let (at_peer, peer) = (wire_of(&world.peer), front(&world.peer, v6));
    for protocol in plain {
        attacker.send(neighbour(world.free.namespace(), peer), &wire::packet(free, peer, protocol, &payload));
        assert!(at_peer.hears(b"another protocol", PATIENCE), "protocol {protocol} passes where no policy is");
    }
    let (at_guard, guard) = (wire_of(&world.guard), front(&world.guard, v6));
    for protocol in plain.into_iter().chain(with_ports) {
        attacker.send(neighbour(world.free.namespace(), guard), &wire::packet(free, guard, protocol, &payload));
    }
    assert_by_packets!(!at_guard.hears(b"another protocol", SHORT), "a protocol that no rule allows arrived");
}

/// All combinations of flags, with data, to a closed port; and to an open one all that do not open a flow.
fn flags(world: &Tricks, v6: bool) {
    let (free, guard) = (front(&world.free, v6), front(&world.guard, v6));
    let attacker = wire_of(&world.free);
    let to = neighbour(world.free.namespace(), guard);
    let listener = wire_of(&world.guard);
    // From a port of its own each, or the flow of the one before goes on.
    let send = |port: u16, flags: u8, data: &[u8]| {
        let segment = wire::tcp(free, guard, (wire::fresh_number(), port), flags, data);
        attacker.send(to, &wire::packet(free, guard, TCP, &segment));
    };
    send(OPEN, SYN, b"data with the SYN");
    assert!(listener.hears(b"data with the SYN", PATIENCE), "an open port takes a SYN with data");
    // FIN, SYN, RST and ACK decide whether a segment opens a flow.
    let opens = |flags: &u8| flags & 0x17 == SYN;
    for flags in 0..=u8::MAX {
        send(CLOSED, flags, b"not to be heard");
    }
    for flags in (0..=u8::MAX).filter(|flags| !opens(flags)) {
        send(OPEN, flags, b"not to be heard");
    }
    assert_by_packets!(
        !listener.hears(b"not to be heard", SHORT),
        "flags opened a closed port, or a flow that never began"
    );
}

/// Somebody takes connection tracking off all packets: they are neither new nor established nor invalid.
fn untracked(world: &Tricks) {
    let _untracked = Foreign::add(&world.lab, &["-t", "raw"], "PREROUTING", &["-j", "CT", "--notrack"]);
    let to_guard = neighbour(world.free.namespace(), front(&world.guard, false));
    let to_peer = neighbour(world.free.namespace(), front(&world.peer, false));
    let datagram = |from: &Container, to: &Container, port: u16, data: &[u8]| {
        let (source, destination) = (front(from, false), front(to, false));
        wire::packet(source, destination, UDP, &wire::udp(source, destination, (wire::fresh_number(), port), data))
    };
    let (at_guard, at_peer) = (wire_of(&world.guard), wire_of(&world.peer));
    wire_of(&world.free).send(to_guard, &datagram(&world.free, &world.guard, OPEN, b"to an open port"));
    assert!(at_guard.hears(b"to an open port", PATIENCE), "what policy allows passes untracked, too");
    wire_of(&world.free).send(to_guard, &datagram(&world.free, &world.guard, CLOSED, b"to a closed port"));
    wire_of(&world.shut).send(to_peer, &datagram(&world.shut, &world.peer, OPEN, b"out of a closed container"));
    assert_by_packets!(!at_guard.hears(b"to a closed port", SHORT), "untracked packets were not judged");
    assert_by_packets!(!at_peer.hears(b"out of a closed container", SHORT), "untracked packets were not judged");
}

/// A closed container may answer whoever opens a flow to it. A HEARTBEAT of a flow that is not open opens none, though
/// connection tracking takes it for the first packet of one.
fn heartbeats(world: &Tricks, v6: bool) {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const HEARTBEAT: u8 = 4;
    const HEARTBEAT_ACK: u8 = 5;
    let (peer, shut) = (front(&world.peer, v6), front(&world.shut, v6));
    let (at_peer, at_shut) = (wire_of(&world.peer), wire_of(&world.shut));
    let to_shut = neighbour(world.peer.namespace(), shut);
    let to_peer = at_peer.mac();
    let asks = |ports, tag, chunk, data: &[u8]| {
        at_peer.send(to_shut, &wire::packet(peer, shut, SCTP, &wire::sctp(ports, tag, chunk, data)));
    };
    let answers = |ports: (u16, u16), tag, chunk, data: &[u8]| {
        let packet = wire::sctp((ports.1, ports.0), tag, chunk, data);
        at_shut.send(to_peer, &wire::packet(shut, peer, SCTP, &packet));
    };
    // Tag of the sender, window, streams, number; and a parameter that is to be passed over.
    let opening = |tag: u32, text: &str| {
        let length = u16::try_from(4 + text.len()).expect("a text is short").to_be_bytes();
        let fixed = [&tag.to_be_bytes()[..], &[0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1]].concat();
        [&fixed[..], &[0x80, 0], &length, text.as_bytes()].concat()
    };
    let open = (wire::fresh_number(), OPEN);
    asks(open, 0, INIT, &opening(7, "who opens"));
    assert!(at_shut.hears(b"who opens", PATIENCE), "no policy keeps anybody from opening a flow to it");
    answers(open, 7, INIT_ACK, &opening(8, "who answers"));
    assert!(at_peer.hears(b"who answers", PATIENCE), "it answers on an open flow");
    let cut = (wire::fresh_number(), OPEN);
    let information = |text: &[u8]| [&[0, 1, 0, 12][..], text].concat();
    asks(cut, 7, HEARTBEAT, &information(b"is alive"));
    let heard = at_shut.hears(b"is alive", SHORT);
    answers(cut, 8, HEARTBEAT_ACK, &information(b"revived!"));
    assert_by_packets!(!at_peer.hears(b"revived!", SHORT) && !heard, "a HEARTBEAT opened a flow in its middle");
}

pub(super) fn scenarios() -> Vec<Scenario<Tricks>> {
    const HEARTBEATS: &[Protection] = &[Rules("SCTP packet of a flow that is not open")];
    vec![
        scenario("fragments_hide_no_port_v4", BRIDGED, "IPv4", "", &[GUARD], |w| fragments(w, false)),
        scenario("fragments_hide_no_port_v6", BRIDGED, "IPv6", "", &[GUARD], |w| fragments(w, true)),
        scenario("extension_headers_hide_no_port", BRIDGED, "IPv6", "", &[GUARD], |w| extension_headers(w)),
        scenario("options_hide_no_port", BRIDGED, "IPv4", "", &[GUARD], |w| options(w)),
        scenario("other_protocols_are_closed_v4", BRIDGED, "IPv4", "", &[GUARD], |w| other_protocols(w, false)),
        scenario("other_protocols_are_closed_v6", BRIDGED, "IPv6", "", &[GUARD], |w| other_protocols(w, true)),
        scenario(
            "no_flags_open_a_flow_v4",
            BRIDGED,
            "IPv4",
            "",
            &[GUARD, Rules("TCP packet of a flow that is not open")],
            |w| flags(w, false),
        ),
        scenario(
            "no_flags_open_a_flow_v6",
            BRIDGED,
            "IPv6",
            "",
            &[GUARD, Rules("TCP packet of a flow that is not open")],
            |w| flags(w, true),
        ),
        scenario("a_heartbeat_opens_no_flow_v4", BRIDGED, "IPv4", "", HEARTBEATS, |w| heartbeats(w, false)),
        scenario("a_heartbeat_opens_no_flow_v6", BRIDGED, "IPv6", "", HEARTBEATS, |w| heartbeats(w, true)),
        scenario(
            "untracked_packets_are_judged",
            BRIDGED,
            "IPv4",
            "tracking switched off by somebody",
            &[GUARD, SHUT],
            |w| untracked(w),
        ),
    ]
}
