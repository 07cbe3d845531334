//! A selector as the author of a policy wrote it: in two fields, one for the endpoint and one for its namespace.
//!
//! Input: a selector into which [`Selector::on_namespaces`] was folded. Output: text. The prefix of a namespace's labels is
//! ours, and no policy may write it; who reads it in an answer looks for it in vain.

use std::fmt;

use super::expression::{Expression, Test};
use super::{NAMESPACE_LABEL, NAMESPACE_PREFIX, Selector};

/// See [`Selector::written`].
pub struct Written<'a>(&'a Selector);

impl Selector {
    /// Prints as `namespaceSelector: ...` what is asked of the namespace, and beside it as `selector: ...` what is asked of the
    /// endpoint itself; as the selector alone where nothing is asked of the namespace.
    pub fn written(&self) -> Written<'_> {
        Written(self)
    }
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.conjuncts().into_iter();
        let (mut of_namespace, mut own) = (Vec::new(), Vec::new());
        for part in parts.map(|part| part.0) {
            match on_namespace(&part) {
                Some(part) => of_namespace.push(part),
                None => own.push(part),
            }
        }
        let joined = |parts: Vec<Expression>| parts.into_iter().reduce(Expression::and);
        match (joined(of_namespace), joined(own)) {
            (None, _) => self.0.fmt(f),
            (Some(of_namespace), None) => write!(f, "namespaceSelector: {of_namespace}"),
            (Some(of_namespace), Some(own)) => write!(f, "namespaceSelector: {of_namespace}, selector: {own}"),
        }
    }
}

/// The part as it stood under `namespaceSelector`, if it comes from there.
fn on_namespace(part: &Expression) -> Option<Expression> {
    let is_any =
        |part: &Expression| matches!(part, Expression::Label { key, test: Test::Exists } if key == NAMESPACE_LABEL);
    match part {
        part if is_any(part) => return Some(Expression::All),
        Expression::Not(operand) if is_any(operand) => return Some(Expression::Global),
        _ => {}
    }
    let selector = Selector(part.clone());
    let keys = selector.keys();
    let bare = |key: &str| key.strip_prefix(NAMESPACE_PREFIX).unwrap_or(key).to_owned();
    let is_prefixed = |key: &&str| key.starts_with(NAMESPACE_PREFIX);
    let is_of_namespace =
        keys.iter().any(is_prefixed) && keys.iter().all(|key| is_prefixed(key) || *key == NAMESPACE_LABEL);
    is_of_namespace.then(|| part.with_keys(&bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_the_namespace_stands_in_a_field_of_its_own() {
        let selector = |text: &str| Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        #[rustfmt::skip]
        let rows = [
            ("", "app == 'web'", r#"app == "web""#),
            ("", "app == 'web' && has(b)", r#"(app == "web" && has(b))"#),
            ("team == 'blue'", "", r#"namespaceSelector: team == "blue""#),
            ("team == 'blue' && env in {'x'}", "app == 'web' && has(b)",
             r#"namespaceSelector: (team == "blue" && env in {"x"}), selector: (app == "web" && has(b))"#),
            ("a == 'x' || b == 'y'", "", r#"namespaceSelector: (a == "x" || b == "y")"#),
            ("all()", "app == 'web'", r#"namespaceSelector: all(), selector: app == "web""#),
            ("global()", "app == 'web'", r#"namespaceSelector: global(), selector: app == "web""#),
        ];
        for (namespace, own, expected) in rows {
            let scope = if namespace.is_empty() { Selector::all() } else { selector(namespace).on_namespaces() };
            assert_eq!(scope.and(selector(own)).written().to_string(), expected);
        }
        assert_eq!(
            selector("has(projectcalico.org/namespace)").negate().written().to_string(),
            "namespaceSelector: global()"
        );
    }
}
