//! Rules that match together what none of them matches alone.
//!
//! Input: rules in the order in which they are asked, and another rule. Output: those of them that are proved to match
//! whatever the other matches. Each takes its part out of the rule; what is left is a few rules again. A part counts only if
//! [`covers`] says so of it, so that nothing is claimed here that would not be claimed of two single rules.

use crate::compile::exists_in;
use crate::net::{Cidr, Family, PortSet};
use crate::policy::{Peer, Port, Rule};
use crate::ruleset::Side;

use super::cover::{covers, holds};
use super::never::names_nothing;
use super::ports;

/// Parts, and rules that may take one, beyond which nothing is proved. What a person can follow has a handful, and among a
/// thousand policies each pair of rules would be divided.
pub(super) const MAX_PARTS: usize = 32;

/// The rules, by their places in the list, that together match every packet that `narrow` matches.
pub(super) fn together(wide: &[&Rule], narrow: &Rule) -> Option<Vec<usize>> {
    let candidates: Vec<(usize, &Rule)> =
        wide.iter().copied().enumerate().filter(|(_, wide)| may_take_part(wide, narrow)).collect();
    if candidates.len() > MAX_PARTS {
        return None;
    }
    let mut left = vec![narrow.clone()];
    let mut used = Vec::new();
    for (at, wide) in candidates {
        let mut rest = Vec::new();
        for part in left {
            match taken_out(wide, &part) {
                Some(outside) => {
                    rest.extend(outside);
                    if used.last() != Some(&at) {
                        used.push(at);
                    }
                }
                None => rest.push(part),
            }
        }
        if rest.is_empty() {
            return Some(used);
        }
        if rest.len() > MAX_PARTS {
            return None;
        }
        left = rest;
    }
    None
}

/// Whether a rule may match some part of what another matches, as far as that can be told without looking at labels.
pub(super) fn may_take_part(wide: &Rule, narrow: &Rule) -> bool {
    let meets = |one: &Port, other: &Port| match (one, other) {
        (Port::Range(one), Port::Range(other)) => one.first() <= other.last() && other.first() <= one.last(),
        _ => one == other,
    };
    (wide.protocol.is_none() || wide.protocol == narrow.protocol)
        && [Side::Source, Side::Destination].into_iter().all(|side| {
            let (wide, narrow) = (end(wide, side), end(narrow, side));
            let nets = |net: &Cidr| wide.nets.iter().any(|known| holds(*known, *net) || holds(*net, *known));
            (wide.ports.is_empty() || narrow.ports.iter().any(|port| wide.ports.iter().any(|known| meets(known, port))))
                && (wide.nets.is_empty() || narrow.nets.iter().any(nets))
                && (wide.selector.is_none() || narrow.selector.is_some())
        })
}

/// What is left of a rule when the packets that another one matches are taken out; `None` where it cannot be told.
fn taken_out(wide: &Rule, narrow: &Rule) -> Option<Vec<Rule>> {
    if !may_take_part(wide, narrow) {
        return None;
    }
    let mut inside = narrow.clone();
    let mut outside = Vec::new();
    if let (None, Some(family)) = (narrow.family, wide.family) {
        let others = Family::ALL.into_iter().filter(|other| *other != family);
        // The destination's address is not in every packet.
        let others = others.filter(|other| exists_in(narrow, *other, [(Side::Source, &narrow.source)]));
        outside.extend(others.map(|other| Rule { family: Some(other), ..narrow.clone() }));
        inside.family = Some(family);
    }
    for side in [Side::Source, Side::Destination] {
        for divide in [by_ports, by_nets, by_selector] {
            let Some((within, without)) = divide(end(&inside, side), end(wide, side)) else { continue };
            outside.extend(without.map(|without| with_end(&inside, side, without)));
            inside = with_end(&inside, side, within);
        }
    }
    covers(wide, &inside).then_some(outside)
}

fn end(rule: &Rule, side: Side) -> &Peer {
    match side {
        Side::Source => &rule.source,
        Side::Destination => &rule.destination,
    }
}

fn with_end(rule: &Rule, side: Side, peer: Peer) -> Rule {
    match side {
        Side::Source => Rule { source: peer, ..rule.clone() },
        Side::Destination => Rule { destination: peer, ..rule.clone() },
    }
}

/// An end as what another one may match of it, and what it does not, if there is anything; `None` where they have nothing in
/// common, or nothing to divide.
type Divided = Option<(Peer, Option<Peer>)>;

fn by_ports(narrow: &Peer, wide: &Peer) -> Divided {
    if wide.ports.is_empty() {
        return None;
    }
    let set = |list: &[Port]| ports::ranges(list).into_iter().collect::<PortSet>();
    let (own, known) = (set(&narrow.ports), set(&wide.ports));
    let names = narrow.ports.iter().filter(|port| matches!(port, Port::Named(_))).cloned();
    let (mut within, mut without): (Vec<Port>, Vec<Port>) = names.partition(|name| wide.ports.contains(name));
    within.extend(own.intersection(&known).ranges().iter().copied().map(Port::Range));
    without.extend(own.difference(&known).ranges().iter().copied().map(Port::Range));
    divided(within, without, |ports| Peer { ports, ..narrow.clone() })
}

fn by_nets(narrow: &Peer, wide: &Peer) -> Divided {
    let (mut within, mut without) = (Vec::new(), Vec::new());
    let mut open = if wide.nets.is_empty() { Vec::new() } else { narrow.nets.clone() };
    while let Some(net) = open.pop() {
        if wide.nets.iter().any(|known| holds(*known, net)) {
            within.push(net);
        } else if wide.nets.iter().any(|known| holds(net, *known)) {
            let halves = [net.network(), net.last()].into_iter();
            open.extend(halves.filter_map(|address| Cidr::new(address, net.prefix() + 1)));
        } else {
            without.push(net);
        }
    }
    divided(within, without, |nets| Peer { nets, ..narrow.clone() })
}

fn by_selector(narrow: &Peer, wide: &Peer) -> Divided {
    let (own, other) = (narrow.selector.as_ref()?, wide.selector.as_ref()?);
    let parts = [own.clone().and(other.clone()), own.clone().and(other.clone().negate())];
    let [within, without] = parts.map(|part| Some(part).filter(|part| !names_nothing(part)));
    let part = |selector| Peer { selector: Some(selector), ..narrow.clone() };
    Some((part(within?), without.map(part)))
}

/// An end in two; `None` if nothing is within.
fn divided<T>(within: Vec<T>, without: Vec<T>, part: impl Fn(Vec<T>) -> Peer) -> Divided {
    let without = Some(without).filter(|without| !without.is_empty()).map(&part);
    (!within.is_empty()).then(|| (part(within), without))
}
