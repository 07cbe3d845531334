//! What `test` found out, in the form that was asked for.
//!
//! Input: outcomes, with the traces of those that are not as expected. Output: text for people, or one of the forms that
//! pipelines read.

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{BAD, GOOD, REMARK, count, json, printable};
use crate::policy_test::{Coverage, CoveredRule, Form, Outcome};
use crate::verdict::Decision;

use super::{junit, tap};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Human,
    /// For machines; the fields are an interface
    Json,
    /// JUnit XML: a suite for each file, a case for each expectation
    Junit,
    /// Test Anything Protocol, version 14
    Tap,
}

/// How a connection is judged, as `explain` tells it.
pub(super) struct Trace {
    /// For people.
    pub(super) text: String,
    /// For machines.
    pub(super) answer: Value,
}

/// An outcome.
pub(super) struct Entry {
    /// The name of the test.
    pub(super) test: Option<String>,
    pub(super) outcome: Outcome,
    /// The connection that shows a failure.
    pub(super) trace: Option<Trace>,
}

impl Entry {
    /// The name, without control characters.
    pub(super) fn title(&self) -> String {
        printable(&self.outcome.name).into_owned()
    }

    /// `FILE:LINE:COLUMN`, without control characters.
    pub(super) fn place(&self) -> String {
        printable(&self.outcome.location.to_string()).into_owned()
    }

    /// What is not as expected, a line for each.
    pub(super) fn failures(&self) -> Vec<String> {
        let expected = match self.outcome.expect {
            Decision::Allow => "expected Allow",
            Decision::Deny => "expected Deny",
        };
        let failures = self.outcome.failures.iter();
        failures.map(|failure| format!("{expected}: {}", printable(failure))).collect()
    }

    /// What else is worth knowing, a line for each.
    pub(super) fn notes(&self) -> Vec<String> {
        self.outcome.notes.iter().map(|note| printable(note).into_owned()).collect()
    }

    /// The trace without colours, line by line.
    pub(super) fn trace_lines(&self) -> Vec<String> {
        let text = self.trace.as_ref().map_or("", |trace| trace.text.as_str());
        anstream::adapter::strip_str(text).to_string().lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// What there is to report.
pub(super) struct Report {
    /// The outcomes, by test and place.
    pub(super) entries: Vec<Entry>,
    /// What was exercised, if that was asked for.
    pub(super) coverage: Option<Coverage>,
}

/// The documented JSON form.
#[derive(Serialize)]
struct Answer<'a> {
    passed: usize,
    failed: usize,
    results: Vec<Told<'a>>,
    /// Absent without `--coverage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<CoverageAnswer<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    /// `metadata.name` of the test.
    test: Option<&'a str>,
    name: &'a str,
    /// `case`, `matrix` or `invariant`.
    form: Form,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: &'a Path,
    line: u32,
    column: u32,
    expect: Decision,
    passed: bool,
    failures: &'a [String],
    notes: &'a [String],
    /// The connection that shows a failure, in the form of `explain -o json`; null where there is none.
    trace: Option<&'a Value>,
}

#[derive(Serialize)]
struct CoverageAnswer<'a> {
    rules: usize,
    exercised: usize,
    percent: usize,
    /// The rules that nothing exercises.
    missed: Vec<RuleAnswer<'a>>,
    /// Those of the exercised rules that invariants alone exercise.
    only_by_invariants: Vec<RuleAnswer<'a>>,
}

#[derive(Serialize)]
struct RuleAnswer<'a> {
    policy: String,
    kind: &'static str,
    direction: String,
    rule: usize,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: &'a Path,
    line: u32,
    column: u32,
}

impl Report {
    /// How many outcomes are as expected, and how many are not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let passed = self.entries.iter().filter(|entry| entry.outcome.is_met()).count();
        (passed, self.entries.len() - passed)
    }

    /// Whether the exit code is 1.
    pub(super) fn fails(&self) -> bool {
        self.counts().1 > 0
    }

    /// One line that says how much is as expected.
    pub(super) fn summary(&self) -> String {
        let (passed, failed) = self.counts();
        let mut text =
            if failed == 0 { format!("{passed} passed") } else { format!("{failed} failed, {passed} passed") };
        if let Some(coverage) = &self.coverage {
            text = format!("{text}; {}", covered(coverage));
        }
        text
    }

    /// Writes the report.
    pub(super) fn write(&self, format: Format, output: &mut dyn Write) -> anyhow::Result<()> {
        match format {
            Format::Human => self.human(output)?,
            Format::Json => json(output, &self.answer())?,
            Format::Junit => junit::write(self, output)?,
            Format::Tap => tap::write(self, output)?,
        }
        Ok(())
    }

    fn human(&self, output: &mut dyn Write) -> io::Result<()> {
        for entry in &self.entries {
            if entry.outcome.is_met() {
                writeln!(output, "{GOOD}ok{GOOD:#}    {}", entry.title())?;
            } else {
                writeln!(output, "{BAD}FAIL{BAD:#}  {} ({})", entry.title(), entry.place())?;
            }
            for failure in entry.failures() {
                writeln!(output, "      {failure}")?;
            }
            for note in entry.notes() {
                writeln!(output, "      {REMARK}note{REMARK:#}: {note}")?;
            }
            if let Some(trace) = &entry.trace {
                writeln!(output)?;
                for line in trace.text.lines() {
                    writeln!(output, "{}", format!("        {line}").trim_end())?;
                }
                writeln!(output)?;
            }
        }
        writeln!(output, "{}", self.summary())?;
        if let Some(coverage) = &self.coverage {
            let missed = coverage.missed().map(|rule| ("not exercised", rule));
            let barely = coverage.only_by_invariants().map(|rule| ("exercised by invariants alone", rule));
            for (what, CoveredRule { location, policy, direction, index }) in missed.chain(barely) {
                let line = format!("{what}: {policy} {direction}[{index}] ({location})");
                writeln!(output, "  {}", printable(&line))?;
            }
        }
        Ok(())
    }

    fn answer(&self) -> Answer<'_> {
        let (passed, failed) = self.counts();
        let told = self.entries.iter().map(|Entry { test, outcome, trace }| Told {
            test: test.as_deref(),
            name: &outcome.name,
            form: outcome.form,
            file: &outcome.location.file,
            line: outcome.location.line,
            column: outcome.location.column,
            expect: outcome.expect,
            passed: outcome.is_met(),
            failures: &outcome.failures,
            notes: &outcome.notes,
            trace: trace.as_ref().map(|trace| &trace.answer),
        });
        let coverage = self.coverage.as_ref().map(|coverage| {
            let missed: Vec<_> = coverage.missed().map(rule).collect();
            let only_by_invariants = coverage.only_by_invariants().map(rule).collect();
            let (rules, percent) = (coverage.total(), coverage.percent());
            CoverageAnswer { rules, exercised: rules - missed.len(), percent, missed, only_by_invariants }
        });
        Answer { passed, failed, results: told.collect(), coverage }
    }
}

fn rule(rule: &CoveredRule) -> RuleAnswer<'_> {
    RuleAnswer {
        policy: rule.policy.to_string(),
        kind: rule.policy.kind.name(),
        direction: rule.direction.to_string(),
        rule: rule.index,
        file: &rule.location.file,
        line: rule.location.line,
        column: rule.location.column,
    }
}

/// How much of the rules is exercised, in words.
pub(super) fn covered(coverage: &Coverage) -> String {
    let exercised = coverage.total() - coverage.missed().count();
    let total = count(coverage.total(), "rule", "rules");
    let text = format!("{exercised} of {total} exercised ({} %)", coverage.percent());
    match coverage.only_by_invariants().count() {
        0 => text,
        barely => format!("{text}, {barely} by invariants alone"),
    }
}
