//! Rules that never decide, because an earlier rule has decided about every packet that they could match.
//!
//! Input: policies in evaluation order. Output: findings at the later rules. Where one earlier rule matches all that a rule
//! could match, it is named; otherwise those that do together, as single ports do for a range of them.

use std::collections::BTreeSet;

use crate::policy::{Direction, Policy, Rule, RuleAction, codes};

use super::cover::covers;
use super::place::{Finding, Place};
use super::union::{MAX_PARTS, may_take_part, together};
use super::{Context, as_written, never};

/// A policy with what is asked of it again and again.
struct Candidate<'a> {
    policy: &'a Policy,
    /// Its place in the policy set.
    position: usize,
    tier: Option<usize>,
}

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for direction in Direction::ALL {
        let candidates =
            context.enforced().filter(|(_, policy)| policy.rules(direction).is_some_and(|r| !r.is_empty()));
        let candidates: Vec<Candidate<'_>> =
            candidates.map(|(position, policy)| Candidate { policy, position, tier: context.tier(policy) }).collect();
        for (at, later) in candidates.iter().enumerate() {
            let mut earlier: Option<Vec<usize>> = None;
            for rules in as_written(later.policy.rules(direction).unwrap_or_default()) {
                if rules.iter().all(|rule| never::is_dead(context, later.policy, direction, rule)) {
                    continue;
                }
                let own = within_policy(later.policy, direction, rules);
                let found = own.or_else(|| {
                    let earlier = earlier.get_or_insert_with(|| {
                        (0..at)
                            .filter(|earlier| context.implications.holds(later.position, candidates[*earlier].position))
                            .collect()
                    });
                    across_policies(&candidates, earlier, later, direction, rules)
                });
                findings.extend(found);
            }
        }
    }
    // Staged policies are never asked together with others, but a rule can be without use in itself.
    for policy in context.policies.policies.iter().filter(|policy| policy.key.kind.is_staged()) {
        for direction in Direction::ALL {
            let rules = policy.rules(direction).unwrap_or_default();
            let alive = as_written(rules)
                .filter(|rules| !rules.iter().all(|rule| never::is_dead(context, policy, direction, rule)));
            findings.extend(alive.filter_map(|rules| within_policy(policy, direction, rules)));
        }
    }
    findings
}

/// The rules of a policy that can decide about a packet.
pub(super) fn deciding<'a>(context: &Context<'_>, policy: &'a Policy, direction: Direction) -> Vec<&'a Rule> {
    let all = policy.rules(direction).unwrap_or_default();
    all.iter()
        .filter(|rule| rule.action != RuleAction::Log && !never::is_dead(context, policy, direction, rule))
        .filter(|rule| is_asked(policy, direction, rule))
        .collect()
}

/// Whether no earlier rule of the policy decides about everything that a rule could match.
fn is_asked(policy: &Policy, direction: Direction, rule: &Rule) -> bool {
    !earlier_in(policy, direction, rule).any(|earlier| covers(earlier, rule))
}

/// The rules of the same policy that are asked before a rule, and decide.
fn earlier_in<'a>(policy: &'a Policy, direction: Direction, rule: &Rule) -> impl Iterator<Item = &'a Rule> {
    let index = rule.index;
    let rules = policy.rules(direction).unwrap_or_default().iter();
    rules.take_while(move |earlier| earlier.index < index).filter(|earlier| earlier.action != RuleAction::Log)
}

fn within_policy(policy: &Policy, direction: Direction, rules: &[Rule]) -> Option<Finding> {
    let covering = |rule: &Rule| {
        let earlier: Vec<&Rule> = earlier_in(policy, direction, rule).collect();
        let one = earlier.iter().find(|earlier| covers(earlier, rule)).map(|one| vec![*one]);
        one.or_else(|| Some(together(&earlier, rule)?.into_iter().map(|at| earlier[at]).collect()))
    };
    let (rule, mut by) = covered(rules, covering)?;
    by.sort_by_key(|by| by.index);
    by.dedup_by_key(|by| by.index);
    let whom = by.iter().map(|by| format!("{direction}[{}] in line {}", by.index, by.location.line));
    let (whom, verb) = (listed(whom), if by.len() > 1 { "together match" } else { "matches" });
    let message = format!("the rule has no effect: {whom} {verb} every packet that it could match");
    let help = advice(rule, &by, if by.len() > 1 { "put it before them" } else { "put it before the wider one" });
    Some(Finding::new(&codes::SHADOWED, Place::rule(policy, direction, rule), message).with_help(help))
}

fn across_policies(
    candidates: &[Candidate<'_>],
    earlier: &[usize],
    later: &Candidate<'_>,
    direction: Direction,
    rules: &[Rule],
) -> Option<Finding> {
    let covering = |rule: &Rule| {
        let before =
            |matches: fn(&Rule, &Rule) -> bool| decided_before(candidates, earlier, later, direction, (rule, matches));
        if let Some(one) = before(covers).next() {
            return Some(vec![one]);
        }
        let mut parts: Vec<(&Policy, &Rule)> = before(may_take_part).take(MAX_PARTS + 1).collect();
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return None;
        }
        parts.extend(earlier_in(later.policy, direction, rule).map(|own| (later.policy, own)));
        let of_parts: Vec<&Rule> = parts.iter().map(|(_, rule)| *rule).collect();
        Some(together(&of_parts, rule)?.into_iter().map(|at| parts[at]).collect())
    };
    let (rule, mut by) = covered(rules, covering)?;
    let mut told = BTreeSet::new();
    by.retain(|(policy, by)| told.insert((&policy.key, by.index)));
    let place = Place::rule(later.policy, direction, rule);
    let whom =
        by.iter().map(|(policy, by)| format!("{direction}[{}] of policy {} ({})", by.index, policy.key, by.location));
    let whom = listed(whom);
    let by: Vec<&Rule> = by.into_iter().map(|(_, by)| by).collect();
    let is_one = by.len() == 1;
    if by.iter().all(|by| by.action == rule.action) {
        let does = if is_one { "does the same before" } else { "together do the same before" };
        let message = format!("the rule adds nothing: {whom} {does}, for at least the same containers");
        let help = "remove it, or ignore this if it is to stay when the other policy goes";
        return Some(Finding::new(&codes::REDUNDANT, place, message).with_help(help));
    }
    let (come, other) = if is_one { ("comes", "one") } else { ("together come", "ones") };
    let message = format!("the rule has no effect: {whom} {come} before, for at least the same containers and packets");
    let help = advice(rule, &by, &format!("give this policy a lower `order`, or narrow the other {other}"));
    Some(Finding::new(&codes::SHADOWED, place, message).with_help(help))
}

/// Rules of earlier policies that decide about all that they match before a rule of a later one is asked, or do the same;
/// of these, those that match what is wanted of the rule.
fn decided_before<'c, 'r>(
    candidates: &'c [Candidate<'c>],
    earlier: &'c [usize],
    later: &'c Candidate<'c>,
    direction: Direction,
    (rule, matches): (&'r Rule, fn(&Rule, &Rule) -> bool),
) -> impl Iterator<Item = (&'c Policy, &'c Rule)> + use<'c, 'r> {
    earlier.iter().flat_map(move |at| {
        let earlier = &candidates[*at];
        let same_tier = earlier.tier == later.tier;
        let is_final = move |wide: &Rule| match wide.action {
            RuleAction::Allow | RuleAction::Deny => same_tier || !may_pass_before(&candidates[..=*at], wide, direction),
            // Pass in an earlier tier leads to this one.
            RuleAction::Pass => same_tier,
            RuleAction::Log => false,
        };
        // Where only the names decide which is asked first, that is what there is to say.
        let by_name = same_tier && earlier.policy.order == later.policy.order;
        let rules = earlier.policy.rules(direction).unwrap_or_default().iter();
        let found = rules.filter(move |wide| {
            (!by_name || wide.action == rule.action)
                && matches(wide, rule)
                && is_final(wide)
                && is_asked(earlier.policy, direction, wide)
        });
        found.map(|wide| (earlier.policy, wide))
    })
}

/// Whether a packet may leave the tier of the last of these policies by a Pass before this rule of it is asked.
fn may_pass_before(candidates: &[Candidate<'_>], rule: &Rule, direction: Direction) -> bool {
    let Some(last) = candidates.last() else { return false };
    candidates.iter().filter(|candidate| candidate.tier == last.tier).any(|candidate| {
        let is_last = candidate.policy.key == last.policy.key;
        let mut rules = candidate.policy.rules(direction).unwrap_or_default().iter();
        rules.any(|passing| passing.action == RuleAction::Pass && (!is_last || passing.index < rule.index))
    })
}

/// What covers the rules of one place of the file, if each is covered: the first of them, with all that is needed for it.
fn covered<T>(rules: &[Rule], covering: impl Fn(&Rule) -> Option<Vec<T>>) -> Option<(&Rule, Vec<T>)> {
    let by: Option<Vec<Vec<T>>> = rules.iter().map(covering).collect();
    Some((rules.first()?, by?.into_iter().flatten().collect()))
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    match items.pop() {
        Some(last) if !items.is_empty() => format!("{} and {last}", items.join(", ")),
        last => last.unwrap_or_default(),
    }
}

fn advice(rule: &Rule, by: &[&Rule], otherwise: &str) -> String {
    let actions: BTreeSet<RuleAction> = by.iter().map(|by| by.action).collect();
    let ones = if by.len() == 1 { "one" } else { "ones" };
    match actions.into_iter().collect::<Vec<_>>()[..] {
        [action] if action == rule.action => "remove it: the same is done without it".to_owned(),
        [action] => format!("it says {:?} and the earlier {ones} {action:?}: {otherwise}", rule.action),
        _ => format!("it says {:?}, and the earlier ones have decided differently: {otherwise}", rule.action),
    }
}
