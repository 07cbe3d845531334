//! A ruleset to the kernel: observe, plan, apply.
//!
//! Input: the desired [`Ruleset`](crate::ruleset::Ruleset) and what the kernel holds. Output: an ordered list of
//! [`Step`]s, empty when nothing differs, and their execution. Nothing foreign is ever flushed or reordered: of chains
//! that are not ours only single jumps with our comment are inserted or deleted.
//!
//! ```text
//! kernel ─► observe ─► State ─┐
//!                             ├─► plan ─► Vec<Step> ─► apply ─► kernel
//!                   Ruleset ──┘
//! ```

mod anchor;
mod antispoof;
mod bridge;
mod chains;
mod claim;
pub mod conntrack;
mod counters;
pub mod exec;
mod host_ports;
mod ipset;
mod kernel;
mod links;
mod netlink;
mod nftables;
mod place;
mod plan;
mod port;
mod preflight;
mod read_back;
mod render;
mod sets;
mod state;
mod watch;
mod writers;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use antispoof::{SetChange, Table};
pub use chains::Error as ListingError;
pub use claim::{Claim, ClaimError, claim};
pub use counters::{Counters, CountersByRule};
pub use host_ports::{ByHostPort, HostPort, HostPorts, JoinedPorts};
pub use kernel::{Kernel, Options, Outcome};
pub use place::{Place, Xtable};
pub use plan::{plan, removal};
pub use port::Port;
pub use preflight::Missing;
pub use read_back::{Found, ReadBack, Scope};
pub use state::{Hashes, Jump, Problem, RuleHash, State};
pub use watch::{Notice, Touched, watch};

use crate::net::{Family, InterfaceName};

/// The two implementations of the iptables commands. Docker's choice is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// `iptables-nft`
    Nft,
    /// `iptables-legacy`
    Legacy,
}

impl Variant {
    /// The one that Docker has not chosen.
    fn other(self) -> Variant {
        match self {
            Variant::Nft => Variant::Legacy,
            Variant::Legacy => Variant::Nft,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Nft => "nft",
            Variant::Legacy => "legacy",
        })
    }
}

/// Why the kernel could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine lacks something; nothing was changed.
    #[error("policy cannot be enforced on this machine: {}", .0.iter().map(Missing::to_string).collect::<Vec<_>>().join("; "))]
    Missing(Vec<Missing>),
    /// Docker's chains stand in both variants, so one of them is a leftover that still judges packets.
    #[error(
        "both iptables-nft and iptables-legacy hold chains of Docker's: remove those of the variant that Docker no \
         longer uses (flush it, or reboot), or choose the variant"
    )]
    BothVariants,
    /// A listing or a check failed.
    #[error(transparent)]
    Exec(#[from] exec::Error),
    /// A table could not be understood.
    #[error("{family}: cannot read the chains")]
    Listing {
        /// Family.
        family: Family,
        /// The cause.
        source: ListingError,
    },
    /// The kernel did not say what its bridges do.
    #[error("cannot list bridges")]
    Bridges(#[source] std::io::Error),
    /// A step failed; the ones before it are done, the ones after it are not.
    #[error("cannot {}", .step.purpose())]
    Step {
        /// The step.
        step: Box<Step>,
        /// The cause.
        source: exec::Error,
    },
    /// A ruleset could not be tried, which says nothing about it.
    #[error("cannot make a network namespace to try rules in")]
    NoTrial(#[source] std::io::Error),
}

impl Error {
    /// Whether the kernel was asked to hold something, and refused that for what it is. After any other failure nothing is
    /// known about the ruleset.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Step { source, .. } if source.is_refusal())
    }
}

/// One change of the kernel. Steps are executed in order; a crash between any two leaves a state that the next start
/// repairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Lines of `ipset restore` input: creations, additions and deletions, each repeatable.
    Sets(Vec<String>),
    /// One `iptables-restore --noflush`: a transaction for each table.
    Restore {
        /// Family.
        family: Family,
        /// The restore input.
        input: String,
    },
    /// Makes same-bridge traffic pass through netfilter.
    FilterBridge(InterfaceName),
    /// Puts a jump of ours into first place of a foreign chain.
    InsertJump(Jump),
    /// Deletes one copy of a jump of ours from a foreign chain.
    DeleteJump(Jump),
    /// Ends a table of iptables that exists because of us and that nobody else uses.
    DeleteTable(Place),
    /// Destroys sets that no rule of ours uses any more.
    Destroy(Vec<String>),
    /// Makes or removes the table against spoofing: one `nft -f` transaction.
    Table(String),
    /// Changes members of that table's sets, all in one transaction.
    Elements(Vec<SetChange>),
}

impl Step {
    /// Whether it changes rules by `iptables-restore`.
    fn is_rules(&self) -> bool {
        matches!(self, Step::Restore { .. })
    }

    /// What the step is for, after "cannot".
    fn purpose(&self) -> String {
        match self {
            Step::Sets(_) => "change sets".to_owned(),
            Step::Restore { family, .. } => format!("change the {family} chains"),
            Step::FilterBridge(bridge) => format!("have bridge {bridge} filtered"),
            Step::InsertJump(jump) => format!("insert the {} jump in {} of {}", jump.family, jump.chain, jump.table),
            Step::DeleteJump(jump) => format!("delete the {} jump in {} of {}", jump.family, jump.chain, jump.table),
            Step::DeleteTable((family, table)) => format!("delete the {family} {table} table"),
            Step::Destroy(_) => "destroy sets".to_owned(),
            Step::Table(_) => "change the table against spoofing".to_owned(),
            Step::Elements(_) => "bind addresses to bridge ports".to_owned(),
        }
    }
}

impl fmt::Display for Step {
    /// The step as a person could run it in a shell, with the plain command names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Sets(lines) => {
                writeln!(f, "ipset restore <<'END'")?;
                lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
                write!(f, "END")
            }
            Step::Restore { family, input } => {
                write!(f, "{}-restore --noflush -w {} <<'END'\n{input}END", command(*family), exec::LOCK_WAIT)
            }
            Step::FilterBridge(bridge) => {
                write!(
                    f,
                    "ip link set dev {bridge} type bridge nf_call_iptables 1 nf_call_ip6tables 1 group_fwd_mask 0x4000"
                )
            }
            Step::InsertJump(jump) => {
                write!(f, "{} -w -t {} -I {} 1 {}", command(jump.family), jump.table, jump.chain, jump.rule())
            }
            Step::DeleteJump(jump) => {
                write!(f, "{} -w -t {} -D {} {}", command(jump.family), jump.table, jump.chain, jump.rule())
            }
            Step::DeleteTable((family, table)) => write!(f, "nft delete table {} {table}", nft_family(*family)),
            Step::Destroy(names) => {
                let lines: Vec<String> = names.iter().map(|name| format!("ipset destroy {name}")).collect();
                f.write_str(&lines.join("\n"))
            }
            Step::Table(input) => write!(f, "nft -f - <<'END'\n{input}END"),
            Step::Elements(changes) => {
                writeln!(f, "nft -f - <<'END'")?;
                changes.iter().try_for_each(|change| writeln!(f, "{change}"))?;
                write!(f, "END")
            }
        }
    }
}

fn command(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}
