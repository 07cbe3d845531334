//! The rules that would have allowed a denied way, as data and as text.
//!
//! Input: what [`crate::verdict::remedy`] found. Output: its JSON form, and lines for people with the rule to copy.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::policy::{Direction, PolicyKind};
use crate::verdict::remedy::{self, Hopeless, Place, Remedy};

use crate::cli::output::{REMARK, count, printable};

/// A rule to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Addition {
    policy: String,
    kind: &'static str,
    direction: Direction,
    /// `before` or `after` the rule at the place, or `first` in the list of the policy at the place.
    place: &'static str,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: PathBuf,
    line: u32,
    column: u32,
    /// The rule in YAML: an item of the list `ingress` or `egress` of the policy's `spec`.
    rule: String,
    /// Containers that the policy is in force for; the rule counts for all of them.
    containers: usize,
}

/// What would have allowed a way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Suggestion {
    /// Rules that together allow it, tried out; empty if there are none.
    pub(super) additions: Vec<Addition>,
    /// Why there are none.
    pub(super) reason: Option<String>,
}

impl Suggestion {
    pub(super) fn new(found: Result<Remedy, Hopeless>) -> Suggestion {
        match found {
            Ok(Remedy { additions, .. }) => {
                Suggestion { additions: additions.into_iter().map(Addition::new).collect(), reason: None }
            }
            Err(hopeless) => Suggestion { additions: Vec::new(), reason: Some(hopeless.to_string()) },
        }
    }

    pub(super) fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        if let Some(reason) = &self.reason {
            return writeln!(output, "  {REMARK}help{REMARK:#}: no rule is suggested: {}", printable(reason));
        }
        for (number, addition) in self.additions.iter().enumerate() {
            addition.write(output, if number == 0 { "for policy to allow it, add" } else { "and add" })?;
        }
        Ok(())
    }
}

impl Addition {
    fn new(addition: remedy::Addition) -> Addition {
        Addition {
            policy: addition.policy.to_string(),
            kind: addition.policy.kind.name(),
            direction: addition.direction,
            place: match addition.place {
                Place::Before => "before",
                Place::After => "after",
                Place::First => "first",
            },
            file: addition.location.file,
            line: addition.location.line,
            column: addition.location.column,
            rule: addition.rule,
            containers: addition.containers,
        }
    }

    fn write(&self, output: &mut dyn Write, begin: &str) -> io::Result<()> {
        let Addition { policy, kind, direction, line, .. } = self;
        let kind = PolicyKind::in_words(kind);
        let file = self.file.to_string_lossy();
        let file = printable(&file);
        let place = match self.place {
            "first" => format!("as the first rule of `{direction}`, {file}:{line}"),
            beside => format!("{beside} the {direction} rule at {file}:{line}"),
        };
        writeln!(output, "  {REMARK}help{REMARK:#}: {begin} to {kind} {}, {place}:", printable(policy))?;
        for line in self.rule.lines() {
            writeln!(output, "      {}", printable(line))?;
        }
        if self.containers > 1 {
            let containers = count(self.containers, "container", "containers");
            writeln!(output, "    the policy is in force for {containers}, and so is this rule")?;
        }
        Ok(())
    }
}
