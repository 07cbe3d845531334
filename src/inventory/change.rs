//! Changes of the inventory, and what each does to it.
//!
//! Input: a [`Change`], from the Docker door. Output: the changed [`Inventory`] and whether anything differs.
//! Whatever is lost, doubled or late among Docker's events, one address is never held by two endpoints of a network.

use super::{Attachment, Container, ContainerId, Engine, Inventory, Network, NetworkId};

/// A change of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything, listed anew; replaces all that was known except [`Inventory::namespaces`].
    Snapshot(Inventory),
    /// A container was created or is now different. Attachments that it carries replace the known ones.
    Container(Container),
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

impl Inventory {
    /// Takes a change. Returns whether anything differs now.
    ///
    /// An address belongs to one attachment of a network: Docker hands out the lowest free one at once, so that the latest
    /// claim is the true one and an earlier claimant, whose end was not noticed, loses its addresses here.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Snapshot(mut snapshot) => {
                for container in snapshot.containers.values_mut() {
                    self.remember(container);
                }
                snapshot.withdraw_ports();
                let differs = self.networks != snapshot.networks || self.containers != snapshot.containers;
                self.networks = snapshot.networks;
                self.containers = snapshot.containers;
                differs
            }
            Change::Container(container) => self.put_container(container),
            Change::ContainerGone(id) => self.containers.remove(&id).is_some(),
            Change::Network(network) => {
                let id = network.id.clone();
                let differs = self.networks.get(&id) != Some(&network);
                self.networks.insert(id, network);
                differs
            }
            Change::NetworkGone(id) => {
                let known = self.networks.remove(&id).is_some();
                self.containers.values_mut().fold(known, |differs, container| {
                    let before = container.attachments.len();
                    container.attachments.retain(|attachment| attachment.network != id);
                    differs || container.attachments.len() != before
                })
            }
            Change::Attached { container, attachment } => self.attach(&container, &attachment),
            Change::Detached { container, network } => {
                let Some(container) = self.containers.get_mut(&container) else { return false };
                let known = container.attachments.iter_mut().find(|known| known.network == network);
                let Some(known) = known.filter(|known| **known != Attachment::pending(network.clone())) else {
                    return false;
                };
                *known = Attachment::pending(network);
                // It ended, or its way to the outside is another now: its ports may be others, too.
                container.listed = false;
                true
            }
            Change::Engine(_) | Change::Unreachable(_) => false,
        }
    }

    /// What Docker's list forgets of a container while it lives.
    ///
    /// Its image is the reference it was created with: once that tag points elsewhere, the list shows the image's id, and
    /// a policy that selects the image would let go of a running container. And the list shows published ports only
    /// while the container runs, but `docker-proxy` holds them again before it is said to be started: those of the run
    /// before are likely to be those of the next one. Until that is listed, nobody is let through them.
    fn remember(&self, container: &mut Container) {
        let Some(known) = self.containers.get(&container.id) else { return };
        container.image.clone_from(&known.image);
        if !container.listed {
            container.published.clone_from(&known.published);
        }
        container.judged.clone_from(&known.judged);
        container.judged.retain(|port| container.published.contains(port));
    }

    fn put_container(&mut self, mut container: Container) -> bool {
        self.remember(&mut container);
        container.attachments.sort_by(|a, b| a.network.cmp(&b.network));
        if self.containers.get(&container.id) == Some(&container) {
            return false;
        }
        for attachment in &container.attachments {
            self.withdraw_claims(&container.id, attachment);
        }
        self.containers.insert(container.id.clone(), container);
        self.withdraw_ports();
        true
    }

    /// Without the container there are no labels to judge by, so that an attachment of an unknown one is not taken.
    fn attach(&mut self, id: &ContainerId, attachment: &Attachment) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        if container.attachments.contains(attachment) {
            return false;
        }
        container.attachments.retain(|known| known.network != attachment.network);
        container.attachments.push(attachment.clone());
        container.attachments.sort_by(|a, b| a.network.cmp(&b.network));
        self.withdraw_claims(id, attachment);
        true
    }

    /// Forgets remembered ports of an earlier run that a container holds now.
    fn withdraw_ports(&mut self) {
        let (holding, waiting): (Vec<_>, Vec<_>) = self.containers.values_mut().partition(|container| container.listed);
        let held: Vec<_> = holding.iter().flat_map(|container| &container.published).collect();
        for container in waiting.into_iter().filter(|container| !container.published.is_empty()) {
            container.published.retain(|port| !held.iter().any(|held| held.collides_with(port)));
            container.judged.retain(|port| container.published.contains(port));
        }
    }

    /// Takes the addresses of `claim` away from every other container. An endpoint that lost one of its addresses is no
    /// longer there, so that it loses both.
    fn withdraw_claims(&mut self, owner: &ContainerId, claim: &Attachment) {
        let others = self.containers.iter_mut().filter(|(id, _)| *id != owner);
        for attachment in others.flat_map(|(_, container)| &mut container.attachments) {
            if attachment.collides_with(claim) {
                *attachment = Attachment::pending(claim.network.clone());
            }
        }
    }
}
