//! The containers of an inventory, by id.
//!
//! Input: containers, and changes of them. Output: the same, in the order of their ids. Copies of an inventory share their
//! containers, and one is copied only when it is changed: whoever follows the engine and whoever decides have a copy each of
//! the whole host, and what a container was before is kept beside what it is.

use std::collections::{BTreeMap, btree_map};
use std::ops::Index;
use std::sync::Arc;

use serde::Serialize;

use super::{Container, ContainerId};

/// Containers by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Containers(BTreeMap<ContainerId, Arc<Container>>);

impl Containers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this id.
    pub fn contains_key(&self, id: &ContainerId) -> bool {
        self.0.contains_key(id)
    }

    /// The one of this id.
    pub fn get(&self, id: &ContainerId) -> Option<&Container> {
        self.0.get(id).map(Arc::as_ref)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &ContainerId) -> Option<&mut Container> {
        self.0.get_mut(id).map(Arc::make_mut)
    }

    /// The ids, in order.
    pub fn keys(&self) -> btree_map::Keys<'_, ContainerId, Arc<Container>> {
        self.0.keys()
    }

    /// All, in the order of their ids.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Container> + Clone {
        self.0.values().map(Arc::as_ref)
    }

    /// All, each to be changed: what is shared is copied.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Container> {
        self.0.values_mut().map(Arc::make_mut)
    }

    /// Puts one in, in the place of another of its id. Returns that other one.
    pub fn insert(&mut self, id: ContainerId, container: impl Into<Arc<Container>>) -> Option<Arc<Container>> {
        self.0.insert(id, container.into())
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &ContainerId) -> Option<Arc<Container>> {
        self.0.remove(id)
    }

    /// The one of this id, to be shared.
    pub(super) fn shared(&self, id: &ContainerId) -> Option<&Arc<Container>> {
        self.0.get(id)
    }

    /// The same, to be replaced.
    pub(super) fn shared_mut(&mut self, id: &ContainerId) -> Option<&mut Arc<Container>> {
        self.0.get_mut(id)
    }

    /// All, to be replaced.
    pub(super) fn all_shared_mut(&mut self) -> impl Iterator<Item = &mut Arc<Container>> {
        self.0.values_mut()
    }

    /// Changes one. Returns what it was; `None` if there is none of this id.
    pub(crate) fn change(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) -> Option<Arc<Container>> {
        let container = self.0.get_mut(id)?;
        let former = Arc::clone(container);
        change(Arc::make_mut(container));
        Some(former)
    }
}

impl Index<&ContainerId> for Containers {
    type Output = Container;

    fn index(&self, id: &ContainerId) -> &Container {
        &self.0[id]
    }
}

impl FromIterator<(ContainerId, Container)> for Containers {
    fn from_iter<I: IntoIterator<Item = (ContainerId, Container)>>(containers: I) -> Self {
        Containers(containers.into_iter().map(|(id, container)| (id, Arc::new(container))).collect())
    }
}

impl IntoIterator for Containers {
    type Item = (ContainerId, Arc<Container>);
    type IntoIter = btree_map::IntoIter<ContainerId, Arc<Container>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
