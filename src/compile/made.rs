//! What a compilation made of the rules of policies, for the next one.
//!
//! Input: the blocks of rules and the sets that they ask for. Output: the same for rules that are the same. What becomes of a
//! rule depends on itself, its policy's name and tier, and the network sets alone, so that an edit of one policy among a
//! thousand makes the rules of that one anew.

use std::collections::HashMap;
use std::sync::Arc;

use crate::net::Family;
use crate::policy::{Direction, PolicyKey};
use crate::ruleset::{AddressSet, SetName};

use super::chains::block::Block;
use super::meaning::Meaning;
use super::sets::LabelledNets;

/// The rules of policies, as a family has them.
pub(super) type Blocks = HashMap<(Family, Direction, PolicyKey), Arc<Block>>;

/// What was made of rules.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The network sets for which it holds.
    pub(super) network_sets: Vec<LabelledNets>,
    pub(super) blocks: Blocks,
    /// The sets that rules ask for, as yet without endpoints.
    pub(super) sets: HashMap<SetName, (AddressSet, Arc<Meaning>)>,
}
