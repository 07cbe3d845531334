//! `Pass` where there is no next tier.
//!
//! Input: policies and, if there is one, the world. Output: a finding for each Pass rule after which no tier has a policy
//! for the containers. Later tiers of policies that may select one of them count, unless the world shows that none does.

use crate::policy::{Direction, Policy, RuleAction, codes};

use super::Context;
use super::place::{Finding, Place};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules() {
        let Some(rule) = rules.first().filter(|rule| rule.action == RuleAction::Pass) else { continue };
        if policy.key.kind.is_staged() || goes_on(context, policy, direction) {
            continue;
        }
        let place = Place::within(policy, direction, rule, "action");
        let message = format!(
            "`Pass` allows: no policy of a later tier than `{}` governs {direction} of these containers",
            policy.tier
        );
        let help = "write `Allow`, or add a policy to a later tier";
        findings.push(Finding::new(&codes::PASS_IN_LAST_TIER, place, message).with_help(help));
    }
    findings
}

/// Whether a later tier governs one of the policy's endpoints, or there is none to ask about.
fn goes_on(context: &Context<'_>, policy: &Policy, direction: Direction) -> bool {
    let tier = context.tier(policy);
    let mut later = context
        .enforced()
        .map(|(_, later)| later)
        .filter(|later| context.tier(later) > tier && later.rules(direction).is_some());
    let Some(world) = &context.world else {
        return later.any(|later| !later.selector.clone().and(policy.selector.clone()).is_contradiction());
    };
    let selected = world.selected(policy);
    selected.is_empty() || later.any(|later| selected.iter().any(|endpoint| later.selector.matches(&endpoint.labels)))
}
