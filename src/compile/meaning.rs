//! What the sets of a ruleset stand for, in the words of policy.
//!
//! Input: what [`super::compile`] built a set from. Output: a [`Meaning`], which prints as a phrase. A set's name says
//! little, because the kernel gives it 31 bytes; whoever asks why a packet passed wants the selector.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::net::{Cidr, Protocol};
use crate::policy::{Direction, PolicyKey};
use crate::selector::Selector;

/// What a set stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The endpoints and network sets that a rule's selector picks.
    Selected(Selector),
    /// The blocks of a rule that a single match cannot hold.
    Nets(Vec<Cidr>),
    /// The endpoints that declare a port of this name, with that port.
    NamedPort {
        /// The name.
        name: String,
        /// The protocol of the rule, if it has one.
        protocol: Option<Protocol>,
        /// The selector of the same end of the rule, if it has one.
        selector: Option<Selector>,
    },
    /// The endpoints of a network that the same policies govern in a direction.
    Class {
        /// Name of the network.
        network: String,
        /// The direction.
        direction: Direction,
        /// The policies, in evaluation order.
        policies: Vec<PolicyKey>,
    },
    /// The members of several such classes: where a network has many, a packet finds its own by branches.
    Branch {
        /// Name of the network.
        network: String,
        /// The direction.
        direction: Direction,
        /// Where in the tree of classes: a digit for each fork.
        path: String,
    },
    /// See [`crate::ruleset::SetName::known`].
    Known,
    /// See [`crate::ruleset::SetName::listed`].
    Listed,
    /// See [`crate::ruleset::SetName::bridged_subnets`].
    BridgedSubnets,
}

impl Meaning {
    /// Whether rules of policies ask for such a set by what they say.
    pub(super) fn is_of_rules(&self) -> bool {
        match self {
            Meaning::Selected(_) | Meaning::Nets(_) | Meaning::NamedPort { .. } => true,
            Meaning::Class { .. }
            | Meaning::Branch { .. }
            | Meaning::Known
            | Meaning::Listed
            | Meaning::BridgedSubnets => false,
        }
    }
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Selected(selector) => write!(f, "who matches {}", selector.written()),
            Meaning::Nets(nets) => write!(f, "the blocks {}", join(nets)),
            Meaning::NamedPort { name, protocol, selector } => {
                write!(f, "ports named {name}")?;
                if let Some(protocol) = protocol {
                    write!(f, " of {protocol}")?;
                }
                match selector {
                    Some(selector) => write!(f, " at who matches {}", selector.written()),
                    None => Ok(()),
                }
            }
            Meaning::Class { network, direction, policies } => {
                write!(f, "endpoints on {network} whose {direction} is governed by {}", join(policies))
            }
            Meaning::Branch { network, direction, path } => {
                write!(f, "endpoints on {network} whose {direction} policies are found in branch {path}")
            }
            Meaning::Known => f.write_str("endpoints that dockgate knows, each behind its bridge"),
            Meaning::Listed => f.write_str("endpoints that this host may reach, each behind its bridge"),
            Meaning::BridgedSubnets => f.write_str("subnets of the bridge networks"),
        }
    }
}

impl Serialize for Meaning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn join(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
