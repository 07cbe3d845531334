use crate::policy::{Direction, Loaded, Policy, Rule, SourceFile, load};

mod kubernetes;
mod metadata;
mod policies;
mod rules;

fn loaded(text: &str) -> Loaded {
    load(&[SourceFile::new("p.yaml", text)])
}

/// Codes and places of everything but notes.
fn found(text: &str) -> Vec<String> {
    let loaded = loaded(text);
    let told = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.code != "DG3201");
    told.map(|d| format!("{} {}:{} {}", d.code, d.location.line, d.location.column, d.field)).collect()
}

/// Asserts what is found in a text. Each `§` in it marks the place of one finding; the findings follow in the same order,
/// each as `CODE field`.
fn assert_found(name: &str, marked: &str, expected: &[&str]) {
    let mut text = String::new();
    let mut places = Vec::new();
    for character in marked.chars() {
        if character == '§' {
            let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            places.push(format!("{}:{column}", text.matches('\n').count() + 1));
        } else {
            text.push(character);
        }
    }
    let told = expected.iter().zip(&places).map(|(told, place)| {
        let (code, field) = told.split_once(' ').expect("a code and a field");
        format!("{code} {place} {field}")
    });
    assert_eq!(places.len(), expected.len(), "{name}: one mark for each finding");
    assert_eq!(found(&text), told.collect::<Vec<_>>(), "{name}");
}

/// The only policy of a text without findings.
fn policy(text: &str) -> Policy {
    let loaded = loaded(text);
    assert_eq!(found(text), Vec::<String>::new(), "{text}");
    let [policy] = &loaded.policies.policies[..] else { panic!("one policy: {text}") };
    policy.clone()
}

/// A document of this kind with a spec in flow style.
fn document(kind: &str, namespace: Option<&str>, spec: &str) -> String {
    let namespace = namespace.map_or_else(String::new, |namespace| format!(", namespace: {namespace}"));
    let group = if kind == "kubernetes" { "networking.k8s.io/v1" } else { "projectcalico.org/v3" };
    let kind = if kind == "kubernetes" { "NetworkPolicy" } else { kind };
    format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: x{namespace}}}\nspec: {spec}\n")
}

/// The ingress rules of a policy with one rule in flow style.
fn rule(kind: &str, namespace: Option<&str>, rule: &str) -> Rule {
    let policy = policy(&document(kind, namespace, &format!("{{ingress: [{rule}]}}")));
    policy.rules(Direction::Ingress).expect("ingress is governed")[0].clone()
}

/// The directions that are governed, with the number of rules of each.
fn governed(policy: &Policy) -> Vec<(Direction, usize)> {
    Direction::ALL.into_iter().filter_map(|direction| Some((direction, policy.rules(direction)?.len()))).collect()
}
