//! `get` and `explain`, on an Inventory file.

use serde_json::json;

use super::*;

const WORLD: [&str; 4] = ["--policies", "policies", "--inventory", "inventory.yaml"];

fn get(resource: &str, more: &[&str]) -> Answer {
    let world: &[&str] = if matches!(resource, "endpoints" | "policies") { &WORLD } else { &WORLD[2..] };
    Files::shop().run(&[&["get", resource], world, more].concat())
}

fn explain(arguments: &[&str]) -> Answer {
    Files::shop().run(&[&["explain"], &WORLD[..], arguments].concat())
}

#[test]
fn endpoints_are_listed_with_the_policies_that_govern_them() {
    let expected = "\
CONTAINER   NETWORK   NAMESPACE   IPV4         IPV6        ENFORCED   INGRESS                 EGRESS
api         back      shop        172.31.0.2   -           yes        shop/allow-web-to-api   shop/allow-web-to-api
api         front     shop        172.30.0.2   fd00:30::2   yes        shop/allow-web-to-api   shop/allow-web-to-api
batch       front     shop        172.30.0.3   fd00:30::3   yes        open                    open
camera      lan       default     192.0.2.2    -            no         open                    open
web         front     shop        172.30.0.4   fd00:30::4   yes        open                    open
";
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    assert_eq!(words(&get("endpoints", &[]).stdout), words(expected));
}

#[test]
fn endpoints_as_json_have_the_documented_fields() {
    let list = get("endpoints", &["-o", "json", "--selector", "app == 'api' && dockgate.io/network == 'front'"]).json();
    let [api] = list.as_array().unwrap().as_slice() else { panic!("{list:#}") };
    assert_eq!(api["labels"]["app"], "api");
    assert_eq!(api["labels"]["projectcalico.org/namespace"], "shop");
    let mut api = api.clone();
    api.as_object_mut().unwrap().remove("labels");
    assert_eq!(
        api,
        json!({
            "container": "api",
            "network": "front",
            "namespace": "shop",
            "ipv4": "172.30.0.2",
            "ipv6": "fd00:30::2",
            "enforced": true,
            "ingressPolicies": ["shop/allow-web-to-api"],
            "egressPolicies": ["shop/allow-web-to-api"],
        })
    );
    let camera = get("endpoints", &["-o", "json", "-l", "dockgate.io/container == 'camera'"]).json();
    assert_eq!(camera[0]["enforced"], false);
    assert!(camera[0]["reason"].as_str().unwrap().contains("macvlan"), "{camera:#}");
    assert_eq!(camera[0]["ingressPolicies"], json!([]));
}

#[test]
fn without_policies_it_is_not_known_what_governs_an_endpoint() {
    let list = Files::shop().run(&["get", "endpoint", "--inventory", "inventory.yaml", "-o", "json"]).json();
    assert_eq!((&list[0]["ingressPolicies"], &list[0]["egressPolicies"]), (&Value::Null, &Value::Null));
}

#[test]
fn policies_and_networks_are_listed() {
    let policies = get("policies", &["-o", "json"]).json();
    assert_eq!(
        policies,
        json!([{
            "kind": "NetworkPolicy",
            "namespace": "shop",
            "name": "allow-web-to-api",
            "tier": "default",
            "order": null,
            "types": ["ingress", "egress"],
            "staged": false,
            "selector": "(app == \"api\" && projectcalico.org/namespace == \"shop\")",
            "endpoints": ["api@back", "api@front"],
            "file": "policies/web.yaml",
            "line": 1,
        }])
    );
    let networks = get("network", &["-o", "json"]).json();
    let names: Vec<_> = networks.as_array().unwrap().iter().map(|network| network["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["back", "front", "lan"]);
    assert_eq!((&networks[1]["endpoints"], &networks[1]["enforced"]), (&json!(3), &json!(true)));
    assert_eq!(networks[2]["enforced"], false);
}

#[test]
fn an_inventory_that_was_written_is_read_again() {
    let files = Files::shop();
    let written = files.run(&["get", "inventory", "--inventory", "inventory.yaml", "-o", "yaml"]);
    assert_eq!(written.code, Some(0), "{written:?}");
    fs::write(files.path().join("again.yaml"), &written.stdout).unwrap();
    let list = |file| files.run(&["get", "endpoints", "--inventory", file, "-o", "json"]).json();
    assert_eq!(list("again.yaml"), list("inventory.yaml"));
    assert_eq!(files.run(&["get", "inventory", "--inventory", "again.yaml", "-o", "yaml"]).stdout, written.stdout);
    let document = files.run(&["get", "inventory", "--inventory", "inventory.yaml", "-o", "json"]).json();
    assert_eq!(document["kind"], "Inventory");
}

#[test]
fn an_allowed_connection_names_the_rule_that_allows_it() {
    let answer = explain(&["--from", "web", "--to", "api", "--port", "8080/tcp", "--ip-version", "4"]);
    let head: Vec<&str> = answer.stdout.lines().take(4).collect();
    assert_eq!(
        head,
        [
            "allow  web -> api, TCP port 8080, IPv4, on network front",
            "  packet   172.30.0.4 -> 172.30.0.2 in FORWARD",
            "  egress   open at web@front: no policy governs it",
            "  ingress  allow at api@front: NetworkPolicy shop/allow-web-to-api ingress[0] (policies/web.yaml:9:7)",
        ],
        "{}",
        answer.stdout
    );
    assert_eq!(answer.code, Some(0));
}

#[test]
fn a_denied_connection_names_the_policy_that_closes() {
    let answer = explain(&["--from", "batch", "--to", "api@front", "--port", "8080/tcp", "--ip-version", "6"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stdout.starts_with("deny  batch -> api@front, TCP port 8080, IPv6, on network front\n"),
        "{answer:?}"
    );
    let reason = "  ingress  deny at api@front: no rule matched; end of tier default after NetworkPolicy \
                  shop/allow-web-to-api (policies/web.yaml:1:1)\n";
    assert!(answer.stdout.contains(reason), "{}", answer.stdout);

    let answer = explain(&["--from", "api@front", "--to", "web", "--port", "80", "--ip-version", "4"]);
    let reason =
        "  egress   deny at api@front: NetworkPolicy shop/allow-web-to-api egress[0] (policies/web.yaml:13:7)\n";
    assert!(answer.stdout.contains(reason), "{}", answer.stdout);
    assert!(answer.stdout.contains("  ingress  open at web@front: no policy governs it\n"), "{}", answer.stdout);
}

#[test]
fn the_json_form_of_an_explanation_has_every_way() {
    let json = explain(&["--from", "web", "--to", "api", "--port", "8080/tcp", "-o", "json"]).json();
    assert_eq!((&json["decision"], &json["port"]), (&json!("allow"), &json!(8080)));
    let paths = json["paths"].as_array().unwrap();
    let ways: Vec<_> = paths
        .iter()
        .map(|path| [&path["ip_version"], &path["route"]["kind"], &path["decision"]].map(|v| v.as_str().unwrap()))
        .collect();
    assert_eq!(
        ways,
        [
            ["4", "same-network", "allow"],
            ["4", "through-published-port", "allow"],
            ["6", "same-network", "allow"],
            ["6", "through-published-port", "allow"],
        ]
    );
    let rule = &paths[0]["ingress"]["decided_by"];
    assert_eq!(
        *rule,
        json!({
            "policy": "shop/allow-web-to-api",
            "kind": "NetworkPolicy",
            "tier": "default",
            "rule": 0,
            "direction": "ingress",
            "file": "policies/web.yaml",
            "line": 9,
            "column": 7,
        })
    );
    assert_eq!(
        paths[0]["egress"],
        json!({"endpoint": "web@front", "result": "open", "policies": [], "decided_by": null, "asked": []})
    );
    assert!(paths[0]["trace"].as_array().unwrap().iter().any(|hit| hit["origin"] == *rule), "{json:#}");
}

#[test]
fn a_way_through_a_published_port_is_one_to_the_container_behind_it() {
    let policy = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web}
spec:
  selector: app == 'web'
  types: [Egress]
  egress: [{action: Deny, destination: {selector: app == 'api'}}, {action: Allow}]
";
    let files = Files::new(&[("policies/web.yaml", policy), ("inventory.yaml", INVENTORY)]);
    let question = ["--from", "web", "--to", "api", "--port", "8080", "-o", "json"];
    let json = files.run(&[&["explain"], &WORLD[..], &question].concat()).json();
    assert_eq!(json["decision"], "deny", "{json:#}");
    for path in json["paths"].as_array().unwrap() {
        assert_eq!(path["egress"]["result"], "deny", "{json:#}");
        assert_eq!(path["egress"]["decided_by"]["rule"], 0, "{json:#}");
    }
    let elsewhere = question.map(|word| if word == "web" { "batch" } else { word });
    let json = files.run(&[&["explain"], &WORLD[..], &elsewhere].concat()).json();
    assert_eq!(json["decision"], "allow", "{json:#}");
}

#[test]
fn an_address_that_nobody_has_is_stopped_by_the_gate() {
    let json = explain(&["--from", "172.30.0.77", "--to", "api", "--port", "8080", "-o", "json"]).json();
    assert_eq!(json["decision"], "deny");
    assert!(json["paths"][0]["fixed"].as_str().unwrap().starts_with("gate: "), "{json:#}");
}
