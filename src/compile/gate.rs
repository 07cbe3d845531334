//! The rules of the gate: who is dropped on a network with policy before any policy is asked.
//!
//! Input: a comment of a rule. Output: which gate it is. The comments are all that a ruleset says of its fixed rules, so that
//! whoever writes them and whoever reads them take them from here.

use std::fmt;

/// A gate; it prints as the beginning of its rules' comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A source of a bridge network's subnets that is known on no bridge, or that comes from another one.
    Elsewhere,
    /// A source that is not known on the bridge by which it comes.
    UnknownSource,
    /// A destination that is not known on the bridge by which it leaves.
    UnknownDestination,
    /// A destination that this host may not reach yet, because it is not known who that is and which ports it publishes.
    UnlistedDestination,
}

impl Gate {
    const ALL: [Gate; 4] = [Gate::Elsewhere, Gate::UnknownSource, Gate::UnknownDestination, Gate::UnlistedDestination];

    /// The gate whose rule has this comment.
    pub fn of_comment(comment: &str) -> Option<Gate> {
        Gate::ALL.into_iter().find(|gate| comment.starts_with(&gate.to_string()))
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gate::Elsewhere => "gate: address of a bridge network from elsewhere",
            Gate::UnknownSource => "gate: unknown source",
            Gate::UnknownDestination => "gate: unknown destination",
            Gate::UnlistedDestination => "gate: unlisted destination",
        })
    }
}
