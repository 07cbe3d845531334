//! The tracker against a small engine. Between event, call and answer every delay is possible, which a real engine shows
//! once in a thousand starts.

mod engine;

use std::net::{IpAddr, Ipv4Addr};

use bollard::models::EventActor;
use proptest::prelude::*;

use self::engine::{Engine, container_id, network_id};
use super::*;

/// A tracker with its engine and a receiver that takes every change.
struct Scene {
    engine: Engine,
    tracker: Tracker,
    received: Inventory,
    changes: Vec<Change>,
    /// Answers that the engine has given and that have not arrived.
    under_way: Vec<Answer>,
    listing: Option<Listing>,
    /// Inspections that the engine has not answered.
    inspections: Vec<ContainerId>,
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
            inspections: Vec::new(),
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

    /// Begins an inspection.
    fn inspect(&mut self) -> bool {
        let next = self.tracker.next_inspection();
        self.inspections.extend(next.clone());
        next.is_some()
    }

    /// Ends one. The engine answers when what it did with the container is written.
    fn inspected(&mut self, index: usize, answered: bool) -> bool {
        if self.inspections.is_empty() {
            return false;
        }
        let id = self.inspections.remove(index % self.inspections.len());
        if answered {
            self.engine.write(&id.0);
        }
        self.tracker.inspection_ended(&id, answered);
        self.receive();
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
            if !(self.event() | self.call() | self.arrive(0) | self.inspect() | self.inspected(0, true)) {
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
        let truth = self.engine.listing().assemble(&mut Texts::default()).inventory;
        assert_eq!(self.received.networks, truth.networks);
        let mut received = self.received.containers.clone();
        // The ports of an earlier run are remembered.
        received.values_mut().filter(|container| !container.listed).for_each(|container| container.published.clear());
        assert_eq!(received, truth.containers);
    }

    /// Panics when the receiver takes ports for a container's that are not, although all events about it have arrived.
    fn expect_no_ports_of_another_run(&self) {
        for container in self.received.containers.values().filter(|container| container.listed) {
            let id = &container.id;
            let is_told =
                !self.engine.log.iter().any(|event| matches!(event.subject(), Subject::Container(of) if of == id));
            let port = self.engine.containers.get(&*id.0).map(|process| process.port);
            assert!(
                !is_told || container.published.iter().all(|published| published.host_port == port),
                "{container:?}"
            );
        }
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
    scene.tracker.answer(Answer::Containers(ids, Listed::of(lagging).into_iter().collect()));
    assert!(scene.inspect());
    scene.inspected(0, false);
    scene.come_to_rest();
    assert_eq!(scene.received.containers[&container_id("a")].attachments.len(), 1);
    scene.settle();
    scene.expect_engines_truth();
}

#[test]
fn a_listing_from_before_an_inspection_says_nothing_of_ports() {
    let mut scene = Scene::new(Engine::with(&["n", "m"], &[]));
    scene.engine.create("a", &["n", "m"]);
    scene.engine.start("a");
    scene.settle();
    scene.engine.detach("a", "n");
    while scene.event() {}
    scene.tracker.tick();
    scene.tracker.tick();
    scene.begin_listing();
    assert!(scene.inspect());
    scene.inspected(0, true);
    scene.end_listing();
    scene.expect_no_ports_of_another_run();
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
fn a_network_of_a_swarm_is_known_while_a_container_is_on_it() {
    let mut scene = Scene::new(Engine::with(&["swarm"], &["a"]));
    let is_known = |scene: &Scene| scene.received.networks.contains_key(&network_id("swarm"));
    assert!(!is_known(&scene), "the list says what the swarm has noted");
    scene.tracker.event(Event::NetworkCreated(network_id("swarm")));
    scene.settle();
    assert!(!is_known(&scene), "and so does the answer to the swarm's own event");
    for round in 0..2 {
        scene.engine.start("a");
        scene.settle();
        assert!(is_known(&scene) && scene.address("a", "swarm").is_some(), "round {round}");
        scene.expect_engines_truth();
        scene.engine.stop("a");
        scene.settle();
        assert!(!is_known(&scene), "round {round}");
        scene.expect_engines_truth();
    }
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
fn a_listing_forgets_who_was_removed_without_an_event() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    scene.engine.start("a");
    scene.settle();
    scene.engine.stop("a");
    scene.settle();
    assert!(scene.tracker.ended.contains(&container_id("a")));
    scene.engine.remove("a");
    scene.engine.log.clear();
    scene.begin_listing();
    scene.end_listing();
    assert!(scene.tracker.ended.is_empty() && scene.tracker.dying.is_empty());
}

#[test]
fn ports_of_an_earlier_run_are_not_taken_for_those_of_the_present_one() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    let ports = |scene: &Scene| {
        let container = &scene.received.containers[&container_id("a")];
        (container.listed, container.published.first().and_then(|port| port.host_port))
    };
    scene.engine.start("a");
    scene.settle();
    assert_eq!(ports(&scene), (true, Some(1)));
    scene.tracker.event(Event::ContainerChanged(container_id("a")));
    let call = scene.tracker.next_call().expect("a is asked for");
    let answer = scene.engine.answer(call);
    scene.engine.stop("a");
    scene.engine.start("a");
    while scene.event() {}
    scene.tracker.answer(answer);
    scene.receive();
    assert_eq!(ports(&scene), (false, Some(1)), "the answer is about the run before");
    scene.come_to_rest();
    assert_eq!(ports(&scene), (true, Some(2)));

    // A running container that is attached to one more network can get other ports by that, and no start tells.
    scene.engine.create_network("m");
    scene.settle();
    scene.engine.attach("a", "m");
    while scene.event() {}
    assert!(!ports(&scene).0);
    scene.come_to_rest();
    assert_eq!(ports(&scene), (true, Some(3)));
}

#[test]
fn ports_count_when_a_change_of_networks_is_in_the_list() {
    for (name, change) in [
        ("connect", Engine::attach as fn(&mut Engine, &str, &str)),
        ("disconnect", |engine, id, _| engine.detach(id, "n")),
    ] {
        let mut scene = Scene::new(Engine::with(&["n", "m"], &[]));
        scene.engine.create("a", &["n"]);
        scene.engine.start("a");
        scene.settle();
        let ports = |scene: &Scene| {
            let container = &scene.received.containers[&container_id("a")];
            (container.listed, container.published.first().and_then(|port| port.host_port))
        };
        assert_eq!(ports(&scene), (true, Some(1)), "{name}");
        change(&mut scene.engine, "a", "m");
        while scene.event() | scene.call() | scene.arrive(0) {}
        assert_eq!(ports(&scene), (false, Some(1)), "{name}: the list shows what was");
        assert!(scene.inspect(), "{name}");
        scene.inspected(0, false);
        while scene.call() | scene.arrive(0) {}
        assert!(!ports(&scene).0, "{name}: the engine did not answer");
        scene.tracker.tick();
        scene.tracker.tick();
        scene.come_to_rest();
        assert_eq!(ports(&scene), (true, Some(2)), "{name}");
    }
}

#[test]
fn a_container_that_is_being_started_is_not_inspected() {
    let mut scene = Scene::new(Engine::with(&["n"], &["a"]));
    scene.engine.start("a");
    while scene.event() | scene.call() | scene.arrive(0) {
        assert_eq!(scene.tracker.next_inspection(), None);
    }
    scene.engine.stop("a");
    scene.engine.start("a");
    while scene.event() | scene.call() | scene.arrive(0) {
        assert_eq!(scene.tracker.next_inspection(), None);
    }
    scene.tracker.tick();
    scene.tracker.tick();
    assert_eq!(scene.tracker.next_inspection(), None);
    assert!(scene.received.containers[&container_id("a")].listed);
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
    let network = || NetworkId("id".into());
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
const NETWORKS: [&str; 3] = ["m", "n", "swarm"];

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
    Inspect,
    EndInspection(usize, bool),
    Write(usize),
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
        1 => c.clone().prop_map(Step::Remove),
        2 => c.prop_map(Step::Write),
        1 => n.clone().prop_map(Step::CreateNetwork),
        1 => n.prop_map(Step::RemoveNetwork),
        8 => Just(Step::DeliverEvent),
        6 => Just(Step::MakeCall),
        6 => (0..4_usize).prop_map(Step::DeliverAnswer),
        2 => Just(Step::Inspect),
        2 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(index, answered)| Step::EndInspection(index, answered)),
        2 => Just(Step::Tick),
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
            Step::Inspect => drop(self.inspect()),
            Step::EndInspection(index, answered) => drop(self.inspected(index, answered)),
            Step::Write(c) => engine.write(CONTAINERS[c]),
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
            scene.expect_no_ports_of_another_run();
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
