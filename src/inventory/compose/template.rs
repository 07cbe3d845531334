//! Variables in values, as Compose substitutes them: `$VAR`, `${VAR}`, `${VAR:-default}` and its kin, `$$`.
//!
//! Input: a text and the variables. Output: the text with their values, and which variables had none.

use std::collections::{BTreeMap, BTreeSet};

/// Why a text cannot be substituted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("`{0}` is not a substitution: write `${{NAME}}`, or `$$` for a dollar sign")]
    Invalid(String),
    #[error("more than {MAX_DEPTH} substitutions stand within each other")]
    Deep,
    #[error("the variable `{name}` is required and not set{}", if reason.is_empty() { String::new() } else { format!(": {reason}") })]
    Required { name: String, reason: String },
}

/// Most substitutions within each other.
const MAX_DEPTH: usize = 32;

/// What stands between a variable's name and the text that belongs to it.
const OPERATORS: [&str; 6] = [":?", "?", ":-", "-", ":+", "+"];

/// Substitutes variables. Names of variables that are needed and not set, for which Compose takes an empty text, are added
/// to `unset`.
pub(super) fn substitute(
    template: &str,
    variables: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
) -> Result<String, Problem> {
    Substitution { variables, unset, depth: 0 }.text(template)
}

struct Substitution<'a> {
    variables: &'a BTreeMap<String, String>,
    unset: &'a mut BTreeSet<String>,
    /// How many substitutions the text stands in.
    depth: usize,
}

impl Substitution<'_> {
    fn text(&mut self, template: &str) -> Result<String, Problem> {
        let mut result = String::new();
        let mut rest = template;
        while let Some(start) = rest.find('$') {
            result.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            if let Some(left) = after.strip_prefix('$') {
                result.push('$');
                rest = left;
            } else if after.starts_with('{') {
                let end = closing_brace(after).ok_or_else(|| Problem::Invalid(rest[start..].to_owned()))?;
                result.push_str(&self.braced(&after[1..end])?);
                rest = &after[end + 1..];
            } else {
                let name = name(after);
                // A dollar sign before anything else is one.
                if name.is_empty() {
                    result.push('$');
                } else {
                    result.push_str(self.value(name));
                }
                rest = &after[name.len()..];
            }
        }
        result.push_str(rest);
        Ok(result)
    }

    /// What stands between the braces.
    fn braced(&mut self, inside: &str) -> Result<String, Problem> {
        let name = name(inside);
        let rest = &inside[name.len()..];
        let invalid = || Problem::Invalid(format!("${{{inside}}}"));
        if name.is_empty() {
            return Err(invalid());
        }
        if rest.is_empty() {
            return Ok(self.value(name).to_owned());
        }
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)).ok_or_else(invalid)?;
        let argument = &rest[operator.len()..];
        let known = self.variables.get(name).filter(|value| !operator.starts_with(':') || !value.is_empty());
        match (operator.trim_start_matches(':'), known) {
            ("+", Some(_)) => self.argument(argument),
            ("+", None) => Ok(String::new()),
            (_, Some(value)) => Ok(value.clone()),
            ("?", None) => Err(Problem::Required { name: name.to_owned(), reason: self.argument(argument)? }),
            (_, None) => self.argument(argument),
        }
    }

    fn argument(&mut self, text: &str) -> Result<String, Problem> {
        if self.depth == MAX_DEPTH {
            return Err(Problem::Deep);
        }
        self.depth += 1;
        let result = self.text(text);
        self.depth -= 1;
        result
    }

    fn value(&mut self, name: &str) -> &str {
        let value = self.variables.get(name);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value.map_or("", String::as_str)
    }
}

/// The name with which a text begins; may be empty.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

/// The brace that closes the one with which the text begins.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(index),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}
