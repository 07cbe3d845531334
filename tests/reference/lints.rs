//! What a lint calls without effect changes no verdict when it is taken out.
//!
//! The worlds are those of the other test; the judge is the one that reads the policies word by word.

use std::collections::BTreeMap;

use dockgate::lint::lint;
use dockgate::net::Family;
use dockgate::policy::{Direction, Loaded, Policy, PolicyKind, PolicySet, Rule, RuleAction, SourceFile, load};

use super::policies::policies;
use super::reference::Reference;
use super::{inventory, number, packets, parties};

/// The rules by which that of a finding may be replaced; `None` when it must stay.
fn without(code: &str, field: &str, kind: PolicyKind, rule: &Rule) -> Option<Vec<Rule>> {
    // Of a Kubernetes rule such a finding may mean one peer of several.
    let is_calico = !matches!(kind, PolicyKind::KubernetesNetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy);
    let is_selector = is_calico && field.ends_with(".selector");
    match code {
        "DG5010" | "DG5011" | "DG5012" => Some(Vec::new()),
        "DG5001" | "DG5002" if is_selector => Some(Vec::new()),
        "DG5014" => Some(vec![Rule { action: RuleAction::Allow, ..rule.clone() }]),
        _ => None,
    }
}

/// The policies without what the lints call superfluous, and how often each code was heeded.
fn cleaned(file: &SourceFile, loaded: &Loaded, seed: u64) -> (PolicySet, BTreeMap<&'static str, usize>) {
    let inventory = inventory(seed);
    let mut heeded = BTreeMap::new();
    let mut cleaned = loaded.policies.clone();
    for found in lint(&loaded.policies, Some(&inventory), std::slice::from_ref(file)) {
        // Every document is one line.
        let policy = cleaned.policies.iter_mut().find(|policy| policy.location.line == found.location.line);
        let Some(Policy { key, ingress, egress, .. }) = policy else { continue };
        for (direction, rules) in [(Direction::Ingress, ingress), (Direction::Egress, egress)] {
            let is_meant = |rule: &Rule| {
                let path = format!("spec.{direction}[{}]", rule.index);
                found.field.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let Some(rules) = rules else { continue };
            *rules = rules
                .drain(..)
                .flat_map(|rule| match without(found.code, &found.field, key.kind, &rule).filter(|_| is_meant(&rule)) {
                    Some(instead) => {
                        *heeded.entry(found.code).or_default() += 1;
                        instead
                    }
                    None => vec![rule],
                })
                .collect();
        }
    }
    (cleaned, heeded)
}

#[test]
fn what_a_lint_calls_without_effect_changes_no_verdict() {
    let worlds = number("DOCKGATE_REFERENCE_WORLDS", 1000);
    let first = number("DOCKGATE_REFERENCE_SEED", 0);
    let mut heeded: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in first..first + worlds {
        let file = SourceFile::new("generated.yaml", policies(seed));
        let loaded = load(std::slice::from_ref(&file));
        let (cleaned, codes) = cleaned(&file, &loaded, seed);
        if codes.is_empty() {
            continue;
        }
        let inventory = inventory(seed);
        let [before, after] = [&loaded.policies, &cleaned].map(|policies| Reference::new(policies, &inventory));
        for family in Family::ALL {
            let parties = parties(&inventory, family);
            for packet in parties.iter().flat_map(|from| parties.iter().flat_map(move |to| packets(from, to))) {
                let (before, after) = (before.judge(&packet), after.judge(&packet));
                let told =
                    || format!("seed {seed}: {codes:?} removed\n{}\n{packet:?}\n{before:#?}\n{after:#?}", file.text);
                assert_eq!(before.allows(), after.allows(), "{}", told());
            }
        }
        for (code, number) in codes {
            *heeded.entry(code).or_default() += number;
        }
    }
    println!("{heeded:?}");
    for code in ["DG5001", "DG5002", "DG5010", "DG5011", "DG5012", "DG5014"] {
        assert!(heeded.contains_key(code), "no world had a finding {code}: {heeded:?}");
    }
}
