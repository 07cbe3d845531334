//! PolicyTest files: what policies are expected to allow and deny, and whether they do.
//!
//! Input: files, and the world and policies that they name. Output: tests, checked, and an [`Outcome`] for each of their
//! expectations. Single connections are asked of [`crate::verdict`] and what holds for all pairs of [`crate::reach`], which
//! a property test holds together. An expectation that asks about nothing is not met: it would stay met whatever happens.

mod coverage;
mod ends;
mod exception;
mod invariant;
mod judge;
mod load;
mod matrix;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::inventory::Inventory;
use crate::net::{Family, PortSet, Protocol};
use crate::policy::{Direction, Location};
use crate::reach::Service;
use crate::selector::Selector;
use crate::verdict::Decision;
use crate::verdict::path::{End, Traffic};

pub use crate::api::policy_test::Via;
pub use coverage::{Coverage, CoveredRule};
pub use judge::Judge;
pub use load::load;

/// A PolicyTest, checked.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// `metadata.name`.
    pub name: Option<String>,
    /// Where it stands.
    pub location: Location,
    /// Its world; `None` where only options name one.
    pub world: Option<World>,
    /// Its policies, from the directory where the command runs; none where only an option names some.
    pub policies: Vec<PathBuf>,
    /// Single connections, those of the matrix last.
    pub cases: Vec<Case>,
    /// What holds for all pairs.
    pub invariants: Vec<Invariant>,
}

/// Where containers and networks come from. Paths are from the directory where the command runs.
#[derive(Clone, Debug)]
pub enum World {
    /// An Inventory file.
    Inventory(PathBuf),
    /// Compose files.
    Compose {
        /// The files.
        files: Vec<PathBuf>,
        /// Active profiles.
        profiles: BTreeSet<String>,
        /// Name of the project.
        project_name: Option<String>,
    },
    /// The test says it itself.
    Inline(Box<Inventory>),
}

/// One end of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Every address outside.
    Outside,
    /// What [`End::find`] finds.
    Named(String),
    /// All endpoints that a selector matches, and the text by which it is told: the name of a group, or the selector.
    Selected {
        /// The selector.
        selector: Selector,
        /// What stands in the file.
        text: String,
    },
}

/// A single connection and what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// Where it stands.
    pub location: Location,
    /// Whether it is a cell of a matrix.
    pub of_matrix: bool,
    /// Who connects.
    pub from: Ends,
    /// To whom.
    pub to: Ends,
    /// What is sent.
    pub traffic: Traffic,
    /// The IP versions that count.
    pub families: Vec<Family>,
    /// The only way that counts.
    pub via: Option<Via>,
    /// What is expected.
    pub expect: Decision,
    /// What must decide.
    pub by: Option<By>,
}

/// A policy, or rules of it, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// `NAMESPACE/NAME`, or `NAME`.
    pub policy: String,
    /// Only the rules of this direction.
    pub direction: Option<Direction>,
    /// Only this rule.
    pub rule: Option<usize>,
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.policy)?;
        if let Some(direction) = self.direction {
            write!(f, " {direction}")?;
        }
        if let Some(rule) = self.rule {
            write!(f, "[{rule}]")?;
        }
        Ok(())
    }
}

/// What holds for every pair.
#[derive(Clone, Debug)]
pub struct Invariant {
    /// What it says.
    pub name: String,
    /// Where it stands.
    pub location: Location,
    /// Who connects.
    pub from: Ends,
    /// To whom.
    pub to: Ends,
    /// What is asked about, and on which ports; for a ping all.
    pub services: Vec<(Service, PortSet)>,
    /// The IP versions that count.
    pub families: Vec<Family>,
    /// The only way that counts.
    pub via: Option<Via>,
    /// What is expected.
    pub expect: Decision,
    /// What it says nothing of.
    pub except: Vec<Exception>,
}

/// Connections of which an invariant says nothing.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Where it stands.
    pub location: Location,
    /// Who connects; `None` is anybody.
    pub from: Option<Ends>,
    /// To whom; `None` is anybody.
    pub to: Option<Ends>,
    /// On which ports of what.
    pub services: Vec<(Service, PortSet)>,
}

/// The form of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A single connection.
    Case,
    /// A cell of a matrix.
    Matrix,
    /// What holds for all pairs.
    Invariant,
}

/// Whether an expectation is met.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub location: Location,
    /// Its form.
    pub form: Form,
    /// What was expected.
    pub expect: Decision,
    /// Why it is not met; it is where there is nothing.
    pub failures: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// The connection that shows the first failure, if there is one.
    pub evidence: Option<Evidence>,
}

impl Outcome {
    /// Whether the expectation is met.
    pub fn is_met(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A connection, to be explained.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Who connects, in words.
    pub from: String,
    /// To whom, in words.
    pub to: String,
    /// Who connects.
    pub sender: End,
    /// To whom.
    pub receiver: End,
    /// What is sent.
    pub traffic: Traffic,
    /// The IP versions in question.
    pub families: Vec<Family>,
}

/// What is sent, in words: `TCP 5432`, `ping`.
pub fn describe(traffic: Traffic) -> String {
    match traffic {
        Traffic::Ports { protocol, destination, .. } => format!("{protocol} {destination}"),
        Traffic::EchoRequest => "ping".to_owned(),
    }
}

/// A connection to a port, from a port that clients have.
fn to_port(protocol: Protocol, destination: u16) -> Traffic {
    Traffic::Ports { protocol, source: crate::reach::CLIENT_PORT, destination }
}
