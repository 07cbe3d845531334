//! `dockgate validate`: the daemon's own loader and checks, all findings at once.
//!
//! Input: files. Output: a report in the form that was asked for. Findings come together first and are judged as one, by
//! comments and by a baseline, so that neither cares which check made them.

mod baseline;
mod github;
mod gitlab;
mod junit;
mod report;
mod sarif;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::lint;
use crate::policy::codes::Code;
use crate::policy::suppress::baseline::Baseline;
use crate::policy::suppress::{self, Finding};
use crate::policy::{self, SourceFile, codes, files};

use super::Outcome;
use super::failure::Failure;
use super::file;
use super::report_options::ReportOptions;
use super::world::{self, ComposeArguments};

pub(super) use junit::escaped as escaped_for_xml;
use report::{Format, Report};

/// The name under which standard input appears in findings.
const STANDARD_INPUT: &str = "<stdin>";

/// Codes of findings that are made only where a world is known. Without one, a comment that ignores them is not idle.
const NEEDS_WORLD: &[&Code] =
    &[&codes::OUT_OF_REACH, &codes::SELECTS_NOTHING, &codes::ONE_FAMILY, &codes::HOST_PORT, &codes::UNDECLARED_PORT];

/// Check policy files without Docker
///
/// Reads the files as `run` does and reports everything that is wrong with them, with file, line and column. A comment
/// `# dockgate:ignore CODE[,CODE...] reason` on the line of a warning or note, directly above it, or above the document
/// says that it is meant so. Exit code 0: nothing that keeps a resource from being used; 1: errors (with --strict also
/// warnings); 2: a path cannot be read, or holds no policy file.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files and directories; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    report: ReportOptions<Format>,

    /// Hold the policies against the containers of this Inventory file, too
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    #[command(flatten)]
    compose: ComposeArguments,

    /// Let warnings fail too
    #[arg(long)]
    strict: bool,

    /// Do not report the warnings and notes that this file lists, and say which of them are gone
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// List the present warnings and notes in this file, for --baseline, and do not report them
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        self.report.refuse_format_as_file()?;
        let mut sources = self.sources()?;
        self.refuse_input_as_file(&sources)?;
        let files = sources.len();
        let mut loaded = policy::load(&sources);
        let world = world::stated(self.inventory.as_deref(), &self.compose)?;
        loaded.diagnostics.extend(lint::lint(&loaded.policies, world.as_ref(), &sources));
        let base = std::env::current_dir().context("cannot tell the working directory")?;
        let mut findings = suppress::judge(&sources, loaded.diagnostics, &base, |code| self.looks_for(code));
        sources.extend(self.apply_baseline(&mut findings, &sources, &base)?);
        let report = Report {
            findings: &findings,
            sources: &sources,
            files,
            kinds: &loaded.resources,
            base: &base,
            strict: self.strict,
        };
        self.report.deliver(output, |format, output| report.write(format, output), || report.summary())?;
        Ok(Outcome::from_clean(!report.fails()))
    }

    /// A report or a baseline in the place of a policy would be the end of that policy.
    fn refuse_input_as_file(&self, sources: &[SourceFile]) -> Result<(), Failure> {
        for (option, path) in [("--output", &self.report.output), ("--write-baseline", &self.write_baseline)] {
            let inputs = || sources.iter().map(|source| source.path.as_path());
            if let Some(path) = path.as_deref().filter(|path| file::is_one_of(path, inputs())) {
                return Err(Failure {
                    message: format!("{option} {} is one of the files to be checked", path.display()),
                    help: "name another file: it would be replaced".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Whether a finding with this code could have been made.
    fn looks_for(&self, code: &Code) -> bool {
        self.inventory.is_some() || self.compose.is_stated() || !NEEDS_WORLD.contains(&code)
    }

    /// Suppresses what is known, and gives the file that says what that is.
    fn apply_baseline(
        &self,
        findings: &mut Vec<Finding>,
        sources: &[SourceFile],
        base: &Path,
    ) -> anyhow::Result<Option<SourceFile>> {
        let source = match (&self.baseline, &self.write_baseline) {
            (Some(path), _) => baseline::read(path)?,
            (None, Some(path)) => {
                let text = Baseline::of(findings, base).text()?;
                file::write(path, &text)?;
                SourceFile::new(path, text)
            }
            (None, None) => return Ok(None),
        };
        let baseline =
            Baseline::parse(&source.text).with_context(|| format!("cannot use {}", source.path.display()))?;
        let names: Vec<String> = sources.iter().map(|source| suppress::name(&source.path, base)).collect();
        let roots: Vec<String> = self.paths.iter().map(|path| suppress::name(path, base)).collect();
        // A file that was deleted is in none of the sources, but in a directory that was looked at.
        let looked_at = |file: &str| {
            names.iter().any(|name| name == file) || roots.iter().any(|root| Path::new(file).starts_with(root))
        };
        baseline.apply(findings, &source, base, looked_at, |code| self.looks_for(code));
        Ok(Some(source))
    }

    fn sources(&self) -> anyhow::Result<Vec<SourceFile>> {
        let (streams, paths): (Vec<_>, Vec<_>) =
            self.paths.iter().cloned().partition(|path| path.as_path() == Path::new("-"));
        let mut sources = files::read(&paths)?;
        // One by one, since what a path adds to others may be nothing because they hold the same files.
        for path in &paths {
            let is_empty =
                if paths.len() == 1 { sources.is_empty() } else { files::read(std::slice::from_ref(path))?.is_empty() };
            if is_empty {
                anyhow::bail!("no policy files (.yaml, .yml, .json) in {}", path.display());
            }
        }
        if !streams.is_empty() {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            sources.push(SourceFile::new(STANDARD_INPUT, text));
        }
        Ok(sources)
    }
}
