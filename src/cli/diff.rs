//! `dockgate diff`: what a change of policies changes in who may reach whom.
//!
//! Input: policies before and after, and a world. Output: the connections that the change opens and closes, with the rules
//! responsible. What two policy sets say is compared and not their texts, so that a rewrite that means the same is told as
//! one.

mod csv;
mod git;
mod html;
mod human;
mod markdown;
mod report;
mod resources;
mod side;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::compile::{self, Compiled, compile};
use crate::inventory::Inventory;
use crate::policy::PolicySet;
use crate::reach::change::{Effect, Side, compare};
use crate::reach::{Reach, boundaries};

use super::Outcome;
use super::file;
use super::report_options::ReportOptions;
use super::world::WorldArguments;

use report::{Format, Report};

/// What makes the exit code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Something may be reached that could not be reached before
    Widened,
    /// Something is reached otherwise than before, be it more or less
    Any,
}

/// Say what a change of policies opens and closes
///
/// OLD and NEW are policy files or directories, or, as for `git show`, REVISION:PATH in the git repository of the current
/// directory: `dockgate diff main:policies policies`. PATH begins at the top of the repository; `./PATH` begins in the
/// current directory. What exists as a file is a file; `./a:b` is always one.
///
/// Both are held against the same containers, unless --old-inventory or --old-compose says what there was before. Exit code
/// 0: compared; 1: there is what --fail-on names; 2: a side cannot be read or is invalid.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The policies before: PATH or REVISION:PATH
    #[arg(value_name = "OLD")]
    old: String,

    /// The policies after: PATH or REVISION:PATH
    #[arg(value_name = "NEW")]
    new: String,

    #[command(flatten)]
    report: ReportOptions<Format>,

    /// End with exit code 1 where there is such a change
    #[arg(long, value_enum, value_name = "CHANGE")]
    fail_on: Option<FailOn>,

    /// Containers and networks before, where they were others: an Inventory file
    #[arg(long, value_name = "FILE", conflicts_with = "old_compose")]
    old_inventory: Option<PathBuf>,

    /// Containers and networks before: a Compose file; several are merged. Profiles, variables and the project's name are
    /// those of the files after
    #[arg(long, value_name = "FILE")]
    old_compose: Vec<PathBuf>,

    #[command(flatten)]
    world: WorldArguments,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        self.report.refuse_format_as_file()?;
        // Both are looked at, so that the findings of both are told.
        let (old, new) = (side::Side::load(&self.old), side::Side::load(&self.new));
        let (old, new) = (old?, new?);
        if old.is_empty() && new.is_empty() {
            anyhow::bail!("no policy files (.yaml, .yml, .json) in {} and {}", self.old, self.new);
        }
        let sources = old.files.values().chain(new.files.values()).map(|source| &source.path);
        let inputs = sources.chain(&self.old_inventory).chain(&self.old_compose).map(PathBuf::as_path);
        file::refuse_input("--output", self.report.output.as_deref(), inputs.chain(self.world.files()))?;
        let mut world = self.world.inventory().await?;
        world.trust_ports();
        let mut before = self.world.before(self.old_inventory.as_deref(), &self.old_compose)?;
        if let Some(before) = &mut before {
            before.trust_ports();
        }
        let report = report(&old, &new, before.as_ref().unwrap_or(&world), &world);
        self.report.deliver(output, |format, output| report.write(format, output), || report.summary())?;
        let fails = match self.fail_on {
            None => false,
            Some(FailOn::Widened) => report.count(Effect::Widened) > 0,
            Some(FailOn::Any) => !report.is_empty(),
        };
        Ok(Outcome::from_clean(!fails))
    }
}

fn compiled(policies: &PolicySet, world: &Inventory) -> Compiled {
    compile(policies, world, &compile::Options::default())
}

fn report(old: &side::Side, new: &side::Side, before: &Inventory, now: &Inventory) -> Report {
    let (was, is) = (compiled(&old.policies, before), compiled(&new.policies, now));
    // The outside is divided where either side, or a network of either world, divides it.
    let subnets =
        [before, now].into_iter().flat_map(|world| world.networks.values()).flat_map(|network| &network.subnets);
    let both = boundaries(&was.ruleset).into_iter().chain(boundaries(&is.ruleset)).chain(subnets.copied()).collect();
    let (was_reached, is_reached) = (Reach::new(before, &was, &both), Reach::new(now, &is, &both));
    let changes = compare(Side { reach: &was_reached, compiled: &was }, Side { reach: &is_reached, compiled: &is });
    Report::new(&changes, [&was, &is], resources::compare(old, new))
}
