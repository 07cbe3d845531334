//! Which parts of a selector keep it from matching.
//!
//! Input: a selector and the labels of an object that it does not match. Output: the parts, each with the labels that it
//! asks for. A person who wonders why a rule passed a container by has written a selector of one or two parts, and the
//! scope of the policy has added more.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::Expression;
use super::{NAMESPACE_PREFIX, Selector};

/// A part of a selector that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The part in canonical form.
    pub expression: String,
    /// Whether it asks for the labels of the namespace; `expression` and `labels` name them without their prefix.
    pub on_namespace: bool,
    /// The labels that it asks for, and what they are.
    pub labels: Vec<(String, Option<String>)>,
}

impl Selector {
    /// The parts that do not hold for these labels: all that are joined by `&&` and fail; empty where the selector matches.
    pub fn unmet(&self, labels: &BTreeMap<String, String>) -> Vec<Unmet> {
        let mut failing = Vec::new();
        collect(&self.0, labels, &mut failing);
        failing.into_iter().map(|part| describe(part, labels)).collect()
    }
}

fn collect<'e>(part: &'e Expression, labels: &BTreeMap<String, String>, failing: &mut Vec<&'e Expression>) {
    match part {
        Expression::And(operands) => operands.iter().for_each(|operand| collect(operand, labels, failing)),
        other if !other.matches(labels) => failing.push(other),
        _ => {}
    }
}

fn describe(part: &Expression, labels: &BTreeMap<String, String>) -> Unmet {
    let mut keys = BTreeSet::new();
    mentioned(part, &mut keys);
    let on_namespace = !keys.is_empty() && keys.iter().all(|key| key.starts_with(NAMESPACE_PREFIX));
    let shown = |key: &str| {
        let short = key.strip_prefix(NAMESPACE_PREFIX).filter(|_| on_namespace);
        short.unwrap_or(key).to_owned()
    };
    let expression = if on_namespace { part.with_keys(&shown).to_string() } else { part.to_string() };
    let labels = keys.into_iter().map(|key| (shown(key), labels.get(key).cloned())).collect();
    Unmet { expression, on_namespace, labels }
}

fn mentioned<'e>(part: &'e Expression, keys: &mut BTreeSet<&'e str>) {
    match part {
        Expression::All | Expression::Global => {}
        Expression::Label { key, .. } => {
            keys.insert(key);
        }
        Expression::Not(operand) => mentioned(operand, keys),
        Expression::And(operands) | Expression::Or(operands) => {
            for operand in operands {
                mentioned(operand, keys);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_that_fail_are_named_with_what_the_labels_are() {
        let labels = [("app", "web"), ("pcns.team", "blue")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = BTreeMap::from(labels);
        let of_namespaces = Selector::parse("team == 'red'").unwrap().on_namespaces();
        for (selector, parts) in [
            ("app == 'web'", vec![]),
            ("app == 'api' && has(app)", vec![("app == \"api\"", false, vec![("app", Some("web"))])]),
            (
                "role == 'db' && app in {'api', 'db'}",
                vec![
                    ("role == \"db\"", false, vec![("role", None)]),
                    ("app in {\"api\", \"db\"}", false, vec![("app", Some("web"))]),
                ],
            ),
            (
                "has(x) || app == 'api'",
                vec![("(has(x) || app == \"api\")", false, vec![("app", Some("web")), ("x", None)])],
            ),
            ("!has(app)", vec![("!has(app)", false, vec![("app", Some("web"))])]),
        ] {
            assert_eq!(of(&Selector::parse(selector).unwrap(), &labels), owned(&parts), "{selector}");
        }
        let expected = [("team == \"red\"", true, vec![("team", Some("blue"))])];
        assert_eq!(of(&of_namespaces, &labels), owned(&expected));
    }

    fn of(selector: &Selector, labels: &BTreeMap<String, String>) -> Vec<Unmet> {
        selector.unmet(labels)
    }

    type Part<'t> = (&'t str, bool, Vec<(&'t str, Option<&'t str>)>);

    fn owned(parts: &[Part<'_>]) -> Vec<Unmet> {
        let label = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        let part = |(expression, on_namespace, labels): &Part<'_>| Unmet {
            expression: (*expression).to_owned(),
            on_namespace: *on_namespace,
            labels: labels.iter().map(label).collect(),
        };
        parts.iter().map(part).collect()
    }
}
