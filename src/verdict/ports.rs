//! What a ruleset does with packets that differ in nothing but the port they are sent to.
//!
//! Input: a [`Ruleset`], the first [`Packet`] of a flow, and a set of destination ports. Output: those ports divided among
//! verdicts. One walk answers for the whole port space, exactly: where a rule asks for ports, the set is divided, and each
//! part goes its own way. For each single port it comes to what [`super::evaluate`] says, which a property test holds.

use crate::net::{Family, PortRange, PortSet};
use crate::ruleset::{Action, ChainName, Match, Member, Rule, Ruleset, SetKind, SetName, Side};

use super::{Decision, Hit, Packet, Verdict, condition_holds};

/// Ports with one verdict in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The ports, never none.
    pub ports: PortSet,
    /// What becomes of a packet to any of them.
    pub verdict: Verdict,
}

/// Divides destination ports among verdicts. The packet's own destination port counts for nothing; its protocol is one that
/// has ports.
pub fn evaluate_ports(ruleset: &Ruleset, packet: &Packet, ports: PortSet) -> Vec<Share> {
    let mut walk = Walk { ruleset, packet, shares: Vec::new(), parts: Vec::new() };
    if !ports.is_empty() {
        let start = (ChainName::base(packet.hook), 0);
        walk.parts.push(Part { ports, position: start, callers: Vec::new(), trace: Vec::new() });
    }
    while let Some(part) = walk.parts.pop() {
        walk.step(part);
    }
    walk.shares
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet,
    shares: Vec<Share>,
    /// Those that are still on their way.
    parts: Vec<Part>,
}

/// Packets to some ports, which have met the same rules so far.
struct Part {
    ports: PortSet,
    position: (ChainName, usize),
    /// Chains to come back to, each with the index of the rule after the jump.
    callers: Vec<(ChainName, usize)>,
    trace: Vec<Hit>,
}

impl Walk<'_> {
    /// Takes a part to the next rule that any of it matches.
    fn step(&mut self, mut part: Part) {
        let (name, index) = part.position.clone();
        let Some(chain) = self.ruleset.chain(Family::of(self.packet.source), &name) else {
            return self.end(part, Decision::Deny);
        };
        let matching = chain.iter().enumerate().skip(index).find_map(|(index, rule)| {
            let ports = self.matching(rule, &part.ports);
            (!ports.is_empty()).then_some((index, rule, ports))
        });
        let Some((index, rule, ports)) = matching else { return self.go_back(part) };
        let passed = part.ports.difference(&ports);
        if !passed.is_empty() {
            let position = (name.clone(), index + 1);
            let (callers, trace) = (part.callers.clone(), part.trace.clone());
            self.parts.push(Part { ports: passed, position, callers, trace });
        }
        part.ports = ports;
        part.trace.push(Hit { chain: name.clone(), index, comment: rule.comment.clone(), action: rule.action.clone() });
        match &rule.action {
            Action::Drop | Action::Reject => self.end(part, Decision::Deny),
            Action::Log { .. } => self.go_to(part, (name, index + 1)),
            Action::Goto(target) => self.go_to(part, (target.clone(), 0)),
            Action::Jump(target) => {
                part.callers.push((name, index + 1));
                self.go_to(part, (target.clone(), 0));
            }
            Action::Return => self.go_back(part),
        }
    }

    fn go_to(&mut self, part: Part, position: (ChainName, usize)) {
        self.parts.push(Part { position, ..part });
    }

    fn go_back(&mut self, mut part: Part) {
        match part.callers.pop() {
            Some(caller) => self.go_to(part, caller),
            None => self.end(part, Decision::Allow),
        }
    }

    fn end(&mut self, part: Part, decision: Decision) {
        self.shares.push(Share { ports: part.ports, verdict: Verdict { decision, trace: part.trace } });
    }

    /// The ports of some that a rule matches.
    fn matching(&self, rule: &Rule, ports: &PortSet) -> PortSet {
        let mut matching = ports.clone();
        for condition in &rule.matches {
            let (asked, negated) = match condition {
                Match::Ports { side: Side::Destination, ranges, negated } => {
                    (ranges.iter().copied().collect(), *negated)
                }
                Match::Set { side: Side::Destination, set, kind: SetKind::IpPort, negated } => {
                    (self.ports_in(set), *negated)
                }
                _ if condition_holds(self.ruleset, condition, self.packet) => continue,
                _ => return PortSet::empty(),
            };
            matching = if negated { matching.difference(&asked) } else { matching.intersection(&asked) };
        }
        matching
    }

    /// The ports that a set of addresses and ports has for the packet's destination.
    fn ports_in(&self, set: &SetName) -> PortSet {
        let (destination, number) = (self.packet.destination, self.packet.protocol.number());
        let port_of = |member: &Member| match member {
            Member::IpPort { address, protocol, port } if *address == destination && *protocol == number => {
                PortRange::single(*port)
            }
            _ => None,
        };
        self.ruleset.sets.get(set).into_iter().flat_map(|set| &set.members).filter_map(port_of).collect()
    }
}
