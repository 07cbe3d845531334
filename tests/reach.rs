//! What `reach` says of whole worlds is what `verdict` says of each packet.
//!
//! Worlds are generated policies on generated inventories. In each, pairs of parties are drawn, and for every service the
//! ports at which the answer may change and some others; each is asked of `verdict` by the very addresses of the two, with
//! nothing taken from others of their class. `DOCKGATE_REACH_WORLDS` (default 1000) and `DOCKGATE_REACH_SEED` (default 0)
//! choose the worlds.

#![expect(clippy::print_stdout, reason = "how much was compared belongs to the output of the test")]

#[path = "support/policies.rs"]
mod policies;
#[path = "support/worlds.rs"]
mod worlds;

use std::collections::BTreeSet;
use std::num::NonZero;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::inventory::Inventory;
use dockgate::net::Family;
use dockgate::policy::{SourceFile, load};
use dockgate::reach::{Party, Reach, Service, Via};
use dockgate::verdict::path::{End, Finder, Route, Traffic};
use dockgate::verdict::{Decision, evaluate};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use policies::policies;
use worlds::inventory;

/// Pairs that are drawn in each world.
const PAIRS: usize = 25;
/// The port from which everything is sent.
const SOURCE: u16 = 49_152;

/// Runs something for every world, on all processors; gives its sums.
fn for_every_world(check: impl Fn(u64) -> (usize, usize) + Sync) -> (usize, usize) {
    let worlds = number("DOCKGATE_REACH_WORLDS", 1000);
    let first = number("DOCKGATE_REACH_SEED", 0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let check = &check;
    let share = |thread: usize| {
        let seeds = (first..first + worlds).skip(thread).step_by(threads);
        seeds.map(check).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
    };
    let tallies: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that failed has said why")).collect()
    });
    println!("{worlds} worlds from seed {first}");
    tallies.into_iter().fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// How a flow can go, by which network, and what becomes of it.
type Answers = BTreeSet<(Via, Family, Option<String>, Decision)>;

fn end(reach: &Reach<'_>, party: Party) -> End {
    match party {
        Party::Container(index) => End::Container { container: reach.containers()[index].id.clone(), network: None },
        Party::Host => End::Host(None),
        Party::Outside(index) => End::Address(reach.outside()[index].last),
    }
}

/// What `verdict` says of one port, or of a ping.
fn asked(world: &Inventory, compiled: &Compiled, from: &End, to: &End, traffic: Traffic) -> Answers {
    let Ok(paths) = Finder::new(world).paths(from, to, traffic, &Family::ALL) else { return Answers::new() };
    let port = match traffic {
        Traffic::Ports { protocol, destination, .. } => Some((protocol, destination)),
        Traffic::EchoRequest => None,
    };
    let mut answers = Answers::new();
    for path in paths.judged.iter().filter(|path| path.route.closed_by_docker().is_none()) {
        let family = path.family();
        let decision = evaluate(&compiled.ruleset, &path.packet).decision;
        let receiver = path.destination.as_ref().filter(|_| !matches!(path.route, Route::ThroughPublishedPort { .. }));
        let network = path.source.as_ref().or(receiver).and_then(|endpoint| endpoint.network);
        let network = network.map(|network| network.name.clone());
        match (&path.route, port) {
            (Route::ThroughPublishedPort { port, .. }, _) => {
                answers.insert((Via::Proxy { host_port: *port }, family, network, decision));
            }
            (Route::FromOutside { .. }, None) => (),
            (Route::FromOutside { .. }, Some((protocol, destination))) => {
                let container = path.destination.as_ref().expect("it is a container").container;
                for published in &container.published {
                    let right = published.protocol == protocol && published.container_port == destination;
                    let bound = published.host_address;
                    let outside = bound.is_none_or(|bound| Family::of(bound) == family && !bound.is_loopback());
                    if let Some(host_port) = published.host_port.filter(|_| right && outside) {
                        answers.insert((Via::Published { host_port }, family, network.clone(), decision));
                    }
                }
            }
            (Route::ToHost { .. }, Some((protocol, destination))) => {
                let held = world.containers.values().flat_map(|container| &container.published).any(|published| {
                    let at = published
                        .host_address
                        .is_none_or(|bound| bound.is_unspecified() || bound == path.packet.destination);
                    at && published.protocol == protocol && published.host_port == Some(destination)
                });
                if !held {
                    answers.insert((Via::Direct, family, network, decision));
                }
            }
            _ => {
                answers.insert((Via::Direct, family, network, decision));
            }
        }
    }
    answers
}

fn traffic(service: Service, port: u16) -> Traffic {
    match service {
        Service::Ports(protocol) => Traffic::Ports { protocol, source: SOURCE, destination: port },
        Service::Ping => Traffic::EchoRequest,
    }
}

/// What `reach` says of one port.
fn answered(reach: &Reach<'_>, from: Party, to: Party, service: Service, port: u16) -> Answers {
    let ways = reach.ways(from, to).iter().filter(|way| way.service == service);
    let of_port = ways.flat_map(|way| {
        let parts = way.parts.iter().filter(|part| part.ports.contains(port));
        parts.map(|part| (way.via.clone(), way.family, way.network.clone(), part.decision))
    });
    of_port.collect()
}

fn compare(seed: u64) -> (usize, usize) {
    let text = policies(seed);
    let loaded = load(&[SourceFile::new("generated.yaml", text.clone())]);
    let world = inventory(seed);
    let compiled = compile(&loaded.policies, &world, &Options::default());
    let reach = Reach::new(&world, &compiled, &BTreeSet::new());
    let parties: Vec<Party> = reach.parties().collect();
    let mut random = StdRng::seed_from_u64(seed);
    let (mut open, mut closed) = (0, 0);
    for _ in 0..PAIRS {
        let mut one = || *parties.choose(&mut random).expect("the host is a party");
        let (from, to) = (one(), one());
        if from == to {
            continue;
        }
        let (sender, receiver) = (end(&reach, from), end(&reach, to));
        for service in Service::ALL {
            let edges = reach.ways(from, to).iter().filter(|way| way.service == service).flat_map(|way| &way.parts);
            let edges = edges.flat_map(|part| part.ports.ranges()).flat_map(|range| [range.first(), range.last()]);
            let mut ports: BTreeSet<u16> = edges.chain([53, 80, 81, random.random_range(1..=u16::MAX)]).collect();
            if service == Service::Ping {
                ports = BTreeSet::from([1]);
            }
            for port in ports {
                let expected = asked(&world, &compiled, &sender, &receiver, traffic(service, port));
                let found = answered(&reach, from, to, service, port);
                assert_eq!(found, expected, "seed {seed}: {sender:?} -> {receiver:?}, {service} {port}\n{text}");
                open += expected.iter().filter(|(.., decision)| *decision == Decision::Allow).count();
                closed += expected.iter().filter(|(.., decision)| *decision == Decision::Deny).count();
            }
        }
    }
    (open, closed)
}

#[test]
fn reach_says_of_every_port_what_verdict_says() {
    let (open, closed) = for_every_world(compare);
    println!("{open} ways open, {closed} closed, all as `verdict` says");
    assert!(open.min(closed) * 10 > open + closed, "one-sided worlds: {open} open, {closed} closed");
}
