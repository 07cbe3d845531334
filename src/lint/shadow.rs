//! Rules that never decide, because an earlier rule has decided about every packet that they could match.
//!
//! Input: policies in evaluation order. Output: findings at the later rules. A rule counts as shadowed only by one other
//! rule as a whole, never by several together: what cannot be read off two rules is not worth a reader's trust.

use crate::policy::{Direction, Policy, Rule, RuleAction, codes};

use super::cover::covers;
use super::place::{Finding, Place};
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
    let covering = |rule: &Rule| earlier_in(policy, direction, rule).find(|earlier| covers(earlier, rule));
    let (rule, by) = covered(rules, covering)?;
    let message = format!(
        "the rule has no effect: {direction}[{}] in line {} matches every packet that it could match",
        by.index, by.location.line
    );
    let help = advice(rule, by, "put it before the wider one");
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
        earlier.iter().find_map(|at| {
            let earlier = &candidates[*at];
            let same_tier = earlier.tier == later.tier;
            let is_final = |wide: &Rule| match wide.action {
                RuleAction::Allow | RuleAction::Deny => {
                    same_tier || !may_pass_before(&candidates[..=*at], wide, direction)
                }
                // Pass in an earlier tier leads to this one.
                RuleAction::Pass => same_tier,
                RuleAction::Log => false,
            };
            // Where only the names decide which is asked first, that is what there is to say.
            let by_name = same_tier && earlier.policy.order == later.policy.order;
            let found = earlier.policy.rules(direction).unwrap_or_default().iter().find(|wide| {
                (!by_name || wide.action == rule.action)
                    && covers(wide, rule)
                    && is_final(wide)
                    && is_asked(earlier.policy, direction, wide)
            });
            found.map(|wide| (earlier.policy, wide))
        })
    };
    let (rule, (policy, by)) = covered(rules, covering)?;
    let place = Place::rule(later.policy, direction, rule);
    let whom = format!("{direction}[{}] of policy {} ({})", by.index, policy.key, by.location);
    if by.action == rule.action {
        let message = format!("the rule adds nothing: {whom} does the same before, for at least the same containers");
        return Some(Finding::new(&codes::REDUNDANT, place, message));
    }
    let message = format!("the rule has no effect: {whom} comes before, for at least the same containers and packets");
    let help = advice(rule, by, "give this policy a lower `order`, or narrow the other one");
    Some(Finding::new(&codes::SHADOWED, place, message).with_help(help))
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

/// What covers the rules of one place of the file, if something covers each: the first of them, with what covers it.
fn covered<T>(rules: &[Rule], covering: impl Fn(&Rule) -> Option<T>) -> Option<(&Rule, T)> {
    let by: Option<Vec<T>> = rules.iter().map(covering).collect();
    Some((rules.first()?, by?.into_iter().next()?))
}

fn advice(rule: &Rule, by: &Rule, otherwise: &str) -> String {
    if rule.action == by.action {
        return "remove it: both do the same".to_owned();
    }
    format!("it says {:?} and the earlier one {:?}: {otherwise}", rule.action, by.action)
}
