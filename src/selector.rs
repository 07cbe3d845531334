//! Calico's selector language.
//!
//! Input: the text of a selector. Output: a [`Selector`] that prints in canonical form and matches label maps.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

/// Label that carries a container's or network set's namespace.
pub const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";
/// Prefix under which the labels of an endpoint's namespace are looked up.
pub const NAMESPACE_PREFIX: &str = "pcns.";

/// A parsed selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(String);

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Byte offset in the text.
    pub offset: usize,
}

impl Selector {
    /// Parses a selector; an empty or blank text is `all()`.
    pub fn parse(_text: &str) -> Result<Selector, Error> {
        todo!()
    }
    /// `all()`.
    pub fn all() -> Selector {
        todo!()
    }
    /// `key == "value"`.
    pub fn equals(_key: &str, _value: &str) -> Selector {
        todo!()
    }
    /// `has(key)`.
    pub fn has(_key: &str) -> Selector {
        todo!()
    }
    /// Both must match; `all()` on either side disappears.
    pub fn and(self, _other: Selector) -> Selector {
        todo!()
    }
    /// Must not match.
    pub fn negate(self) -> Selector {
        todo!()
    }
    /// As a selector on namespaces: keys get [`NAMESPACE_PREFIX`], `all()` becomes `has(projectcalico.org/namespace)`
    /// and `global()` becomes `!has(projectcalico.org/namespace)` (calico-semantics §3.5).
    pub fn on_namespaces(self) -> Selector {
        todo!()
    }
    /// Whether `global()` stands in it anywhere.
    pub fn mentions_global(&self) -> bool {
        todo!()
    }
    /// Whether it is `global()` and nothing else.
    pub fn is_global(&self) -> bool {
        todo!()
    }
    /// Whether an object with these labels is selected.
    pub fn matches(&self, _labels: &BTreeMap<String, String>) -> bool {
        todo!()
    }
}

impl fmt::Display for Selector {
    /// The canonical form: parentheses around every `&&` and `||`, double quotes, sorted sets.
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
