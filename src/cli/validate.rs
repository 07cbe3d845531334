//! `dockgate validate`: the daemon's own loader and checks, all findings at once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::compile;
use crate::inventory::Inventory;
use crate::policy::field::FieldPath;
use crate::policy::{self, Diagnostic, PolicySet, SourceFile, codes, files};

use super::Outcome;
use super::diagnostics::{Tally, render};
use super::output::{AnswerFormat, count, json};
use super::world::{self, ComposeArguments};

/// The name under which standard input appears in findings.
const STANDARD_INPUT: &str = "<stdin>";

/// Check policy files without Docker
///
/// Reads the files as `run` does and reports everything that is wrong with them, with file, line and column. Exit code
/// 0: nothing that keeps a resource from being used; 1: errors (with --strict also warnings); 2: a path cannot be
/// read, or holds no policy file.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files and directories; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Form of the findings
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Human, value_name = "FORMAT")]
    output: AnswerFormat,

    /// Report containers of this Inventory file that the policies select and cannot reach, too
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    #[command(flatten)]
    compose: ComposeArguments,

    /// Let warnings fail too
    #[arg(long)]
    strict: bool,
}

/// The documented JSON form.
#[derive(Serialize)]
struct Answer<'a> {
    diagnostics: &'a [Diagnostic],
    errors: usize,
    warnings: usize,
    notes: usize,
    files: usize,
    resources: usize,
    kinds: &'a BTreeMap<String, usize>,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let sources = self.sources()?;
        let mut loaded = policy::load(&sources);
        if let Some(inventory) = world::stated(self.inventory.as_deref(), &self.compose)? {
            loaded.diagnostics.extend(out_of_reach(&loaded.policies, &inventory));
            Diagnostic::sort(&mut loaded.diagnostics);
        }
        let tally = Tally::of(&loaded.diagnostics);
        let resources = loaded.resources.values().sum();
        match self.output {
            AnswerFormat::Json => json(
                output,
                &Answer {
                    diagnostics: &loaded.diagnostics,
                    errors: tally.errors,
                    warnings: tally.warnings,
                    notes: tally.notes,
                    files: sources.len(),
                    resources,
                    kinds: &loaded.resources,
                },
            )?,
            AnswerFormat::Human => {
                write!(output, "{}", render(&loaded.diagnostics, &sources))?;
                let files = count(sources.len(), "file", "files");
                writeln!(output, "{} in {files} ({})", tally.summary(), count(resources, "resource", "resources"))?;
            }
        }
        Ok(Outcome::from_clean(tally.errors == 0 && !(self.strict && tally.warnings > 0)))
    }

    fn sources(&self) -> anyhow::Result<Vec<SourceFile>> {
        let (streams, paths): (Vec<_>, Vec<_>) =
            self.paths.iter().cloned().partition(|path| path.as_path() == Path::new("-"));
        // One by one, since what a path adds to others may be nothing because they hold the same files.
        for path in &paths {
            if files::read(std::slice::from_ref(path))?.is_empty() {
                anyhow::bail!("no policy files (.yaml, .yml, .json) in {}", path.display());
            }
        }
        let mut sources = files::read(&paths)?;
        if !streams.is_empty() {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            sources.push(SourceFile::new(STANDARD_INPUT, text));
        }
        Ok(sources)
    }
}

/// A finding for each policy and each container that it selects without being in force for it.
fn out_of_reach(policies: &PolicySet, inventory: &Inventory) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for found in compile::out_of_reach(policies, inventory) {
        for policy in &found.policies {
            let message = format!("policy {} selects {found}", policy.key);
            let field = FieldPath::root();
            let finding = Diagnostic::new(&codes::OUT_OF_REACH, policy.location.clone(), &field, message);
            let name = &found.endpoint.container.name;
            let help = format!(
                "leave it out of the selector, give it a bridge network, or start the controller with \
                 --accept-out-of-reach {name}"
            );
            findings.push(finding.with_help(help));
        }
    }
    findings
}
