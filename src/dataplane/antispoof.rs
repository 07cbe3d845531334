//! Who may send as whom: a table of ours in nftables' bridge family.
//!
//! Input: the endpoints that may be on each bridge, and the ports that are there. Output: the table. It judges each frame
//! where it enters its bridge, before netfilter's other hooks and before the bridge learns from it, so it covers what is
//! bridged, what is routed and what is meant for this host, and needs no bridge netfilter.
//!
//! The gate in the packet filter binds an address to its network; this table binds it to its endpoint: to one port and one
//! MAC address, on governed networks and, for those whom rules name, on others. An endpoint has one port and a port one endpoint, from the moment of its start on: what the inside of
//! the port calls itself later changes nothing. An endpoint whose port is not found is closed.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::dataplane::Step;
use crate::dataplane::port::Port;
use crate::dataplane::state::State;
use crate::net::{Cidr, Family, InterfaceName, MacAddress};
use crate::ruleset::{AddressSet, AntiSpoofing, Binding, Member, Role, Ruleset};

pub use table::Table;
use table::{Elements, Set};
pub(super) use table::{NAME, parse, trial};

/// An endpoint that has no port, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unbound<'a> {
    pub(super) binding: &'a Binding,
    pub(super) reason: String,
}

/// Which endpoint is at which port.
#[derive(Debug, Default)]
pub(super) struct Assignment<'a> {
    pub(super) bound: Vec<(&'a Binding, InterfaceName)>,
    pub(super) unbound: Vec<Unbound<'a>>,
}

/// Finds the port of each endpoint. A port that the kernel holds for an endpoint stays its own, whatever its inside
/// shows now, and also when somebody else has emptied the table; for the others, the one free port whose other end has the endpoint's MAC address.
///
/// What the inside of a free port shows can be a lie: a container that took the MAC address of one to come, before its own
/// port was found. So a port that did not come with an endpoint is not taken for its own while one with which it came has
/// none; nor is one that came with both, while another port may still show that it is the endpoint's; and an endpoint is
/// closed when two ports that came with it show its MAC address.
pub(super) fn assign<'a>(desired: &'a AntiSpoofing, observed: &State) -> Assignment<'a> {
    let held = held_ports(observed);
    let mut taken = BTreeMap::new();
    let mut assignment = Assignment::default();
    let mut searching = Vec::new();
    for binding in &desired.bindings {
        match kept(binding, &held, &observed.ports) {
            Some(port) if !taken.contains_key(&port) => {
                taken.insert(port.clone(), binding);
                assignment.bound.push((binding, port));
            }
            _ => searching.push(binding),
        }
    }
    // Both may be the right port of an endpoint when they came with it.
    let twins = |binding: &Binding, port: &InterfaceName| {
        let is_free = |other: &&Port| other.name != *port && !taken.contains_key(&other.name);
        let mut free = observed.ports.iter().filter(is_free);
        free.any(|other| {
            (&other.bridge, other.mac) == (&binding.bridge, binding.mac)
                && other.mac.is_some()
                && !observed.strangers.contains(&(other.name.clone(), binding.attachment.clone()))
        })
    };
    let (twinned, bound) = assignment.bound.into_iter().partition(|(binding, port)| twins(binding, port));
    assignment.bound = bound;
    let twinned: Vec<(&Binding, InterfaceName)> = twinned;
    for (binding, port) in twinned {
        let reason = format!("beside {port} another port leads to its MAC address");
        assignment.unbound.push(Unbound { binding, reason });
    }
    let mut wanted: BTreeMap<(&InterfaceName, MacAddress), usize> = BTreeMap::new();
    for binding in &searching {
        if let Some(mac) = binding.mac {
            *wanted.entry((&binding.bridge, mac)).or_default() += 1;
        }
    }
    let free = || observed.ports.iter().filter(|port| !taken.contains_key(&port.name));
    let macs: BTreeSet<(&InterfaceName, MacAddress)> =
        desired.bindings.iter().filter_map(|binding| Some((&binding.bridge, binding.mac?))).collect();
    for binding in &searching {
        let binding = *binding;
        let came_with =
            |port: &Port, who: &Binding| !observed.strangers.contains(&(port.name.clone(), who.attachment.clone()));
        let is_another_s = |port: &&Port| {
            let mut others = searching.iter().filter(|other| **other != binding && other.bridge == port.bridge);
            !came_with(port, binding) && others.any(|other| came_with(port, other))
        };
        // Somebody else's, who shows no port of his own: he may be behind this one.
        let may_be_another_s = |port: &Port| {
            let others = searching.iter().filter(|other| **other != binding && other.bridge == port.bridge);
            let mut others = others.filter(|other| came_with(port, other));
            others.any(|other| {
                !free().any(|shown| shown.bridge == port.bridge && other.mac.is_some() && shown.mac == other.mac)
            })
        };
        // Its own may be one that shows nobody's MAC address yet.
        let undecided = |port: &Port| {
            let is_hidden = |other: &&Port| {
                other.name != port.name
                    && other.bridge == port.bridge
                    && observed.young.contains(&other.name)
                    && came_with(other, binding)
                    && other.mac.is_some_and(|mac| !macs.contains(&(&port.bridge, mac)))
            };
            free().find(is_hidden).filter(|_| may_be_another_s(port))
        };
        let found = match binding.mac {
            _ if desired.frozen => Err("the engine, which knows whose a new port is, is away".to_owned()),
            None => Err("its MAC address is not known".to_owned()),
            Some(mac) => {
                let at = free().filter(|port| port.bridge == binding.bridge && port.mac == Some(mac));
                let (strangers, at): (Vec<_>, Vec<_>) = at.partition(is_another_s);
                match (&at[..], wanted.get(&(&binding.bridge, mac))) {
                    ([], _) if !strangers.is_empty() => {
                        let names: Vec<&str> = strangers.iter().map(|port| port.name.as_str()).collect();
                        let names = names.join(", ");
                        Err(format!("only {names} leads to its MAC address {mac}, a port that did not come with it"))
                    }
                    ([port], Some(1)) => match undecided(port) {
                        None => Ok(port.name.clone()),
                        Some(hidden) => Err(format!(
                            "{} leads to its MAC address {mac} and may be another's, and {} does not show yet whose it is",
                            port.name, hidden.name
                        )),
                    },
                    ([], _) => Err(format!("no free port leads to its MAC address {mac}")),
                    _ => {
                        let ports = at.iter().map(|port| port.name.to_string());
                        let others = searching.iter().filter(|other| **other != binding);
                        let others =
                            others.filter(|other| (&other.bridge, other.mac) == (&binding.bridge, binding.mac));
                        let all: Vec<String> = ports.chain(others.map(|other| other.endpoint.clone())).collect();
                        Err(format!("{} all have its MAC address {mac}", all.join(", ")))
                    }
                }
            }
        };
        match found {
            Ok(port) => assignment.bound.push((binding, port)),
            Err(reason) => assignment.unbound.push(Unbound { binding, reason }),
        }
    }
    assignment
}

/// The ports of (MAC address, address): as we left them, or as the kernel holds them where we have not been before.
fn held_ports(observed: &State) -> BTreeMap<(MacAddress, IpAddr), BTreeSet<InterfaceName>> {
    observed.former_table.as_ref().or(observed.table.as_ref()).map(Table::bound).unwrap_or_default()
}

/// The ports that the kernel holds for endpoints that are still wanted, each with the attachment.
pub(super) fn held(desired: &AntiSpoofing, observed: &State) -> BTreeSet<(InterfaceName, String)> {
    let held = held_ports(observed);
    let mut ports = BTreeSet::new();
    for binding in &desired.bindings {
        let keys = binding.mac.into_iter().flat_map(|mac| binding.addresses.iter().map(move |address| (mac, *address)));
        let names = keys.filter_map(|key| held.get(&key)).flatten();
        ports.extend(names.map(|name| (name.clone(), binding.attachment.clone())));
    }
    ports
}

/// The port that the kernel holds for an endpoint, if it is still a port of its bridge.
fn kept(
    binding: &Binding,
    held: &BTreeMap<(MacAddress, IpAddr), BTreeSet<InterfaceName>>,
    ports: &BTreeSet<Port>,
) -> Option<InterfaceName> {
    let mac = binding.mac?;
    let mut names = binding.addresses.iter().filter_map(|address| held.get(&(mac, *address))).flatten();
    let first = names.next()?;
    let there = ports.iter().any(|port| port.name == *first && port.bridge == binding.bridge);
    (there && names.all(|name| name == first)).then(|| first.clone())
}

/// The changes of the table in three batches.
#[derive(Default)]
pub(super) struct Changes {
    /// Before anything else.
    pub(super) before: Vec<Step>,
    /// Just before addresses become known.
    pub(super) after: Vec<Step>,
    /// After everything else.
    pub(super) last: Vec<Step>,
}

impl Changes {
    /// Compares the table. Who goes on a bridge that stays governed loses its binding first; everything else changes in
    /// one transaction, so that neither the first nor the last moment of a governed network costs a packet.
    pub(super) fn between(observed: &State, desired: &Ruleset) -> Changes {
        let mut changes = Changes::default();
        let Some(wanted) = &desired.anti_spoofing else {
            if observed.table.is_some() {
                changes.last.push(Step::Table(table::removal()));
            }
            return changes;
        };
        if observed.without_table.is_some() {
            return changes;
        }
        let elements = elements(wanted, observed, &desired.bridges);
        let step = |lines: Vec<String>| (!lines.is_empty()).then_some(Step::Elements(lines));
        let Some(table) = observed.table.as_ref().filter(|table| table.intact) else {
            // Rules of another endpoint may still be in force for an address that is in a set of that one.
            let leaving = leaving(observed, desired);
            let is_leaving = |set, element: &str| table::address_of(set, element).is_some_and(|a| leaving.contains(&a));
            let (late, first) = elements.split(is_leaving);
            changes.before.push(Step::Table(table::whole(&first)));
            changes.after.extend(step(late.lines("add")));
            return changes;
        };
        let gone = table.elements.difference(&elements);
        let governed: BTreeSet<&str> = observed
            .ports
            .iter()
            .filter(|port| desired.bridges.contains(&port.bridge))
            .map(|port| port.name.as_str())
            .collect();
        // A port that no longer exists sends nothing; its binding goes first all the same.
        let existing: BTreeSet<&str> = observed.ports.iter().map(|port| port.name.as_str()).collect();
        let (first, rest) = gone.split(|set, element| {
            let port = table::port_of(set, element);
            // One that gets an endpoint is nobody's until it has it.
            let is_taken = set == Set::Free;
            port.is_some_and(|port| governed.contains(port) && !is_taken || !existing.contains(port))
        });
        let come = elements.difference(&table.elements);
        changes.before.extend(step(first.lines("delete")));
        changes.after.extend(step([rest.lines("delete"), come.lines("add")].concat()));
        changes
    }
}

/// The table after [`Changes::between`].
pub(super) fn after(observed: &State, desired: &Ruleset) -> Option<Table> {
    match &desired.anti_spoofing {
        None => None,
        _ if observed.without_table.is_some() => observed.table.clone(),
        Some(wanted) => Some(Table { intact: true, elements: elements(wanted, observed, &desired.bridges) }),
    }
}

/// The addresses that a set of ours has and should not have.
fn leaving(observed: &State, desired: &Ruleset) -> BTreeSet<IpAddr> {
    let wanted: BTreeMap<&str, &AddressSet> = desired.sets.iter().map(|(name, set)| (name.as_str(), set)).collect();
    let mut leaving = BTreeSet::new();
    for (name, set) in &observed.sets {
        let stays = |member: &&Member| wanted.get(name.as_str()).is_some_and(|set| set.members.contains(*member));
        leaving.extend(set.members.iter().filter(|member| !stays(member)).filter_map(|member| match member {
            Member::Ip(address) | Member::IpPort { address, .. } => Some(*address),
            Member::Net(net) => Some(net.last()).filter(|address| Cidr::host(*address) == *net),
            // It is known at its place, which gives no rights.
            Member::NetInterface { .. } => None,
        }));
    }
    leaving
}

/// What the sets of the table should hold.
fn elements(desired: &AntiSpoofing, observed: &State, governed: &BTreeSet<InterfaceName>) -> Elements {
    let mut elements = Elements::default();
    let mut free: BTreeSet<&InterfaceName> =
        observed.ports.iter().filter(|port| governed.contains(&port.bridge)).map(|port| &port.name).collect();
    for (binding, port) in assign(desired, observed).bound {
        let Some(mac) = binding.mac else { continue };
        free.remove(&port);
        let ports = match binding.role {
            Role::Governed => Set::Ports,
            Role::Peer => Set::Peers,
        };
        elements.insert(ports, table::port(&port));
        elements.insert(Set::Stations, table::station(&port, mac));
        for address in own_addresses(binding) {
            elements.insert(Set::Bound(Family::of(address)), table::bound(&port, mac, address));
            if let IpAddr::V6(address) = address {
                elements.insert(Set::Targets, table::target(&port, mac, address));
            }
        }
    }
    for port in free {
        elements.insert(Set::Free, table::port(port));
    }
    let claimed = desired.bindings.iter().flat_map(own_addresses).chain(desired.gateways.iter().copied());
    for address in claimed {
        elements.insert(Set::Claimed(Family::of(address)), address.to_string());
        if let IpAddr::V6(address) = address {
            elements.insert(Set::ClaimedTargets, table::hexadecimal(address));
        }
    }
    for mac in desired.bindings.iter().filter_map(|binding| binding.mac) {
        elements.insert(Set::Macs, mac.to_string());
    }
    // Of a network without policy, only the addresses of those whom rules name.
    let peers = desired.bindings.iter().filter(|binding| binding.role == Role::Peer);
    let of_peers = peers.flat_map(|binding| binding.addresses.iter().copied().map(Cidr::host));
    for subnet in Cidr::aggregate(desired.subnets.iter().copied().chain(of_peers)) {
        elements.insert(Set::Subnets(subnet.family()), table::subnet(subnet));
    }
    elements
}

/// The addresses of an endpoint, with the link-local one that its kernel forms where it has IPv6.
fn own_addresses(binding: &Binding) -> impl Iterator<Item = IpAddr> {
    let has_v6 = binding.addresses.iter().any(IpAddr::is_ipv6);
    let link_local = binding.mac.filter(|_| has_v6).map(|mac| IpAddr::V6(mac.link_local()));
    binding.addresses.iter().copied().chain(link_local)
}

#[cfg(test)]
mod tests;
