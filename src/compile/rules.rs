//! One policy rule to the conditions that the kernel checks, in one family.
//!
//! Input: a checked [`Rule`]. Output: alternatives, each a list of conditions; the rule matches when one of them holds.
//! Alternatives exist because xtables has no "or": numeric ports beside named ones, and more ports than one `multiport`
//! match takes.

use std::net::IpAddr;

use crate::inventory::{Endpoint, NamedPort};
use crate::net::{Cidr, Family, PortRange, Protocol};
use crate::policy::{Icmp, Peer, Port, Rule};
use crate::ruleset::{Match, SetKind, Side};
use crate::selector::Selector;

use super::clause::Clause;
use super::sets::SetBuilder;

/// A service of an endpoint that is reached through a port of the host. The packet shows the host's address and port,
/// so that everything a rule says of its destination is decided here and not in the kernel.
pub(super) struct Published<'a> {
    pub(super) endpoint: &'a Endpoint<'a>,
    /// Where `docker-proxy` connects to, which can be of another family than its client; `None` until Docker has said.
    pub(super) address: Option<IpAddr>,
    pub(super) named_ports: Vec<NamedPort>,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl Published<'_> {
    /// What the destination part of a rule says that this service is not.
    fn unmet(&self, sets: &SetBuilder<'_>, peer: &Peer) -> Vec<Clause> {
        let within = |nets: &[Cidr]| self.address.is_some_and(|address| nets.iter().any(|net| net.contains(address)));
        let among = |ports: &[Port]| ports.iter().any(|port| self.is_port(port));
        let selected = |selector: &&Selector| sets.selects(selector, &self.endpoint.labels, self.address);
        let side = Side::Destination;
        let mut unmet = Vec::new();
        for (nets, negated) in [(&peer.nets, false), (&peer.not_nets, true)] {
            if !nets.is_empty() && within(nets) == negated {
                unmet.push(Clause::Nets { side, nets: nets.clone(), negated });
            }
        }
        for (selector, negated) in [(&peer.selector, false), (&peer.not_selector, true)] {
            let unwanted = selector.as_ref().filter(|selector| selected(selector) == negated);
            unmet.extend(unwanted.map(|selector| Clause::Selector { side, selector: selector.clone(), negated }));
        }
        for (ports, negated) in [(&peer.ports, false), (&peer.not_ports, true)] {
            if !ports.is_empty() && among(ports) == negated {
                unmet.push(Clause::Ports { side, ports: ports.clone(), negated });
            }
        }
        unmet
    }

    fn is_port(&self, port: &Port) -> bool {
        match port {
            Port::Range(range) => range.contains(self.port),
            Port::Named(name) => self
                .named_ports
                .iter()
                .any(|port| port.name == *name && port.protocol == self.protocol && port.port == self.port),
        }
    }
}

/// Ports that one `multiport` match takes; a range takes two (kernel: `XT_MULTI_PORTS`).
const MULTIPORT_SLOTS: usize = 15;

/// The alternatives of a rule in a family; none when the rule does not exist there (calico-semantics §3.7).
pub(super) fn alternatives<'a>(sets: &mut SetBuilder<'a>, rule: &'a Rule, family: Family) -> Vec<Vec<Match>> {
    if !absences(rule, family).is_empty() {
        return Vec::new();
    }
    let mut common = Vec::new();
    // -p tcp; a second, inverted -p is refused by iptables and says nothing beside a positive one.
    if let Some(protocol) = rule.protocol {
        common.push(Match::Protocol { protocol, negated: false });
    } else if let Some(protocol) = rule.not_protocol {
        common.push(Match::Protocol { protocol, negated: true });
    }
    common.extend(icmp(rule.icmp, false));
    common.extend(icmp(rule.not_icmp, true));
    for (side, peer) in [(Side::Source, &rule.source), (Side::Destination, &rule.destination)] {
        common.extend(addresses(sets, peer, side, family));
        common.extend(excluded_ports(sets, peer, side, family, rule.protocol));
    }
    let sources = ports(sets, &rule.source, Side::Source, family, rule.protocol);
    let destinations = ports(sets, &rule.destination, Side::Destination, family, rule.protocol);
    let mut alternatives = Vec::new();
    for source in &sources {
        for destination in &destinations {
            alternatives.push([common.as_slice(), source, destination].concat());
        }
    }
    alternatives
}

/// The alternatives of a rule for a connection to a published service, as the host's INPUT hook sees it: of an ingress rule
/// of the container behind the port, or of an egress rule of the client.
pub(super) fn alternatives_for_published<'a>(
    sets: &mut SetBuilder<'a>,
    rule: &'a Rule,
    family: Family,
    service: &Published<'_>,
) -> Vec<Vec<Match>> {
    if !absences_for_published(sets, rule, family, service).is_empty() {
        return Vec::new();
    }
    let mut common = vec![Match::Protocol { protocol: service.protocol, negated: false }];
    common.extend(addresses(sets, &rule.source, Side::Source, family));
    common.extend(excluded_ports(sets, &rule.source, Side::Source, family, Some(service.protocol)));
    ports(sets, &rule.source, Side::Source, family, Some(service.protocol))
        .into_iter()
        .map(|source| [common.clone(), source].concat())
        .collect()
}

/// Why a rule does not exist in a family; empty where it does.
pub(super) fn absences(rule: &Rule, family: Family) -> Vec<Clause> {
    absences_in(rule, family, &[(Side::Source, &rule.source), (Side::Destination, &rule.destination)])
}

/// Why a rule says nothing of a connection to a published service; empty where it does.
pub(super) fn absences_for_published(
    sets: &SetBuilder<'_>,
    rule: &Rule,
    family: Family,
    service: &Published<'_>,
) -> Vec<Clause> {
    // The blocks of the destination are about the container's address, whatever the family of the client.
    let mut absences = absences_in(rule, family, &[(Side::Source, &rule.source)]);
    let other = rule.protocol.filter(|protocol| *protocol != service.protocol);
    absences.extend(other.map(|protocol| Clause::Protocol { protocol, negated: false }));
    let excluded = rule.not_protocol.filter(|protocol| *protocol == service.protocol);
    absences.extend(excluded.map(|protocol| Clause::Protocol { protocol, negated: true }));
    absences.extend(service.unmet(sets, &rule.destination));
    absences
}

/// Whether a rule can match anything in a family, by what the packet shows of its peers.
pub(crate) fn exists_in(rule: &Rule, family: Family, shown: &[(Side, &Peer)]) -> bool {
    absences_in(rule, family, shown).is_empty()
}

/// Why a rule can match nothing in a family: its `ipVersion`, its protocol, or the blocks of those of its peers that the
/// packet shows. A list of blocks, positive or negative, that holds none of the family takes the rule out of it.
fn absences_in(rule: &Rule, family: Family, shown: &[(Side, &Peer)]) -> Vec<Clause> {
    let only = [rule.family, rule.protocol.and_then(Protocol::family)].into_iter().flatten();
    let mut absences: Vec<Clause> = only.filter(|only| *only != family).map(Clause::Family).take(1).collect();
    for (side, peer) in shown {
        for nets in [&peer.nets, &peer.not_nets] {
            if let Some(other) = nets.first().filter(|_| nets.iter().all(|net| net.family() != family)) {
                absences.push(Clause::Blocks { side: *side, family: other.family() });
            }
        }
    }
    let excluded = rule.protocol.filter(|protocol| rule.not_protocol == Some(*protocol));
    absences.extend(excluded.map(Clause::Contradiction));
    absences
}

fn icmp(icmp: Option<Icmp>, negated: bool) -> Option<Match> {
    icmp.map(|Icmp { icmp_type, code }| Match::Icmp { icmp_type, code, negated })
}

/// Conditions on the address of one side, those of its selector included unless the ports carry them.
fn addresses<'a>(sets: &mut SetBuilder<'a>, peer: &'a Peer, side: Side, family: Family) -> Vec<Match> {
    let of_family = |nets: &[Cidr]| nets.iter().copied().filter(|net| net.family() == family).collect::<Vec<_>>();
    let mut matches = Vec::new();
    let nets = of_family(&peer.nets);
    let not_nets = of_family(&peer.not_nets);
    match nets.as_slice() {
        [] => {}
        [net] => matches.push(Match::Net { side, net: *net, negated: false }),
        nets => matches.push(net_set(sets, nets, side, family, false)),
    }
    match not_nets.as_slice() {
        [] => {}
        // iptables refuses `-s A ! -s B`, so beside a positive block the negative one is a set.
        [net] if nets.len() != 1 => matches.push(Match::Net { side, net: *net, negated: true }),
        not_nets => matches.push(net_set(sets, not_nets, side, family, true)),
    }
    // A set of named ports is restricted by the selector already; a numeric port is not.
    let only_named = !peer.ports.is_empty() && peer.ports.iter().all(|port| matches!(port, Port::Named(_)));
    if let Some(selector) = peer.selector.as_ref().filter(|_| !only_named) {
        let (set, kind) = sets.selected(family, selector);
        matches.push(Match::Set { side, set, kind, negated: false });
    }
    if let Some(selector) = &peer.not_selector {
        let (set, kind) = sets.selected(family, selector);
        matches.push(Match::Set { side, set, kind, negated: true });
    }
    matches
}

fn net_set(sets: &mut SetBuilder<'_>, nets: &[Cidr], side: Side, family: Family, negated: bool) -> Match {
    Match::Set { side, set: sets.nets(family, nets), kind: SetKind::Net, negated }
}

/// The alternatives of one side's ports: no condition, or one per named port and per `multiport` match.
fn ports<'a>(
    sets: &mut SetBuilder<'a>,
    peer: &'a Peer,
    side: Side,
    family: Family,
    protocol: Option<Protocol>,
) -> Vec<Vec<Match>> {
    if peer.ports.is_empty() {
        return vec![Vec::new()];
    }
    let mut alternatives = Vec::new();
    for ranges in multiport_chunks(&numeric(&peer.ports)) {
        alternatives.push(vec![Match::Ports { side, ranges, negated: false }]);
    }
    // Numeric ports carry the selector in the common conditions; then the named set need not repeat it, but may.
    for name in named(&peer.ports) {
        let set = sets.named_port(family, peer.selector.as_ref(), name, protocol);
        alternatives.push(vec![Match::Set { side, set, kind: SetKind::IpPort, negated: false }]);
    }
    alternatives
}

/// Conditions that exclude ports of one side: all of them must hold.
fn excluded_ports<'a>(
    sets: &mut SetBuilder<'a>,
    peer: &'a Peer,
    side: Side,
    family: Family,
    protocol: Option<Protocol>,
) -> Vec<Match> {
    let mut matches = Vec::new();
    for ranges in multiport_chunks(&numeric(&peer.not_ports)) {
        matches.push(Match::Ports { side, ranges, negated: true });
    }
    for name in named(&peer.not_ports) {
        let set = sets.named_port(family, peer.selector.as_ref(), name, protocol);
        matches.push(Match::Set { side, set, kind: SetKind::IpPort, negated: true });
    }
    matches
}

fn numeric(ports: &[Port]) -> Vec<PortRange> {
    ports
        .iter()
        .filter_map(|port| match port {
            Port::Range(range) => Some(*range),
            Port::Named(_) => None,
        })
        .collect()
}

fn named(ports: &[Port]) -> impl Iterator<Item = &str> {
    ports.iter().filter_map(|port| match port {
        Port::Named(name) => Some(name.as_str()),
        Port::Range(_) => None,
    })
}

fn multiport_chunks(ranges: &[PortRange]) -> Vec<Vec<PortRange>> {
    let mut chunks: Vec<Vec<PortRange>> = Vec::new();
    let mut used = MULTIPORT_SLOTS;
    for range in ranges {
        let slots = range.multiport_slots();
        if used + slots > MULTIPORT_SLOTS {
            chunks.push(Vec::new());
            used = 0;
        }
        used += slots;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(*range);
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_into_matches_of_fifteen_slots() {
        let range = |text: &str| text.parse::<PortRange>().expect("range");
        let singles: Vec<_> = (1..=16).map(|port| range(&port.to_string())).collect();
        let lengths = |ranges: &[PortRange]| multiport_chunks(ranges).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), Vec::<usize>::new());
        assert_eq!(lengths(&singles[..15]), [15]);
        assert_eq!(lengths(&singles), [15, 1]);
        let ranges: Vec<_> = (1..=8).map(|n| range(&format!("{}:{}", n * 100, n * 100 + 9))).collect();
        assert_eq!(lengths(&ranges), [7, 1], "a range takes two slots");
    }
}
