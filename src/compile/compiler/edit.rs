//! Following an edit of policies.
//!
//! Input: the policies before and after. Output: the ruleset of the latter. Where nothing but rules of policies differs,
//! whoever was governed by a policy still is, so that networks, classes and the sets of both stay as they are, with all
//! their members. Chains are made anew of what was made of rules before, which for most rules is still the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::inventory::{Endpoint, Former, Inventory, NetworkId};
use crate::policy::{Direction, Policy, PolicySet};

use super::super::Options;
use super::super::chains::{Class, GovernedNetwork, Source};
use super::super::membership::{Candidate, candidates};
use super::{Compiler, build};

impl Compiler {
    /// Comes to other policies, and to an inventory in which containers have changed. `former` has every container that
    /// differs from the last time; networks and options are those of the last time. It comes to the same as compiling anew.
    #[must_use]
    pub fn brought_to(
        mut self,
        policies: &PolicySet,
        inventory: &Inventory,
        options: &Options,
        former: &Former,
    ) -> Compiler {
        let before = std::mem::take(&mut self.policies);
        let follows = former.is_empty() || self.follow(&before, inventory, former);
        if follows && self.follow_edit(&before, policies, inventory, options) {
            return self;
        }
        self.anew(policies, inventory, options)
    }

    /// Follows an edit of rules. Returns whether it did; where it did not, everything is to be compiled anew.
    pub(super) fn follow_edit(
        &mut self,
        before: &PolicySet,
        policies: &PolicySet,
        inventory: &Inventory,
        options: &Options,
    ) -> bool {
        let edited = || before.policies.iter().zip(&policies.policies).filter(|(before, after)| before != after);
        if !govern_the_same(before, policies) || !self.label_sets.ask_for_same(edited()) {
            return false;
        }
        self.policies = policies.clone();
        if edited().next().is_none() {
            return true;
        }
        let mut publishing = Vec::new();
        for container in inventory.containers.values().filter(|container| !container.published.is_empty()) {
            publishing.extend(candidates(&mut self.label_sets, policies, inventory, container));
        }
        let networks = self.governed_networks(policies, inventory, &publishing);
        let is_on_network = |endpoint: &&Endpoint<'_>| endpoint.network.is_some();
        let publishing: Vec<&Endpoint<'_>> =
            publishing.iter().map(|candidate| &candidate.endpoint).filter(is_on_network).collect();
        let source = Source { policies, options, networks: &networks, publishing: &publishing, few: self.few };
        let former = std::mem::take(&mut self.compiled);
        let mut built = build(source, inventory, std::mem::take(&mut self.made), &former.ruleset.chains);
        self.made = built.made;
        if built.membership.has_same_sets(&self.membership) {
            let ruleset = &mut built.compiled.ruleset;
            for (name, set) in former.ruleset.sets.into_iter().filter(|(name, _)| self.membership.has_set(name)) {
                ruleset.sets.insert(name, set);
            }
            ruleset.anti_spoofing = former.ruleset.anti_spoofing;
            self.compiled = built.compiled;
            return true;
        }
        let all = super::all_candidates(&mut self.label_sets, policies, inventory);
        (self.compiled, self.membership) = (built.compiled, built.membership);
        self.fixed.clear();
        self.owners.clear();
        self.fill(&all);
        true
    }

    /// The networks that are governed, as of the last compilation, with the endpoints of some containers.
    fn governed_networks<'a>(
        &self,
        policies: &'a PolicySet,
        inventory: &'a Inventory,
        candidates: &'a [Candidate<'a>],
    ) -> Vec<GovernedNetwork<'a>> {
        let mut by_network: BTreeMap<&NetworkId, Vec<&Candidate<'a>>> = BTreeMap::new();
        for candidate in candidates.iter().filter(|candidate| candidate.endpoint.unenforceable.is_none()) {
            if let Some(network) = candidate.endpoint.network {
                by_network.entry(&network.id).or_default().push(candidate);
            }
        }
        let mut governed = BTreeMap::new();
        for (id, bridge) in self.membership.governed_networks() {
            let Some(network) = inventory.networks.get(id) else { continue };
            let on_it = || by_network.get(id).into_iter().flatten();
            let [ingress, egress] = Direction::ALL.map(|direction| {
                let of_class = |governing: &Arc<[usize]>| {
                    let is_of_class = |candidate: &&&Candidate<'a>| {
                        self.label_sets.distinct[candidate.label_set].governing(direction) == governing
                    };
                    let members = on_it().filter(is_of_class).map(|candidate| &candidate.endpoint);
                    Class::new(policies, governing, members.collect())
                };
                Class::sorted(self.membership.classes_of(id, direction).map(of_class))
            });
            let bridge = bridge.clone();
            governed.insert((&network.name, &network.id), GovernedNetwork { network, bridge, ingress, egress });
        }
        governed.into_values().collect()
    }
}

/// Whether the same policies govern the same endpoints, in the same order, and rules name the same blocks.
fn govern_the_same(before: &PolicySet, after: &PolicySet) -> bool {
    let is_same = |(before, after): (&Policy, &Policy)| {
        let governs = |policy: &Policy| Direction::ALL.map(|direction| policy.rules(direction).is_some());
        (&before.key, &before.tier, &before.selector) == (&after.key, &after.tier, &after.selector)
            && governs(before) == governs(after)
    };
    before.tiers == after.tiers
        && before.network_sets == after.network_sets
        && before.policies.len() == after.policies.len()
        && before.policies.iter().zip(&after.policies).all(is_same)
}
