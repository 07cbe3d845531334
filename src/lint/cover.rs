//! Which packets a rule matches, compared with another rule.
//!
//! Input: two rules. Output: whether one is proved to match whatever the other matches, or both to match some packet.
//! Both ways a packet can come are meant: as FORWARD sees it, and as INPUT sees a connection to a published port, where
//! the packet does not show the container's address.

use crate::compile::exists_in;
use crate::net::{Cidr, Family, PortRange};
use crate::policy::{Peer, Port, Rule};
use crate::ruleset::Side;

use super::ports;

/// Whether `wide` matches every packet that `narrow` matches.
pub(super) fn covers(wide: &Rule, narrow: &Rule) -> bool {
    covers_protocol(wide, narrow)
        && covers_ports(&wide.source, &narrow.source)
        && covers_ports(&wide.destination, &narrow.destination)
        && covers_addresses(&wide.source, &narrow.source)
        && covers_addresses(&wide.destination, &narrow.destination)
        && covers_families(wide, narrow)
}

/// Whether a packet is proved to match both. Rules with negative conditions are only compared as wholes.
pub(super) fn overlap(one: &Rule, other: &Rule) -> bool {
    if covers(one, other) || covers(other, one) {
        return true;
    }
    let positive = |rule: &Rule| {
        rule.not_protocol.is_none()
            && rule.not_icmp.is_none()
            && [&rule.source, &rule.destination]
                .iter()
                .all(|peer| peer.not_nets.is_empty() && peer.not_selector.is_none() && peer.not_ports.is_empty())
    };
    let agree = |one: &Peer, other: &Peer| {
        let nets = one.nets.is_empty()
            || other.nets.is_empty()
            || one.nets.iter().any(|a| other.nets.iter().any(|b| holds(*a, *b) || holds(*b, *a)));
        let selectors = match (&one.selector, &other.selector) {
            (Some(one), Some(other)) => one.implies(other) || other.implies(one),
            _ => true,
        };
        // A selector and blocks need not have an address in common.
        let mixed =
            (one.selector.is_some() && !other.nets.is_empty()) || (other.selector.is_some() && !one.nets.is_empty());
        let ports = one.ports.is_empty()
            || other.ports.is_empty()
            || one.ports.iter().any(|port| match port {
                Port::Range(range) => ports::ranges(&other.ports)
                    .iter()
                    .any(|known| known.first() <= range.last() && range.first() <= known.last()),
                Port::Named(_) => other.ports.contains(port),
            });
        nets && selectors && !mixed && ports
    };
    positive(one)
        && positive(other)
        && (one.protocol.is_none() || other.protocol.is_none() || one.protocol == other.protocol)
        && (one.icmp.is_none() || other.icmp.is_none() || one.icmp == other.icmp)
        && Family::ALL.into_iter().any(|family| exists(one, family) && exists(other, family))
        && agree(&one.source, &other.source)
        && agree(&one.destination, &other.destination)
}

/// Whether a rule can match packets of a family that show both ends.
pub(super) fn exists(rule: &Rule, family: Family) -> bool {
    exists_in(rule, family, &[(Side::Source, &rule.source), (Side::Destination, &rule.destination)])
}

/// Whether a block holds every address of another.
pub(super) fn holds(wide: Cidr, narrow: Cidr) -> bool {
    wide.prefix() <= narrow.prefix() && wide.contains(narrow.network())
}

fn covers_families(wide: &Rule, narrow: &Rule) -> bool {
    Family::ALL.into_iter().all(|family| {
        (exists(wide, family) || !exists(narrow, family))
            && (exists_in(wide, family, &[(Side::Source, &wide.source)])
                || !exists_in(narrow, family, &[(Side::Source, &narrow.source)]))
    })
}

fn covers_protocol(wide: &Rule, narrow: &Rule) -> bool {
    let positive = wide.protocol.is_none() || wide.protocol == narrow.protocol;
    let negative = wide.not_protocol.is_none_or(|excluded| match narrow.protocol {
        Some(protocol) => protocol != excluded,
        None => narrow.not_protocol == Some(excluded),
    });
    let icmp = wide.icmp.is_none_or(|wide| {
        narrow.icmp.is_some_and(|narrow| {
            wide.icmp_type == narrow.icmp_type && (wide.code.is_none() || wide.code == narrow.code)
        })
    });
    let not_icmp = wide.not_icmp.is_none() || wide.not_icmp == narrow.not_icmp;
    positive && negative && icmp && not_icmp
}

fn covers_addresses(wide: &Peer, narrow: &Peer) -> bool {
    let listed = wide.nets.is_empty() || (!narrow.nets.is_empty() && hold(&wide.nets, &narrow.nets));
    let apart =
        |hole: Cidr| !narrow.nets.is_empty() && narrow.nets.iter().all(|net| !holds(hole, *net) && !holds(*net, hole));
    let excluded = wide.not_nets.iter().all(|hole| hold(&narrow.not_nets, &[*hole]) || apart(*hole));
    let selected =
        wide.selector.as_ref().is_none_or(|wide| narrow.selector.as_ref().is_some_and(|narrow| narrow.implies(wide)));
    // Two sets of labels can stand for one address, so only what is excluded by both is surely excluded.
    let not_selected = wide
        .not_selector
        .as_ref()
        .is_none_or(|wide| narrow.not_selector.as_ref().is_some_and(|narrow| wide.implies(narrow)));
    listed && excluded && selected && not_selected
}

/// Whether the blocks hold every address of the others.
pub(super) fn hold(wide: &[Cidr], narrow: &[Cidr]) -> bool {
    let wide = Cidr::aggregate(wide.iter().copied());
    narrow.iter().all(|net| wide.iter().any(|wide| holds(*wide, *net)))
}

fn covers_ports(wide: &Peer, narrow: &Peer) -> bool {
    let listed = wide.ports.is_empty() || (!narrow.ports.is_empty() && ports::hold(&wide.ports, &narrow.ports));
    let excluded = wide.not_ports.iter().all(|port| {
        let also = ports::hold(&narrow.not_ports, std::slice::from_ref(port));
        match port {
            Port::Range(hole) => also || apart(*hole, narrow),
            // Which ports a name stands for depends on the selector beside it.
            Port::Named(_) => also && wide.selector == narrow.selector,
        }
    });
    listed && excluded
}

/// Whether a peer's ports are numbers outside a range.
fn apart(hole: PortRange, peer: &Peer) -> bool {
    let ranges = ports::ranges(&peer.ports);
    !ranges.is_empty()
        && ranges.len() == peer.ports.len()
        && ranges.iter().all(|range| range.last() < hole.first() || hole.last() < range.first())
}
