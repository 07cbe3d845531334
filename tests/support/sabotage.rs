//! Takes out what protects, to show that a test would notice.
//!
//! Input: a [`Protection`] and a laboratory. Output: a kernel without it, as if dockgate had never written it. The
//! controller must be stopped meanwhile, or it repairs what was taken out.

use super::Lab;
use super::evidence::{BY_PACKETS, NOT_REPAIRED};

/// Something in the kernel that closes a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// The rules of ours whose comment contains this text, in both families.
    Rules(&'static str),
    /// The jumps of ours in this foreign chain, in each table and family that has them.
    Jumps(&'static str),
    /// The controller itself: what others take out stays out while it is halted.
    Controller,
    /// The controller, for what opens nothing: without it, the kernel is not as it was. Packets show nothing then.
    Repair,
    /// The last rules, put back at boot. A world that can boot leaves that out itself.
    Restore,
    /// The judgement of open flows: all flows are tracked in a zone that is not ours, so that none is ended. The rules
    /// are as they are, and the controller runs. [`Protection::put_back`] undoes it.
    Judgement,
    /// What makes packets between two ports of a bridge pass the packet filter, on every bridge and in both families.
    BridgeNetfilter,
    /// The table against spoofing.
    Table,
    /// Several, each of which closes the same way.
    Together(&'static [Protection]),
}

impl Protection {
    /// What it is, for the name of a test.
    pub(crate) fn name(self) -> String {
        match self {
            Protection::Rules(comment) => format!("rules `{comment}`"),
            Protection::Jumps(chain) => format!("the jump in {chain}"),
            Protection::Controller => "the controller".to_owned(),
            Protection::Repair => "the controller's repair".to_owned(),
            Protection::Restore => "the restore at boot".to_owned(),
            Protection::Judgement => "the judgement of open flows".to_owned(),
            Protection::BridgeNetfilter => "bridge netfilter".to_owned(),
            Protection::Table => "the table against spoofing".to_owned(),
            Protection::Together(parts) => parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(" and "),
        }
    }

    /// Takes it out. Panics when there is nothing to take out.
    pub(crate) fn remove(self, lab: &Lab) {
        match self {
            Protection::Rules(comment) => {
                let removed: usize =
                    ["iptables", "ip6tables"].map(|command| remove_rules(lab, command, comment)).iter().sum();
                assert!(removed > 0, "there is no rule with `{comment}` in its comment to take out");
            }
            Protection::Jumps(chain) => {
                let start = format!("-A {chain} ");
                let is_jump = |line: &str| line.starts_with(&start) && line.contains("-j DG-");
                let removed: usize =
                    ["iptables", "ip6tables"].map(|command| remove_lines(lab, command, is_jump)).iter().sum();
                assert!(removed > 0, "there is no jump in {chain} to take out");
            }
            // Whoever takes something out has halted it already.
            Protection::Controller | Protection::Repair | Protection::Restore => {}
            Protection::BridgeNetfilter => {
                for name in ["iptables", "ip6tables"] {
                    lab.host().set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), "0");
                }
                for bridge in bridges(lab) {
                    let off = ["nf_call_iptables", "0", "nf_call_ip6tables", "0"];
                    lab.run(&[&["ip", "link", "set", "dev", &bridge, "type", "bridge"], off.as_slice()].concat());
                }
            }
            Protection::Judgement => zone(lab, "-I"),
            Protection::Table => drop(lab.run(&["nft", "delete", "table", "bridge", "dockgate"])),
            Protection::Together(parts) => parts.iter().for_each(|part| part.remove(lab)),
        }
    }

    /// How the message of a scenario that fails without it must begin.
    pub(crate) fn evidence(self) -> &'static str {
        if self == Protection::Repair { NOT_REPAIRED } else { BY_PACKETS }
    }

    /// Undoes what the controller does not.
    pub(crate) fn put_back(self, lab: &Lab) {
        if self == Protection::Judgement {
            zone(lab, "-D");
            // Else the status goes on telling that they are open. There may be none of a family.
            for family in ["ipv4", "ipv6"] {
                lab.run(&["sh", "-c", &format!("conntrack -D -w 7 -f {family} || true")]);
            }
        }
    }
}

fn zone(lab: &Lab, change: &str) {
    for command in ["iptables", "ip6tables"] {
        for chain in ["PREROUTING", "OUTPUT"] {
            lab.run(&[&lab.tool(command), "-w", "-t", "raw", change, chain, "-j", "CT", "--zone", "7"]);
        }
    }
}

fn bridges(lab: &Lab) -> Vec<String> {
    let listed = lab.run(&["ip", "-o", "link", "show", "type", "bridge"]);
    // `7: br-f3ec6b950359: <BROADCAST,...`
    listed.lines().filter_map(|line| Some(line.split(": ").nth(1)?.to_owned())).collect()
}

/// Which bridges pass packets between their ports to the packet filter, in which family.
pub(crate) fn bridge_filters(lab: &Lab) -> String {
    let of = |bridge: String| {
        let details = lab.run(&["ip", "-d", "-o", "link", "show", "dev", &bridge]);
        let words: Vec<&str> = details.split_whitespace().collect();
        let options = words.windows(2).filter(|pair| ["nf_call_iptables", "nf_call_ip6tables"].contains(&pair[0]));
        format!("{bridge}: {:?}", options.map(|pair| pair[1]).collect::<Vec<_>>())
    };
    bridges(lab).into_iter().map(of).collect::<Vec<_>>().join("\n")
}

/// Deletes the rules of a family with `text` in their comment, in one transaction for each table. Returns how many there were.
fn remove_rules(lab: &Lab, command: &str, text: &str) -> usize {
    remove_lines(lab, command, |line| line.starts_with("-A DG-") && line.contains("--comment") && line.contains(text))
}

fn remove_lines(lab: &Lab, command: &str, is_one: impl Fn(&str) -> bool) -> usize {
    let mut removed = 0;
    for table in ["mangle", "filter"] {
        let saved = lab.run(&[&lab.tool(&format!("{command}-save")), "-t", table]);
        let lines = saved.lines().filter(|line| is_one(line));
        let deletions: Vec<String> = lines.map(|line| line.replacen("-A ", "-D ", 1)).collect();
        if !deletions.is_empty() {
            let input = format!("*{table}\n{}\nCOMMIT\n", deletions.join("\n"));
            lab.run_with_input(&[&lab.tool(&format!("{command}-restore")), "--noflush", "-w"], input.as_bytes());
        }
        removed += deletions.len();
    }
    removed
}
