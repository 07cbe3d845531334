//! The rules of one policy, made once for all classes that it governs.
//!
//! Input: a policy, a direction, and the service where the chain is about a published port. Output: a [`Block`], whose digest
//! stands for its rules in the names of chains: a host has tens of thousands of rules in its classes, and a tenth of them
//! in its policies. Where the last compilation made a block of the same rules, it is taken.

use std::sync::Arc;

use crate::net::Family;
use crate::policy::{self, Direction, Policy, PolicyKey, RuleAction};
use crate::ruleset::{Match, SetName, value_hash};

use super::super::Origin;
use super::super::rules::{self, Published};
use super::ChainBuilder;

/// The conditions of one rule of a policy: it matches when those of one alternative hold.
#[derive(Debug, Hash)]
pub(in super::super) struct Conditions {
    pub(super) comment: Arc<str>,
    pub(super) action: RuleAction,
    pub(super) alternatives: Vec<Arc<[Match]>>,
}

/// The rules of a policy that exist in a family, in order.
#[derive(Debug)]
pub(in super::super) struct Block {
    /// What it was made of.
    of: Arc<Vec<policy::Rule>>,
    title: String,
    tier: String,
    pub(super) rules: Vec<Conditions>,
    /// The same for equal rules.
    pub(super) digest: String,
    /// Of every rule of the policy, those that do not exist in the family included.
    origins: Origins,
}

/// Where rules come from, by their comments; the same for both families.
type Origins = Arc<[(Arc<str>, Arc<Origin>)]>;

impl Block {
    /// Whether the same block would be made of a policy of this key.
    fn is_of(&self, policy: &Policy, title: &str, rules: &Arc<Vec<policy::Rule>>) -> bool {
        self.title == title && self.tier == policy.tier && self.of == *rules
    }

    /// The sets that its rules ask for.
    fn sets(&self) -> impl Iterator<Item = &SetName> {
        let matches = self.rules.iter().flat_map(|rule| &rule.alternatives).flat_map(|matches| matches.iter());
        matches.filter_map(|condition| match condition {
            Match::Set { set, .. } => Some(set),
            _ => None,
        })
    }
}

impl ChainBuilder<'_, '_> {
    /// The rules of the policy at a position in the policy set. Those for a service are made for it.
    pub(super) fn block(
        &mut self,
        position: usize,
        direction: Direction,
        service: Option<&Published<'_>>,
    ) -> Arc<Block> {
        if let (None, Some(known)) = (service, self.blocks.get(&(position, direction))) {
            return Arc::clone(known);
        }
        let key = self.policies.policies[position].key.clone();
        let known_origins = self.origins_of_other_family(direction, &key);
        let block = match service {
            None => self
                .former_block(position, direction, &key)
                .unwrap_or_else(|| self.new_block(position, direction, None, known_origins.clone())),
            Some(_) => self.new_block(position, direction, service, known_origins.clone()),
        };
        if known_origins.is_none() {
            for (comment, origin) in block.origins.iter() {
                self.origins.entry(Arc::clone(comment)).or_insert_with(|| Arc::clone(origin));
            }
        }
        if service.is_none() {
            self.blocks.insert((position, direction), Arc::clone(&block));
            self.sets.blocks.insert((self.family, direction, key), Arc::clone(&block));
        }
        block
    }

    /// The origins of a policy's rules, if it was the other family's turn already.
    fn origins_of_other_family(&self, direction: Direction, key: &PolicyKey) -> Option<Origins> {
        let others = Family::ALL.into_iter().filter(|family| *family != self.family);
        let mut blocks = others.filter_map(|family| self.sets.blocks.get(&(family, direction, key.clone())));
        blocks.next().map(|block| Arc::clone(&block.origins))
    }

    /// The block that the last compilation made, if the rules are the same.
    fn former_block(&mut self, position: usize, direction: Direction, key: &PolicyKey) -> Option<Arc<Block>> {
        let policy = &self.policies.policies[position];
        let rules = policy.shared_rules(direction)?;
        let former = self.sets.former.blocks.remove(&(self.family, direction, key.clone()))?;
        let is_known = former.is_of(policy, &self.titles[position], rules);
        (is_known && former.sets().all(|set| self.sets.again(set))).then_some(former)
    }

    fn new_block(
        &mut self,
        position: usize,
        direction: Direction,
        service: Option<&Published<'_>>,
        origins: Option<Origins>,
    ) -> Arc<Block> {
        let policy = &self.policies.policies[position];
        let title = &self.titles[position];
        let of = policy.shared_rules(direction).cloned().unwrap_or_default();
        let origins = origins.unwrap_or_else(|| of.iter().map(|rule| origin(policy, title, direction, rule)).collect());
        let mut block = Vec::new();
        for (rule, (comment, _)) in policy.rules(direction).unwrap_or_default().iter().zip(origins.iter()) {
            let alternatives = match service {
                None => rules::alternatives(self.sets, rule, self.family),
                Some(service) => rules::alternatives_for_published(self.sets, rule, self.family, service),
            };
            if !alternatives.is_empty() {
                let alternatives = alternatives.into_iter().map(Arc::from).collect();
                block.push(Conditions { comment: Arc::clone(comment), action: rule.action, alternatives });
            }
        }
        let tier = policy.tier.clone();
        Arc::new(Block { of, title: title.clone(), tier, digest: value_hash(&block), rules: block, origins })
    }
}

fn origin(policy: &Policy, title: &str, direction: Direction, rule: &policy::Rule) -> (Arc<str>, Arc<Origin>) {
    let origin = Origin {
        policy: policy.key.clone(),
        tier: policy.tier.clone(),
        direction,
        rule: Some(rule.index),
        location: rule.location.clone(),
    };
    (format!("{title} {direction}[{}]", rule.index).into(), Arc::new(origin))
}
