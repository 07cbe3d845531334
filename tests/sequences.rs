//! What the kernel holds depends on the present world only, not on the path to it.
//!
//! Worlds are generated policies on generated inventories; each kernel is a network namespace of its own.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockgate::compile::{Options, compile};
use dockgate::dataplane::{self, Kernel, Scope, State, plan};
use dockgate::inventory::{Attachment, Container, ContainerId, Inventory, Network, NetworkId};
use dockgate::net::Cidr;
use dockgate::policy::{PolicySet, SourceFile, load};
use dockgate::ruleset::{Ruleset, Sets};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::Namespace;
use support::policies::{SUBNETS, policies};

fn inventory(random: &mut StdRng, containers: usize) -> Inventory {
    let mut inventory = Inventory::default();
    for (name, v4, v6) in SUBNETS {
        let network = Network {
            id: NetworkId(name.into()),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            bridge: Some(format!("br-{name}").parse().expect("interface name")),
            subnets: [v4, v6].iter().map(|subnet| subnet.parse().expect("subnet")).collect(),
            gateways: vec![],
            internal: false,
        };
        inventory.networks.insert(network.id.clone(), network);
    }
    for number in 0..containers {
        let labels = [("app", ["x", "y", "zone"]), ("projectcalico.org/namespace", ["a", "b", "c"])]
            .map(|(key, values)| (key.to_owned(), values[random.random_range(0..3)].to_owned()));
        let (network, v4, v6) = SUBNETS[random.random_range(0..3)];
        // Addresses overlap from world to world: they are used again, as Docker does.
        let address = |subnet: &str| -> Option<IpAddr> {
            let subnet: Cidr = subnet.parse().expect("subnet");
            random_address(subnet, number)
        };
        let container = Container {
            id: ContainerId(format!("container-{number}").into()),
            name: format!("container-{number}"),
            image: "busybox".to_owned(),
            labels: dockgate::inventory::labels(labels),
            attachments: vec![Attachment {
                network: NetworkId(network.into()),
                endpoint_id: number.to_string().into(),
                // Now and then a container has no address yet.
                ipv4: address(v4).filter(|_| random.random_ratio(9, 10)),
                ipv6: address(v6),
                mac: format!("02:42:00:00:00:{number:02x}").parse().ok(),
            }],
            unenforceable: None,
            published: vec![],
            listed: true,
            judged: std::collections::BTreeSet::new(),
            stated_namespace: None,
        };
        inventory.containers.insert(container.id.clone(), container);
    }
    inventory
}

fn random_address(subnet: Cidr, number: usize) -> Option<IpAddr> {
    subnet.hosts().nth(number + 1)
}

fn policy_set(seed: u64) -> PolicySet {
    load(&[SourceFile::new("generated.yaml", policies(seed))]).policies
}

/// A world of its own for each seed: now and then one without any policy.
fn world(seed: u64) -> Ruleset {
    let mut random = StdRng::seed_from_u64(seed);
    let policies = if random.random_ratio(1, 8) { PolicySet::default() } else { policy_set(seed) };
    let containers = random.random_range(0..20);
    let mut ruleset = compile(&policies, &inventory(&mut random, containers), &Options::default()).ruleset;
    // The bridges do not exist here.
    ruleset.bridges.clear();
    ruleset
}

fn open() -> Kernel {
    Kernel::open(dataplane::Options::default()).expect("a kernel that can enforce")
}

/// What policy depends on; the position of jumps and their serial numbers are history.
#[derive(Debug, PartialEq, Eq)]
struct Essence {
    sets: Sets,
    chains: BTreeMap<dataplane::Place, BTreeMap<String, dataplane::Hashes>>,
    jumps: usize,
    table: Option<dataplane::Table>,
}

fn essence(state: &State) -> Essence {
    assert!(state.odd_sets.is_empty(), "{:?}", state.odd_sets);
    Essence {
        sets: state.sets.clone(),
        chains: state.chains.clone(),
        jumps: state.jumps.len(),
        table: state.table.clone(),
    }
}

/// The state of a kernel that has seen nothing but this world.
fn fresh(ruleset: &Ruleset) -> Essence {
    Namespace::anonymous().run(|| {
        let mut kernel = open();
        kernel.enforce(ruleset).expect("enforce");
        essence(&kernel.observe().expect("observe"))
    })
}

#[test]
fn every_path_leads_to_the_same_state_and_a_second_apply_is_empty() {
    const WORLDS: u64 = 24;
    let bench = Namespace::anonymous();
    let mut kernel = bench.run(open);
    for seed in (0..WORLDS).chain((0..WORLDS).rev().step_by(5)) {
        let ruleset = world(seed);
        let (essence, second) = bench.run(|| {
            kernel.enforce(&ruleset).unwrap_or_else(|error| panic!("world {seed}: {error:?}"));
            let observed = kernel.observe().expect("observe");
            (essence(&observed), plan(&observed, &ruleset))
        });
        assert!(second.is_empty(), "world {seed}: a second apply would do {second:#?}");
        assert_eq!(essence, fresh(&ruleset), "world {seed}");
    }
}

#[test]
fn a_listing_of_any_moment_leads_to_the_present_world() {
    const WORLDS: u64 = 12;
    let bench = Namespace::anonymous();
    let mut kernel = bench.run(open);
    for (seed, listed_late) in (0..WORLDS).flat_map(|seed| [(seed, false), (seed, true)]) {
        let (before, after) = (world(seed), world(seed + 1));
        let (outcome, essence) = bench.run(|| {
            kernel.enforce(&before).expect("enforce");
            let listing = kernel.read_back(&before, Scope::Everything).expect("nothing is left to be tried");
            let found = if listed_late {
                kernel.enforce(&after).expect("enforce");
                listing.list().expect("list")
            } else {
                let found = listing.list().expect("list");
                kernel.enforce(&after).expect("enforce");
                found
            };
            let outcome = kernel.settle(found, &after).expect("settle");
            (outcome, essence(&kernel.observe().expect("observe")))
        });
        let case = format!("world {seed}, listed late: {listed_late}");
        assert!(outcome.steps.is_empty() && !outcome.drift, "{case}: what we changed is not somebody's: {outcome:?}");
        assert_eq!(essence, fresh(&after), "{case}");
    }
}

#[test]
fn a_crash_between_any_two_steps_is_repaired_by_the_next_start() {
    let mut crashes = 0;
    for (before, after) in (0..9).map(|seed| (seed, seed + 1)) {
        let (before, after) = (world(before), world(after));
        let wanted = fresh(&after);
        let mut crash_after = 0;
        loop {
            let (steps, essence) = Namespace::anonymous().run(|| {
                let mut kernel = open();
                kernel.enforce(&before).expect("enforce");
                let steps = plan(&kernel.observe().expect("observe"), &after);
                let done = crash_after.min(steps.len());
                kernel.apply(&steps[..done]).expect("the first steps");
                drop(kernel);
                let mut next = open();
                next.enforce(&after).expect("the next start");
                (steps.len(), essence(&next.observe().expect("observe")))
            });
            assert_eq!(essence, wanted, "after {crash_after} of {steps} steps");
            if crash_after >= steps {
                break;
            }
            crash_after += 1;
        }
        crashes += crash_after;
    }
    assert!(crashes > 15, "only {crashes} places to crash in: these worlds are too much alike");
}

#[test]
fn one_endpoint_of_a_thousand_changes_no_rule() {
    const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: allow-web-to-api}
spec:
  selector: app == 'web'
  ingress: [{action: Allow, source: {selector: app == 'web'}}]
  egress: [{action: Allow}]
";
    let policies = load(&[SourceFile::new("p.yaml", POLICY)]).policies;
    let world = |count: usize| {
        let mut inventory = inventory(&mut StdRng::seed_from_u64(1), 0);
        let network = Network {
            subnets: vec!["10.64.0.0/16".parse().expect("subnet"), "2001:db8:64::/64".parse().expect("subnet")],
            ..inventory.networks[&NetworkId("n1".into())].clone()
        };
        for number in 0..count {
            let name = format!("web-{number}");
            let address = |index: usize| network.subnets[index].hosts().nth(number + 1);
            let container = Container {
                id: ContainerId(name.as_str().into()),
                name: name.clone(),
                image: "busybox".to_owned(),
                labels: BTreeMap::from([("app".into(), "web".into())]),
                attachments: vec![Attachment {
                    network: network.id.clone(),
                    endpoint_id: name.into(),
                    ipv4: address(0),
                    ipv6: address(1),
                    mac: None,
                }],
                unenforceable: None,
                published: vec![],
                listed: true,
                judged: std::collections::BTreeSet::new(),
                stated_namespace: None,
            };
            inventory.containers.insert(container.id.clone(), container);
        }
        inventory.networks.insert(network.id.clone(), network);
        let mut ruleset = compile(&policies, &inventory, &Options::default()).ruleset;
        ruleset.bridges.clear();
        ruleset
    };
    let bench = Namespace::anonymous();
    let rules = || {
        let of = |command| ["mangle", "filter"].map(|table| support::command::run(&[command, "-t", table, "-S"]));
        ["iptables", "ip6tables"].map(of)
    };
    let members = || support::command::run(&["ipset", "save"]).lines().filter(|line| line.starts_with("add")).count();
    bench.run(|| {
        let mut kernel = open();
        kernel.enforce(&world(1000)).expect("a thousand");
        let (rules_before, members_before) = (rules(), members());
        // In each family: the known and the listed endpoints, the class in both directions, the peers.
        for (count, expected) in [(1001, members_before + 10), (1000, members_before), (999, members_before - 10)] {
            let outcome = kernel.enforce(&world(count)).expect("one more or less");
            assert!(
                outcome
                    .steps
                    .iter()
                    .all(|step| matches!(step, dataplane::Step::Sets(_) | dataplane::Step::Elements(_))),
                "{count}: {:#?}",
                outcome.steps
            );
            assert_eq!(rules(), rules_before, "{count} endpoints");
            assert_eq!(members(), expected, "{count} endpoints");
        }
    });
}
