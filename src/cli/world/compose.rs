//! The world of Compose files: options as those of `docker compose`, and the door to files and environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::NotFound;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::refuse_errors;
use crate::cli::diagnostics::render;
use crate::cli::failure::Failure;
use crate::inventory::Inventory;
use crate::inventory::compose::{self, Loaded, Request};
use crate::policy::{Severity, SourceFile, files};

/// Options that take the inventory from Compose files.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ComposeArguments {
    /// Take containers and networks from a Compose file, as `docker compose up` would make them; several are merged
    #[arg(long, value_name = "FILE", conflicts_with = "inventory")]
    compose: Vec<PathBuf>,

    /// Active profile of the Compose files, or `*`; can be repeated [default: `COMPOSE_PROFILES`]
    #[arg(long, value_name = "NAME", requires = "compose", conflicts_with = "inventory")]
    profile: Vec<String>,

    /// Variables of the Compose files, instead of `.env` beside the first; can be repeated
    #[arg(long, value_name = "FILE", requires = "compose", conflicts_with = "inventory")]
    env_file: Vec<PathBuf>,

    /// Project name of the Compose files, in front of names of containers and networks
    #[arg(
        short,
        long,
        value_name = "NAME",
        value_parser = project_name,
        requires = "compose",
        conflicts_with = "inventory"
    )]
    project_name: Option<String>,
}

impl ComposeArguments {
    /// As if these options had been given.
    pub(in crate::cli) fn of(files: &[PathBuf], profiles: &BTreeSet<String>, project_name: Option<&str>) -> Self {
        ComposeArguments {
            compose: files.to_vec(),
            profile: profiles.iter().cloned().collect(),
            env_file: Vec::new(),
            project_name: project_name.map(str::to_owned),
        }
    }

    /// The files.
    pub(in crate::cli) fn files(&self) -> &[PathBuf] {
        &self.compose
    }

    /// Whether there are Compose files.
    pub(in crate::cli) fn is_stated(&self) -> bool {
        !self.compose.is_empty()
    }

    /// The same of other files.
    pub(in crate::cli) fn with_files(&self, files: &[PathBuf]) -> ComposeArguments {
        ComposeArguments { compose: files.to_owned(), ..self.clone() }
    }

    /// The inventory of the Compose files; `None` without any. Warnings about them are told beside the answer.
    pub(in crate::cli) fn load(&self) -> anyhow::Result<Option<Inventory>> {
        let Some(Loaded { inventory, diagnostics, sources }) = self.load_with_warnings()? else { return Ok(None) };
        // Whether they can be written does not change the answer.
        let _ = write!(anstream::stderr(), "{}", render(&diagnostics, &sources));
        Ok(Some(inventory))
    }

    /// The inventory of the Compose files with the warnings about them; `None` without any file.
    pub(in crate::cli) fn load_with_warnings(&self) -> anyhow::Result<Option<Loaded>> {
        let Some(first) = self.compose.first() else { return Ok(None) };
        let environment_files = (!self.env_file.is_empty()).then(|| read_all(&self.env_file)).transpose()?;
        let request = Request {
            files: read_all(&self.compose)?,
            working_directory: std::env::current_dir().context("cannot tell the working directory")?,
            variables: variables(),
            environment_files,
            project_name: self.project_name.clone(),
            profiles: self.profile.iter().cloned().collect(),
        };
        let Loaded { inventory, diagnostics, sources } = compose::load(&request, &mut read);
        let help = "`docker compose config` shows what Compose makes of the same files";
        refuse_errors("the Compose model", first, &diagnostics, &sources, help)?;
        let warnings = diagnostics.into_iter().filter(|finding| finding.severity == Severity::Warning);
        Ok(Some(Loaded { inventory, diagnostics: warnings.collect(), sources }))
    }
}

/// A name of a project; an empty one is as good as none.
fn project_name(text: &str) -> Result<String, String> {
    if text.is_empty() || compose::is_project_name(text) {
        return Ok(text.to_owned());
    }
    Err(compose::PROJECT_NAME_HELP.to_owned())
}

fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
    paths
        .iter()
        .map(|path| {
            let found = read(path).map_err(|problem| Failure {
                message: format!("cannot read {}: {problem}", path.display()),
                help: "name a file".to_owned(),
            })?;
            found.ok_or_else(|| {
                Failure {
                    message: format!("there is no file {}", path.display()),
                    help:
                        "a relative path begins in the current directory, and one in a test beside the file of the test"
                            .to_owned(),
                }
                .into()
            })
        })
        .collect()
}

/// One file; `None` if there is none.
fn read(path: &Path) -> Result<Option<SourceFile>, String> {
    match files::read(&[path.to_owned()]) {
        Ok(sources) => match <[SourceFile; 1]>::try_from(sources) {
            // A directory gives the files in it.
            Ok([source]) if source.path == path => Ok(Some(source)),
            _ => Err("not a file".to_owned()),
        },
        Err(files::Error::Read { source, .. }) if source.kind() == NotFound => Ok(None),
        Err(files::Error::Read { source, .. }) => Err(source.to_string()),
    }
}

/// The variables of this process that are text.
fn variables() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
