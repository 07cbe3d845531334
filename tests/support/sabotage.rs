//! Takes out what protects, to show that a test would notice.
//!
//! Input: a [`Protection`] and a laboratory. Output: a kernel without it, as if dockgate had never written it. The
//! controller must be stopped meanwhile, or it repairs what was taken out.

use super::Lab;

/// Something in the kernel that closes a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// The rules of ours whose comment contains this text, in both families.
    Rules(&'static str),
}

impl Protection {
    /// What it is, for the name of a test.
    pub(crate) fn name(self) -> String {
        match self {
            Protection::Rules(comment) => format!("rules `{comment}`"),
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
        }
    }
}

/// Deletes the rules of a family with `text` in their comment, in one transaction. Returns how many there were.
fn remove_rules(lab: &Lab, command: &str, text: &str) -> usize {
    let saved = lab.run(&[&format!("{command}-save"), "-t", "filter"]);
    let named = |line: &&str| line.starts_with("-A DG-") && line.contains("--comment") && line.contains(text);
    let deletions: Vec<String> = saved.lines().filter(named).map(|line| line.replacen("-A ", "-D ", 1)).collect();
    let input = format!("*filter\n{}\nCOMMIT\n", deletions.join("\n"));
    lab.run_with_input(&[&format!("{command}-restore"), "--noflush", "-w"], input.as_bytes());
    deletions.len()
}
