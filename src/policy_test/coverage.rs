//! Which rules tests have exercised.
//!
//! Input: policies, and verdicts on connections that were asked about. Output: every rule that is enforced, with whether one
//! of those packets has matched it. An invariant asks about whole ranges of ports, so that it matches rules that its author
//! never thought of: what nothing else exercises is told apart.

use std::collections::BTreeMap;

use crate::compile::Compiled;
use crate::policy::{Direction, Location, PolicyKey, PolicySet};

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoveredRule {
    /// Where it stands.
    pub location: Location,
    /// The policy.
    pub policy: PolicyKey,
    /// The direction.
    pub direction: Direction,
    /// Its index in the list of that direction.
    pub index: usize,
}

/// By what a rule was exercised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exercise {
    /// By nothing.
    #[default]
    None,
    /// By invariants alone.
    Invariant,
    /// By a case or a cell of a matrix.
    Case,
}

/// Rules, each with by what it was exercised.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    rules: BTreeMap<CoveredRule, Exercise>,
}

impl Coverage {
    /// Adds the rules of policies.
    pub fn add(&mut self, policies: &PolicySet) {
        for policy in policies.policies.iter().filter(|policy| !policy.key.kind.is_staged()) {
            for direction in Direction::ALL {
                for rule in policy.rules(direction).unwrap_or_default() {
                    let (location, index) = (rule.location.clone(), rule.index);
                    let rule = CoveredRule { location, policy: policy.key.clone(), direction, index };
                    self.rules.entry(rule).or_default();
                }
            }
        }
    }

    /// Takes the rules that a packet has matched, given by their comments, for exercised.
    pub(super) fn exercise<'c>(&mut self, compiled: &Compiled, matched: impl Iterator<Item = &'c str>, by: Exercise) {
        let origins = matched.filter_map(|comment| compiled.origins.get(comment));
        for origin in origins {
            let Some(index) = origin.rule else { continue };
            let (location, policy) = (origin.location.clone(), origin.policy.clone());
            let rule = CoveredRule { location, policy, direction: origin.direction, index };
            let so_far = self.rules.entry(rule).or_default();
            *so_far = by.max(*so_far);
        }
    }

    /// The number of rules.
    pub fn total(&self) -> usize {
        self.rules.len()
    }

    /// The rules that nothing exercised, by place.
    pub fn missed(&self) -> impl Iterator<Item = &CoveredRule> {
        self.exercised(Exercise::None)
    }

    /// The rules that invariants exercised and nothing else, by place.
    pub fn only_by_invariants(&self) -> impl Iterator<Item = &CoveredRule> {
        self.exercised(Exercise::Invariant)
    }

    fn exercised(&self, by: Exercise) -> impl Iterator<Item = &CoveredRule> {
        self.rules.iter().filter(move |(_, exercised)| **exercised == by).map(|(rule, _)| rule)
    }

    /// The exercised part of all rules in percent, rounded down; 100 where there is no rule.
    pub fn percent(&self) -> usize {
        let exercised = self.total() - self.missed().count();
        (exercised * 100).checked_div(self.total()).unwrap_or(100)
    }
}
