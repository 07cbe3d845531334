//! How often the kernel has met the rules of a ruleset.
//!
//! Input: one table of one family as `iptables-save -c` prints it, and the ruleset that it should hold. Output: packets and
//! bytes by chain and index. A rule is known by the hash in its comment, which covers all that stands above it, so that
//! counters of a rule that is another by now are never taken for those of this one.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataplane::chains::{hash_of, value_of, words};
use crate::dataplane::exec::{self, Commands};
use crate::dataplane::place::{Xtable, table_of};
use crate::dataplane::{Error, Kernel, render};
use crate::net::Family;
use crate::ruleset::{Chain, ChainName, Hook, Match, Ruleset};

/// What a rule has met since it was written. Only the first packet of a flow comes to a rule of policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Counters by chain and index of the rule there. One that the kernel does not hold like this has none.
pub type CountersByRule = BTreeMap<(ChainName, usize), Counters>;

impl Kernel {
    /// Reads the counters of a ruleset's rules where packets of a hook meet them. Changes nothing.
    pub fn counters(&self, ruleset: &Ruleset, family: Family, hook: Hook) -> Result<CountersByRule, Error> {
        let table = table_of(ruleset, family, hook);
        let save = Commands::of(self.variant(), family).save;
        let saved = exec::list(save, &["-c", "-t", table.name()])?;
        Ok(parse(&saved, table, ruleset, family))
    }
}

fn parse(saved: &str, table: Xtable, ruleset: &Ruleset, family: Family) -> CountersByRule {
    let counted = by_hash(saved, table);
    let mut counters = CountersByRule::new();
    for (name, chain) in ruleset.chains.get(&family).into_iter().flatten() {
        for (index, hash) in hashes(family, name, chain) {
            if let Some(count) = counted.get(&(name.as_str(), hash)) {
                *counters.entry((name.clone(), index)).or_default() += *count;
            }
        }
    }
    counters
}

/// The hashes by which the kernel's rules are known, each with the index of its rule. A kernel that cannot look into packets
/// of SCTP holds the chain without the rules about them, and so with other hashes.
fn hashes(family: Family, name: &ChainName, chain: &Chain) -> Vec<(usize, String)> {
    let all: Vec<usize> = (0..chain.len()).collect();
    let is_plain = |index: &usize| !chain[*index].matches.contains(&Match::SctpNotInit);
    let plain: Vec<usize> = all.iter().copied().filter(is_plain).collect();
    let mut found = Vec::new();
    let kept = if plain.len() == all.len() { vec![all] } else { vec![all, plain] };
    for indexes in kept {
        let rules: Vec<_> = indexes.iter().map(|index| chain[*index].clone()).collect();
        let lines = render::chain(family, name.as_str(), &rules);
        found.extend(lines.into_iter().map(|line| (indexes[line.rule], line.hash)));
    }
    found.sort();
    found.dedup();
    found
}

/// The counters of a table by chain and hash.
fn by_hash(saved: &str, table: Xtable) -> BTreeMap<(&str, String), Counters> {
    let begin = format!("*{table}");
    let mut inside = false;
    let mut counted = BTreeMap::new();
    for line in saved.lines() {
        if line.starts_with('*') {
            inside = line == begin;
        }
        if let Some((chain, hash, counters)) = inside.then(|| rule(line)).flatten() {
            counted.insert((chain, hash), counters);
        }
    }
    counted
}

/// `[PACKETS:BYTES] -A CHAIN ... --comment "TEXT dg:HASH" ...`
fn rule(line: &str) -> Option<(&str, String, Counters)> {
    let (counts, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
    let (packets, bytes) = counts.split_once(':')?;
    let counters = Counters { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? };
    let (chain, _) = rule.split_once(' ')?;
    let words = words(rule);
    let hash = hash_of(value_of(&words, &["--comment"])?)?;
    Some((chain, hash.to_owned(), counters))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::compile::{DenyAction, Options, compile};
    use crate::inventory::file;
    use crate::policy::{SourceFile, load};

    const POLICY: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api'
  ingress:
    - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [8080]}}
    - {action: Deny, protocol: UDP}
";
    const INVENTORY: &str = "\
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: host}
spec:
  networks: [{name: front, subnets: [172.30.0.0/24]}]
  containers:
    - {name: api, labels: {app: api}, networks: [front]}
    - {name: web, labels: {app: web}, networks: [front]}
";

    fn ruleset(deny_action: DenyAction) -> Ruleset {
        let (inventory, _) = file::load(&SourceFile::new("inventory.yaml", INVENTORY));
        let loaded = load(&[SourceFile::new("policy.yaml", POLICY)]);
        let options = Options { deny_action, ..Options::default() };
        compile(&loaded.policies, &inventory, &options).ruleset
    }

    /// The chain of a ruleset as both variants list it, with the counters that are given in turn.
    fn saved(ruleset: &Ruleset, counts: &[(u64, u64)]) -> String {
        let chains = &ruleset.chains[&Family::V4];
        let mut counts = counts.iter().cycle();
        let mut text = "# Generated by iptables-nft-save v1.8.9 (nf_tables)\n*filter\n:INPUT ACCEPT [0:0]\n".to_owned();
        for name in chains.keys() {
            writeln!(text, ":{name} - [0:0]").unwrap();
        }
        for (name, chain) in chains {
            for line in render::chain(Family::V4, name.as_str(), chain) {
                let (packets, bytes) = counts.next().unwrap();
                writeln!(text, "[{packets}:{bytes}] {}", line.text).unwrap();
            }
        }
        text + "[7:420] -A INPUT -j ACCEPT\nCOMMIT\n# Completed\n"
    }

    fn class(ruleset: &Ruleset) -> &ChainName {
        ruleset.chains[&Family::V4].keys().find(|name| name.as_str().starts_with("DG-in-api")).unwrap()
    }

    #[test]
    fn a_recorded_listing_is_read() {
        let recorded = "\
# Generated by iptables-nft-save v1.8.9 (nf_tables) on Thu Nov 26 10:00:00 2026
*mangle
:PREROUTING ACCEPT [812:91022]
:FORWARD ACCEPT [33:2012]
:DG-FORWARD - [0:0]
[640:38400] -A FORWARD -m comment --comment dockgate:1 -j DG-FORWARD
[600:36000] -A DG-FORWARD -m conntrack --ctstate ESTABLISHED -m comment --comment \"flow allowed before dg:aaaaaaaaaa\" -j RETURN
[40:2400] -A DG-FORWARD -i br-0123456789ab -m comment --comment \"from network \\\"x\\\" dg:bbbbbbbbbb\" -j DROP
COMMIT
# Completed on Thu Nov 26 10:00:00 2026
*filter
:DG-FORWARD - [0:0]
[1:1] -A DG-FORWARD -m comment --comment \"another table dg:cccccccccc\" -j DROP
COMMIT
";
        let counted = by_hash(recorded, Xtable::Mangle);
        let hash = |text: &str| ("DG-FORWARD", text.to_owned());
        assert_eq!(
            counted,
            BTreeMap::from([
                (hash("aaaaaaaaaa"), Counters { packets: 600, bytes: 36_000 }),
                (hash("bbbbbbbbbb"), Counters { packets: 40, bytes: 2400 }),
            ])
        );
    }

    #[test]
    fn a_rule_has_the_counters_of_all_its_lines() {
        // A rejection of every protocol is three lines.
        let ruleset = ruleset(DenyAction::Reject);
        let class = class(&ruleset);
        let text = saved(&ruleset, &[(1, 60)]);
        let counters = parse(&text, Xtable::Filter, &ruleset, Family::V4);
        let of =
            |index: usize| counters.get(&(class.clone(), index)).map(|counters| (counters.packets, counters.bytes));
        assert_eq!((of(0), of(1), of(2), of(3)), (Some((1, 60)), Some((1, 60)), Some((3, 180)), None));
    }

    #[test]
    fn rules_of_another_ruleset_have_no_counters() {
        let (drop, reject) = (ruleset(DenyAction::Drop), ruleset(DenyAction::Reject));
        let text = saved(&reject, &[(5, 300)]);
        let counters = parse(&text, Xtable::Filter, &drop, Family::V4);
        let class = class(&drop).clone();
        assert_eq!(counters.get(&(class, 2)), None);
        assert!(parse(&text, Xtable::Mangle, &reject, Family::V4).is_empty(), "another table");
    }

    #[test]
    fn a_kernel_without_sctp_has_counters_too() {
        let ruleset = ruleset(DenyAction::Drop);
        let text = saved(&ruleset.without_sctp(), &[(2, 120)]);
        let counters = parse(&text, Xtable::Filter, &ruleset, Family::V4);
        for (name, chain) in &ruleset.chains[&Family::V4] {
            for (index, rule) in chain.iter().enumerate() {
                let is_there = !rule.matches.contains(&Match::SctpNotInit);
                assert_eq!(counters.contains_key(&(name.clone(), index)), is_there, "{name}[{index}]");
            }
        }
    }
}
