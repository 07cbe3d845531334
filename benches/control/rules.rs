//! What is in the kernel, as text, and how long the tools take for that text alone.
//!
//! Input: a host with rules in force. Output: counts, and the times that `ipset restore` and `iptables-restore` take in a
//! namespace that has nothing: the least that any program on top of them can take.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::command::{run, run_with_input};
use crate::host::Host;
use crate::namespace::Namespace;

const SAVE: [&str; 2] = ["iptables-save", "ip6tables-save"];
const RESTORE: [&str; 2] = ["iptables-restore", "ip6tables-restore"];

/// The text of everything, per family.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    sets: String,
    families: [String; 2],
}

impl Rules {
    pub(crate) fn of(host: &Host) -> Rules {
        host.namespace()
            .run(|| Rules { sets: run(&["ipset", "save"]) + "\n", families: SAVE.map(|save| run(&[save]) + "\n") })
    }

    /// Number of rules, both families.
    pub(crate) fn count(&self) -> usize {
        self.lines("-A ")
    }

    /// Number of chains, both families.
    pub(crate) fn chains(&self) -> usize {
        self.lines(":")
    }

    /// Number of sets, and of their members.
    pub(crate) fn sets(&self) -> (usize, usize) {
        let begins = |with: &str| self.sets.lines().filter(|line| line.starts_with(with)).count();
        (begins("create "), begins("add "))
    }

    fn lines(&self, prefix: &str) -> usize {
        self.families.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with(prefix)).count()
    }

    /// How long the tools take to load it into a namespace that has nothing. That namespace, too.
    pub(crate) fn load(&self) -> (Duration, Namespace) {
        let namespace = Namespace::anonymous();
        let took = namespace.run(|| {
            let began = Instant::now();
            run_with_input(&["ipset", "restore"], self.sets.as_bytes());
            for (restore, text) in RESTORE.into_iter().zip(&self.families) {
                run_with_input(&[restore], text.as_bytes());
            }
            began.elapsed()
        });
        (took, namespace)
    }

    /// The chains that are not in `before` in the same form, as input for each family's restore.
    pub(crate) fn changed_since(&self, before: &Rules) -> [String; 2] {
        let mut inputs = [String::new(), String::new()];
        for (input, (now, before)) in inputs.iter_mut().zip(self.families.iter().zip(&before.families)) {
            let before = chains(before);
            let mut changed: BTreeMap<&str, String> = BTreeMap::new();
            for ((table, chain), rules) in chains(now) {
                if before.get(&(table, chain)) != Some(&rules) {
                    let text = changed.entry(table).or_default();
                    writeln!(text, ":{chain} - [0:0]").expect("a String takes everything");
                    for rule in rules {
                        writeln!(text, "{rule}").expect("a String takes everything");
                    }
                }
            }
            for (table, text) in changed {
                // All chains before the first rule: a rule may lead to a later one.
                let (heads, rules): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(':'));
                writeln!(input, "*{table}\n{}\n{}\nCOMMIT", heads.join("\n"), rules.join("\n"))
                    .expect("a String takes everything");
            }
        }
        inputs
    }
}

/// How long the tools take to load changed chains beside what there is.
pub(crate) fn load_beside(namespace: &Namespace, changed: &[String; 2]) -> Duration {
    namespace.run(|| {
        let began = Instant::now();
        for (restore, text) in RESTORE.into_iter().zip(changed) {
            run_with_input(&[restore, "--noflush"], text.as_bytes());
        }
        began.elapsed()
    })
}

/// The rules of each chain of ours, by table and chain.
fn chains(text: &str) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut chains: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if line.starts_with(":DG-") {
            chains.entry((table, word(&line[1..]))).or_default();
        } else if let Some(rest) = line.strip_prefix("-A ")
            && let Some(rules) = chains.get_mut(&(table, word(rest)))
        {
            rules.push(line);
        }
    }
    chains
}

fn word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}
