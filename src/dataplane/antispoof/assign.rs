//! Which endpoint is at which port of a bridge.
//!
//! Input: the endpoints that may be on a bridge, its ports, and which of them the kernel holds for whom. Output: an
//! [`Assignment`]. No bridge has anything to do with another, so that each is decided by itself, and anew only when
//! something of it has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::dataplane::port::Port;
use crate::net::{InterfaceName, MacAddress};
use crate::ruleset::Binding;

/// An endpoint that has no port, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Unbound<'a> {
    pub(in crate::dataplane) binding: &'a Arc<Binding>,
    pub(in crate::dataplane) reason: String,
}

/// Which endpoint is at which port.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Assignment<'a> {
    pub(in crate::dataplane) bound: Vec<(&'a Arc<Binding>, InterfaceName)>,
    pub(in crate::dataplane) unbound: Vec<Unbound<'a>>,
}

/// Ports by (MAC address, address).
pub(super) type Held = HashMap<(MacAddress, IpAddr), BTreeSet<InterfaceName>>;

/// What a decision about a bridge rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds<'a> {
    /// Its ports, by name.
    pub(super) ports: &'a BTreeMap<&'a InterfaceName, &'a Port>,
    /// The ports that the kernel holds for endpoints.
    pub(super) held: &'a Held,
    /// See [`crate::dataplane::State::strangers`].
    pub(super) strangers: &'a BTreeSet<(InterfaceName, Arc<str>)>,
    /// See [`crate::dataplane::State::young`].
    pub(super) young: &'a BTreeSet<InterfaceName>,
    /// See [`crate::ruleset::AntiSpoofing::frozen`].
    pub(super) frozen: bool,
}

/// Finds the port of each endpoint. A port that the kernel holds for an endpoint stays its own, whatever its inside
/// shows now, and also when somebody else has emptied the table; for the others, the one free port whose other end has the endpoint's MAC address.
///
/// What the inside of a free port shows can be a lie: a container that took the MAC address of one to come, before its own
/// port was found. So a port that did not come with an endpoint is not taken for its own while one with which it came has
/// none; nor is one that came with both, while another port may still show that it is the endpoint's; and an endpoint is
/// closed when two ports that came with it show its MAC address.
pub(super) fn assign<'a>(bindings: &[&'a Arc<Binding>], grounds: Grounds<'_>) -> Assignment<'a> {
    let mut taken = BTreeSet::new();
    let mut assignment = Assignment::default();
    let mut searching = Vec::new();
    for binding in bindings.iter().copied() {
        match kept(binding, grounds) {
            Some(port) if taken.insert(port.clone()) => assignment.bound.push((binding, port)),
            _ => searching.push(binding),
        }
    }
    let free: Vec<&Port> = grounds.ports.values().copied().filter(|port| !taken.contains(&port.name)).collect();
    let came_with =
        |port: &Port, who: &Binding| !grounds.strangers.contains(&(port.name.clone(), who.attachment.clone()));
    let mut showing: HashMap<MacAddress, Vec<&Port>> = HashMap::new();
    for port in &free {
        if let Some(mac) = port.mac {
            showing.entry(mac).or_default().push(port);
        }
    }
    // Both may be the right port of an endpoint when they came with it.
    let twins = |binding: &Binding| {
        let shown = binding.mac.and_then(|mac| showing.get(&mac));
        shown.is_some_and(|shown| shown.iter().any(|other| came_with(other, binding)))
    };
    let (twinned, bound) = assignment.bound.into_iter().partition(|(binding, _)| twins(binding));
    assignment.bound = bound;
    let twinned: Vec<(&Arc<Binding>, InterfaceName)> = twinned;
    for (binding, port) in twinned {
        let reason = format!("beside {port} another port leads to its MAC address");
        assignment.unbound.push(Unbound { binding, reason });
    }
    let mut wanted: HashMap<MacAddress, usize> = HashMap::new();
    for mac in searching.iter().filter_map(|binding| binding.mac) {
        *wanted.entry(mac).or_default() += 1;
    }
    let macs: BTreeSet<MacAddress> = bindings.iter().filter_map(|binding| binding.mac).collect();
    let is_nobody_s = |port: &&&Port| port.mac.is_some_and(|mac| !macs.contains(&mac));
    let hidden: Vec<&Port> =
        free.iter().filter(is_nobody_s).filter(|port| grounds.young.contains(&port.name)).copied().collect();
    let shows = |mac: Option<MacAddress>| mac.is_some_and(|mac| showing.contains_key(&mac));
    for binding in &searching {
        let binding = *binding;
        let is_another_s = |port: &&Port| {
            let mut others = searching.iter().filter(|other| **other != binding);
            !came_with(port, binding) && others.any(|other| came_with(port, other))
        };
        // Somebody else's, who shows no port of his own: he may be behind this one.
        let may_be_another_s = |port: &Port| {
            let mut others = searching.iter().filter(|other| **other != binding);
            others.any(|other| came_with(port, other) && !shows(other.mac))
        };
        // Its own may be one that shows nobody's MAC address yet.
        let undecided = |port: &Port| {
            let is_hidden = |other: &&&Port| other.name != port.name && came_with(other, binding);
            hidden.iter().find(is_hidden).filter(|_| may_be_another_s(port))
        };
        let found = match binding.mac {
            _ if grounds.frozen => Err("the engine, which knows whose a new port is, is away".to_owned()),
            None => Err("its MAC address is not known".to_owned()),
            Some(mac) => {
                let at = showing.get(&mac).into_iter().flatten().copied();
                let (strangers, at): (Vec<&Port>, Vec<&Port>) = at.partition(is_another_s);
                match (&at[..], wanted.get(&mac)) {
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
                        let others = searching.iter().filter(|other| **other != binding && other.mac == binding.mac);
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

/// The port that the kernel holds for an endpoint, if it is still a port of its bridge.
fn kept(binding: &Binding, grounds: Grounds<'_>) -> Option<InterfaceName> {
    let mac = binding.mac?;
    let mut names = binding.addresses.iter().filter_map(|address| grounds.held.get(&(mac, *address))).flatten();
    let first = names.next()?;
    (grounds.ports.contains_key(first) && names.all(|name| name == first)).then(|| first.clone())
}
