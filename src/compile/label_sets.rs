//! Endpoints that no selector can tell apart, as one.
//!
//! Input: policies and endpoints. Output: the distinct label sets, as far as selectors ask for labels, with their endpoints and
//! the policies that govern them. A host has thousands of endpoints and some hundreds of label sets: every selector is asked
//! once for each set.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::policy::{Direction, Policy, PolicySet};

use super::sets::Candidate;

/// Labels that differ from all others in something that a selector asks for.
pub(super) struct LabelSet<'a> {
    /// The labels of one of the endpoints; those of the others differ only in what nobody asks for.
    pub(super) labels: &'a BTreeMap<String, String>,
    /// The endpoints.
    pub(super) members: Vec<&'a Candidate<'a>>,
    /// Positions in [`PolicySet::policies`] of the enforced policies that govern ingress and egress, in evaluation order.
    governing: [Vec<usize>; 2],
}

impl LabelSet<'_> {
    /// Positions of the enforced policies that govern a direction, in evaluation order.
    pub(super) fn governing(&self, direction: Direction) -> &[usize] {
        let [ingress, egress] = &self.governing;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }
}

/// All label sets of a host.
#[derive(Default)]
pub(super) struct LabelSets<'a> {
    pub(super) distinct: Vec<LabelSet<'a>>,
    /// For every endpoint, in their order, the position of its label set.
    pub(super) of_endpoints: Vec<usize>,
}

impl<'a> LabelSets<'a> {
    pub(super) fn new(policies: &PolicySet, candidates: &'a [Candidate<'a>]) -> LabelSets<'a> {
        let asked: BTreeSet<&str> = policies.label_keys().into_keys().collect();
        let mut sets = LabelSets::default();
        let mut positions: HashMap<Vec<(&str, &str)>, usize> = HashMap::new();
        for candidate in candidates {
            let labels = &candidate.endpoint.labels;
            let told = labels.iter().filter(|(key, _)| asked.contains(key.as_str()));
            let told = told.map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let position = *positions.entry(told).or_insert_with(|| {
                let governing = Direction::ALL.map(|direction| governing(policies, labels, direction));
                sets.distinct.push(LabelSet { labels, members: Vec::new(), governing });
                sets.distinct.len() - 1
            });
            sets.distinct[position].members.push(candidate);
            sets.of_endpoints.push(position);
        }
        sets
    }
}

fn governing(policies: &PolicySet, labels: &BTreeMap<String, String>, direction: Direction) -> Vec<usize> {
    let numbered = policies.policies.iter().enumerate();
    numbered.filter(|(_, policy)| governs(policy, labels, direction)).map(|(position, _)| position).collect()
}

/// Whether a policy is enforced and governs endpoints with these labels in a direction.
pub(super) fn governs(policy: &Policy, labels: &BTreeMap<String, String>, direction: Direction) -> bool {
    !policy.key.kind.is_staged() && policy.rules(direction).is_some() && policy.selector.matches(labels)
}
