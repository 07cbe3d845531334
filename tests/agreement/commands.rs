//! The commands, run as a user runs them: by their arguments, on files, in this process.
//!
//! Input: a world and arguments. Output: what a command printed as JSON, and whether its exit code is 0 or 1; `None` where
//! it is 2. A thousand worlds with a process for each question would take minutes.

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use dockgate::cli::{Cli, Outcome};
use dockgate::reach::Service;
use serde_json::Value;

use crate::truth::Question;
use crate::world::World;

/// The answer of a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// Whether the exit code is 0.
    pub(crate) is_yes: bool,
    pub(crate) json: Value,
}

/// A directory in which one world at a time is written down.
pub(crate) struct Desk {
    directory: tempfile::TempDir,
}

/// The policy files, before and after.
const POLICIES: [&str; 2] = ["old.yaml", "new.yaml"];

impl Desk {
    pub(crate) fn new() -> Desk {
        Desk { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes down a world.
    pub(crate) fn put(&self, world: &World) {
        self.write("inventory.yaml", &world.inventory_text());
        for (side, file) in POLICIES.into_iter().enumerate() {
            self.write(file, &world.text(side));
        }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("a file in a directory of ours");
    }

    /// Runs a command. An argument that begins with `@` is a file of this directory.
    fn run(&self, arguments: &[&str]) -> Option<Answer> {
        let place = |argument: &&str| match argument.strip_prefix('@') {
            Some(file) => self.path(file).to_string_lossy().into_owned(),
            None => (*argument).to_owned(),
        };
        let world = ["--inventory", "@inventory.yaml", "-o", "json"];
        let words = ["dockgate"].iter().chain(arguments).chain(&world).map(place);
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let mut printed = Vec::new();
        let outcome = cli.execute_into(&mut printed).ok()?;
        let json =
            serde_json::from_slice(&printed).unwrap_or_else(|error| panic!("{arguments:?} printed no JSON: {error}"));
        Some(Answer { is_yes: outcome == Outcome::Yes, json })
    }

    /// `explain`, by the policies before.
    pub(crate) fn explain(&self, question: &Question) -> Option<Answer> {
        let (from, to) = (question.from.to_string(), question.to.to_string());
        let port = match question.service {
            Service::Ports(protocol) => Some(format!("{}/{protocol}", question.port)),
            Service::Ping => None,
        };
        let version = question.family.map(|family| family.digit().to_string());
        let mut arguments = vec!["explain", "--policies", "@old.yaml", "--from", &from, "--to", &to];
        match &port {
            Some(port) => arguments.extend(["--port", port]),
            None => arguments.push("--ping"),
        }
        if let Some(version) = &version {
            arguments.extend(["--ip-version", version]);
        }
        self.run(&arguments)
    }

    /// `connectivity`, by the policies before or after.
    pub(crate) fn connectivity(&self, side: usize, by: &str) -> Option<Answer> {
        let policies = format!("@{}", POLICIES[side]);
        self.run(&["connectivity", "--all", "--by", by, "--policies", &policies])
    }

    /// `test`, by the policies before.
    pub(crate) fn test(&self, text: &str) -> Option<Answer> {
        self.write("tests.yaml", text);
        self.run(&["test", "@tests.yaml", "--policies", "@old.yaml"])
    }

    /// `diff`, from the policies of one side to those of another.
    pub(crate) fn diff(&self, old: usize, new: usize) -> Option<Answer> {
        let [old, new] = [old, new].map(|side| format!("@{}", POLICIES[side]));
        self.run(&["diff", "--fail-on", "any", &old, &new])
    }
}
