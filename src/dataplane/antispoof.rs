//! Who may send as whom: a table of ours in nftables' bridge family.
//!
//! Input: the endpoints that may be on each bridge, and the ports that are there. Output: the table. It judges each frame
//! where it enters its bridge, before netfilter's other hooks and before the bridge learns from it, so it covers what is
//! bridged, what is routed and what is meant for this host, and needs no bridge netfilter.
//!
//! The gate in the packet filter binds an address to its network; this table binds it to its endpoint: to one port and one
//! MAC address, on governed networks and, for those whom rules name, on others. An endpoint has one port and a port one endpoint, from the moment of its start on: what the inside of
//! the port calls itself later changes nothing. An endpoint whose port is not found is closed.

mod assign;
mod change;
mod decision;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use imbl::OrdSet;

use crate::dataplane::Step;
use crate::dataplane::nftables::Verb;
use crate::dataplane::state::State;
use crate::net::Cidr;
use crate::ruleset::{Member, Ruleset, differences, differing_sets};

pub use change::SetChange;
pub(super) use decision::{Decision, held};
pub use table::Table;
use table::{Elements, Set};
pub(super) use table::{NAME, parse, trial};

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
    ///
    /// `decision` is about the desired bindings and the observed ports; `None` where nothing is governed.
    pub(super) fn between(observed: &State, desired: &Ruleset, decision: Option<&Decision>) -> Changes {
        let mut changes = Changes::default();
        let Some(decision) = decision else {
            if observed.table.is_some() {
                changes.last.push(Step::Table(table::removal()));
            }
            return changes;
        };
        if observed.without_table.is_some() {
            return changes;
        }
        let elements = decision.elements();
        let step = |changes: Vec<SetChange>| (!changes.is_empty()).then_some(Step::Elements(changes));
        let Some(table) = observed.table.as_ref().filter(|table| table.intact) else {
            // Rules of another endpoint may still be in force for an address that is in a set of that one.
            let leaving = leaving(observed, desired);
            let is_leaving = |set, element: &str| table::address_of(set, element).is_some_and(|a| leaving.contains(&a));
            let (late, first) = elements.split(is_leaving);
            changes.before.push(Step::Table(table::whole(&first)));
            changes.after.extend(step(late.changes(Verb::Add)));
            return changes;
        };
        let gone = table.elements.difference(elements);
        // A port that no longer exists sends nothing; its binding goes first all the same.
        let bridge_of = |port: &str| decision.bridge_of(port, &observed.ports);
        let losing = gone.ports().into_iter();
        let existing: BTreeMap<&str, bool> =
            losing.filter_map(|port| Some((port, desired.bridges.contains(bridge_of(port)?)))).collect();
        let (first, rest) = gone.split(|set, element| {
            // One that gets an endpoint is nobody's until it has it.
            let is_taken = set == Set::Free;
            let goes = |port: &str| existing.get(port).is_none_or(|is_governed| *is_governed && !is_taken);
            table::port_of(set, element).is_some_and(goes)
        });
        let come = elements.difference(&table.elements);
        changes.before.extend(step(first.changes(Verb::Delete)));
        changes.after.extend(step([rest.changes(Verb::Delete), come.changes(Verb::Add)].concat()));
        changes
    }
}

/// What two tables, of which one may be missing, differ in.
#[derive(Debug)]
pub(super) struct Differing {
    come: Elements,
    gone: Elements,
}

impl Differing {
    /// Compares the members of their sets.
    pub(super) fn between(before: Option<&Table>, after: Option<&Table>) -> Differing {
        let elements = |table: Option<&Table>| table.map(|table| table.elements.clone()).unwrap_or_default();
        let (before, after) = (elements(before), elements(after));
        Differing { come: after.difference(&before), gone: before.difference(&after) }
    }

    /// Whether a table has all that has come and nothing that has gone.
    pub(super) fn explained_by(&self, table: Option<&Table>) -> bool {
        let holds = |set, element: &str| table.is_some_and(|table| table.elements.contains(set, element));
        self.come.all(holds) && self.gone.all(|set, element| !holds(set, element))
    }
}

/// The table after [`Changes::between`].
pub(super) fn after(observed: &State, decision: Option<&Decision>) -> Option<Table> {
    match decision {
        None => None,
        _ if observed.without_table.is_some() => observed.table.clone(),
        Some(decision) => Some(decision.table()),
    }
}

/// The addresses that a set of ours has and should not have.
fn leaving(observed: &State, desired: &Ruleset) -> BTreeSet<IpAddr> {
    let (nothing, mut leaving) = (OrdSet::new(), BTreeSet::new());
    for (_, set, wanted) in differing_sets(&observed.sets, &desired.sets) {
        let [set, wanted] = [set, wanted].map(|set| set.map_or(&nothing, |set| &set.members));
        let (_, gone) = differences(set, wanted);
        leaving.extend(gone.into_iter().filter_map(|member| match member {
            Member::Ip(address) | Member::IpPort { address, .. } => Some(*address),
            Member::Net(net) => Some(net.last()).filter(|address| Cidr::host(*address) == *net),
            // It is known at its place, which gives no rights.
            Member::NetInterface { .. } => None,
        }));
    }
    leaving
}

#[cfg(test)]
mod tests;
