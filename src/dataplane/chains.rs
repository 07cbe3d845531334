//! Our chains and jumps, read back from `iptables-save`.
//!
//! Input: the filter table of one family as `iptables-save` prints it. Output: that part of a [`State`]. Of a rule only
//! what a decision needs is read: the hash in the comment of ours, and of foreign rules whether they lead to a chain of
//! ours.

use std::collections::BTreeMap;

use crate::dataplane::render::HASH_MARK;
use crate::dataplane::state::{DOCKER_USER, Jump, State};
use crate::net::{Family, InterfaceName};
use crate::ruleset::CHAIN_PREFIX;

/// Chains by which Docker is recognised, over all engine versions that have an iptables backend.
const DOCKER_CHAINS: [&str; 3] = ["DOCKER", DOCKER_USER, "DOCKER-FORWARD"];

/// Why the text of `iptables-save` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `iptables-nft-save` ends with success and this remark when a table holds what iptables cannot show.
    #[error("the filter table holds native nftables rules, so iptables can neither show nor change it")]
    Incompatible,
    /// The text ends early.
    #[error("the listing of the filter table is not complete")]
    Truncated,
}

/// Whether the listing has chains of Docker's.
pub(super) fn has_docker(saved: &str) -> bool {
    saved.lines().any(|line| chain_head(line).is_some_and(|name| DOCKER_CHAINS.contains(&name)))
}

/// Reads the filter table of a family into the state.
pub(super) fn parse(family: Family, saved: &str, state: &mut State) -> Result<(), Error> {
    let mut in_filter = false;
    let mut complete = true;
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for line in saved.lines() {
        // "# Table `filter' is incompatible, ..." or "# Table `filter' contains incompatible base-chains, ..."
        if line.starts_with("# Table `filter'") && line.contains("incompatible") {
            return Err(Error::Incompatible);
        }
        match line {
            "*filter" => (in_filter, complete) = (true, false),
            "COMMIT" if in_filter => (in_filter, complete) = (false, true),
            _ if !in_filter => {}
            _ => {
                if let Some(name) = chain_head(line).filter(|name| name.starts_with(CHAIN_PREFIX)) {
                    state.chains.entry(family).or_default().entry(name.to_owned()).or_default();
                } else if let Some(rule) = line.strip_prefix("-A ") {
                    let mut words = words(rule);
                    if !words.is_empty() {
                        let chain = words.remove(0);
                        parse_rule(family, &chain, &words, line, &mut positions, state);
                    }
                }
            }
        }
    }
    if complete { Ok(()) } else { Err(Error::Truncated) }
}

/// The chain that a line like `:NAME POLICY [0:0]` declares.
fn chain_head(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split(' ').next()
}

fn parse_rule(
    family: Family,
    chain: &str,
    rule: &[String],
    line: &str,
    positions: &mut BTreeMap<String, usize>,
    state: &mut State,
) {
    if chain.starts_with(CHAIN_PREFIX) {
        let hash = value_of(rule, &["--comment"]).and_then(hash_of).map(str::to_owned);
        state.chains.entry(family).or_default().entry(chain.to_owned()).or_default().push(hash);
        let interfaces = rule.windows(2).filter(|pair| pair[0] == "-i" || pair[0] == "-o");
        state.interfaces.extend(interfaces.filter_map(|pair| pair[1].parse::<InterfaceName>().ok()));
        return;
    }
    let position = positions.entry(chain.to_owned()).or_default();
    *position += 1;
    if let Some(jump) = Jump::recognise(family, chain, rule) {
        state.jumps.entry(jump).or_default().push(*position);
        return;
    }
    if let Some(target) = value_of(rule, &["-j", "-g"]).filter(|target| target.starts_with(CHAIN_PREFIX)) {
        state.pinned.insert((family, target.to_owned()), line.to_owned());
    }
    if chain == "FORWARD" && rule == ["-j", DOCKER_USER] {
        let ours = state.jumps.iter().filter(|(jump, _)| jump.family == family && jump.chain == chain);
        let above = *position - 1 - ours.map(|(_, positions)| positions.len()).sum::<usize>();
        state.docker_user.entry(family).or_insert(above);
    }
}

/// The word after the first of these options.
fn value_of<'a>(rule: &'a [String], options: &[&str]) -> Option<&'a str> {
    rule.windows(2).find(|pair| options.contains(&pair[0].as_str())).map(|pair| pair[1].as_str())
}

/// The hash at the end of a comment of ours.
fn hash_of(comment: &str) -> Option<&str> {
    comment.rsplit(' ').next()?.strip_prefix(HASH_MARK)
}

/// Splits a line as a shell would: `iptables-save` puts words with blanks between double quotes and escapes `"` and `\`.
fn words(line: &str) -> Vec<String> {
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
