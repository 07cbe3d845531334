//! Policies as other projects publish them: each is accepted or refused for the right reason, and means the right thing.
//!
//! The files beside this one were written anew after published policies: other names, labels and addresses, the same
//! fields, combinations and mistakes. Comments at the head of each say what it shows, where such a policy is published,
//! and what is expected; [`case::Case`] has their form. All are judged in one world, `world.yaml`.

mod case;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use dockgate::api;
use dockgate::policy::field::FieldPath;
use dockgate::policy::{Direction, Loaded, Policy, Severity, document, load};
use dockgate::verdict::Decision;
use serde_json::Value;

use case::{Finding, cases};
use world::World;

/// Everything of a case that is not as it says, for a test that shows all differences before it fails.
fn report(differences: &[String]) {
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
}

/// Errors and warnings; notes are no judgement.
fn findings(loaded: &Loaded) -> Vec<Finding> {
    let judging = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity != Severity::Note);
    let said =
        |message: &str, help: Option<&str>| [Some(message), help].into_iter().flatten().collect::<Vec<_>>().join("; ");
    judging
        .map(|diagnostic| Finding {
            code: diagnostic.code.to_owned(),
            line: diagnostic.location.line,
            column: diagnostic.location.column,
            says: said(&diagnostic.message, diagnostic.help.as_deref()),
        })
        .collect()
}

/// A policy in the form of the heads: `NAMESPACE/NAME ingress RULES, egress RULES`, for the directions that it governs.
fn describe(policy: &Policy) -> String {
    let directions = Direction::ALL.into_iter().filter_map(|direction| {
        let rules: BTreeSet<usize> = policy.rules(direction)?.iter().map(|rule| rule.index).collect();
        Some(format!("{direction} {}", rules.len()))
    });
    format!("{} {}", policy.key, directions.collect::<Vec<_>>().join(", "))
}

#[test]
fn every_file_has_the_findings_that_it_names_and_no_other() {
    let mut differences = Vec::new();
    for case in cases() {
        let found = findings(&load(&[case.source()]));
        let same = found.len() == case.findings.len() && case.findings.iter().zip(&found).all(|(e, f)| e.is_met_by(f));
        if !same {
            let lines: Vec<String> = found.iter().map(|finding| format!("  # Expect: {finding}")).collect();
            let (expected, lines) = (case.findings.len(), lines.join("\n"));
            differences.push(format!("{} expects {expected} findings; found\n{lines}", case.name));
        }
    }
    report(&differences);
}

#[test]
fn every_file_holds_the_policies_that_it_names_in_their_order() {
    let mut differences = Vec::new();
    for case in cases() {
        let loaded = load(&[case.source()]);
        let policies: Vec<String> = loaded.policies.policies.iter().map(describe).collect();
        if policies != case.policies {
            differences.push(format!("{} has\n  {}", case.name, policies.join("\n  ")));
        }
        if case.findings.is_empty() && loaded.resources != case.resources {
            differences.push(format!("{} has {:?}", case.name, loaded.resources));
        }
    }
    report(&differences);
}

#[test]
fn every_file_allows_and_denies_what_it_says() {
    let world = World::load();
    let mut differences = Vec::new();
    for case in cases() {
        let policies = load(&[case.source()]).policies;
        let compiled = world.compile(&policies);
        for (flow, expected) in &case.flows {
            let decisions = world.decide(&compiled, flow);
            let wrong = decisions.iter().filter(|(_, decision)| decision != expected);
            differences.extend(wrong.map(|(way, decision)| format!("{}: {flow} {way}: {decision:?}", case.name)));
        }
    }
    report(&differences);
}

#[test]
fn the_corpus_is_as_large_and_as_complete_as_it_claims() {
    let cases = cases();
    let projects: BTreeSet<&str> = cases.iter().filter_map(|case| Some(case.name.split_once('/')?.0)).collect();
    let refused = cases.iter().filter(|case| !case.findings.is_empty()).count();
    assert!(cases.len() >= 110 && refused >= 45 && projects.len() >= 14, "{} {refused} {projects:?}", cases.len());
    for case in &cases {
        let expects = |decision| case.flows.iter().any(|(_, expected)| *expected == decision);
        assert!(case.about.ends_with('.') && !case.published_in.is_empty(), "{}: {case:?}", case.name);
        assert!(case.findings.is_empty() || case.resources.is_empty(), "{}: accepted and refused", case.name);
        assert!(case.findings.iter().all(|finding| !finding.says.is_empty()), "{}: for which reason?", case.name);
        // What is staged or refused decides nothing, and what closes everything allows nothing.
        assert!(case.policies.is_empty() || expects(Decision::Allow) || expects(Decision::Deny), "{}", case.name);
    }
    let denying =
        cases.iter().filter(|case| case.flows.iter().any(|(_, decision)| *decision == Decision::Deny)).count();
    assert!(denying >= 55, "{denying} files deny something");
}

/// Names of fields in a document, without the keys of labels, annotations and what other projects have.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    const FREE: [&str; 3] = ["labels", "annotations", "matchLabels"];
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                found.insert(name.clone());
                if !FREE.contains(&name.as_str()) {
                    fields(inner, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        _ => {}
    }
}

/// Names of fields that a schema has.
fn known_fields(schema: &Value, found: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if !["metadata", "status"].contains(&name.as_str()) {
            found.insert(name.clone());
            known_fields(inner, found);
        }
    }
    if schema["items"].is_object() {
        known_fields(&schema["items"], found);
    }
}

#[test]
fn the_corpus_uses_the_fields_that_published_policies_use() {
    // No page of the projects uses these in an example.
    const UNUSED: [&str; 5] = ["ipVersion", "notICMP", "notNets", "notProtocol", "performanceHints"];
    let (mut used, mut known) = (BTreeSet::new(), BTreeSet::new());
    for case in cases() {
        document::parse(&case.source()).0.iter().for_each(|document| fields(document.value(), &mut used));
    }
    for kind in api::KINDS.iter().filter(|kind| kind.group() != "dockgate.io") {
        known_fields(&kind.json_schema(), &mut known);
    }
    let missing: BTreeSet<&str> = known.difference(&used).map(String::as_str).collect();
    assert_eq!(missing, BTreeSet::from(UNUSED));
}

/// The schema is what an editor checks by: it must take what the loader takes, and refuse what is of a wrong shape.
#[test]
fn the_schema_for_editors_agrees_with_the_loader_about_shapes() {
    let schema = serde_json::from_str(&api::any_schema_json()).expect("the schema is JSON");
    let validator = jsonschema::draft7::new(&schema).expect("the schema compiles");
    let mut seen = BTreeMap::from([(true, 0), (false, 0)]);
    let mut differences = Vec::new();
    for case in cases() {
        let source = case.source();
        let (documents, _) = document::parse(&source);
        let starts: Vec<u32> = documents.iter().map(|document| document.locate(&FieldPath::root()).line).collect();
        let loaded = load(&[source]);
        for (index, document) in documents.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(u32::MAX);
            let misshapen = loaded.diagnostics.iter().any(|diagnostic| {
                (starts[index]..end).contains(&diagnostic.location.line)
                    && (diagnostic.code.starts_with("DG2") || diagnostic.code == "DG4005")
            });
            let valid = validator.is_valid(document.value());
            *seen.entry(valid).or_default() += 1;
            if valid == misshapen {
                differences.push(format!("{} in line {}: the schema says {valid}", case.name, starts[index]));
            }
        }
    }
    report(&differences);
    assert!(seen[&true] >= 100 && seen[&false] >= 25, "{seen:?}");
}
