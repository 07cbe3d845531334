//! Whether this machine can enforce anything, and which of the two iptables variants it takes.
//!
//! Input: the machine. Output: the variant, or everything that is missing, each with what to do about it. All of it is
//! found before the first change, so that nothing is left half done.

#![expect(clippy::disallowed_methods, reason = "the door to what the machine has")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use crate::dataplane::antispoof;
use crate::dataplane::chains;
use crate::dataplane::exec::{self, Commands};
use crate::dataplane::place::{Place, Xtable};
use crate::dataplane::{Error, Variant};
use crate::net::Family;

/// Number of `CAP_NET_ADMIN` in the capability masks.
const CAP_NET_ADMIN: u32 = 12;

/// Something without which nothing can be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The right to change the firewall.
    #[error("the capability CAP_NET_ADMIN is missing: run as root, or give the service or container this capability")]
    NetAdmin,
    /// A command.
    #[error("the command `{command}` is not in PATH: install the package `{package}`")]
    Command {
        /// The command.
        command: String,
        /// The package that has it in the common distributions.
        package: &'static str,
    },
    /// Sets in the kernel.
    #[error("the kernel has no ipset support: load the modules ip_set and xt_set ({reason})")]
    Sets {
        /// What `ipset` says.
        reason: String,
    },
}

/// Finds the variant to work with, or everything that is missing.
pub(super) fn check(chosen: Option<Variant>) -> Result<Variant, Error> {
    let mut missing = Vec::new();
    if !has_net_admin() {
        missing.push(Missing::NetAdmin);
    }
    if !in_path("ipset") {
        missing.push(Missing::Command { command: "ipset".to_owned(), package: "ipset" });
    } else if missing.is_empty()
        && let Err(error) = exec::run("ipset", &["list", "-n"], "")
    {
        missing.push(Missing::Sets { reason: error.to_string() });
    }
    if missing.contains(&Missing::NetAdmin) {
        // Nothing can be listed without the right to, so which commands are needed is not known.
        return Err(Error::Missing(missing));
    }
    let variant = match chosen {
        Some(variant) => variant,
        None => detect()?,
    };
    for command in Family::ALL.into_iter().flat_map(|family| Commands::of(variant, family).names()) {
        if !in_path(command) {
            missing.push(Missing::Command { command: command.to_owned(), package: "iptables" });
        }
    }
    if missing.is_empty() { Ok(variant) } else { Err(Error::Missing(missing)) }
}

/// The variant that holds Docker's chains; where none does, the one that `iptables` is.
fn detect() -> Result<Variant, Error> {
    match (holds_docker(Variant::Nft)?, holds_docker(Variant::Legacy)?) {
        (true, true) => Err(Error::BothVariants),
        (true, false) => Ok(Variant::Nft),
        (false, true) => Ok(Variant::Legacy),
        (false, false) => default_variant(),
    }
}

fn holds_docker(variant: Variant) -> Result<bool, Error> {
    for family in Family::ALL {
        let save = Commands::of(variant, family).save;
        if in_path(save)
            && may_have_table(variant, (family, Xtable::Filter))
            && chains::has_docker(&exec::run(save, &["-t", "filter"], "")?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is something to list. Listing a legacy table creates it, so the kernel is asked first;
/// `iptables-nft-save` creates nothing.
pub(super) fn may_have_table(variant: Variant, (family, table): Place) -> bool {
    // Not `/proc/net`, which is that of the process's first thread.
    let tables = match (variant, family) {
        (Variant::Nft, _) => return true,
        (Variant::Legacy, Family::V4) => "/proc/thread-self/net/ip_tables_names",
        (Variant::Legacy, Family::V6) => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(tables).is_ok_and(|names| names.lines().any(|name| name == table.name()))
}

/// Whether the commands of a variant are there.
pub(super) fn has_commands(variant: Variant) -> bool {
    Family::ALL.into_iter().flat_map(|family| Commands::of(variant, family).names()).all(in_path)
}

fn default_variant() -> Result<Variant, Error> {
    let missing = || Missing::Command { command: "iptables".to_owned(), package: "iptables" };
    if !in_path("iptables") {
        return Err(Error::Missing(vec![missing()]));
    }
    let version = exec::run("iptables", &["--version"], "")?;
    Ok(if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy })
}

/// The families that this kernel has no packets of and this variant cannot filter: IPv6 when the kernel was started
/// without it. `ip6tables-legacy` works through an IPv6 socket, `ip6tables-nft` does not.
pub(super) fn without(variant: Variant) -> BTreeSet<Family> {
    let absent = variant == Variant::Legacy && !Path::new("/proc/thread-self/net/if_inet6").exists();
    absent.then_some(Family::V6).into_iter().collect()
}

/// Why this machine cannot have the table against spoofing, if so. Nothing is changed to find that out.
pub(super) fn without_table() -> Option<String> {
    if !in_path("nft") {
        return Some("the command `nft` is not in PATH: install the package `nftables`".to_owned());
    }
    exec::run("nft", &["--check", "-f", "-"], &antispoof::trial())
        .err()
        .map(|error| format!("`nft` or the kernel cannot make a table of the bridge family ({error})"))
}

fn has_net_admin() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> CAP_NET_ADMIN & 1 == 1
}

fn in_path(command: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| is_file(&directory, command)))
}

fn is_file(directory: &Path, command: &str) -> bool {
    directory.join(command).is_file()
}
