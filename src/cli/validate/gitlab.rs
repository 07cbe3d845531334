//! Findings as GitLab's Code Quality report.
//!
//! Input: a report. Output: the list of issues that GitLab reads from `artifacts:reports:codequality`. GitLab shows one of
//! several issues with one fingerprint, so each has its own.

use serde::Serialize;

use crate::policy::Severity;
use crate::policy::suppress::Finding;

use super::report::{Report, message};

#[derive(Serialize)]
pub(super) struct Issue {
    description: String,
    check_name: &'static str,
    fingerprint: String,
    severity: &'static str,
    location: Place,
}

#[derive(Serialize)]
struct Place {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
}

pub(super) fn issues(report: &Report<'_>) -> Vec<Issue> {
    report.told().map(|finding| issue(report, finding)).collect()
}

fn issue(report: &Report<'_>, Finding { diagnostic, fingerprint, .. }: &Finding) -> Issue {
    Issue {
        description: message(diagnostic).replace("\nhelp: ", "; "),
        check_name: diagnostic.code,
        fingerprint: fingerprint.clone(),
        severity: match diagnostic.severity {
            Severity::Error => "major",
            Severity::Warning => "minor",
            Severity::Note => "info",
        },
        location: Place { path: report.name(diagnostic), lines: Lines { begin: diagnostic.location.line } },
    }
}
