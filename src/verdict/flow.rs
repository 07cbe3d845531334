//! Which of the flows that are open now the rules in force would not let open again.
//!
//! Input: a [`Ruleset`] and a [`Flow`], as the kernel's connection table has it. Output: whether policy forbids it.
//! The kernel asks policy about the first packet of a flow only, so that this question has to be put again, for every
//! flow, whenever the rules have become stricter. The packet and its judge are the same as everywhere else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use imbl::OrdSet;
use serde::Serialize;

use super::path::Ways;
use super::{Decision, Packet, Verdict, evaluate};
use crate::inventory::Inventory;
use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::ruleset::{Hook, Match, Member, Ruleset, SetName, differences, differing_sets};

/// Ports from which no service is offered: the first that Linux gives to clients
/// (`net.ipv4.ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;

/// A flow, by its first packet as the rules saw it: after DNAT and before SNAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Who opened it.
    pub source: IpAddr,
    /// Who answers, of the same family.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Source and destination port, of a protocol that has them.
    pub ports: Option<(u16, u16)>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// Whether the kernel came upon it in the middle, so that who opened it is not known.
    pub picked_up: bool,
}

impl Flow {
    /// The flow with its ends exchanged.
    fn reversed(&self) -> Flow {
        let ports = self.ports.map(|(source, destination)| (destination, source));
        Flow { source: self.destination, destination: self.source, ports, ..self.clone() }
    }

    /// What its first packet can have been. Of a flow that was picked up, the port of a service tells who was asked;
    /// where neither or both are one, it can have been either.
    fn openings(&self) -> Vec<Flow> {
        let Some((source, destination)) = self.ports.filter(|_| self.picked_up) else { return vec![self.clone()] };
        match (source < FIRST_CLIENT_PORT, destination < FIRST_CLIENT_PORT) {
            (false, true) => vec![self.clone()],
            (true, false) => vec![self.reversed()],
            (true, true) | (false, false) => vec![self.clone(), self.reversed()],
        }
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => std::net::SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let (source, destination) = self.ports.unzip();
        write!(f, "{} {} -> {}", self.protocol, end(self.source, source), end(self.destination, destination))
    }
}

/// A port of this host, whatever its address.
pub type LocalPort = (Protocol, u16);

/// Judges flows by a ruleset.
#[derive(Clone, Debug)]
pub struct Judge<'a> {
    ruleset: &'a Ruleset,
    ways: Ways<'a>,
}

impl<'a> Judge<'a> {
    /// A judge for the flows of one host. `inventory` is what the ruleset was compiled from, `host` are the addresses of
    /// this host.
    pub fn new(ruleset: &'a Ruleset, inventory: &'a Inventory, host: &'a BTreeSet<IpAddr>) -> Judge<'a> {
        Judge { ruleset, ways: Ways::new(inventory, host) }
    }

    /// Whether the rules would refuse to open the flow now. When who opened it is not known, either opening is refused:
    /// in doubt, closed.
    pub fn forbids(&self, flow: &Flow) -> bool {
        let same_family = Family::of(flow.source) == Family::of(flow.destination);
        same_family && flow.openings().iter().any(|opening| self.refuses(opening))
    }

    /// Whether an address belongs to a network that a policy governs.
    pub fn is_governed(&self, address: IpAddr) -> bool {
        self.ways.bridge(address).is_some_and(|bridge| self.ruleset.bridges.contains(bridge))
    }

    /// The ports of this host that a flow is from and to. One that is translated to a container is to none.
    pub fn local_ports(&self, flow: &Flow) -> Vec<LocalPort> {
        let Some((from, to)) = flow.ports else { return Vec::new() };
        let ends = [(flow.source, from), (flow.destination, to)].into_iter();
        ends.filter(|(address, _)| self.ways.is_host(*address)).map(|(_, port)| (flow.protocol, port)).collect()
    }

    fn refuses(&self, flow: &Flow) -> bool {
        let Some(packet) = self.ways.first_packet(flow) else { return false };
        let on_governed = |interface: &Option<InterfaceName>| {
            interface.as_ref().is_some_and(|interface| self.ruleset.bridges.contains(interface))
        };
        // What passes no governed bridge is none of our business, except at the ports that `docker-proxy` holds.
        if packet.hook == Hook::Forward && !on_governed(&packet.in_interface) && !on_governed(&packet.out_interface) {
            return false;
        }
        let verdict = evaluate(self.ruleset, &packet);
        verdict.decision == Decision::Deny && !self.only_waits(&packet, &verdict)
    }

    /// Whether nothing but the gate between this host and a container that is not listed yet denies the packet. That one
    /// is about when a flow may open, and not about whether it may be.
    fn only_waits(&self, packet: &Packet, verdict: &Verdict) -> bool {
        let family = Family::of(packet.source);
        let listed = SetName::listed(family);
        let decider = verdict.trace.last().and_then(|hit| self.ruleset.chain(family, &hit.chain)?.get(hit.index));
        let waits = decider.is_some_and(|rule| {
            rule.matches.iter().any(|condition| matches!(condition, Match::Set { set, .. } if *set == listed))
        });
        let Some(interface) = packet.out_interface.clone().filter(|_| waits) else { return false };
        let known = Member::NetInterface { net: Cidr::host(packet.destination), interface };
        self.ruleset.sets.get(&SetName::known(family)).is_some_and(|set| set.members.contains(&known))
    }
}

/// Whose open flows a change of rules may forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// Those from or to these addresses; of nobody if there are none.
    Addresses(BTreeSet<IpAddr>),
    /// Anybody's.
    Everybody,
}

impl Concerned {
    /// Whether a flow may be forbidden now.
    pub fn includes(&self, flow: &Flow) -> bool {
        match self {
            Concerned::Addresses(addresses) => {
                addresses.contains(&flow.source) || addresses.contains(&flow.destination)
            }
            Concerned::Everybody => true,
        }
    }

    /// Whether no flow can be forbidden now.
    pub fn is_nobody(&self) -> bool {
        *self == Concerned::Addresses(BTreeSet::new())
    }
}

/// Whose flows `after` may refuse that `before` let open. Of addresses that became known and went into sets it is none:
/// the gate kept them from having flows. Sets are asked for nothing but the ends of a packet, so where single addresses
/// went or changed their sets, it is the flows of those.
pub fn concerned(before: &Ruleset, after: &Ruleset) -> Concerned {
    if before.chains != after.chains || before.bridges != after.bridges {
        return Concerned::Everybody;
    }
    let nothing = OrdSet::new();
    let is_known = |of: &Ruleset, address: IpAddr| {
        let net = Cidr::host(address);
        let known = of.sets.get(&SetName::known(Family::of(address))).map_or(&nothing, |set| &set.members);
        let first = Member::NetInterface { net, interface: InterfaceName::least() };
        known.range(first..).next().is_some_and(|member| address_of(member) == Some(address))
    };
    let came = |member: &Member| {
        address_of(member).is_some_and(|address| is_known(after, address) && !is_known(before, address))
    };
    // Who is listed is about when a flow may open, and not about whether it may be.
    let waits = |name: &SetName| Family::ALL.into_iter().any(|family| *name == SetName::listed(family));
    let mut addresses = BTreeSet::new();
    for (_, old, new) in differing_sets(&before.sets, &after.sets).filter(|(name, _, _)| !waits(name)) {
        let [old, new] = [old, new].map(|set| set.map_or(&nothing, |set| &set.members));
        let (added, removed) = differences(old, new);
        for member in removed.into_iter().chain(added.into_iter().filter(|member| !came(member))) {
            let Some(address) = address_of(member) else { return Concerned::Everybody };
            addresses.insert(address);
        }
    }
    Concerned::Addresses(addresses)
}

/// The one address of a member; `None` for a block of several.
fn address_of(member: &Member) -> Option<IpAddr> {
    match member {
        Member::Ip(address) | Member::IpPort { address, .. } => Some(*address),
        Member::Net(net) | Member::NetInterface { net, .. } => net.is_host().then(|| net.network()),
    }
}

#[cfg(test)]
mod tests;
