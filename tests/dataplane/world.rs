//! Rulesets made by hand, with every condition and action there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dockgate::net::{Cidr, Family, InterfaceName, PortRange, Protocol};
use dockgate::ruleset::{
    Action, AddressSet, Chain, ChainName, ConnectionState, Hook, Match, Member, Rule, Ruleset, SetKind, SetName, Side,
};

/// What a ruleset is made from.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Bridges, each with a class of its own.
    pub(crate) bridges: Vec<&'static str>,
    /// Members of each class.
    pub(crate) replicas: u16,
    /// Rejects instead of dropping.
    pub(crate) reject: bool,
    /// The port that is open.
    pub(crate) port: u16,
}

impl Default for World {
    fn default() -> World {
        World { bridges: vec!["br-a"], replicas: 3, reject: false, port: 80 }
    }
}

impl World {
    pub(crate) fn ruleset(&self) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for family in Family::ALL {
            self.add_family(&mut ruleset, family);
        }
        ruleset.bridges = self.bridges.iter().map(|bridge| interface(bridge)).collect();
        ruleset
    }

    fn add_family(&self, ruleset: &mut Ruleset, family: Family) {
        let mut known = BTreeSet::new();
        let mut chains: BTreeMap<ChainName, Chain> = BTreeMap::new();
        let mut base = vec![
            rule(
                vec![Match::State([ConnectionState::Established, ConnectionState::Related].into())],
                Action::Return,
                "established",
            ),
            rule(
                vec![Match::TcpNotSyn, Match::State([ConnectionState::New].into())],
                Action::Drop,
                "no pick-up of a flow in its middle",
            ),
            rule(
                vec![Match::SctpNotInit, Match::State([ConnectionState::New].into())],
                Action::Drop,
                "no pick-up of SCTP in its middle",
            ),
        ];
        for (index, bridge) in self.bridges.iter().enumerate() {
            let members: Vec<IpAddr> = (0..self.replicas).map(|replica| address(family, index, replica)).collect();
            known.extend(
                members
                    .iter()
                    .map(|member| Member::NetInterface { net: Cidr::host(*member), interface: interface(bridge) }),
            );
            let class = SetName::of_content(family, SetKind::Ip, "web", bridge);
            add(ruleset, &class, family, SetKind::Ip, members.iter().copied().map(Member::Ip));
            let blocked = SetName::of_content(family, SetKind::Net, "blocked", bridge);
            let blocks = ["198.51.100.0/24", "203.0.113.7/32", "128.0.0.0/1", "2001:db8:bad::/48", "2001:db8::7/128"];
            let blocks = blocks.iter().map(|block| block.parse().expect("a fixture of this test"));
            let blocks = blocks.filter(|block: &Cidr| block.family() == family);
            add(ruleset, &blocked, family, SetKind::Net, blocks.map(Member::Net));
            let named = SetName::of_content(family, SetKind::IpPort, "metrics", bridge);
            let services = [Protocol::TCP, Protocol::UDP, Protocol::SCTP].into_iter().zip(&members);
            let services = services.map(|(protocol, member)| Member::IpPort {
                address: *member,
                protocol: protocol.number(),
                port: 9090,
            });
            add(ruleset, &named, family, SetKind::IpPort, services.collect::<Vec<_>>());

            let ingress = ChainName::of_content("ingress", bridge);
            let web = ChainName::of_content("web", &format!("{bridge} {} {}", self.port, self.reject));
            base.push(rule(
                vec![
                    Match::InInterface(interface(bridge)),
                    Match::Set {
                        side: Side::Source,
                        set: SetName::known(family),
                        kind: SetKind::NetInterface,
                        negated: true,
                    },
                ],
                Action::Drop,
                "unknown address",
            ));
            base.push(rule(
                vec![Match::OutInterface(interface(bridge))],
                Action::Jump(ingress.clone()),
                "network ingress",
            ));
            chains.insert(
                ingress,
                vec![rule(vec![set(Side::Destination, &class, SetKind::Ip)], Action::Goto(web.clone()), "class web")]
                    .into(),
            );
            chains.insert(web, self.class_chain(family, &blocked, &named));
        }
        add(ruleset, &SetName::known(family), family, SetKind::NetInterface, known);
        for hook in Hook::ALL {
            chains.insert(ChainName::base(hook), base.clone().into());
        }
        ruleset.chains.insert(family, chains);
    }

    fn class_chain(&self, family: Family, blocked: &SetName, named: &SetName) -> Chain {
        let deny = if self.reject { Action::Reject } else { Action::Drop };
        let tcp = || Match::Protocol { protocol: Protocol::TCP, negated: false };
        vec![
            rule(vec![set(Side::Source, blocked, SetKind::Net)], deny.clone(), "default/web ingress[0]"),
            rule(
                vec![
                    tcp(),
                    Match::Ports {
                        side: Side::Destination,
                        ranges: vec![
                            PortRange::single(self.port).expect("a fixture of this test"),
                            PortRange::new(8000, 8080).expect("a fixture of this test"),
                        ],
                        negated: false,
                    },
                    Match::Ports {
                        side: Side::Source,
                        ranges: vec![PortRange::new(1, 1023).expect("a fixture of this test")],
                        negated: true,
                    },
                ],
                Action::Return,
                "default/web ingress[1]",
            ),
            rule(
                vec![set(Side::Destination, named, SetKind::IpPort)],
                Action::Return,
                "a name with \"quotes\" \\ and 'more' $x",
            ),
            rule(
                vec![
                    Match::Protocol { protocol: family.icmp(), negated: false },
                    Match::Icmp { icmp_type: if family == Family::V4 { 8 } else { 128 }, code: None, negated: false },
                    Match::Net { side: Side::Source, net: network(family), negated: false },
                    Match::Net { side: Side::Source, net: Cidr::host(address(family, 0, 9)), negated: true },
                ],
                Action::Return,
                &"x".repeat(300),
            ),
            rule(
                vec![
                    Match::Protocol { protocol: Protocol::UDP, negated: true },
                    Match::Protocol { protocol: Protocol::SCTP, negated: true },
                ],
                deny.clone(),
                "default/web ingress[3]",
            ),
            rule(vec![], Action::Log { group: 100, prefix: "default/web \"deny\"".to_owned() }, "-t log"),
            rule(vec![], deny, "end of tier default"),
        ]
        .into()
    }
}

/// Adds one more replica to the class of the first bridge.
pub(crate) fn add_replica(ruleset: &mut Ruleset, bridge: &str, replica: u16) {
    for family in Family::ALL {
        let address = address(family, 0, replica);
        let class = SetName::of_content(family, SetKind::Ip, "web", bridge);
        let known = Member::NetInterface { net: Cidr::host(address), interface: interface(bridge) };
        ruleset.sets.get_mut(&class).expect("a fixture of this test").members.insert(Member::Ip(address));
        ruleset.sets.get_mut(&SetName::known(family)).expect("a fixture of this test").members.insert(known);
    }
}

fn add(
    ruleset: &mut Ruleset,
    name: &SetName,
    family: Family,
    kind: SetKind,
    members: impl IntoIterator<Item = Member>,
) {
    ruleset.sets.insert(name.clone(), AddressSet { family, kind, members: members.into_iter().collect() });
}

fn rule(matches: Vec<Match>, action: Action, comment: &str) -> Rule {
    Rule { matches: matches.into(), action, comment: comment.into() }
}

fn set(side: Side, name: &SetName, kind: SetKind) -> Match {
    Match::Set { side, set: name.clone(), kind, negated: false }
}

pub(crate) fn interface(name: &str) -> InterfaceName {
    name.parse().expect("a fixture of this test")
}

fn network(family: Family) -> Cidr {
    match family {
        Family::V4 => "172.16.0.0/12".parse().expect("a fixture of this test"),
        Family::V6 => "2001:db8::/32".parse().expect("a fixture of this test"),
    }
}

/// Address of a replica on the bridge of this index.
pub(crate) fn address(family: Family, bridge: usize, replica: u16) -> IpAddr {
    let [high, low] = (replica + 2).to_be_bytes();
    let bridge = u8::try_from(bridge).expect("a fixture of this test");
    match family {
        Family::V4 => IpAddr::from([172, 18 + bridge, high, low]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, u16::from(bridge), 0, 0, 0, 0, replica + 2]),
    }
}
