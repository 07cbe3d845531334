use super::*;

/// A source rule of TCP.
fn tcp(action: &str, fields: &str) -> String {
    format!("{{action: {action}, protocol: TCP, {fields}}}")
}

#[test]
#[rustfmt::skip]
fn rules_that_an_earlier_one_shadows() {
    let two = |first: &str, second: &str| ingress(&format!("{first}, «DG5010»{second}"));
    let apart = |first: &str, second: &str| ingress(&format!("{first}, {second}"));
    let all = "{action: Allow}";
    check(None, [
        ("everything before", two(all, "{action: Deny, source: {selector: a == 'x'}}")),
        ("everything after", apart("{action: Deny, source: {selector: a == 'x'}}", all)),
        ("everything is only logged", apart("{action: Log}", all)),
        ("the same", two(&tcp("Allow", "destination: {ports: [80]}"), &tcp("Allow", "destination: {ports: [80]}"))),
        ("fewer ports", two(&tcp("Allow", "destination: {ports: ['1:100', '101:200']}"), &tcp("Deny", "destination: {ports: ['90:110']}"))),
        ("other ports", apart(&tcp("Allow", "destination: {ports: ['1:100', '102:200']}"), &tcp("Deny", "destination: {ports: ['90:110']}"))),
        ("another protocol", apart(&tcp("Allow", "destination: {ports: [80]}"), "{action: Deny, protocol: UDP, destination: {ports: [80]}}")),
        ("a protocol that is not excluded", two("{action: Allow, notProtocol: UDP}", "{action: Deny, protocol: TCP}")),
        ("the protocol that is excluded", apart("{action: Allow, notProtocol: UDP}", "{action: Deny, protocol: UDP}")),
        ("a block within two", two("{action: Allow, source: {nets: [10.0.0.0/9, 10.128.0.0/9]}}", "{action: Deny, source: {nets: [10.0.0.0/8]}}")),
        ("a wider block", apart("{action: Allow, source: {nets: [10.1.0.0/16]}}", "{action: Deny, source: {nets: [10.0.0.0/8]}}")),
        ("an exception in the way", apart("{action: Allow, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}}", "{action: Deny, source: {nets: [10.0.0.0/8]}}")),
        ("an exception aside", two("{action: Allow, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}}", "{action: Deny, source: {nets: [10.2.0.0/16]}}")),
        ("all of IPv4 is not all", apart("{action: Deny, source: {nets: [0.0.0.0/0]}}", all)),
        ("IPv4 within all of it", two("{action: Deny, source: {nets: [0.0.0.0/0]}}", "{action: Allow, ipVersion: 4, source: {nets: [10.0.0.0/8]}}")),
        ("an exception takes the rule out of IPv6", apart("{action: Deny, source: {notNets: [10.0.0.0/8]}}", "{action: Allow, ipVersion: 6}")),
        ("a published port shows no block of the container", apart("{action: Deny, source: {notNets: [10.0.0.0/8]}}", "{action: Allow, destination: {nets: [172.30.0.0/24]}, source: {notNets: [10.0.0.0/8], nets: [0.0.0.0/0]}}").replace(", nets: [0.0.0.0/0]", "")  .replace("{action: Allow,", "«DG5010»{action: Allow,")),
        ("a narrower selector", two("{action: Allow, source: {selector: has(a)}}", "{action: Deny, source: {selector: a == 'x' && b == 'y'}}")),
        ("a wider selector", apart("{action: Allow, source: {selector: a == 'x'}}", "{action: Deny, source: {selector: has(a)}}")),
        ("addresses are no labels", apart("{action: Allow, source: {selector: all()}}", "{action: Deny, source: {nets: [10.0.0.0/8]}}")),
        ("a named port", two(&tcp("Allow", "destination: {ports: [http, 80]}"), &tcp("Deny", "destination: {ports: [http]}"))),
        ("a number is no name", apart(&tcp("Allow", "destination: {ports: [80]}"), &tcp("Deny", "destination: {ports: [http]}"))),
        ("ports that are excluded", apart(&tcp("Allow", "destination: {notPorts: [22]}"), &tcp("Deny", "destination: {ports: [22]}"))),
        ("ports that are not", two(&tcp("Allow", "destination: {notPorts: [22]}"), &tcp("Deny", "destination: {ports: [80]}"))),
        ("one type of ICMP", two("{action: Allow, protocol: ICMP, icmp: {type: 8}}", "{action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}}")),
        ("another type of ICMP", apart("{action: Allow, protocol: ICMP, icmp: {type: 8}}", "{action: Deny, protocol: ICMP, icmp: {type: 0}}")),
        ("Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {}}]}, «DG5010»{from: [{podSelector: {matchLabels: {a: x}}}], ports: [{port: 80}]}]")),
        ("one peer of two", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{podSelector: {matchLabels: {a: x}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn rules_that_several_earlier_ones_shadow_together() {
    let three = |one: &str, two: &str, last: &str| ingress(&format!("{one}, {two}, {last}"));
    let port = |action: &str, mark: &str, ports: &str| format!("{mark}{{action: {action}, protocol: TCP, destination: {{ports: [{ports}]}}}}");
    let from = |action: &str, mark: &str, source: &str| format!("{mark}{{action: {action}, source: {{{source}}}}}");
    check(None, [
        ("ranges that touch", three(&port("Allow", "", "'80:85'"), &port("Deny", "", "'86:90'"), &port("Deny", "«DG5010»", "'82:88'"))),
        ("ranges with a gap", three(&port("Allow", "", "'80:85'"), &port("Deny", "", "'87:90'"), &port("Deny", "", "'82:88'"))),
        ("a number and a name", three(&port("Allow", "", "http"), &port("Allow", "", "443"), &port("Deny", "«DG5010»", "443, http"))),
        ("another name", three(&port("Allow", "", "http"), &port("Allow", "", "443"), &port("Deny", "", "443, https"))),
        ("a port by another protocol", three(&port("Allow", "", "80"), &port("Allow", "", "443").replace("TCP", "UDP"), &port("Deny", "", "80, 443"))),
        ("only logged", three(&port("Allow", "", "80"), &port("Log", "", "443"), &port("Deny", "", "80, 443"))),
        ("halves of a block", three(&from("Allow", "", "nets: [10.0.0.0/9]"), &from("Allow", "", "nets: [10.128.0.0/9]"), &from("Deny", "«DG5010»", "nets: [10.0.0.0/8]"))),
        ("a block with a hole", three(&from("Allow", "", "nets: [10.0.0.0/9]"), &from("Allow", "", "nets: [10.128.0.0/10]"), &from("Deny", "", "nets: [10.0.0.0/8]"))),
        ("an exception that is allowed before", three(&from("Allow", "", "nets: [10.0.0.0/9]"), &from("Allow", "", "nets: [10.128.0.0/9], notNets: [10.200.0.0/16]"), &from("Deny", "", "nets: [10.0.0.0/8]"))),
        ("both values of a label", three(&from("Allow", "", "selector: a == 'x'"), &from("Allow", "", "selector: a == 'y'"), &from("Deny", "«DG5010»", "selector: \"a in {'x', 'y'}\""))),
        ("one value or not", three(&from("Allow", "", "selector: a == 'x'"), &from("Deny", "", "selector: a != 'x'"), &from("Deny", "«DG5010»", "selector: has(b)"))),
        ("two of three values", three(&from("Allow", "", "selector: a == 'x'"), &from("Allow", "", "selector: a == 'y'"), &from("Deny", "", "selector: \"a in {'x', 'y', 'z'}\""))),
        ("both families", three("{action: Deny, ipVersion: 4}", "{action: Allow, ipVersion: 6}", "«DG5010»{action: Allow, protocol: TCP}")),
        ("ports of two blocks", ingress(&format!("{}, {}, {}",
            "{action: Allow, protocol: TCP, source: {nets: [10.0.0.0/8]}, destination: {ports: [80, 443]}}",
            "{action: Allow, protocol: TCP, source: {nets: [11.0.0.0/8]}, destination: {ports: [443, 80]}}",
            "«DG5010»{action: Allow, protocol: TCP, source: {nets: [10.1.0.0/16, 11.1.0.0/16]}, destination: {ports: [80, 443]}}"))),
        ("crosswise", ingress(&format!("{}, {}, {}",
            "{action: Allow, protocol: TCP, source: {nets: [10.0.0.0/8]}, destination: {ports: [80]}}",
            "{action: Allow, protocol: TCP, source: {nets: [11.0.0.0/8]}, destination: {ports: [443]}}",
            "{action: Allow, protocol: TCP, source: {nets: [10.1.0.0/16, 11.1.0.0/16]}, destination: {ports: [80, 443]}}"))),
        ("peers of a Kubernetes rule", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {a: x}}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/8}}]}, «DG5010»{from: [{ipBlock: {cidr: 10.1.0.0/16}}, {podSelector: {matchLabels: {a: x}}}], ports: [{port: 80}]}]")),
    ]);
    let one = |name: &str, spec: &str| calico("NetworkPolicy", &format!("name: {name}, namespace: shop"), spec);
    let rules = |order: u8, rules: &str| format!("order: {order}, ingress: [{rules}]");
    check(None, [
        ("two policies", one("a", &rules(1, &port("Allow", "", "80"))) + &one("b", &rules(2, &port("Deny", "", "443"))) + &one("c", &rules(3, &port("Allow", "«DG5010»", "80, 443")))),
        ("two policies that do the same", one("a", &rules(1, &port("Allow", "", "80"))) + &one("b", &rules(2, &port("Allow", "", "443"))) + &one("c", &rules(3, &port("Allow", "«DG5011»", "80, 443")))),
        ("a policy and a rule before", one("a", &rules(1, &port("Allow", "", "80"))) + &one("b", &rules(2, &format!("{}, {}", port("Deny", "", "443"), port("Allow", "«DG5010»", "80, 443"))))),
        ("for other containers", one("a", &format!("selector: app == 'web', {}", rules(1, &port("Allow", "", "80")))) + &one("b", &rules(2, &port("Deny", "", "443"))) + &one("c", &rules(3, &port("Allow", "", "80, 443")))),
    ]);
    let found = findings(&three(&port("Allow", "", "80"), &port("Deny", "", "443"), &port("Deny", "", "80, 443")), None);
    assert_eq!(
        found[0].message,
        "the rule has no effect: ingress[0] in line 4 and ingress[1] in line 4 together match every packet that it could match"
    );
    assert_eq!(found[0].help.as_deref(), Some("it says Deny, and the earlier ones have decided differently: put it before them"));
}

#[test]
#[rustfmt::skip]
fn rules_that_an_earlier_policy_shadows() {
    let one = |name: &str, spec: &str| calico("NetworkPolicy", &format!("name: {name}, namespace: shop"), spec);
    let web = "{action: Allow, source: {selector: a == 'x'}}";
    let deny = "order: 1, selector: all(), ingress: [{action: Deny}]";
    check(None, [
        ("an earlier policy", one("a", deny) + &one("b", &format!("order: 2, selector: app == 'web', ingress: [«DG5010»{web}]"))),
        ("a later policy", one("a", &format!("order: 0, selector: app == 'web', ingress: [{web}]")) + &one("b", deny)),
        ("for other containers", one("a", "order: 1, selector: app == 'db', ingress: [{action: Deny}]") + &one("b", &format!("order: 2, selector: app == 'web', ingress: [{web}]"))),
        ("of another namespace", calico("NetworkPolicy", "name: a, namespace: ops", deny) + &one("b", &format!("order: 2, selector: app == 'web', ingress: [{web}]"))),
        ("the other direction", one("a", "order: 1, egress: [{action: Deny}]") + &one("b", &format!("order: 2, ingress: [{web}]"))),
        ("a staged policy decides nothing", calico("StagedNetworkPolicy", "name: a, namespace: shop", deny) + &one("b", &format!("order: 2, ingress: [{web}]"))),
        ("an earlier tier", calico("Tier", "name: t", "order: 1") + &calico("GlobalNetworkPolicy", "name: t.a", "tier: t, ingress: [{action: Deny}]") + &one("b", &format!("ingress: [«DG5010»{web}]"))),
        ("an earlier tier passes", calico("Tier", "name: t", "order: 1") + &calico("GlobalNetworkPolicy", "name: t.a", "tier: t, ingress: [{action: Pass}]") + &one("b", &format!("ingress: [{web}]"))),
        ("an earlier tier passes some before", calico("Tier", "name: t", "order: 1") + &calico("GlobalNetworkPolicy", "name: t.a", "tier: t, ingress: [{action: Pass, protocol: TCP}, {action: Allow}]") + &one("b", &format!("ingress: [{web}]"))),
        ("the same again", one("a", &format!("order: 1, ingress: [{web}]")) + &one("b", &format!("order: 2, selector: has(app), ingress: [«DG5011»{web}]"))),
        ("the same by name", one("a", &format!("ingress: [{web}]")) + &one("b", &format!("selector: has(app), ingress: [«DG5011»{web}]"))),
    ]);
}

#[test]
#[rustfmt::skip]
fn rules_that_can_never_match() {
    check(None, [
        ("a protocol", ingress("{action: Deny, protocol: TCP, notProtocol: «DG5012»TCP}")),
        ("another protocol", ingress("{action: Deny, protocol: TCP, notProtocol: UDP}")),
        ("all blocks excluded", ingress("{action: Deny, source: {nets: [10.0.0.0/8], notNets: «DG5012»[10.0.0.0/9, 10.128.0.0/9]}}")),
        ("some blocks excluded", ingress("{action: Deny, source: {nets: [10.0.0.0/8], notNets: [10.0.0.0/9]}}")),
        ("everything in halves", ingress("{action: Deny, destination: {notNets: «DG5012»[0.0.0.0/1, 128.0.0.0/1]}}")),
        ("all ports excluded", ingress(&tcp("Deny", "destination: {ports: [80, '90:91'], notPorts: «DG5012»['80:100']}"))),
        ("some ports excluded", ingress(&tcp("Deny", "destination: {ports: [80, '90:101'], notPorts: ['80:100']}"))),
        ("every port excluded", ingress(&tcp("Deny", "source: {notPorts: «DG5012»['1:65535']}"))),
        ("a named port excluded", ingress(&tcp("Deny", "destination: {ports: [http], notPorts: «DG5012»[http]}"))),
        ("a type of ICMP", ingress("{action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}, notICMP: «DG5012»{type: 8}}")),
        ("one code of ICMP", ingress("{action: Deny, protocol: ICMP, icmp: {type: 8}, notICMP: {type: 8, code: 1}}")),
        ("a destination that is not selected", policy("selector: app == 'web', ingress: [{action: Allow, destination: {selector: «DG5012»app == 'db'}}]")),
        ("a source that is not selected", policy("selector: app == 'web', egress: [{action: Allow, source: {selector: «DG5012»app == 'db'}}]")),
        ("a destination that may be selected", policy("selector: has(app), ingress: [{action: Allow, destination: {selector: app == 'db'}}]")),
        ("a destination that may be in a network set", calico("GlobalNetworkSet", "name: s, labels: {app: db}", "nets: [10.0.0.0/8]") + &global("selector: app == 'web', ingress: [{action: Allow, destination: {selector: app == 'db'}}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn policies_of_equal_order_that_disagree() {
    let one = |name: &str, spec: &str| calico("NetworkPolicy", &format!("name: {name}, namespace: shop"), spec);
    let allow = |fields: &str| one("a", &format!("{fields} ingress: [{{action: Allow, source: {{selector: a == 'x'}}}}]"));
    let deny = |fields: &str| one("b", &format!("{fields} ingress: [«DG5013»{{action: Deny}}]"));
    let without = |marked: String| unmark(&marked).0;
    check(None, [
        ("both without an order", allow("") + &deny("")),
        ("both with one", allow("order: 5,") + &deny("order: 5.0,")),
        ("different orders", allow("order: 5,") + &without(deny("order: 6,"))),
        ("narrower containers", allow("selector: app == 'web',") + &deny("")),
        ("other containers", allow("selector: app == 'web',") + &without(deny("selector: app == 'db',"))),
        ("possibly other containers", allow("selector: app == 'web',") + &without(deny("selector: role == 'db',"))),
        ("other packets", allow("") + &one("b", "ingress: [{action: Deny, source: {selector: a == 'y'}}]")),
        ("a rule that its own policy shadows", one("a", "ingress: [{action: Deny}, «DG5010»{action: Allow}]") + &one("b", "ingress: [«DG5011»{action: Deny}]")),
        ("no rules", allow("") + &one("b", "types: [Ingress]")),
        ("a staged policy", allow("") + &calico("StagedNetworkPolicy", "name: b, namespace: shop", "ingress: [{action: Deny}]")),
    ]);
    check(Some(&shop()), [
        ("api is selected by both", one("a", "selector: app == 'api', ingress: [{action: Allow}]") + &one("b", "selector: role == 'backend', ingress: [«DG5013»{action: Deny}]")),
        ("nothing is selected by both", one("a", "selector: app == 'web', ingress: [{action: Allow}]") + &one("b", "selector: role == 'backend', ingress: [{action: Deny}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn pass_in_the_last_tier() {
    let tier = calico("Tier", "name: t", "order: 1");
    let early = |action: &str| calico("GlobalNetworkPolicy", "name: t.a", &format!("tier: t, selector: app == 'web', ingress: [{{action: {action}}}]"));
    check(None, [
        ("nothing follows", ingress("{action: «DG5014»Pass}")),
        ("nothing is passed", ingress("{action: Allow}")),
        ("nothing follows an earlier tier", tier.clone() + &early("«DG5014»Pass")),
        ("a later tier", tier.clone() + &early("Pass") + &policy("types: [Ingress]")),
        ("a later tier of the other direction", tier.clone() + &early("«DG5014»Pass") + &policy("types: [Egress]")),
        ("a later tier of other containers", tier.clone() + &early("«DG5014»Pass") + &policy("selector: app == 'db', types: [Ingress]")),
        ("a later tier of perhaps the same containers", tier.clone() + &early("Pass") + &policy("selector: role == 'backend', types: [Ingress]")),
    ]);
    check(Some(&shop()), [
        ("a later tier of other containers, as it turns out", tier.clone() + &early("«DG5014»Pass") + &policy("selector: role == 'backend', types: [Ingress]")),
        ("a later tier", tier + &early("Pass") + &policy("selector: app == 'web', types: [Ingress]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn blocks_within_blocks() {
    let set = |nets: &str| calico("GlobalNetworkSet", "name: s", &format!("nets: [{nets}]"));
    check(None, [
        ("a set", set("10.1.0.0/16, 192.168.0.0/16, «DG5030»10.1.2.0/24")),
        ("twice", set("203.0.113.7, «DG5030»203.0.113.7/32")),
        ("the wider one last", set("«DG5030»10.1.2.3, 2001:db8::/32, «DG5030»10.1.0.0/16, 10.0.0.0/8")),
        ("neighbours", set("10.0.0.0/9, 10.128.0.0/9, 2001:db8::/33")),
        ("a rule", ingress("{action: Deny, source: {nets: [10.0.0.0/8, «DG5030»10.1.0.0/16], notNets: [10.2.0.0/16]}}")),
        ("exceptions of Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, «DG5030»10.1.2.0/24]}}], ports: [{port: 80}, {port: 80, protocol: UDP}]}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn host_bits_that_are_cleared() {
    check(None, [
        ("a set", calico("GlobalNetworkSet", "name: s", "nets: [203.0.113.7, «DG5031»10.0.0.5/8, «DG5031»'2001:db8::1/32', 192.168.0.0/16]")),
        ("a block of Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{ipBlock: {cidr: «DG5031»10.0.0.5/8, except: [«DG5031»10.1.2.3/16]}}]}]")),
        ("an address", kubernetes("podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.5/32}}]}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn databases_open_to_every_address() {
    check(None, [
        ("a port", ingress(&tcp("Allow", "destination: {ports: [80, «DG5024»5432]}"))),
        ("a range", ingress(&tcp("Allow", "destination: {ports: [«DG5024»'6000:7023']}"))),
        ("a wide range", ingress(&tcp("Allow", "destination: {ports: ['6000:7024', '1:65535']}"))),
        ("no port", ingress("{action: Allow, protocol: TCP}")),
        ("all of IPv4", ingress(&tcp("Allow", "source: {nets: [0.0.0.0/0]}, destination: {ports: [«DG5024»6379]}"))),
        ("all of IPv4 in halves", ingress(&tcp("Allow", "source: {nets: [0.0.0.0/1, 128.0.0.0/1]}, destination: {ports: [«DG5024»6379]}"))),
        ("one block", ingress(&tcp("Allow", "source: {nets: [10.0.0.0/8]}, destination: {ports: [6379]}"))),
        ("a selector", ingress(&tcp("Allow", "source: {selector: all()}, destination: {ports: [6379]}"))),
        ("another protocol", ingress("{action: Allow, protocol: UDP, destination: {ports: [6379]}}")),
        ("the port is excluded", ingress(&tcp("Allow", "destination: {ports: ['6350:6400'], notPorts: [6379]}"))),
        ("another port", ingress(&tcp("Allow", "destination: {ports: [8080]}"))),
        ("what denies", ingress(&tcp("Deny", "destination: {ports: [5432]}"))),
        ("egress", policy("egress: [{action: Allow, protocol: TCP, destination: {ports: [5432], nets: [10.0.0.0/8]}}]")),
        ("a range of Kubernetes", kubernetes("podSelector: {}, ingress: [{ports: [{port: 22}, {port: «DG5024»6000, endPort: 6400}]}]")),
        ("Kubernetes", kubernetes("podSelector: {}, ingress: [{ports: [{port: 3306, protocol: UDP}, {port: «DG5024»3306}, {port: 3307}]}]")),
        ("Kubernetes, ports that touch", kubernetes("podSelector: {}, ingress: [{ports: [{port: 3305}, {port: «DG5024»3306}]}]")),
    ]);
    check_in(&shop(), [("a named port", ingress(&tcp("Allow", "destination: {ports: [«DG5024»postgres, http]}")))]);
}
