//! What can be proved of a selector without any object: that nothing matches it, that everything does, that one selector
//! holds wherever another does.
//!
//! Input: syntax trees. Output: proofs, or none. "Not proved" is always a possible answer, so that a caller who acts on
//! proofs alone says nothing wrong: a selector with too many alternatives is left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::Selector;
use super::expression::{Expression, Test};

/// Alternatives beyond which nothing is proved. A selector that a person wrote has a handful.
const MAX_ALTERNATIVES: usize = 256;

/// A test of a label that must come out as stated.
#[derive(Clone, Copy)]
struct Demand<'a> {
    key: &'a str,
    test: &'a Test,
    holds: bool,
}

/// Demands that hold together.
type Alternative<'a> = Vec<Demand<'a>>;

/// What a label may be under all demands on it.
enum Value {
    Absent,
    Text(String),
    /// Nothing is against it, and no value was found.
    Unclear,
    Impossible,
}

impl Selector {
    /// Whether it is proved that no labels match.
    pub fn is_contradiction(&self) -> bool {
        is_refuted(alternatives(&self.0, true).as_ref())
    }

    /// Whether it is proved that all labels match.
    pub fn is_tautology(&self) -> bool {
        is_refuted(alternatives(&self.0, false).as_ref())
    }

    /// Whether it is proved that `other` matches whatever this one matches.
    pub fn implies(&self, other: &Selector) -> bool {
        self == other || is_refuted(product(alternatives(&self.0, true), alternatives(&other.0, false)).as_ref())
    }

    /// Labels that match, if some were found.
    pub fn example(&self) -> Option<BTreeMap<String, String>> {
        alternatives(&self.0, true)?.iter().find_map(labels)
    }

    /// The selectors that must all match, one if it is no conjunction.
    pub fn conjuncts(&self) -> Vec<Selector> {
        match &self.0 {
            Expression::And(operands) => operands.iter().cloned().map(Selector).collect(),
            other => vec![Selector(other.clone())],
        }
    }

    /// Whether it is a negation as a whole: `!` before everything else.
    pub fn is_negation(&self) -> bool {
        matches!(self.0, Expression::Not(_))
    }

    /// The keys of the labels that it asks for.
    pub fn keys(&self) -> BTreeSet<&str> {
        let mut keys = BTreeSet::new();
        let mut open = vec![&self.0];
        while let Some(expression) = open.pop() {
            match expression {
                Expression::All | Expression::Global => {}
                Expression::Label { key, .. } => {
                    keys.insert(key.as_str());
                }
                Expression::Not(operand) => open.push(operand),
                Expression::And(operands) | Expression::Or(operands) => open.extend(operands),
            }
        }
        keys
    }
}

/// The alternatives, one of which holds where the expression holds (or does not, as stated). Those that contradict
/// themselves are left out. `None` when there are too many.
fn alternatives(expression: &Expression, holds: bool) -> Option<Vec<Alternative<'_>>> {
    match (expression, holds) {
        (Expression::All | Expression::Global, true) => Some(vec![Vec::new()]),
        (Expression::All | Expression::Global, false) => Some(Vec::new()),
        (Expression::Label { key, test }, holds) => {
            let alternative = vec![Demand { key, test, holds }];
            Some(if is_possible(&alternative) { vec![alternative] } else { Vec::new() })
        }
        (Expression::Not(operand), holds) => alternatives(operand, !holds),
        (Expression::And(operands), true) | (Expression::Or(operands), false) => {
            operands.iter().map(|operand| alternatives(operand, holds)).fold(Some(vec![Vec::new()]), product)
        }
        (Expression::And(operands), false) | (Expression::Or(operands), true) => {
            let mut all = Vec::new();
            for operand in operands {
                all.extend(alternatives(operand, holds)?);
                if all.len() > MAX_ALTERNATIVES {
                    return None;
                }
            }
            Some(all)
        }
    }
}

/// The alternatives in which one of each side holds.
fn product<'a>(
    left: Option<Vec<Alternative<'a>>>,
    right: Option<Vec<Alternative<'a>>>,
) -> Option<Vec<Alternative<'a>>> {
    // A side that cannot hold decides, however many alternatives the other has.
    if is_refuted(left.as_ref()) || is_refuted(right.as_ref()) {
        return Some(Vec::new());
    }
    let (left, right) = (left?, right?);
    if left.len().saturating_mul(right.len()) > MAX_ALTERNATIVES {
        return None;
    }
    let pairs = left.iter().flat_map(|one| right.iter().map(move |other| [one.as_slice(), other].concat()));
    Some(pairs.filter(is_possible).collect())
}

/// Whether none of the alternatives can hold; `None` are too many to tell.
fn is_refuted(alternatives: Option<&Vec<Alternative<'_>>>) -> bool {
    alternatives.is_some_and(Vec::is_empty)
}

fn by_key<'a, 'd>(alternative: &'d Alternative<'a>) -> BTreeMap<&'a str, Vec<&'d Demand<'a>>> {
    let mut by_key: BTreeMap<&str, Vec<&Demand<'_>>> = BTreeMap::new();
    for demand in alternative {
        by_key.entry(demand.key).or_default().push(demand);
    }
    by_key
}

fn is_possible(alternative: &Alternative<'_>) -> bool {
    by_key(alternative).values().all(|demands| !matches!(value(demands), Value::Impossible))
}

/// Labels that meet every demand; `None` when none were found.
fn labels(alternative: &Alternative<'_>) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (key, demands) in by_key(alternative) {
        match value(&demands) {
            Value::Absent => {}
            Value::Text(text) => {
                labels.insert(key.to_owned(), text);
            }
            Value::Unclear | Value::Impossible => return None,
        }
    }
    Some(labels)
}

/// A value under all demands on one label.
fn value(demands: &[&Demand<'_>]) -> Value {
    let meets = |value: Option<&str>| demands.iter().all(|demand| demand.test.holds(value) == demand.holds);
    if meets(None) {
        return Value::Absent;
    }
    if let Some(candidates) = demands.iter().find_map(|demand| listed(demand)) {
        let found = candidates.into_iter().find(|candidate| meets(Some(candidate)));
        return found.map_or(Value::Impossible, |found| Value::Text(found.to_owned()));
    }
    let parts = Parts::of(demands);
    if parts.contradict(demands) {
        return Value::Impossible;
    }
    let texts = ["", "-", "x-0", "other-value"].map(|filler| parts.joined(filler));
    texts.into_iter().find(|text| meets(Some(text))).map_or(Value::Unclear, Value::Text)
}

/// The only values that a demand leaves, where it leaves a few.
fn listed<'a>(demand: &Demand<'a>) -> Option<Vec<&'a str>> {
    match (demand.test, demand.holds) {
        (Test::Equals(value), true) | (Test::Differs(value), false) => Some(vec![value]),
        (Test::In(values), true) | (Test::NotIn(values), false) => Some(values.iter().map(String::as_str).collect()),
        _ => None,
    }
}

/// What a value must hold, where nothing lists its possible values.
struct Parts<'a> {
    starts: Vec<&'a str>,
    ends: Vec<&'a str>,
    within: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(demands: &[&Demand<'a>]) -> Parts<'a> {
        let mut parts = Parts { starts: Vec::new(), ends: Vec::new(), within: Vec::new() };
        for demand in demands.iter().filter(|demand| demand.holds) {
            match demand.test {
                Test::StartsWith(text) => parts.starts.push(text),
                Test::EndsWith(text) => parts.ends.push(text),
                Test::Contains(text) => parts.within.push(text),
                Test::Exists | Test::Equals(_) | Test::Differs(_) | Test::In(_) | Test::NotIn(_) => {}
            }
        }
        parts.starts.sort_by_key(|text| text.len());
        parts.ends.sort_by_key(|text| text.len());
        parts
    }

    /// Whether no value has all of them and meets the negative demands. A few values that are excluded say nothing: there
    /// are always others.
    fn contradict(&self, demands: &[&Demand<'_>]) -> bool {
        let (start, end) = self.outer();
        let disagree = self.starts.iter().any(|text| !start.starts_with(text))
            || self.ends.iter().any(|text| !end.ends_with(text));
        let all: Vec<&str> = [start, end].into_iter().chain(self.within.iter().copied()).collect();
        disagree
            || demands.iter().filter(|demand| !demand.holds).any(|demand| match demand.test {
                // The label is not absent, or this would not be asked.
                Test::Exists => true,
                Test::StartsWith(text) => start.starts_with(text.as_str()),
                Test::EndsWith(text) => end.ends_with(text.as_str()),
                Test::Contains(text) => all.iter().any(|part| part.contains(text.as_str())),
                Test::Equals(_) | Test::Differs(_) | Test::In(_) | Test::NotIn(_) => false,
            })
    }

    /// The longest beginning and the longest end.
    fn outer(&self) -> (&'a str, &'a str) {
        (self.starts.last().copied().unwrap_or_default(), self.ends.last().copied().unwrap_or_default())
    }

    fn joined(&self, filler: &str) -> String {
        let (start, end) = self.outer();
        let within = self.within.iter().copied();
        [start].into_iter().chain(within).chain([end]).collect::<Vec<_>>().join(filler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> Selector {
        Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn contradictions_are_proved() {
        #[rustfmt::skip]
        let rows = [
            ("two values", "a == 'x' && a == 'y'", true),
            ("one value twice", "a == 'x' && a == 'x'", false),
            ("a value of another label", "a == 'x' && b == 'y'", false),
            ("a value without the label", "!has(a) && a == 'x'", true),
            ("another value without the label", "!has(a) && a != 'x'", false),
            ("a value that the set lacks", "a in {'x', 'y'} && a == 'z'", true),
            ("a value that the set has", "a in {'x', 'y'} && a == 'y'", false),
            ("an empty set", "a in {}", true),
            ("every value excluded", "a in {'x', 'y'} && a != 'x' && a not in {'y'}", true),
            ("one value left", "a in {'x', 'y'} && a != 'x'", false),
            ("two beginnings", "a starts with 'x' && a starts with 'y'", true),
            ("a longer beginning", "a starts with 'x' && a starts with 'xy'", false),
            ("two ends", "a ends with 'x' && a ends with 'y'", true),
            ("a beginning of a value", "a starts with 'x' && a == 'yx'", true),
            ("a part that is excluded", "a contains 'xyz' && !(a contains 'y')", true),
            ("a part that is not", "a contains 'xz' && !(a contains 'y')", false),
            ("a negated beginning", "a starts with 'xy' && !(a starts with 'x')", true),
            ("one alternative is left", "(a == 'x' || a == 'y') && a == 'y'", false),
            ("no alternative is left", "(a == 'x' || a == 'y') && a == 'z'", true),
            ("a negated disjunction", "!(a == 'x' || has(b)) && b == 'y'", true),
            ("nothing of all", "!all()", true),
            ("all", "all()", false),
        ];
        for (name, text, expected) in rows {
            assert_eq!(selector(text).is_contradiction(), expected, "{name}");
            assert_eq!(selector(text).negate().is_tautology(), expected, "{name}, negated");
        }
    }

    #[test]
    fn implications_are_proved() {
        #[rustfmt::skip]
        let rows = [
            ("anything implies all", "a == 'x'", "all()", true),
            ("all implies nothing else", "all()", "has(a)", false),
            ("a conjunction implies its parts", "a == 'x' && b == 'y'", "b == 'y'", true),
            ("a part not the conjunction", "b == 'y'", "a == 'x' && b == 'y'", false),
            ("order of operands", "a == 'x' && b == 'y'", "b == 'y' && a == 'x'", true),
            ("a value implies its set", "a == 'x'", "a in {'x', 'y'}", true),
            ("a set not a value", "a in {'x', 'y'}", "a == 'x'", false),
            ("a value implies the label", "a == 'x'", "has(a)", true),
            ("another value", "a == 'x'", "a != 'y'", true),
            ("a missing label differs", "!has(a)", "a != 'y'", true),
            ("a longer beginning", "a starts with 'xy'", "a starts with 'x'", true),
            ("two ways to write one", "a in {'x', 'y'}", "a == 'x' || a == 'y'", true),
            ("a contradiction implies anything", "a == 'x' && a == 'y'", "b == 'z'", true),
        ];
        for (name, text, other, expected) in rows {
            assert_eq!(selector(text).implies(&selector(other)), expected, "{name}");
        }
    }

    #[test]
    fn a_selector_with_too_many_alternatives_is_left_alone() {
        let pairs: Vec<String> = (0..20).map(|n| format!("(a{n} == 'x' || a{n} == 'y')")).collect();
        let many = selector(&pairs.join(" && "));
        assert!(!many.is_contradiction() && !many.is_tautology() && many.example().is_none());
        assert!(selector(&format!("a == 'x' && a == 'y' && {}", pairs.join(" && "))).is_contradiction());
    }

    #[test]
    fn parts_and_keys_are_told() {
        let text = "a == 'x' && (has(b) || !c in {'y'})";
        let parts: Vec<String> = selector(text).conjuncts().iter().map(ToString::to_string).collect();
        assert_eq!(parts, [r#"a == "x""#, r#"(has(b) || !c in {"y"})"#]);
        assert_eq!(selector(text).keys(), BTreeSet::from(["a", "b", "c"]));
    }
}
