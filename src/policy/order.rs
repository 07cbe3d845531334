//! The order in which tiers and policies are evaluated.
//!
//! Input: tiers and policies in any order. Output: the same in Calico's order (`felix/calc/policy_sorter.go`), down to its
//! ties, since a tie decides which of two policies is asked first.

use std::collections::{BTreeMap, BTreeSet};

use super::{DEFAULT_TIER, DefaultAction, Order, Policy, Tier};

/// The tiers that always exist, whether a resource declares them or not, as in Calico.
pub(super) fn well_known_tiers() -> [Tier; 3] {
    [
        ("kube-admin", 1_000.0, DefaultAction::Pass),
        (DEFAULT_TIER, 1_000_000.0, DefaultAction::Deny),
        ("kube-baseline", 10_000_000.0, DefaultAction::Pass),
    ]
    .map(|(name, order, default_action)| Tier {
        name: name.to_owned(),
        order: Order(Some(order)),
        default_action,
        declared: true,
    })
}

/// All tiers in evaluation order: the well-known and the declared ones, then those that only policies name.
pub(super) fn tiers(declared: Vec<Tier>, policies: &[Policy]) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = well_known_tiers().into_iter().chain(declared).collect();
    let known: BTreeSet<String> = tiers.iter().map(|tier| tier.name.clone()).collect();
    let named: BTreeSet<&String> = policies.iter().map(|policy| &policy.tier).collect();
    tiers.extend(named.into_iter().filter(|name| !known.contains(*name)).map(|name| Tier {
        name: name.clone(),
        order: Order(None),
        default_action: DefaultAction::Deny,
        declared: false,
    }));
    tiers.sort_by(|a, b| (!a.declared, a.order, &a.name).cmp(&(!b.declared, b.order, &b.name)));
    // A declared well-known tier equals the built-in one.
    tiers.dedup_by(|a, b| a.name == b.name);
    tiers
}

/// Sorts policies into evaluation order: by tier, then by order, then by the text `name/namespace/kind`. That it is one
/// text matters: `a-b` comes before `a`, since `-` sorts before `/`.
pub(super) fn sort_policies(policies: &mut [Policy], tiers: &[Tier]) {
    let positions: BTreeMap<&str, usize> =
        tiers.iter().enumerate().map(|(at, tier)| (tier.name.as_str(), at)).collect();
    policies.sort_by_cached_key(|policy| {
        let key = &policy.key;
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let text = format!("{}/{namespace}/{}", key.name, key.kind.name());
        (positions.get(policy.tier.as_str()).copied(), policy.order, text)
    });
}
