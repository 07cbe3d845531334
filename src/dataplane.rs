//! A ruleset to the kernel: observe, plan, apply.
//!
//! Input: the desired [`Ruleset`] and what the kernel holds. Output: an ordered list of [`Step`]s, empty when nothing
//! differs, and their execution. Nothing foreign is ever flushed or reordered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::net::{Family, InterfaceName};
use crate::ruleset::{Hook, Member, Ruleset, SetKind};

/// The two implementations of the iptables commands. Docker's choice is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// `iptables-nft`
    Nft,
    /// `iptables-legacy`
    Legacy,
}

/// What the kernel holds of ours, or what it should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Our sets: kind and members.
    pub sets: BTreeMap<String, (Family, SetKind, BTreeSet<Member>)>,
    /// Our chains: the content hash in each rule's comment, in order; `None` for a rule that is not ours.
    pub chains: BTreeMap<Family, BTreeMap<String, Vec<Option<String>>>>,
    /// Kernel chains whose first rule is our jump.
    pub anchored: BTreeSet<(Family, Hook)>,
    /// Bridges whose same-bridge traffic passes through netfilter in both families.
    pub filtered_bridges: BTreeSet<InterfaceName>,
}

/// One change of the kernel. Steps are executed in order; a crash between any two leaves a state that the next start repairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Lines for `ipset restore`-style input: creates, adds and deletes.
    Sets(Vec<String>),
    /// One `iptables-restore --noflush` transaction.
    Restore {
        /// Family.
        family: Family,
        /// The restore input.
        input: String,
    },
}

impl fmt::Display for Step {
    /// The step as a person could run it.
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// The steps from what is to what should be.
pub fn plan(_observed: &State, _desired: &Ruleset) -> Vec<Step> {
    todo!()
}

/// The steps that remove everything of ours.
pub fn removal(_observed: &State) -> Vec<Step> {
    todo!()
}
