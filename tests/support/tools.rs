//! The programs that `dockgate run` starts, and where this machine has them.
//!
//! Input: a name. Output: a path. Whoever gives dockgate a `PATH` with these alone notices when one is missing here.

use std::path::PathBuf;

/// The one without which the table against spoofing cannot be.
pub(crate) const NFT: &str = "nft";

/// All of them. Not every machine has both variants of iptables.
pub(crate) const TOOLS: [&str; 16] = [
    "ip6tables-legacy",
    "ip6tables-legacy-restore",
    "ip6tables-legacy-save",
    "ip6tables-nft",
    "ip6tables-nft-restore",
    "ip6tables-nft-save",
    "ipset",
    "iptables",
    "iptables-legacy",
    "iptables-legacy-restore",
    "iptables-legacy-save",
    "iptables-nft",
    "iptables-nft-restore",
    "iptables-nft-save",
    "modprobe",
    NFT,
];

/// Where a program is, by the `PATH` of this process.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}
