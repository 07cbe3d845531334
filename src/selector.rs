//! Calico's selector language: an expression over labels that picks endpoints and network sets.
//!
//! Input: the text of a selector, or its parts from a typed source such as a Kubernetes label selector.
//! Output: a [`Selector`] that prints in canonical form and matches label maps.
//!
//! ```text
//! selector  := or-expr?                                ; nothing at all is all()
//! or-expr   := and-expr ( "||" and-expr )*
//! and-expr  := operation ( "&&" operation )*
//! operation := "!"* primary
//! primary   := "has(" key ")" | "all()" | "global()" | "(" or-expr ")"
//!            | key "==" text     | key "!=" text       | key "contains" text
//!            | key "starts with" text                  | key "ends with" text
//!            | key "in" set      | key "not in" set
//! set       := "{" [ text ( "," text )* [","] ] "}"
//! text      := '"' [^"]* '"' | "'" [^']* "'"           ; no escapes
//! key       := [A-Za-z0-9_./-]{1,512}
//! ```
//!
//! Words are operators only right after a key, so `in in {"x"}` asks for a label named `in`. A label that is missing
//! makes the negative tests (`!=`, `not in`) true and all others false; policies in the wild depend on it.

mod error;
mod expression;
mod logic;
mod parser;
#[cfg(test)]
mod tests;
mod unmet;
mod written;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use expression::{Expression, Test};

pub use error::Error;
pub use unmet::Unmet;
pub use written::Written;

/// Label that carries a container's or network set's namespace.
pub const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";
/// Label that says what runs an endpoint. It tells containers from network sets.
pub const ORCHESTRATOR_LABEL: &str = "projectcalico.org/orchestrator";
/// The value of [`ORCHESTRATOR_LABEL`] on every container.
pub const ORCHESTRATOR: &str = "docker";
/// Prefix under which the labels of an endpoint's namespace are looked up.
pub const NAMESPACE_PREFIX: &str = "pcns.";
/// Deepest nesting of a selector that is parsed, counted in pairs of parentheses of the text and of the canonical form.
/// Calico has no bound; this one keeps every walk over the tree within a small stack.
pub const MAX_DEPTH: usize = 64;

/// A parsed selector.
///
/// Equal selectors print equally, and what a parsed selector prints parses to an equal one. The order of the operands
/// of `&&` and `||` is kept, so two selectors may be unequal and yet match the same labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Expression);

impl Selector {
    /// Parses a selector; an empty or blank text is `all()`.
    ///
    /// White space of any kind around the selector is ignored, as Calico's `Normalise` does, because YAML block scalars
    /// end in a line break. Inside, only blanks and tabs are white space: a line break there is an error.
    pub fn parse(text: &str) -> Result<Selector, Error> {
        parser::parse(text).map(Selector)
    }

    /// `all()`.
    pub fn all() -> Selector {
        Selector(Expression::All)
    }

    /// `key == "value"`.
    ///
    /// This and the other constructors take keys and values as they are. One that the language cannot write (a value
    /// with both kinds of quotes) matches correctly, but what it prints does not parse.
    pub fn equals(key: &str, value: &str) -> Selector {
        Selector::label(key, Test::Equals(value.to_owned()))
    }

    /// `has(key)`.
    pub fn has(key: &str) -> Selector {
        Selector::label(key, Test::Exists)
    }

    /// `key in {values}`; without values it matches nothing.
    pub fn is_in<V: Into<String>>(key: &str, values: impl IntoIterator<Item = V>) -> Selector {
        Selector::label(key, Test::In(values.into_iter().map(Into::into).collect()))
    }

    /// `key not in {values}`; true where the label is missing.
    pub fn not_in<V: Into<String>>(key: &str, values: impl IntoIterator<Item = V>) -> Selector {
        Selector::label(key, Test::NotIn(values.into_iter().map(Into::into).collect()))
    }

    fn label(key: &str, test: Test) -> Selector {
        Selector(Expression::Label { key: key.to_owned(), test })
    }

    /// Both must match; `all()` on either side disappears, and conjunctions are joined into one.
    #[must_use]
    pub fn and(self, other: Selector) -> Selector {
        Selector(self.0.and(other.0))
    }

    /// Must not match; a double negation disappears.
    #[must_use]
    pub fn negate(self) -> Selector {
        Selector(self.0.negate())
    }

    /// As a selector on namespaces: keys get [`NAMESPACE_PREFIX`], `all()` becomes `has(projectcalico.org/namespace)`
    /// and `global()` becomes `!has(projectcalico.org/namespace)`.
    #[must_use]
    pub fn on_namespaces(self) -> Selector {
        Selector(self.0.on_namespaces())
    }

    /// Whether `global()` stands in it anywhere.
    pub fn mentions_global(&self) -> bool {
        self.0.mentions_global()
    }

    /// Whether it is `global()` and nothing else.
    pub fn is_global(&self) -> bool {
        self.0 == Expression::Global
    }

    /// Whether an object with these labels is selected. `global()` matches everything: it has a meaning of its own only
    /// [on namespaces](Selector::on_namespaces).
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }
}

impl fmt::Display for Selector {
    /// The canonical form: parentheses around every `&&` and `||`, double quotes, sorted sets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
