//! Rules as lines of `iptables-restore` input.
//!
//! Input: a chain of the ruleset. Output: one or two lines per rule, each with a comment that names policy and rule and
//! ends with a hash. The hash covers the chain's name, all lines above and the line itself, so the list of hashes that
//! `iptables-save` shows identifies the content of a chain, order included, without any memory of what was written.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::net::{Cidr, Family, InterfaceName, PortRange, Protocol};
use crate::ruleset::{Action, Chain, ConnectionState, Match, Rule, SetKind, Side, content_hash};

/// Marks the hash at the end of a comment.
pub(super) const HASH_MARK: &str = "dg:";
/// Longest comment that both variants keep whole: `XT_MAX_COMMENT_LEN` is 256 with the terminating zero.
const COMMENT_LIMIT: usize = 255;
/// Longest NFLOG prefix: the kernel's field has 64 bytes with the terminating zero.
const LOG_PREFIX_LIMIT: usize = 63;

/// A line of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The hash in its comment.
    pub(super) hash: String,
    /// The whole line, `-A CHAIN ...`.
    pub(super) text: String,
}

/// Renders a chain. A rule whose conditions exclude each other has no line.
pub(super) fn chain(family: Family, name: &str, rules: &Chain) -> Vec<Line> {
    let mut previous = content_hash(name);
    let mut lines = Vec::with_capacity(rules.len());
    for rule in rules {
        for Parts { conditions, target } in parts(family, rule) {
            let comment = sanitised(&rule.comment, COMMENT_LIMIT - " ".len() - HASH_MARK.len() - previous.len());
            let hash = content_hash(&format!("{previous}\n{conditions}\n{comment}\n{target}"));
            let separator = if comment.is_empty() { "" } else { " " };
            let text = format!(
                "-A {name} {conditions}-m comment --comment \"{comment}{separator}{HASH_MARK}{hash}\" {target}"
            );
            previous.clone_from(&hash);
            lines.push(Line { hash, text });
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

/// The kernel takes `tcp-reset` only beside `-p tcp`, so a rejection for all protocols is two lines.
fn rejections(family: Family, conditions: Conditions<'_>) -> Vec<Parts> {
    let unreachable = match family {
        Family::V4 => "-j REJECT --reject-with icmp-port-unreachable",
        Family::V6 => "-j REJECT --reject-with icmp6-port-unreachable",
    };
    let reset = "-j REJECT --reject-with tcp-reset";
    let part = |conditions: &Conditions<'_>, target: &str| Parts {
        conditions: conditions.render(family),
        target: target.to_owned(),
    };
    match &conditions.protocols {
        Protocols::Only(Protocol::TCP) => vec![part(&conditions, reset)],
        Protocols::Only(_) => vec![part(&conditions, unreachable)],
        Protocols::Except(excluded) if excluded.contains(&Protocol::TCP) => vec![part(&conditions, unreachable)],
        Protocols::Except(_) => {
            let others = part(&conditions, unreachable);
            let tcp = Conditions { protocols: Protocols::Only(Protocol::TCP), ..conditions };
            vec![part(&tcp, reset), others]
        }
    }
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

/// The conditions of a rule, merged where iptables takes an option only once.
struct Conditions<'a> {
    in_interface: Option<&'a InterfaceName>,
    out_interface: Option<&'a InterfaceName>,
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
                Match::InInterface(name) => agree(&mut merged.in_interface, name)?,
                Match::OutInterface(name) => agree(&mut merged.out_interface, name)?,
                Match::Net { side, net, negated } => merged.nets.push((*side, *net, *negated)),
                Match::Protocol { protocol, negated } => {
                    merged.protocols = merged.protocols.and(*protocol, *negated)?
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
                Match::Set { .. } | Match::Ports { .. } | Match::Icmp { .. } => merged.others.push(condition),
            }
        }
        Some(merged)
    }

    fn render(&self, family: Family) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, so the results of `write!` carry nothing.
        if let Some(name) = self.in_interface {
            let _ = write!(text, "-i {name} ");
        }
        if let Some(name) = self.out_interface {
            let _ = write!(text, "-o {name} ");
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
        for condition in &self.others {
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

/// Sets `slot` to `name`; `None` when it holds another name.
fn agree<'a>(slot: &mut Option<&'a InterfaceName>, name: &'a InterfaceName) -> Option<()> {
    (*slot.get_or_insert(name) == name).then_some(())
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
        | Match::State(_)
        | Match::Net { .. }
        | Match::Protocol { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{ChainName, Hook, SetName};

    fn interface(name: &str) -> InterfaceName {
        name.parse().unwrap()
    }

    fn net(side: Side, net: &str, negated: bool) -> Match {
        Match::Net { side, net: net.parse().unwrap(), negated }
    }

    fn protocol(protocol: Protocol, negated: bool) -> Match {
        Match::Protocol { protocol, negated }
    }

    fn ports(side: Side, text: &str, negated: bool) -> Match {
        Match::Ports { side, ranges: text.split(',').map(|range| range.parse().unwrap()).collect(), negated }
    }

    fn set(side: Side, kind: SetKind, negated: bool) -> Match {
        Match::Set { side, set: SetName::known(Family::V4), kind, negated }
    }

    fn icmp(icmp_type: u8, code: Option<u8>, negated: bool) -> Match {
        Match::Icmp { icmp_type, code, negated }
    }

    /// The lines of one rule without chain, comment and hash.
    fn rendered(family: Family, matches: Vec<Match>, action: Action) -> Vec<String> {
        let rule = Rule { matches, action, comment: "c".to_owned() };
        let lines = chain(family, "DG-T", &vec![rule]);
        let strip = |line: Line| {
            let comment = format!("-m comment --comment \"c dg:{}\" ", line.hash);
            line.text.strip_prefix("-A DG-T ").unwrap().replace(&comment, "")
        };
        lines.into_iter().map(strip).collect()
    }

    #[test]
    fn a_rule_is_rendered_as_iptables_takes_it() {
        use Side::{Destination, Source};
        let table: Vec<(&str, Family, Vec<Match>, Action, Vec<&str>)> = vec![
            ("everything", Family::V4, vec![], Action::Drop, vec!["-j DROP"]),
            (
                "interfaces",
                Family::V4,
                vec![Match::OutInterface(interface("br-b")), Match::InInterface(interface("br-a"))],
                Action::Jump(ChainName::base(Hook::Forward)),
                vec!["-i br-a -o br-b -j DG-FORWARD"],
            ),
            (
                "two interfaces at one end",
                Family::V4,
                vec![Match::InInterface(interface("br-b")), Match::InInterface(interface("br-a"))],
                Action::Drop,
                vec![],
            ),
            (
                "states",
                Family::V6,
                vec![Match::State([ConnectionState::Established, ConnectionState::Related].into())],
                Action::Return,
                vec!["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"],
            ),
            (
                "states that exclude each other",
                Family::V6,
                vec![Match::State([ConnectionState::New].into()), Match::State([ConnectionState::Invalid].into())],
                Action::Return,
                vec![],
            ),
            (
                "mid-stream pick-up",
                Family::V4,
                vec![Match::TcpNotSyn, Match::State([ConnectionState::New].into())],
                Action::Drop,
                vec!["-p 6 -m tcp ! --syn -m conntrack --ctstate NEW -j DROP"],
            ),
            (
                "nets of both ends and a hole in one",
                Family::V4,
                vec![
                    net(Destination, "10.9.0.0/16", true),
                    net(Source, "10.0.0.0/8", false),
                    net(Source, "10.1.0.0/16", true),
                ],
                Action::Return,
                vec!["-s 10.0.0.0/8 -m iprange ! --src-range 10.1.0.0-10.1.255.255 ! -d 10.9.0.0/16 -j RETURN"],
            ),
            (
                "a set of one dimension",
                Family::V4,
                vec![set(Destination, SetKind::Ip, false)],
                Action::Goto(ChainName::base(Hook::Input)),
                vec!["-m set --match-set dg-4-known dst -g DG-INPUT"],
            ),
            (
                "a set of addresses and ports",
                Family::V4,
                vec![set(Destination, SetKind::IpPort, false)],
                Action::Drop,
                vec!["-m set --match-set dg-4-known dst,dst -j DROP"],
            ),
            (
                "an unknown address on a bridge",
                Family::V4,
                vec![Match::InInterface(interface("br-a")), set(Source, SetKind::NetInterface, true)],
                Action::Drop,
                vec!["-i br-a -m set ! --match-set dg-4-known src,src -j DROP"],
            ),
            (
                "ports of both ends, some inverted, before their protocol",
                Family::V4,
                vec![
                    ports(Destination, "80,8000:8080", false),
                    ports(Destination, "8001", true),
                    ports(Source, "1:1023", true),
                    protocol(Protocol::TCP, false),
                ],
                Action::Return,
                vec![
                    "-p 6 -m multiport --dports 80,8000:8080 -m multiport ! --dports 8001 -m multiport ! --sports 1:1023 \
                     -j RETURN",
                ],
            ),
            (
                "any but a protocol",
                Family::V4,
                vec![protocol(Protocol::UDP, true)],
                Action::Drop,
                vec!["! -p 17 -j DROP"],
            ),
            (
                "any but two protocols",
                Family::V4,
                vec![protocol(Protocol::UDP, true), protocol(Protocol::SCTP, true)],
                Action::Drop,
                vec!["! -p 17 -m conntrack ! --ctproto 132 -j DROP"],
            ),
            (
                "a protocol and not another",
                Family::V4,
                vec![protocol(Protocol::UDP, true), protocol(Protocol::TCP, false)],
                Action::Drop,
                vec!["-p 6 -j DROP"],
            ),
            (
                "a protocol and not itself",
                Family::V4,
                vec![protocol(Protocol::TCP, true), protocol(Protocol::TCP, false)],
                Action::Drop,
                vec![],
            ),
            (
                "ICMP type and code",
                Family::V4,
                vec![icmp(3, Some(1), false), protocol(Protocol::ICMP, false)],
                Action::Drop,
                vec!["-p 1 -m icmp --icmp-type 3/1 -j DROP"],
            ),
            (
                "ICMPv6 type, inverted",
                Family::V6,
                vec![protocol(Protocol::ICMPV6, false), icmp(128, None, true)],
                Action::Drop,
                vec!["-p 58 -m icmp6 ! --icmpv6-type 128 -j DROP"],
            ),
            (
                "rejection of TCP",
                Family::V6,
                vec![protocol(Protocol::TCP, false)],
                Action::Reject,
                vec!["-p 6 -j REJECT --reject-with tcp-reset"],
            ),
            (
                "rejection of UDP",
                Family::V6,
                vec![protocol(Protocol::UDP, false)],
                Action::Reject,
                vec!["-p 17 -j REJECT --reject-with icmp6-port-unreachable"],
            ),
            (
                "rejection of everything",
                Family::V4,
                vec![net(Source, "10.0.0.1", false)],
                Action::Reject,
                vec![
                    "-s 10.0.0.1/32 -p 6 -j REJECT --reject-with tcp-reset",
                    "-s 10.0.0.1/32 -j REJECT --reject-with icmp-port-unreachable",
                ],
            ),
            (
                "rejection of all but UDP",
                Family::V4,
                vec![protocol(Protocol::UDP, true)],
                Action::Reject,
                vec!["-p 6 -j REJECT --reject-with tcp-reset", "! -p 17 -j REJECT --reject-with icmp-port-unreachable"],
            ),
            (
                "rejection of all but TCP",
                Family::V4,
                vec![protocol(Protocol::TCP, true)],
                Action::Reject,
                vec!["! -p 6 -j REJECT --reject-with icmp-port-unreachable"],
            ),
            (
                "log",
                Family::V4,
                vec![],
                Action::Log { group: 7, prefix: "deny \"x\"\n".to_owned() },
                vec!["-j NFLOG --nflog-group 7 --nflog-prefix \"deny _x__\""],
            ),
        ];
        for (name, family, matches, action, expected) in table {
            assert_eq!(rendered(family, matches, action), expected, "{name}");
        }
    }

    #[test]
    fn comments_are_safe_between_quotes_and_keep_their_hash() {
        for (text, safe) in [
            ("default/allow-web-to-api ingress[0]", "default/allow-web-to-api ingress[0]"),
            ("a \"b\" 'c' \\ `d` $e\n-A x", "a _b_ _c_ _ _d_ _e_-A x"),
            ("-t nat", "_t nat"),
            ("ü 😀", "_ _"),
            ("", ""),
        ] {
            assert_eq!(sanitised(text, COMMENT_LIMIT), safe, "{text:?}");
        }
        let rule = Rule { matches: vec![], action: Action::Drop, comment: "x".repeat(1000) };
        let line = &chain(Family::V4, "DG-T", &vec![rule])[0];
        let comment = line.text.split('"').nth(1).unwrap();
        assert_eq!(comment.len(), COMMENT_LIMIT);
        assert!(comment.ends_with(&format!(" dg:{}", line.hash)));
    }

    #[test]
    fn a_hash_says_what_a_rule_is_and_where_it_stands() {
        let rule = |comment: &str, action| Rule { matches: vec![], action, comment: comment.to_owned() };
        let hashes = |name: &str, rules: &[Rule]| -> Vec<String> {
            chain(Family::V4, name, &rules.to_vec()).into_iter().map(|line| line.hash).collect()
        };
        let (first, second) = (rule("a", Action::Return), rule("b", Action::Drop));
        let base = hashes("DG-A", &[first.clone(), second.clone()]);
        assert_eq!(base, hashes("DG-A", &[first.clone(), second.clone()]), "equal chains");
        assert_ne!(base[0], base[1], "two rules");
        assert_ne!(base, hashes("DG-B", &[first.clone(), second.clone()]), "another chain");
        assert!(
            !hashes("DG-A", &[second.clone(), first.clone()]).iter().any(|hash| base.contains(hash)),
            "another order"
        );
        assert_eq!(base[0], hashes("DG-A", std::slice::from_ref(&first))[0], "a rule does not depend on what follows");
        assert_ne!(base[0], hashes("DG-A", &[rule("a", Action::Drop)])[0], "another action");
        assert_ne!(base[0], hashes("DG-A", &[rule("z", Action::Return)])[0], "another comment");
        assert_ne!(hashes("DG-A", &[first.clone(), first])[0], hashes("DG-A", &[second.clone(), second])[1]);
    }
}
