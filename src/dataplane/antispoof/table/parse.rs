//! The table back from `nft list table`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{CHAINS, Elements, NAME, PRIORITIES, Set, Table, rules};
use crate::dataplane::render::HASH_MARK;

/// Reads `nft list table`. Whatever is not understood makes the table one that is not intact.
pub(in crate::dataplane) fn parse(listed: &str) -> Table {
    let mut elements = Elements::default();
    let mut sets = BTreeMap::new();
    let mut chains: BTreeMap<String, (Option<String>, Vec<String>)> = BTreeMap::new();
    let mut understood = true;
    let mut lines = listed.lines().map(str::trim).filter(|line| !line.is_empty());
    understood &= lines.next() == Some(&format!("table {} {{", NAME.join(" ")));
    while let Some(line) = lines.next() {
        let block = line.strip_suffix(" {").and_then(|head| head.split_once(' '));
        let body = lines.by_ref().take_while(|line| *line != "}");
        match block {
            Some(("set", name)) => {
                let set = Set::ALL.into_iter().find(|set| set.name() == name);
                let properties = parse_set(body, set, &mut elements);
                understood &= set.is_some_and(|set| sets.insert(set, properties).is_none());
            }
            Some(("chain", name)) => {
                chains.insert(name.to_owned(), parse_chain(body));
            }
            _ => {
                // The end of the table, or a property of it that we do not give it, such as `flags dormant`.
                understood &= line == "}";
                body.for_each(drop);
            }
        }
    }
    let sets_are_ours = Set::ALL.into_iter().all(|set| {
        let same = |(found, wanted): (&String, &String)| {
            // Newer versions word the payload in `typeof` otherwise.
            found == wanted || (found.starts_with("typeof ") && wanted.starts_with("typeof "))
        };
        let wanted = set.properties();
        sets.get(&set)
            .is_some_and(|found: &Vec<String>| found.len() == wanted.len() && found.iter().zip(&wanted).all(same))
    });
    let chains_are_ours = chains.len() == CHAINS.len()
        && CHAINS.into_iter().all(|(name, hook, chain)| {
            let wanted: Vec<String> = rules(name, chain).into_iter().map(|(_, hash)| hash).collect();
            let hooked = hook.map(ToOwned::to_owned);
            chains.get(name) == Some(&(hooked, wanted))
        });
    Table { intact: understood && sets_are_ours && chains_are_ours, elements }
}

/// The properties of a set; its members go to the elements.
fn parse_set<'a>(body: impl Iterator<Item = &'a str>, set: Option<Set>, elements: &mut Elements) -> Vec<String> {
    let mut properties = Vec::new();
    let mut members = String::new();
    for line in body {
        match line.strip_prefix("elements = {") {
            Some(first) => members.push_str(first),
            None if members.is_empty() => properties.push(line.to_owned()),
            None => {
                members.push(' ');
                members.push_str(line);
            }
        }
    }
    if let Some(set) = set {
        let members = members.trim().trim_end_matches('}').split(',').map(normal).filter(|member| !member.is_empty());
        members.for_each(|member| elements.insert(set, member));
    }
    properties
}

/// An element in our own words.
fn normal(element: &str) -> String {
    let part = |part: &str| part.parse::<IpAddr>().map_or_else(|_| part.to_owned(), |address| address.to_string());
    element.split(" . ").map(|text| part(text.trim())).collect::<Vec<_>>().join(" . ")
}

/// The hook of a chain and the hashes of its rules. A hook that is not as we write it, and a rule that is not ours, are in
/// there as they are.
fn parse_chain<'a>(body: impl Iterator<Item = &'a str>) -> (Option<String>, Vec<String>) {
    let mut hook = None;
    let mut hashes = Vec::new();
    for line in body {
        if let Some(text) = line.strip_prefix("type ") {
            let ours = text
                .strip_prefix("filter hook ")
                .and_then(|text| text.strip_suffix("; policy accept;"))
                .and_then(|text| text.split_once(" priority "))
                .filter(|(_, priority)| PRIORITIES.contains(priority));
            hook = Some(ours.map_or(line, |(hook, _)| hook).to_owned());
        } else {
            let hash = line.strip_suffix('"').and_then(|line| line.rsplit(' ').next());
            hashes.push(hash.and_then(|word| word.strip_prefix(HASH_MARK)).unwrap_or(line).to_owned());
        }
    }
    (hook, hashes)
}
