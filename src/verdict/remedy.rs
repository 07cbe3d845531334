//! The rules that would have allowed a packet.
//!
//! Input: a [`World`] in which a way of a flow is denied. Output: a [`Remedy`]: for each side that denies it, one rule of a
//! policy that is there already, as text, and the place for it.
//! Every rule is read back by the loader, compiled with the rest and judged before it is told, so that what is suggested
//! works; where nothing can be suggested, that is told instead.

mod peer;
mod rule;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compile::{Options, compile};
use crate::policy::{Direction, Location, Policy, PolicyKey, PolicyKind, PolicySet, Rule, Severity, SourceFile, load};
use crate::ruleset::Action;

use super::path::{Path, Route};
use super::reason::{Asking, Explanation, TierTrace, World};
use super::{Decision, evaluate};

use peer::Peer;

/// Rules that are suggested for one way. Both sides may deny it, and a side may be asked about more than one endpoint.
const LIMIT: usize = 8;

/// Rules that together allow what was denied.
#[derive(Clone, Debug)]
pub struct Remedy {
    /// The rules to add, in the order in which they were found wanting.
    pub additions: Vec<Addition>,
    /// The policies with them.
    pub policies: PolicySet,
}

/// A rule to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The policy to add it to.
    pub policy: PolicyKey,
    /// Its list: `spec.ingress` or `spec.egress`.
    pub direction: Direction,
    /// Where in that list.
    pub place: Place,
    /// Where the rule beside it, or else the policy, stands in the files.
    pub location: Location,
    /// The rule as an item of that list, in YAML.
    pub rule: String,
    /// Containers that the policy is in force for: the rule counts for all of them.
    pub containers: usize,
}

/// Where in a list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the rule at the location, which denies.
    Before,
    /// After the rule at the location, which is the last.
    After,
    /// As the first rule of the policy at the location.
    First,
}

/// Why nothing is suggested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hopeless {
    /// The packet is allowed.
    #[error("it is allowed")]
    Allowed,
    /// What denies is no policy.
    #[error("no policy denies it, so no rule of one would allow it")]
    NotByPolicy,
    /// No rule could be written that says just this.
    #[error("no rule for {policy} can say just this: {reason}")]
    Inexpressible {
        /// The policy.
        policy: PolicyKey,
        /// Why.
        reason: &'static str,
    },
}

/// Finds the rules that would have allowed a way of a flow.
pub fn remedy(world: World<'_>, path: &Path<'_>, options: &Options) -> Result<Remedy, Hopeless> {
    let mut policies = world.policies.clone();
    let mut additions = Vec::new();
    for _ in 0..LIMIT {
        let found = {
            let compiled = compile(&policies, world.inventory, options);
            let world = World { policies: &policies, compiled: &compiled, ..world };
            let explanation = world.explain(path);
            if explanation.verdict.decision == Decision::Allow {
                None
            } else {
                Some(Search { world, path, options }.addition(&explanation)?)
            }
        };
        match found {
            Some((addition, with)) => {
                additions.push(addition);
                policies = with;
            }
            None if additions.is_empty() => return Err(Hopeless::Allowed),
            None => return Ok(Remedy { additions, policies }),
        }
    }
    Err(Hopeless::NotByPolicy)
}

/// The search for one rule.
struct Search<'s, 'a> {
    world: World<'a>,
    path: &'s Path<'s>,
    options: &'s Options,
}

impl Search<'_, '_> {
    /// The first rule that has the policy that denies allow the packet, and the policies with it.
    fn addition(&self, explanation: &Explanation<'_>) -> Result<(Addition, PolicySet), Hopeless> {
        let denies = |action: &Action| matches!(action, Action::Drop | Action::Reject);
        let origins = &self.world.compiled.origins;
        let last = explanation.verdict.trace.last().filter(|hit| denies(&hit.action));
        last.filter(|hit| origins.contains_key(&hit.comment)).ok_or(Hopeless::NotByPolicy)?;
        let asking = explanation.askings.last().ok_or(Hopeless::NotByPolicy)?;
        let tier = asking.tiers.last().ok_or(Hopeless::NotByPolicy)?;
        let mut hopeless = Hopeless::NotByPolicy;
        for (policy, at) in self.openings(asking, tier) {
            let peer = self.peer(asking);
            let forms = rule::forms(policy, asking.direction, &peer, self.sent(asking), self.world);
            let forms = match forms {
                Ok(forms) => forms,
                Err(reason) => {
                    hopeless = Hopeless::Inexpressible { policy: policy.key.clone(), reason };
                    continue;
                }
            };
            for text in forms {
                let Some(rules) = read(policy, asking.direction, &text) else { continue };
                let with = inserted(self.world.policies, &policy.key, asking.direction, at, &rules);
                if self.allows(&with, asking, policy, at) {
                    return Ok((self.told(policy, asking.direction, at, text), with));
                }
            }
        }
        Err(hopeless)
    }

    /// The policies to which a rule can be added, each with the index for it: before the rule that denies, or, at the end
    /// of a tier, to the policy that selects the fewest.
    fn openings<'t>(&self, asking: &Asking<'t>, tier: &TierTrace<'t>) -> Vec<(&'t Policy, usize)> {
        let last = tier.policies.last();
        if tier.end.is_none() {
            let trace = last.and_then(|policy| Some((policy.policy, policy.rules.last()?.rule.index)));
            return trace.into_iter().collect();
        }
        let mut policies: Vec<&'t Policy> = tier.policies.iter().rev().map(|trace| trace.policy).collect();
        policies.sort_by_key(|policy| self.selected(policy));
        let behind = |policy: &Policy| {
            policy.rules(asking.direction).unwrap_or_default().last().map_or(0, |rule| rule.index + 1)
        };
        policies.into_iter().map(|policy| (policy, behind(policy))).collect()
    }

    /// Containers that a policy is in force for.
    fn selected(&self, policy: &Policy) -> usize {
        let endpoints = self.world.inventory.endpoints();
        let reached = endpoints.iter().filter(|endpoint| endpoint.unenforceable.is_none());
        let selected = reached.filter(|endpoint| policy.selector.matches(&endpoint.labels));
        selected.map(|endpoint| &endpoint.container.id).collect::<BTreeSet<_>>().len()
    }

    /// The other end, as the policy that is asked sees it.
    fn peer(&self, asking: &Asking<'_>) -> Peer<'_> {
        let (end, address) = match asking.direction {
            Direction::Ingress => (&self.path.source, self.path.packet.source),
            Direction::Egress => (&self.path.destination, self.path.packet.destination),
        };
        // On the way to a port of this host, egress is asked about the host first.
        let shown = asking.behind_port.is_some() || !self.is_proxied() || asking.direction == Direction::Ingress;
        match end.as_ref().filter(|_| shown) {
            Some(endpoint) => Peer::Endpoint(endpoint),
            None => Peer::Address(address),
        }
    }

    /// What is sent, as the policy that is asked sees it.
    fn sent(&self, asking: &Asking<'_>) -> rule::Sent {
        let packet = &self.path.packet;
        let port = match self.path.route {
            Route::ThroughPublishedPort { container_port, .. } if asking.behind_port.is_some() => Some(container_port),
            _ => packet.destination_port,
        };
        rule::Sent { protocol: packet.protocol, port, icmp: packet.icmp }
    }

    fn is_proxied(&self) -> bool {
        matches!(self.path.route, Route::ThroughPublishedPort { .. })
    }

    /// Whether the policy that denied lets the packet pass by the rule that was added.
    fn allows(&self, policies: &PolicySet, asking: &Asking<'_>, policy: &Policy, at: usize) -> bool {
        let compiled = compile(policies, self.world.inventory, self.options);
        let verdict = evaluate(&compiled.ruleset, &self.path.packet);
        verdict.trace.iter().any(|hit| {
            hit.action == Action::Return
                && compiled.origins.get(&hit.comment).is_some_and(|origin| {
                    origin.policy == policy.key && origin.direction == asking.direction && origin.rule == Some(at)
                })
        })
    }

    fn told(&self, policy: &Policy, direction: Direction, at: usize, rule: String) -> Addition {
        let rules = policy.rules(direction).unwrap_or_default();
        let (place, location) = match (rules.iter().find(|rule| rule.index == at), rules.last()) {
            (Some(next), _) => (Place::Before, &next.location),
            (None, Some(last)) => (Place::After, &last.location),
            (None, None) => (Place::First, &policy.location),
        };
        let containers = self.selected(policy);
        Addition { policy: policy.key.clone(), direction, place, location: location.clone(), rule, containers }
    }
}

/// The rule as the loader reads it in a policy of the same kind and namespace; `None` if the loader refuses it.
fn read(policy: &Policy, direction: Direction, text: &str) -> Option<Vec<Rule>> {
    let api_version = match policy.key.kind {
        PolicyKind::KubernetesNetworkPolicy => "networking.k8s.io/v1",
        _ => "projectcalico.org/v3",
    };
    let kind = match policy.key.kind {
        PolicyKind::GlobalNetworkPolicy => "GlobalNetworkPolicy",
        _ => "NetworkPolicy",
    };
    let namespace = policy.key.namespace.as_ref().map_or_else(String::new, |name| format!("  namespace: '{name}'\n"));
    let types = match (policy.key.kind, direction) {
        (PolicyKind::KubernetesNetworkPolicy, Direction::Ingress) => "policyTypes: [Ingress]",
        (PolicyKind::KubernetesNetworkPolicy, Direction::Egress) => "policyTypes: [Egress]",
        (_, Direction::Ingress) => "types: [Ingress]",
        (_, Direction::Egress) => "types: [Egress]",
    };
    let item = text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
    let document = format!(
        "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: suggestion\n{namespace}spec:\n  {types}\n  \
         {direction}:\n{item}\n"
    );
    let loaded = load(&[SourceFile::new("suggestion", document)]);
    let clean = loaded.diagnostics.iter().all(|found| found.severity != Severity::Error);
    let rules = loaded.policies.policies.first()?.rules(direction)?.to_vec();
    (clean && !rules.is_empty()).then_some(rules)
}

/// The policies with rules before the one of this index; that one and those behind it move on by one.
fn inserted(policies: &PolicySet, key: &PolicyKey, direction: Direction, at: usize, new: &[Rule]) -> PolicySet {
    let mut policies = policies.clone();
    let Some(policy) = policies.policies.iter_mut().find(|policy| policy.key == *key) else { return policies };
    let location = policy.location.clone();
    let rules = match direction {
        Direction::Ingress => &mut policy.ingress,
        Direction::Egress => &mut policy.egress,
    };
    let former = rules.take().unwrap_or_default();
    let (before, behind): (Vec<Rule>, Vec<Rule>) = former.iter().cloned().partition(|rule| rule.index < at);
    let place = behind.first().or_else(|| before.last()).map_or(location, |rule| rule.location.clone());
    let new = new.iter().map(|rule| Rule { index: at, location: place.clone(), ..rule.clone() });
    let behind = behind.into_iter().map(|rule| Rule { index: rule.index + 1, ..rule });
    *rules = Some(Arc::new(before.into_iter().chain(new).chain(behind).collect()));
    policies
}
