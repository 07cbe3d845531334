//! Networks on which somebody has come to be known a moment ago, until they may open.
//!
//! Input: containers and networks that have changed, whether the kernel holds the wanted ruleset, and the time. Output: the
//! networks that stay closed to whoever is not known, in [`Inventory::arrivals`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Core;
use crate::inventory::{Attachment, Change, Container, Difference, NetworkId};

#[cfg(doc)]
use crate::inventory::Inventory;

/// How long a network on which nobody was stays closed to whoever is not known, after somebody has come to be known on it.
///
/// The engine is asked about each container that starts, and answers in any order. On a busy machine the answers about two
/// that had started together came 85 ms apart, and on the network of which the second was one a policy selects, the first
/// opened it.
pub(super) const ARRIVAL: Duration = Duration::from_secs(1);

/// How late dockgate may be to open one. Where it is later, it has not listened for as long, be it that it was busy or halted.
const SLACK: Duration = ARRIVAL.checked_div(2).expect("by no zero");

/// The networks that are kept closed.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Each with when it opens, once the ruleset that keeps it closed is applied.
    open_at: BTreeMap<NetworkId, Option<Instant>>,
    /// Networks on which nobody was at some moment since the ruleset was compiled last.
    vacant: BTreeSet<NetworkId>,
}

impl Arrivals {
    /// The ruleset was compiled.
    pub(super) fn compiled(&mut self) {
        self.vacant.clear();
    }

    /// The wanted ruleset is in force now, and the engine says who comes.
    pub(super) fn applied(&mut self, now: Instant) {
        for open_at in self.open_at.values_mut() {
            open_at.get_or_insert(now + ARRIVAL);
        }
    }

    /// The engine does not say who comes any more.
    pub(super) fn wait(&mut self) {
        for open_at in self.open_at.values_mut() {
            *open_at = None;
        }
    }

    /// When the first of them opens.
    pub(super) fn open_at(&self) -> Option<Instant> {
        self.open_at.values().flatten().min().copied()
    }

    /// Those whose time is over.
    fn take_over(&mut self, now: Instant) -> Vec<NetworkId> {
        let mut over = Vec::new();
        self.open_at.retain(|id, open_at| match open_at {
            Some(at) if *at + SLACK < now => {
                *open_at = Some(now + ARRIVAL);
                true
            }
            Some(at) if *at <= now => {
                over.push(id.clone());
                false
            }
            _ => true,
        });
        over
    }
}

impl Core {
    /// A change is about to be taken, which may bring networks.
    pub(super) fn note_networks(&mut self, change: &Change) {
        let known = self.inventory.as_ref();
        let is_new = |id: &NetworkId| known.is_some_and(|known| !known.networks.contains_key(id));
        match change {
            Change::Network(network) if is_new(&network.id) => drop(self.arrivals.vacant.insert(network.id.clone())),
            Change::Snapshot(listed) => {
                let of_containers = listed.containers.values().flat_map(|container| &container.attachments);
                let occupied: BTreeSet<_> = of_containers.map(|attachment| &attachment.network).collect();
                let vacant = listed.networks.keys().filter(|id| is_new(id) || !occupied.contains(id));
                self.arrivals.vacant.extend(vacant.cloned());
            }
            _ => {}
        }
    }

    /// These containers have changed. Networks to which they have come stay closed where nobody was there.
    pub(super) fn note_arrivals(&mut self, difference: &Difference) {
        self.note_vacant(difference);
        let Some(inventory) = &mut self.inventory else { return };
        let compiler = self.compiler.as_ref().or(self.outdated.as_ref());
        let is_awaited = |id: &NetworkId| compiler.is_some_and(|compiler| compiler.awaits(id));
        let (mut come, mut is_another) = (BTreeSet::new(), false);
        for (id, former) in &difference.containers {
            let before = former.as_ref().map_or(&[][..], |former| &former.attachments);
            let is_on = |network: &NetworkId| before.iter().any(|attachment| attachment.network == *network);
            let is_the_same = |now: &Attachment| before.contains(now);
            // An end leaves an attachment without addresses.
            let has_ended = |now: &Attachment| now.is_pending() && is_on(&now.network);
            let has_come = |now: &&Attachment| !is_the_same(now) && !has_ended(now);
            let now = inventory.containers.get(id).map_or(&[][..], |container| &container.attachments);
            for network in now.iter().filter(has_come).map(|attachment| &attachment.network) {
                let is_kept = inventory.arrivals.contains(network);
                if is_kept || is_awaited(network) || self.arrivals.vacant.contains(network) {
                    is_another |= !is_kept && !is_awaited(network);
                    come.insert(network.clone());
                }
            }
        }
        self.arrivals.open_at.extend(come.iter().map(|id| (id.clone(), None)));
        inventory.arrivals.extend(come);
        if is_another {
            self.rewired = true;
            self.invalidate();
        }
    }

    /// Notes the networks that the last of these containers has left.
    fn note_vacant(&mut self, difference: &Difference) {
        let Some(inventory) = &self.inventory else { return };
        let compiler = self.compiler.as_ref().or(self.outdated.as_ref());
        let changed = self.changed.len() + difference.containers.len();
        // Of more than have changed since they were counted not all can have left.
        let may_be = |id: &NetworkId| compiler.is_none_or(|compiler| compiler.endpoints_on(id) <= changed);
        let is_on = |container: &Container, id: &NetworkId| container.attachments.iter().any(|at| at.network == *id);
        for (id, former) in &difference.containers {
            let now = inventory.containers.get(id);
            for attachment in former.iter().flat_map(|former| &former.attachments) {
                let network = &attachment.network;
                let has_left = now.is_none_or(|now| !is_on(now, network));
                if has_left && may_be(network) && !inventory.containers.values().any(|other| is_on(other, network)) {
                    self.arrivals.vacant.insert(network.clone());
                }
            }
        }
    }

    /// Lets networks open to which nobody has come for long enough. Returns whether another ruleset may be wanted because of it.
    pub(super) fn let_networks_open(&mut self, now: Instant) -> bool {
        let mut opens = false;
        for id in self.arrivals.take_over(now) {
            if let Some(inventory) = &mut self.inventory {
                inventory.arrivals.remove(&id);
            }
            // Where a policy selects somebody there it is governed anyway.
            opens |= self.compiler.as_ref().is_none_or(|compiler| compiler.awaits(&id));
        }
        if opens {
            self.rewired = true;
            self.invalidate();
        }
        opens
    }
}
