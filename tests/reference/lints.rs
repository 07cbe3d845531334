//! What a lint calls without effect changes no verdict when it is taken out.
//!
//! The worlds are those of the other test; the judge is the one that reads the policies word by word.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockgate::lint::lint;
use dockgate::net::Family;
use dockgate::policy::{Direction, Loaded, Policy, PolicyKind, PolicySet, Rule, RuleAction, SourceFile, load};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::policies::policies;
use super::reference::Reference;
use super::{inventory, number, packets, parties};

/// Counts findings about rules that several others shadow.
const TOGETHER: &str = "together";

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
            let rules = Arc::make_mut(rules);
            *rules = rules
                .drain(..)
                .flat_map(|rule| match without(found.code, &found.field, key.kind, &rule).filter(|_| is_meant(&rule)) {
                    Some(instead) => {
                        let several = found.message.contains(" together ");
                        *heeded.entry(if several { TOGETHER } else { found.code }).or_default() += 1;
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
    let heeded = heed(policies);
    for code in ["DG5001", "DG5002", "DG5010", "DG5011", "DG5012", "DG5014"] {
        assert!(heeded.contains_key(code), "no world had a finding {code}: {heeded:?}");
    }
}

#[test]
fn rules_that_others_shadow_together_change_no_verdict() {
    let heeded = heed(crowded);
    assert!(heeded.get(TOGETHER).is_some_and(|number| *number > 100), "too few findings: {heeded:?}");
}

/// Policies whose rules are about parts of the same: few ports, halves of a block, values of one label.
fn crowded(seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut one = |of: &[Value]| of.choose(&mut random).cloned().unwrap_or_default();
    let mut rule = |by: usize| {
        let action = one(&[json!("Allow"), json!("Allow"), json!("Deny"), json!("Pass")]);
        let ports =
            one(&[json!([80]), json!([81]), json!(["80:81"]), json!([81, 80]), json!(["http", 80]), json!(["http"])]);
        let source = match by {
            0 => json!({}),
            1 => {
                json!({"nets": one(&[json!(["10.101.0.0/28"]), json!(["10.101.0.16/28"]), json!(["10.101.0.0/27"]), json!(["10.101.0.0/29", "10.101.0.8/29"])])})
            }
            _ => {
                json!({"selector": one(&[json!("app == 'x'"), json!("app == 'y'"), json!("app in {'x', 'y'}"), json!("app != 'x'"), json!("has(app)")])})
            }
        };
        let mut rule = json!({"action": action, "protocol": "TCP", "source": source, "destination": {"ports": ports}});
        if let Value::Number(version) = one(&[json!(4), json!(6), Value::Null, Value::Null, Value::Null])
            && by != 1
        {
            rule["ipVersion"] = Value::Number(version);
        }
        rule
    };
    let documents: Vec<String> = (0..3)
        .map(|index| {
            let by = (usize::try_from(seed).unwrap_or_default() + index / 2) % 3;
            let rules: Vec<Value> = (0..4).map(|_| rule(by)).collect();
            let spec = json!({"order": index / 2, "ingress": rules, "selector": "all()"});
            let metadata = json!({"name": format!("p{index}")});
            let kind = "GlobalNetworkPolicy";
            json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}).to_string()
        })
        .collect();
    documents.join("\n---\n")
}

/// Takes out of the policies of many worlds what the lints call superfluous, and compares verdicts. How often each code was
/// heeded.
fn heed(policies: fn(u64) -> String) -> BTreeMap<&'static str, usize> {
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
    heeded
}
