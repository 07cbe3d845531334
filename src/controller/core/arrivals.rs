//! Networks on which somebody has come to be known a moment ago, until they may open.
//!
//! Input: containers and networks that have changed, whether the kernel holds the wanted ruleset, and the time. Output: the
//! networks that stay closed to whoever is not known: [`crate::inventory::Inventory::arrivals`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Core;
use crate::inventory::{Attachment, Change, Difference, Network, NetworkId};

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

    /// Those whose time is over, if dockgate has listened since then. The others' begins anew with that.
    fn take_over(&mut self, now: Instant, listening_since: Instant) -> Vec<NetworkId> {
        let mut over = Vec::new();
        self.open_at.retain(|id, open_at| {
            let Some(at) = open_at else { return true };
            *at = (*at).max(listening_since + ARRIVAL);
            let is_over = *at <= now;
            over.extend(is_over.then(|| id.clone()));
            !is_over
        });
        over
    }
}

impl Core {
    /// Whether a network is closed because others may be there who are not known yet.
    pub fn awaits_others(&self) -> bool {
        !self.arrivals.open_at.is_empty()
    }

    /// A change is about to be taken, which may bring networks.
    pub(super) fn note_networks(&mut self, change: &Change) {
        match change {
            Change::Network(network) => {
                let is_new = self.inventory.as_ref().is_some_and(|known| !known.networks.contains_key(&network.id));
                let vacant = Some(network).filter(|network| is_new && network.has_own_bridge());
                self.arrivals.vacant.extend(vacant.map(|network| network.id.clone()));
            }
            Change::Snapshot(listed) => {
                // Those on which somebody is who was there before. What is listed first is taken for complete.
                let mut occupied = BTreeSet::new();
                for container in listed.containers.values() {
                    let before = self.inventory.as_ref().map(|known| known.containers.get(&container.id));
                    let was_there =
                        |on: &&Attachment| before.is_none_or(|before| before.is_some_and(|b| b.is_on(&on.network)));
                    occupied.extend(container.attachments.iter().filter(was_there).map(|on| &on.network));
                }
                let networks = listed.networks.values().filter(|network| network.has_own_bridge());
                let vacant = networks.map(|network| &network.id).filter(|id| !occupied.contains(id));
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
            let is_the_same = |now: &Attachment| former.as_ref().is_some_and(|former| former.attachments.contains(now));
            let was_on = |network: &NetworkId| former.as_ref().is_some_and(|former| former.is_on(network));
            // An end leaves an attachment without addresses.
            let has_ended = |now: &Attachment| now.is_pending() && was_on(&now.network);
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
            self.rewire();
        }
    }

    /// Notes the networks that the last of these containers has left.
    fn note_vacant(&mut self, difference: &Difference) {
        let Some(inventory) = &self.inventory else { return };
        let compiler = self.compiler.as_ref().or(self.outdated.as_ref());
        let changed = self.changed.len() + difference.containers.len();
        // Of more than have changed since they were counted not all can have left.
        let may_be = |id: &NetworkId| {
            compiler.is_none_or(|compiler| compiler.endpoints_on(id) <= changed)
                && inventory.networks.get(id).is_some_and(Network::has_own_bridge)
        };
        for (id, former) in &difference.containers {
            let now = inventory.containers.get(id);
            for attachment in former.iter().flat_map(|former| &former.attachments) {
                let network = &attachment.network;
                let has_left = now.is_none_or(|now| !now.is_on(network));
                if has_left && may_be(network) && !inventory.containers.values().any(|other| other.is_on(network)) {
                    self.arrivals.vacant.insert(network.clone());
                }
            }
        }
    }

    /// Lets networks open to which nobody has come for long enough while dockgate was listening. Returns whether another ruleset
    /// may be wanted because of it.
    pub(super) fn let_networks_open(&mut self, now: Instant, listening_since: Instant) -> bool {
        let mut opens = false;
        for id in self.arrivals.take_over(now, listening_since) {
            if !self.inventory.as_mut().is_some_and(|inventory| inventory.arrivals.remove(&id)) {
                continue;
            }
            // Where a policy selects somebody there it is governed anyway.
            opens |= self.compiler.as_ref().is_none_or(|compiler| compiler.awaits(&id));
        }
        if opens {
            self.rewire();
        }
        opens
    }
}
