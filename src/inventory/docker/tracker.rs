//! The decisions of following an engine: which event asks what, and which answer still counts.
//!
//! Input: [`Event`]s in the engine's order, and [`Answer`]s in any order. Output: [`Change`]s for the receiver, and
//! [`Call`]s to make. It is synchronous and knows no engine.
//!
//! An answer describes some moment between its call and its arrival. Docker gives an address to the next container at once,
//! so that an attachment of an earlier moment must not follow the end of that attachment: the tracker remembers which
//! containers lost an address while a call was under way, and asks again about these. Beyond that, events may be lost,
//! doubled or late: each only says where to look, and what is found there is compared with what the receiver has.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use bollard::models::{EventMessage, EventMessageTypeEnum, NetworkInspect};

use super::super::{Attachment, Change, Container, ContainerId, Inventory, NetworkId, Unenforceable};
use super::listing::{
    Assembled, Described, Listed, Listing, SWARM_GATEWAY, Texts, describe_container, describe_network, members, replace,
};

/// Containers asked for in one call: keeps the length of the request line reasonable.
const CONTAINERS_PER_CALL: usize = 100;

/// What the engine reports, as far as it concerns the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Created, started, renamed or updated.
    ContainerChanged(ContainerId),
    /// Its process ended.
    ContainerDied(ContainerId),
    /// Removed.
    ContainerDestroyed(ContainerId),
    /// Created.
    NetworkCreated(NetworkId),
    /// Removed.
    NetworkDestroyed(NetworkId),
    /// A container got its addresses on a network.
    Connected {
        /// The container.
        container: ContainerId,
        /// The network.
        network: NetworkId,
    },
    /// A container's addresses on a network are free again.
    Disconnected {
        /// The container.
        container: ContainerId,
        /// The network.
        network: NetworkId,
    },
}

impl Event {
    /// The actions that [`Event::read`] understands, for the engine's filter: it keeps away the events of health checks.
    pub(super) const ACTIONS: [&str; 9] =
        ["create", "start", "rename", "update", "die", "destroy", "connect", "disconnect", "remove"];

    fn subject(&self) -> Subject<'_> {
        match self {
            Event::ContainerChanged(container)
            | Event::ContainerDied(container)
            | Event::ContainerDestroyed(container)
            | Event::Connected { container, .. }
            | Event::Disconnected { container, .. } => Subject::Container(container),
            Event::NetworkCreated(network) | Event::NetworkDestroyed(network) => Subject::Network(network),
        }
    }

    /// Reads a message; `None` if it does not concern the inventory.
    pub(super) fn read(message: EventMessage) -> Option<Event> {
        let actor = message.actor?;
        let id: Arc<str> = actor.id?.into();
        let action = message.action?;
        match (message.typ?, action.as_str()) {
            (EventMessageTypeEnum::CONTAINER, "create" | "start" | "rename" | "update") => {
                Some(Event::ContainerChanged(ContainerId(id)))
            }
            (EventMessageTypeEnum::CONTAINER, "die") => Some(Event::ContainerDied(ContainerId(id))),
            (EventMessageTypeEnum::CONTAINER, "destroy") => Some(Event::ContainerDestroyed(ContainerId(id))),
            (EventMessageTypeEnum::NETWORK, "create") => Some(Event::NetworkCreated(NetworkId(id))),
            (EventMessageTypeEnum::NETWORK, "destroy" | "remove") => Some(Event::NetworkDestroyed(NetworkId(id))),
            (EventMessageTypeEnum::NETWORK, action @ ("connect" | "disconnect")) => {
                let container = ContainerId(actor.attributes?.remove("container")?.into());
                let network = NetworkId(id);
                Some(match action {
                    "connect" => Event::Connected { container, network },
                    _ => Event::Disconnected { container, network },
                })
            }
            _ => None,
        }
    }
}

/// What an event is about.
enum Subject<'a> {
    Container(&'a ContainerId),
    Network(&'a NetworkId),
}

/// A question for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `GET /networks/{id}`: the network and the addresses of its members.
    Network(NetworkId),
    /// `GET /containers/json` for these: labels, networks, published ports.
    Containers(BTreeSet<ContainerId>),
}

/// What the engine said.
#[derive(Debug)]
pub(super) enum Answer {
    /// To [`Call::Network`]; nothing if it is gone.
    Network(NetworkId, Option<Box<NetworkInspect>>),
    /// To [`Call::Containers`]; without those that are gone.
    Containers(BTreeSet<ContainerId>, Vec<Listed>),
}

/// A call about a network that is under way.
#[derive(Debug, Default)]
struct Asked {
    /// Whose attachments are wanted from it.
    containers: BTreeSet<ContainerId>,
    /// Containers that lost their addresses since it was made: what it says of them may be older than that.
    overtaken: BTreeSet<ContainerId>,
}

/// What was touched by events while everything is listed: there the listing may be older than what is known.
#[derive(Debug, Default)]
struct Touched {
    containers: BTreeSet<ContainerId>,
    networks: BTreeSet<NetworkId>,
}

/// Follows one connection to an engine.
#[derive(Debug)]
pub(super) struct Tracker {
    /// What the receiver has.
    world: Inventory,
    /// Texts of its labels.
    texts: Texts,
    /// Changes that were not handed out yet.
    changes: Vec<Change>,
    /// Networks to ask about, each with the containers whose attachment is wanted from it.
    networks_to_ask: BTreeMap<NetworkId, BTreeSet<ContainerId>>,
    networks_asked: BTreeMap<NetworkId, Asked>,
    containers_to_ask: BTreeSet<ContainerId>,
    containers_asked: BTreeSet<ContainerId>,
    /// Those of them whose addresses changed since they were asked for: what is said of their ports may be older than that.
    ports_overtaken: BTreeSet<ContainerId>,
    /// Containers with a change of their networks that the list may not show yet: the engine reports it first. What the list
    /// says of their ports does not count until a later event, or the answer to an inspection, shows that it is written.
    unwritten: BTreeSet<ContainerId>,
    to_inspect: BTreeSet<ContainerId>,
    /// Those that are being inspected; whether nothing changed since that began.
    inspected: BTreeMap<ContainerId, bool>,
    /// Attachments of containers that are not known yet.
    waiting: BTreeMap<ContainerId, Vec<Attachment>>,
    /// Containers whose process has ended and whose addresses Docker is about to free, without another event since. Until
    /// then it shows them as running with these addresses, for milliseconds or, on a busy engine, for much longer.
    dying: BTreeSet<ContainerId>,
    /// Containers whose process has ended and that were not started since. Docker may list them as running for a while.
    ended: BTreeSet<ContainerId>,
    /// Containers with an event since the last [`Tracker::tick`], and those with one in the interval before.
    stirred: [BTreeSet<ContainerId>; 2],
    /// Containers that name a network which is not known: asked again when a network comes.
    unresolved: BTreeSet<ContainerId>,
    touched: Option<Touched>,
}

impl Tracker {
    /// Begins with a listing, which is the first change.
    pub(super) fn new(listing: Listing) -> Tracker {
        let mut texts = Texts::default();
        let Assembled { inventory, unresolved } = listing.assemble(&mut texts);
        Tracker {
            texts,
            changes: vec![Change::Snapshot(inventory.clone())],
            world: inventory,
            networks_to_ask: BTreeMap::new(),
            networks_asked: BTreeMap::new(),
            containers_to_ask: BTreeSet::new(),
            containers_asked: BTreeSet::new(),
            ports_overtaken: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            to_inspect: BTreeSet::new(),
            inspected: BTreeMap::new(),
            waiting: BTreeMap::new(),
            dying: BTreeSet::new(),
            ended: BTreeSet::new(),
            stirred: Default::default(),
            unresolved,
            touched: None,
        }
    }

    /// The changes since the last time, in order.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        mem::take(&mut self.changes)
    }

    /// The next call to make, if any. Addresses go before labels: packets wait for them.
    pub(super) fn next_call(&mut self) -> Option<Call> {
        let network = self.networks_to_ask.keys().find(|id| !self.networks_asked.contains_key(*id)).cloned();
        if let Some(network) = network {
            let containers = self.networks_to_ask.remove(&network).unwrap_or_default();
            self.networks_asked.insert(network.clone(), Asked { containers, overtaken: BTreeSet::new() });
            return Some(Call::Network(network));
        }
        let free = self.containers_to_ask.difference(&self.containers_asked);
        let ids: BTreeSet<ContainerId> = free.take(CONTAINERS_PER_CALL).cloned().collect();
        if ids.is_empty() {
            return None;
        }
        self.containers_to_ask.retain(|id| !ids.contains(id));
        self.containers_asked.extend(ids.iter().cloned());
        Some(Call::Containers(ids))
    }

    /// The next container to inspect, if any. The engine answers when nothing holds the container any more, and what held it
    /// has then written to the list what it did. Never one that is being started: the answer would come with its first
    /// packets.
    pub(super) fn next_inspection(&mut self) -> Option<ContainerId> {
        let id = self.to_inspect.iter().find(|id| !self.inspected.contains_key(*id)).cloned()?;
        self.to_inspect.remove(&id);
        self.inspected.insert(id.clone(), true);
        Some(id)
    }

    /// Says that an inspection has ended, and whether the engine answered it. Without an answer it is tried again.
    pub(super) fn inspection_ended(&mut self, id: &ContainerId, answered: bool) {
        match self.inspected.remove(id) {
            Some(true) if answered => self.written(id),
            Some(true) => self.stirred[0].extend(self.unwritten.get(id).cloned()),
            Some(false) | None => {}
        }
    }

    /// Takes an event.
    pub(super) fn event(&mut self, event: Event) {
        self.touch(&event);
        self.stir(&event);
        match event {
            Event::ContainerChanged(id) => {
                self.dying.remove(&id);
                self.ended.remove(&id);
                // The engine reports these when it has written them, and does one thing at a time with a container.
                self.written(&id);
                self.containers_to_ask.insert(id);
            }
            Event::ContainerDied(id) => {
                self.overtake(&id);
                for network in self.addressed_networks(&id) {
                    self.emit(Change::Detached { container: id.clone(), network });
                }
                self.unlist(&id);
                self.dying.insert(id.clone());
                self.ended.insert(id.clone());
                self.containers_to_ask.insert(id);
            }
            Event::ContainerDestroyed(id) => {
                self.overtake(&id);
                self.remove_container(&id);
                // A call under way may still find it, and a second one after that does not.
                if self.containers_asked.contains(&id) {
                    self.containers_to_ask.insert(id);
                } else {
                    self.containers_to_ask.remove(&id);
                }
            }
            Event::NetworkCreated(id) => {
                self.networks_to_ask.entry(id).or_default();
            }
            Event::NetworkDestroyed(id) => {
                self.remove_network(&id);
                self.networks_to_ask.remove(&id);
                // As with containers; Swarm also makes networks anew under their old id.
                if self.networks_asked.contains_key(&id) {
                    self.networks_to_ask.entry(id).or_default();
                }
            }
            Event::Connected { container, network } => {
                self.dying.remove(&container);
                self.ended.remove(&container);
                // A running container that gets another way to the outside gets other ports there.
                self.unwritten(&container, self.is_running(&container));
                // A container that is created and started at once is asked for already.
                if !self.world.containers.contains_key(&container) && !self.containers_asked.contains(&container) {
                    self.containers_to_ask.insert(container.clone());
                }
                self.networks_to_ask.entry(network).or_default().insert(container);
            }
            Event::Disconnected { container, network } => {
                self.dying.remove(&container);
                if let Some(asked) = self.networks_asked.get_mut(&network) {
                    asked.overtaken.insert(container.clone());
                }
                if let Some(wanted) = self.networks_to_ask.get_mut(&network) {
                    wanted.remove(&container);
                }
                if let Some(waiting) = self.waiting.get_mut(&container) {
                    waiting.retain(|attachment| attachment.network != network);
                }
                let was_running = self.is_running(&container);
                self.emit(Change::Detached { container: container.clone(), network });
                self.unwritten(&container, was_running);
                self.containers_to_ask.insert(container);
            }
        }
    }

    /// Takes an answer.
    pub(super) fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Network(id, found) => {
                let asked = self.networks_asked.remove(&id).unwrap_or_default();
                match found {
                    Some(inspected) => self.network_found(&id, &inspected, &asked),
                    None => self.remove_network(&id),
                }
            }
            Answer::Containers(asked, found) => self.containers_answered(asked, found),
        }
    }

    /// Says that some time has passed. Containers that had no event for a whole interval are looked at once more: the list
    /// lags behind the events, by milliseconds or, on a busy engine, by more.
    pub(super) fn tick(&mut self) {
        let [recent, rested] = mem::take(&mut self.stirred);
        let (unwritten, written): (Vec<_>, Vec<_>) =
            rested.into_iter().partition(|id| self.unwritten.contains(id) && !self.ended.contains(id));
        self.to_inspect.extend(unwritten);
        self.containers_to_ask.extend(written);
        self.stirred = [BTreeSet::new(), recent];
    }

    /// Says that everything is being listed from now on.
    pub(super) fn listing_begins(&mut self) {
        self.touched = Some(Touched::default());
    }

    /// Takes a listing. Returns whether the receiver had something else, which means that an event was lost.
    pub(super) fn listing(&mut self, listing: Listing) -> bool {
        let touched = self.touched.take().unwrap_or_default();
        let Assembled { inventory: mut listed, unresolved } = listing.assemble(&mut self.texts);
        if touched.networks.is_empty() {
            self.unresolved.extend(unresolved);
        } else {
            self.containers_to_ask.extend(unresolved);
        }
        for id in touched.networks {
            match self.world.networks.get(&id) {
                Some(network) => listed.apply(Change::Network(network.clone())),
                None => listed.apply(Change::NetworkGone(id)),
            };
        }
        // A container that the list does not have was removed, and its event was lost: nothing else forgets its id. One
        // with an event since the listing began is newer than the list.
        for ids in [&mut self.ended, &mut self.dying, &mut self.unwritten] {
            ids.retain(|id| listed.containers.contains_key(id) || touched.containers.contains(id));
        }
        for id in self.ended.union(&self.unwritten) {
            if let Some(container) = listed.containers.get_mut(id) {
                container.listed = false;
            }
        }
        for id in touched.containers {
            match self.world.containers.shared(&id) {
                Some(container) => listed.apply(Change::Container(Arc::clone(container))),
                None => listed.apply(Change::ContainerGone(id)),
            };
        }
        self.emit(Change::Snapshot(listed))
    }

    fn network_found(&mut self, id: &NetworkId, inspected: &NetworkInspect, asked: &Asked) {
        let Some(network) = describe_network(inspected) else {
            return self.remove_network(id);
        };
        if !self.world.networks.contains_key(id) {
            self.containers_to_ask.append(&mut self.unresolved);
        }
        self.emit(Change::Network(network));
        // It may answer for containers that were attached after the call was made, too.
        let later = self.networks_to_ask.get(id).cloned().unwrap_or_default();
        let mut members = members(inspected);
        for container in asked.containers.union(&later).filter(|container| !asked.overtaken.contains(*container)) {
            let Some(attachment) = members.remove(container) else { continue };
            self.attach(container, attachment);
            if later.contains(container)
                && let Some(wanted) = self.networks_to_ask.get_mut(id)
            {
                wanted.remove(container);
                if wanted.is_empty() {
                    self.networks_to_ask.remove(id);
                }
            }
        }
    }

    fn containers_answered(&mut self, asked: BTreeSet<ContainerId>, found: Vec<Listed>) {
        self.containers_asked.retain(|id| !asked.contains(id));
        let overtaken: BTreeSet<_> = asked.iter().filter_map(|id| self.ports_overtaken.take(id)).collect();
        let mut missing = asked;
        for listed in found {
            let name_of = |id: &str| Some(self.world.containers.get(&ContainerId(id.into()))?.name.clone());
            let described = describe_container(listed, &self.world.networks, name_of, &mut self.texts);
            if missing.remove(&described.container.id) {
                let ports_count = !overtaken.contains(&described.container.id);
                self.merge(described, ports_count);
            }
        }
        for id in missing {
            self.remove_container(&id);
        }
    }

    /// Takes what the list says of a container, and keeps the addresses that are known: the list says nothing of them.
    fn merge(&mut self, described: Described, ports_count: bool) {
        let Described { mut container, unresolved } = described;
        let id = container.id.clone();
        let running = container.listed && !self.dying.contains(&id);
        container.listed = running && ports_count && !self.ended.contains(&id) && !self.unwritten.contains(&id);
        if unresolved {
            self.unresolved.insert(id.clone());
        } else {
            self.unresolved.remove(&id);
        }
        let known = self.world.containers.get(&id);
        let addressed = known.into_iter().flat_map(|known| &known.attachments).filter(|known| !known.is_pending());
        for attachment in addressed.cloned().chain(self.waiting.remove(&id).unwrap_or_default()) {
            replace(&mut container.attachments, attachment);
        }
        let renamed = known.is_none_or(|known| known.name != container.name);
        if running {
            self.ask_for_missing_addresses(&container);
        }
        self.emit(Change::Container(container.into()));
        if renamed {
            self.ask_for_sharing_containers();
        }
    }

    /// A running container without an address on one of its networks: an event was lost or is late.
    fn ask_for_missing_addresses(&mut self, container: &Container) {
        for attachment in container.attachments.iter().filter(|attachment| attachment.is_pending()) {
            self.networks_to_ask.entry(attachment.network.clone()).or_default().insert(container.id.clone());
        }
        for attachment in &container.attachments {
            self.ask_for_swarm_gateway(&container.id, &attachment.network);
        }
    }

    /// Behind an overlay network stands an attachment to Swarm's gateway network, which neither the list nor an event tells.
    fn ask_for_swarm_gateway(&mut self, container: &ContainerId, network: &NetworkId) {
        let is_overlay = self.world.networks.get(network).is_some_and(|network| network.driver == "overlay");
        let gateway = self.world.networks.values().find(|network| network.name == SWARM_GATEWAY);
        if let Some(gateway) = gateway.filter(|_| is_overlay) {
            self.networks_to_ask.entry(gateway.id.clone()).or_default().insert(container.clone());
        }
    }

    /// The reason that a container shares another's endpoint names the other one, whose name has changed.
    fn ask_for_sharing_containers(&mut self) {
        let shares = |container: &&Container| matches!(container.unenforceable, Some(Unenforceable::SharedWith(_)));
        let sharing = self.world.containers.values().filter(shares);
        self.containers_to_ask.extend(sharing.map(|container| container.id.clone()));
    }

    fn attach(&mut self, container: &ContainerId, attachment: Attachment) {
        if self.world.containers.contains_key(container) {
            self.ask_for_swarm_gateway(container, &attachment.network);
            self.emit(Change::Attached { container: container.clone(), attachment });
        } else {
            replace(self.waiting.entry(container.clone()).or_default(), attachment);
        }
    }

    fn addressed_networks(&self, container: &ContainerId) -> Vec<NetworkId> {
        let known = self.world.containers.get(container);
        let attachments = known.into_iter().flat_map(|known| &known.attachments);
        attachments.filter(|known| !known.is_pending()).map(|known| known.network.clone()).collect()
    }

    /// Nothing that was said of the container's published ports until now counts any more: they are asked for again, and
    /// nobody is let through them until then.
    fn unlist(&mut self, id: &ContainerId) {
        let was_asked = self.containers_asked.contains(id);
        if was_asked {
            self.ports_overtaken.insert(id.clone());
        }
        let known = self.world.containers.get(id).filter(|known| known.listed).cloned();
        if was_asked || known.is_some() {
            self.containers_to_ask.insert(id.clone());
        }
        if let Some(known) = known {
            self.emit(Change::Container(Container { listed: false, ..known }.into()));
        }
    }

    /// A container's networks changed, and with them perhaps its ports. One that runs is inspected, to learn when that is
    /// written; one that is being started has an event when it is.
    fn unwritten(&mut self, id: &ContainerId, is_running: bool) {
        let is_inspected = self.inspected.get_mut(id).map(|unchanged| *unchanged = false).is_some();
        if is_running || is_inspected {
            self.to_inspect.insert(id.clone());
        }
        self.unwritten.insert(id.clone());
        self.unlist(id);
    }

    /// Whether it runs, as far as the list has said since its addresses last changed.
    fn is_running(&self, id: &ContainerId) -> bool {
        self.world.containers.get(id).is_some_and(|known| known.listed)
    }

    /// What the engine reported of a container is in its list from now on.
    fn written(&mut self, id: &ContainerId) {
        if self.unwritten.remove(id) {
            self.to_inspect.remove(id);
            if self.containers_asked.contains(id) {
                self.ports_overtaken.insert(id.clone());
            }
            self.containers_to_ask.insert(id.clone());
            // A listing that is under way may have looked before it was written.
            if let Some(touched) = &mut self.touched {
                touched.containers.insert(id.clone());
            }
        }
    }

    /// Nothing that was said of the container's addresses until now counts any more.
    fn overtake(&mut self, container: &ContainerId) {
        for asked in self.networks_asked.values_mut() {
            asked.overtaken.insert(container.clone());
        }
        for wanted in self.networks_to_ask.values_mut() {
            wanted.remove(container);
        }
        self.waiting.remove(container);
    }

    fn remove_container(&mut self, id: &ContainerId) {
        self.waiting.remove(id);
        self.dying.remove(id);
        self.ended.remove(id);
        self.unwritten.remove(id);
        self.to_inspect.remove(id);
        self.unresolved.remove(id);
        if self.emit(Change::ContainerGone(id.clone())) {
            self.ask_for_sharing_containers();
        }
    }

    /// Stopped containers may still name it, and be started when one of that name is there again.
    fn remove_network(&mut self, id: &NetworkId) {
        let attached = |container: &&Container| container.is_on(id);
        let named_by = self.world.containers.values().filter(attached).map(|container| container.id.clone());
        self.containers_to_ask.extend(named_by);
        self.emit(Change::NetworkGone(id.clone()));
    }

    fn touch(&mut self, event: &Event) {
        let Some(touched) = &mut self.touched else { return };
        match event.subject() {
            Subject::Container(id) => touched.containers.insert(id.clone()),
            Subject::Network(id) => touched.networks.insert(id.clone()),
        };
    }

    fn stir(&mut self, event: &Event) {
        if let Subject::Container(id) = event.subject() {
            let [recent, rested] = &mut self.stirred;
            rested.remove(id);
            recent.insert(id.clone());
        }
    }

    /// Hands a change out if the receiver does not have it already. Returns whether it did.
    fn emit(&mut self, change: Change) -> bool {
        let differs = self.world.apply(change.clone()).is_any();
        if differs {
            self.changes.push(change);
        }
        differs
    }
}

#[cfg(test)]
mod tests;
