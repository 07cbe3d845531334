//! A policy directory and waiting for what it leads to.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::Lab;

/// The owner's example, word for word as users will find it.
pub(crate) const OWNERS_EXAMPLE: &str = include_str!("../../examples/owner/allow-web-to-api.yaml");

/// A policy directory of a laboratory.
pub(crate) struct Policies {
    directory: PathBuf,
}

impl Policies {
    pub(crate) fn new(lab: &Lab) -> Policies {
        let directory = lab.directory().join("policies");
        fs::create_dir_all(&directory).expect("the laboratory's directory takes directories");
        Policies { directory }
    }

    pub(crate) fn argument(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }

    /// The directory as text, for a command line.
    pub(crate) fn path(&self) -> &str {
        self.directory.to_str().expect("the laboratory's directory has a plain name")
    }

    /// Saves as editors do: a new file takes the place of the old one.
    pub(crate) fn save(&self, name: &str, text: &str) {
        let temporary = self.directory.join(format!(".{name}.new"));
        fs::write(&temporary, text).expect("the policy directory takes files");
        fs::rename(temporary, self.directory.join(name)).expect("a file can be renamed in its directory");
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.directory.join(name)).expect("the file is there");
    }
}

/// Waits for a condition; panics with its name when it does not come true within ten seconds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited ten seconds for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Everything that the host's packet filter holds, without counters and dates.
pub(crate) fn packet_filter(lab: &Lab) -> String {
    let saved = ["iptables-save", "ip6tables-save"].map(|command| lab.list(&[&lab.tool(command)]));
    let lines = saved.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    // `:CHAIN POLICY [packets:bytes]`
    let without_counters = lines.map(|line| line.split(" [").next().unwrap_or(line));
    let mut all: Vec<_> = without_counters.map(str::to_owned).collect();
    let sets = lab.run(&["ipset", "save"]);
    // Without what the kernel chooses when it makes a set, and which decides the order of members.
    let mut sets: Vec<_> = sets.lines().map(|line| line.split(" hashsize ").next().unwrap_or(line)).collect();
    sets.sort_unstable();
    all.extend(sets.into_iter().map(str::to_owned));
    all.join("\n")
}

/// The rules alone, of both families: what scaling must not change.
pub(crate) fn rules(lab: &Lab) -> String {
    ["iptables", "ip6tables"].map(|command| lab.list(&[&lab.tool(command), "-S"])).join("\n")
}
