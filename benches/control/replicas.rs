//! What further replicas add to the rules, which is nothing, and what they would add if there were a rule for each pair.
//!
//! Input: a world. Output: the number of rules with the same networks, label sets and policies and one endpoint of each kind;
//! and how many rules for pairs there would be, computed by the verdicts of the ruleset that is compiled for that world.

use std::collections::HashMap;
use std::path::Path;

use dockgate::compile::{Options, compile};
use dockgate::net::{Family, PortSet, Protocol};
use dockgate::policy::load;
use dockgate::reach::CLIENT_PORT;
use dockgate::ruleset::Side;
use dockgate::verdict::Decision;
use dockgate::verdict::path::{End, Finder, Traffic};
use dockgate::verdict::ports::{Ends, Evaluator};

use crate::point;
use crate::progress;
use crate::pure::files;
use crate::scale::Scale;

/// The figures of a world most of whose endpoints are replicas of others.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// How many endpoints are not.
    pub(crate) kinds: usize,
    /// Rules of a world with these alone.
    pub(crate) rules: usize,
    /// What there would be instead with all replicas.
    pub(crate) per_pair: PerPair,
}

/// Rules in both families, if there was one for each two endpoints of which policy lets the first open a TCP connection to the
/// second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PerPair {
    /// Wherever the two are. So many the rules of dockgate stand for.
    pub(crate) all: usize,
    /// Of those that have a network in common. Docker itself closes the way from one network to another.
    pub(crate) on_one_network: usize,
}

/// Measures and computes; `None` of a world without replicas.
pub(crate) fn measure(scale: &Scale, policies: &Path) -> Option<Replicas> {
    let one_each = scale.without_replicas();
    if one_each == *scale {
        return None;
    }
    let rules = point::rules(&one_each, policies).expect("dockgate gets in sync with a small world").count();
    progress(scale.endpoints, "computing which pairs policy allows");
    let kinds = one_each.endpoints;
    Some(Replicas { kinds, rules, per_pair: PerPair::of(scale, kinds) })
}

impl PerPair {
    fn of(scale: &Scale, kinds: usize) -> PerPair {
        let policies = load(&files(scale)).policies;
        // Two of each kind: one of a kind may have to do with another of it.
        let two_each = Scale { endpoints: 2 * kinds, ..*scale };
        let inventory = two_each.inventory();
        let compiled = compile(&policies, &inventory, &Options::default());
        let (finder, evaluator) = (Finder::new(&inventory), Evaluator::new(&compiled.ruleset));
        let end = |number: usize| End::Container { container: two_each.container(number).id, network: None };
        let replicas = |kind: usize| (scale.endpoints - kind).div_ceil(kinds);
        let traffic = Traffic::Ports { protocol: Protocol::TCP, source: CLIENT_PORT, destination: 1 };
        // As rules see an address, at either end; many pairs have it in common.
        let (mut sources, mut destinations) = (HashMap::new(), HashMap::new());
        let mut per_pair = PerPair::default();
        for (from, to) in (0..kinds).flat_map(|from| (0..kinds).map(move |to| (from, to))) {
            // Nobody is a pair with himself.
            let pairs = replicas(from) * (replicas(to) - usize::from(from == to));
            let paths = finder.paths(&end(from), &end(kinds + to), traffic, &Family::ALL);
            for path in paths.expect("both are containers, and not the same").judged {
                let packet = &path.packet;
                let source = sources.entry(packet.source).or_insert_with(|| evaluator.view(packet, Side::Source));
                let destination =
                    destinations.entry(packet.destination).or_insert_with(|| evaluator.view(packet, Side::Destination));
                let mut shares = evaluator.divide(packet, Ends { source, destination }, PortSet::all()).into_iter();
                if shares.any(|share| share.decision == Decision::Allow) {
                    per_pair.all += pairs;
                    per_pair.on_one_network += if path.closed_by_docker().is_none() { pairs } else { 0 };
                }
            }
        }
        per_pair
    }
}
