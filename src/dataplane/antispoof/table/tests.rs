//! The table as `nft` words it.

use super::*;

/// The table as `nft list table` words it.
fn listed(elements: &Elements) -> String {
    let whole = whole(elements);
    let text = whole.split_once("{\n").map(|(_, body)| body).expect("a table has a body");
    format!("table bridge dockgate {{\n{text}").replace("prerouting priority -300", "prerouting priority dstnat")
}

#[test]
fn a_table_is_ours_only_to_the_letter() {
    let listed = || listed(&Elements::default());
    assert_eq!(parse(&listed()), Table { intact: true, elements: Elements::default() });
    let newer = listed().replace("typeof @th,64,128", "typeof icmpv6 taddr").replace("@th,64,128 @", "icmpv6 taddr @");
    assert!(parse(&newer).intact, "newer versions show fields by name");
    let listed = listed();
    for (case, edited) in [
        ("empty", String::new()),
        ("another table", listed.replace("bridge dockgate", "bridge other")),
        ("asleep", listed.replacen("{\n", "{\n  flags dormant\n", 1)),
        ("a policy of drop", listed.replacen("policy accept", "policy drop", 1)),
        ("another priority", listed.replace("forward priority -300", "forward priority 0")),
        ("another type", listed.replace("type ether_addr\n", "type ipv4_addr\n")),
        ("an option", listed.replace("type ether_addr\n", "type ether_addr\n    timeout 5s\n")),
        ("a chain of others", listed.replacen("  chain bound {", "  chain x {\n  }\n  chain bound {", 1)),
        ("a set of others", listed.replacen("  set macs {", "  set x {\n    type ifname\n  }\n  set macs {", 1)),
        ("a rule of others", listed.replacen("    iifname @ports goto", "    accept\n    iifname @ports goto", 1)),
        ("a rule less", listed.lines().filter(|line| !line.contains("goto unbound")).collect::<Vec<_>>().join("\n")),
    ] {
        assert_ne!(edited, listed, "{case}");
        assert!(!parse(&edited).intact, "{case}");
    }
}

#[test]
fn members_are_read_as_they_are_written() {
    let mut elements = Elements::default();
    let (veth, mac) = ("veth1".parse().expect("a name"), "02:42:0a:00:00:02".parse().expect("a MAC address"));
    for address in ["10.0.0.2", "2001:db8::2"] {
        let address: IpAddr = address.parse().expect("an address");
        elements.insert(Set::Bound(Family::of(address)), bound(&veth, mac, address));
    }
    elements.insert(Set::Subnets(Family::V4), "10.0.0.0/24".to_owned());
    elements.insert(Set::Subnets(Family::V4), "10.1.0.0/16".to_owned());
    let table = parse(&listed(&elements).replace("10.0.0.0/24, ", "10.0.0.0/24,\n             "));
    assert_eq!(table.elements, elements);
    assert_eq!(table.bound().len(), 2);
}
