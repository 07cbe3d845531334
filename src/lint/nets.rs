//! Blocks that lie within other blocks of the same list.
//!
//! Input: rules and network sets. Output: a finding for each block that adds nothing to its list.

use crate::net::Cidr;
use crate::policy::codes;

use super::Context;
use super::cover::holds;
use super::place::{Finding, Place};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules() {
        for rule in rules {
            for (side, peer) in [("source", &rule.source), ("destination", &rule.destination)] {
                for (field, nets) in [("nets", &peer.nets), ("notNets", &peer.not_nets)] {
                    let place = |index| Place::item(policy, direction, rule, &format!("{side}.{field}"), index);
                    findings.extend(superfluous(nets).into_iter().map(|found| told(&found, nets, place(found.index))));
                }
            }
        }
    }
    for set in &context.policies.network_sets {
        let found = superfluous(&set.nets).into_iter();
        findings.extend(found.map(|found| told(&found, &set.nets, Place::block(set, found.index))));
    }
    findings
}

/// A block and one that holds it, by their places in the list.
struct Superfluous {
    index: usize,
    within: usize,
}

/// The blocks that others hold. Of equal ones the first counts.
fn superfluous(nets: &[Cidr]) -> Vec<Superfluous> {
    let mut order: Vec<usize> = (0..nets.len()).collect();
    // In this order a block comes directly after those that hold it, or after others that the same one holds.
    order.sort_by_key(|index| (nets[*index].network(), nets[*index].prefix(), *index));
    let mut found = Vec::new();
    let mut widest: Option<usize> = None;
    for index in order {
        match widest.filter(|widest| holds(nets[*widest], nets[index])) {
            Some(within) => found.push(Superfluous { index, within }),
            None => widest = Some(index),
        }
    }
    found
}

fn told(found: &Superfluous, nets: &[Cidr], place: Place) -> Finding {
    let (inner, outer) = (nets[found.index], nets[found.within]);
    let (message, help) = if inner == outer {
        (format!("the block `{inner}` stands twice in the list"), "remove one of them")
    } else {
        let message = format!("the block `{inner}` lies within `{outer}` of the same list, and adds nothing");
        (message, "remove it; or correct the wider block, if it is too wide")
    };
    Finding::new(&codes::OVERLAPPING_NETS, place, message).with_help(help)
}
