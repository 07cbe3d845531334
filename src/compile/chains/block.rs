//! The rules of one policy, made once for all classes that it governs.
//!
//! Input: a policy, a direction, and the service where the chain is about a published port. Output: a [`Block`], whose digest
//! stands for its rules in the names of chains: a host has tens of thousands of rules in its classes, and a tenth of them
//! in its policies.

use std::rc::Rc;
use std::sync::Arc;

use crate::policy::{Direction, RuleAction};
use crate::ruleset::{Match, value_hash};

use super::super::Origin;
use super::super::rules::{self, Published};
use super::ChainBuilder;

/// The conditions of one rule of a policy: it matches when those of one alternative hold.
#[derive(Debug, Hash)]
pub(super) struct Conditions {
    pub(super) comment: Arc<str>,
    pub(super) action: RuleAction,
    pub(super) alternatives: Vec<Arc<[Match]>>,
}

/// The rules of a policy that exist in a family, in order.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rules: Vec<Conditions>,
    /// The same for equal rules.
    pub(super) digest: String,
}

impl ChainBuilder<'_, '_> {
    /// The rules of the policy at a position in the policy set. Those for a service are made for it.
    pub(super) fn block(
        &mut self,
        position: usize,
        direction: Direction,
        service: Option<&Published<'_>>,
    ) -> Rc<Block> {
        if let (None, Some(known)) = (service, self.blocks.get(&(position, direction))) {
            return Rc::clone(known);
        }
        let policy = &self.policies.policies[position];
        let mut block = Vec::new();
        for rule in policy.rules(direction).unwrap_or_default() {
            let comment: Arc<str> = format!("{} {direction}[{}]", self.titles[position], rule.index).into();
            let alternatives = match service {
                None => rules::alternatives(self.sets, rule, self.family),
                Some(service) => rules::alternatives_for_published(self.sets, rule, self.family, service),
            };
            self.origins.entry(comment.clone()).or_insert_with(|| Origin {
                policy: policy.key.clone(),
                tier: policy.tier.clone(),
                direction,
                rule: Some(rule.index),
                location: rule.location.clone(),
            });
            if !alternatives.is_empty() {
                let alternatives = alternatives.into_iter().map(Arc::from).collect();
                block.push(Conditions { comment, action: rule.action, alternatives });
            }
        }
        let block = Rc::new(Block { digest: value_hash(&block), rules: block });
        if service.is_none() {
            self.blocks.insert((position, direction), Rc::clone(&block));
        }
        block
    }
}
