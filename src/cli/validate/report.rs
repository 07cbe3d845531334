//! What `validate` found, in the form that was asked for.
//!
//! Input: judged findings and their files. Output: text for people, or one of the forms that pipelines read. Machines get
//! paths relative to the working directory, because that is where a pipeline has its checkout.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::diagnostics::{Tally, render};
use crate::cli::output::{count, json};
use crate::policy::suppress::{Finding, Suppression, name};
use crate::policy::{Diagnostic, Severity, SourceFile};

use super::{github, gitlab, junit, sarif};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Human,
    /// For machines; the fields are an interface
    Json,
    /// SARIF 2.1.0, for code scanning and editors
    Sarif,
    /// JUnit XML: a suite for each file, a case for each finding
    Junit,
    /// Workflow commands that GitHub shows in the changed lines
    Github,
    /// GitLab's Code Quality report
    Gitlab,
}

/// What there is to report.
pub(super) struct Report<'a> {
    /// All findings in order, also those that are not told.
    pub(super) findings: &'a [Finding],
    /// The files that findings are about.
    pub(super) sources: &'a [SourceFile],
    /// Number of policy files; they come first among the sources.
    pub(super) files: usize,
    /// Number of resources by kind.
    pub(super) kinds: &'a BTreeMap<String, usize>,
    /// The directory that machines get paths relative to.
    pub(super) base: &'a Path,
    /// Whether warnings fail.
    pub(super) strict: bool,
}

/// The documented JSON form.
#[derive(Serialize)]
struct Answer<'a> {
    diagnostics: Vec<&'a Diagnostic>,
    suppressed: Vec<Suppressed<'a>>,
    errors: usize,
    warnings: usize,
    notes: usize,
    files: usize,
    resources: usize,
    kinds: &'a BTreeMap<String, usize>,
}

/// A finding that is not told: its fields, and why.
#[derive(Serialize)]
struct Suppressed<'a> {
    #[serde(flatten)]
    diagnostic: &'a Diagnostic,
    by: &'static str,
    reason: Option<&'a str>,
}

impl Report<'_> {
    /// The findings that are told.
    pub(super) fn told(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.suppressed.is_none())
    }

    /// Whether findings of this severity make the exit code 1.
    pub(super) fn is_failure(&self, severity: Severity) -> bool {
        match severity {
            Severity::Error => true,
            Severity::Warning => self.strict,
            Severity::Note => false,
        }
    }

    /// Whether the exit code is 1.
    pub(super) fn fails(&self) -> bool {
        self.told().any(|finding| self.is_failure(finding.diagnostic.severity))
    }

    /// The file of a finding, for machines.
    pub(super) fn name(&self, diagnostic: &Diagnostic) -> String {
        name(&diagnostic.location.file, self.base)
    }

    /// One line that says how much was found in how much.
    pub(super) fn summary(&self) -> String {
        let tally = Tally::of(&self.told_diagnostics());
        let resources = count(self.kinds.values().sum(), "resource", "resources");
        let mut text = format!("{} in {} ({resources})", tally.summary(), count(self.files, "file", "files"));
        let by = |wanted: fn(&Suppression) -> bool| {
            self.findings.iter().filter(|finding| finding.suppressed.as_ref().is_some_and(wanted)).count()
        };
        let ignored = by(|suppression| matches!(suppression, Suppression::Comment { .. }));
        let known = by(|suppression| matches!(suppression, Suppression::Baseline));
        for (number, what) in [(ignored, "ignored by a comment"), (known, "in the baseline")] {
            if number > 0 {
                let _ = write!(text, "; {number} {what}");
            }
        }
        text
    }

    /// Writes the report.
    pub(super) fn write(&self, format: Format, output: &mut dyn Write) -> anyhow::Result<()> {
        match format {
            Format::Human => self.human(output)?,
            Format::Json => json(output, &self.answer())?,
            Format::Sarif => json(output, &sarif::log(self))?,
            Format::Junit => junit::write(self, output)?,
            Format::Github => github::write(self, output)?,
            Format::Gitlab => json(output, &gitlab::issues(self))?,
        }
        Ok(())
    }

    fn told_diagnostics(&self) -> Vec<Diagnostic> {
        self.told().map(|finding| finding.diagnostic.clone()).collect()
    }

    fn human(&self, output: &mut dyn Write) -> io::Result<()> {
        write!(output, "{}", render(&self.told_diagnostics(), self.sources))?;
        writeln!(output, "{}", self.summary())
    }

    fn answer(&self) -> Answer<'_> {
        let tally = Tally::of(&self.told_diagnostics());
        let suppressed = self.findings.iter().filter_map(|finding| {
            let (by, reason) = match finding.suppressed.as_ref()? {
                Suppression::Comment { reason } => ("comment", Some(reason.as_str())),
                Suppression::Baseline => ("baseline", None),
            };
            Some(Suppressed { diagnostic: &finding.diagnostic, by, reason })
        });
        Answer {
            diagnostics: self.told().map(|finding| &finding.diagnostic).collect(),
            suppressed: suppressed.collect(),
            errors: tally.errors,
            warnings: tally.warnings,
            notes: tally.notes,
            files: self.files,
            resources: self.kinds.values().sum(),
            kinds: self.kinds,
        }
    }
}

/// Message and help as one text; the help in a line of its own.
pub(super) fn message(diagnostic: &Diagnostic) -> String {
    match &diagnostic.help {
        Some(help) => format!("{}\nhelp: {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    }
}

/// What a code is about, in a few words.
pub(super) fn title(diagnostic: &Diagnostic) -> &'static str {
    crate::policy::codes::find(diagnostic.code).map_or("", |code| code.title)
}
