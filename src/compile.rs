//! Policies and inventory to a ruleset.
//!
//! Input: a [`PolicySet`] and an [`Inventory`]. Output: a [`Ruleset`] and, for every comment in it, where it comes from.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inventory::{Endpoint, Inventory};
use crate::policy::{Direction, Location, Policy, PolicyKey, PolicySet};
use crate::ruleset::Ruleset;

/// How a denied packet is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyAction {
    /// Not at all.
    #[default]
    Drop,
    /// By a TCP reset or an ICMP port unreachable.
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
    /// The policy; for the end of a tier, the last policy of it that selects the endpoint.
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
    pub origins: BTreeMap<String, Origin>,
}

/// Compiles. Total: whatever passed the checks of [`crate::policy`] has a ruleset.
pub fn compile(_policies: &PolicySet, _inventory: &Inventory, _options: &Options) -> Compiled {
    todo!()
}

/// The enforced (not staged) policies that govern an endpoint in a direction, in evaluation order.
pub fn policies_of<'a>(_policies: &'a PolicySet, _endpoint: &Endpoint<'_>, _direction: Direction) -> Vec<&'a Policy> {
    todo!()
}
