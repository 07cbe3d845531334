use super::*;

const HEADER: &str = "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {name: host}\nspec:\n";

fn source(spec: &str) -> SourceFile {
    SourceFile::new("inventory.yaml", format!("{HEADER}{spec}"))
}

/// Reads a file that must have no finding.
fn clean(spec: &str) -> Inventory {
    let (inventory, diagnostics) = load(&source(spec));
    assert_eq!(diagnostics, [], "{spec}");
    inventory
}

/// `CONTAINER@NETWORK IPV4 IPV6` of every endpoint.
fn addresses(inventory: &Inventory) -> Vec<String> {
    let text = |address: Option<IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
    let endpoint = |e: &super::super::Endpoint<'_>| {
        format!("{} {} {}", e.name(), text(e.address(Family::V4)), text(e.address(Family::V6)))
    };
    inventory.endpoints().iter().map(endpoint).collect()
}

#[test]
fn addresses_that_are_left_out_are_assigned_in_order() {
    let inventory = clean(
        "  networks:
    - name: n
      subnets: [10.0.0.0/29, 2001:db8::/64]
    - {name: bare}
  containers:
    - {name: a, networks: [n]}
    - name: b
      networks: [{name: n, ipv4Address: 10.0.0.3, ipv6Address: \"2001:db8::2\", macAddress: \"02:42:ac:14:00:02\"}]
    - {name: c, networks: [n, bare]}
    - {name: stopped, networks: [{name: n, ipv4Address: none, ipv6Address: none}]}
",
    );
    assert_eq!(
        addresses(&inventory),
        [
            "a@n 10.0.0.2 2001:db8::3",
            "b@n 10.0.0.3 2001:db8::2",
            "c@bare - -",
            "c@n 10.0.0.4 2001:db8::4",
            "stopped@n - -",
        ]
    );
    let network = &inventory.networks[&NetworkId("n".into())];
    assert_eq!(network.gateways.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "2001:db8::1"]);
    assert_eq!(network.driver, "bridge");
}

#[test]
fn stated_gateways_and_several_subnets_are_heeded() {
    let inventory = clean(
        "  networks:
    - name: n
      subnets: [10.0.0.0/30, 10.0.1.0/30]
      gateways: [10.0.0.2, 10.0.1.2]
  containers:
    - {name: a, networks: [n]}
    - {name: b, networks: [n]}
",
    );
    assert_eq!(addresses(&inventory), ["a@n 10.0.0.1 -", "b@n 10.0.1.1 -"]);
}

#[test]
fn bridges_are_unique_also_where_names_begin_alike() {
    let inventory = clean(
        "  networks:
    - {name: strict-segmentation_app}
    - {name: strict-segmentation_dmz}
    - {name: named, bridge: br0}
    - {name: räume für alle}
    - {name: docker, id: 0123456789abcdef}
    - {name: mac, driver: macvlan}
",
    );
    let bridges: Vec<(&str, Option<&str>)> = inventory
        .networks
        .values()
        .map(|network| (network.name.as_str(), network.bridge.as_ref().map(InterfaceName::as_str)))
        .collect();
    assert_eq!(
        bridges,
        [
            ("docker", Some("br-0123456789ab")),
            ("mac", None),
            ("named", Some("br0")),
            ("räume für alle", Some("br-r_ume_f_r_al")),
            ("strict-segmentation_app", Some("br-strict-segme")),
            ("strict-segmentation_dmz", Some("br-strict-seg-2")),
        ]
    );
}

#[test]
fn containers_without_networks_say_why() {
    let inventory = clean(
        "  containers:
    - {name: a, networkMode: host}
    - {name: b, networkMode: none}
    - {name: c, networkMode: \"container:d\"}
    - {name: d}
",
    );
    let reasons: Vec<(String, Option<Unenforceable>)> =
        inventory.endpoints().iter().map(|e| (e.name(), e.unenforceable.clone())).collect();
    assert_eq!(
        reasons,
        [
            ("a".to_owned(), Some(Unenforceable::HostNetwork)),
            ("c".to_owned(), Some(Unenforceable::SharedWith("d".to_owned()))),
        ]
    );
}

/// One row: what it is about, the text below `spec:`, and `CODE LINE:COLUMN FIELD` of the findings.
type Row = (&'static str, &'static str, &'static [&'static str]);

const FINDINGS: [Row; 21] = [
    ("unknown field", "  network: []\n", &["DG2004 5:3 spec.network"]),
    (
        "unknown network",
        "  containers:\n    - {name: a, networks: [x]}\n",
        &["DG3040 6:28 spec.containers[0].networks[0]"],
    ),
    (
        "unknown network, long form",
        "  containers:\n    - name: a\n      networks:\n        - name: x\n",
        &["DG3040 8:17 spec.containers[0].networks[0].name"],
    ),
    ("network name twice", "  networks:\n    - {name: n}\n    - {name: n}\n", &["DG3041 7:14 spec.networks[1].name"]),
    (
        "network id twice",
        "  networks:\n    - {name: n}\n    - {name: m, id: n}\n",
        &["DG3041 7:21 spec.networks[1].id"],
    ),
    (
        "bridge twice",
        "  networks:\n    - {name: n, bridge: b}\n    - {name: m, bridge: b}\n",
        &["DG3041 7:25 spec.networks[1].bridge"],
    ),
    (
        "container name twice",
        "  containers:\n    - {name: a}\n    - {name: a}\n",
        &["DG3041 7:14 spec.containers[1].name"],
    ),
    ("namespace twice", "  namespaces:\n    - {name: a}\n    - {name: a}\n", &["DG3041 7:14 spec.namespaces[1].name"]),
    (
        "on a network twice",
        "  networks:\n    - {name: n}\n  containers:\n    - {name: a, networks: [n, n]}\n",
        &["DG3041 8:31 spec.containers[0].networks[1]"],
    ),
    (
        "not a subnet",
        "  networks:\n    - {name: n, subnets: [10.0.0.1, x/8, 10.0.0.0/33]}\n",
        &[
            "DG3019 6:27 spec.networks[0].subnets[0]",
            "DG3019 6:37 spec.networks[0].subnets[1]",
            "DG3019 6:42 spec.networks[0].subnets[2]",
        ],
    ),
    (
        "host bits",
        "  networks:\n    - {name: n, subnets: [10.0.0.1/24]}\n",
        &["DG3020 6:27 spec.networks[0].subnets[0]"],
    ),
    (
        "overlap",
        "  networks:\n    - {name: n, subnets: [10.0.0.0/24, 10.0.0.0/8]}\n",
        &["DG3043 6:40 spec.networks[0].subnets[1]"],
    ),
    (
        "gateway outside",
        "  networks:\n    - {name: n, subnets: [10.0.0.0/24], gateways: [10.1.0.1, x]}\n",
        &["DG3042 6:52 spec.networks[0].gateways[0]", "DG3042 6:62 spec.networks[0].gateways[1]"],
    ),
    (
        "addresses that no container can have",
        "  networks:
    - {name: n, subnets: [10.0.0.0/24, 2001:db8::/64]}
  containers:
    - {name: a, networks: [{name: n, ipv4Address: 10.0.1.5}]}
    - {name: b, networks: [{name: n, ipv4Address: 10.0.0.0}]}
    - {name: c, networks: [{name: n, ipv4Address: 10.0.0.255}]}
    - {name: d, networks: [{name: n, ipv4Address: 10.0.0.1}]}
    - {name: e, networks: [{name: n, ipv4Address: \"2001:db8::9\"}]}
    - {name: f, networks: [{name: n, ipv6Address: \"2001:db8::\"}]}
    - {name: g, networks: [{name: n, macAddress: x}]}
",
        &[
            "DG3042 8:51 spec.containers[0].networks[0].ipv4Address",
            "DG3042 9:51 spec.containers[1].networks[0].ipv4Address",
            "DG3042 10:51 spec.containers[2].networks[0].ipv4Address",
            "DG3042 11:51 spec.containers[3].networks[0].ipv4Address",
            "DG3042 12:51 spec.containers[4].networks[0].ipv4Address",
            "DG3042 13:51 spec.containers[5].networks[0].ipv6Address",
            "DG3042 14:50 spec.containers[6].networks[0].macAddress",
        ],
    ),
    (
        "address twice",
        "  networks:
    - {name: n, subnets: [10.0.0.0/24]}
  containers:
    - {name: a, networks: [{name: n, ipv4Address: 10.0.0.5}]}
    - {name: b, networks: [{name: n, ipv4Address: 10.0.0.5}]}
",
        &["DG3043 9:51 spec.containers[1].networks[0].ipv4Address"],
    ),
    (
        "no address left",
        "  networks:
    - {name: n, subnets: [10.0.0.0/30]}
  containers:
    - {name: a, networks: [n]}
    - {name: b, networks: [n]}
",
        &["DG3044 9:28 spec.containers[1].networks[0]"],
    ),
    (
        "network mode",
        "  containers:\n    - {name: a, networkMode: bridged}\n",
        &["DG3045 6:30 spec.containers[0].networkMode"],
    ),
    (
        "network mode beside networks",
        "  networks:\n    - {name: n}\n  containers:\n    - {name: a, networkMode: host, networks: [n]}\n",
        &["DG3045 8:30 spec.containers[0].networkMode"],
    ),
    (
        "shared with nobody",
        "  containers:\n    - {name: a, networkMode: \"container:x\"}\n",
        &["DG3103 6:30 spec.containers[0].networkMode"],
    ),
    (
        "bridge of another driver",
        "  networks:\n    - {name: n, driver: macvlan, bridge: b}\n",
        &["DG3046 6:42 spec.networks[0].bridge"],
    ),
    (
        "published ports",
        "  containers:\n    - {name: a, ports: [\"80-90:80\", {target: 80, hostIP: x}]}\n",
        &["DG3013 6:25 spec.containers[0].ports[0]", "DG3042 6:58 spec.containers[0].ports[1].hostIP"],
    ),
];

#[test]
fn findings_have_their_code_and_place() {
    let mut wrong = Vec::new();
    for (name, spec, expected) in FINDINGS {
        let (_, diagnostics) = load(&source(spec));
        let found: Vec<String> = diagnostics
            .iter()
            .map(|d| format!("{} {}:{} {}", d.code, d.location.line, d.location.column, d.field))
            .collect();
        if found != expected {
            wrong.push(format!("{name}: found {found:#?}, expected {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_holds_one_inventory_and_nothing_else() {
    let codes = |text: &str| -> Vec<&'static str> {
        load(&SourceFile::new("i.yaml", text)).1.iter().map(|diagnostic| diagnostic.code).collect()
    };
    assert_eq!(codes(""), ["DG2001"]);
    assert_eq!(codes("apiVersion: v1\nkind: Pod\n"), ["DG2003"]);
    assert_eq!(codes(&format!("{HEADER}  {{}}\n---\n{HEADER}  {{}}\n")), ["DG3030"]);
    assert_eq!(codes("a: [\n"), ["DG1001"]);
}

/// The endpoints without what a file does not hold: Docker's endpoint ids.
fn comparable(inventory: &Inventory) -> Inventory {
    let mut inventory = inventory.clone();
    for attachment in inventory.containers.values_mut().flat_map(|container| &mut container.attachments) {
        attachment.endpoint_id = "".into();
    }
    inventory
}

#[test]
fn what_is_written_reads_as_the_same_world() {
    let original = {
        let mut inventory = clean(
            "  networks:
    - {name: dual, id: 0123456789abcdef, subnets: [10.0.0.0/24, 2001:db8::/64], bridge: named0, internal: true}
    - {name: plain, subnets: [10.1.0.0/24], gateways: []}
    - {name: mac, driver: macvlan, subnets: [10.2.0.0/24]}
  containers:
    - name: web
      id: fedcba
      image: shop/web:1
      labels: {app: web, dockgate.io/ports: http=80, projectcalico.org/namespace: shop}
      networks: [plain, {name: dual, ipv6Address: none, macAddress: \"02:42:ac:14:00:02\"}]
      ports: [\"80\", \"8080:80\", \"127.0.0.1:81:81/udp\", \"[::1]::82/sctp\", \"0.0.0.0:83:83\"]
    - {name: stopped, namespace: shop, networks: [{name: dual, ipv4Address: none, ipv6Address: none}]}
    - {name: host, networkMode: host}
    - {name: sharing, networkMode: \"container:web\"}
    - {name: out, networks: [mac]}
    - {name: alone, networkMode: none}
  namespaces:
    - {name: shop, labels: {team: a}}
    - {name: empty}
",
        );
        let attachments = inventory.containers.values_mut().flat_map(|container| &mut container.attachments);
        attachments.for_each(|attachment| attachment.endpoint_id = "of an engine".into());
        inventory
    };
    let text = serde_json::to_string_pretty(&to_resource(&original)).expect("a resource is JSON");
    let (read, diagnostics) = load(&SourceFile::new("written.json", text.clone()));
    assert_eq!(diagnostics, [], "{text}");
    assert_eq!(read, comparable(&original), "{text}");
    let again = serde_json::to_string_pretty(&to_resource(&read)).expect("a resource is JSON");
    assert_eq!(again, text, "the order is stable");
}
