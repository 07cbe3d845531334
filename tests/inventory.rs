//! The inventory of a real engine: whatever happens on it, what is followed ends up equal to what is listed anew.

#![expect(clippy::print_stderr, reason = "the measured latency is worth reading")]

mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use dockgate::inventory::{Change, Container, Inventory, Unenforceable, docker, file};
use dockgate::policy::SourceFile;
use futures_util::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use support::lab::IMAGE;
use support::{Engine, Lab};

/// How long a change may take to be seen: far less than the interval at which everything is listed anew, which would hide
/// a lost event.
const PATIENCE: Duration = Duration::from_secs(10);

/// A follower of the laboratory's engine and what it has told.
struct Followed {
    runtime: Runtime,
    client: Docker,
    changes: mpsc::Receiver<Change>,
    inventory: Inventory,
    /// The changes since the last [`Followed::settle`].
    recent: Vec<Change>,
}

impl Followed {
    fn start(lab: &Lab) -> Followed {
        let runtime = Runtime::new().expect("a runtime");
        let client = Docker::connect_with_unix(lab.docker_host(), 10, API_DEFAULT_VERSION).expect("there is a socket");
        let (sender, changes) = mpsc::channel(64);
        runtime.spawn(docker::follow(client.clone(), sender));
        Followed { runtime, client, changes, inventory: Inventory::default(), recent: Vec::new() }
    }

    /// Takes changes until one makes `done` true; panics when none does in time.
    fn until(&mut self, what: &str, done: impl Fn(&Inventory, &Change) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = self.runtime.block_on(async { tokio::time::timeout(left, self.changes.recv()).await });
            let change = next.unwrap_or_else(|_| panic!("{what}: not seen within {PATIENCE:?}; {:#?}", self.recent));
            let change = change.expect("the follower runs as long as its receiver is there");
            self.inventory.apply(change.clone());
            self.recent.push(change.clone());
            if done(&self.inventory, &change) {
                return;
            }
        }
    }

    fn snapshot(&self) -> Inventory {
        self.runtime.block_on(docker::snapshot(&self.client)).expect("the engine answers")
    }

    /// What is followed, without the memory that a listing does not have.
    fn as_listed(&self) -> Inventory {
        let mut inventory = self.inventory.clone();
        let ended = inventory.containers.values_mut().filter(|container| !container.listed);
        ended.for_each(|container| container.published.clear());
        inventory.trust_ports();
        inventory
    }

    /// Takes changes until what is followed is what a new listing shows, and returns the changes since the last time.
    fn settle(&mut self, what: &str) -> Vec<Change> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let quiet = Duration::from_millis(100);
            while let Ok(Some(change)) =
                self.runtime.block_on(async { tokio::time::timeout(quiet, self.changes.recv()).await })
            {
                self.inventory.apply(change.clone());
                self.recent.push(change);
            }
            let truth = self.snapshot();
            if self.as_listed() == truth {
                return std::mem::take(&mut self.recent);
            }
            assert!(
                Instant::now() < deadline,
                "{what}: followed {:#?}\nlisted {truth:#?}\nafter {:#?}",
                self.inventory,
                self.recent
            );
        }
    }

    fn container(&self, name: &str) -> &Container {
        let mut of_name = self.inventory.containers.values().filter(|container| container.name == name);
        of_name.next().unwrap_or_else(|| panic!("{name} is not known"))
    }

    /// Address of a container on a network, by names.
    fn address(&self, container: &str, network: &str) -> Option<IpAddr> {
        let attachment = self.container(container).attachments.iter().find(|attachment| {
            self.inventory.networks.get(&attachment.network).is_some_and(|known| known.name == network)
        });
        attachment.unwrap_or_else(|| panic!("{container} is not on {network}")).ipv4
    }
}

/// The order of events as far as these tests care.
fn story(changes: &[Change]) -> Vec<&'static str> {
    let mut story: Vec<&'static str> = changes
        .iter()
        .map(|change| match change {
            Change::Snapshot(_) => "snapshot",
            Change::Container(_) => "container",
            Change::ContainerGone(_) => "container gone",
            Change::Network(_) => "network",
            Change::NetworkGone(_) => "network gone",
            Change::Attached { .. } => "attached",
            Change::Detached { .. } => "detached",
            Change::Engine(_) => "engine",
            Change::Unreachable(_) => "unreachable",
        })
        .collect();
    story.dedup();
    story
}

/// The story of addresses alone: the list may show a container as running before its address is known, and after it ended.
fn addresses(changes: &[Change]) -> Vec<&'static str> {
    let mut story = story(changes);
    story.retain(|change| *change != "container");
    // A call under way when a container is removed may still find it, and then it is gone twice.
    story.dedup();
    story
}

/// Holds the changes to a story. The regular listing of everything may come in between and tell what the events would have
/// told: then the end alone counts, which `settle` has held to the truth.
fn expect(story: &[&str], expected: &[&str], why: &str) {
    assert!(story == expected || story.contains(&"snapshot"), "{why}: {story:?} instead of {expected:?}");
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_installed_engine_is_followed() {
    eprintln!("{}", follow_an_engine(Engine::Installed));
}

#[test]
fn a_newer_engine_is_followed() {
    eprintln!("{}", follow_an_engine(Engine::Sid));
}

/// Returns what there is to know of the run.
fn follow_an_engine(engine: Engine) -> String {
    let lab = Lab::start(engine);
    let mut followed = Followed::start(&lab);
    followed.until("first listing", |_, change| matches!(change, Change::Snapshot(_)));
    networks_come_with_what_docker_says_of_them(&lab, &mut followed);
    containers_are_known_before_their_addresses(&lab, &mut followed);
    containers_live_and_end(&lab, &mut followed);
    attachments_come_and_go(&lab, &mut followed);
    what_cannot_be_policed_says_why(&lab, &mut followed);
    published_ports_are_seen(&lab, &mut followed);
    a_burst_ends_in_the_truth(&lab, &mut followed);
    let latency = latency_from_event_to_address(&lab, &mut followed);
    networks_go(&lab, &mut followed);
    a_restart_of_the_engine_is_survived(&lab, &mut followed);
    latency
}

fn networks_come_with_what_docker_says_of_them(lab: &Lab, followed: &mut Followed) {
    lab.network("front", &["10.10.1.0/24", "2001:db8:10:1::/64"]);
    lab.docker(&[
        "network",
        "create",
        "--internal",
        "--subnet",
        "10.10.2.0/24",
        "--ip-range",
        "10.10.2.128/25",
        "back",
    ]);
    lab.docker(&["network", "create", "--opt", "com.docker.network.bridge.name=named0", "named"]);
    followed.settle("networks created");
    let by_name: BTreeMap<&str, _> =
        followed.inventory.networks.values().map(|network| (network.name.as_str(), network)).collect();
    let bridge = |name: &str| by_name[name].bridge.as_ref().map(ToString::to_string);
    assert_eq!(bridge("front"), Some(format!("br-{}", &by_name["front"].id.0[..12])));
    assert_eq!(bridge("named").as_deref(), Some("named0"));
    assert_eq!(bridge("bridge").as_deref(), Some("docker0"));
    assert_eq!((bridge("host"), bridge("none")), (None, None));
    assert_eq!((by_name["front"].internal, by_name["back"].internal), (false, true));
    // The host's addresses are what the kernel has on the bridge, whether the engine reports a gateway or not.
    for name in ["front", "back", "named", "bridge"] {
        let bridge = bridge(name).expect("these are bridge networks");
        let configured = lab.run(&["ip", "-brief", "address", "show", "dev", &bridge]);
        let gateways = &by_name[name].gateways;
        assert!(!gateways.is_empty(), "{name}: the kernel has {configured}");
        for gateway in gateways {
            assert!(configured.contains(&format!(" {gateway}/")), "{name}: {gateway} is not among {configured}");
        }
    }
    let subnets: Vec<String> = by_name["front"].subnets.iter().map(ToString::to_string).collect();
    assert!(subnets.contains(&"10.10.1.0/24".to_owned()) && subnets.contains(&"2001:db8:10:1::/64".to_owned()));
}

fn containers_are_known_before_their_addresses(lab: &Lab, followed: &mut Followed) {
    let create = ["create", "--name", "web", "--network", "front", "--label", "app=web", IMAGE, "sleep", "1000000"];
    lab.docker(&create);
    followed.settle("web created");
    assert_eq!(followed.address("web", "front"), None);
    assert_eq!(&*followed.container("web").labels["app"], "web");
    lab.docker(&["start", "web"]);
    let changes = followed.settle("web started");
    let why = "its address is all that was missing, and then that it runs";
    expect(&story(&changes), &["attached", "container"], why);
    let attachment = &followed.container("web").attachments[0];
    assert!(attachment.ipv6.is_some() && attachment.mac.is_some() && !attachment.endpoint_id.is_empty());

    lab.docker(&["run", "--detach", "--name", "api", "--network", "front", IMAGE, "sleep", "1000000"]);
    let changes = followed.settle("api run");
    expect(&story(&changes), &["container", "attached", "container"], "created and started at once");
}

fn containers_live_and_end(lab: &Lab, followed: &mut Followed) {
    let before = followed.address("web", "front");
    lab.docker(&["restart", "--time", "0", "web"]);
    let changes = followed.settle("web restarted");
    expect(&addresses(&changes), &["detached", "attached"], "restarted");

    lab.docker(&["rename", "web", "shop"]);
    followed.settle("web renamed");
    followed.container("shop");

    lab.docker(&["stop", "--time", "0", "shop"]);
    followed.settle("shop stopped");
    assert_eq!(followed.address("shop", "front"), None, "it may be started again");
    lab.docker(&["run", "--detach", "--name", "thief", "--network", "front", IMAGE, "sleep", "1000000"]);
    followed.settle("another container gets the address");
    assert_eq!(followed.address("thief", "front"), before);
    lab.docker(&["start", "shop"]);
    followed.settle("shop started");
    assert_ne!(followed.address("shop", "front"), before);

    lab.docker(&["rm", "--force", "thief"]);
    let changes = followed.settle("thief removed");
    expect(&addresses(&changes), &["detached", "container gone"], "removed");
}

fn attachments_come_and_go(lab: &Lab, followed: &mut Followed) {
    lab.docker(&["network", "connect", "--ip", "10.10.2.77", "back", "shop"]);
    let changes = followed.settle("shop connected while it runs");
    expect(&addresses(&changes), &["attached"], "connected");
    assert_eq!(followed.address("shop", "back"), Some(address("10.10.2.77")));

    lab.docker(&["network", "disconnect", "back", "shop"]);
    let changes = followed.settle("shop disconnected");
    expect(&story(&changes), &["detached", "container"], "disconnected");
    assert_eq!(followed.container("shop").attachments.len(), 1);

    // Docker tells nobody when a container that does not run is connected; its start does.
    lab.docker(&["stop", "--time", "0", "shop"]);
    lab.docker(&["network", "connect", "back", "shop"]);
    lab.docker(&["start", "shop"]);
    followed.settle("shop connected while it was stopped");
    assert!(followed.address("shop", "back").is_some() && followed.address("shop", "front").is_some());
}

fn what_cannot_be_policed_says_why(lab: &Lab, followed: &mut Followed) {
    let run = |name: &str, network: &str| {
        lab.docker(&["run", "--detach", "--name", name, "--network", network, IMAGE, "sleep", "1000000"]);
    };
    run("on-host", "host");
    run("sharing", "container:shop");
    run("alone", "none");
    lab.docker(&["network", "create", "--driver", "macvlan", "--subnet", "10.10.9.0/24", "-o", "parent=ext0", "mac"]);
    run("on-macvlan", "mac");
    followed.settle("containers of other network modes");
    let reasons: BTreeMap<String, Option<Unenforceable>> =
        followed.inventory.endpoints().iter().map(|e| (e.name(), e.unenforceable.clone())).collect();
    let expected = [
        ("api@front", None),
        ("on-host", Some(Unenforceable::HostNetwork)),
        ("on-macvlan@mac", Some(Unenforceable::Driver("macvlan".to_owned()))),
        ("sharing", Some(Unenforceable::SharedWith("shop".to_owned()))),
        ("shop@back", None),
        ("shop@front", None),
    ];
    assert_eq!(reasons, expected.map(|(name, reason)| (name.to_owned(), reason)).into());

    a_written_inventory_reads_as_the_same_world(lab, followed);

    lab.docker(&["rename", "shop", "web"]);
    followed.settle("the container behind a shared endpoint renamed");
    let shared = followed.container("sharing").unenforceable.clone();
    assert_eq!(shared, Some(Unenforceable::SharedWith("web".to_owned())));
    lab.docker(&["rm", "--force", "on-host", "sharing", "alone", "on-macvlan"]);
    lab.docker(&["network", "rm", "mac"]);
    followed.settle("all of them removed");
}

/// What `dockgate get inventory` writes stands for the engine, up to the ids of its endpoints.
fn a_written_inventory_reads_as_the_same_world(lab: &Lab, followed: &Followed) {
    let written = serde_json::to_string_pretty(&file::to_resource(&followed.inventory)).expect("a resource is JSON");
    let (read, diagnostics) = file::load(&SourceFile::new("inventory.json", written.clone()));
    assert_eq!(diagnostics, [], "engine {}: {written}", lab.engine_version());
    let mut expected = followed.inventory.clone();
    for attachment in expected.containers.values_mut().flat_map(|container| &mut container.attachments) {
        attachment.endpoint_id = "".into();
    }
    assert_eq!(read.endpoints(), expected.endpoints(), "{written}");
}

fn published_ports_are_seen(lab: &Lab, followed: &mut Followed) {
    let ports = ["--publish", "127.0.0.1:8080:80", "--publish", "[::1]:5353:53/udp", "--publish", "443"];
    let mut run = vec!["run", "--detach", "--name", "published", "--network", "front"];
    run.extend(ports);
    run.extend([IMAGE, "sleep", "1000000"]);
    lab.docker(&run);
    followed.settle("ports published");
    let published = &followed.container("published").published;
    let fixed: Vec<_> = published
        .iter()
        .map(|port| (port.host_address, port.host_port, port.container_port, port.protocol.number()))
        .collect();
    assert!(fixed.contains(&(Some(address("127.0.0.1")), Some(8080), 80, 6)), "{fixed:?}");
    assert!(fixed.contains(&(Some(address("::1")), Some(5353), 53, 17)), "{fixed:?}");
    let chosen = published.iter().find(|port| port.container_port == 443).and_then(|port| port.host_port);
    assert!(chosen.is_some_and(|port| port > 1023), "{fixed:?}");
    lab.docker(&["rm", "--force", "published"]);
    followed.settle("published removed");
}

fn a_burst_ends_in_the_truth(lab: &Lab, followed: &mut Followed) {
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for number in 0..5 {
                    let name = format!("burst-{worker}-{number}");
                    let network = if number % 2 == 0 { "front" } else { "back" };
                    lab.docker(&["run", "--detach", "--name", &name, "--network", network, IMAGE, "sleep", "1000000"]);
                    // Most addresses are used by several containers one after the other.
                    if number != 4 {
                        lab.docker(&["rm", "--force", &name]);
                    }
                }
            });
        }
    });
    followed.settle("20 containers created, 16 of them removed");
    let left: Vec<String> = (0..4).map(|worker| format!("burst-{worker}-4")).collect();
    for name in &left {
        assert!(followed.address(name, "front").is_some());
    }
    let mut remove = vec!["rm", "--force"];
    remove.extend(left.iter().map(String::as_str));
    lab.docker(&remove);
    followed.settle("the rest of the burst removed");
}

/// Says how long it takes from the engine's `network connect` until the address has arrived. The engine leaves 15 ms until
/// the first packet in its newest version.
fn latency_from_event_to_address(lab: &Lab, followed: &mut Followed) -> String {
    let client = followed.client.clone();
    let events = followed.runtime.spawn(async move {
        let connects = |message: &EventMessage| {
            message.typ == Some(EventMessageTypeEnum::NETWORK) && message.action.as_deref() == Some("connect")
        };
        let events = client.events(None::<EventsOptions>).try_filter(move |m| std::future::ready(connects(m)));
        let times = events.map_ok(|message| u64::try_from(message.time_nano.unwrap_or_default()).unwrap_or_default());
        times.take(10).try_collect::<Vec<u64>>().await
    });
    let mut arrived = Vec::new();
    for number in 0..10 {
        let name = format!("timed-{number}");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lab.docker(&["run", "--detach", "--name", &name, "--network", "front", IMAGE, "sleep", "1000000"]);
            });
            followed.until("timed", |_, change| matches!(change, Change::Attached { .. }));
            arrived.push(SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos());
        });
        lab.docker(&["rm", "--force", &name]);
        followed.settle("timed removed");
    }
    let events = followed.runtime.block_on(events).expect("the task ends").expect("the engine reports");
    let mut latencies: Vec<Duration> = arrived
        .iter()
        .zip(events)
        .map(|(arrived, event)| {
            let nanoseconds = arrived.saturating_sub(u128::from(event));
            Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
        })
        .collect();
    latencies.sort();
    let summary = format!(
        "engine {}: from `network connect` to the address: min {:.1?}, median {:.1?}, max {:.1?}",
        lab.engine_version(),
        latencies[0],
        latencies[latencies.len() / 2],
        latencies[latencies.len() - 1]
    );
    // A call that waits until the container runs takes longer on every engine.
    assert!(latencies[latencies.len() / 2] < Duration::from_millis(100), "{latencies:?}");
    summary
}

fn networks_go(lab: &Lab, followed: &mut Followed) {
    lab.docker(&["network", "rm", "named"]);
    let changes = followed.settle("a network removed");
    expect(&story(&changes), &["network gone"], "a network removed");

    lab.docker(&["stop", "--time", "0", "web"]);
    lab.docker(&["network", "rm", "back"]);
    followed.settle("a network removed that a stopped container names");
    assert_eq!(followed.container("web").attachments.len(), 1);
    lab.docker(&["network", "create", "back"]);
    followed.settle("a network of that name created anew");
    lab.docker(&["rm", "web"]);
    followed.settle("web removed");
}

fn a_restart_of_the_engine_is_survived(lab: &Lab, followed: &mut Followed) {
    let always = ["run", "--detach", "--restart", "always", "--name", "steady", "--network", "front"];
    lab.docker(&[&always[..], &[IMAGE, "sleep", "1000000"]].concat());
    followed.settle("steady run");
    lab.restart_engine();
    followed.until("the engine is away", |_, change| matches!(change, Change::Unreachable(_)));
    assert!(!followed.inventory.containers.is_empty(), "what is known stays");
    followed.until("the engine is back", |_, change| matches!(change, Change::Snapshot(_)));
    followed.settle("the engine has started its containers again");
    assert!(followed.address("steady", "front").is_some());
    lab.docker(&["run", "--detach", "--name", "late", "--network", "front", IMAGE, "sleep", "1000000"]);
    followed.settle("followed as before");
    assert!(followed.address("late", "front").is_some());
}
