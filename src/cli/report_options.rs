//! The options of commands that make a report, and where the report goes.
//!
//! Input: a form and perhaps a file. Output: the report in that form, to the file or to standard output. `-o` is the form in all
//! of them, as in `kubectl`, so that `--output` with the name of a form is refused and not written to.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::file;
use super::output::plain;

/// The form of a report and its file. One of the forms is `human`.
#[derive(Debug, Args)]
pub(super) struct ReportOptions<F: ValueEnum + Send + Sync + 'static> {
    /// Form of the report
    #[arg(short = 'o', long, value_enum, default_value = "human", value_name = "FORMAT")]
    format: F,

    /// Write the report to this file, whole or not at all, and only a summary to standard output
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

impl<F: ValueEnum + Send + Sync + 'static> ReportOptions<F> {
    /// See [`refuse_format_as_file`].
    pub(super) fn refuse_format_as_file(&self) -> Result<(), Failure> {
        refuse_format_as_file::<F>(self.output.as_deref())
    }

    /// Writes a report to where it was asked for, and its summary where that is a file.
    pub(super) fn deliver(
        &self,
        output: &mut dyn Write,
        write: impl FnOnce(F, &mut dyn Write) -> anyhow::Result<()>,
        summary: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => {
                file::write(path, &plain(|output| write(self.format.clone(), output))?)?;
                writeln!(output, "{}", summary())?;
            }
            None => write(self.format.clone(), output)?,
        }
        output.flush().context("cannot write to standard output")
    }
}

/// Refuses the name of a form for a file: `--output json` chose a form once.
pub(super) fn refuse_format_as_file<F: ValueEnum>(output: Option<&Path>) -> Result<(), Failure> {
    let Some(name) = output.and_then(Path::to_str) else { return Ok(()) };
    if F::from_str(name, false).is_err() {
        return Ok(());
    }
    Err(Failure {
        message: format!("--output names a file, and `{name}` is a form"),
        help: format!("`--format {name}` or `-o {name}` chooses the form; the file is `--output ./{name}`"),
    })
}
