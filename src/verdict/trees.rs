//! Rulesets in which networks and classes are found by trees judge every packet as those do in which they stand in a row.
//!
//! Input: random worlds, with names of bridges that begin like each other. Output: tests.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::compile::{Compiled, Compiler, Options};
use crate::inventory::{Inventory, file};
use crate::policy::{PolicySet, SourceFile, load};

const BRIDGES: [&str; 8] = ["br-0", "br-01", "br-012", "br-1", "b", "br-0123456789ab", "br-0123456789ac", "x.y"];

/// Policies that govern by labels of their own, so that their subsets are classes, in two tiers.
fn policies(random: &mut StdRng) -> PolicySet {
    let mut text =
        String::from("{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: early}, spec: {order: 1}}\n");
    for number in 0..5 {
        let tier = if number < 2 { "early" } else { "default" };
        let mut rule = |direction: &str| {
            let (peer, port) = (random.random_range(0..5), random.random_range(80..82));
            let action = *["Allow", "Deny", "Pass"].choose(random).expect("there are three");
            let ends = match direction {
                "ingress" => format!("source: {{selector: has(l{peer})}}, destination: {{ports: [{port}]}}"),
                _ => format!("destination: {{selector: has(l{peer}), ports: [{port}]}}"),
            };
            format!("[{{action: {action}, protocol: TCP, {ends}}}]")
        };
        let (ingress, egress) = (rule("ingress"), rule("egress"));
        write!(
            text,
            "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {tier}.p{number}}}\n\
             spec: {{tier: {tier}, order: {number}, selector: has(l{number}), types: [Ingress, Egress], ingress: {ingress}, egress: {egress}}}\n"
        )
        .expect("a String takes everything");
    }
    let loaded = load(&[SourceFile::new("p.yaml", &text)]);
    assert!(loaded.diagnostics.is_empty(), "{text}\n{:#?}", loaded.diagnostics);
    loaded.policies
}

fn inventory(random: &mut StdRng) -> Inventory {
    let mut text = String::from(
        "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {name: world}\nspec:\n  networks:\n",
    );
    for (number, bridge) in BRIDGES.iter().enumerate() {
        let subnets = format!("[10.{number}.0.0/24, 'fd00:{number}::/64']");
        writeln!(text, "    - {{name: n{number}, bridge: {bridge}, subnets: {subnets}}}").expect("a String");
    }
    text.push_str("  containers:\n");
    for number in 0..24 {
        let labels: Vec<String> =
            (0..5).filter(|_| random.random_ratio(2, 5)).map(|label| format!("l{label}: ''")).collect();
        // Most are on one network, where there are many classes.
        let network = if random.random_bool(0.6) { 0 } else { random.random_range(0..BRIDGES.len()) };
        let published =
            if random.random_ratio(1, 5) { format!(", ports: ['{}:80']", 8000 + number) } else { String::new() };
        writeln!(
            text,
            "    - {{name: c{number}, labels: {{{}}}, networks: [n{network}]{published}}}",
            labels.join(", ")
        )
        .expect("a String");
    }
    let (mut inventory, findings) = file::load(&SourceFile::new("inventory.yaml", &text));
    assert!(findings.is_empty(), "{text}\n{findings:#?}");
    inventory.trust_ports();
    inventory
}

/// Where packets come from and go to: every endpoint, somebody unknown on each bridge, and the outside.
fn ends(inventory: &Inventory, family: Family) -> Vec<(IpAddr, Option<InterfaceName>)> {
    let outside = match family {
        Family::V4 => "203.0.113.1",
        Family::V6 => "2001:db8::1",
    };
    let mut ends = vec![(outside.parse().expect("an address"), None)];
    for endpoint in inventory.endpoints() {
        let bridge = endpoint.network.and_then(|network| network.bridge.clone());
        ends.extend(endpoint.address(family).map(|address| (address, bridge)));
    }
    for (name, third) in BRIDGES.iter().chain(&["br-02", "br-", "eth0"]).zip(0..) {
        let unknown = match family {
            Family::V4 => IpAddr::from([10, third, 0, 250]),
            Family::V6 => IpAddr::from([0xfd00, u16::from(third), 0, 0, 0, 0, 0, 250]),
        };
        ends.push((unknown, Some(name.parse().expect("a name"))));
    }
    ends
}

/// The verdict, and the rule of policy or gate that made it.
fn told(compiled: &Compiled, packet: &Packet) -> (Decision, Vec<String>) {
    let Verdict { decision, trace } = evaluate(&compiled.ruleset, packet);
    let of_policy = trace.iter().filter(|hit| compiled.origins.contains_key(&hit.comment));
    let mut rules: Vec<String> = of_policy.map(|hit| hit.comment.to_string()).collect();
    rules.extend(trace.last().filter(|_| decision == Decision::Deny).map(|hit| hit.comment.to_string()));
    (decision, rules)
}

#[test]
fn a_tree_judges_as_a_row_does() {
    let (mut asked, mut allowed) = (0, 0);
    for seed in 0..6 {
        let random = &mut StdRng::seed_from_u64(seed);
        let (policies, inventory) = (policies(random), inventory(random));
        let in_form = |few| Compiler::with_rows_of(few, &policies, &inventory, &Options::default()).into_compiled();
        let (row, trees) = (in_form(usize::MAX), [in_form(0), in_form(2)]);
        for tree in &trees {
            assert!(tree.ruleset.sets.len() > row.ruleset.sets.len(), "there are branches");
            let prefixes = tree.ruleset.chains[&Family::V4][&ChainName::base(Hook::Forward)]
                .iter()
                .filter(|rule| matches!(rule.matches[..], [Match::InInterfacePrefix(_)]));
            assert!(prefixes.count() > 0, "there are groups");
        }
        for family in Family::ALL {
            let ends = ends(&inventory, family);
            for hook in Hook::ALL {
                for (source, in_interface) in &ends {
                    for (destination, out_interface) in &ends {
                        let packet = Packet {
                            hook,
                            in_interface: in_interface.clone().filter(|_| hook != Hook::Output),
                            out_interface: out_interface.clone().filter(|_| hook != Hook::Input),
                            source: *source,
                            destination: *destination,
                            protocol: Protocol::TCP,
                            source_port: Some(40_000),
                            destination_port: Some(*[80, 81, 8000, 8007].choose(random).expect("there are four")),
                            icmp: None,
                        };
                        let expected = told(&row, &packet);
                        for tree in &trees {
                            assert_eq!(told(tree, &packet), expected, "seed {seed}: {packet:?}");
                        }
                        asked += 1;
                        allowed += usize::from(expected.0 == Decision::Allow);
                    }
                }
            }
        }
    }
    assert!(allowed * 10 > asked && allowed * 10 < asked * 9, "{allowed} of {asked} are allowed");
}
