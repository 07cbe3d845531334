//! Endpoints that no selector can tell apart, as one.
//!
//! Input: policies, and the labels of endpoints. Output: the distinct label sets, as far as selectors ask for labels, each
//! with the policies that govern whoever has it. A host has thousands of endpoints and some hundreds of label sets: every
//! selector is asked once for each set.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use crate::inventory::{Container, Inventory, Network};
use crate::policy::{Direction, Policy, PolicySet};
use crate::selector::Selector;

/// Labels that differ from all others in something that a selector asks for.
#[derive(Debug)]
pub(super) struct LabelSet {
    /// The labels that any selector asks for.
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// Positions in [`PolicySet::policies`] of the enforced policies that govern ingress and egress, in evaluation order.
    governing: [Arc<[usize]>; 2],
}

impl LabelSet {
    /// Positions of the enforced policies that govern a direction, in evaluation order.
    pub(super) fn governing(&self, direction: Direction) -> &Arc<[usize]> {
        let [ingress, egress] = &self.governing;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    /// Whether any policy governs whoever has it.
    pub(super) fn is_governed(&self) -> bool {
        self.governing.iter().any(|governing| !governing.is_empty())
    }
}

/// All label sets of a host.
#[derive(Debug)]
pub(super) struct LabelSets {
    /// The keys for which selectors ask, each with the number of selectors that do.
    asked: BTreeMap<String, usize>,
    pub(super) distinct: Vec<LabelSet>,
    /// By the values of the labels that are asked for.
    positions: HashMap<String, usize>,
}

impl LabelSets {
    pub(super) fn new(policies: &PolicySet) -> LabelSets {
        let asked = policies.label_keys().into_iter().map(|(key, count)| (key.to_owned(), count)).collect();
        LabelSets { asked, distinct: Vec::new(), positions: HashMap::new() }
    }

    /// Takes note of policies whose rules have changed, and returns whether selectors still ask for the same labels.
    pub(super) fn ask_for_same<'p>(&mut self, edited: impl Iterator<Item = (&'p Policy, &'p Policy)>) -> bool {
        let mut asked = self.asked.clone();
        for (before, after) in edited {
            for key in before.selectors().flat_map(Selector::keys) {
                if let Some(count) = asked.get_mut(key) {
                    *count -= 1;
                }
            }
            for key in after.selectors().flat_map(Selector::keys) {
                *asked.entry(key.to_owned()).or_default() += 1;
            }
        }
        asked.retain(|_, count| *count > 0);
        let is_same = asked.keys().eq(self.asked.keys());
        if is_same {
            self.asked = asked;
        }
        is_same
    }

    /// The position of an endpoint's label set in `distinct`. The policies are those of the beginning.
    pub(super) fn position(
        &mut self,
        policies: &PolicySet,
        inventory: &Inventory,
        container: &Container,
        network: Option<&Network>,
    ) -> usize {
        let mut values = String::new();
        for key in self.asked.keys() {
            // Each with its length, so that no value can look like several. Writing to a String cannot fail.
            let _ = match inventory.label(container, network, key) {
                Some(value) => write!(values, "{}:{value}", value.len()),
                None => write!(values, "-"),
            };
        }
        if let Some(known) = self.positions.get(&values) {
            return *known;
        }
        let told = self
            .asked
            .keys()
            .filter_map(|key| inventory.label(container, network, key).map(|value| (key.clone(), value.to_owned())));
        let labels = Arc::new(told.collect());
        let governing = Direction::ALL.map(|direction| governing(policies, &labels, direction));
        self.distinct.push(LabelSet { labels, governing });
        self.positions.insert(values, self.distinct.len() - 1);
        self.distinct.len() - 1
    }
}

fn governing(policies: &PolicySet, labels: &BTreeMap<String, String>, direction: Direction) -> Arc<[usize]> {
    let numbered = policies.policies.iter().enumerate();
    numbered.filter(|(_, policy)| governs(policy, labels, direction)).map(|(position, _)| position).collect()
}

/// Whether a policy is enforced and governs endpoints with these labels in a direction.
pub(super) fn governs(policy: &Policy, labels: &BTreeMap<String, String>, direction: Direction) -> bool {
    !policy.key.kind.is_staged() && policy.rules(direction).is_some() && policy.selector.matches(labels)
}
