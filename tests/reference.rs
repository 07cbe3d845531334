//! `compile` and `verdict` together give the answer that the policies give when they are read word by word.
//!
//! Worlds are generated policies on generated inventories; each is asked for every pair of parties, four kinds of
//! packets and both families. `DOCKGATE_REFERENCE_WORLDS` (default 1000) and `DOCKGATE_REFERENCE_SEED` (default 0)
//! choose the worlds.

#![expect(clippy::print_stdout, reason = "how much was judged belongs to the output of the test")]

#[path = "support/explanation.rs"]
mod explanation;
#[path = "reference/lints.rs"]
mod lints;
#[path = "support/policies.rs"]
mod policies;
#[path = "support/reference.rs"]
mod reference;
#[path = "support/worlds.rs"]
mod worlds;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::num::NonZero;

use dockgate::compile::{Options, compile};
use dockgate::inventory::Inventory;
use dockgate::net::{Family, InterfaceName, Protocol};
use dockgate::policy::{Severity, SourceFile, load};
use dockgate::ruleset::Hook;
use dockgate::verdict::reason::World;
use dockgate::verdict::{Decision, Packet, Verdict, evaluate};
use explanation::{Explained, explain, explain_published};
use policies::policies;
use reference::{Judgement, Reference};
use worlds::inventory;

/// One of so many packets is explained, too. A prime number, so that all kinds of packets are among them.
const EXPLAINED: usize = 37;
/// In one of so many worlds, ways through published ports are explained.
const PUBLISHED: u64 = 10;
/// Addresses of nobody, inside and outside the generated network set.
const OUTSIDE: [[&str; 2]; 2] = [["203.0.113.9", "2001:db8:1::9"], ["198.51.100.9", "2001:db8:2::9"]];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// One who sends and receives: an address, and the bridge behind which it is, if any.
struct Party {
    address: IpAddr,
    bridge: Option<InterfaceName>,
}

fn parties(inventory: &Inventory, family: Family) -> Vec<Party> {
    let index = usize::from(family == Family::V6);
    let nobody = OUTSIDE.map(|addresses| Party { address: addresses[index].parse().expect("address"), bridge: None });
    let endpoints = inventory.endpoints().into_iter().filter_map(|endpoint| {
        let bridge = endpoint.network.and_then(|network| network.bridge.clone());
        Some(Party { address: endpoint.address(family)?, bridge })
    });
    endpoints.chain(nobody).collect()
}

/// The packets from one party to another. Source ports differ, so that rules on them say something too.
fn packets(source: &Party, destination: &Party) -> [Packet; 4] {
    let family = Family::of(source.address);
    let echo = if family == Family::V4 { 8 } else { 128 };
    let packet = |protocol: Protocol, ports: Option<(u16, u16)>| Packet {
        hook: Hook::Forward,
        in_interface: source.bridge.clone(),
        out_interface: destination.bridge.clone(),
        source: source.address,
        destination: destination.address,
        protocol,
        source_port: ports.map(|(port, _)| port),
        destination_port: ports.map(|(_, port)| port),
        icmp: ports.is_none().then_some((echo, 0)),
    };
    [
        packet(Protocol::TCP, Some((30_000, 80))),
        packet(Protocol::TCP, Some((80, 81))),
        packet(Protocol::UDP, Some((53, 53))),
        packet(family.icmp(), None),
    ]
}

/// A world in which the two answers differ.
struct Wrong {
    packets: usize,
    /// The first difference, told in full.
    example: String,
}

/// What the worlds said.
#[derive(Default)]
struct Tally {
    allowed: usize,
    denied: usize,
    explained: Explained,
    published: Explained,
    /// By seed.
    wrong: BTreeMap<u64, Wrong>,
}

impl Tally {
    fn and(mut self, other: Tally) -> Tally {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.explained += other.explained;
        self.published += other.published;
        self.wrong.extend(other.wrong);
        self
    }

    fn world(&mut self, seed: u64) {
        let text = policies(seed);
        let loaded = load(&[SourceFile::new("generated.yaml", text.clone())]);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "seed {seed}: {errors:#?}\n{text}");
        let inventory = inventory(seed);
        let compiled = compile(&loaded.policies, &inventory, &Options::default());
        let reference = Reference::new(&loaded.policies, &inventory);
        let world = World { policies: &loaded.policies, inventory: &inventory, compiled: &compiled };
        if seed.is_multiple_of(PUBLISHED) {
            let told = explain_published(seed, &loaded.policies, &inventory);
            self.published += told.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{text}"));
        }
        let mut judged = 0;
        for family in Family::ALL {
            let parties = parties(&inventory, family);
            let others = |source| parties.iter().filter(move |party: &&Party| !std::ptr::eq(*party, source));
            for packet in parties.iter().flat_map(|source| others(source).flat_map(|to| packets(source, to))) {
                let judgement = reference.judge(&packet);
                let verdict = evaluate(&compiled.ruleset, &packet);
                *(if judgement.allows() { &mut self.allowed } else { &mut self.denied }) += 1;
                if judgement.allows() == (verdict.decision == Decision::Allow) {
                    judged += 1;
                    if judged % EXPLAINED == 0 {
                        let told = explain(world, &reference, &packet, &judgement, &verdict);
                        self.explained +=
                            told.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{packet:?}\n{text}"));
                    }
                    continue;
                }
                let example = || difference(seed, &text, &inventory, &packet, &judgement, &verdict);
                self.wrong.entry(seed).or_insert_with(|| Wrong { packets: 0, example: example() }).packets += 1;
            }
        }
    }
}

fn difference(
    seed: u64,
    policies: &str,
    inventory: &Inventory,
    packet: &Packet,
    judgement: &Judgement<'_>,
    verdict: &Verdict,
) -> String {
    let mut text = format!("seed {seed}\n{policies}\n\n");
    for endpoint in inventory.endpoints() {
        let addresses = Family::ALL.map(|family| endpoint.address(family));
        writeln!(text, "{} {addresses:?} {:?}", endpoint.name(), endpoint.labels).expect("text grows");
    }
    let meant = if judgement.allows() { "Allow" } else { "Deny" };
    write!(
        text,
        "\n{packet:?}\nthe policies say {meant}: {judgement:#?}\nthe ruleset says {:?}: {:#?}",
        verdict.decision, verdict.trace
    )
    .expect("text grows");
    text
}

#[test]
fn the_ruleset_says_what_the_policies_say() {
    let worlds = number("DOCKGATE_REFERENCE_WORLDS", 1000);
    let first = number("DOCKGATE_REFERENCE_SEED", 0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = |thread: usize| {
        let mut tally = Tally::default();
        (first..first + worlds).skip(thread).step_by(threads).for_each(|seed| tally.world(seed));
        tally
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that failed has said why")).collect()
    });
    let Tally { allowed, denied, explained, published, wrong } = tallies.into_iter().fold(Tally::default(), Tally::and);
    if let Some(first) = wrong.values().next() {
        let packets: BTreeMap<_, _> = wrong.iter().map(|(seed, wrong)| (seed, wrong.packets)).collect();
        panic!("{}\n\n{} of {worlds} worlds are wrong (seed: packets): {packets:?}", first.example, wrong.len());
    }
    println!("{worlds} worlds from seed {first}: {allowed} packets allowed, {denied} denied, none wrong");
    println!("{explained:?}\nthrough published ports: {published:?}");
    assert!(published.remedied > published.hopeless && published.unmet > 0, "{published:?}");
    assert!(explained.remedied > 20 * explained.hopeless, "most of what is denied could be allowed: {explained:?}");
    assert!(allowed.min(denied) * 10 > allowed + denied, "one-sided worlds: {allowed} allowed, {denied} denied");
}
