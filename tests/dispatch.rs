//! Rulesets with many networks and classes: packets meet few rules, and rules change without a moment in which an endpoint
//! is judged by nobody. From text, without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use dockgate::compile::{Options, compile};
use dockgate::dataplane::{State, Step, plan};
use dockgate::inventory::{Inventory, file};
use dockgate::net::{Family, Protocol};
use dockgate::policy::{PolicySet, SourceFile, load};
use dockgate::ruleset::{Action, ChainName, Hook, Match, Member, Ruleset, SetName};
use dockgate::verdict::{Decision, Packet, evaluate};

fn policies(text: &str) -> PolicySet {
    let loaded = load(&[SourceFile::new("p.yaml", text)]);
    assert!(loaded.diagnostics.is_empty(), "{:#?}", loaded.diagnostics);
    loaded.policies
}

/// A policy that governs whoever has a label, and lets TCP port 80 come and go.
fn policy(label: &str, selector: &str) -> String {
    let rule = "[{action: Allow, protocol: TCP, destination: {ports: [80]}}]";
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {label}}}\n\
         spec: {{selector: \"{selector}\", types: [Ingress, Egress], ingress: {rule}, egress: {rule}}}\n"
    )
}

/// Networks with these bridges, each with these containers: a label each.
fn inventory(bridges: &[String], containers: &[String]) -> Inventory {
    let mut text = String::from(
        "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {name: world}\nspec:\n  networks:\n",
    );
    for (number, bridge) in bridges.iter().enumerate() {
        writeln!(
            text,
            "    - {{name: n{number}, bridge: {bridge}, subnets: [10.{}.{}.0/20]}}",
            number / 16,
            number % 16 * 16
        )
        .expect("a String");
    }
    text.push_str("  containers:\n");
    for number in 0..bridges.len() {
        for (index, label) in containers.iter().enumerate() {
            writeln!(text, "    - {{name: c{number}-{index}, labels: {{{label}: ''}}, networks: [n{number}]}}")
                .expect("a String");
        }
    }
    let (inventory, findings) = file::load(&SourceFile::new("inventory.yaml", &text));
    assert!(findings.is_empty(), "{findings:#?}");
    inventory
}

fn labels(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("l{number}")).collect()
}

fn tcp(inventory: &Inventory, [from, to]: [&str; 2], port: u16) -> Packet {
    let end = |name: &str| {
        let endpoints = inventory.endpoints();
        let endpoint = endpoints.iter().find(|endpoint| endpoint.container.name == name).expect("a container");
        let bridge = endpoint.network.and_then(|network| network.bridge.clone());
        (endpoint.address(Family::V4).expect("an address"), bridge)
    };
    let ((source, in_interface), (destination, out_interface)) = (end(from), end(to));
    Packet {
        hook: Hook::Forward,
        in_interface,
        out_interface,
        source,
        destination,
        protocol: Protocol::TCP,
        source_port: Some(40_000),
        destination_port: Some(port),
        icmp: None,
    }
}

/// The decision, and how many rules are in the chains that the packet comes to: it meets each once at most.
fn judged(ruleset: &Ruleset, packet: &Packet) -> (Decision, usize) {
    let verdict = evaluate(ruleset, packet);
    let mut chains = vec![ChainName::base(packet.hook)];
    chains.extend(verdict.trace.iter().filter_map(|hit| match &hit.action {
        Action::Jump(target) | Action::Goto(target) => Some(target.clone()),
        _ => None,
    }));
    assert_eq!(chains.iter().collect::<BTreeSet<_>>().len(), chains.len(), "no chain is met twice: {chains:?}");
    let rules = chains.iter().filter_map(|name| ruleset.chain(Family::V4, name)).map(|chain| chain.len()).sum();
    (verdict.decision, rules)
}

/// The longest way from a base chain, in jumps and gotos.
fn longest(chains: &BTreeMap<ChainName, dockgate::ruleset::Chain>, from: &ChainName) -> usize {
    let targets: BTreeSet<&ChainName> = chains[from]
        .iter()
        .filter_map(|rule| match &rule.action {
            Action::Jump(target) | Action::Goto(target) => Some(target),
            _ => None,
        })
        .collect();
    targets.into_iter().map(|target| 1 + longest(chains, target)).max().unwrap_or(0)
}

#[test]
fn of_many_networks_a_packet_meets_few_rules() {
    let bridges: Vec<String> = (0..200).map(|number| format!("br-{:08x}0000", number * 21_474_836_u32)).collect();
    let inventory = inventory(&bridges, &labels(1));
    let ruleset = compile(&policies(&policy("l0", "has(l0)")), &inventory, &Options::default()).ruleset;
    for (from, to) in [("c0-0", "c199-0"), ("c77-0", "c77-0"), ("c150-0", "c3-0")] {
        for (port, expected) in [(80, Decision::Allow), (81, Decision::Deny)] {
            let (decision, rules) = judged(&ruleset, &tcp(&inventory, [from, to], port));
            assert_eq!(decision, expected, "{from} to {to}:{port}");
            assert!(rules <= 100, "{rules} rules are met by {from} to {to}:{port}");
        }
    }
    // What begins several names leads to rules that name each, so that who names a bridge is the same with and without.
    let named: BTreeSet<_> = ruleset.chains[&Family::V4]
        .values()
        .flat_map(|chain| chain.iter())
        .filter_map(|rule| match &rule.matches[..] {
            [Match::InInterface(name)] => Some(name.clone()),
            [Match::InInterfacePrefix(_) | Match::OutInterfacePrefix(_)] => {
                assert!(matches!(rule.action, Action::Jump(_) | Action::Goto(_)), "{rule:?}");
                None
            }
            _ => None,
        })
        .collect();
    assert!(ruleset.bridges.is_subset(&named));
}

/// Engines keep bridges apart; should two networks have one all the same, both are asked, as in a row.
#[test]
fn networks_with_one_bridge_are_all_asked() {
    let bridges: Vec<String> = (0..20).map(|number| format!("br-{}", number / 10)).collect();
    let distinct: Vec<String> = (0..20).map(|number| format!("br-{number:02}")).collect();
    let mut inventory = inventory(&distinct, &labels(1));
    for network in inventory.networks.values_mut() {
        let number: usize = network.name[1..].parse().expect("a number");
        network.bridge = Some(if number < 12 { &distinct[number] } else { &bridges[number] }.parse().expect("a name"));
    }
    let ruleset = compile(&policies(&policy("l0", "has(l0)")), &inventory, &Options::default()).ruleset;
    let packet = tcp(&inventory, ["c15-0", "c15-0"], 80);
    let verdict = evaluate(&ruleset, &packet);
    for end in ["from", "to"] {
        let asked = verdict.trace.iter().filter(|hit| hit.comment.starts_with(&format!("{end} network n")));
        assert_eq!(asked.count(), 8, "{end}: {:#?}", verdict.trace);
    }
}

#[test]
fn of_many_classes_a_packet_meets_few_rules() {
    let labels = labels(300);
    let text: String = labels.iter().map(|label| policy(label, &format!("has({label})"))).collect();
    let inventory = inventory(&["br-0".to_owned()], &labels);
    let ruleset = compile(&policies(&text), &inventory, &Options::default()).ruleset;
    for (from, to) in [("c0-0", "c0-299"), ("c0-100", "c0-7")] {
        for (port, expected) in [(80, Decision::Allow), (81, Decision::Deny)] {
            let (decision, rules) = judged(&ruleset, &tcp(&inventory, [from, to], port));
            assert_eq!(decision, expected, "{from} to {to}:{port}");
            assert!(rules <= 70, "{rules} rules are met by {from} to {to}:{port}");
        }
    }
}

/// Measured on 6.18: nftables refuses the sixteenth. DOCKER-USER may be the first.
#[test]
fn no_way_is_longer_than_nftables_takes() {
    let labels = labels(40);
    let bridges: Vec<String> = (1..=14).map(|length| "b".repeat(length)).collect();
    for tiers in [1, 4, 8, 11] {
        let mut text = String::new();
        for tier in 0..tiers {
            write!(
                text,
                "---\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: t{tier}}}\nspec: {{order: {tier}}}\n\
                 ---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: t{tier}.all}}\n\
                 spec: {{tier: t{tier}, selector: all(), ingress: [{{action: Pass}}], egress: [{{action: Pass}}]}}\n"
            )
            .expect("a String");
        }
        for label in labels.iter().take(if tiers > 8 { 2 } else { 40 }) {
            write!(
                text,
                "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: t0.{label}}}\n\
                 spec: {{tier: t0, selector: has({label}), egress: [{{action: Pass}}], ingress: [{{action: Pass}}]}}\n"
            )
            .expect("a String");
        }
        let ruleset = compile(&policies(&text), &inventory(&bridges, &labels), &Options::default()).ruleset;
        for hook in Hook::ALL {
            let steps = longest(&ruleset.chains[&Family::V4], &ChainName::base(hook));
            assert!(steps <= 13, "{steps} steps beyond the base chain of {hook:?} with {tiers} tiers");
        }
    }
}

/// What the kernel holds after every single line of every step.
fn moments(before: &Ruleset, after: &Ruleset, mut look: impl FnMut(&Ruleset, &str)) {
    let mut held = before.clone();
    for step in plan(&State::default().after(before), after) {
        match step {
            Step::Sets(lines) => {
                for line in lines {
                    let words: Vec<&str> = line.split(' ').collect();
                    let (name, set) = all_sets(before, after)
                        .find(|(name, _)| name.as_str() == words[1])
                        .expect("a set of one of the two");
                    let held_set = held.sets.entry(name.clone()).or_insert_with(|| {
                        let mut empty = set.clone();
                        empty.members.clear();
                        empty
                    });
                    match (words[0], words[2].parse::<IpAddr>()) {
                        ("add", Ok(address)) => drop(held_set.members.insert(Member::Ip(address))),
                        ("del", Ok(address)) => drop(held_set.members.remove(&Member::Ip(address))),
                        _ => assert_eq!(words[0], "create", "{line}"),
                    }
                    look(&held, &line);
                }
            }
            Step::Restore { .. } => {
                held.chains.clone_from(&after.chains);
                look(&held, "rules");
            }
            _ => {}
        }
    }
    assert_eq!(held.chains, after.chains);
    assert!(after.sets.iter().all(|(name, set)| held.sets[name] == *set), "all changes were seen");
}

fn all_sets<'r>(
    one: &'r Ruleset,
    other: &'r Ruleset,
) -> impl Iterator<Item = (&'r SetName, &'r dockgate::ruleset::AddressSet)> {
    one.sets.iter().chain(&other.sets)
}

/// An endpoint changes its class, for a new one or for one that is there, while all of its policies allow port 80 only: so
/// do the rules and sets at every moment in between.
#[test]
fn an_endpoint_that_changes_its_class_is_judged_at_every_moment() {
    let labels = labels(40);
    let inventory = inventory(&["br-0".to_owned()], &labels);
    let compiled = |subject: usize, more: &str| {
        let mut text = String::new();
        for (number, label) in labels.iter().enumerate() {
            let selector = match number {
                // Of its own class, of an existing one, of none that there was.
                0 if subject != 0 => "has(nobody)".to_owned(),
                _ if number == subject && number != 0 => format!("has({label}) || has(l0)"),
                _ => format!("has({label})"),
            };
            text += &policy(label, &selector);
        }
        compile(&policies(&(text + more)), &inventory, &Options::default()).ruleset
    };
    let own = compiled(0, "");
    let extra = policy("extra", "has(l0)");
    let mut worlds: Vec<Ruleset> = (1..labels.len()).step_by(3).map(|subject| compiled(subject, "")).collect();
    worlds.push(compiled(0, &extra));
    let mut looks = 0;
    for other in &worlds {
        for (before, after) in [(&own, other), (other, &own)] {
            moments(before, after, |held, after_what| {
                for pair in [["c0-0", "c0-1"], ["c0-1", "c0-0"]] {
                    for (port, expected) in [(80, Decision::Allow), (81, Decision::Deny)] {
                        let verdict = evaluate(held, &tcp(&inventory, pair, port));
                        assert_eq!(verdict.decision, expected, "{pair:?}:{port} after {after_what}: {verdict:#?}");
                        looks += 1;
                    }
                }
            });
        }
    }
    assert!(looks > 400, "{looks} moments");
}

#[test]
fn a_class_more_changes_the_branches_that_it_is_in_and_no_others() {
    let world = |count: usize| {
        let labels = labels(count);
        let text: String = labels.iter().map(|label| policy(label, &format!("has({label})"))).collect();
        compile(&policies(&text), &inventory(&["br-0".to_owned()], &labels), &Options::default()).ruleset
    };
    let (before, after) = (world(100), world(101));
    let branches = |ruleset: &Ruleset| -> BTreeSet<SetName> {
        let is_branch = |name: &&SetName| name.as_str().starts_with("dg-4-0-") || name.as_str().starts_with("dg-4-1-");
        ruleset.sets.keys().filter(is_branch).cloned().collect()
    };
    let (before_names, after_names) = (branches(&before), branches(&after));
    assert!(before_names.len() > 20, "{before_names:?}");
    let gone = before_names.difference(&after_names).count();
    assert!((2..=4).contains(&gone), "{gone} of {} branches of both directions have another set", before_names.len());
    let chains = |ruleset: &Ruleset| ruleset.chains[&Family::V4].clone();
    let (before, after) = (chains(&before), chains(&after));
    let changed = before.iter().filter(|(name, rules)| after.get(*name).is_some_and(|now| now != *rules)).count();
    assert!(changed <= 8, "{changed} chains are filled anew");
}
