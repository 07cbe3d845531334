//! Sets as lines of `ipset` input, and back from `ipset save`.
//!
//! Input: sets of the ruleset, or the text of `ipset save`. Output: the other one. Every line carries `-exist`, so that
//! a batch that was interrupted can be repeated.

use std::collections::BTreeMap;
use std::net::IpAddr;

use imbl::OrdSet;

use crate::dataplane::state::State;
use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::ruleset::{AddressSet, Member, SetKind, SetName};

/// `maxelem` of every set of ours: the kernel's default of 65536 is less than a block list has. Memory is only taken
/// for members that exist.
const MAXIMUM_MEMBERS: u32 = 1_048_576;

/// The line that creates a set.
pub(super) fn create_line(name: &SetName, set: &AddressSet) -> String {
    format!("create {name} {} family {} maxelem {MAXIMUM_MEMBERS} -exist", set.kind, family_word(set.family))
}

/// The line that adds (`add`) or deletes (`del`) a member.
pub(super) fn member_line(verb: &str, set: &str, member: &Member) -> String {
    match member {
        Member::Ip(address) => format!("{verb} {set} {address} -exist"),
        Member::Net(net) => format!("{verb} {set} {net} -exist"),
        Member::IpPort { address, protocol, port } => format!("{verb} {set} {address},{protocol}:{port} -exist"),
        Member::NetInterface { net, interface } => format!("{verb} {set} {net},{interface} -exist"),
    }
}

fn family_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    }
}

/// Reads `ipset save` into the state: only sets with our prefix.
pub(super) fn parse(saved: &str, state: &mut State) {
    let mut sets = BTreeMap::new();
    for line in saved.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [verb, shown, rest @ ..] = &words[..] else { continue };
        let Some(name) = SetName::shown(shown) else { continue };
        let understood = match (*verb, rest) {
            ("create", [kind, options @ ..]) => parse_create(kind, options).map(|set| {
                sets.insert(name, set);
            }),
            ("add", [member]) => sets.get_mut(&name).and_then(|set: &mut AddressSet| {
                let member = parse_member(set.kind, member)?;
                set.members.insert(member);
                Some(())
            }),
            _ => None,
        };
        if understood.is_none() {
            state.odd_sets.insert((*shown).to_owned());
        }
    }
    sets.retain(|name, _| !state.odd_sets.contains(name.as_str()));
    state.sets = sets.into_iter().collect();
}

/// An empty set as `create` describes it; `None` if we would not have created it so.
fn parse_create(kind: &str, options: &[&str]) -> Option<AddressSet> {
    let kind = [SetKind::Ip, SetKind::Net, SetKind::IpPort, SetKind::NetInterface]
        .into_iter()
        .find(|candidate| candidate.to_string() == kind)?;
    let mut family = None;
    let mut maximum = None;
    for option in options.chunks(2) {
        match option {
            ["family", word] => family = Family::ALL.into_iter().find(|family| family_word(*family) == *word),
            ["maxelem", number] => maximum = number.parse::<u32>().ok(),
            // How the kernel spreads members over its hash table, which it chooses itself.
            ["hashsize" | "bucketsize" | "initval", _] => {}
            _ => return None,
        }
    }
    (maximum? >= MAXIMUM_MEMBERS).then_some(AddressSet { family: family?, kind, members: OrdSet::new() })
}

fn parse_member(kind: SetKind, text: &str) -> Option<Member> {
    match kind {
        SetKind::Ip => text.parse().ok().map(Member::Ip),
        SetKind::Net => text.parse().ok().map(Member::Net),
        SetKind::IpPort => {
            let (address, service) = text.split_once(',')?;
            let (protocol, port) = service.split_once(':')?;
            let address: IpAddr = address.parse().ok()?;
            Some(Member::IpPort { address, protocol: protocol_number(protocol)?, port: port.parse().ok()? })
        }
        SetKind::NetInterface => {
            let (net, interface) = text.split_once(',')?;
            Some(Member::NetInterface {
                net: net.parse::<Cidr>().ok()?,
                interface: interface.parse::<InterfaceName>().ok()?,
            })
        }
    }
}

/// `ipset` shows the protocols it knows by name.
fn protocol_number(text: &str) -> Option<u8> {
    let named = match text {
        "tcp" => Some(Protocol::TCP),
        "udp" => Some(Protocol::UDP),
        "sctp" => Some(Protocol::SCTP),
        "udplite" => Some(Protocol::UDPLITE),
        _ => None,
    };
    named.map(Protocol::number).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sets_are_recognised_as_ipset_shows_them() {
        let saved = "\
create blocklist hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add blocklist 192.0.2.0/24
create dg-4-a hash:ip family inet hashsize 1024 maxelem 1048576 bucketsize 12 initval 0xbd7627b4
add dg-4-a 192.0.2.1
create dg-4-n hash:net family inet hashsize 1024 maxelem 1048576
add dg-4-n 192.0.2.1
add dg-4-n 128.0.0.0/1
create dg-6-p hash:ip,port family inet6 hashsize 1024 maxelem 1048576
add dg-6-p 2001:db8::1,tcp:80
add dg-6-p 2001:db8::1,udplite:53
add dg-6-p 2001:db8::1,47:0
create dg-6-i hash:net,iface family inet6 hashsize 1024 maxelem 1048576
add dg-6-i 2001:db8::1,br-a
add dg-6-i 2001:db8::/64,br-b
";
        let mut state = State::default();
        parse(saved, &mut state);
        assert_eq!(state.odd_sets, BTreeSet::new());
        let members: Vec<String> = state
            .sets
            .iter()
            .flat_map(|(name, set)| set.members.iter().map(move |member| member_line("add", name.as_str(), member)))
            .collect();
        assert_eq!(
            members,
            [
                "add dg-4-a 192.0.2.1 -exist",
                "add dg-4-n 128.0.0.0/1 -exist",
                "add dg-4-n 192.0.2.1/32 -exist",
                "add dg-6-i 2001:db8::/64,br-b -exist",
                "add dg-6-i 2001:db8::1/128,br-a -exist",
                "add dg-6-p 2001:db8::1,6:80 -exist",
                "add dg-6-p 2001:db8::1,47:0 -exist",
                "add dg-6-p 2001:db8::1,136:53 -exist",
            ]
        );
    }

    #[test]
    fn what_we_would_not_have_made_is_odd() {
        for (name, saved) in [
            ("another type", "create dg-x bitmap:port range 1-9"),
            ("a timeout", "create dg-x hash:ip family inet hashsize 1024 maxelem 1048576 timeout 5"),
            ("counters", "create dg-x hash:ip family inet hashsize 1024 maxelem 1048576 counters"),
            ("too small", "create dg-x hash:ip family inet hashsize 1024 maxelem 65536"),
            ("no family", "create dg-x hash:ip hashsize 1024 maxelem 1048576"),
            ("an exception", "create dg-x hash:net family inet maxelem 1048576\nadd dg-x 192.0.2.1 nomatch"),
            ("a bridge port", "create dg-x hash:net,iface family inet maxelem 1048576\nadd dg-x 192.0.2.1"),
        ] {
            let mut state = State::default();
            parse(saved, &mut state);
            assert!(state.odd_sets.contains("dg-x") && state.sets.is_empty(), "{name}: {state:?}");
        }
    }
}
