//! The containers of an inventory, by id.
//!
//! Input: containers, and changes of them. Output: the same, in the order of their ids. Copies of an inventory share their
//! containers, and one is copied only when it is changed: whoever follows the engine and whoever decides have a copy each of
//! the whole host, and what a container was before is kept beside what it is.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::net::IpAddr;
use std::ops::Index;
use std::sync::Arc;

use serde::Serialize;

use super::{Container, ContainerId};

/// Containers by id.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Containers {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    /// Who has which address; `None` where containers were changed without account of it. Of a host with ten thousand
    /// containers, each that gets an address would have all others asked for it.
    #[serde(skip)]
    holders: Option<Holders>,
}

/// Addresses of any network, each with a container that has it.
type Holders = BTreeSet<(IpAddr, ContainerId)>;

fn held(container: &Container) -> impl Iterator<Item = (IpAddr, ContainerId)> {
    let addresses = container.attachments.iter().flat_map(|attachment| [attachment.ipv4, attachment.ipv6]);
    addresses.flatten().map(|address| (address, container.id.clone()))
}

impl Containers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether there is one of this id.
    pub fn contains_key(&self, id: &ContainerId) -> bool {
        self.by_id.contains_key(id)
    }

    /// The one of this id.
    pub fn get(&self, id: &ContainerId) -> Option<&Container> {
        self.by_id.get(id).map(Arc::as_ref)
    }

    /// The same, to be changed: who has which address is forgotten.
    pub fn get_mut(&mut self, id: &ContainerId) -> Option<&mut Container> {
        self.holders = None;
        self.by_id.get_mut(id).map(Arc::make_mut)
    }

    /// The ids, in order.
    pub fn keys(&self) -> btree_map::Keys<'_, ContainerId, Arc<Container>> {
        self.by_id.keys()
    }

    /// All, in the order of their ids.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Container> + Clone {
        self.by_id.values().map(Arc::as_ref)
    }

    /// All, each to be changed: what is shared is copied, and who has which address is forgotten.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Container> {
        self.holders = None;
        self.by_id.values_mut().map(Arc::make_mut)
    }

    /// Puts one in, in the place of another of its id. Returns that other one.
    pub fn insert(&mut self, id: ContainerId, container: impl Into<Arc<Container>>) -> Option<Arc<Container>> {
        let container = container.into();
        let former = self.by_id.insert(id, Arc::clone(&container));
        self.account(former.as_deref(), Some(&container));
        former
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &ContainerId) -> Option<Arc<Container>> {
        let former = self.by_id.remove(id);
        self.account(former.as_deref(), None);
        former
    }

    /// The one of this id, to be shared.
    pub(super) fn shared(&self, id: &ContainerId) -> Option<&Arc<Container>> {
        self.by_id.get(id)
    }

    /// The same, to be replaced: who has which address is forgotten.
    pub(super) fn shared_mut(&mut self, id: &ContainerId) -> Option<&mut Arc<Container>> {
        self.holders = None;
        self.by_id.get_mut(id)
    }

    /// All, to be replaced: who has which address is forgotten.
    pub(super) fn all_shared_mut(&mut self) -> impl Iterator<Item = &mut Arc<Container>> {
        self.holders = None;
        self.by_id.values_mut()
    }

    /// Changes one, and keeps account of its addresses. Returns what it was; `None` if there is none of this id.
    pub(crate) fn change(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) -> Option<Arc<Container>> {
        let container = self.by_id.get_mut(id)?;
        let former = Arc::clone(container);
        change(Arc::make_mut(container));
        let now = Arc::clone(container);
        self.account(Some(&former), Some(&now));
        Some(former)
    }

    /// The containers that have one of these addresses, on whatever network.
    pub(super) fn holding(&mut self, addresses: impl Iterator<Item = IpAddr>) -> BTreeSet<ContainerId> {
        let by_id = &self.by_id;
        let holders =
            self.holders.get_or_insert_with(|| by_id.values().flat_map(|container| held(container)).collect());
        let least = ContainerId("".into());
        let of = |address| holders.range((address, least.clone())..).take_while(move |(other, _)| *other == address);
        addresses.flat_map(of).map(|(_, id)| id.clone()).collect()
    }

    fn account(&mut self, former: Option<&Container>, now: Option<&Container>) {
        let Some(holders) = &mut self.holders else { return };
        for gone in former.into_iter().flat_map(held) {
            holders.remove(&gone);
        }
        holders.extend(now.into_iter().flat_map(held));
    }
}

impl Clone for Containers {
    fn clone(&self) -> Self {
        Containers { by_id: self.by_id.clone(), holders: None }
    }
}

impl PartialEq for Containers {
    fn eq(&self, other: &Self) -> bool {
        self.by_id == other.by_id
    }
}

impl Eq for Containers {}

impl Index<&ContainerId> for Containers {
    type Output = Container;

    fn index(&self, id: &ContainerId) -> &Container {
        &self.by_id[id]
    }
}

impl FromIterator<(ContainerId, Container)> for Containers {
    fn from_iter<I: IntoIterator<Item = (ContainerId, Container)>>(containers: I) -> Self {
        let by_id = containers.into_iter().map(|(id, container)| (id, Arc::new(container))).collect();
        Containers { by_id, holders: None }
    }
}

impl IntoIterator for Containers {
    type Item = (ContainerId, Arc<Container>);
    type IntoIter = btree_map::IntoIter<ContainerId, Arc<Container>>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_id.into_iter()
    }
}
