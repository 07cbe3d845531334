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

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::inventory::{self, Inventory};
use crate::policy::codes::Code;
use crate::policy::location::file_name;
use crate::policy::suppress::baseline::Baseline;
use crate::policy::suppress::{self, Finding};
use crate::policy::{self, Diagnostic, SourceFile, Unreadable, codes, document, files};
use crate::{lint, policy_test};

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
/// warnings); 2: a path cannot be read, or holds no policy file; what can be read
/// is reported all the same.
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
        let unread = Unread::among(&sources);
        self.refuse_input_as_file(&sources)?;
        let files = sources.len();
        let mut loaded = policy::load(&sources);
        check_other_kinds(&sources, &mut loaded.diagnostics);
        let world = self.world(&mut loaded.diagnostics, &mut sources)?;
        loaded.diagnostics.extend(lint::lint(&loaded.policies, world.as_ref(), &sources));
        let base = std::env::current_dir().context("cannot tell the working directory")?;
        // What is missing because of a file that could not be read is not gone.
        let looks_for = |code: &Code| unread.0.is_empty() && self.looks_for(code);
        let mut findings = suppress::judge(&sources, loaded.diagnostics, &base, looks_for);
        sources.extend(self.apply_baseline(&mut findings, &sources, &base, looks_for)?);
        let report = Report {
            findings: &findings,
            sources: &sources,
            files,
            kinds: &loaded.resources,
            base: &base,
            strict: self.strict,
        };
        self.report.deliver(output, |format, output| report.write(format, output), || report.summary())?;
        unread.into_failure()?;
        Ok(Outcome::from_clean(!report.fails()))
    }

    /// The world that was chosen. What is doubtful in Compose files is a finding as any other.
    fn world(
        &self,
        diagnostics: &mut Vec<Diagnostic>,
        sources: &mut Vec<SourceFile>,
    ) -> anyhow::Result<Option<Inventory>> {
        let Some(found) = self.compose.load_with_warnings()? else {
            return self.inventory.as_deref().map(world::from_file).transpose();
        };
        diagnostics.extend(found.diagnostics);
        let is_new = |source: &SourceFile| sources.iter().all(|known| known.path != source.path);
        let new: Vec<SourceFile> = found.sources.into_iter().filter(is_new).collect();
        sources.extend(new);
        Ok(Some(found.inventory))
    }

    /// A report or a baseline in the place of a file that is read would be the end of that file.
    fn refuse_input_as_file(&self, sources: &[SourceFile]) -> Result<(), Failure> {
        for (option, path) in [("--output", &self.report.output), ("--write-baseline", &self.write_baseline)] {
            let worlds = self.inventory.iter().chain(self.compose.files()).chain(&self.baseline);
            let inputs = sources.iter().map(|source| &source.path).chain(worlds).map(PathBuf::as_path);
            file::refuse_input(option, path.as_deref(), inputs)?;
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
        looks_for: impl Fn(&Code) -> bool,
    ) -> anyhow::Result<Option<SourceFile>> {
        let source = match (&self.baseline, &self.write_baseline) {
            (Some(path), _) => baseline::read(path)?,
            (None, Some(path)) => {
                let text = Baseline::of(findings, base).text()?;
                baseline::refuse_other_file(path)?;
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
        baseline.apply(findings, &source, base, looked_at, looks_for);
        Ok(Some(source))
    }

    fn sources(&self) -> anyhow::Result<Vec<SourceFile>> {
        let (streams, paths): (Vec<_>, Vec<_>) =
            self.paths.iter().cloned().partition(|path| path.as_path() == Path::new("-"));
        let mut sources = files::read_what_can_be(&paths);
        if streams.is_empty() && sources.iter().all(|source| source.unreadable.is_some()) {
            // There is nothing to report about.
            files::read(&paths)?;
        }
        // One by one, since what a path adds to others may be nothing because they hold the same files.
        for path in &paths {
            let is_empty = match paths.as_slice() {
                [_] => sources.is_empty(),
                _ => files::read_what_can_be(std::slice::from_ref(path)).is_empty(),
            };
            if is_empty {
                anyhow::bail!("no policy files (.yaml, .yml, .json) in {}", path.display());
            }
        }
        if !streams.is_empty() {
            let input = files::read_stream(Path::new(STANDARD_INPUT), std::io::stdin());
            let input = input.context("cannot read standard input")?;
            let (documents, findings) = document::parse(&input);
            if documents.is_empty() && findings.is_empty() {
                return Err(Failure {
                    message: "no policies on standard input: it holds no document".to_owned(),
                    help: "did the command before it fail, or render nothing?".to_owned(),
                }
                .into());
            }
            sources.push(input);
        }
        Ok(sources)
    }
}

/// Adds the findings about resources of `dockgate.io`, which the loader of policies reads over. What both find is told once.
fn check_other_kinds(sources: &[SourceFile], diagnostics: &mut Vec<Diagnostic>) {
    let readable = |kind: &'static str| {
        sources.iter().filter(move |source| source.unreadable.is_none() && source.text.contains(kind))
    };
    let tests: Vec<SourceFile> = readable("PolicyTest").cloned().collect();
    let (_, found) = policy_test::load(&tests);
    let found = found.into_iter().chain(readable("Inventory").flat_map(inventory::file::check));
    let known: BTreeSet<_> = diagnostics.iter().map(|found| (found.code, found.location.clone())).collect();
    diagnostics.extend(found.filter(|found| !known.contains(&(found.code, found.location.clone()))));
}

/// The paths that the system refused to read, each with the reason.
struct Unread(Vec<(PathBuf, String)>);

impl Unread {
    fn among(sources: &[SourceFile]) -> Unread {
        let refused = sources.iter().filter_map(|source| match &source.unreadable {
            Some(Unreadable::Refused(reason)) => Some((source.path.clone(), reason.clone())),
            _ => None,
        });
        Unread(refused.collect())
    }

    /// The failure that they are: nobody knows what they hold.
    fn into_failure(self) -> Result<(), Failure> {
        let message = match self.0.as_slice() {
            [] => return Ok(()),
            [(path, reason)] => format!("cannot read {}: {reason}", file_name(path)),
            several => format!("cannot read {} of the paths", several.len()),
        };
        Err(Failure {
            message,
            help: "the report is about everything else, and may be another once this can be read".to_owned(),
        })
    }
}
