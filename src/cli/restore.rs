//! `dockgate restore`: the last rules into the kernel at boot, closed.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::controller::boot;

use super::output::{count, printable};
use super::world::KernelArguments;
use super::{Outcome, STATE_DIRECTORY};

/// Put the last rules back at boot, before Docker starts
///
/// The networks that were governed are closed until `dockgate run` has found out who is on them. Without it, containers
/// that Docker restarts by itself could talk before that. Does nothing before the controller's first run and after
/// `dockgate cleanup`; refuses while a controller runs. Exit code 0: done, or nothing to do; 1: done, but something is not
/// closed, and the output says what; 2: the last rules could not be put back.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// State directory of the controller
    #[arg(long, value_name = "DIR", env = "DOCKGATE_STATE_DIR", default_value = STATE_DIRECTORY)]
    state_dir: PathBuf,

    #[command(flatten)]
    kernel: KernelArguments,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let Some(restored) = boot::restore(&self.state_dir, self.kernel.options())? else {
            writeln!(output, "nothing to restore")?;
            return Ok(Outcome::Yes);
        };
        let networks = count(restored.networks, "network is closed", "networks are closed");
        writeln!(output, "{networks} until `dockgate run` knows who is on it")?;
        for problem in &restored.outcome.problems {
            writeln!(output, "not closed: {}", printable(&problem.to_string()))?;
        }
        Ok(Outcome::from_clean(restored.outcome.problems.is_empty()))
    }
}
