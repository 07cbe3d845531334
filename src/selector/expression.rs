//! The syntax tree of a selector: its evaluation and its canonical form.
//!
//! Input: a tree from the parser or from the constructors of [`Selector`](super::Selector). Output: a decision for a
//! label map, and text. The constructors here keep the tree in the shape that printing and parsing again would give it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{NAMESPACE_LABEL, NAMESPACE_PREFIX};

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Expression {
    /// `all()`
    All,
    /// `global()`
    Global,
    /// A question about one label.
    Label {
        /// The label's key.
        key: String,
        /// What is asked of its value.
        test: Test,
    },
    /// `!`; its operand is never a negation.
    Not(Box<Expression>),
    /// `&&` of two or more.
    And(Vec<Expression>),
    /// `||` of two or more.
    Or(Vec<Expression>),
}

/// What is asked of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Test {
    /// `has(key)`
    Exists,
    /// `key == "value"`
    Equals(String),
    /// `key != "value"`
    Differs(String),
    /// `key contains "value"`
    Contains(String),
    /// `key starts with "value"`
    StartsWith(String),
    /// `key ends with "value"`
    EndsWith(String),
    /// `key in {"a", "b"}`
    In(BTreeSet<String>),
    /// `key not in {"a", "b"}`
    NotIn(BTreeSet<String>),
}

impl Test {
    /// Whether a label with this value, or a missing one, passes. Comparison is by byte, and nothing is numeric.
    pub(super) fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Test::Differs(_) | Test::NotIn(_), None) | (Test::Exists, Some(_)) => true,
            (_, None) => false,
            (Test::Equals(expected), Some(value)) => value == expected,
            (Test::Differs(unwanted), Some(value)) => value != unwanted,
            (Test::Contains(part), Some(value)) => value.contains(part.as_str()),
            (Test::StartsWith(prefix), Some(value)) => value.starts_with(prefix.as_str()),
            (Test::EndsWith(suffix), Some(value)) => value.ends_with(suffix.as_str()),
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
        }
    }
}

impl Expression {
    /// The negation; never of a negation, since `!!` is parsed as nothing.
    pub(super) fn negate(self) -> Expression {
        match self {
            Expression::Not(operand) => *operand,
            other => Expression::Not(Box::new(other)),
        }
    }

    /// The conjunction. `all()` disappears; operands that are conjunctions are joined into one, so that folding one
    /// scope after another into a selector does not make it deeper.
    pub(super) fn and(self, other: Expression) -> Expression {
        match (self, other) {
            (Expression::All, expression) | (expression, Expression::All) => expression,
            (left, right) => {
                let mut operands = left.into_conjuncts();
                operands.extend(right.into_conjuncts());
                Expression::And(operands)
            }
        }
    }

    fn into_conjuncts(self) -> Vec<Expression> {
        match self {
            Expression::And(operands) => operands,
            other => vec![other],
        }
    }

    /// See [`Selector::on_namespaces`](super::Selector::on_namespaces). It works on the tree because Calico's rewriting
    /// of the text also rewrites `all()` inside a quoted value.
    pub(super) fn on_namespaces(self) -> Expression {
        let each = |operands: Vec<Expression>| operands.into_iter().map(Expression::on_namespaces).collect();
        match self {
            Expression::All => Expression::has_namespace(),
            Expression::Global => Expression::has_namespace().negate(),
            Expression::Label { key, test } => Expression::Label { key: format!("{NAMESPACE_PREFIX}{key}"), test },
            Expression::Not(operand) => operand.on_namespaces().negate(),
            Expression::And(operands) => Expression::And(each(operands)),
            Expression::Or(operands) => Expression::Or(each(operands)),
        }
    }

    fn has_namespace() -> Expression {
        Expression::Label { key: NAMESPACE_LABEL.to_owned(), test: Test::Exists }
    }

    /// The same with other keys.
    pub(super) fn with_keys(&self, of: &impl Fn(&str) -> String) -> Expression {
        let each = |operands: &[Expression]| operands.iter().map(|operand| operand.with_keys(of)).collect();
        match self {
            Expression::All => Expression::All,
            Expression::Global => Expression::Global,
            Expression::Label { key, test } => Expression::Label { key: of(key), test: test.clone() },
            Expression::Not(operand) => Expression::Not(Box::new(operand.with_keys(of))),
            Expression::And(operands) => Expression::And(each(operands)),
            Expression::Or(operands) => Expression::Or(each(operands)),
        }
    }

    /// Whether `global()` stands in it anywhere.
    pub(super) fn mentions_global(&self) -> bool {
        match self {
            Expression::Global => true,
            Expression::All | Expression::Label { .. } => false,
            Expression::Not(operand) => operand.mentions_global(),
            Expression::And(operands) | Expression::Or(operands) => operands.iter().any(Expression::mentions_global),
        }
    }

    /// Whether these labels are selected.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Expression::All | Expression::Global => true,
            Expression::Label { key, test } => test.holds(labels.get(key).map(String::as_str)),
            Expression::Not(operand) => !operand.matches(labels),
            Expression::And(operands) => operands.iter().all(|operand| operand.matches(labels)),
            Expression::Or(operands) => operands.iter().any(|operand| operand.matches(labels)),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::All => f.write_str("all()"),
            Expression::Global => f.write_str("global()"),
            Expression::Label { key, test } => write_label(f, key, test),
            Expression::Not(operand) => {
                f.write_str("!")?;
                operand.fmt(f)
            }
            Expression::And(operands) => write_group(f, operands, " && "),
            Expression::Or(operands) => write_group(f, operands, " || "),
        }
    }
}

fn write_group(f: &mut fmt::Formatter<'_>, operands: &[Expression], operator: &str) -> fmt::Result {
    f.write_str("(")?;
    for (index, operand) in operands.iter().enumerate() {
        if index > 0 {
            f.write_str(operator)?;
        }
        fmt::Display::fmt(operand, f)?;
    }
    f.write_str(")")
}

fn write_label(f: &mut fmt::Formatter<'_>, key: &str, test: &Test) -> fmt::Result {
    let (operator, value) = match test {
        Test::Exists => return write!(f, "has({key})"),
        Test::In(values) => return write_set(f, key, "in", values),
        Test::NotIn(values) => return write_set(f, key, "not in", values),
        Test::Equals(value) => ("==", value),
        Test::Differs(value) => ("!=", value),
        Test::Contains(value) => ("contains", value),
        Test::StartsWith(value) => ("starts with", value),
        Test::EndsWith(value) => ("ends with", value),
    };
    write!(f, "{key} {operator} {}", Quoted(value))
}

fn write_set(f: &mut fmt::Formatter<'_>, key: &str, operator: &str, values: &BTreeSet<String>) -> fmt::Result {
    write!(f, "{key} {operator} {{")?;
    for (index, value) in values.iter().enumerate() {
        let separator = if index > 0 { ", " } else { "" };
        write!(f, "{separator}{}", Quoted(value))?;
    }
    f.write_str("}")
}

/// A value in double quotes, or in single quotes where it contains a double one: the language has no escapes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}
