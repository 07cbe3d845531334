//! `dockgate cleanup`: everything of dockgate's out of the kernel.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::controller;
use crate::dataplane::{self, State};
use crate::ruleset::Ruleset;
use crate::telemetry::{Lock, LockError, NamespaceLock};

use super::failure::Failure;
use super::output::{count, printable};
use super::world::KernelArguments;
use super::{Outcome, STATE_DIRECTORY};

/// Remove every rule, chain, set and table of dockgate's from the kernel
///
/// iptables, ip6tables, ipset and nftables are then as they were before the first run, and `dockgate restore` has nothing to
/// put back any more. Refuses while a controller runs, which
/// would put everything back. Exit code 0: nothing of dockgate's is left; 1: something could not be removed, or looked for.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// State directory of the controller that must not be running
    #[arg(long, value_name = "DIR", env = "DOCKGATE_STATE_DIR", default_value = STATE_DIRECTORY)]
    state_dir: PathBuf,

    /// Remove even while a controller runs
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    kernel: KernelArguments,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        // Held until the end, so that no controller starts in between.
        let _lock = self.lock()?;
        let mut kernel = self.kernel.open()?;
        controller::boot::forget(&self.state_dir)?;
        let observed = kernel.observe().context("cannot read what the kernel holds")?;
        let steps = dataplane::removal(&observed);
        let mut problems = kernel.apply(&steps)?;
        let left = kernel.observe().context("cannot read what the kernel still holds")?;
        problems.extend(left.problems(&Ruleset::default()));
        writeln!(output, "{}", summary(&observed, &left))?;
        let clean = parts(&left).iter().all(|(number, ..)| *number == 0);
        let looked = !left.unread_table;
        if !looked {
            let reason = left.without_table.as_deref().unwrap_or("nft failed");
            writeln!(output, "the table `bridge dockgate` of nftables may be left: {}", printable(reason))?;
        }
        if !clean {
            for problem in &problems {
                writeln!(output, "left: {}", printable(&problem.to_string()))?;
            }
        }
        Ok(Outcome::from_clean(clean && looked))
    }

    fn lock(&self) -> anyhow::Result<Option<(Option<Lock>, NamespaceLock)>> {
        if self.force {
            return Ok(None);
        }
        let locks = Lock::acquire_existing(&self.state_dir).and_then(|lock| Ok((lock, NamespaceLock::acquire()?)));
        match locks {
            Ok(locks) => Ok(Some(locks)),
            Err(error @ (LockError::Held { .. } | LockError::Running)) => Err(Failure {
                message: format!("a controller is running: {error}"),
                help: "stop it first, or use --force; it puts everything back at its next check".to_owned(),
            }
            .into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// How much of ours a state holds, by sort.
fn parts(state: &State) -> [(usize, &'static str, &'static str); 4] {
    let chains = state.chains.values().map(std::collections::BTreeMap::len).sum();
    let jumps = state.jumps.values().map(Vec::len).sum();
    let sets = state.sets.len() + state.odd_sets.len();
    let tables = usize::from(state.table.is_some());
    [(jumps, "jump", "jumps"), (chains, "chain", "chains"), (sets, "set", "sets"), (tables, "table", "tables")]
}

fn summary(before: &State, after: &State) -> String {
    let removed: Vec<_> = parts(before)
        .into_iter()
        .zip(parts(after))
        .map(|((before, singular, plural), (after, ..))| (before.saturating_sub(after), singular, plural))
        .filter(|(number, ..)| *number > 0)
        .map(|(number, singular, plural)| count(number, singular, plural))
        .collect();
    if removed.is_empty() { "nothing to remove".to_owned() } else { format!("removed {}", removed.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::dataplane::Xtable;
    use crate::net::Family;

    use super::*;

    #[test]
    fn the_summary_says_what_is_gone() {
        let chains = |names: &[&str]| {
            let named = names.iter().map(|name| ((*name).to_owned(), Arc::default())).collect();
            State { chains: [((Family::V4, Xtable::Filter), named)].into(), ..State::default() }
        };
        assert_eq!(summary(&State::default(), &State::default()), "nothing to remove");
        assert_eq!(summary(&chains(&["DG-a", "DG-b"]), &State::default()), "removed 2 chains");
        assert_eq!(summary(&chains(&["DG-a", "DG-b"]), &chains(&["DG-b"])), "removed 1 chain");
    }
}
