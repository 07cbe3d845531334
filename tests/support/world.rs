//! A policy directory and waiting for what it leads to.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::Lab;
use super::evidence::TOO_LATE;

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
        assert!(Instant::now() < end, "{TOO_LATE}waited ten seconds for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Within this time after the first of it, somebody else's change must be repaired. On a machine with more work than
/// processors it is as much longer as everything else is.
pub(crate) fn repair_limit() -> Duration {
    const LIMIT: Duration = Duration::from_secs(1);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    LIMIT.mul_f64((load / f64::from(u32::try_from(processors).unwrap_or(1))).clamp(1.0, 4.0))
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
    all.push(bridge_table(lab));
    all.join("\n")
}

/// The table of ours in the bridge family, or nothing. Docker chooses the names of ports, so they are left out.
pub(crate) fn bridge_table(lab: &Lab) -> String {
    let tables = lab.run(&["nft", "list", "tables", "bridge"]);
    if !tables.lines().any(|line| line == "table bridge dockgate") {
        return String::new();
    }
    let listed = lab.run(&["nft", "list", "table", "bridge", "dockgate"]);
    // A member per line, without what engines choose anew for a container that starts again.
    let part = |part: &str| match part {
        port if port.starts_with("\"veth") => "PORT".to_owned(),
        mac if mac.len() == 17 && mac.split(':').count() == 6 => "MAC".to_owned(),
        address if address.starts_with("fe80:") || address.starts_with("0xfe80") => "LINK-LOCAL".to_owned(),
        other => other.to_owned(),
    };
    let nameless = |member: &str| member.split(" . ").map(part).collect::<Vec<_>>().join(" . ");
    let mut lines: Vec<String> =
        listed.split(['\n', ',', '{', '}']).map(|part| nameless(part.trim())).filter(|part| !part.is_empty()).collect();
    // Their order goes by the names.
    lines.sort();
    lines.join("\n")
}

/// The rules alone, of both families: what scaling must not change.
pub(crate) fn rules(lab: &Lab) -> String {
    let commands = ["iptables", "ip6tables"].into_iter();
    let of = |command: &str| ["mangle", "filter"].map(|table| lab.list(&[&lab.tool(command), "-t", table, "-S"]));
    commands.flat_map(of).collect::<Vec<_>>().join("\n")
}

/// The chains of others with a jump of ours, as `mangle FORWARD`, once for each jump.
pub(crate) fn jumps(lab: &Lab, command: &str) -> Vec<String> {
    let mut table = String::new();
    let mut jumps = Vec::new();
    for line in lab.list(&[&lab.tool(&format!("{command}-save"))]).lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix("-A ").and_then(|rule| rule.split(' ').next())
            && line.contains("-j DG-")
            && !chain.starts_with("DG-")
        {
            jumps.push(format!("{table} {chain}"));
        }
    }
    // The tables come in the order in which the kernel got them.
    jumps.sort();
    jumps
}

/// Where our jumps stand, one in each place, unless denied packets are answered.
pub(crate) const JUMPS: [&str; 3] = ["filter INPUT", "filter OUTPUT", "mangle FORWARD"];
