use super::*;

#[test]
#[rustfmt::skip]
fn a_way_out_without_dns() {
    let https = "{action: Allow, protocol: TCP, destination: {ports: [443]}}";
    let dns = "{action: Allow, protocol: UDP, destination: {ports: [53]}}";
    let one = |name: &str, spec: &str| calico("NetworkPolicy", &format!("name: {name}, namespace: shop"), spec);
    let office = calico("GlobalNetworkSet", "name: s, labels: {set: office}", "nets: [203.0.113.0/24]");
    let inside = calico("GlobalNetworkSet", "name: s, labels: {set: office}", "nets: [10.0.0.0/8]");
    let to_set = |mark: &str| global(&format!("egress: [{mark}{{action: Allow, destination: {{selector: set == 'office'}}, protocol: TCP}}]"));
    let rows = || [
        ("one port of every address", egress(&format!("«DG5020»{https}"))),
        ("DNS, too", egress(&format!("{https}, {dns}"))),
        ("DNS over TCP only", egress(&format!("«DG5020»{https}, {}", dns.replace("UDP", "TCP")))),
        ("everything", egress("{action: Allow}")),
        ("everything after UDP was denied", egress("{action: Deny, protocol: UDP}, «DG5020»{action: Allow}")),
        ("everything after DNS was denied", egress("{action: Deny, protocol: UDP, destination: {ports: [53]}}, «DG5020»{action: Allow}")),
        ("everything after UDP of some was denied", egress("{action: Deny, protocol: UDP, destination: {nets: [10.0.0.0/8]}}, {action: Allow}")),
        ("everything of TCP", egress("«DG5020»{action: Allow, protocol: TCP}")),
        ("everything but DNS", egress("«DG5020»{action: Allow, protocol: UDP, destination: {notPorts: [53]}}")),
        ("containers only", egress("{action: Allow, protocol: TCP, destination: {selector: app == 'db', ports: [5432]}}")),
        ("private addresses only", egress("{action: Allow, protocol: TCP, destination: {nets: [10.0.0.0/8, 192.168.0.0/24]}}")),
        ("an address outside", egress("«DG5020»{action: Allow, protocol: TCP, destination: {nets: [10.0.0.0/8, 198.51.100.0/24]}}")),
        ("a network set outside", office.clone() + &to_set("«DG5020»")),
        ("a network set inside", inside.clone() + &to_set("")),
        ("nothing at all", policy("types: [Egress]")),
        ("DNS by another policy", one("a", &format!("egress: [{https}]")) + &one("b", &format!("selector: has(app), egress: [{dns}]")).replace("selector: has(app)", "selector: all()")),
        ("DNS for others", one("a", &format!("selector: app == 'web', egress: [«DG5020»{https}]")) + &one("b", &format!("selector: app == 'db', egress: [{dns}]"))),
        ("a staged policy", calico("StagedNetworkPolicy", "name: p, namespace: shop", &format!("egress: [{https}]"))),
        ("an end that is open", calico("Tier", "name: t", "order: 1, defaultAction: Pass") + &calico("GlobalNetworkPolicy", "name: t.a", &format!("tier: t, egress: [{https}]"))),
    ];
    check(None, rows());
    check(Some(&shop()), rows().into_iter().filter(|(_, text)| !text.contains("tier: t") && !text.starts_with("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet")));
    check(Some(&shop()), [
        ("on an internal network nothing leads outside", policy(&format!("selector: app == 'db', egress: [{https}]"))),
    ]);
}

#[test]
fn only_on_the_default_network_docker_has_no_resolver() {
    let help = |network: &str| {
        let world = inventory(&format!(
            "  networks: [{{name: {network}, subnets: [172.17.0.0/16]}}]\n  containers: [{{name: web, namespace: shop, networks: [{network}]}}]\n"
        ));
        let text = policy("egress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]");
        let found = findings(&text, Some(&world));
        let [found] = &found[..] else { panic!("{found:#?}") };
        assert!(found.message.ends_with(&format!("(UDP port 53): web@{network}")), "{}", found.message);
        found.help.clone().unwrap_or_default()
    };
    assert!(help("bridge").ends_with("On the default network Docker has no resolver for containers"));
    assert!(help("front").contains("Names of containers need no rule"));
}

#[test]
fn a_rule_that_denies_dns_before_another_would_allow_it_is_named() {
    let text = egress("{action: Deny, protocol: UDP}, {action: Allow}");
    for world in [None, Some(shop())] {
        let found = findings(&text, world.as_ref());
        let [found] = &found[..] else { panic!("{found:#?}") };
        let expected = "the rule leads to addresses outside, but egress[0] of policy shop/p (p.yaml:4:37) denies DNS \
                        (UDP port 53) before a rule allows it";
        assert!(found.message.starts_with(expected), "{}", found.message);
        let help = found.help.as_deref().unwrap_or_default();
        assert!(help.starts_with("allow UDP and TCP port 53 before that rule. "), "{help}");
    }
}

#[test]
#[rustfmt::skip]
fn rules_for_one_family_on_a_network_of_both() {
    check_in(&shop(), [
        ("a stated version", ingress("{action: Allow, ipVersion: «DG5021»4, source: {selector: app == 'web'}}")),
        ("both versions", ingress("{action: Allow, ipVersion: 4}, {action: Allow, ipVersion: 6}")),
        ("the other version for fewer ports", ingress("{action: Deny, ipVersion: «DG5021»4, protocol: TCP, destination: {ports: [22, 80]}}, {action: Deny, ipVersion: 6, protocol: TCP, destination: {ports: [22]}}")),
        ("every address of IPv4", ingress("{action: Allow, protocol: TCP, source: {nets: «DG5021»[0.0.0.0/0]}, destination: {ports: [80]}}")),
        ("the network's own addresses", ingress("{action: Deny, source: {nets: «DG5021»[172.30.0.0/16]}}")),
        ("some addresses outside", ingress("{action: Allow, source: {nets: [203.0.113.0/24]}}")),
        ("a protocol of one version", ingress("{action: Allow, protocol: ICMP}")),
        ("on a network of one version", policy("selector: app == 'db', ingress: [{action: Allow, ipVersion: 4, source: {selector: app == 'api'}}]")),
        ("no version", ingress("{action: Allow}")),
        ("Kubernetes", kubernetes("podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: «DG5021»0.0.0.0/0}}], ports: [{port: 80}]}]")),
        ("Kubernetes, both versions", kubernetes("podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: '::/0'}}], ports: [{port: 80}]}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn the_port_of_the_host_where_the_containers_counts() {
    let port = |to: &str| format!("{{action: Allow, protocol: TCP, destination: {{{to}}}}}");
    check_in(&shop(), [
        ("the host's port", ingress(&port("ports: [«DG5022»8080]"))),
        ("the container's port", ingress(&port("ports: [80]"))),
        ("both are one", ingress(&port("ports: [9000]"))),
        ("the container's port beside it", ingress(&port("ports: [80, 8080]"))),
        ("a port that is not published", ingress(&port("ports: [8081]"))),
        ("another protocol", ingress(&port("ports: [8080]").replace("TCP", "UDP"))),
        ("a range", ingress(&port("ports: ['8000:8100']"))),
        ("the host's port of another container", policy(&format!("selector: app == 'db', ingress: [{}]", port("ports: [8080]")))),
        ("the peer's port", egress(&port("selector: app == 'web', ports: [«DG5022»8080]"))),
        ("the port of whoever", policy(&format!("selector: app == 'db', egress: [{}]", port("nets: [10.0.0.0/8], ports: [8080]")))),
        ("Kubernetes", kubernetes("podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 443}, {port: 8080, protocol: UDP}, {protocol: TCP, port: «DG5022»8080}]}]")),
    ]);
}

#[test]
#[rustfmt::skip]
fn port_names_that_nobody_declares() {
    let port = |to: &str| format!("{{action: Allow, protocol: TCP, destination: {{{to}}}}}");
    check_in(&shop(), [
        ("a name", ingress(&port("ports: [http, «DG5023»https]"))),
        ("a name without a protocol", ingress("{action: Allow, destination: {ports: [http]}}")),
        ("a name of another protocol", ingress(&port("ports: [«DG5023»http]").replace("TCP", "UDP"))),
        ("a name of another container", policy(&format!("selector: app == 'web', ingress: [{}]", port("ports: [«DG5023»postgres]")))),
        ("a name of the peer", egress(&port("selector: app == 'db', ports: [postgres]"))),
        ("a name of another peer", egress(&port("selector: app == 'db', ports: [«DG5023»http]"))),
        ("a name that is excluded", ingress(&port("notPorts: [«DG5023»https]"))),
        ("Kubernetes", kubernetes("podSelector: {}, ingress: [{ports: [{port: http}, {port: 1, protocol: UDP}, {port: «DG5023»https}]}]")),
    ]);
}

#[test]
fn policies_out_of_reach_are_told_once_for_each_container() {
    let world = inventory(
        "  networks: [{name: lan, driver: macvlan, subnets: [192.0.2.0/24]}]
  containers:
    - {name: a, namespace: shop, labels: {app: x}, networks: [lan]}
    - {name: b, namespace: shop, labels: {app: x}, networkMode: host}
    - {name: c, namespace: shop, labels: {app: y}, networkMode: host}
",
    );
    let found = findings(&policy("selector: app == 'x', types: [Ingress]"), Some(&world));
    let told: Vec<&str> = found.iter().map(|found| found.code).collect();
    assert_eq!(told, ["DG3105", "DG3105"], "{found:#?}");
    assert!(found[0].message.starts_with("policy shop/p selects a@lan, which policy cannot reach"), "{found:#?}");
}

#[test]
fn helps_are_about_the_rule_at_hand() {
    let message = |text: &str| {
        let found = findings(text, Some(&shop()));
        found.iter().map(|found| found.message.clone()).collect::<Vec<_>>().join("; ")
    };
    let port = "{action: Allow, protocol: TCP, destination: {selector: app == 'db', ports: [http]}}";
    assert_eq!(
        message(&egress(port)),
        "none of the containers that the rule may be about as its destination declares a port of TCP named `http`"
    );
    let port = "{action: Allow, destination: {ports: [https]}}";
    assert_eq!(message(&ingress(port)), "none of the containers that the policy selects declares a port named `https`");

    let rule = "{action: Allow, protocol: UDP, destination: {ports: [dns]}}";
    let found = findings(&ingress(rule), Some(&shop()));
    let help = found[0].help.as_deref().unwrap_or_default();
    assert!(help.ends_with("`dockgate.io/ports: dns=8080/udp`"), "{help}");

    let help = |text: &str| findings(text, None)[0].help.clone().unwrap_or_default();
    assert!(help(&kubernetes("podSelector: {}, ingress: [{ports: [{port: 5432}]}]")).contains("under `from`"));
    assert!(help(&ingress("{action: Allow, protocol: TCP, destination: {ports: [5432]}}")).contains("under `source`"));
}
