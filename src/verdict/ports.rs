//! What a ruleset does with packets that differ in nothing but the port they are sent to.
//!
//! Input: a [`Ruleset`], the first [`Packet`] of a flow, and a set of destination ports. Output: those ports divided among
//! verdicts. One walk answers for the whole port space, exactly: where a rule asks for ports, the set is divided, and each
//! part goes its own way. For each single port it comes to what [`super::evaluate`] says, which a property test holds.
//!
//! Whole worlds are asked about by it, so that it is prepared once: see `prepared`.

mod prepared;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::net::{Family, InterfaceName, PortRange, PortSet};
use crate::ruleset::{Action, ChainName, Match, Member, Rule, Ruleset, SetName, Side};

use super::{Decision, Packet, condition_holds};

use prepared::{Asked, Chain, Prepared};
pub use prepared::{Memberships, View};

/// Ports with one verdict in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The ports, never none.
    pub ports: PortSet,
    /// What becomes of a packet to any of them.
    pub decision: Decision,
    /// The rules that matched on the way, in order; when the decision is Deny, the last one made it.
    pub trace: Vec<&'a Rule>,
}

/// A ruleset that many packets are asked about.
#[derive(Debug)]
pub struct Evaluator<'a> {
    prepared: Prepared<'a>,
}

/// Both ends of a packet, as rules see them.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'v> {
    /// Where it comes from.
    pub source: &'v View,
    /// Where it goes to.
    pub destination: &'v View,
}

impl<'a> Evaluator<'a> {
    /// Prepares a ruleset.
    pub fn new(ruleset: &'a Ruleset) -> Evaluator<'a> {
        Evaluator { prepared: Prepared::new(ruleset) }
    }

    /// What rules ask about an address, and the answers.
    pub fn memberships(&self, address: IpAddr, interface: Option<&InterfaceName>) -> Memberships<'a> {
        self.prepared.memberships(address, interface)
    }

    /// How rules see the source of a packet, or its destination.
    pub fn view(&self, packet: &Packet, side: Side) -> View {
        let (address, interface) = packet.end(side);
        self.prepared.view(address, interface, side)
    }

    /// Divides destination ports among verdicts. The packet's own destination port counts for nothing, unless it has none:
    /// then no rule divides the ports. `ends` are the views of this very packet.
    pub fn divide(&self, packet: &Packet, ends: Ends<'_>, ports: PortSet) -> Vec<Share<'a>> {
        let family = Family::of(packet.source);
        let mut walk = Walk { prepared: &self.prepared, packet, ends, shares: Vec::new(), parts: Vec::new() };
        if !ports.is_empty() {
            let chain = self.prepared.chain(family, &ChainName::base(packet.hook));
            let part = Part { ports, chain, index: 0, callers: Vec::new(), trace: Vec::new() };
            walk.parts.push(part);
        }
        while let Some(part) = walk.parts.pop() {
            walk.step(part);
        }
        walk.shares
    }
}

struct Walk<'w, 'a> {
    prepared: &'w Prepared<'a>,
    packet: &'w Packet,
    ends: Ends<'w>,
    shares: Vec<Share<'a>>,
    /// Those that are still on their way.
    parts: Vec<Part<'w, 'a>>,
}

/// Packets to some ports, which have met the same rules so far.
struct Part<'w, 'a> {
    ports: PortSet,
    /// The chain they are in; `None` is one that the ruleset does not have.
    chain: Option<&'w Chain<'a>>,
    /// The next rule.
    index: usize,
    /// Chains to come back to, each with the index of the rule after the jump.
    callers: Vec<(&'w Chain<'a>, usize)>,
    trace: Vec<&'a Rule>,
}

/// Which ports of a part a rule matches.
enum Matching {
    All,
    Some(PortSet),
}

impl Matching {
    fn is_none(&self) -> bool {
        matches!(self, Matching::Some(ports) if ports.is_empty())
    }
}

impl<'w, 'a> Walk<'w, 'a> {
    /// Takes a part to the next rule that any of it matches.
    fn step(&mut self, mut part: Part<'w, 'a>) {
        let Some(chain) = part.chain else { return self.end(part, Decision::Deny) };
        let Some((index, matching)) = self.next(chain, part.index, &part.ports) else { return self.go_back(part) };
        let asked = &chain.rules[index];
        if let Matching::Some(ports) = matching {
            let passed = part.ports.difference(&ports);
            if !passed.is_empty() {
                let (callers, trace) = (part.callers.clone(), part.trace.clone());
                self.parts.push(Part { ports: passed, chain: part.chain, index: index + 1, callers, trace });
            }
            part.ports = ports;
        }
        part.trace.push(asked.rule);
        match &asked.rule.action {
            Action::Drop | Action::Reject => self.end(part, Decision::Deny),
            Action::Log { .. } => self.parts.push(Part { index: index + 1, ..part }),
            Action::Goto(_) => self.enter(part, asked),
            Action::Jump(_) => {
                part.callers.push((chain, index + 1));
                self.enter(part, asked);
            }
            Action::Return => self.go_back(part),
        }
    }

    fn enter(&mut self, part: Part<'w, 'a>, asked: &Asked<'a>) {
        let chain = asked.target.map(|target| self.prepared.chain_at(target));
        self.parts.push(Part { chain, index: 0, ..part });
    }

    fn go_back(&mut self, mut part: Part<'w, 'a>) {
        match part.callers.pop() {
            Some((chain, index)) => self.parts.push(Part { chain: Some(chain), index, ..part }),
            None => self.end(part, Decision::Allow),
        }
    }

    fn end(&mut self, part: Part<'w, 'a>, decision: Decision) {
        self.shares.push(Share { ports: part.ports, decision, trace: part.trace });
    }

    /// The next rule of a chain that any of some ports matches, and which of them.
    fn next(&self, chain: &Chain<'a>, from: usize, ports: &PortSet) -> Option<(usize, Matching)> {
        let ask = |index: usize| {
            let matching = self.matching(&chain.rules[index], ports);
            (!matching.is_none()).then_some((index, matching))
        };
        // In a long chain most rules are about others than these two ends.
        match chain.long {
            None => (from..chain.rules.len()).find_map(ask),
            Some(long) => {
                let (of_source, of_destination) = (self.ends.source.rules(long), self.ends.destination.rules(long));
                let fewer = if of_source.len() < of_destination.len() { of_source } else { of_destination };
                let start = fewer.partition_point(|index| *index < from);
                fewer[start..].iter().copied().find_map(ask)
            }
        }
    }

    /// Which of some ports a rule matches.
    fn matching(&self, asked: &Asked<'a>, ports: &PortSet) -> Matching {
        let holds = self.ends.source.holds(&asked.of_source)
            && self.ends.destination.holds(&asked.of_destination)
            && asked.others.iter().all(|condition| condition_holds(self.prepared.ruleset, condition, self.packet));
        if !holds {
            return Matching::Some(PortSet::empty());
        }
        let mut matching = Matching::All;
        for condition in &asked.of_ports {
            let (named, negated) = match condition {
                // The kernel's multiport does not match a packet without ports, inverted or not.
                Match::Ports { .. } if self.packet.destination_port.is_none() => {
                    return Matching::Some(PortSet::empty());
                }
                Match::Ports { ranges, negated, .. } => (ranges.iter().copied().collect(), *negated),
                Match::Set { set, negated, .. } => (self.ports_in(set), *negated),
                _ => continue,
            };
            let so_far = match &matching {
                Matching::All => ports,
                Matching::Some(ports) => ports,
            };
            matching = Matching::Some(if negated { so_far.difference(&named) } else { so_far.intersection(&named) });
        }
        matching
    }

    /// The ports that a set of addresses and ports has for the packet's destination; none for a packet without ports.
    fn ports_in(&self, set: &SetName) -> PortSet {
        let (destination, number) = (self.packet.destination, self.packet.protocol.number());
        let port_of = |member: &Member| match member {
            Member::IpPort { address, protocol, port } if *address == destination && *protocol == number => {
                PortRange::single(*port)
            }
            _ => None,
        };
        self.prepared.ruleset.sets.get(set).into_iter().flat_map(|set| &set.members).filter_map(port_of).collect()
    }
}
