//! Policies of one tier and one order that disagree, so that their names decide.
//!
//! Input: policies and, if there is one, the world. Output: a finding for each policy and direction that loses against
//! another, at the rule that does. With a world the policies must select a common container; without one, one selector must
//! imply the other.

use crate::policy::{Direction, Policy, Rule, codes};

use super::cover::overlap;
use super::place::{Finding, Place};
use super::{Context, selects_no_container, shadow};

/// A policy with the rules of one direction that decide.
struct Candidate<'a> {
    policy: &'a Policy,
    /// Its place in the policy set.
    position: usize,
    rules: Vec<&'a Rule>,
    /// Endpoints that it selects, by their place in the world.
    selected: Vec<usize>,
}

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for direction in Direction::ALL {
        let candidates: Vec<Candidate<'_>> = context
            .enforced()
            .filter(|(_, policy)| !selects_no_container(&policy.selector))
            .map(|(position, policy)| Candidate {
                policy,
                position,
                rules: shadow::deciding(context, policy, direction),
                selected: selected(context, policy),
            })
            .filter(|candidate| !candidate.rules.is_empty())
            .collect();
        // They stand in the order in which they are asked, so that equals are neighbours.
        let equals = candidates
            .chunk_by(|one, other| (&one.policy.tier, one.policy.order) == (&other.policy.tier, other.policy.order));
        for equals in equals {
            for (at, later) in equals.iter().enumerate() {
                findings.extend(equals[..at].iter().find_map(|earlier| compare(context, earlier, later, direction)));
            }
        }
    }
    findings
}

fn selected(context: &Context<'_>, policy: &Policy) -> Vec<usize> {
    let endpoints = context.world.iter().flat_map(|world| world.endpoints.iter().enumerate());
    endpoints.filter(|(_, endpoint)| policy.selector.matches(&endpoint.labels)).map(|(at, _)| at).collect()
}

fn compare(
    context: &Context<'_>,
    first: &Candidate<'_>,
    second: &Candidate<'_>,
    direction: Direction,
) -> Option<Finding> {
    let disagree = |one: &Rule, other: &Rule| one.action != other.action;
    let pairs = || second.rules.iter().flat_map(|loser| first.rules.iter().map(move |winner| (*winner, *loser)));
    if !pairs().any(|(winner, loser)| disagree(winner, loser)) || !select_in_common(context, first, second) {
        return None;
    }
    let (winner, loser) = pairs().find(|(winner, loser)| disagree(winner, loser) && overlap(winner, loser))?;
    let message = format!(
        "policy {} has the same order, selects the same containers and says {:?} where this rule says {:?}: it comes first \
         by its name ({})",
        first.policy.key, winner.action, loser.action, winner.location
    );
    let place = Place::rule(second.policy, direction, loser);
    let help = "give the policy that is meant to win a lower `order`";
    Some(Finding::new(&codes::NAME_DECIDES, place, message).with_help(help))
}

fn select_in_common(context: &Context<'_>, one: &Candidate<'_>, other: &Candidate<'_>) -> bool {
    let implies =
        |narrow: &Candidate<'_>, wide: &Candidate<'_>| context.implications.holds(narrow.position, wide.position);
    match &context.world {
        Some(_) => one.selected.iter().any(|at| other.selected.contains(at)),
        None => implies(one, other) || implies(other, one),
    }
}
