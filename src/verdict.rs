//! What a ruleset does with one packet, and why.
//!
//! Input: a [`Ruleset`] and the first [`Packet`] of a flow. Output: a [`Verdict`] with the rules that led to it.
//! It walks the very chains and sets that the kernel gets, so that what `explain` says is what the kernel does; a
//! differential test with real packets holds the two together.
//!
//! It takes the source of a packet for honest: that a container sends under its own address only is seen to below, by the
//! table that [`crate::ruleset::AntiSpoofing`] describes, and takes no part in a verdict.

pub mod flow;
pub mod path;
pub mod ports;
pub mod reason;
pub mod remedy;
#[cfg(test)]
mod trees;

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::ruleset::{
    Action, AddressSet, ChainName, ConnectionState, Hook, Match, Member, Rule, Ruleset, SetKind, SetName, Side,
};

/// The first packet of a flow, as a hook sees it (after DNAT).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// Where it is seen.
    pub hook: Hook,
    /// Interface it came in by.
    pub in_interface: Option<InterfaceName>,
    /// Interface it leaves by.
    pub out_interface: Option<InterfaceName>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Source port of TCP, UDP and SCTP.
    pub source_port: Option<u16>,
    /// Destination port of TCP, UDP and SCTP.
    pub destination_port: Option<u16>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
}

/// Whether the packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Decision {
    /// dockgate lets it pass; Docker's own rules may still drop it.
    Allow,
    /// dockgate drops or rejects it.
    Deny,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Chain.
    pub chain: ChainName,
    /// Index in the chain.
    pub index: usize,
    /// Comment of the rule; the key into `compile::Compiled::origins`.
    pub comment: Arc<str>,
    /// What it did.
    pub action: Action,
}

/// The outcome and the rules that matched on the way, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The outcome.
    pub decision: Decision,
    /// The rules that matched; when the decision is Deny, the last one made it.
    pub trace: Vec<Hit>,
}

/// Evaluates the ruleset for the first packet of a flow.
///
/// A chain that a ruleset refers to and does not hold ends the walk with Deny: the kernel would refuse such a ruleset,
/// and nothing unknown may look allowed.
pub fn evaluate(ruleset: &Ruleset, packet: &Packet) -> Verdict {
    walk(ruleset, packet, |_, _, _, _| {})
}

/// Evaluates, and tells of every rule that is asked, in order: its chain, its index there, and whether it matched.
fn walk<'a>(ruleset: &'a Ruleset, packet: &Packet, mut tell: impl FnMut(&ChainName, usize, &'a Rule, bool)) -> Verdict {
    let family = Family::of(packet.source);
    let mut trace = Vec::new();
    // Chains to come back to, each with the index of the rule after the jump.
    let mut callers: Vec<(ChainName, usize)> = Vec::new();
    let mut position = (ChainName::base(packet.hook), 0);
    loop {
        let (name, index) = position;
        let Some(chain) = ruleset.chain(family, &name) else {
            return Verdict { decision: Decision::Deny, trace };
        };
        let mut asked = chain.iter().enumerate().skip(index);
        let matching = asked.find(|(index, rule)| {
            let matched = rule_matches(ruleset, rule, packet);
            tell(&name, *index, rule, matched);
            matched
        });
        let Some((index, rule)) = matching else {
            match callers.pop() {
                Some(caller) => position = caller,
                None => return Verdict { decision: Decision::Allow, trace },
            }
            continue;
        };
        trace.push(Hit { chain: name.clone(), index, comment: rule.comment.clone(), action: rule.action.clone() });
        position = match &rule.action {
            Action::Drop | Action::Reject => return Verdict { decision: Decision::Deny, trace },
            Action::Log { .. } => (name, index + 1),
            Action::Goto(target) => (target.clone(), 0),
            Action::Jump(target) => {
                callers.push((name, index + 1));
                (target.clone(), 0)
            }
            Action::Return => match callers.pop() {
                Some(caller) => caller,
                None => return Verdict { decision: Decision::Allow, trace },
            },
        };
    }
}

fn rule_matches(ruleset: &Ruleset, rule: &Rule, packet: &Packet) -> bool {
    rule.matches.iter().all(|condition| condition_holds(ruleset, condition, packet))
}

fn condition_holds(ruleset: &Ruleset, condition: &Match, packet: &Packet) -> bool {
    match condition {
        Match::InInterface(name) => packet.in_interface.as_ref() == Some(name),
        Match::OutInterface(name) => packet.out_interface.as_ref() == Some(name),
        Match::InInterfacePrefix(prefix) => packet.in_interface.as_ref().is_some_and(|name| prefix.begins(name)),
        Match::OutInterfacePrefix(prefix) => packet.out_interface.as_ref().is_some_and(|name| prefix.begins(name)),
        // The packet is the first of its flow, a first TCP packet is a SYN, and a first SCTP packet has an INIT.
        Match::State(states) => states.contains(&ConnectionState::New),
        Match::TcpNotSyn | Match::SctpNotInit => false,
        Match::Net { side, net, negated } => net.contains(packet.address(*side)) != *negated,
        Match::Set { side, set, kind, negated } => in_set(ruleset, packet, *side, set, *kind) != *negated,
        Match::Protocol { protocol, negated } => (packet.protocol == *protocol) != *negated,
        // The kernel's multiport does not match a packet without ports, inverted or not.
        Match::Ports { side, ranges, negated } => {
            packet.port(*side).is_some_and(|port| ranges.iter().any(|range| range.contains(port)) != *negated)
        }
        Match::Icmp { icmp_type, code, negated } => packet.icmp.is_some_and(|(packet_type, packet_code)| {
            (packet_type == *icmp_type && code.is_none_or(|code| code == packet_code)) != *negated
        }),
    }
}

fn in_set(ruleset: &Ruleset, packet: &Packet, side: Side, set: &SetName, kind: SetKind) -> bool {
    let Some(set) = ruleset.sets.get(set).filter(|set| set.kind == kind) else { return false };
    let service = packet.port(side).map(|port| (packet.protocol.number(), port));
    holds(set, packet.address(side), service, packet.interface(side))
}

/// Whether a set holds an address, in a set of two dimensions with the number of a protocol and a port, or with the
/// interface by which it comes or goes.
fn holds(set: &AddressSet, address: IpAddr, service: Option<(u8, u16)>, interface: Option<&InterfaceName>) -> bool {
    if Family::of(address) != set.family {
        return false;
    }
    let nets = || (0..=set.family.host_prefix()).rev().filter_map(move |prefix| Cidr::new(address, prefix));
    match set.kind {
        SetKind::Ip => set.members.contains(&Member::Ip(address)),
        SetKind::Net => nets().any(|net| set.members.contains(&Member::Net(net))),
        SetKind::IpPort => {
            service.is_some_and(|(protocol, port)| set.members.contains(&Member::IpPort { address, protocol, port }))
        }
        SetKind::NetInterface => interface.is_some_and(|interface| {
            nets().any(|net| set.members.contains(&Member::NetInterface { net, interface: interface.clone() }))
        }),
    }
}

impl Packet {
    /// The address of one end, and the interface on its side.
    pub(crate) fn end(&self, side: Side) -> (IpAddr, Option<&InterfaceName>) {
        (self.address(side), self.interface(side))
    }

    fn address(&self, side: Side) -> IpAddr {
        match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        }
    }

    fn port(&self, side: Side) -> Option<u16> {
        match side {
            Side::Source => self.source_port,
            Side::Destination => self.destination_port,
        }
    }

    fn interface(&self, side: Side) -> Option<&InterfaceName> {
        match side {
            Side::Source => self.in_interface.as_ref(),
            Side::Destination => self.out_interface.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn chain_name(name: &str) -> ChainName {
        ChainName::of_content(name, name)
    }

    fn rule(matches: Vec<Match>, action: Action, comment: &str) -> Rule {
        Rule { matches: matches.into(), action, comment: comment.into() }
    }

    fn ruleset(chains: Vec<(ChainName, Vec<Rule>)>) -> Ruleset {
        Ruleset {
            chains: BTreeMap::from([(
                Family::V4,
                chains.into_iter().map(|(name, rules)| (name, rules.into())).collect(),
            )])
            .into(),
            ..Ruleset::default()
        }
    }

    fn packet() -> Packet {
        Packet {
            hook: Hook::Forward,
            in_interface: None,
            out_interface: None,
            source: "192.0.2.1".parse().expect("address"),
            destination: "192.0.2.2".parse().expect("address"),
            protocol: Protocol::TCP,
            source_port: Some(40_000),
            destination_port: Some(80),
            icmp: None,
        }
    }

    fn comments(verdict: &Verdict) -> Vec<&str> {
        verdict.trace.iter().map(|hit| &*hit.comment).collect()
    }

    #[test]
    fn a_return_after_a_jump_goes_on_and_after_a_goto_skips_the_chain_that_went() {
        let (outer, inner) = (chain_name("outer"), chain_name("inner"));
        let world = |action: Action| {
            ruleset(vec![
                (
                    ChainName::base(Hook::Forward),
                    vec![
                        rule(vec![], Action::Jump(outer.clone()), "base jumps"),
                        rule(vec![], Action::Drop, "base drops"),
                    ],
                ),
                (outer.clone(), vec![rule(vec![], action, "outer goes"), rule(vec![], Action::Drop, "outer drops")]),
                (inner.clone(), vec![rule(vec![], Action::Return, "inner returns")]),
            ])
        };
        let by_jump = evaluate(&world(Action::Jump(inner.clone())), &packet());
        assert_eq!(comments(&by_jump), ["base jumps", "outer goes", "inner returns", "outer drops"]);
        let by_goto = evaluate(&world(Action::Goto(inner.clone())), &packet());
        assert_eq!(comments(&by_goto), ["base jumps", "outer goes", "inner returns", "base drops"]);
    }

    #[test]
    fn what_no_rule_decides_is_allowed_and_a_missing_chain_is_not() {
        let empty = ruleset(vec![(ChainName::base(Hook::Forward), vec![])]);
        assert_eq!(evaluate(&empty, &packet()).decision, Decision::Allow);
        let missing = ruleset(vec![(
            ChainName::base(Hook::Forward),
            vec![rule(vec![], Action::Jump(chain_name("gone")), "jump")],
        )]);
        assert_eq!(evaluate(&missing, &packet()).decision, Decision::Deny);
    }

    #[test]
    fn inverted_ports_do_not_match_a_packet_without_ports() {
        let condition =
            Match::Ports { side: Side::Destination, ranges: vec!["53".parse().expect("range")], negated: true };
        let world = ruleset(vec![(ChainName::base(Hook::Forward), vec![rule(vec![condition], Action::Drop, "drop")])]);
        let ping = Packet {
            protocol: Protocol::ICMP,
            source_port: None,
            destination_port: None,
            icmp: Some((8, 0)),
            ..packet()
        };
        assert_eq!(evaluate(&world, &packet()).decision, Decision::Deny);
        assert_eq!(evaluate(&world, &ping).decision, Decision::Allow);
    }
}
