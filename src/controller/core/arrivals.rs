//! Networks on which somebody has come to be known a moment ago, until they may open.
//!
//! Input: containers and networks that have changed, whether the kernel holds the wanted ruleset, and the time. Output: the
//! networks that stay closed to whoever is not known, in [`Inventory::arrivals`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Core;
use crate::inventory::{Change, Difference, NetworkId};

#[cfg(doc)]
use crate::inventory::Inventory;

/// How long a network on which nobody was stays closed to whoever is not known, after somebody has come to be known on it.
///
/// The engine is asked about each container that starts, and answers in any order. On a busy machine the answers about two
/// that had started together came 85 ms apart, and on the network of which the second was one a policy selects, the first
/// opened it.
pub(super) const ARRIVAL: Duration = Duration::from_secs(1);

/// The networks that are kept closed.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Each with when it opens, once the ruleset that keeps it closed is applied.
    open_at: BTreeMap<NetworkId, Option<Instant>>,
    /// Those that have come since the ruleset was compiled last. Nobody was on them.
    new: BTreeSet<NetworkId>,
}

impl Arrivals {
    /// The ruleset was compiled.
    pub(super) fn compiled(&mut self) {
        self.new.clear();
    }

    /// The wanted ruleset is in force now.
    pub(super) fn applied(&mut self, now: Instant) {
        for open_at in self.open_at.values_mut() {
            open_at.get_or_insert(now + ARRIVAL);
        }
    }

    /// When the first of them opens.
    pub(super) fn open_at(&self) -> Option<Instant> {
        self.open_at.values().flatten().min().copied()
    }
}

impl Core {
    /// A change is about to be taken, which may bring networks.
    pub(super) fn note_networks(&mut self, change: &Change) {
        let Some(inventory) = &self.inventory else { return };
        let is_new = |id: &&NetworkId| !inventory.networks.contains_key(*id);
        match change {
            Change::Network(network) => self.arrivals.new.extend(Some(&network.id).filter(is_new).cloned()),
            Change::Snapshot(listed) => self.arrivals.new.extend(listed.networks.keys().filter(is_new).cloned()),
            _ => {}
        }
    }

    /// These containers have changed. Networks to which they have come stay closed where they were because nobody was there.
    pub(super) fn note_arrivals(&mut self, difference: &Difference) {
        let Some(inventory) = &mut self.inventory else { return };
        let compiler = self.compiler.as_ref().or(self.outdated.as_ref());
        let is_closed = |id: &NetworkId| self.arrivals.new.contains(id) || compiler.is_some_and(|by| by.awaits(id));
        let mut come = BTreeSet::new();
        for (id, former) in &difference.containers {
            let now = inventory.containers.get(id).into_iter().flat_map(|container| &container.attachments);
            let is_known = |attachment| former.as_ref().is_some_and(|former| former.attachments.contains(attachment));
            let networks = now.filter(|attachment| !is_known(attachment)).map(|attachment| &attachment.network);
            come.extend(networks.filter(|id| inventory.arrivals.contains(id) || is_closed(id)).cloned());
        }
        self.arrivals.open_at.extend(come.iter().map(|id| (id.clone(), None)));
        inventory.arrivals.extend(come);
    }

    /// Lets networks open to which nobody has come for long enough. Returns whether another ruleset may be wanted because of it.
    pub(super) fn let_networks_open(&mut self, now: Instant) -> bool {
        let mut over = Vec::new();
        self.arrivals.open_at.retain(|id, open_at| {
            let is_over = open_at.is_some_and(|at| at <= now);
            over.extend(is_over.then(|| id.clone()));
            !is_over
        });
        let mut opens = false;
        for id in &over {
            if let Some(inventory) = &mut self.inventory {
                inventory.arrivals.remove(id);
            }
            // Where a policy selects somebody there it is governed anyway.
            opens |= self.compiler.as_ref().is_none_or(|compiler| compiler.awaits(id));
        }
        if opens {
            self.rewired = true;
            self.invalidate();
        }
        opens
    }
}
