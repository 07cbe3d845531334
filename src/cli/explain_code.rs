//! `dockgate explain-code`: what a code in a finding means.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use crate::policy::Severity;
use crate::policy::codes::{self, CODES, Code};
use crate::policy::diagnostic::did_you_mean;

use super::Outcome;
use super::failure::Failure;
use super::output::{AnswerFormat, json, table};

/// Explain a code such as DG2004 that a finding carries
///
/// The same texts are in docs/diagnostics.md.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The code, in any case [default: a list of all]
    #[arg(value_name = "CODE")]
    code: Option<String>,

    /// Form of the explanation
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Human, value_name = "FORMAT")]
    output: AnswerFormat,
}

/// The documented JSON form: one of these, or a list of all.
#[derive(Serialize)]
struct Page {
    code: &'static str,
    severity: Severity,
    title: &'static str,
    explanation: &'static str,
}

impl Page {
    fn of(code: &Code) -> Page {
        Page { code: code.id, severity: code.severity, title: code.title, explanation: code.explanation }
    }
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let code = self.code.as_deref().map(find).transpose()?;
        match (code, self.output) {
            (Some(code), AnswerFormat::Json) => json(output, &Page::of(code))?,
            (Some(Code { id, severity, title, explanation, .. }), AnswerFormat::Human) => {
                writeln!(output, "{severity}[{id}]: {title}\n\n{explanation}")?;
            }
            (None, AnswerFormat::Json) => json(output, &CODES.iter().map(Page::of).collect::<Vec<_>>())?,
            (None, AnswerFormat::Human) => {
                let rows = CODES.iter().map(|code| vec![code.id.into(), code.severity.to_string(), code.title.into()]);
                table(output, &["CODE", "SEVERITY", "TITLE"], &rows.collect::<Vec<_>>())?;
            }
        }
        Ok(Outcome::Yes)
    }
}

fn find(id: &str) -> Result<&'static Code, Failure> {
    codes::find(id).ok_or_else(|| Failure {
        message: format!("there is no code {id}"),
        help: did_you_mean(&id.to_uppercase(), CODES.iter().map(|code| code.id))
            .unwrap_or_else(|| "`dockgate explain-code` lists all codes".to_owned()),
    })
}
