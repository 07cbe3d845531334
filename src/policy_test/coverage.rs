//! Which rules the cases of tests have exercised.
//!
//! Input: policies, and verdicts on connections that were asked about. Output: every rule that is enforced, with whether one
//! of those packets has matched it. Invariants ask about everything, so that they exercise nothing.

use std::collections::BTreeMap;

use crate::compile::Compiled;
use crate::policy::{Direction, Location, PolicyKey, PolicySet};
use crate::verdict::Verdict;

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

/// Rules, each with whether it was exercised.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    rules: BTreeMap<CoveredRule, bool>,
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

    /// Takes the rules that a packet has matched for exercised.
    pub(super) fn exercise(&mut self, compiled: &Compiled, verdict: &Verdict) {
        let origins = verdict.trace.iter().filter_map(|hit| compiled.origins.get(&hit.comment));
        for origin in origins {
            let Some(index) = origin.rule else { continue };
            let (location, policy) = (origin.location.clone(), origin.policy.clone());
            self.rules.insert(CoveredRule { location, policy, direction: origin.direction, index }, true);
        }
    }

    /// The number of rules.
    pub fn total(&self) -> usize {
        self.rules.len()
    }

    /// The rules that nothing exercised, by place.
    pub fn missed(&self) -> impl Iterator<Item = &CoveredRule> {
        self.rules.iter().filter(|(_, exercised)| !**exercised).map(|(rule, _)| rule)
    }

    /// The exercised part of all rules in percent, rounded down; 100 where there is no rule.
    pub fn percent(&self) -> usize {
        let exercised = self.total() - self.missed().count();
        (exercised * 100).checked_div(self.total()).unwrap_or(100)
    }
}
