//! What an engine says of itself, as far as policy depends on it.
//!
//! Input: the engine's answer, from the Docker door. Output: what a person should know before trusting that policy is
//! enforced.

/// An engine, by its own account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    /// How it writes firewall rules, e.g. `iptables`, `nftables+firewalld`. `None` before version 28, which knows iptables
    /// only.
    pub firewall: Option<String>,
    /// Whether an unprivileged user runs it, in a network namespace of its own.
    pub rootless: bool,
    /// Why it could not be asked, if so.
    pub silent: Option<String>,
}

impl Engine {
    /// What keeps policy from being enforced on this engine, or from being known to be.
    pub fn trouble(&self) -> Vec<String> {
        let mut trouble = Vec::new();
        let firewall = self.firewall.as_deref().unwrap_or("iptables");
        // `iptables+firewalld` has the same chains.
        if firewall.split('+').next() != Some("iptables") {
            trouble.push(format!(
                "the Docker engine writes its firewall rules by `{firewall}`, with which dockgate was never tested: its own \
                 rules are in place, but do not rely on policy being enforced; use dockerd's --firewall-backend=iptables"
            ));
        }
        if self.rootless {
            trouble.push(
                "the Docker engine is rootless: its bridges are in a network namespace of its own, in which dockgate has to \
                 run; policy on bridges that are not here is NOT enforced"
                    .to_owned(),
            );
        }
        if let Some(reason) = &self.silent {
            trouble.push(format!(
                "the Docker engine does not tell how it writes its firewall rules (GET /info), so that it is not known \
                 whether policy can be enforced: {reason}"
            ));
        }
        trouble
    }
}
