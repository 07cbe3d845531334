//! Selectors that match nothing, or more than was meant.
//!
//! Input: policies and, if there is one, the world. Output: findings at the selectors. What a namespace or a Kubernetes
//! kind folds into a selector is part of what is asked here, since it is part of what is enforced.

use std::collections::BTreeSet;

use crate::inventory::{CONTAINER_LABEL, IMAGE_LABEL, NETWORK_LABEL};
use crate::policy::{Direction, Peer, Policy, Rule, RuleAction, codes};
use crate::selector::{NAMESPACE_LABEL, NAMESPACE_PREFIX, ORCHESTRATOR_LABEL, Selector};

use super::never::names_nothing;
use super::place::{Finding, Place};
use super::{Context, World, listing, own_side, selects_no_container, shown};

/// Labels that every container has.
const ALWAYS_THERE: [&str; 7] = [
    ORCHESTRATOR_LABEL,
    NAMESPACE_LABEL,
    CONTAINER_LABEL,
    NETWORK_LABEL,
    IMAGE_LABEL,
    "pcns.kubernetes.io/metadata.name",
    "pcns.projectcalico.org/name",
];

/// Most values of a label that a hint lists.
const MAX_VALUES: usize = 6;

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        context.policies.policies.iter().filter_map(|policy| of_policy(context, policy)).collect();
    for (policy, direction, rules) in context.rules() {
        for rule in rules {
            for (side, peer) in [("source", &rule.source), ("destination", &rule.destination)] {
                findings.extend(of_peer(context, policy, direction, rule, side, peer));
            }
        }
    }
    findings
}

fn of_policy(context: &Context<'_>, policy: &Policy) -> Option<Finding> {
    let selector = &policy.selector;
    let place = Place::selector(policy);
    if selects_no_container(selector) {
        let message = format!("no container can ever match {}", shown(policy, selector));
        let help = "the policy protects nothing: correct the selector";
        return Some(Finding::new(&codes::NEVER_SELECTS, place, message).with_help(help));
    }
    if let Some(finding) = always(selector, place.clone()) {
        return Some(finding);
    }
    let world = context.world.as_ref()?;
    if world.endpoints.iter().any(|endpoint| selector.matches(&endpoint.labels)) {
        return None;
    }
    if let Some(namespace) = &policy.key.namespace {
        let within = Selector::equals(NAMESPACE_LABEL, namespace);
        if !world.endpoints.iter().any(|endpoint| within.matches(&endpoint.labels)) {
            let message = format!("the policy selects nothing: no container is in namespace `{namespace}`");
            let finding = Finding::new(&codes::SELECTS_NOTHING, Place::namespace(policy), message);
            return Some(finding.with_help(values(world, NAMESPACE_LABEL)));
        }
    }
    let message = format!("the policy selects nothing: no container matches {}", shown(policy, selector));
    Some(Finding::new(&codes::SELECTS_NOTHING, place, message).with_help(hint(world, selector)))
}

fn of_peer(
    context: &Context<'_>,
    policy: &Policy,
    direction: Direction,
    rule: &Rule,
    side: &str,
    peer: &Peer,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let place = |field: &str| Place::within(policy, direction, rule, &format!("{side}.{field}"));
    let is_own = side == own_side(direction);
    if let Some(selector) = &peer.selector {
        findings.extend(if names_nothing(selector) {
            let message = format!("nothing can ever match {}", shown(policy, selector));
            let help = "correct the selector: its parts exclude each other, or no container has what it asks for";
            Some(Finding::new(&codes::NEVER_SELECTS, place("selector"), message).with_help(help))
        } else {
            always(selector, place("selector")).or_else(|| matches_nothing(context, policy, selector, place))
        });
        if rule.action == RuleAction::Allow && !is_own {
            findings.extend(unlabelled(context, selector, place("selector")));
        }
    }
    if let Some(excluded) = &peer.not_selector {
        findings.extend(matches_nothing(context, policy, excluded, |_| place("notSelector")));
        if rule.action == RuleAction::Allow && !is_own && peer.nets.is_empty() {
            let message = "this allows every address that is no container and in no network set, the outside included";
            let help =
                format!("to allow containers and network sets only, write `selector: \"{}\"`", negated(excluded));
            findings.push(Finding::new(&codes::MATCHES_STRANGERS, place("notSelector"), message).with_help(help));
        }
    }
    findings
}

/// The negation as the language writes it, in single quotes so that it can stand in double ones.
fn negated(selector: &Selector) -> String {
    let negated = selector.clone().negate().to_string();
    if negated.contains('\'') { negated } else { negated.replace('"', "'") }
}

/// A part that holds whatever the labels are, and is not written as `all()`.
fn always(selector: &Selector, place: Place) -> Option<Finding> {
    let parts = selector.conjuncts();
    let part = parts.iter().find(|part| !part.keys().is_empty() && part.is_tautology())?;
    let message = format!("`{}` matches whatever the labels are", part.written());
    let help = "write `all()` if everything is meant; to exclude several values use `&&` or `not in {...}`";
    Some(Finding::new(&codes::ALWAYS_SELECTS, place, message).with_help(help))
}

/// Nothing of the world is meant, neither a container nor a network set.
fn matches_nothing(
    context: &Context<'_>,
    policy: &Policy,
    selector: &Selector,
    place: impl Fn(&str) -> Place,
) -> Option<Finding> {
    let world = context.world.as_ref()?;
    if !world.peers(Some(selector)).is_empty() || context.may_match_network_set(selector) {
        return None;
    }
    let parts = selector.conjuncts();
    let scope = policy.key.namespace.as_ref().map(|namespace| Selector::equals(NAMESPACE_LABEL, namespace));
    let unmatched = unmatched(world, &parts);
    if unmatched.is_some() && unmatched == scope.as_ref() {
        // That its namespace has no container is told at the policy.
        return None;
    }
    let of_namespaces = |part: &Selector| {
        let keys = part.keys();
        !keys.is_empty() && keys.iter().all(|key| key.starts_with(NAMESPACE_PREFIX))
    };
    let field = if unmatched.is_some_and(of_namespaces) { "namespaceSelector" } else { "selector" };
    let message = format!("no container and no network set matches {}", shown(policy, selector));
    let help = global_set(context, &parts, scope.as_ref()).unwrap_or_else(|| hint(world, selector));
    Some(Finding::new(&codes::SELECTS_NOTHING, place(field), message).with_help(help))
}

/// What to do where only the scope of the policy keeps a network set of the whole host out.
fn global_set(context: &Context<'_>, parts: &[Selector], scope: Option<&Selector>) -> Option<String> {
    let scope = scope.filter(|scope| parts.contains(scope))?;
    let own = parts.iter().filter(|part| *part != scope).cloned().reduce(Selector::and)?;
    let sets = &context.policies.network_sets;
    let set = sets.iter().find(|set| set.namespace.is_none() && own.matches(&set.labels))?;
    Some(format!(
        "the GlobalNetworkSet `{}` does, but a policy with a namespace reaches it only with `namespaceSelector: global()` \
         beside the selector",
        set.name
    ))
}

/// The first part that no container matches by itself.
fn unmatched<'p>(world: &World<'_>, parts: &'p [Selector]) -> Option<&'p Selector> {
    parts.iter().find(|part| !world.endpoints.iter().any(|endpoint| part.matches(&endpoint.labels)))
}

/// What is the matter with a selector that matches no container.
fn hint(world: &World<'_>, selector: &Selector) -> String {
    let parts = selector.conjuncts();
    let Some(part) = unmatched(world, &parts) else {
        return "each part of it matches a container, but none matches all parts".to_owned();
    };
    let keys = part.keys();
    let [key] = keys.into_iter().collect::<Vec<_>>()[..] else {
        return format!("no container matches `{}`", part.written());
    };
    values(world, key)
}

/// What there is of a label.
fn values(world: &World<'_>, key: &str) -> String {
    let values: BTreeSet<&str> =
        world.endpoints.iter().filter_map(|endpoint| endpoint.labels.get(key).map(String::as_str)).collect();
    let label = key.strip_prefix(NAMESPACE_PREFIX).unwrap_or(key);
    let owner = if label == key { "container" } else { "namespace" };
    if values.is_empty() {
        return format!("no {owner} has the label `{label}`");
    }
    let shown: Vec<String> = values.iter().take(MAX_VALUES).map(|value| format!("`{value}`")).collect();
    let more = if values.len() > MAX_VALUES { ", ..." } else { "" };
    let what = if key == NAMESPACE_LABEL { "the namespaces".to_owned() } else { format!("the values of `{label}`") };
    format!("{what} are {}{more}", shown.join(", "))
}

/// An Allow rule whose peer is told by what it is not, so that a container without any label is allowed.
fn unlabelled(context: &Context<'_>, selector: &Selector, place: Place) -> Option<Finding> {
    let keys = own_keys(selector);
    let missing = without(&keys);
    // `!(role == 'db')` and a `notSelector` say that everything else is meant, `!has(role)` that the label may be missing.
    let is_negative = |part: &Selector| {
        let keys = own_keys(part);
        let present = keys.iter().fold(part.clone(), |part, key| part.and(Selector::has(key)));
        !part.is_negation()
            && !keys.is_empty()
            && !part.is_tautology()
            && without(&keys).implies(part)
            && !present.is_contradiction()
    };
    if selector.clone().and(missing.clone()).is_contradiction() || !selector.conjuncts().iter().any(is_negative) {
        return None;
    }
    let unlabelled = keys.iter().map(|key| format!("`{}`", key.strip_prefix(NAMESPACE_PREFIX).unwrap_or(key)));
    let unlabelled = unlabelled.collect::<Vec<_>>().join(" or ");
    let whom = match &context.world {
        Some(world) => {
            let allowed = world.peers(Some(selector));
            let names = allowed.iter().filter(|endpoint| missing.matches(&endpoint.labels)).map(|e| e.name());
            let names: Vec<String> = names.collect();
            if names.is_empty() {
                return None;
            }
            format!("this also allows what has no label {unlabelled}: {}", listing(names))
        }
        None => format!("this also allows whatever has no label {unlabelled}"),
    };
    let help = "if that is not meant, ask for the label, too: `has(key) && key != 'value'`";
    Some(Finding::new(&codes::MATCHES_UNLABELLED, place, whom).with_help(help))
}

/// The keys that a selector asks for and that need not be there.
fn own_keys(selector: &Selector) -> BTreeSet<&str> {
    selector.keys().into_iter().filter(|key| !ALWAYS_THERE.contains(key)).collect()
}

/// None of these labels is there.
fn without(keys: &BTreeSet<&str>) -> Selector {
    keys.iter().fold(Selector::all(), |all, key| all.and(Selector::has(key).negate()))
}
