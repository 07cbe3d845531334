//! What is decided of each bridge, and the members of the table that come of it.
//!
//! Input: the wanted bindings and what was seen of the bridges. Output: a [`Decision`]. It is kept between changes: of a host
//! with ten thousand endpoints only the bridge on which something has changed is decided anew. That comes to the same as
//! deciding everything, as a property test holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdSet;

use crate::dataplane::antispoof::assign::{Assignment, Grounds, Held, Unbound, assign};
use crate::dataplane::antispoof::table::{self, Elements, Set, Table};
use crate::dataplane::port::{Port, on_bridge, port_of};
use crate::dataplane::state::{Problem, State};
use crate::net::{Cidr, Family, InterfaceName};
use crate::ruleset::{AntiSpoofing, Binding, Role, differences, packed};

/// What was decided of all bridges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Decision {
    /// What was wanted.
    wanted: AntiSpoofing,
    /// Bridges of governed networks.
    governed: BTreeSet<InterfaceName>,
    bridges: BTreeMap<InterfaceName, OfBridge>,
    /// What concerns no bridge: gateways and subnets.
    rest: Elements,
    /// What the sets of the table should hold.
    elements: Elements,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfBridge {
    /// By port.
    bound: BTreeMap<InterfaceName, Arc<Binding>>,
    /// Each with the reason.
    unbound: Vec<(Arc<Binding>, String)>,
    /// Ports of a governed bridge that are bound to nobody.
    free: BTreeSet<InterfaceName>,
    /// Whose addresses nobody else may call his own.
    claiming: OrdSet<Arc<Binding>>,
    /// What comes of all that.
    elements: Elements,
}

impl Decision {
    /// Decides about every bridge.
    pub(in crate::dataplane) fn of(
        wanted: &AntiSpoofing,
        observed: &State,
        governed: &BTreeSet<InterfaceName>,
    ) -> Decision {
        let held = held_ports(observed);
        let mut decision = Decision { wanted: wanted.clone(), governed: governed.clone(), ..Decision::default() };
        let bridges = governed.iter().chain(wanted.bindings.iter().map(|binding| &binding.bridge));
        for bridge in bridges.collect::<BTreeSet<_>>() {
            let mut of_bridge = OfBridge::default().decided(wanted, observed, governed, bridge, &held);
            of_bridge.elements.pack();
            decision.elements.extend(&of_bridge.elements);
            decision.bridges.insert(bridge.clone(), of_bridge);
        }
        decision.rest = rest(wanted);
        decision.elements.extend(&decision.rest);
        decision.elements.pack();
        decision
    }

    /// The bridges of which something else is wanted now, or of which an endpoint has no port yet.
    pub(in crate::dataplane) fn outdated(
        &self,
        wanted: &AntiSpoofing,
        governed: &BTreeSet<InterfaceName>,
    ) -> BTreeSet<InterfaceName> {
        if wanted.frozen != self.wanted.frozen {
            return self.all(wanted, governed);
        }
        let (added, removed) = differences(&self.wanted.bindings, &wanted.bindings);
        let mut outdated: BTreeSet<InterfaceName> =
            added.into_iter().chain(removed).map(|binding| binding.bridge.clone()).collect();
        outdated.extend(governed.symmetric_difference(&self.governed).cloned());
        let waiting = self.bridges.iter().filter(|(_, of_bridge)| !of_bridge.unbound.is_empty());
        outdated.extend(waiting.map(|(bridge, _)| bridge.clone()));
        outdated
    }

    /// Every bridge that is or was decided about.
    pub(in crate::dataplane) fn all(
        &self,
        wanted: &AntiSpoofing,
        governed: &BTreeSet<InterfaceName>,
    ) -> BTreeSet<InterfaceName> {
        let now = governed.iter().chain(wanted.bindings.iter().map(|binding| &binding.bridge));
        self.bridges.keys().chain(now).cloned().collect()
    }

    /// Whether a bridge is governed or has an endpoint that a rule names.
    pub(in crate::dataplane) fn is_about(&self, bridge: &InterfaceName) -> bool {
        self.bridges.contains_key(bridge)
    }

    /// Decides anew about some bridges, of which everything that was decided before is in the kernel. The others are
    /// wanted and seen as before.
    pub(in crate::dataplane) fn renewed(
        mut self,
        wanted: &AntiSpoofing,
        observed: &State,
        governed: &BTreeSet<InterfaceName>,
        outdated: &BTreeSet<InterfaceName>,
    ) -> Decision {
        let (added, removed) = differences(&self.wanted.bindings, &wanted.bindings);
        let other_peers = added.into_iter().chain(removed).any(|binding| binding.role == Role::Peer);
        let former = &self.wanted;
        let other_rest = other_peers || (&former.gateways, &former.subnets) != (&wanted.gateways, &wanted.subnets);
        let (mut gone, mut come) = (Elements::default(), Elements::default());
        let mut replace = |before: &Elements, after: &Elements| {
            gone.extend(&before.difference(after));
            come.extend(&after.difference(before));
        };
        for bridge in outdated {
            let former = self.bridges.remove(bridge).unwrap_or_default();
            let (held, before) = (former.held_addresses(), former.elements.clone());
            let of_bridge = former.decided(wanted, observed, governed, bridge, &held);
            replace(&before, &of_bridge.elements);
            if of_bridge != OfBridge::default() || governed.contains(bridge) {
                self.bridges.insert(bridge.clone(), of_bridge);
            }
        }
        if other_rest {
            let rest = rest(wanted);
            replace(&self.rest, &rest);
            self.rest = rest;
        }
        // An address or MAC address can be claimed for several.
        let parts = || self.bridges.values().map(|of_bridge| &of_bridge.elements).chain([&self.rest]);
        let gone = gone.split(|set, element| parts().any(|part| part.contains(set, element))).1;
        self.elements.remove(&gone);
        self.elements.extend(&come);
        self.wanted = wanted.clone();
        self.governed.clone_from(governed);
        self
    }

    /// The bridge of a port that exists. Most often it is one that was decided about, and there are far fewer of those than of
    /// ports.
    pub(super) fn bridge_of<'p>(&self, name: &str, ports: &'p BTreeSet<Port>) -> Option<&'p InterfaceName> {
        let name = name.parse().ok()?;
        let decided = self.bridges.keys().find_map(|bridge| port_of(ports, bridge, &name));
        let port = decided.or_else(|| ports.iter().find(|port| port.name == name));
        port.map(|port| &port.bridge)
    }

    /// What the sets of the table should hold.
    pub(super) fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The table that comes of it.
    pub(in crate::dataplane) fn table(&self) -> Table {
        Table { intact: true, elements: self.elements.clone() }
    }

    /// Which ports of some bridges are bound for endpoints that are wanted there, each with the attachment.
    pub(in crate::dataplane) fn held(
        &self,
        wanted: &AntiSpoofing,
        bridges: &BTreeSet<InterfaceName>,
    ) -> BTreeSet<(InterfaceName, Arc<str>)> {
        let mut ports = BTreeSet::new();
        for bridge in bridges {
            let Some(of_bridge) = self.bridges.get(bridge) else { continue };
            ports.extend(held_for(wanted.bindings_on(bridge), &of_bridge.held_addresses()));
        }
        ports
    }

    /// The ports of some bridges that are bound to endpoints that are wanted; those of bridges that are not outdated all are.
    pub(in crate::dataplane) fn known_ports(
        &self,
        wanted: &AntiSpoofing,
        bridges: &BTreeSet<InterfaceName>,
        outdated: &BTreeSet<InterfaceName>,
    ) -> BTreeSet<InterfaceName> {
        let others = bridges.difference(outdated).filter_map(|bridge| self.bridges.get(bridge));
        let mut known: BTreeSet<InterfaceName> = others.flat_map(|of_bridge| of_bridge.bound.keys()).cloned().collect();
        known.extend(self.held(wanted, outdated).into_iter().map(|(port, _)| port));
        known
    }

    /// The endpoints whose port is not known.
    pub(in crate::dataplane) fn unbound(&self) -> impl Iterator<Item = Problem> {
        let unbound = self.bridges.values().flat_map(|of_bridge| &of_bridge.unbound);
        unbound.map(|(binding, reason)| Problem::Unbound {
            endpoint: binding.endpoint.clone(),
            bridge: binding.bridge.clone(),
            reason: reason.clone(),
        })
    }
}

impl OfBridge {
    fn held_addresses(&self) -> Held {
        let mut held = Held::new();
        for (port, binding) in &self.bound {
            for (mac, address) in binding.mac.iter().flat_map(|mac| binding.addresses.iter().map(move |at| (*mac, *at)))
            {
                held.entry((mac, address)).or_default().insert(port.clone());
            }
        }
        held
    }

    /// Decides about a bridge, of which this was decided before. Of what stays, nothing is written anew.
    fn decided(
        self,
        wanted: &AntiSpoofing,
        observed: &State,
        governed: &BTreeSet<InterfaceName>,
        bridge: &InterfaceName,
        held: &Held,
    ) -> OfBridge {
        let ports: BTreeMap<&InterfaceName, &Port> =
            on_bridge(&observed.ports, bridge).map(|port| (&port.name, port)).collect();
        let bindings: Vec<&Arc<Binding>> = wanted.bindings_on(bridge).collect();
        let (strangers, young) = (&observed.strangers, &observed.young);
        let grounds = Grounds { ports: &ports, held, strangers, young, frozen: wanted.frozen };
        let Assignment { bound, unbound } = assign(&bindings, grounds);
        let bound: BTreeMap<InterfaceName, Arc<Binding>> =
            bound.into_iter().map(|(binding, port)| (port, Arc::clone(binding))).collect();
        let is_free = |name: &&InterfaceName| governed.contains(bridge) && !bound.contains_key(*name);
        let now = OfBridge {
            free: ports.keys().copied().filter(is_free).cloned().collect(),
            claiming: packed(bindings.into_iter().cloned()),
            unbound: unbound.into_iter().map(|Unbound { binding, reason }| (Arc::clone(binding), reason)).collect(),
            bound,
            elements: Elements::default(),
        };
        let mut elements = self.elements.clone();
        let (mut gone, mut come) = (Elements::default(), Elements::default());
        for (port, binding) in self.bound.iter().filter(|(port, binding)| now.bound.get(*port) != Some(*binding)) {
            bind(binding, port, &mut gone);
        }
        for (port, binding) in now.bound.iter().filter(|(port, binding)| self.bound.get(*port) != Some(*binding)) {
            bind(binding, port, &mut come);
        }
        for port in self.free.difference(&now.free) {
            gone.insert(Set::Free, table::port(port));
        }
        for port in now.free.difference(&self.free) {
            come.insert(Set::Free, table::port(port));
        }
        let (added, removed) = differences(&self.claiming, &now.claiming);
        for binding in &removed {
            claim_own(binding, &mut gone);
        }
        // Another may have the same MAC address or address.
        let shares = |binding: &&Arc<Binding>| {
            let has = |other: &Binding| binding.addresses.iter().any(|address| other.addresses.contains(address));
            let share = |other: &Binding| other.mac == binding.mac || has(other);
            removed.iter().any(|other| share(other))
        };
        for binding in added.into_iter().chain(now.claiming.iter().filter(shares)) {
            claim_own(binding, &mut come);
        }
        elements.remove(&gone);
        elements.extend(&come);
        OfBridge { elements, ..now }
    }
}

/// What an endpoint at a port may call itself.
fn bind(binding: &Binding, port: &InterfaceName, elements: &mut Elements) {
    let Some(mac) = binding.mac else { return };
    let ports = match binding.role {
        Role::Governed => Set::Ports,
        Role::Peer => Set::Peers,
    };
    elements.insert(ports, table::port(port));
    elements.insert(Set::Stations, table::station(port, mac));
    for address in own_addresses(binding) {
        elements.insert(Set::Bound(Family::of(address)), table::bound(port, mac, address));
        if let IpAddr::V6(address) = address {
            elements.insert(Set::Targets, table::target(port, mac, address));
        }
    }
}

/// What nobody else may call his own.
fn claim_own(binding: &Binding, elements: &mut Elements) {
    claim(own_addresses(binding), elements);
    if let Some(mac) = binding.mac {
        elements.insert(Set::Macs, mac.to_string());
    }
}

/// Addresses that nobody else may call his own.
fn claim(addresses: impl Iterator<Item = IpAddr>, elements: &mut Elements) {
    for address in addresses {
        elements.insert(Set::Claimed(Family::of(address)), address.to_string());
        if let IpAddr::V6(address) = address {
            elements.insert(Set::ClaimedTargets, table::hexadecimal(address));
        }
    }
}

/// Gateways and subnets; of a network without policy, only the addresses of those whom rules name.
fn rest(wanted: &AntiSpoofing) -> Elements {
    let mut elements = Elements::default();
    claim(wanted.gateways.iter().copied(), &mut elements);
    let peers = wanted.bindings.iter().filter(|binding| binding.role == Role::Peer);
    let of_peers = peers.flat_map(|binding| binding.addresses.iter().copied().map(Cidr::host));
    for subnet in Cidr::aggregate(wanted.subnets.iter().copied().chain(of_peers)) {
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

/// The ports of (MAC address, address): as we left them, or as the kernel holds them where we have not been before.
fn held_ports(observed: &State) -> Held {
    observed.former_table.as_ref().or(observed.table.as_ref()).map(Table::bound).unwrap_or_default()
}

/// The ports that the kernel holds for endpoints that are still wanted, each with the attachment.
pub(in crate::dataplane) fn held(desired: &AntiSpoofing, observed: &State) -> BTreeSet<(InterfaceName, Arc<str>)> {
    held_for(desired.bindings.iter(), &held_ports(observed))
}

fn held_for<'a>(bindings: impl Iterator<Item = &'a Arc<Binding>>, held: &Held) -> BTreeSet<(InterfaceName, Arc<str>)> {
    let mut ports = BTreeSet::new();
    for binding in bindings {
        let keys = binding.mac.into_iter().flat_map(|mac| binding.addresses.iter().map(move |address| (mac, *address)));
        let names = keys.filter_map(|key| held.get(&key)).flatten();
        ports.extend(names.map(|name| (name.clone(), binding.attachment.clone())));
    }
    ports
}
