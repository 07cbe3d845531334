//! Changes of the inventory, and what each does to it.
//!
//! Input: a [`Change`], from the Docker door. Output: the changed [`Inventory`] and what differs.
//! Whatever is lost, doubled or late among Docker's events, one address is never held by two endpoints of a network.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Attachment, Container, ContainerId, Engine, Inventory, Network, NetworkId, PublishedPort};

/// A change of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything, listed anew; replaces all that was known except [`Inventory::namespaces`] and [`Inventory::arrivals`].
    Snapshot(Inventory),
    /// A container was created or is now different. Attachments that it carries replace the known ones.
    Container(Arc<Container>),
    /// A container is gone.
    ContainerGone(ContainerId),
    /// A network was created or is now different.
    Network(Network),
    /// A network is gone, and with it every attachment to it.
    NetworkGone(NetworkId),
    /// A container was attached to a network and has its addresses.
    Attached {
        /// The container.
        container: ContainerId,
        /// The attachment with its addresses.
        attachment: Attachment,
    },
    /// A container's addresses on a network are no longer its own: it ended, or it left the network. Its published ports
    /// count for nothing until it is listed again. The attachment stays
    /// without addresses, because a container that ended may be started again; one that left is followed by a
    /// [`Change::Container`] without the attachment.
    Detached {
        /// The container.
        container: ContainerId,
        /// The network.
        network: NetworkId,
    },
    /// What the engine says of itself; it may be another one than before.
    Engine(Engine),
    /// The engine cannot be reached; what is known stays in force.
    Unreachable(String),
}

/// Former versions of containers that differ; `None` for one that did not exist.
pub type Former = BTreeMap<ContainerId, Option<Arc<Container>>>;

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Whether networks differ.
    pub networks: bool,
    /// The containers that differ, as they were.
    pub containers: Former,
}

impl Difference {
    /// Whether anything differs.
    pub fn is_any(&self) -> bool {
        self.networks || !self.containers.is_empty()
    }

    fn of(id: &ContainerId, former: Option<Arc<Container>>) -> Difference {
        Difference { networks: false, containers: Former::from([(id.clone(), former)]) }
    }
}

impl Inventory {
    /// Takes a change. Returns what differs now.
    ///
    /// An address belongs to one attachment of a network: Docker hands out the lowest free one at once, so that the latest
    /// claim is the true one and an earlier claimant, whose end was not noticed, loses its addresses here.
    pub fn apply(&mut self, change: Change) -> Difference {
        match change {
            Change::Snapshot(snapshot) => self.replace(snapshot),
            Change::Container(container) => self.put_container(container),
            Change::ContainerGone(id) => match self.containers.remove(&id) {
                Some(former) => Difference::of(&id, Some(former)),
                None => Difference::default(),
            },
            Change::Network(network) => {
                let networks = self.networks.get(&network.id) != Some(&network);
                self.networks.insert(network.id.clone(), network);
                Difference { networks, ..Difference::default() }
            }
            Change::NetworkGone(id) => {
                let networks = self.networks.remove(&id).is_some();
                self.arrivals.remove(&id);
                let mut difference = Difference { networks, ..Difference::default() };
                let on_it = self.containers.values().filter(|container| container.is_on(&id));
                let members: Vec<_> = on_it.map(|member| member.id.clone()).collect();
                for member in members {
                    let leave = |container: &mut Container| container.attachments.retain(|a| a.network != id);
                    let former = self.containers.change(&member, leave);
                    difference.containers.insert(member, former);
                }
                difference
            }
            Change::Attached { container, attachment } => self.attach(&container, &attachment),
            Change::Detached { container, network } => {
                let Some(known) = self.containers.get(&container) else { return Difference::default() };
                let pending = Attachment::pending(network);
                let position = known.attachments.iter().position(|known| known.network == pending.network);
                let Some(position) = position.filter(|position| known.attachments[*position] != pending) else {
                    return Difference::default();
                };
                let former = self.containers.change(&container, |container| {
                    container.attachments[position] = pending;
                    // It ended, or its way to the outside is another now: its ports may be others, too.
                    container.listed = false;
                });
                Difference::of(&container, former)
            }
            Change::Engine(_) | Change::Unreachable(_) => Difference::default(),
        }
    }

    fn replace(&mut self, mut snapshot: Inventory) -> Difference {
        for container in snapshot.containers.all_shared_mut() {
            self.remember(container);
        }
        snapshot.withdraw_ports(&mut Former::new());
        let networks = self.networks != snapshot.networks;
        self.networks = snapshot.networks;
        let mut containers = Former::new();
        for id in snapshot.containers.keys().filter(|id| !self.containers.contains_key(id)) {
            containers.insert(id.clone(), None);
        }
        for (id, former) in std::mem::take(&mut self.containers) {
            match snapshot.containers.shared_mut(&id) {
                // Others may have it, too, and one is enough.
                Some(now) if *now == former => *now = former,
                _ => drop(containers.insert(id, Some(former))),
            }
        }
        self.containers = snapshot.containers;
        Difference { networks, containers }
    }

    /// What Docker's list forgets of a container while it lives.
    ///
    /// Its image is the reference it was created with: once that tag points elsewhere, the list shows the image's id, and
    /// a policy that selects the image would let go of a running container. And the list shows published ports only
    /// while the container runs, but `docker-proxy` holds them again before it is said to be started: those of the run
    /// before are likely to be those of the next one. Until that is listed, nobody is let through them.
    fn remember(&self, container: &mut Arc<Container>) {
        let Some(known) = self.containers.get(&container.id) else { return };
        let published = if container.listed { &container.published } else { &known.published };
        let judged = known.judged.iter().filter(|port| published.contains(port));
        let is_known = container.image == known.image && container.published == *published;
        if is_known && container.judged.iter().eq(judged.clone()) {
            return;
        }
        let (published, judged) = (published.clone(), judged.cloned().collect());
        let container = Arc::make_mut(container);
        container.image.clone_from(&known.image);
        (container.published, container.judged) = (published, judged);
    }

    fn put_container(&mut self, mut container: Arc<Container>) -> Difference {
        self.remember(&mut container);
        if !container.attachments.is_sorted_by_key(|attachment| &attachment.network) {
            Arc::make_mut(&mut container).attachments.sort_by(|a, b| a.network.cmp(&b.network));
        }
        if self.containers.shared(&container.id) == Some(&container) {
            return Difference::default();
        }
        let mut former = Former::new();
        for attachment in &container.attachments {
            self.withdraw_claims(&container.id, attachment, &mut former);
        }
        let id = container.id.clone();
        former.insert(id.clone(), self.containers.insert(id, container));
        self.withdraw_ports(&mut former);
        Difference { networks: false, containers: former }
    }

    /// Without the container there are no labels to judge by, so that an attachment of an unknown one is not taken.
    fn attach(&mut self, id: &ContainerId, attachment: &Attachment) -> Difference {
        let Some(container) = self.containers.get(id) else { return Difference::default() };
        if container.attachments.contains(attachment) {
            return Difference::default();
        }
        let before = self.containers.change(id, |container| {
            container.attachments.retain(|known| known.network != attachment.network);
            container.attachments.push(attachment.clone());
            container.attachments.sort_by(|a, b| a.network.cmp(&b.network));
        });
        let mut former = Former::from([(id.clone(), before)]);
        self.withdraw_claims(id, attachment, &mut former);
        Difference { networks: false, containers: former }
    }

    /// Forgets remembered ports of an earlier run that a container holds now.
    fn withdraw_ports(&mut self, former: &mut Former) {
        let publishing = || self.containers.values().filter(|container| !container.published.is_empty());
        let waiting: Vec<&Container> = publishing().filter(|container| !container.listed).collect();
        if waiting.is_empty() {
            return;
        }
        let holding = publishing().filter(|container| container.listed);
        let held: Vec<PublishedPort> = holding.flat_map(|container| &container.published).cloned().collect();
        let is_lost = |port: &PublishedPort| held.iter().any(|held| held.collides_with(port));
        let losing = waiting.into_iter().filter(|container| container.published.iter().any(is_lost));
        for id in losing.map(|container| container.id.clone()).collect::<Vec<_>>() {
            let before = self.containers.change(&id, |container| {
                container.published.retain(|port| !is_lost(port));
                container.judged.retain(|port| container.published.contains(port));
            });
            former.entry(id).or_insert(before);
        }
    }

    /// Takes the addresses of `claim` away from every other container. An endpoint that lost one of its addresses is no
    /// longer there, so that it loses both.
    fn withdraw_claims(&mut self, owner: &ContainerId, claim: &Attachment, former: &mut Former) {
        if claim.is_pending() {
            return;
        }
        for id in self.containers.holding(claim.ipv4.into_iter().chain(claim.ipv6)) {
            let container = self.containers.get(&id).filter(|_| id != *owner);
            let claimed =
                container.and_then(|container| container.attachments.iter().position(|a| a.collides_with(claim)));
            let Some(position) = claimed else { continue };
            let pending = Attachment::pending(claim.network.clone());
            let before = self.containers.change(&id, |container| container.attachments[position] = pending);
            former.entry(id).or_insert(before);
        }
    }
}
