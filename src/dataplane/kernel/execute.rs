//! Carrying out a step.
//!
//! Input: a [`Step`]. Output: the kernel has it, or why not; and what is worth knowing but keeps no later step from being taken.

#![expect(clippy::disallowed_methods, reason = "the door to the kernel waits for it")]

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::Kernel;
use crate::dataplane::exec::{self, Commands, LOCK_WAIT};
use crate::dataplane::place::{Place, Xtable};
use crate::dataplane::state::{Problem, TABLE_MARK};
use crate::dataplane::{Step, anchor, bridge, ipset, nft_family, nftables};
use crate::net::{Family, InterfaceName};

/// How long sets may stay in use after the last rule that used them: the kernel lets go of them a moment later.
const RELEASE_LIMIT: Duration = Duration::from_millis(100);
/// How often a set that is in use is tried again.
const RELEASE_POLL: Duration = Duration::from_millis(5);

impl Kernel {
    pub(super) fn execute(&mut self, step: &Step, problems: &mut Vec<Problem>) -> Result<(), exec::Error> {
        match step {
            Step::Sets(lines) => self.ipset.apply(lines),
            Step::Restore { family, input } => {
                let restore = Commands::of(self.variant, *family).restore;
                exec::change(restore, &["--noflush", "-w", LOCK_WAIT], input).map(drop)
            }
            Step::InsertJump(jump) => anchor::insert(self.variant, jump),
            Step::DeleteJump(jump) => anchor::delete(self.variant, jump),
            Step::FilterBridge(bridge) => {
                problems.extend(filter_bridge(bridge).err());
                Ok(())
            }
            Step::DeleteTable(place) => self.delete_table(*place),
            // Without this table the rest holds all the same, and without the rest nothing does.
            Step::Table(input) => {
                problems.extend(nftables::load(input).err().map(|error| spoofing(step, &error)));
                Ok(())
            }
            Step::Elements(changes) => {
                problems.extend(self.nft.change(changes).err().map(|error| spoofing(step, &error)));
                Ok(())
            }
            Step::Destroy(names) => {
                let deadline = Instant::now() + RELEASE_LIMIT;
                for set in names {
                    if let Err(reason) = self.destroy(set, deadline) {
                        problems.push(Problem::SetInUse { set: set.clone(), reason: reason.to_string() });
                    }
                }
                Ok(())
            }
        }
    }

    fn destroy(&mut self, set: &str, deadline: Instant) -> Result<(), exec::Error> {
        loop {
            if self.ipset.destroy(set) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(RELEASE_POLL);
        }
        // It says why not, if it still cannot be.
        match ipset::restore(&[format!("destroy {set}")]) {
            Err(error) if error.to_string().contains("does not exist") => Ok(()),
            done => done,
        }
    }

    /// Ends a table that holds nothing but our mark and the chains that our jumps stood in. Where somebody else has begun to
    /// use it meanwhile the kernel refuses, and only the mark goes.
    fn delete_table(&mut self, (family, table): Place) -> Result<(), exec::Error> {
        let transaction = |chains: &[&str]| {
            let restore = Commands::of(self.variant, family).restore;
            let input = format!("*{table}\n-X {}\nCOMMIT\n", chains.join("\n-X "));
            exec::run(restore, &["--noflush", "-w", LOCK_WAIT], &input)
        };
        // The chains that came with the table are those that we had something in.
        let made: &[&[&str]] = match table {
            Xtable::Mangle => &[&["FORWARD"]],
            Xtable::Filter => &[&["INPUT", "FORWARD", "OUTPUT"], &["INPUT", "OUTPUT"]],
        };
        if !made.iter().any(|chains| transaction(&[&[TABLE_MARK], *chains].concat()).is_ok()) {
            return transaction(&[TABLE_MARK]).map(drop);
        }
        let family = nft_family(family);
        // Without the `nft` command the table stays, empty: iptables has no word for it.
        let listed = exec::run("nft", &["list", "table", family, table.name()], "");
        if listed.is_ok_and(|text| text.split_whitespace().eq(["table", family, table.name(), "{", "}"])) {
            exec::run("nft", &["delete", "table", family, table.name()], "")?;
        }
        Ok(())
    }

    /// Makes a chain unless it is there.
    pub(super) fn make_chain(&self, family: Family, chain: &str) -> Result<(), exec::Error> {
        let iptables = Commands::of(self.variant, family).iptables;
        let run = |verb| exec::run(iptables, &["-w", LOCK_WAIT, "-t", "filter", verb, chain], "").map(drop);
        run("-N").or_else(|error| run("-S").map_err(|_| error))
    }
}

fn spoofing(step: &Step, error: &exec::Error) -> Problem {
    Problem::Spoofing { reason: format!("cannot {}: {error}", step.purpose()) }
}

/// Has a bridge filtered, or says why it cannot be.
fn filter_bridge(bridge: &InterfaceName) -> Result<(), Problem> {
    load_bridge_netfilter(bridge)?;
    bridge::filter(bridge).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENODEV) => Problem::NoBridge { bridge: bridge.clone() },
        _ => unfiltered(bridge, error.to_string()),
    })
}

/// Makes a bridge that is filtered, or says why it cannot be.
pub(super) fn make_bridge(bridge: &InterfaceName) -> Result<(), Problem> {
    load_bridge_netfilter(bridge)?;
    bridge::make(bridge).map_err(|error| unfiltered(bridge, error.to_string()))
}

fn load_bridge_netfilter(bridge: &InterfaceName) -> Result<(), Problem> {
    if !bridge::available() {
        // Docker loads it where it needs it, and this is the same need.
        let loaded = exec::run("modprobe", &["br_netfilter"], "");
        if !bridge::available() {
            let reason = loaded.err().map(|error| format!(" ({error})")).unwrap_or_default();
            let what = "the kernel module br_netfilter is not loaded; run `modprobe br_netfilter`";
            return Err(unfiltered(bridge, format!("{what}{reason}")));
        }
    }
    Ok(())
}

fn unfiltered(bridge: &InterfaceName, reason: String) -> Problem {
    Problem::UnfilteredBridge { bridge: bridge.clone(), reason }
}
