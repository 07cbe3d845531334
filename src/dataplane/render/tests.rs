//! Rule by rule, what `iptables-restore` is given.

use super::*;
use crate::ruleset::{ChainName, Hook, SetName};

fn interface(name: &str) -> InterfaceName {
    name.parse().unwrap()
}

fn prefix(text: &str) -> InterfacePrefix {
    text.parse().unwrap()
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
    let rule = Rule { matches: matches.into(), action, comment: "c".into() };
    let lines = chain(family, "DG-T", &[rule]);
    let strip = |line: Line| {
        let comment = format!("-m comment --comment \"c dg:{}\" ", line.hash);
        line.text.strip_prefix("-A DG-T ").unwrap().replace(&comment, "")
    };
    lines.into_iter().map(strip).collect()
}

/// Name, family, conditions, action, expected lines.
type Row = (&'static str, Family, Vec<Match>, Action, Vec<&'static str>);

fn check(table: Vec<Row>) {
    for (name, family, matches, action, expected) in table {
        assert_eq!(rendered(family, matches, action), expected, "{name}");
    }
}

#[test]
fn interfaces_states_addresses_and_sets() {
    use Side::{Destination, Source};
    check(vec![
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
    ]);
}

#[test]
fn interfaces_by_what_their_names_begin_with() {
    check(vec![
        (
            "interfaces that begin alike",
            Family::V6,
            vec![Match::InInterfacePrefix(prefix("br-0")), Match::OutInterfacePrefix(prefix("br-0123456789a"))],
            Action::Jump(ChainName::base(Hook::Forward)),
            vec!["-i br-0+ -o br-0123456789a+ -j DG-FORWARD"],
        ),
        (
            "an interface among those that begin alike",
            Family::V4,
            vec![Match::InInterfacePrefix(prefix("br-")), Match::InInterface(interface("br-a"))],
            Action::Drop,
            vec!["-i br-a -j DROP"],
        ),
        (
            "the same, the other way round",
            Family::V4,
            vec![Match::OutInterface(interface("br-a")), Match::OutInterfacePrefix(prefix("br-a"))],
            Action::Drop,
            vec!["-o br-a -j DROP"],
        ),
        (
            "an interface that begins otherwise",
            Family::V4,
            vec![Match::InInterface(interface("br-")), Match::InInterfacePrefix(prefix("br-a"))],
            Action::Drop,
            vec![],
        ),
        (
            "beginnings of which one is that of the other",
            Family::V4,
            vec![
                Match::InInterfacePrefix(prefix("br-a")),
                Match::InInterfacePrefix(prefix("br-")),
                Match::InInterfacePrefix(prefix("br-ab")),
            ],
            Action::Drop,
            vec!["-i br-ab+ -j DROP"],
        ),
        (
            "beginnings that exclude each other",
            Family::V4,
            vec![Match::InInterfacePrefix(prefix("br-a")), Match::InInterfacePrefix(prefix("br-b"))],
            Action::Drop,
            vec![],
        ),
    ]);
}

#[test]
fn protocols_ports_and_icmp() {
    use Side::{Destination, Source};
    check(vec![
        (
            "mid-stream pick-up",
            Family::V4,
            vec![Match::TcpNotSyn, Match::State([ConnectionState::New].into())],
            Action::Drop,
            vec!["-p 6 -m tcp ! --syn -m conntrack --ctstate NEW -j DROP"],
        ),
        (
            "mid-stream pick-up of SCTP",
            Family::V6,
            vec![Match::SctpNotInit, Match::State([ConnectionState::New].into())],
            Action::Drop,
            vec!["-p 132 -m sctp ! --chunk-types any INIT -m conntrack --ctstate NEW -j DROP"],
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
        ("any but a protocol", Family::V4, vec![protocol(Protocol::UDP, true)], Action::Drop, vec!["! -p 17 -j DROP"]),
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
    ]);
}

#[test]
fn actions() {
    use Side::Source;
    check(vec![
        ("everything", Family::V4, vec![], Action::Drop, vec!["-j DROP"]),
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
                "-s 10.0.0.1/32 -p 132 -j REJECT --reject-with icmp-proto-unreachable",
                "-s 10.0.0.1/32 -j REJECT --reject-with icmp-port-unreachable",
            ],
        ),
        (
            "rejection of all but UDP",
            Family::V4,
            vec![protocol(Protocol::UDP, true)],
            Action::Reject,
            vec![
                "-p 6 -j REJECT --reject-with tcp-reset",
                "-p 132 -j REJECT --reject-with icmp-proto-unreachable",
                "! -p 17 -j REJECT --reject-with icmp-port-unreachable",
            ],
        ),
        (
            "rejection of all but TCP",
            Family::V4,
            vec![protocol(Protocol::TCP, true)],
            Action::Reject,
            vec![
                "-p 132 -j REJECT --reject-with icmp-proto-unreachable",
                "! -p 6 -j REJECT --reject-with icmp-port-unreachable",
            ],
        ),
        (
            "rejection of SCTP",
            Family::V4,
            vec![protocol(Protocol::SCTP, false)],
            Action::Reject,
            vec!["-p 132 -j REJECT --reject-with icmp-proto-unreachable"],
        ),
        (
            "rejection of SCTP, which cannot be told in IPv6",
            Family::V6,
            vec![protocol(Protocol::SCTP, false)],
            Action::Reject,
            vec!["-p 132 -j REJECT --reject-with icmp6-port-unreachable"],
        ),
        (
            "log",
            Family::V4,
            vec![],
            Action::Log { group: 7, prefix: "deny \"x\"\n".to_owned() },
            vec!["-j NFLOG --nflog-group 7 --nflog-prefix \"deny _x__\""],
        ),
    ]);
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
    let rule = Rule { matches: [].into(), action: Action::Drop, comment: "x".repeat(1000).into() };
    let line = &chain(Family::V4, "DG-T", &[rule])[0];
    let comment = line.text.split('"').nth(1).unwrap();
    assert_eq!(comment.len(), COMMENT_LIMIT);
    assert!(comment.ends_with(&format!(" dg:{}", line.hash)));
}

#[test]
fn a_hash_says_what_a_rule_is_and_where_it_stands() {
    let rule = |comment: &str, action| Rule { matches: [].into(), action, comment: comment.into() };
    let hashes = |name: &str, rules: &[Rule]| -> Vec<String> {
        chain(Family::V4, name, rules).into_iter().map(|line| line.hash).collect()
    };
    let (first, second) = (rule("a", Action::Return), rule("b", Action::Drop));
    let base = hashes("DG-A", &[first.clone(), second.clone()]);
    assert_eq!(base, hashes("DG-A", &[first.clone(), second.clone()]), "equal chains");
    assert_ne!(base[0], base[1], "two rules");
    assert_ne!(base, hashes("DG-B", &[first.clone(), second.clone()]), "another chain");
    assert!(!hashes("DG-A", &[second.clone(), first.clone()]).iter().any(|hash| base.contains(hash)), "another order");
    assert_eq!(base[0], hashes("DG-A", std::slice::from_ref(&first))[0], "a rule does not depend on what follows");
    assert_ne!(base[0], hashes("DG-A", &[rule("a", Action::Drop)])[0], "another action");
    assert_ne!(base[0], hashes("DG-A", &[rule("z", Action::Return)])[0], "another comment");
    assert_ne!(hashes("DG-A", &[first.clone(), first])[0], hashes("DG-A", &[second.clone(), second])[1]);
}
