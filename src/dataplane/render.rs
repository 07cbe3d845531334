//! Rules as lines of `iptables-restore` input.
//!
//! Input: a chain of the ruleset. Output: one or two lines per rule, each with a comment that names policy and rule and
//! ends with a hash. The hash covers the chain's name, all lines above and the line itself, so the list of hashes that
//! `iptables-save` shows identifies the content of a chain, order included, without any memory of what was written.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use crate::net::{Cidr, Family, InterfaceName, InterfacePrefix, PortRange, Protocol};
use crate::ruleset::{Action, ConnectionState, Match, Rule, SetKind, Side, content_hash};

/// Marks the hash at the end of a comment.
pub(super) const HASH_MARK: &str = "dg:";
/// Longest comment that both variants keep whole: `XT_MAX_COMMENT_LEN` is 256 with the terminating zero.
const COMMENT_LIMIT: usize = 255;
/// Longest NFLOG prefix: the kernel's field has 64 bytes with the terminating zero.
const LOG_PREFIX_LIMIT: usize = 63;

/// A line of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Index of its rule in the chain.
    pub(super) rule: usize,
    /// The hash in its comment.
    pub(super) hash: String,
    /// The whole line, `-A CHAIN ...`.
    pub(super) text: String,
}

/// Renders a chain. A rule whose conditions exclude each other has no line.
pub(super) fn chain(family: Family, name: &str, rules: &[Rule]) -> Vec<Line> {
    let mut previous = content_hash(name);
    let mut lines = Vec::with_capacity(rules.len());
    for (index, rule) in rules.iter().enumerate() {
        for Parts { conditions, target } in parts(family, rule) {
            let comment = sanitised(&rule.comment, COMMENT_LIMIT - " ".len() - HASH_MARK.len() - previous.len());
            let hash = content_hash(&format!("{previous}\n{conditions}\n{comment}\n{target}"));
            let separator = if comment.is_empty() { "" } else { " " };
            let text = format!(
                "-A {name} {conditions}-m comment --comment \"{comment}{separator}{HASH_MARK}{hash}\" {target}"
            );
            previous.clone_from(&hash);
            lines.push(Line { rule: index, hash, text });
        }
    }
    lines
}

/// A text that needs no escaping between double quotes: everything else becomes `_`. A leading hyphen does too, because
/// `iptables-restore` looks for a `-t` option in what begins with one.
pub(super) fn sanitised(text: &str, limit: usize) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || " _@%+=:,./()[]-".contains(c);
    let text: String = text.chars().map(|c| if safe(c) { c } else { '_' }).take(limit).collect();
    let text = text.trim_end();
    match text.strip_prefix('-') {
        Some(rest) => format!("_{rest}"),
        None => text.to_owned(),
    }
}

/// What of a line does not depend on its place.
struct Parts {
    /// All conditions, each followed by a blank.
    conditions: String,
    /// `-j ...` or `-g ...`.
    target: String,
}

fn parts(family: Family, rule: &Rule) -> Vec<Parts> {
    let Some(conditions) = Conditions::of(&rule.matches) else { return Vec::new() };
    let target = match &rule.action {
        Action::Return => "-j RETURN".to_owned(),
        Action::Drop => "-j DROP".to_owned(),
        Action::Jump(chain) => format!("-j {chain}"),
        Action::Goto(chain) => format!("-g {chain}"),
        Action::Log { group, prefix } => {
            format!("-j NFLOG --nflog-group {group} --nflog-prefix \"{}\"", sanitised(prefix, LOG_PREFIX_LIMIT))
        }
        Action::Reject => return rejections(family, conditions),
    };
    vec![Parts { conditions: conditions.render(family), target }]
}

/// The kernel takes `tcp-reset` only beside `-p tcp`, and whoever opens an SCTP association gives up at nothing but an
/// unreachable protocol, so a rejection for all protocols is several lines. To SCTP over IPv6, xtables has no such answer.
fn rejections(family: Family, mut conditions: Conditions<'_>) -> Vec<Parts> {
    let (special, other): (&[(Protocol, &str)], &str) = match family {
        Family::V4 => {
            (&[(Protocol::TCP, "tcp-reset"), (Protocol::SCTP, "icmp-proto-unreachable")], "icmp-port-unreachable")
        }
        Family::V6 => (&[(Protocol::TCP, "tcp-reset")], "icmp6-port-unreachable"),
    };
    let part = |conditions: &Conditions<'_>, answer: &str| Parts {
        conditions: conditions.render(family),
        target: format!("-j REJECT --reject-with {answer}"),
    };
    let excluded = match &conditions.protocols {
        Protocols::Only(only) => {
            let answer = special.iter().find(|(protocol, _)| protocol == only).map_or(other, |(_, answer)| answer);
            return vec![part(&conditions, answer)];
        }
        Protocols::Except(excluded) => excluded.clone(),
    };
    let mut parts = Vec::new();
    for (protocol, answer) in special.iter().filter(|(protocol, _)| !excluded.contains(protocol)) {
        conditions.protocols = Protocols::Only(*protocol);
        parts.push(part(&conditions, answer));
    }
    conditions.protocols = Protocols::Except(excluded);
    parts.push(part(&conditions, other));
    parts
}

/// The protocols that a rule is about: iptables takes one `-p` per rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protocols {
    Only(Protocol),
    Except(BTreeSet<Protocol>),
}

impl Protocols {
    /// Adds a condition; `None` when nothing is left.
    fn and(self, protocol: Protocol, negated: bool) -> Option<Protocols> {
        match (self, negated) {
            (Protocols::Only(only), false) => (only == protocol).then_some(Protocols::Only(only)),
            (Protocols::Only(only), true) => (only != protocol).then_some(Protocols::Only(only)),
            (Protocols::Except(excluded), false) => {
                (!excluded.contains(&protocol)).then_some(Protocols::Only(protocol))
            }
            (Protocols::Except(mut excluded), true) => {
                excluded.insert(protocol);
                Some(Protocols::Except(excluded))
            }
        }
    }
}

/// The interfaces that a rule is about: iptables takes one `-i` and one `-o` per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interfaces<'a> {
    One(&'a InterfaceName),
    Beginning(&'a InterfacePrefix),
}

impl<'a> Interfaces<'a> {
    /// Those of both; `None` when there are none.
    fn and(self, other: Interfaces<'a>) -> Option<Interfaces<'a>> {
        if other.covers(self) { Some(self) } else { self.covers(other).then_some(other) }
    }

    fn covers(self, other: Interfaces<'_>) -> bool {
        match (self, other) {
            (Interfaces::One(one), Interfaces::One(other)) => one == other,
            (Interfaces::One(_), Interfaces::Beginning(_)) => false,
            (Interfaces::Beginning(prefix), Interfaces::One(name)) => prefix.begins(name),
            (Interfaces::Beginning(one), Interfaces::Beginning(other)) => one.covers(other),
        }
    }
}

impl fmt::Display for Interfaces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interfaces::One(name) => name.fmt(f),
            Interfaces::Beginning(prefix) => write!(f, "{prefix}+"),
        }
    }
}

/// The conditions of a rule, merged where iptables takes an option only once.
struct Conditions<'a> {
    in_interface: Option<Interfaces<'a>>,
    out_interface: Option<Interfaces<'a>>,
    nets: Vec<(Side, Cidr, bool)>,
    protocols: Protocols,
    states: Option<BTreeSet<ConnectionState>>,
    /// Conditions that may be repeated and come after `-p`.
    others: Vec<&'a Match>,
}

impl<'a> Conditions<'a> {
    /// Sorts the conditions; `None` when they exclude each other.
    fn of(matches: &'a [Match]) -> Option<Conditions<'a>> {
        let mut merged = Conditions {
            in_interface: None,
            out_interface: None,
            nets: Vec::new(),
            protocols: Protocols::Except(BTreeSet::new()),
            states: None,
            others: Vec::new(),
        };
        for condition in matches {
            match condition {
                Match::InInterface(name) => agree(&mut merged.in_interface, Interfaces::One(name))?,
                Match::OutInterface(name) => agree(&mut merged.out_interface, Interfaces::One(name))?,
                Match::InInterfacePrefix(prefix) => agree(&mut merged.in_interface, Interfaces::Beginning(prefix))?,
                Match::OutInterfacePrefix(prefix) => agree(&mut merged.out_interface, Interfaces::Beginning(prefix))?,
                Match::Net { side, net, negated } => merged.nets.push((*side, *net, *negated)),
                Match::Protocol { protocol, negated } => {
                    merged.protocols = merged.protocols.and(*protocol, *negated)?;
                }
                Match::State(states) => {
                    let both = match merged.states.take() {
                        Some(earlier) => earlier.intersection(states).copied().collect(),
                        None => states.clone(),
                    };
                    if both.is_empty() {
                        return None;
                    }
                    merged.states = Some(both);
                }
                Match::TcpNotSyn => {
                    merged.protocols = merged.protocols.and(Protocol::TCP, false)?;
                    merged.others.push(condition);
                }
                Match::SctpNotInit => {
                    merged.protocols = merged.protocols.and(Protocol::SCTP, false)?;
                    merged.others.push(condition);
                }
                Match::Set { .. } | Match::Ports { .. } | Match::Icmp { .. } => merged.others.push(condition),
            }
        }
        Some(merged)
    }

    fn render(&self, family: Family) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, so the results of `write!` carry nothing.
        if let Some(interfaces) = self.in_interface {
            let _ = write!(text, "-i {interfaces} ");
        }
        if let Some(interfaces) = self.out_interface {
            let _ = write!(text, "-o {interfaces} ");
        }
        self.render_nets(&mut text);
        let further_exclusions = match &self.protocols {
            Protocols::Only(protocol) => {
                let _ = write!(text, "-p {} ", protocol.number());
                Vec::new()
            }
            Protocols::Except(excluded) => {
                let mut excluded = excluded.iter();
                if let Some(first) = excluded.next() {
                    let _ = write!(text, "! -p {} ", first.number());
                }
                excluded.collect()
            }
        };
        // A lookup costs more than any comparison; what holds cheaply is asked first.
        let (lookups, comparisons): (Vec<&Match>, Vec<&Match>) =
            self.others.iter().partition(|condition| matches!(condition, Match::Set { .. }));
        for condition in comparisons.into_iter().chain(lookups) {
            render_other(&mut text, family, condition);
        }
        if let Some(states) = &self.states {
            let names: Vec<&str> = states.iter().map(|state| state_name(*state)).collect();
            let _ = write!(text, "-m conntrack --ctstate {} ", names.join(","));
        }
        // `-p` stands once in a rule; what connection tracking knows of the packet says the same.
        for protocol in further_exclusions {
            let _ = write!(text, "-m conntrack ! --ctproto {} ", protocol.number());
        }
        text
    }

    /// `-s` and `-d` stand once in a rule; `iprange` may be repeated.
    fn render_nets(&self, text: &mut String) {
        for side in [Side::Source, Side::Destination] {
            let mut nets = self.nets.iter().filter(|(at, ..)| *at == side);
            let (short, long) = match side {
                Side::Source => ("-s", "--src-range"),
                Side::Destination => ("-d", "--dst-range"),
            };
            if let Some((_, net, negated)) = nets.next() {
                let _ = write!(text, "{}{short} {net} ", inversion(*negated));
            }
            for (_, net, negated) in nets {
                let _ = write!(text, "-m iprange {}{long} {}-{} ", inversion(*negated), net.network(), net.last());
            }
        }
    }
}

/// Narrows `slot` to these interfaces; `None` when none is left.
fn agree<'a>(slot: &mut Option<Interfaces<'a>>, interfaces: Interfaces<'a>) -> Option<()> {
    *slot = Some(slot.map_or(Some(interfaces), |earlier| earlier.and(interfaces))?);
    Some(())
}

fn inversion(negated: bool) -> &'static str {
    if negated { "! " } else { "" }
}

fn state_name(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::New => "NEW",
        ConnectionState::Established => "ESTABLISHED",
        ConnectionState::Related => "RELATED",
        ConnectionState::Invalid => "INVALID",
    }
}

fn render_other(text: &mut String, family: Family, condition: &Match) {
    match condition {
        Match::Set { side, set, kind, negated } => {
            let end = match side {
                Side::Source => "src",
                Side::Destination => "dst",
            };
            let _ = write!(text, "-m set {}--match-set {set} {end}", inversion(*negated));
            if matches!(kind, SetKind::IpPort | SetKind::NetInterface) {
                let _ = write!(text, ",{end}");
            }
            text.push(' ');
        }
        Match::Ports { side, ranges, negated } => {
            let option = match side {
                Side::Source => "--sports",
                Side::Destination => "--dports",
            };
            let ranges: Vec<String> = ranges.iter().map(PortRange::to_string).collect();
            let _ = write!(text, "-m multiport {}{option} {} ", inversion(*negated), ranges.join(","));
        }
        Match::TcpNotSyn => text.push_str("-m tcp ! --syn "),
        Match::SctpNotInit => text.push_str("-m sctp ! --chunk-types any INIT "),
        Match::Icmp { icmp_type, code, negated } => {
            let option = match family {
                Family::V4 => ("icmp", "--icmp-type"),
                Family::V6 => ("icmp6", "--icmpv6-type"),
            };
            let _ = write!(text, "-m {} {}{} {icmp_type}", option.0, inversion(*negated), option.1);
            if let Some(code) = code {
                let _ = write!(text, "/{code}");
            }
            text.push(' ');
        }
        Match::InInterface(_)
        | Match::OutInterface(_)
        | Match::InInterfacePrefix(_)
        | Match::OutInterfacePrefix(_)
        | Match::State(_)
        | Match::Net { .. }
        | Match::Protocol { .. } => {}
    }
}

#[cfg(test)]
mod tests;
