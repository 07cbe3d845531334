//! Where the read-only commands take their world from: the live engine, an Inventory file or Compose files, and a policy
//! directory.

mod compose;

use std::io::ErrorKind::NotFound;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::dataplane::{self, Kernel, Variant};
use crate::inventory::{self, Inventory, docker};
use crate::policy::{self, Diagnostic, PolicySet, SourceFile, files};

use super::diagnostics::{Tally, render};
use super::failure::Failure;

pub(super) use compose::ComposeArguments;

/// The policy directory of an installed host, used when none is named.
const DEFAULT_POLICIES: &str = "/etc/dockgate/policies";

/// Options that choose the inventory.
#[derive(Debug, Args)]
pub(super) struct WorldArguments {
    /// Take containers and networks from an Inventory file instead of the Docker engine
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    #[command(flatten)]
    compose: ComposeArguments,
}

impl WorldArguments {
    /// The inventory that was chosen; without a choice, the engine's.
    pub(super) async fn inventory(&self) -> anyhow::Result<Inventory> {
        match stated(self.inventory.as_deref(), &self.compose)? {
            Some(inventory) => Ok(inventory),
            None => Ok(docker::snapshot(&docker::connect()?).await?),
        }
    }

    /// The files that were named.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.inventory.iter().chain(self.compose.files()).map(PathBuf::as_path)
    }

    /// The inventory of other files, under the same conditions; `None` without any.
    pub(super) fn before(&self, inventory: Option<&Path>, compose: &[PathBuf]) -> anyhow::Result<Option<Inventory>> {
        stated(inventory, &self.compose.with_files(compose))
    }

    /// The option that chose an inventory; `None` for the engine's.
    pub(super) fn option(&self) -> Option<&'static str> {
        match self.inventory {
            Some(_) => Some("--inventory"),
            None => self.compose.is_stated().then_some("--compose"),
        }
    }
}

/// The inventory of files, if any were chosen.
pub(super) fn stated(inventory: Option<&Path>, compose: &ComposeArguments) -> anyhow::Result<Option<Inventory>> {
    match inventory {
        Some(path) => from_file(path).map(Some),
        None => compose.load(),
    }
}

/// The inventory of a file.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Inventory> {
    let sources = files::read(&[path.to_owned()])?;
    let [source] = sources.as_slice() else {
        return Err(Failure {
            message: format!("{} is not one Inventory file", path.display()),
            help: "`dockgate get inventory -o yaml` writes one".to_owned(),
        }
        .into());
    };
    let (inventory, diagnostics) = inventory::file::load(source);
    refuse_errors("the inventory", path, &diagnostics, &sources, SHOW_ALL)?;
    Ok(inventory)
}

/// The option that names the policies.
#[derive(Debug, Args)]
pub(super) struct PolicyArguments {
    /// Policy files [default: /etc/dockgate/policies, if it exists]
    #[arg(long, value_name = "DIR", env = "DOCKGATE_POLICIES")]
    policies: Option<PathBuf>,
}

impl PolicyArguments {
    /// The policies that were chosen; `None` if none were and the host has no default directory.
    pub(super) fn load(&self) -> anyhow::Result<Option<PolicySet>> {
        match &self.policies {
            Some(path) => {
                let policies = policies(path)?;
                if policies == policy::load(&[]).policies {
                    // An answer about no policy looks like one about many; whether this can be written does not change it.
                    let _ = writeln!(anstream::stderr(), "warning: there is no policy in {}", path.display());
                }
                Ok(Some(policies))
            }
            None => match policies(Path::new(DEFAULT_POLICIES)) {
                Err(error) if is_absent(&error) => Ok(None),
                policies => policies.map(Some),
            },
        }
    }

    /// Their files, as far as they can be read.
    pub(super) fn files(&self) -> Vec<SourceFile> {
        files::read_what_can_be(&[self.policies.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_POLICIES))])
    }

    /// The policies that were chosen; an error if none were.
    pub(super) fn require(&self) -> anyhow::Result<PolicySet> {
        self.load()?.ok_or_else(|| {
            Failure {
                message: format!("no policies: {DEFAULT_POLICIES} does not exist"),
                help: "name a directory with --policies DIR".to_owned(),
            }
            .into()
        })
    }
}

/// The policies of a file or directory.
pub(super) fn policies(path: &Path) -> anyhow::Result<PolicySet> {
    policies_together(&[path.to_owned()])
}

/// The policies of several files and directories.
pub(super) fn policies_together(paths: &[PathBuf]) -> anyhow::Result<PolicySet> {
    let path = paths.first().map_or(Path::new("."), PathBuf::as_path);
    policies_of(&files::read(paths)?, path)
}

/// The policies of files that were read; `path` is what was named.
pub(super) fn policies_of(sources: &[SourceFile], path: &Path) -> anyhow::Result<PolicySet> {
    let loaded = policy::load(sources);
    refuse_errors("the policies", path, &loaded.diagnostics, sources, SHOW_ALL)?;
    Ok(loaded.policies)
}

/// Whether a path does not exist.
fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(files::Error::Read { source, .. }) if source.kind() == NotFound)
}

/// Options that say how the kernel is reached.
#[derive(Debug, Args)]
pub(super) struct KernelArguments {
    /// Use this implementation of iptables instead of the one that holds Docker's chains
    #[arg(long, value_name = "VARIANT", env = "DOCKGATE_IPTABLES")]
    pub(super) iptables: Option<Variant>,
}

impl KernelArguments {
    pub(super) fn options(&self) -> dataplane::Options {
        dataplane::Options { variant: self.iptables }
    }

    /// The kernel of this network namespace; changes nothing.
    pub(super) fn open(&self) -> Result<Kernel, dataplane::Error> {
        Kernel::open(self.options())
    }
}

impl ValueEnum for Variant {
    fn value_variants<'a>() -> &'a [Self] {
        &[Variant::Nft, Variant::Legacy]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Variant::Nft => "nft",
            Variant::Legacy => "legacy",
        }))
    }
}

/// What to do about errors in files that `validate` reads.
const SHOW_ALL: &str = "`dockgate validate` shows every finding";

/// An answer that left out what could not be read would look like an answer about everything: errors are printed, and
/// nothing is answered.
pub(super) fn refuse_errors(
    what: &str,
    path: &Path,
    diagnostics: &[Diagnostic],
    sources: &[SourceFile],
    help: &str,
) -> anyhow::Result<()> {
    let tally = Tally::of(diagnostics);
    if tally.errors == 0 {
        return Ok(());
    }
    let errors: Vec<_> =
        diagnostics.iter().filter(|found| found.severity == policy::Severity::Error).cloned().collect();
    // Findings are told beside the failure; whether they can be written does not change it.
    let _ = write!(anstream::stderr(), "{}", render(&errors, sources));
    Err(Failure {
        message: format!(
            "{what} in {} cannot be used: {}",
            path.display(),
            Tally { errors: tally.errors, ..Tally::default() }.summary()
        ),
        help: help.to_owned(),
    }
    .into())
}
