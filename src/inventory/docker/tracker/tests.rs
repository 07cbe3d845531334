//! The tracker against a small engine of plain values: it logs events as Docker does, and answers calls from its state at
//! the moment a test says. Between event, call and answer every delay is possible, which a real engine shows once in a
//! thousand starts.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{
    ContainerSummaryHostConfig, ContainerSummaryNetworkSettings, ContainerSummaryStateEnum, EndpointResource,
    EndpointSettings, EventActor,
};
use proptest::prelude::*;

use super::*;

/// A container of the small engine.
#[derive(Clone, Default)]
struct Process {
    name: String,
    running: bool,
    /// Network and, while it runs, endpoint id and address.
    networks: BTreeMap<String, Option<(String, u8)>>,
}

#[derive(Default)]
struct Engine {
    networks: BTreeMap<String, String>,
    containers: BTreeMap<String, Process>,
    log: VecDeque<Event>,
    endpoints: u32,
    names: u32,
}

fn container_id(id: &str) -> ContainerId {
    ContainerId(id.to_owned())
}

fn network_id(id: &str) -> NetworkId {
    NetworkId(format!("{id}-0123456789ab"))
}

impl Engine {
    fn with(networks: &[&str], containers: &[&str]) -> Engine {
        let mut engine = Engine::default();
        for network in networks {
            engine.create_network(network);
        }
        for container in containers {
            engine.create(container, networks);
        }
        engine.log.clear();
        engine
    }

    fn create_network(&mut self, id: &str) {
        if self.networks.insert(id.to_owned(), format!("{id}-name")).is_none() {
            self.log.push_back(Event::NetworkCreated(network_id(id)));
        }
    }

    /// Docker refuses to remove a network that has endpoints.
    fn remove_network(&mut self, id: &str) {
        let used = self.containers.values().any(|c| c.networks.get(id).is_some_and(Option::is_some));
        if !used && self.networks.remove(id).is_some() {
            self.log.push_back(Event::NetworkDestroyed(network_id(id)));
        }
    }

    fn create(&mut self, id: &str, networks: &[&str]) {
        let networks: BTreeMap<_, _> = networks
            .iter()
            .filter(|network| self.networks.contains_key(**network))
            .map(|network| ((*network).to_owned(), None))
            .collect();
        self.containers.entry(id.to_owned()).or_insert_with(|| {
            self.log.push_back(Event::ContainerChanged(container_id(id)));
            Process { name: id.to_owned(), running: false, networks }
        });
    }

    /// The lowest free address, as Docker does it.
    fn connect(&mut self, id: &str, network: &str) {
        let taken: BTreeSet<u8> = self
            .containers
            .values()
            .filter_map(|container| Some(container.networks.get(network)?.as_ref()?.1))
            .collect();
        let free = (2..=254).find(|byte| !taken.contains(byte)).expect("fewer than 253 containers");
        self.endpoints += 1;
        let endpoint = Some((format!("endpoint-{}", self.endpoints), free));
        self.containers.get_mut(id).expect("a container").networks.insert(network.to_owned(), endpoint);
        self.log.push_back(Event::Connected { container: container_id(id), network: network_id(network) });
    }

    fn start(&mut self, id: &str) {
        let Some(container) = self.containers.get(id).filter(|container| !container.running) else { return };
        let networks: Vec<String> = container.networks.keys().cloned().collect();
        if networks.iter().any(|network| !self.networks.contains_key(network)) {
            return;
        }
        for network in networks {
            self.connect(id, &network);
        }
        self.containers.get_mut(id).expect("a container").running = true;
        self.log.push_back(Event::ContainerChanged(container_id(id)));
    }

    /// Docker reports `die` before it gives the addresses back, and then each `disconnect`.
    fn stop(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.running) else { return };
        container.running = false;
        self.log.push_back(Event::ContainerDied(container_id(id)));
        for (network, endpoint) in &mut container.networks {
            *endpoint = None;
            self.log.push_back(Event::Disconnected { container: container_id(id), network: network_id(network) });
        }
    }

    fn attach(&mut self, id: &str, network: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.networks.contains_key(network) || !self.networks.contains_key(network) {
            return;
        }
        if container.running {
            self.connect(id, network);
        } else {
            // Docker reports nothing here; the test engine does, because only a listing repairs it otherwise.
            container.networks.insert(network.to_owned(), None);
            self.log.push_back(Event::ContainerChanged(container_id(id)));
        }
    }

    /// Docker reports it twice.
    fn detach(&mut self, id: &str, network: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.networks.remove(network).is_some() {
            let event = Event::Disconnected { container: container_id(id), network: network_id(network) };
            self.log.extend([event.clone(), event]);
        }
    }

    fn rename(&mut self, id: &str) {
        self.names += 1;
        if let Some(container) = self.containers.get_mut(id) {
            container.name = format!("{id}-{}", self.names);
            self.log.push_back(Event::ContainerChanged(container_id(id)));
        }
    }

    fn remove(&mut self, id: &str) {
        self.stop(id);
        if self.containers.remove(id).is_some() {
            self.log.push_back(Event::ContainerDestroyed(container_id(id)));
        }
    }

    fn inspect(&self, id: &str) -> Option<NetworkInspect> {
        let name = self.networks.get(id)?.clone();
        let endpoint = |container: &Process| {
            let (endpoint, byte) = container.networks.get(id)?.clone()?;
            Some(EndpointResource {
                endpoint_id: Some(endpoint),
                ipv4_address: Some(format!("10.0.0.{byte}/24")),
                ..EndpointResource::default()
            })
        };
        let containers =
            self.containers.iter().filter_map(|(id, container)| Some((id.clone(), endpoint(container)?))).collect();
        Some(NetworkInspect {
            id: Some(network_id(id).0),
            name: Some(name),
            driver: Some("bridge".to_owned()),
            containers: Some(containers),
            ..NetworkInspect::default()
        })
    }

    fn summary(&self, id: &str) -> Option<ContainerSummary> {
        let container = self.containers.get(id)?;
        let networks: HashMap<_, _> =
            container.networks.keys().map(|network| (format!("{network}-name"), EndpointSettings::default())).collect();
        let state =
            if container.running { ContainerSummaryStateEnum::RUNNING } else { ContainerSummaryStateEnum::EXITED };
        Some(ContainerSummary {
            id: Some(id.to_owned()),
            names: Some(vec![format!("/{}", container.name)]),
            state: Some(state),
            host_config: Some(ContainerSummaryHostConfig::default()),
            network_settings: Some(ContainerSummaryNetworkSettings { networks: Some(networks) }),
            ..ContainerSummary::default()
        })
    }

    fn listing(&self) -> Listing {
        Listing {
            networks: self.networks.keys().filter_map(|id| self.inspect(id)).collect(),
            containers: self.containers.keys().filter_map(|id| self.summary(id)).collect(),
        }
    }

    fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Network(id) => {
                let found = self.inspect(id.0.trim_end_matches("-0123456789ab")).map(Box::new);
                Answer::Network(id, found)
            }
            Call::Containers(ids) => {
                let found = ids.iter().filter_map(|id| self.summary(&id.0)).collect();
                Answer::Containers(ids, found)
            }
        }
    }
}

/// A tracker with its engine and a receiver that takes every change.
struct Scene {
    engine: Engine,
    tracker: Tracker,
    received: Inventory,
    changes: Vec<Change>,
    /// Answers that the engine has given and that have not arrived.
    under_way: Vec<Answer>,
    listing: Option<Listing>,
}

impl Scene {
    fn new(engine: Engine) -> Scene {
        let tracker = Tracker::new(engine.listing());
        let mut scene = Scene {
            engine,
            tracker,
            received: Inventory::default(),
            changes: Vec::new(),
            under_way: Vec::new(),
            listing: None,
        };
        scene.receive();
        scene.changes.clear();
        scene
    }

    fn receive(&mut self) {
        for change in self.tracker.take_changes() {
            self.received.apply(change.clone());
            self.changes.push(change);
        }
        assert_eq!(self.received.containers, self.tracker.world.containers, "the receiver has what the tracker thinks");
    }

    /// Delivers one event.
    fn event(&mut self) -> bool {
        let Some(event) = self.engine.log.pop_front() else { return false };
        self.tracker.event(event);
        self.receive();
        true
    }

    /// Makes one call, answered from the engine's present state.
    fn call(&mut self) -> bool {
        let Some(call) = self.tracker.next_call() else { return false };
        self.under_way.push(self.engine.answer(call));
        true
    }

    /// Delivers one answer.
    fn arrive(&mut self, index: usize) -> bool {
        if self.under_way.is_empty() {
            return false;
        }
        let answer = self.under_way.remove(index % self.under_way.len());
        self.tracker.answer(answer);
        self.receive();
        true
    }

    fn begin_listing(&mut self) {
        if self.listing.is_none() {
            self.tracker.listing_begins();
            self.listing = Some(self.engine.listing());
        }
    }

    fn end_listing(&mut self) {
        if let Some(listing) = self.listing.take() {
            self.tracker.listing(listing);
            self.receive();
        }
    }

    /// Delivers everything that is under way until nothing is.
    fn settle(&mut self) {
        self.end_listing();
        for _ in 0..3 {
            self.come_to_rest();
            self.tracker.tick();
        }
    }

    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            if !(self.event() | self.call() | self.arrive(0)) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn address(&self, container: &str, network: &str) -> Option<IpAddr> {
        let attachments = &self.received.containers.get(&container_id(container))?.attachments;
        attachments.iter().find(|attachment| attachment.network == network_id(network))?.ipv4
    }

    fn expect_engines_truth(&self) {
        let truth = self.engine.listing().assemble().inventory;
        assert_eq!(self.received.networks, truth.networks);
        assert_eq!(self.received.containers, truth.containers);
    }
}

fn ipv4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

#[test]
fn a_known_container_needs_one_call_from_connect_to_attached() {
    let mut scene = Scene::new(Engine::with(&["n"], &[]));
    scene.engine.create("a", &["n"]);
    scene.settle();
    assert!(scene.received.containers[&container_id("a")].attachments[0].is_pending(), "its class is known already");
    scene.changes.clear();
    scene.engine.start("a");
    assert!(scene.event(), "connect");
    assert_eq!(scene.tracker.next_call(), Some(Call::Network(network_id("n"))));
    let answer = scene.engine.answer(Call::Network(network_id("n")));
    scene.tracker.answer(answer);
    scene.receive();
    assert!(matches!(scene.changes.as_slice(), [Change::Attached { .. }]), "{:?}", scene.changes);
    assert_eq!(scene.address("a", "n"), Some(ipv4(2)));
}

#[test]
fn an_answer_does_not_bring_back_what_ended_after_its_call() {
    for (name, end) in [
        ("stopped", Engine::stop as fn(&mut Engine, &str)),
        ("removed", Engine::remove),
        ("disconnected", |engine, id| engine.detach(id, "n")),
    ] {
        let mut scene = Scene::new(Engine::with(&["n"], &["a", "b"]));
        scene.engine.start("a");
        scene.event();
        assert!(scene.call(), "{name}: asked for a's address");
        end(&mut scene.engine, "a");
        scene.engine.start("b");
        while scene.event() {}
        scene.arrive(0);
        assert_eq!(scene.address("a", "n"), None, "{name}: a's address is b's now");
        scene.settle();
        assert_eq!(scene.address("b", "n"), Some(ipv4(2)), "{name}");
        scene.expect_engines_truth();
    }
}

#[test]
fn a_restart_between_call_and_answer_is_asked_again() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a", "b"]));
    scene.engine.start("a");
    scene.event();
    scene.call();
    scene.engine.stop("a");
    scene.engine.start("b");
    scene.engine.start("a");
    while scene.event() {}
    scene.arrive(0);
    assert_eq!(scene.address("a", "n"), None);
    scene.settle();
    assert_eq!((scene.address("a", "n"), scene.address("b", "n")), (Some(ipv4(3)), Some(ipv4(2))));
}

#[test]
fn one_answer_serves_containers_that_were_attached_after_its_call() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a", "b"]));
    scene.engine.start("a");
    scene.event();
    let call = scene.tracker.next_call().expect("a's address is asked for");
    scene.engine.start("b");
    while scene.event() {}
    let answer = scene.engine.answer(call);
    scene.tracker.answer(answer);
    scene.receive();
    assert_eq!((scene.address("a", "n"), scene.address("b", "n")), (Some(ipv4(2)), Some(ipv4(3))));
}

#[test]
fn an_address_that_comes_before_its_container_waits_for_it() {
    let mut scene = Scene::new(Engine::with(&["n"], &[]));
    scene.engine.create("a", &["n"]);
    scene.engine.start("a");
    scene.engine.log.pop_front();
    assert!(scene.event(), "connect without a create");
    let network = scene.tracker.next_call().expect("a call");
    let labels = scene.tracker.next_call().expect("a second call");
    assert_eq!(labels, Call::Containers(BTreeSet::from([container_id("a")])));
    scene.tracker.answer(scene.engine.answer(network));
    scene.tracker.answer(scene.engine.answer(labels));
    scene.receive();
    assert_eq!(scene.address("a", "n"), Some(ipv4(2)));
    assert_eq!(scene.changes.len(), 1, "{:?}", scene.changes);
}

#[test]
fn what_is_gone_already_is_no_error() {
    let mut scene = Scene::new(Engine::with(&["n"], &[]));
    for event in [
        Event::ContainerChanged(container_id("z")),
        Event::Connected { container: container_id("z"), network: network_id("n") },
        Event::Connected { container: container_id("z"), network: network_id("gone") },
        Event::Disconnected { container: container_id("z"), network: network_id("gone") },
        Event::ContainerDied(container_id("z")),
        Event::ContainerDestroyed(container_id("z")),
        Event::NetworkCreated(network_id("gone")),
        Event::NetworkDestroyed(network_id("gone")),
    ] {
        scene.engine.log.push_back(event);
    }
    scene.settle();
    assert_eq!(scene.changes, []);
}

#[test]
fn a_late_end_of_an_earlier_attachment_is_healed() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    scene.engine.start("a");
    scene.settle();
    scene.engine.log.push_back(Event::Disconnected { container: container_id("a"), network: network_id("n") });
    scene.event();
    assert_eq!(scene.address("a", "n"), None, "closed until it is known better");
    scene.settle();
    assert_eq!(scene.address("a", "n"), Some(ipv4(2)));
}

#[test]
fn a_list_that_lags_behind_an_event_is_asked_again() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    scene.engine.start("a");
    scene.settle();
    let lagging = scene.engine.summary("a").expect("a is there");
    scene.engine.detach("a", "n");
    while scene.event() {}
    let Some(Call::Containers(ids)) = scene.tracker.next_call() else { panic!("a is asked for") };
    scene.tracker.answer(Answer::Containers(ids, vec![lagging]));
    scene.come_to_rest();
    assert_eq!(scene.received.containers[&container_id("a")].attachments.len(), 1);
    scene.settle();
    scene.expect_engines_truth();
}

#[test]
fn a_dying_container_is_not_attached_again_while_docker_still_shows_it() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    scene.engine.start("a");
    scene.settle();
    scene.changes.clear();
    scene.tracker.event(Event::ContainerDied(container_id("a")));
    scene.settle();
    scene.engine.stop("a");
    scene.settle();
    assert!(matches!(scene.changes.as_slice(), [Change::Detached { .. }]), "{:?}", scene.changes);
}

#[test]
fn a_container_comes_back_to_a_network_that_was_made_anew() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    scene.engine.remove_network("n");
    scene.settle();
    assert!(scene.received.containers[&container_id("a")].attachments.is_empty());
    scene.engine.create_network("n");
    scene.settle();
    assert!(scene.received.containers[&container_id("a")].attachments[0].is_pending());
    scene.expect_engines_truth();
}

#[test]
fn a_listing_repairs_lost_events_and_leaves_newer_ones_alone() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a", "b"]));
    scene.engine.start("a");
    scene.engine.log.clear();
    scene.begin_listing();
    scene.engine.start("b");
    while scene.event() || scene.call() || scene.arrive(0) {}
    assert_eq!(scene.address("b", "n"), Some(ipv4(3)));
    scene.end_listing();
    assert_eq!((scene.address("a", "n"), scene.address("b", "n")), (Some(ipv4(2)), Some(ipv4(3))));
    scene.changes.clear();
    scene.begin_listing();
    scene.end_listing();
    assert_eq!(scene.changes, [], "nothing was lost this time");
}

#[test]
fn messages_are_read_by_type_and_action() {
    let message = |typ, action: &str, attributes: &[(&str, &str)]| EventMessage {
        typ: Some(typ),
        action: Some(action.to_owned()),
        actor: Some(EventActor {
            id: Some("id".to_owned()),
            attributes: Some(attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        }),
        ..EventMessage::default()
    };
    let container = || container_id("id");
    let network = || NetworkId("id".to_owned());
    let rows = [
        (EventMessageTypeEnum::CONTAINER, "create", Some(Event::ContainerChanged(container()))),
        (EventMessageTypeEnum::CONTAINER, "start", Some(Event::ContainerChanged(container()))),
        (EventMessageTypeEnum::CONTAINER, "die", Some(Event::ContainerDied(container()))),
        (EventMessageTypeEnum::CONTAINER, "destroy", Some(Event::ContainerDestroyed(container()))),
        (EventMessageTypeEnum::CONTAINER, "exec_start: sh", None),
        (EventMessageTypeEnum::NETWORK, "create", Some(Event::NetworkCreated(network()))),
        (EventMessageTypeEnum::NETWORK, "remove", Some(Event::NetworkDestroyed(network()))),
        (EventMessageTypeEnum::NETWORK, "connect", None),
        (EventMessageTypeEnum::VOLUME, "create", None),
    ];
    for (typ, action, expected) in rows {
        assert_eq!(Event::read(message(typ, action, &[])), expected, "{typ:?} {action}");
    }
    let connected = Event::read(message(EventMessageTypeEnum::NETWORK, "connect", &[("container", "c")]));
    assert_eq!(connected, Some(Event::Connected { container: container_id("c"), network: network() }));
}

const CONTAINERS: [&str; 4] = ["a", "b", "c", "d"];
const NETWORKS: [&str; 2] = ["m", "n"];

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Create(usize, usize),
    Start(usize),
    Stop(usize),
    Attach(usize, usize),
    Detach(usize, usize),
    Rename(usize),
    Remove(usize),
    CreateNetwork(usize),
    RemoveNetwork(usize),
    DeliverEvent,
    MakeCall,
    DeliverAnswer(usize),
    Tick,
    BeginListing,
    EndListing,
}

fn step() -> impl Strategy<Value = Step> {
    let (c, n) = (0..CONTAINERS.len(), 0..NETWORKS.len());
    prop_oneof![
        2 => (c.clone(), n.clone()).prop_map(|(c, n)| Step::Create(c, n)),
        3 => c.clone().prop_map(Step::Start),
        2 => c.clone().prop_map(Step::Stop),
        1 => (c.clone(), n.clone()).prop_map(|(c, n)| Step::Attach(c, n)),
        1 => (c.clone(), n.clone()).prop_map(|(c, n)| Step::Detach(c, n)),
        1 => c.clone().prop_map(Step::Rename),
        1 => c.prop_map(Step::Remove),
        1 => n.clone().prop_map(Step::CreateNetwork),
        1 => n.prop_map(Step::RemoveNetwork),
        8 => Just(Step::DeliverEvent),
        6 => Just(Step::MakeCall),
        6 => (0..4_usize).prop_map(Step::DeliverAnswer),
        1 => Just(Step::Tick),
        1 => Just(Step::BeginListing),
        1 => Just(Step::EndListing),
    ]
}

impl Scene {
    fn step(&mut self, step: &Step) {
        let engine = &mut self.engine;
        match *step {
            Step::Create(c, n) => engine.create(CONTAINERS[c], &NETWORKS[n..]),
            Step::Start(c) => engine.start(CONTAINERS[c]),
            Step::Stop(c) => engine.stop(CONTAINERS[c]),
            Step::Attach(c, n) => engine.attach(CONTAINERS[c], NETWORKS[n]),
            Step::Detach(c, n) => engine.detach(CONTAINERS[c], NETWORKS[n]),
            Step::Rename(c) => engine.rename(CONTAINERS[c]),
            Step::Remove(c) => engine.remove(CONTAINERS[c]),
            Step::CreateNetwork(n) => engine.create_network(NETWORKS[n]),
            Step::RemoveNetwork(n) => engine.remove_network(NETWORKS[n]),
            Step::DeliverEvent => drop(self.event()),
            Step::MakeCall => drop(self.call()),
            Step::DeliverAnswer(index) => drop(self.arrive(index)),
            Step::Tick => self.tracker.tick(),
            Step::BeginListing => self.begin_listing(),
            Step::EndListing => self.end_listing(),
        }
    }
}

proptest! {
    /// Whatever the delays: once everything has arrived, the receiver has the engine's truth; and while it has not, no two
    /// containers hold one address of a network.
    #[test]
    fn every_interleaving_ends_in_the_engines_truth(steps in prop::collection::vec(step(), 1..120)) {
        let mut scene = Scene::new(Engine::with(&NETWORKS, &CONTAINERS));
        for step in &steps {
            scene.step(step);
            let mut held = BTreeSet::new();
            for attachment in scene.received.containers.values().flat_map(|container| &container.attachments) {
                if let Some(address) = attachment.ipv4 {
                    prop_assert!(held.insert((attachment.network.clone(), address)), "{address} is held twice");
                }
            }
        }
        scene.settle();
        scene.expect_engines_truth();
    }
}
