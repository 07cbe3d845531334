//! Why a packet fares as it does, in the terms of policy: tier, policy, rule, and of each rule that did not match, which of
//! its clauses did not.
//!
//! Input: a [`World`] and one [`Path`]. Output: an [`Explanation`].
//! There is no second evaluator here: the packet walks the ruleset, every rule that is asked on the way is noted, and the
//! policies are told from the origins of those rules. A policy rule without a counterpart in a chain was left out by the
//! compiler, which says why.

mod unmet;

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::clause::{self, Service};
use crate::compile::{Compiled, Meaning, Origin, policies_of};
use crate::inventory::{Endpoint, Inventory};
use crate::net::Family;
use crate::policy::{Direction, Policy, PolicyKey, PolicySet, Rule as PolicyRule};
use crate::ruleset::{Action, AddressSet, ChainName, Match, Rule, SetName, Side};

use super::path::{Path, Route};
use super::{Verdict, condition_holds, in_set, walk};

use unmet::Reader;

/// What a packet is judged by.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The policies.
    pub policies: &'a PolicySet,
    /// The inventory.
    pub inventory: &'a Inventory,
    /// What the two were compiled to.
    pub compiled: &'a Compiled,
}

/// A verdict, and what led to it.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// Every time that the policy of an endpoint was asked, in order.
    pub askings: Vec<Asking<'a>>,
    /// Every set that was asked, in order, each once for each end of the packet.
    pub sets: Vec<AskedSet<'a>>,
}

/// The policy of one endpoint in one direction, asked once.
#[derive(Clone, Debug)]
pub struct Asking<'a> {
    /// The direction.
    pub direction: Direction,
    /// The endpoint.
    pub endpoint: Endpoint<'a>,
    /// The endpoint behind a published port of this host that was asked about instead of what the packet shows.
    pub behind_port: Option<Endpoint<'a>>,
    /// The tiers that were asked, in order.
    pub tiers: Vec<TierTrace<'a>>,
}

/// A tier up to what decided in it.
#[derive(Clone, Debug)]
pub struct TierTrace<'a> {
    /// Its name.
    pub tier: &'a str,
    /// The chain that it became.
    pub chain: ChainName,
    /// Its policies that govern the endpoint, in order, up to the one that decided.
    pub policies: Vec<PolicyTrace<'a>>,
    /// The end of the tier, if no rule decided.
    pub end: Option<EndOfTier<'a>>,
}

/// A policy up to the rule that decided.
#[derive(Clone, Debug)]
pub struct PolicyTrace<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Its rules, in order.
    pub rules: Vec<RuleTrace<'a>>,
}

/// A rule of a policy, and how it fared.
#[derive(Clone, Debug)]
pub struct RuleTrace<'a> {
    /// The rule; of those that one had to be taken apart into, the first.
    pub rule: &'a PolicyRule,
    /// Whether it matched.
    pub matched: bool,
    /// What did not hold, if it did not match; never empty then. Of a rule that says several things at once, such as that
    /// of several peers, what was nearest to holding.
    pub unmet: Vec<String>,
    /// The rules of the chain that it became; none where it can match nothing there.
    pub rules: Vec<usize>,
}

/// The end of a tier.
#[derive(Clone, Debug)]
pub struct EndOfTier<'a> {
    /// What it did.
    pub action: &'a Action,
    /// Its index in the chain.
    pub index: usize,
    /// The last policy of the tier.
    pub origin: &'a Origin,
}

/// A set that a rule asked about one end of the packet.
#[derive(Clone, Debug)]
pub struct AskedSet<'a> {
    /// Its name.
    pub name: &'a SetName,
    /// The set.
    pub set: &'a AddressSet,
    /// What it stands for.
    pub meaning: &'a Meaning,
    /// Which end of the packet was looked up.
    pub side: Side,
    /// Whether it was in the set.
    pub holds: bool,
}

impl TierTrace<'_> {
    /// The policy and rule that decided; the rule is `None` at the end of the tier.
    pub fn decider(&self) -> Option<(&Policy, Option<&PolicyRule>)> {
        let last = self.policies.last()?;
        match &self.end {
            Some(_) => Some((last.policy, None)),
            None => last.rules.last().map(|trace| (last.policy, Some(trace.rule))),
        }
    }
}

/// The rules of one chain that were asked in one go, all of them of policies.
struct Visit<'a> {
    direction: Direction,
    chain: ChainName,
    asked: Vec<(usize, &'a Rule, bool)>,
    /// Whether the tier before led here.
    continues: bool,
}

impl<'a> World<'a> {
    /// Judges one way of a flow, and says why.
    pub fn explain(self, path: &Path<'a>) -> Explanation<'a> {
        let mut visits: Vec<Visit<'a>> = Vec::new();
        let mut sets = Vec::new();
        let mut seen = BTreeSet::new();
        // The chain and rule that were asked last.
        let mut last: Option<(ChainName, &Rule, bool)> = None;
        let verdict = walk(&self.compiled.ruleset, &path.packet, |chain, index, rule, matched| {
            self.note_sets(path, rule, &mut seen, &mut sets);
            if let Some(origin) = self.compiled.origins.get(&rule.comment) {
                let before = last.as_ref().filter(|(_, rule, _)| self.compiled.origins.contains_key(&rule.comment));
                match (visits.last_mut(), before) {
                    (Some(visit), Some((former, ..))) if former == chain => visit.asked.push((index, rule, matched)),
                    _ => {
                        let led = |(_, rule, matched): &(ChainName, &Rule, bool)| {
                            *matched && rule.action == Action::Goto(chain.clone())
                        };
                        visits.push(Visit {
                            direction: origin.direction,
                            chain: chain.clone(),
                            asked: vec![(index, rule, matched)],
                            continues: before.is_some_and(led),
                        });
                    }
                }
            }
            last = Some((chain.clone(), rule, matched));
        });
        Explanation { verdict, askings: self.askings(path, visits), sets }
    }

    /// The sets that a rule asks, up to its first condition that does not hold.
    fn note_sets(
        self,
        path: &Path<'_>,
        rule: &'a Rule,
        seen: &mut BTreeSet<(&'a SetName, Side)>,
        sets: &mut Vec<AskedSet<'a>>,
    ) {
        let ruleset = &self.compiled.ruleset;
        for condition in rule.matches.iter() {
            if let Match::Set { side, set: name, kind, .. } = condition
                && let (Some(set), Some(meaning)) = (ruleset.sets.get(name), self.compiled.meanings.get(name))
                && seen.insert((name, *side))
            {
                let holds = in_set(ruleset, &path.packet, *side, name, *kind);
                sets.push(AskedSet { name, set, meaning, side: *side, holds });
            }
            if !condition_holds(ruleset, condition, &path.packet) {
                return;
            }
        }
    }

    fn askings(self, path: &Path<'a>, visits: Vec<Visit<'a>>) -> Vec<Asking<'a>> {
        let mut runs: Vec<Vec<Visit<'a>>> = Vec::new();
        for visit in visits {
            match runs.last_mut().filter(|_| visit.continues) {
                Some(run) => run.push(visit),
                None => runs.push(vec![visit]),
            }
        }
        let mut askings: Vec<Asking<'a>> = Vec::new();
        for run in runs {
            let direction = run[0].direction;
            let proxied = matches!(path.route, Route::ThroughPublishedPort { .. });
            // The egress policy is asked about this host first, and then about the container behind its port.
            let asked_before = || askings.iter().any(|asking| asking.direction == Direction::Egress);
            let behind_port = proxied && (direction == Direction::Ingress || asked_before());
            let found =
                self.candidates(path, direction, behind_port).into_iter().find_map(|(endpoint, behind_port)| {
                    let tiers = run.iter().map(|visit| self.tier(path, visit, &endpoint, behind_port.as_ref()));
                    let tiers = tiers.collect::<Option<_>>()?;
                    Some(Asking { direction, endpoint, behind_port, tiers })
                });
            askings.extend(found);
        }
        askings
    }

    /// The endpoints whose policy may be asked in a direction, each with the endpoint behind the port of this host that it
    /// is asked about. Which network `docker-proxy` reaches a container by is not known, so that rules are about all of its
    /// endpoints.
    fn candidates(
        self,
        path: &Path<'a>,
        direction: Direction,
        behind_port: bool,
    ) -> Vec<(Endpoint<'a>, Option<Endpoint<'a>>)> {
        let reached = path.destination.iter().flat_map(|end| {
            let is_sibling = move |other: &Endpoint<'_>| other.container.id == end.container.id && other != end;
            let siblings = self.inventory.endpoints().into_iter().filter(is_sibling);
            std::iter::once(end.clone()).chain(siblings)
        });
        match (direction, behind_port) {
            (Direction::Ingress, true) => {
                let governed = reached.filter(|endpoint| endpoint.unenforceable.is_none());
                governed.map(|endpoint| (endpoint.clone(), Some(endpoint))).collect()
            }
            (Direction::Ingress, false) => path.destination.iter().map(|endpoint| (endpoint.clone(), None)).collect(),
            (Direction::Egress, true) => {
                let source = path.source.as_ref();
                reached.filter_map(|endpoint| Some((source?.clone(), Some(endpoint)))).collect()
            }
            (Direction::Egress, false) => path.source.iter().map(|endpoint| (endpoint.clone(), None)).collect(),
        }
    }

    /// What a visited chain says of an endpoint; `None` if it is not the chain of that one's policies, or not about the
    /// endpoint behind the port.
    fn tier(
        self,
        path: &Path<'a>,
        visit: &Visit<'a>,
        endpoint: &Endpoint<'_>,
        behind_port: Option<&Endpoint<'a>>,
    ) -> Option<TierTrace<'a>> {
        let family = Family::of(path.packet.source);
        let chain = self.compiled.ruleset.chain(family, &visit.chain)?;
        let origins = &self.compiled.origins;
        let end = chain.last().and_then(|rule| origins.get(&rule.comment))?;
        let mut by_rule: BTreeMap<(&PolicyKey, usize), Vec<usize>> = BTreeMap::new();
        for (index, rule) in chain.iter().enumerate() {
            let origin = origins.get(&rule.comment)?;
            if let Some(rule) = origin.rule {
                by_rule.entry((&origin.policy, rule)).or_default().push(index);
            }
        }
        let governing = policies_of(self.policies, endpoint, visit.direction);
        let of_tier: Vec<&Policy> = governing.into_iter().filter(|policy| policy.tier == end.tier).collect();
        let governs = |key: &PolicyKey| of_tier.iter().any(|policy| policy.key == *key);
        if of_tier.last().map(|policy| &policy.key) != Some(&end.policy) || !by_rule.keys().all(|(key, _)| governs(key))
        {
            return None;
        }
        let (last, decider, _) = visit.asked.iter().rev().find(|(.., matched)| *matched)?;
        let decided_by = origins.get(&decider.comment)?;
        let service = match (behind_port, &path.route) {
            (Some(endpoint), Route::ThroughPublishedPort { container_port, .. }) => {
                Some(Service { endpoint, protocol: path.packet.protocol, port: *container_port })
            }
            _ => None,
        };
        let reader = Reader { world: self, path, service };
        let matched: BTreeSet<usize> =
            visit.asked.iter().filter(|(.., matched)| *matched).map(|(index, ..)| *index).collect();
        let mut policies = Vec::new();
        for policy in of_tier {
            let mut rules = Vec::new();
            for written in clause::written_rules(policy, visit.direction) {
                let rule = &written[0];
                let lines = by_rule.get(&(&policy.key, rule.index)).cloned().unwrap_or_default();
                if lines.is_empty() == reader.has_counterpart(written) {
                    return None;
                }
                let hit = lines.iter().any(|line| matched.contains(line));
                let alternatives: Vec<&Rule> = lines.iter().map(|line| &chain[*line]).collect();
                let unmet = if hit { Vec::new() } else { reader.unmet(written, &alternatives) };
                rules.push(RuleTrace { rule, matched: hit, unmet, rules: lines });
                if decided_by.policy == policy.key && decided_by.rule == Some(rule.index) {
                    policies.push(PolicyTrace { policy, rules });
                    return Some(TierTrace { tier: &end.tier, chain: visit.chain.clone(), policies, end: None });
                }
            }
            policies.push(PolicyTrace { policy, rules });
        }
        let end = EndOfTier { action: &decider.action, index: *last, origin: end };
        Some(TierTrace { tier: &end.origin.tier, chain: visit.chain.clone(), policies, end: Some(end) })
    }
}
