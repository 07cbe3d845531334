//! The trace of `dockgate explain` in the terms of policy: tier, policy, rule, and why a rule did not match.
//!
//! Input: the askings of an explanation. Output: their JSON form, and lines for people.

use std::io::{self, Write};
use std::path::Path as FilePath;

use serde::Serialize;

use crate::dataplane::{Counters, CountersByRule};
use crate::inventory::Endpoint;
use crate::policy::{Direction, PolicyKind, RuleAction};
use crate::ruleset::{Action, ChainName, Side};
use crate::verdict::reason::{self, AskedSet, PolicyTrace, RuleTrace, TierTrace};

use crate::cli::output::{BAD, GOOD, REMARK, count, printable};

/// One time that the policy of an endpoint was asked.
#[derive(Debug, Serialize)]
pub(super) struct Asking<'a> {
    endpoint: String,
    /// The endpoint behind a published port that it was asked about, instead of what the packet shows.
    behind_published_port: Option<String>,
    tiers: Vec<Tier<'a>>,
}

#[derive(Debug, Serialize)]
struct Tier<'a> {
    #[serde(rename = "tier")]
    name: &'a str,
    /// The chain that it became.
    chain: String,
    policies: Vec<Policy<'a>>,
    /// What the end of the tier did; absent when a rule decided.
    end: Option<End>,
}

#[derive(Debug, Serialize)]
struct Policy<'a> {
    #[serde(rename = "policy")]
    name: String,
    kind: &'static str,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: &'a FilePath,
    line: u32,
    rules: Vec<Rule<'a>>,
}

#[derive(Debug, Serialize)]
struct Rule<'a> {
    #[serde(rename = "rule")]
    index: usize,
    action: RuleAction,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: &'a FilePath,
    line: u32,
    column: u32,
    matched: bool,
    /// What did not hold; empty when it matched.
    unmet: Vec<String>,
    /// Indexes of the rules of the tier's chain that it became.
    chain_rules: Vec<usize>,
    /// What the kernel has counted at those; absent without `--live` or where it does not hold them.
    counters: Option<Counters>,
}

#[derive(Debug, Serialize)]
struct End {
    /// `deny`, or `pass` to the next tier or out of policy.
    action: &'static str,
    counters: Option<Counters>,
}

/// A set that was asked.
#[derive(Debug, Serialize)]
pub(super) struct Set {
    name: String,
    /// Its ipset type.
    kind: String,
    /// What it stands for.
    stands_for: String,
    members: usize,
    /// `source` or `destination`: the end of the packet that was looked up.
    side: &'static str,
    /// Whether that was in the set.
    contains: bool,
}

impl<'a> Asking<'a> {
    pub(super) fn new(asking: &reason::Asking<'a>, counters: Option<&CountersByRule>) -> Asking<'a> {
        Asking {
            endpoint: asking.endpoint.name(),
            behind_published_port: asking.behind_port.as_ref().map(Endpoint::name),
            tiers: asking.tiers.iter().map(|tier| Tier::new(tier, counters)).collect(),
        }
    }

    pub(super) fn write(&self, output: &mut dyn Write, direction: Direction, live: bool) -> io::Result<()> {
        write!(output, "    {direction} of {}", printable(&self.endpoint))?;
        if let Some(endpoint) = &self.behind_published_port {
            write!(output, ", about {} behind the port", printable(endpoint))?;
        }
        writeln!(output)?;
        self.tiers.iter().try_for_each(|tier| tier.write(output, direction, live))
    }
}

impl<'a> Tier<'a> {
    fn new(trace: &TierTrace<'a>, counters: Option<&CountersByRule>) -> Tier<'a> {
        let count = |rules: &[usize]| counted(counters, &trace.chain, rules);
        let rule = |rule: &RuleTrace<'a>| Rule {
            index: rule.rule.index,
            action: rule.rule.action,
            file: &rule.rule.location.file,
            line: rule.rule.location.line,
            column: rule.rule.location.column,
            matched: rule.matched,
            unmet: rule.unmet.clone(),
            chain_rules: rule.rules.clone(),
            counters: count(&rule.rules),
        };
        let policy = |PolicyTrace { policy, rules }: &PolicyTrace<'a>| Policy {
            name: policy.key.to_string(),
            kind: policy.key.kind.name(),
            file: &policy.location.file,
            line: policy.location.line,
            rules: rules.iter().map(rule).collect(),
        };
        let end = trace.end.as_ref().map(|end| End {
            action: if matches!(end.action, Action::Drop | Action::Reject) { "deny" } else { "pass" },
            counters: count(&[end.index]),
        });
        Tier {
            name: trace.tier,
            chain: trace.chain.to_string(),
            policies: trace.policies.iter().map(policy).collect(),
            end,
        }
    }

    fn write(&self, output: &mut dyn Write, direction: Direction, live: bool) -> io::Result<()> {
        writeln!(output, "      tier {}", printable(self.name))?;
        for Policy { name, kind, file, line, rules } in &self.policies {
            let kind = PolicyKind::in_words(kind);
            let place = printable(&file.to_string_lossy()).into_owned();
            let none = if rules.is_empty() { format!(" has no {direction} rule") } else { String::new() };
            writeln!(output, "        {kind} {}{none} ({place}:{line})", printable(name))?;
            for rule in rules {
                rule.write(output, direction, live)?;
            }
        }
        if let Some(End { action, counters }) = &self.end {
            let style = if *action == "deny" { BAD } else { REMARK };
            writeln!(output, "        {style}{action}{style:#} at the end of the tier{}", Count(*counters, live))?;
        }
        Ok(())
    }
}

impl Rule<'_> {
    fn write(&self, output: &mut dyn Write, direction: Direction, live: bool) -> io::Result<()> {
        let (style, answer) = match (self.matched, self.action) {
            (true, RuleAction::Deny) => (BAD, "yes"),
            (true, _) => (GOOD, "yes"),
            (false, _) => (REMARK, "no "),
        };
        let place = printable(&self.file.to_string_lossy()).into_owned();
        let count = if self.chain_rules.is_empty() { String::new() } else { Count(self.counters, live).to_string() };
        let unmet = self.unmet.join("; ");
        let colon = if unmet.is_empty() { "" } else { ": " };
        writeln!(
            output,
            "          {style}{answer}{style:#} {direction}[{}] {:?} ({place}:{}){count}{colon}{}",
            self.index,
            self.action,
            self.line,
            printable(&unmet)
        )
    }
}

impl Set {
    pub(super) fn new(asked: &AskedSet<'_>) -> Set {
        Set {
            name: asked.name.to_string(),
            kind: asked.set.kind.to_string(),
            stands_for: asked.meaning.to_string(),
            members: asked.set.members.len(),
            side: match asked.side {
                Side::Source => "source",
                Side::Destination => "destination",
            },
            contains: asked.holds,
        }
    }

    pub(super) fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        let Set { name, stands_for, members, side, contains, .. } = self;
        let (style, verb) = if *contains { (GOOD, "is in") } else { (REMARK, "is not in") };
        let members = count(*members, "member", "members");
        writeln!(output, "    {side} {style}{verb}{style:#} {name} ({members}): {}", printable(stands_for))
    }
}

/// The counters of some rules of a chain, together; `None` if the kernel does not hold all of them.
pub(super) fn counted(counters: Option<&CountersByRule>, chain: &ChainName, rules: &[usize]) -> Option<Counters> {
    let counters = counters?;
    let mut total = None;
    for rule in rules {
        *total.get_or_insert_with(Counters::default) += *counters.get(&(chain.clone(), *rule))?;
    }
    total
}

/// Counters as a remark behind a rule, with `--live`.
pub(super) struct Count(pub(super) Option<Counters>, pub(super) bool);

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Count(_, false) => Ok(()),
            Count(Some(Counters { packets, bytes }), true) => write!(f, " [{packets} packets, {bytes} bytes]"),
            Count(None, true) => f.write_str(" [not in the kernel]"),
        }
    }
}
