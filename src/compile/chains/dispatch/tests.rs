//! Trees: nobody is missed, nobody is met twice, and few rules are met.

use std::collections::BTreeSet;

use super::*;

fn names(texts: &[&str]) -> Vec<InterfaceName> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The networks that a packet comes to, as rules and gotos would lead it, and how many rules it meets.
fn led(names: &[InterfaceName], nodes: &[Node<InterfacePrefix>], packet: &InterfaceName) -> (Vec<usize>, usize) {
    let (mut found, mut met) = (Vec::new(), 0);
    for node in nodes {
        met += 1;
        match node {
            Node::One(position) if names[*position] == *packet => found.push(*position),
            Node::Several(prefix, below) if prefix.begins(packet) => {
                let (more, below) = led(names, below, packet);
                found.extend(more);
                return (found, met + below);
            }
            Node::One(_) | Node::Several(..) => {}
        }
    }
    (found, met)
}

fn networks(names: &[InterfaceName], few: usize) -> Vec<Node<InterfacePrefix>> {
    tree::networks(&names.iter().collect::<Vec<_>>(), Limits::new(few, 1))
}

#[test]
fn every_bridge_is_found_whatever_it_is_called() {
    let odd = names(&[
        "br-0",
        "br-01",
        "br-0.1",
        "br-",
        "b",
        "a",
        "aa",
        "aaa",
        "aaaa",
        "aaaab",
        "docker0",
        "docker_gwbridge",
        "br-0123456789ab",
        "br-0123456789ac",
        "br-0123456789",
        "x_y",
        "x-y",
        "x.y",
        "0",
        "lo0",
        "br-0",
    ]);
    for few in [0, 1, 2, 8, usize::MAX] {
        let nodes = networks(&odd, few);
        for name in &odd {
            let expected: BTreeSet<usize> = (0..odd.len()).filter(|position| odd[*position] == *name).collect();
            let (found, _) = led(&odd, &nodes, name);
            assert_eq!(found.len(), expected.len(), "{name} is met once, few {few}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{name}, few {few}");
        }
        for stranger in names(&["br-02", "br", "c", "aaaaa", "docker00", "eth0", "br-0123456789a", "x"]) {
            assert!(led(&odd, &nodes, &stranger).0.is_empty(), "{stranger}, few {few}");
        }
    }
}

#[test]
fn few_networks_stand_in_a_row_in_their_order() {
    let one = names(&["br-0"]);
    assert_eq!(networks(&one, FEW), [Node::One(0)]);
    let few = names(&["br-7", "br-1", "br-2", "br-3", "br-4", "br-5", "br-6", "br-0"]);
    assert_eq!(networks(&few, FEW), (0..FEW).map(Node::One).collect::<Vec<_>>());
    assert_eq!(networks(&[], FEW), []);
}

#[test]
fn of_a_thousand_networks_a_packet_meets_some_dozens_of_rules() {
    let docker: Vec<String> =
        (0..1000).map(|number| format!("br-{}", &hex(&format!("{number}"))[..12])).collect::<Vec<_>>();
    let numbered: Vec<String> = (0..1000).map(|number| format!("br-net-{number:04}")).collect();
    for (kind, texts, most) in [("docker", docker, 41), ("numbered", numbered, 40)] {
        let all = names(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let nodes = networks(&all, FEW);
        let met = all.iter().map(|name| {
            let (found, met) = led(&all, &nodes, name);
            assert_eq!(found.len(), 1, "{name}");
            met
        });
        let met: Vec<usize> = met.collect();
        assert!(met.iter().max() <= Some(&most), "{kind}: at most {:?}", met.iter().max());
        let mean = met.iter().sum::<usize>() / met.len();
        assert!(mean <= 24, "{kind}: {mean} on average");
        let (_, by_strangers) = led(&all, &nodes, &"eth0".parse().unwrap());
        assert!(by_strangers <= 16, "{kind}: {by_strangers} by what is on no network");
    }
}

/// A text of hexadecimal digits that looks random, as the beginning of a Docker id does.
fn hex(text: &str) -> String {
    use sha2::Digest;
    use std::fmt::Write;
    sha2::Sha256::digest(text).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The sets in which a member of each class is looked up on the way to it.
fn lookups(nodes: &[Node<Branch>], before: usize, of: &mut [Option<usize>]) {
    for (index, node) in nodes.iter().enumerate() {
        let met = before + index + 1;
        match node {
            Node::One(position) => assert_eq!(of[*position].replace(met), None, "a class has one place"),
            Node::Several(_, below) => lookups(below, met, of),
        }
    }
}

#[test]
fn classes_are_found_by_few_lookups() {
    for (classes, mean_at_most, most) in [(1, 1, 1), (8, 4, 8), (100, 11, 24), (1000, 15, 32)] {
        let identities: Vec<String> = (0..classes).map(|number| format!("ingress policy-{number}")).collect();
        let nodes = tree::classes(&identities, Limits::new(FEW, 1));
        let mut of = vec![None; classes];
        lookups(&nodes, 0, &mut of);
        let of: Vec<usize> = of.into_iter().map(|met| met.expect("every class has a place")).collect();
        let mean = of.iter().sum::<usize>() / classes;
        assert!(mean <= mean_at_most, "{classes} classes: {mean} lookups on average");
        assert!(of.iter().max() <= Some(&most), "{classes} classes: {:?} lookups at most", of.iter().max());
    }
}

#[test]
fn branches_have_places_that_classes_elsewhere_do_not_change() {
    let identities = |classes: usize| (0..classes).map(|number| format!("egress policy-{number}")).collect::<Vec<_>>();
    let paths = |identities: &[String]| {
        let mut paths = BTreeSet::new();
        let nodes = tree::classes(identities, Limits::new(1, 1));
        let mut ahead: Vec<&Node<Branch>> = nodes.iter().collect();
        while let Some(node) = ahead.pop() {
            if let Node::Several(branch, below) = node {
                assert!(usize::from(branch.level) < branch.path.len());
                let mut classes: Vec<&String> = node.positions().into_iter().map(|p| &identities[p]).collect();
                classes.sort();
                assert!(paths.insert((branch.path.clone(), classes.into_iter().cloned().collect::<Vec<_>>())));
                ahead.extend(below);
            }
        }
        paths
    };
    let (before, after) = (paths(&identities(200)), paths(&identities(201)));
    let gone = before.difference(&after).count();
    assert!(gone <= 4, "{gone} branches of {} are others for one class more", before.len());
}

#[test]
fn trees_leave_tiers_the_steps_that_they_had() {
    for tiers in 0..20 {
        for few in [0, FEW] {
            let limits = Limits::new(few, tiers);
            let all: Vec<String> = (0..3000).map(|number| format!("policy-{number}")).collect();
            let bridges: Vec<String> = (0..3000).map(|number| format!("br-{number:012x}")).collect();
            let bridges = names(&bridges.iter().map(String::as_str).collect::<Vec<_>>());
            let networks = height(&tree::networks(&bridges.iter().collect::<Vec<_>>(), limits));
            let classes = height(&tree::classes(&all, limits));
            // DOCKER-USER, the base chain, the chain of the network, that of all its classes.
            assert!(tiers > 11 || 3 + networks + 1 + tiers <= 15, "{tiers} tiers: {networks} levels of networks");
            assert!(tiers > 12 || 3 + networks + classes + tiers <= 15, "{tiers} tiers: {classes} levels of classes");
            assert!(tiers > 5 || classes == 4, "{tiers} tiers: {classes} levels of classes");
        }
    }
}

fn height<K>(nodes: &[Node<K>]) -> usize {
    let below = nodes.iter().map(|node| match node {
        Node::One(_) => 0,
        Node::Several(_, below) => 1 + height(below),
    });
    below.max().unwrap_or(0)
}
