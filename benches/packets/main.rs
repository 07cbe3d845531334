//! What a packet costs that policy judges: as a share of what any packet filter costs, and as classes and networks grow.
//!
//! Input: none; it takes root. Output: a table, and `bench/packets.json` in the target directory. What is compared is
//! measured in turns, in the same run; a ratio is the median of the rounds' own ratios. All packets are IPv4, between two
//! containers on one bridge. The table against spoofing is in force, as users have it. Nothing here fails for being slow;
//! a packet that goes where it should not, or does not arrive where it should, does.

#![expect(clippy::print_stderr, reason = "whoever waits is told for what")]

mod cores;
#[path = "../form/mod.rs"]
mod form;
#[path = "../../tests/support/namespace.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod namespace;
mod rounds;
#[path = "../../tests/support/scale.rs"]
#[expect(dead_code, reason = "other benches use more of it")]
mod scale;
mod site;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use dockgate::dataplane::{Kernel, Options, Variant};

use form::{Outcome, Row, Series};
use namespace::Namespace;
use rounds::Rounds;
use site::{Rules, Site};
use world::{Position, World};

/// Rounds of each measurement: odd, so that a median is one of them. Many short ones tell more than a few long ones, because
/// what else a machine does comes and goes.
const ROUNDS: usize = 15;
/// Rounds for what has to be equal to within 3 %.
const ROUNDS_OF_STREAM: usize = 31;
/// How long one measurement of one site takes.
const TURN: Duration = Duration::from_millis(150);

/// The world of the table's first rows.
const ENDPOINTS: u32 = 10_000;
const CLASSES: u32 = 100;
/// Networks of a large host and of a small one.
const NETWORKS: [u32; 2] = [500, 5];

fn main() -> std::io::Result<()> {
    assert!(nix::unistd::geteuid().is_root(), "network namespaces take root: run it by `make bench`");
    let variants: Vec<Variant> =
        [Variant::Nft, Variant::Legacy].into_iter().filter(|variant| is_usable(*variant)).collect();
    let first = *variants.first().expect("packets cannot be measured where no variant of iptables can enforce");
    let rows = variants.into_iter().flat_map(rows).collect();
    form::write("packets", &Outcome { rows, series: growth(first) })
}

/// Whether this machine can enforce with it. Asked in a namespace of its own: asking makes tables.
fn is_usable(variant: Variant) -> bool {
    let opened = Namespace::anonymous().run(|| Kernel::open(Options { variant: Some(variant) }));
    if let Err(error) = &opened {
        eprintln!("packets: nothing is measured with iptables-{variant}: {error}");
    }
    opened.is_ok()
}

/// A measurement, and what is asked of it.
struct Measurement {
    what: &'static str,
    measure: fn(&Site, Duration) -> f64,
    rounds: usize,
    /// Least share of what passes with the bare ruleset.
    target: f64,
    display: fn(f64) -> String,
}

const MEASUREMENTS: [Measurement; 3] = [
    Measurement {
        what: "new TCP connections",
        measure: traffic::connections,
        rounds: ROUNDS,
        target: 0.9,
        display: |value| format!("{}/s", grouped(value)),
    },
    Measurement {
        what: "one-way UDP",
        measure: traffic::datagrams,
        rounds: ROUNDS,
        target: 0.6,
        display: |value| format!("{} packets/s", grouped(value)),
    },
    Measurement {
        what: "one established TCP flow",
        measure: traffic::stream,
        rounds: ROUNDS_OF_STREAM,
        target: 0.97,
        display: |value| format!("{:.1} Gb/s", value / 1e9),
    },
];

/// Lines of the table for one variant of iptables.
fn rows(variant: Variant) -> Vec<Row> {
    let [average, last] = [Position::Average, Position::Last].map(|place| World::of_classes(ENDPOINTS, CLASSES, place));
    let sites = [(&average, Rules::Bare), (&average, Rules::Linear), (&average, Rules::Policy), (&last, Rules::Policy)]
        .map(|(world, rules)| built(world, rules, variant, &format!("{ENDPOINTS} endpoints, {CLASSES} classes")));
    let mut rows = Vec::new();
    for Measurement { what, measure, rounds, target, display } in MEASUREMENTS {
        let rounds = measured(what, sites.len(), rounds, |site| measure(&sites[site], TURN));
        let [bare, linear] = [0, 1].map(|site| display(rounds.median(site)));
        let of_bare = rounds.ratio(1, 0);
        for (site, class) in [(2, "average"), (3, "last")] {
            let ratio = rounds.ratio(site, 0);
            rows.push(Row {
                what: format!(
                    "{what}, {} endpoints, {CLASSES} classes on one network, {class} class, iptables-{variant}",
                    grouped(f64::from(ENDPOINTS))
                ),
                target: format!("≥ {target} × bare ruleset"),
                measured: display(rounds.median(site)),
                compared: format!("bare ruleset: {bare} (a rule per endpoint: {linear}, {of_bare:.2} × bare)"),
                ratio: Some(ratio),
                holds: Some(ratio >= target),
            });
        }
    }
    rows.push(many_networks(variant));
    rows
}

fn many_networks(variant: Variant) -> Row {
    const TARGET: f64 = 1.5;
    let sites = NETWORKS
        .map(|networks| built(&World::of_networks(networks), Rules::Policy, variant, &format!("{networks} networks")));
    let rounds = measured("a NEW packet by networks", sites.len(), ROUNDS, |site| cost(&sites[site]));
    let ratio = rounds.ratio(0, 1);
    let [many, few] = NETWORKS;
    Row {
        what: format!("a NEW packet (UDP), {many} governed networks, average network, iptables-{variant}"),
        target: format!("≤ {TARGET} × {few} networks"),
        measured: format!("{} ns", grouped(rounds.median(0))),
        compared: format!("{few} networks: {} ns", grouped(rounds.median(1))),
        ratio: Some(ratio),
        holds: Some(ratio <= TARGET),
    }
}

/// What is measured as the world grows.
fn growth(variant: Variant) -> Vec<Series> {
    const SIZES: [u32; 5] = [10, 30, 100, 300, 1000];
    let by_classes = SIZES.map(|classes| (classes, World::of_classes(ENDPOINTS, classes, Position::Average)));
    let by_networks = SIZES.map(|networks| (networks, World::of_networks(networks)));
    let by_endpoints = [10, 100, 1000, 10_000]
        .map(|endpoints| (endpoints, World::of_classes(endpoints, CLASSES.min(endpoints / 2), Position::Average)));
    let connections = |site: &Site| traffic::connections(site, TURN);
    vec![
        series("new connections per second", "1/s", &by_endpoints, variant, connections),
        series("a NEW packet, by classes on one network", "ns", &by_classes, variant, cost),
        series("a NEW packet, by networks", "ns", &by_networks, variant, cost),
    ]
}

fn series(name: &str, unit: &str, worlds: &[(u32, World)], variant: Variant, measure: impl Fn(&Site) -> f64) -> Series {
    let build = |(size, world): &(u32, World)| built(world, Rules::Policy, variant, &format!("{name}: {size}"));
    let sites: Vec<Site> = worlds.iter().map(build).collect();
    let rounds = measured(name, sites.len(), ROUNDS, |site| measure(&sites[site]));
    let points = worlds.iter().enumerate().map(|(site, (size, _))| (f64::from(*size), rounds.median(site))).collect();
    Series { name: name.to_owned(), unit: unit.to_owned(), points }
}

/// Nanoseconds per datagram from one end to the other, sending included.
fn cost(site: &Site) -> f64 {
    1e9 / traffic::datagrams(site, TURN)
}

fn built(world: &World, rules: Rules, variant: Variant, what: &str) -> Site {
    let started = Instant::now();
    let site = Site::new(world, rules, variant);
    eprintln!("packets: {what}, {rules:?}, iptables-{variant}: built in {:.1} s", started.elapsed().as_secs_f64());
    site
}

fn measured(what: &str, sites: usize, rounds: usize, measure: impl FnMut(usize) -> f64) -> Rounds {
    let started = Instant::now();
    let rounds = Rounds::of(sites, rounds, measure);
    eprintln!("packets: {what}: measured in {:.1} s", started.elapsed().as_secs_f64());
    rounds
}

/// A number without decimals, by thousands: `12,345`.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}
