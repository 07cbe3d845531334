//! Jumps of ours in chains that are not ours, made and removed one by one with the `iptables` package.
//!
//! Input: a [`Jump`]. Output: it is there, or it is not. A jump is only ever named by its whole text, never by number:
//! numbers shift when Docker or a person changes the chain at the same moment.

use iptables::IPTables;

use crate::dataplane::Variant;
use crate::dataplane::exec::{Commands, Error, within_limit};
use crate::dataplane::state::Jump;

/// Puts a jump into first place.
pub(super) fn insert(variant: Variant, jump: &Jump) -> Result<(), Error> {
    attempt(variant, jump, "-I", |iptables, jump| {
        iptables.insert(jump.table.name(), &jump.chain, &jump.rule(), 1).map_err(|error| error.to_string())
    })
}

/// Deletes one copy of a jump. That it is gone already is no error.
pub(super) fn delete(variant: Variant, jump: &Jump) -> Result<(), Error> {
    attempt(variant, jump, "-D", |iptables, jump| {
        let Err(error) = iptables.delete(jump.table.name(), &jump.chain, &jump.rule()) else { return Ok(()) };
        let stays = iptables.exists(jump.table.name(), &jump.chain, &jump.rule()).map_err(|error| error.to_string())?;
        if stays { Err(error.to_string()) } else { Ok(()) }
    })
}

/// Runs `work` with a time limit. It reports in text, because the package's errors cannot leave their thread.
fn attempt(
    variant: Variant,
    jump: &Jump,
    verb: &str,
    work: impl FnOnce(&IPTables, &Jump) -> Result<(), String> + Send + 'static,
) -> Result<(), Error> {
    // Every version that has the commands of a variant has `-C` and `-w`.
    let iptables = IPTables {
        cmd: Commands::of(variant, jump.family).iptables,
        has_check: true,
        has_wait: true,
        is_numeric: true,
    };
    let command = format!("{} -t {} {verb} {} {}", iptables.cmd, jump.table, jump.chain, jump.rule());
    let jump = jump.clone();
    let complaint = match within_limit(move || work(&iptables, &jump)) {
        Some(Ok(())) => return Ok(()),
        Some(Err(complaint)) => complaint,
        None => "it did not end in time and was killed".to_owned(),
    };
    Err(Error::Jump { command, complaint: complaint.trim().to_owned() })
}
