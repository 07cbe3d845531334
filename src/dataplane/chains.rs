//! Our chains and jumps, read back from `iptables-save`.
//!
//! Input: one table of one family as `iptables-save` prints it. Output: that part of a [`State`]. Of a rule only
//! what a decision needs is read: the hash in the comment of ours, and of foreign rules whether they lead to a chain of
//! ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataplane::place::{Place, Xtable};
use crate::dataplane::render::HASH_MARK;
use crate::dataplane::state::{DOCKER_USER, Jump, RuleHash, State};
use crate::net::{Family, InterfaceName};
use crate::ruleset::{CHAIN_PREFIX, Hook};

/// Chains by which Docker is recognised, over all engine versions that have an iptables backend.
const DOCKER_CHAINS: [&str; 2] = ["DOCKER", "DOCKER-FORWARD"];

/// Why the text of `iptables-save` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `iptables-nft-save` ends with success and this remark when a table holds what iptables cannot show.
    #[error("the {0} table holds native nftables rules, so iptables can neither show nor change it")]
    Incompatible(Xtable),
    /// The text ends early.
    #[error("the listing of the {0} table is not complete")]
    Truncated(Xtable),
}

/// Whether the listing has chains of Docker's, or rules in the chain that Docker leaves to others. That chain alone says
/// nothing: before the engine starts we make it ourselves, and the engine may use the other variant by then.
pub(super) fn has_docker(saved: &str) -> bool {
    let is_rule_of_others = |line: &str| {
        let rule = line.strip_prefix("-A ").map(words).unwrap_or_default();
        rule.first().is_some_and(|chain| chain == DOCKER_USER)
            && rule[1..] != ["-j", "RETURN"]
            && Jump::recognise((Family::V4, Xtable::Filter), DOCKER_USER, &rule[1..]).is_none()
    };
    saved
        .lines()
        .any(|line| chain_head(line).is_some_and(|name| DOCKER_CHAINS.contains(&name)) || is_rule_of_others(line))
}

/// Whether the listing has this table at all.
pub(super) fn has_table(saved: &str, table: Xtable) -> bool {
    saved.lines().any(|line| line.strip_prefix('*') == Some(table.name()))
}

/// Reads a table of a family into the state.
pub(super) fn parse(place: Place, saved: &str, state: &mut State) -> Result<(), Error> {
    let table = place.1;
    let (begin, remark) = (format!("*{table}"), format!("# Table `{table}'"));
    let mut inside = false;
    let mut complete = true;
    let mut bare = true;
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for line in saved.lines() {
        // "# Table `filter' is incompatible, ..." or "# Table `filter' contains incompatible base-chains, ..."
        if line.starts_with(&remark) && line.contains("incompatible") {
            return Err(Error::Incompatible(table));
        }
        match line {
            _ if line == begin => (inside, complete) = (true, false),
            "COMMIT" if inside => (inside, complete) = (false, true),
            _ if !inside => {}
            _ => {
                if let Some(name) = chain_head(line) {
                    if name.starts_with(CHAIN_PREFIX) {
                        state.chains.entry(place).or_default().entry(name.to_owned()).or_default();
                    } else {
                        bare &= is_untouched(line);
                    }
                } else if let Some(rule) = line.strip_prefix("-A ") {
                    let mut words = words(rule);
                    if !words.is_empty() {
                        let chain = words.remove(0);
                        bare &= parse_rule(place, &chain, &words, line, &mut positions, state) == Owner::Us;
                    }
                }
            }
        }
    }
    if !complete {
        return Err(Error::Truncated(table));
    }
    if bare {
        state.bare_tables.insert(place);
    }
    Ok(())
}

/// The chain that a line like `:NAME POLICY [0:0]` declares.
fn chain_head(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split(' ').next()
}

/// Whether a chain is as the kernel makes it: `:INPUT ACCEPT [0:0]`.
fn is_untouched(head: &str) -> bool {
    // Of the mangle table.
    const OTHERS: [&str; 2] = ["PREROUTING", "POSTROUTING"];
    let built_in = chain_head(head)
        .is_some_and(|name| OTHERS.contains(&name) || Hook::ALL.iter().any(|hook| name == hook.kernel_chain()));
    built_in && head.split(' ').nth(1) == Some("ACCEPT")
}

/// Whose a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Us,
    Others,
}

fn parse_rule(
    place: Place,
    chain: &str,
    rule: &[String],
    line: &str,
    positions: &mut BTreeMap<String, usize>,
    state: &mut State,
) -> Owner {
    if chain.starts_with(CHAIN_PREFIX) {
        let hash = value_of(rule, &["--comment"]).and_then(hash_of).and_then(RuleHash::of);
        let hashes = state.chains.entry(place).or_default().entry(chain.to_owned()).or_default();
        Arc::make_mut(hashes).push(hash);
        let interfaces = rule.windows(2).filter(|pair| pair[0] == "-i" || pair[0] == "-o");
        state.interfaces.extend(interfaces.filter_map(|pair| pair[1].parse::<InterfaceName>().ok()));
        state.host_ports.read(place.0, chain, rule);
        return Owner::Us;
    }
    let position = positions.entry(chain.to_owned()).or_default();
    *position += 1;
    if let Some(jump) = Jump::recognise(place, chain, rule) {
        state.jumps.entry(jump).or_default().push(*position);
        return Owner::Us;
    }
    if let Some(target) = value_of(rule, &["-j", "-g"]).filter(|target| target.starts_with(CHAIN_PREFIX)) {
        state.pinned.insert((place, target.to_owned()), line.to_owned());
    }
    if chain == "FORWARD" && rule == ["-j", DOCKER_USER] {
        state.docker_user.insert(place.0);
    }
    Owner::Others
}

/// The word after the first of these options.
pub(super) fn value_of<'a>(rule: &'a [String], options: &[&str]) -> Option<&'a str> {
    rule.windows(2).find(|pair| options.contains(&pair[0].as_str())).map(|pair| pair[1].as_str())
}

/// The hash at the end of a comment of ours.
pub(super) fn hash_of(comment: &str) -> Option<&str> {
    comment.rsplit(' ').next()?.strip_prefix(HASH_MARK)
}

/// Splits a line as a shell would: `iptables-save` puts words with blanks between double quotes and escapes `"` and `\`.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => (quoted, started) = (!quoted, true),
            '\\' if quoted => word.extend(characters.next()),
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            other => {
                word.push(other);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTER: Place = (Family::V4, Xtable::Filter);

    fn parsed(lines: &str) -> State {
        let mut state = State::default();
        let saved =
            format!("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [1:2]\n:OUTPUT ACCEPT [0:0]\n{lines}\nCOMMIT\n");
        parse(FILTER, &saved, &mut state).unwrap();
        state
    }

    #[test]
    fn the_chain_that_is_made_at_boot_is_no_sign_of_docker() {
        let made = ":DOCKER-USER - [0:0]\n-A DOCKER-USER -m comment --comment \"dockgate:1\" -j DG-FORWARD\n";
        for (name, lines, docker) in [
            ("nothing", String::new(), false),
            ("ours", made.to_owned(), false),
            ("with the engine's own end", format!("{made}-A DOCKER-USER -j RETURN\n"), false),
            ("with a rule of somebody's", format!("{made}-A DOCKER-USER -s 192.0.2.1/32 -j DROP\n"), true),
            ("with a rule that looks like ours", format!("{made}-A DOCKER-USER -j DG-FORWARD\n"), true),
            ("with the engine's chains", format!(":DOCKER - [0:0]\n{made}"), true),
            ("a newer engine", ":DOCKER-FORWARD - [0:0]\n".to_owned(), true),
        ] {
            assert_eq!(has_docker(&format!("*filter\n:INPUT ACCEPT [0:0]\n{lines}COMMIT\n")), docker, "{name}");
        }
    }

    #[test]
    fn our_chains_are_read_with_their_hashes_in_order() {
        let state = parsed(
            ":DG-FORWARD - [0:0]\n:OTHER - [0:0]\n\
             -A DG-FORWARD -i br-a -m comment --comment \"a [x] dg:aaaaaaaaaa\" -j DROP\n\
             -A DG-FORWARD -j ACCEPT\n\
             -A DG-FORWARD -o br-b -m comment --comment \"dg:bbbbbbbbbb\" -j DROP\n\
             -A OTHER -i br-c -j DROP",
        );
        let hashes = vec![RuleHash::of("aaaaaaaaaa"), None, RuleHash::of("bbbbbbbbbb")];
        assert!(hashes[0].is_some());
        assert_eq!(state.chains, [(FILTER, [("DG-FORWARD".to_owned(), hashes.into())].into())].into());
        assert_eq!(state.interfaces.iter().map(InterfaceName::as_str).collect::<Vec<_>>(), ["br-a", "br-b"]);
    }

    #[test]
    fn jumps_are_ours_only_to_the_letter() {
        let state = parsed(
            "-A INPUT -s 192.0.2.1/32 -j DG-INPUT\n\
             -A INPUT -m comment --comment \"dockgate:1\" -j DG-INPUT\n\
             -A INPUT -p tcp -j ACCEPT\n\
             -A INPUT -m comment --comment dockgate:1 -j DG-INPUT\n\
             -A INPUT -m comment --comment dockgate:x -j DG-INPUT",
        );
        let jumps: Vec<_> =
            state.jumps.iter().map(|(jump, positions)| (jump.chain.as_str(), positions.clone())).collect();
        assert_eq!(jumps, [("INPUT", vec![2, 4])]);
        let pinned = state.pinned.get(&(FILTER, "DG-INPUT".to_owned())).unwrap();
        assert!(pinned.contains("dockgate:x"), "{pinned}");
    }

    #[test]
    fn only_an_unconditional_jump_leads_to_docker_user() {
        let ours = "-A FORWARD -m comment --comment \"dockgate:1\" -j DG-FORWARD";
        for (name, lines, leads) in [
            ("first", "-A FORWARD -j DOCKER-USER".to_owned(), true),
            ("below another", format!("{ours}\n-A FORWARD -j ACCEPT\n-A FORWARD -j DOCKER-USER"), true),
            ("conditional", "-A FORWARD -i eth0 -j DOCKER-USER".to_owned(), false),
            ("none", ours.to_owned(), false),
        ] {
            assert_eq!(parsed(&lines).docker_user.contains(&Family::V4), leads, "{name}");
        }
    }

    #[test]
    fn each_table_is_read_by_itself() {
        let saved = "*mangle\n:FORWARD ACCEPT [0:0]\n:DG-FORWARD - [0:0]\n\
             -A FORWARD -m comment --comment dockgate:1 -j DG-FORWARD\nCOMMIT\n\
             *filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        let mut state = State::default();
        let mangle = (Family::V4, Xtable::Mangle);
        parse(mangle, saved, &mut state).unwrap();
        parse(FILTER, saved, &mut state).unwrap();
        assert_eq!(state.chains.keys().copied().collect::<Vec<_>>(), [mangle]);
        assert_eq!(state.jumps.keys().map(|jump| jump.table).collect::<Vec<_>>(), [Xtable::Mangle]);
        assert_eq!(state.bare_tables, [mangle].into());
    }

    #[test]
    fn a_listing_that_ends_early_is_no_listing() {
        for text in ["*filter\n:INPUT ACCEPT [0:0]\n", "# Table `filter' is incompatible, use 'nft' tool.\n"] {
            assert!(parse(FILTER, text, &mut State::default()).is_err(), "{text}");
        }
        assert_eq!(parse(FILTER, "", &mut State::default()), Ok(()));
    }

    #[test]
    fn a_line_is_split_as_a_shell_would() {
        assert_eq!(
            words(r#"-A X --comment "a \"b\" \\ c" -j "" Y"#),
            ["-A", "X", "--comment", r#"a "b" \ c"#, "-j", "", "Y"]
        );
    }
}
