//! A file with the findings that are known, so that only new ones are told.
//!
//! Input: [`Finding`]s of one run. Output: the text of a baseline; in a later run, its findings are suppressed, and those
//! that are gone are told. One finding is one line, so that a change of the baseline can be read in a review.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Finding, Suppression, fingerprint};
use crate::policy::codes::{self, Code};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, Severity, SourceFile};

/// Version of the form that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or not of this form.
    #[error("the baseline is not what `--write-baseline` wrote")]
    Form(#[from] serde_json::Error),
    /// It is of a form that this version does not know.
    #[error("the baseline is of version {0}, and this program reads {VERSION}")]
    Version(u32),
}

/// Known findings.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    findings: Vec<Entry>,
}

/// One known finding. Only the fingerprint identifies it; the rest is for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    code: String,
    message: String,
    fingerprint: String,
}

impl Baseline {
    /// Reads a baseline.
    pub fn parse(text: &str) -> Result<Baseline, Error> {
        let baseline: Baseline = serde_json::from_str(text)?;
        if baseline.version == VERSION { Ok(baseline) } else { Err(Error::Version(baseline.version)) }
    }

    /// The warnings and notes among these findings that are told. Files are named relative to `base`.
    pub fn of(findings: &[Finding], base: &Path) -> Baseline {
        let known = findings.iter().filter(|finding| can_be_known(finding)).map(|finding| Entry {
            file: fingerprint::name(&finding.diagnostic.location.file, base),
            code: finding.diagnostic.code.to_owned(),
            message: finding.diagnostic.message.clone(),
            fingerprint: finding.fingerprint.clone(),
        });
        let mut findings: Vec<Entry> = known.collect();
        findings.sort();
        Baseline { version: VERSION, findings }
    }

    /// The text of the file.
    pub fn text(&self) -> Result<String, Error> {
        let lines: Result<Vec<String>, _> = self.findings.iter().map(serde_json::to_string).collect();
        let lines = lines?.join(",\n    ");
        let lines = if lines.is_empty() { lines } else { format!("\n    {lines}\n  ") };
        Ok(format!("{{\n  \"version\": {},\n  \"findings\": [{lines}]\n}}\n", self.version))
    }

    /// Suppresses the findings that are known, and adds a finding about the baseline, which `source` is, for each one that is
    /// gone: of files that were `looked_at` and of codes that were `looked_for`.
    pub fn apply(
        &self,
        findings: &mut Vec<Finding>,
        source: &SourceFile,
        base: &Path,
        looked_at: impl Fn(&str) -> bool,
        looked_for: impl Fn(&Code) -> bool,
    ) {
        let known: BTreeSet<&str> = self.findings.iter().map(|entry| entry.fingerprint.as_str()).collect();
        // A finding that a comment suppresses as well is still there.
        let present: BTreeSet<String> = findings.iter().map(|finding| finding.fingerprint.clone()).collect();
        for finding in findings.iter_mut() {
            if can_be_known(finding) && known.contains(finding.fingerprint.as_str()) {
                finding.suppressed = Some(Suppression::Baseline);
            }
        }
        let gone = self.findings.iter().filter(|entry| {
            !present.contains(&entry.fingerprint)
                && looked_at(&entry.file)
                && codes::find(&entry.code).is_none_or(&looked_for)
        });
        let gone = gone.map(|entry| (entry.gone(source), None)).collect();
        findings.extend(fingerprint::findings(gone, std::slice::from_ref(source), base));
        findings.sort_by(|a, b| Diagnostic::order(&a.diagnostic, &b.diagnostic));
    }
}

impl Entry {
    fn gone(&self, source: &SourceFile) -> Diagnostic {
        let index = source.text.lines().position(|line| line.contains(&self.fingerprint)).unwrap_or_default();
        let line_text = source.text.lines().nth(index).unwrap_or_default();
        let indentation = line_text.chars().take_while(|c| c.is_whitespace()).count();
        let place = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
        let location = Location { file: source.path.clone(), line: place(index), column: place(indentation) };
        let message = format!("{} in {} is gone: the baseline can shrink", self.code, self.file);
        let finding = Diagnostic::new(&codes::BASELINE_SHRINKS, location, &FieldPath::root(), message);
        finding.with_help("write it anew with `dockgate validate --write-baseline`")
    }
}

/// Whether a baseline may hold a finding: errors are always told.
fn can_be_known(finding: &Finding) -> bool {
    finding.suppressed.is_none() && finding.diagnostic.severity != Severity::Error
}
