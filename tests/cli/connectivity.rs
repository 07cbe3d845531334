//! `connectivity` in all its forms, over the example of the documents and the owner's world.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Answer, Files, command};

/// Runs the command in the root of the repository, where paths are those of the documents.
fn shop(arguments: &[&str]) -> Answer {
    let world = ["connectivity", "--policies", "examples/shop", "--compose", "examples/shop/compose.yaml"];
    let output =
        command(&[&world, arguments].concat()).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn owner(arguments: &[&str]) -> Answer {
    Files::shop()
        .run(&[&["connectivity", "--policies", "policies", "--inventory", "inventory.yaml"], arguments].concat())
}

/// The lines of a table without its layout: cells are apart by three blanks or more.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

const API: &str = "NetworkPolicy shop/api egress[0] (examples/shop/api.yaml:20:7); NetworkPolicy shop/db ingress[0] \
                   (examples/shop/db.yaml:13:7)";
const WEB: &str = "NetworkPolicy shop/web egress[0] (examples/shop/web.yaml:19:7); NetworkPolicy shop/api ingress[0] \
                   (examples/shop/api.yaml:13:7)";
const ANYONE: &str = "NetworkPolicy shop/web ingress[0] (examples/shop/web.yaml:14:7)";

#[test]
fn the_table_has_who_may_reach_whom_and_by_which_rules() {
    let answer = shop(&[]);
    let expected = [
        vec!["FROM", "TO", "PROTOCOL", "PORTS", "VIA", "IP", "RULES"],
        vec!["shop-api", "shop-db", "TCP", "5432", "direct", "4", API],
        vec!["shop-web", "shop-api", "TCP", "8080", "direct", "4", WEB],
        vec!["host", "shop-api", "any", "all", "direct", "4", "no policy is asked"],
        vec!["host", "shop-db", "any", "all", "direct", "4", "no policy is asked"],
        vec!["host", "shop-web", "any", "all", "direct", "4", "no policy is asked"],
        vec!["outside", "shop-web", "TCP", "80", "published 8080", "4", ANYONE],
        vec!["outside", "shop-web", "TCP", "80", "proxy 8080", "6", ANYONE],
    ];
    assert_eq!((cells(&answer.stdout), answer.code), (expected.to_vec(), Some(0)), "{answer:?}");
}

#[test]
fn what_is_denied_is_listed_when_it_is_asked_for() {
    let answer = shop(&["--all", "--from", "shop-api", "--to", "app == 'db'"]);
    let end = "no rule matched; end of tier default after NetworkPolicy shop/default-deny \
               (examples/shop/default-deny.yaml:5:1)";
    let expected = [
        vec!["FROM", "TO", "DECISION", "PROTOCOL", "PORTS", "VIA", "IP", "RULES"],
        vec!["shop-api", "shop-db", "allow", "TCP", "5432", "direct", "4", API],
        vec!["shop-api", "shop-db", "deny", "TCP", "all but 5432", "direct", "4", end],
        vec!["shop-api", "shop-db", "deny", "UDP,SCTP,ping", "all", "direct", "4", end],
    ];
    assert_eq!((cells(&answer.stdout), answer.code), (expected.to_vec(), Some(0)), "{answer:?}");
    let nothing = shop(&["--from", "shop-db"]);
    assert_eq!((nothing.stdout.as_str(), nothing.code), ("no connection is allowed\n", Some(0)));
}

#[test]
fn json_has_the_documented_fields() {
    let answer = shop(&["-o", "json", "--from", "outside", "--port", "80"]).json();
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["connections", "out_of_reach", "parties"]);
    let rule = json!({
        "policy": "shop/web", "kind": "NetworkPolicy", "tier": "default", "rule": 0, "direction": "ingress",
        "file": "examples/shop/web.yaml", "line": 14, "column": 7,
    });
    let connection = |via: &str, family: u8| {
        json!({
            "from": "outside", "to": "shop-web", "decision": "allow", "pairs": "all", "protocol": "TCP", "ports": ["80"],
            "via": via, "host_port": 8080, "ip_versions": [family.to_string()], "rules": [rule],
        })
    };
    assert_eq!(answer["connections"], json!([connection("published", 4), connection("proxy", 6)]));
    let web = answer["parties"].as_array().unwrap().iter().find(|party| party["name"] == "shop-web").unwrap();
    assert_eq!(
        *web,
        json!({
            "name": "shop-web", "kind": "containers", "namespace": "shop", "containers": ["shop-web-1"],
            "networks": ["shop_front"], "nets": [],
        })
    );
    let pings = shop(&["-o", "json", "--from", "host", "--to", "shop-db"]).json();
    let ping = pings["connections"].as_array().unwrap().last().cloned().unwrap();
    assert_eq!((&ping["protocol"], &ping["ports"], &ping["via"]), (&json!("ping"), &Value::Null, &json!("direct")));
}

#[test]
fn csv_is_as_the_rfc_says() {
    let answer = shop(&["-o", "csv", "--to", "shop-db", "--all"]);
    let lines: Vec<&str> = answer.stdout.split("\r\n").collect();
    assert_eq!(lines[0], "from,to,decision,protocol,ports,via,host_port,ip_versions,rules,pairs");
    assert_eq!(lines[1], format!("shop-api,shop-db,allow,TCP,5432,direct,,4,\"{API}\",all"));
    assert!(lines[2].starts_with("shop-api,shop-db,deny,TCP,\"1:5431,5433:65535\",direct,,4,"), "{}", lines[2]);
    assert!(lines.contains(&"host,shop-db,allow,ping,,direct,,4,,all"), "{lines:#?}");
    assert_eq!(answer.stdout.matches('\n').count(), lines.len() - 1, "no line ends in LF alone");
}

#[test]
fn markdown_is_a_table_in_which_names_are_names() {
    let answer = shop(&["-o", "md", "--to", "shop-web", "--port", "80/tcp", "--from", "outside"]);
    let expected = "\
| from | to | protocol | ports | via | IP | rules |
|---|---|---|---|---|---|---|
| outside | shop-web | TCP | 80 | published 8080 | 4 | NetworkPolicy shop/web ingress\\[0\\] (examples/shop/web.yaml:14:7) |
| outside | shop-web | TCP | 80 | proxy 8080 | 6 | NetworkPolicy shop/web ingress\\[0\\] (examples/shop/web.yaml:14:7) |
";
    assert_eq!(answer.stdout, expected);
}

#[test]
fn dot_has_a_node_for_each_party_and_an_edge_for_each_pair() {
    let answer = shop(&["-o", "dot"]).stdout;
    assert!(answer.starts_with("digraph connectivity {\n") && answer.ends_with("}\n"), "{answer}");
    assert!(answer.contains("  p2 [label=\"shop-web\", tooltip=\"namespace shop; shop-web-1; on shop_front\"];\n"));
    assert!(answer.contains("  p4 -> p2 [label=\"TCP 80 via published 8080\\nTCP 80 via proxy 8080\","), "{answer}");
    assert_eq!(answer.matches(" -> ").count(), 6, "{answer}");
}

#[test]
fn what_policy_cannot_reach_is_told_in_every_form() {
    for form in ["table", "json", "csv", "md", "dot", "svg", "html"] {
        let answer = owner(&["-o", form]);
        assert_eq!(answer.code, Some(0), "{form}: {answer:?}");
        let told = if form == "csv" { &answer.stderr } else { &answer.stdout };
        assert!(told.contains("camera") && told.contains("macvlan"), "{form}: {answer:?}");
    }
    let elsewhere = owner(&["--network", "front"]);
    assert!(!elsewhere.stdout.contains("camera"), "{elsewhere:?}");
}

#[test]
fn parties_are_chosen_by_name_selector_address_and_network() {
    let to = |arguments: &[&str]| -> BTreeSet<String> {
        let answer = owner(&[arguments, &["-o", "json", "--port", "8080/tcp"]].concat()).json();
        let connections = answer["connections"].as_array().unwrap().clone();
        connections
            .iter()
            .map(|one| format!("{}>{}", one["from"].as_str().unwrap(), one["to"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(
        to(&["--to", "api", "--network", "front", "--from", "app in {'web','batch'}"]),
        BTreeSet::from(["web>api".to_owned()])
    );
    assert_eq!(
        to(&["--to", "172.30.0.4", "--from", "batch", "--from", "api"]),
        BTreeSet::from(["batch>web".to_owned()])
    );
    assert_eq!(to(&["--to", "203.0.113.9", "--from", "fd00:30::3"]), BTreeSet::from(["batch>outside".to_owned()]));
    assert_eq!(to(&["--network", "back", "--from", "host"]), BTreeSet::from(["host>api".to_owned()]));
}

#[test]
fn a_question_about_nobody_has_no_answer() {
    for (arguments, message, help) in [
        (
            ["--from", "wbe"],
            "nobody whom policy can reach is called `wbe`",
            "name one of api, batch, web, host, outside",
        ),
        (["--to", "10.9.9.9"], "", ""),
        (["--to", "172.30.0.99"], "nobody whom policy can reach is at `172.30.0.99`", "name one of"),
        (["--to", "app == 'none'"], "no container that policy can reach matches `app == 'none'`", "get endpoints"),
        (["--network", "frnt"], "there is no network frnt", "the networks are back, front, lan"),
    ] {
        let answer = owner(&arguments);
        let code = if message.is_empty() { 0 } else { 2 };
        assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
        assert!(answer.stderr.contains(message) && answer.stderr.contains(help), "{arguments:?}: {answer:?}");
    }
}

#[test]
fn replicas_are_one_row_unless_every_container_is_asked_for() {
    let replicas = "\
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: shop}
spec:
  networks:
    - {name: front, subnets: [172.30.0.0/24]}
  containers:
    - {name: api, namespace: shop, labels: {app: api}, networks: [front]}
    - {name: web-1, namespace: shop, labels: {app: web}, networks: [front]}
    - {name: web-2, namespace: shop, labels: {app: web}, networks: [front]}
";
    let files = Files::new(&[("policies/web.yaml", super::POLICY), ("inventory.yaml", replicas)]);
    let names = |by: &str| -> Vec<String> {
        let world =
            ["connectivity", "--policies", "policies", "--inventory", "inventory.yaml", "-o", "json", "--by", by];
        let parties = files.run(&world).json()["parties"].as_array().unwrap().clone();
        parties.iter().map(|party| party["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("service"), ["api", "web", "host", "outside"]);
    assert_eq!(names("container"), ["api", "web-1", "web-2", "host", "outside"]);
}

/// Two networks, `gate` on both; only it may reach the database by TCP.
const NETWORKS: &str = "\
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: shop}
spec:
  networks:
    - {name: back, subnets: [172.30.1.0/24]}
    - {name: front, subnets: [172.30.0.0/24]}
  containers:
    - {name: db, labels: {app: db}, networks: [back]}
    - {name: gate, labels: {app: gate}, networks: [front, back], ports: ['8443:443']}
    - {name: web, labels: {app: web}, networks: [front]}
    - {name: jobs, labels: {app: jobs}, networks: [back]}
";

const DATABASE: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db}
spec:
  selector: app == 'db'
  ingress:
    - {action: Allow, protocol: TCP, source: {selector: app == 'gate'}, destination: {ports: [5432]}}
    - {action: Allow, protocol: UDP, destination: {ports: [53]}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: gate-and-jobs}
spec:
  selector: app in {'gate', 'jobs'}
  ingress:
    - {action: Allow, protocol: UDP, destination: {ports: [53]}}
    - {action: Allow, protocol: TCP, destination: {ports: [443]}}
";

#[test]
fn networks_say_what_all_of_their_containers_may_and_what_some() {
    let files = Files::new(&[("policies.yaml", DATABASE), ("inventory.yaml", NETWORKS)]);
    let by_network = |more: &[&str]| {
        let world = ["connectivity", "--policies", "policies.yaml", "--inventory", "inventory.yaml", "--by", "network"];
        files.run(&[&world, more].concat())
    };
    let answer = by_network(&["-o", "json", "--all"]).json();
    let parties: Vec<String> =
        answer["parties"].as_array().unwrap().iter().map(|party| party["name"].to_string()).collect();
    assert_eq!(parties, ["\"back\"", "\"front\"", "\"host\"", "\"outside\""]);
    assert_eq!(answer["parties"][0]["kind"], "network");
    assert_eq!(answer["parties"][0]["containers"], json!(["db", "gate", "jobs"]));
    let told = |from: &str, to: &str| -> Vec<String> {
        let connections = answer["connections"].as_array().unwrap().iter();
        let of_two = connections.filter(|one| one["from"] == from && one["to"] == to);
        let words = ["decision", "pairs", "protocol", "ports", "via"];
        of_two.map(|one| words.map(|word| one[word].to_string()).join(" ").replace('"', "")).collect()
    };
    assert_eq!(
        told("back", "back"),
        [
            // To the database and to the other two.
            "allow some TCP [443,5432] direct",
            "deny all TCP [1:442,444:5431,5433:65535] direct",
            "allow some TCP [443] proxy",
            "allow all UDP [53] direct",
            "deny all UDP [1:52,54:65535] direct",
            "deny all SCTP [1:65535] direct",
            "deny all ping null direct",
        ]
        .map(ToOwned::to_owned),
        "{answer:#}"
    );
    // The database has no port of this host, and `gate` none to itself.
    assert_eq!(told("front", "back"), ["allow some TCP [443] proxy"]);
    assert_eq!(told("back", "front"), ["allow some TCP [443] proxy"]);
    assert_eq!(told("outside", "front"), ["allow some TCP [443] published", "allow some TCP [443] proxy"]);
    assert_eq!(told("host", "back")[0], "allow all TCP [1:65535] direct");

    for (form, expected) in [
        ("csv", ",some\r\n"),
        ("md", "| back | back | some | TCP | 443,5432 | direct | 4 |"),
        ("dot", "label=\"some: TCP 443,5432\\nsome: TCP 443 via proxy 8443\\nUDP 53\""),
        ("svg", "some: TCP 443,5432</text>"),
        ("html", "\"pairs\":\"some\""),
    ] {
        let answer = by_network(&["-o", form]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{form}: {answer:?}");
        assert!(answer.stdout.contains(expected), "{form}: {}", answer.stdout);
    }
    let table = by_network(&[]);
    let row = ["back", "back", "some", "TCP", "443,5432", "direct", "4"];
    assert!(cells(&table.stdout).iter().any(|cells| cells.starts_with(&row)), "{table:?}");
    let one = by_network(&["-o", "json", "--network", "front"]).json();
    let left: Vec<&Value> = one["parties"].as_array().unwrap().iter().map(|party| &party["name"]).collect();
    assert_eq!(left, ["front", "host", "outside"]);
    // A container stands for its networks.
    let of_gate = by_network(&["--from", "gate", "--to", "db"]);
    assert_eq!(of_gate.stdout.matches("direct").count(), 2, "{of_gate:?}");
}

#[test]
fn a_file_gets_the_answer_and_the_terminal_a_summary() {
    let files = Files::shop();
    let world = ["connectivity", "--policies", "policies", "--inventory", "inventory.yaml"];
    for form in ["table", "html"] {
        let answer = files.run(&[&world[..], &["-o", form, "--output", "answer", "--color", "always"]].concat());
        assert!(answer.stdout.starts_with("13 connections allowed between 5 parties\n"), "{answer:?}");
        let written = fs::read_to_string(files.path().join("answer")).unwrap();
        let printed = files.run(&[&world[..], &["-o", form]].concat()).stdout;
        assert_eq!(written, printed, "{form}");
    }
    let nowhere = files.run(&[&world[..], &["--output", "no/such/directory/answer"]].concat());
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    assert!(!Path::new("answer").exists());
}

#[test]
fn pages_and_pictures_need_nothing_from_elsewhere() {
    for form in ["html", "svg"] {
        let text = shop(&["-o", form]).stdout.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "//cdn", "@import", "url("] {
            assert!(!text.contains(outside), "{form} has {outside}");
        }
    }
}
