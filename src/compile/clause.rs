//! The conditions of a policy rule, one by one, and which of them keep it out of a chain altogether.
//!
//! Input: a checked [`Rule`]. Output: its [`Clause`]s that nothing can meet there. The compiler asks the same functions
//! before it makes rules of one, so that a rule without a counterpart in the kernel always has a reason.

use crate::inventory::{Endpoint, Inventory};
use crate::net::{Cidr, Family, Protocol};
use crate::policy::{Direction, Icmp, Policy, PolicySet, Port, Rule};
use crate::ruleset::Side;
use crate::selector::Selector;

use super::chains::published::services;
use super::rules::{Published, absences, absences_for_published};
use super::sets::SetBuilder;

/// A condition of a policy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// The rule is about one family only: by its `ipVersion`, or by its protocol.
    Family(Family),
    /// All blocks of one end, positive or negative, are of this family.
    Blocks {
        /// Which end.
        side: Side,
        /// Their family.
        family: Family,
    },
    /// The rule asks for a protocol and excludes it.
    Contradiction(Protocol),
    /// A protocol.
    Protocol {
        /// Which.
        protocol: Protocol,
        /// Whether it must not be that one.
        negated: bool,
    },
    /// An ICMP type.
    Icmp {
        /// Which.
        icmp: Icmp,
        /// Whether it must not be that one.
        negated: bool,
    },
    /// Blocks of addresses.
    Nets {
        /// Which end.
        side: Side,
        /// The blocks.
        nets: Vec<Cidr>,
        /// Whether the address must be in none of them.
        negated: bool,
    },
    /// A selector.
    Selector {
        /// Which end.
        side: Side,
        /// The selector, its scope included.
        selector: Selector,
        /// Whether it must not match.
        negated: bool,
    },
    /// Ports.
    Ports {
        /// Which end.
        side: Side,
        /// The ports.
        ports: Vec<Port>,
        /// Whether it must be none of them.
        negated: bool,
    },
}

/// A container's service, as clients reach it through a published port of this host.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// The endpoint behind the port.
    pub endpoint: &'a Endpoint<'a>,
    /// The protocol.
    pub protocol: Protocol,
    /// Its own port. That of the host would not say which: at different addresses it can lead to different ones.
    pub port: u16,
}

/// Why a rule has no counterpart in the chains of a family, or in those for a service; empty where it has one.
pub fn absent(
    policies: &PolicySet,
    inventory: &Inventory,
    rule: &Rule,
    family: Family,
    service: Option<&Service<'_>>,
) -> Vec<Clause> {
    let Some(service) = service else { return absences(rule, family).collect() };
    let sets = SetBuilder::new(policies, inventory);
    let published = services(service.endpoint, family);
    let is_asked =
        |published: &&Published<'_>| published.protocol == service.protocol && published.port == service.port;
    let asked = published.iter().map(|(_, published)| published).find(is_asked);
    let absences = asked.map(|published| absences_for_published(&sets, rule, family, published));
    absences.into_iter().flatten().collect()
}

/// The rules of a policy that share an index: one in the file, and several where it had to be taken apart.
pub fn written_rules(policy: &Policy, direction: Direction) -> impl Iterator<Item = &[Rule]> {
    policy.rules(direction).unwrap_or_default().chunk_by(|one, other| one.index == other.index)
}
