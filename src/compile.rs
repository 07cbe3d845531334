//! Policies and inventory to a ruleset.
//!
//! Input: a [`PolicySet`] and an [`Inventory`]. Output: a [`Ruleset`] and, for every policy comment in it, its origin.
//! Rules name classes of endpoints, never an endpoint: endpoints of a network that the same policies govern share a
//! chain and a set, so that a container that comes or goes changes set members and no rule.

mod chains;
pub mod clause;
mod compiler;
mod gate;
mod label_sets;
mod made;
mod meaning;
mod membership;
mod rules;
mod sets;
#[cfg(test)]
pub(crate) mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::inventory::{Attachment, Container, Endpoint, Inventory, Unenforceable};
use crate::policy::{Direction, Location, Policy, PolicyKey, PolicySet};
use crate::ruleset::{Ruleset, SetName};

pub use clause::Clause;
pub use compiler::Compiler;
pub use gate::Gate;
pub use meaning::Meaning;

pub(crate) use rules::exists_in;

/// How a denied packet is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyAction {
    /// Not at all.
    #[default]
    Drop,
    /// By a TCP reset or an ICMP error.
    Reject,
}

/// What the user chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Options {
    /// How a denied packet is answered.
    pub deny_action: DenyAction,
    /// NFLOG group of Log rules.
    pub log_group: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options { deny_action: DenyAction::Drop, log_group: 100 }
    }
}

/// Where a rule of the ruleset comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The policy; for the end of a tier, the last policy of it that governs the endpoint.
    pub policy: PolicyKey,
    /// Its tier.
    pub tier: String,
    /// Direction.
    pub direction: Direction,
    /// Index of the rule in the policy; `None` for the tier's default action.
    pub rule: Option<usize>,
    /// Where it stands in the files.
    pub location: Location,
}

/// A ruleset with its provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compiled {
    /// The ruleset.
    pub ruleset: Ruleset,
    /// Origin by rule comment. Fixed rules (gate, connection state) have none.
    pub origins: BTreeMap<Arc<str>, Arc<Origin>>,
    /// What each set stands for.
    pub meanings: BTreeMap<SetName, Arc<Meaning>>,
}

/// Compiles. Total: whatever passed the checks of [`crate::policy`] has a ruleset.
pub fn compile(policies: &PolicySet, inventory: &Inventory, options: &Options) -> Compiled {
    Compiler::new(policies, inventory, options).into_compiled()
}

/// The enforced (not staged) policies that govern an endpoint in a direction, in evaluation order.
pub fn policies_of<'a>(policies: &'a PolicySet, endpoint: &Endpoint<'_>, direction: Direction) -> Vec<&'a Policy> {
    policies.policies.iter().filter(|policy| label_sets::governs(policy, &endpoint.labels, direction)).collect()
}

/// An endpoint that no rule of ours can reach, and the enforced policies that select it all the same.
#[derive(Clone, Debug)]
pub struct OutOfReach<'a> {
    /// The endpoint.
    pub endpoint: Endpoint<'a>,
    /// Why.
    pub reason: Unenforceable,
    /// Policies that select it and are not in force for it, in evaluation order.
    pub policies: Vec<&'a Policy>,
}

impl fmt::Display for OutOfReach<'_> {
    /// Which container, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which policy cannot reach: {}", self.endpoint.name(), self.reason)
    }
}

/// Whether a container may have an endpoint that policy cannot reach. Of thousands few have.
pub fn may_be_out_of_reach(container: &Container, inventory: &Inventory) -> bool {
    let is_bridged = |attachment: &Attachment| {
        inventory.networks.get(&attachment.network).is_some_and(|network| network.bridge.is_some())
    };
    container.unenforceable.is_some() || !container.attachments.iter().all(is_bridged)
}

/// All endpoints that policy cannot reach, by container name. `candidates` are the containers that may have one, and others do
/// no harm.
///
/// A container that shares another's endpoint is judged as that one: a policy that governs the other is in force for it,
/// too, and one that selects it by labels of its own is not.
pub fn out_of_reach<'a>(
    policies: &'a PolicySet,
    inventory: &'a Inventory,
    candidates: impl Iterator<Item = &'a Container>,
) -> Vec<OutOfReach<'a>> {
    let out: Vec<&Container> = candidates.filter(|container| may_be_out_of_reach(container, inventory)).collect();
    let owners = out.iter().filter_map(|container| inventory.stack_of(container));
    let asked: BTreeMap<_, _> = out.iter().copied().chain(owners).map(|container| (&container.id, container)).collect();
    let mut endpoints: Vec<_> =
        asked.into_values().flat_map(|container| inventory.endpoints_with_labels(container)).collect();
    endpoints.sort_by(|one, other| one.order().cmp(&other.order()));
    let selecting = |endpoint: &Endpoint<'_>| {
        let both = Direction::ALL.map(|direction| policies_of(policies, endpoint, direction));
        let selects = |policy: &&Policy| both.iter().flatten().any(|found| found.key == policy.key);
        policies.policies.iter().filter(selects).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for endpoint in &endpoints {
        let Some(reason) = endpoint.unenforceable.clone() else { continue };
        let mut policies = selecting(endpoint);
        if let Unenforceable::SharedWith(_) = reason {
            let owner = inventory.stack_of(endpoint.container).map(|owner| &owner.id);
            let reached = endpoints.iter().filter(|other| other.unenforceable.is_none());
            let in_force = reached.filter(|other| Some(&other.container.id) == owner).flat_map(selecting);
            let in_force: BTreeSet<&PolicyKey> = in_force.map(|policy| &policy.key).collect();
            policies.retain(|policy| !in_force.contains(&policy.key));
        }
        found.push(OutOfReach { endpoint: endpoint.clone(), reason, policies });
    }
    found
}
