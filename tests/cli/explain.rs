//! The trace of `explain` in the terms of policy, and the rules that it suggests.

use serde_json::json;

use super::*;

const WORLD: [&str; 5] = ["explain", "--policies", "policies", "--inventory", "inventory.yaml"];

/// Two tiers, a policy for everybody, and one of Kubernetes.
const TIERS: &str = "\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 10, defaultAction: Pass}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: security.no-telnet}
spec:
  tier: security
  types: [Ingress]
  ingress:
    - {action: Log, protocol: TCP, destination: {ports: [23]}}
    - {action: Deny, protocol: TCP, destination: {ports: [23]}}
    - {action: Pass, source: {nets: [172.30.0.0/24]}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  selector: app == 'api'
  types: [Ingress]
  ingress:
    - {action: Allow, protocol: UDP, destination: {ports: [53]}}
    - {action: Allow, protocol: TCP, source: {notSelector: app == 'batch'}, destination: {ports: [8080, 9000:9099, http]}}
    - {action: Allow, ipVersion: 6}
    - {action: Allow, protocol: TCP, source: {nets: [203.0.113.0/25, 198.51.100.0/24]}, destination: {ports: [443]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: batch, namespace: shop}
spec:
  podSelector: {matchLabels: {app: batch}}
  ingress:
    - from:
        - podSelector: {matchLabels: {app: web}}
        - podSelector: {matchLabels: {app: api}}
          namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}
      ports: [{port: 80}]
";

/// What stands below `trace`, up to what is not of it.
fn trace(answer: &Answer) -> Vec<&str> {
    let lines = answer.stdout.lines().skip_while(|line| *line != "  trace").skip(1);
    lines.take_while(|line| line.starts_with("    ")).collect()
}

fn ask(files: &Files, from: &str, to: &str, more: &[&str]) -> Answer {
    files.run(&[&WORLD[..], &["--from", from, "--to", to], more].concat())
}

fn tiers() -> Files {
    Files::new(&[("policies/p.yaml", TIERS), ("inventory.yaml", INVENTORY)])
}

#[test]
fn every_rule_is_told_with_what_did_not_hold() {
    let answer = ask(&tiers(), "batch", "api@front", &["--port", "80", "--ip-version", "4"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(
        trace(&answer)[..13],
        [
            "    ingress of api@front",
            "      tier security",
            "        GlobalNetworkPolicy security.no-telnet (policies/p.yaml:6)",
            "          no  ingress[0] Log (policies/p.yaml:13): destination port 80 is not 23",
            "          no  ingress[1] Deny (policies/p.yaml:14): destination port 80 is not 23",
            "          yes ingress[2] Pass (policies/p.yaml:15)",
            "      tier default",
            "        NetworkPolicy shop/api (policies/p.yaml:17)",
            "          no  ingress[0] Allow (policies/p.yaml:24): protocol TCP is not UDP; destination port 80 is not 53",
            "          no  ingress[1] Allow (policies/p.yaml:25): source batch@front does not match !app == \"batch\" \
             (app is 'batch'); destination port 80 is not in 8080,9000:9099 and not named http",
            "          no  ingress[2] Allow (policies/p.yaml:26): the rule is for IPv6 only",
            "          no  ingress[3] Allow (policies/p.yaml:27): source address 172.30.0.3 is in none of \
             203.0.113.0/25, 198.51.100.0/24; destination port 80 is not 443",
            "        deny at the end of the tier",
        ],
        "{}",
        answer.stdout
    );
}

#[test]
fn a_rule_that_logs_is_told_and_does_not_decide() {
    let answer = ask(&tiers(), "web", "api@front", &["--port", "23", "--ip-version", "4"]);
    let lines = trace(&answer);
    assert_eq!(
        lines[3..],
        ["          yes ingress[0] Log (policies/p.yaml:13)", "          yes ingress[1] Deny (policies/p.yaml:14)",],
        "{}",
        answer.stdout
    );
    let expected = "  help: for policy to allow it, add to GlobalNetworkPolicy security.no-telnet, before the ingress \
                    rule at policies/p.yaml:14:\n      - action: Allow\n";
    assert!(answer.stdout.contains(expected), "{}", answer.stdout);
    assert!(answer.stdout.contains("    the policy is in force for 3 containers, and so is this rule\n"));
}

#[test]
fn of_a_rule_with_several_peers_each_is_told() {
    let answer = ask(&tiers(), "api@front", "batch", &["--port", "80", "--ip-version", "4"]);
    let batch = "          no  ingress[0] Allow (policies/p.yaml:35): source api@front does not match app == \"web\" (app \
                 is 'api'); source api@front is in a namespace that does not match kubernetes.io/metadata.name == \
                 \"other\" (kubernetes.io/metadata.name is 'shop')";
    assert!(trace(&answer).contains(&batch), "{}", answer.stdout);
    for line in [
        "  ingress  deny at batch@front: no rule matched; end of tier default after Kubernetes NetworkPolicy shop/batch (",
        "        Kubernetes NetworkPolicy shop/batch (policies/p.yaml:",
        "  help: for policy to allow it, add to Kubernetes NetworkPolicy shop/batch, after",
    ] {
        assert!(answer.stdout.contains(line), "{line}: {}", answer.stdout);
    }
    let json = ask(&tiers(), "api@front", "batch", &["--port", "80", "-o", "json"]).json();
    assert_eq!(json["paths"][0]["ingress"]["decided_by"]["kind"], "KubernetesNetworkPolicy");
}

#[test]
fn behind_a_published_port_the_container_is_what_rules_are_about() {
    let inventory = INVENTORY.replace("['8081:8080']", "['8081:8079']");
    let files = Files::new(&[("policies/p.yaml", TIERS), ("inventory.yaml", &inventory)]);
    let answer = ask(&files, "web", "api@front", &["--port", "8079", "--ip-version", "4"]);
    let answer = answer.stdout;
    let proxied = answer.split("through port 8081").nth(1).unwrap();
    for line in [
        "    ingress of api@front, about api@front behind the port\n",
        "no  ingress[0] Allow (policies/p.yaml:24): protocol TCP is not UDP; destination port 8079 is not 53\n",
        "no  ingress[1] Allow (policies/p.yaml:25): destination port 8079 is not in 8080,9000:9099 and not named http\n",
        "  help: as above\n",
    ] {
        assert!(proxied.contains(line), "{line}: {proxied}");
    }
}

/// The shop with other ports of api.
fn publishing(ports: &str) -> Files {
    let inventory = INVENTORY.replace("['8081:8080']", ports);
    Files::new(&[("policies/web.yaml", POLICY), ("inventory.yaml", &inventory)])
}

#[test]
fn a_published_port_of_this_host_is_judged_by_the_policy_of_the_container_behind_it() {
    let question = ["--port", "8081", "--ip-version", "4"];
    let answer = ask(&Files::shop(), "batch", "host", &question);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for text in [
        "deny  batch -> host, TCP port 8081, IPv4, from network front through port 8081 of this host\n",
        "  packet   172.30.0.3 -> 172.30.0.1 in INPUT\n",
        "  ingress  deny at api@back: no rule matched; end of tier default after NetworkPolicy shop/allow-web-to-api",
        "  note: port 8081 of this host leads to port 8080 of api, whose policy decides\n",
        "          no  ingress[0] Allow (policies/web.yaml:9): source batch@front does not match app == \"web\"",
        "          ports:\n          - 8080\n",
    ] {
        assert!(answer.stdout.contains(text), "{text}: {}", answer.stdout);
    }
    let json = ask(&Files::shop(), "batch", "host", &[&question[..], &["-o", "json"]].concat()).json();
    assert_eq!(
        json["paths"][0]["route"],
        json!({"kind": "through-published-port", "from": "front", "port": 8081, "container_port": 8080})
    );
    assert_eq!(ask(&Files::shop(), "web", "host", &question).code, Some(0), "web may");
    for other in [["--port", "8080"], ["--port", "8081/udp"]] {
        let answer = ask(&Files::shop(), "batch", "host", &other);
        assert!(answer.code == Some(0) && answer.stdout.contains("to this host\n"), "nobody's port: {answer:?}");
    }
}

#[test]
fn a_port_that_is_bound_to_one_address_of_this_host_is_published_there_only() {
    let files = publishing("['192.0.2.7:8081:8080']");
    let answer = ask(&files, "batch", "192.0.2.7", &["--port", "8081"]);
    assert!(answer.code == Some(1) && answer.stdout.contains("deny at api@back"), "{answer:?}");
    assert_eq!(ask(&files, "web", "192.0.2.7", &["--port", "8081"]).code, Some(0));
    let answer = ask(&files, "batch", "172.30.0.1", &["--port", "8081"]);
    assert!(answer.code == Some(0) && answer.stdout.contains("to this host\n"), "{answer:?}");
    let answer = ask(&publishing("['127.0.0.1:8081:8080']"), "batch", "host", &["--port", "8081"]);
    assert!(answer.code == Some(0) && answer.stdout.contains("to this host\n"), "{answer:?}");
}

#[test]
fn a_port_at_all_addresses_of_ipv4_is_no_port_of_this_host_itself_in_ipv6() {
    // Nor is it that of a container that has it at all addresses of IPv6.
    let inventory = INVENTORY.replace("['8081:8080']", "['0.0.0.0:8081:8080']");
    let files = |inventory: &str| Files::new(&[("policies/web.yaml", POLICY), ("inventory.yaml", inventory)]);
    let world = ["--policies", "policies", "--inventory", "inventory.yaml"];
    let table =
        files(&inventory).run(&[&["connectivity"], &world[..], &["--from", "web", "--to", "host", "--all"]].concat());
    let rows: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let of_tcp: Vec<_> = rows.iter().filter(|row| row.get(3) == Some(&"TCP")).map(|row| row[4..].join(" ")).collect();
    assert_eq!(of_tcp, ["all but 8081 direct 4,6 no policy is asked"], "{}", table.stdout);
    let two = inventory.replace(
        "    - name: camera\n",
        "    - name: zoo\n      networks: [front]\n      ports: ['[::]:8081:70']\n    - name: camera\n",
    );
    let answer = ask(&files(&two), "web", "host", &["--port", "8081"]);
    for leads in ["port 8081 of this host leads to port 8080 of api", "port 8081 of this host leads to port 70 of zoo"]
    {
        assert_eq!(answer.stdout.matches(leads).count(), 1, "{}", answer.stdout);
    }
}

#[test]
fn a_port_number_at_two_addresses_of_this_host_is_told_as_the_service_that_is_meant() {
    let inventory = INVENTORY.replace("['8081:8080']", "['192.0.2.7:8081:8080', '192.0.2.8:8081:9090']");
    let policy = POLICY.replace(
        "      source:\n        selector: app == 'web'\n",
        "      protocol: TCP\n      destination: {ports: [8080]}\n",
    );
    let files = Files::new(&[("policies/web.yaml", &policy), ("inventory.yaml", &inventory)]);
    assert_eq!(ask(&files, "batch", "192.0.2.7", &["--port", "8081"]).code, Some(0));
    let answer = ask(&files, "batch", "192.0.2.8", &["--port", "8081"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let unmet = "          no  ingress[0] Allow (policies/web.yaml:9): destination port 9090 is not 8080\n";
    assert!(answer.stdout.contains(unmet), "{}", answer.stdout);
}

#[test]
fn whoever_asks_for_a_published_port_from_outside_is_told_whose_it_is() {
    for from in ["203.0.113.9", "host"] {
        let answer = ask(&Files::shop(), from, "host", &["--port", "8081"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        let said = "error: port 8081 of this host leads to port 8080 of container api\nhelp: ask about that container: `--to \
                    api --port 8080/tcp`\n";
        assert_eq!(answer.stderr, said);
    }
    let answer = ask(&Files::shop(), "203.0.113.9", "host", &["--port", "8082"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("name a container as one of the ends"), "{answer:?}");
}

#[test]
fn what_docker_closes_is_not_open_though_policy_allows_it() {
    let inventory = INVENTORY.replace(
        "    - name: camera\n",
        "    - name: db\n      networks: [cellar]\n      ports: ['8082:5432']\n    - name: camera\n",
    );
    let inventory = inventory.replace(
        "    - name: lan\n",
        "    - name: cellar\n      internal: true\n      subnets: [172.32.0.0/24]\n    - name: lan\n",
    );
    let files = Files::new(&[("policies/web.yaml", POLICY), ("inventory.yaml", &inventory)]);
    let question = ["--port", "80"];
    for (from, to) in [("web", "db"), ("db", "203.0.113.9"), ("203.0.113.9", "db")] {
        let answer = ask(&files, from, to, &question);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stdout.starts_with(&format!("closed  {from} -> {to}, ")), "{answer:?}");
        let last = "\nclosed: policy allows it, but by no way that Docker's own rules leave open\n";
        assert!(answer.stdout.ends_with(last), "{answer:?}");
        let json = ask(&files, from, to, &[&question[..], &["-o", "json"]].concat()).json();
        assert_eq!(
            [
                &json["decision"],
                &json["closed_by_docker"],
                &json["paths"][0]["decision"],
                &json["paths"][0]["closed_by_docker"]
            ],
            [&json!("deny"), &json!(true), &json!("allow"), &json!(true)],
            "{json:#}"
        );
    }
    let answer = ask(&files, "web", "db", &["--port", "5432", "--ip-version", "4"]);
    assert_eq!(answer.code, Some(0), "by the published port: {answer:?}");
    assert!(answer.stdout.ends_with("\n1 of 2 ways open, 1 allowed by policy and closed by Docker\n"), "{answer:?}");
    let json = ask(&files, "batch", "api@front", &["--port", "80", "-o", "json"]).json();
    assert_eq!([&json["decision"], &json["closed_by_docker"]], [&json!("deny"), &json!(false)]);
}

#[test]
fn an_end_that_cannot_be_one_says_why_and_what_to_ask_instead() {
    let inventory =
        INVENTORY.replace("    - name: camera\n", "    - name: hermit\n      networks: []\n    - name: camera\n");
    let files = Files::new(&[("policies/web.yaml", POLICY), ("inventory.yaml", &inventory)]);
    for (to, said) in [
        (
            "127.0.0.1",
            "error: `127.0.0.1` is the sender's own loopback: what is sent there never leaves the sender\nhelp: for",
        ),
        (
            "0.0.0.0",
            "error: `0.0.0.0` is nobody's address: it stands for all that a machine has\nhelp: name this host as",
        ),
        (
            "ff02::1",
            "error: `ff02::1` is the address of many receivers at once, and a connection has one\nhelp: ask about",
        ),
        ("fe80::1", "error: `fe80::1` counts on a single link only, and nobody on a Docker network here is known to"),
        ("hermit", "error: container hermit is on no network\nhelp: nothing but its own loopback is in reach of it;"),
    ] {
        let answer = ask(&files, "web", to, &["--port", "80"]);
        assert!(answer.code == Some(2) && answer.stderr.starts_with(said), "{answer:?}");
    }
    assert_eq!(ask(&files, "web", "169.254.169.254", &["--port", "80"]).code, Some(0), "a cloud's metadata");
}

#[test]
fn the_rules_of_the_kernel_are_shown_on_demand() {
    let question = ["--port", "8080", "--ip-version", "4"];
    let plain = ask(&Files::shop(), "web", "api@front", &question);
    assert!(!plain.stdout.contains("DG-"), "{}", plain.stdout);
    let answer = ask(&Files::shop(), "web", "api@front", &[&question[..], &["--rules"]].concat());
    for part in [
        "  rules that matched\n    DG-FORWARD[",
        "-j RETURN  shop/allow-web-to-api ingress[0]\n",
        "  sets that were asked\n",
        " (1 member): who matches (projectcalico.org/namespace == \"shop\" && app == \"web\")\n",
        "    source is in dg-4-known (4 members): endpoints that dockgate knows, each behind its bridge\n",
    ] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
}

#[test]
fn the_json_form_has_the_trace_the_sets_and_the_suggestion() {
    let json = ask(&Files::shop(), "batch", "api@front", &["--port", "8080", "--ip-version", "4", "-o", "json"]).json();
    assert_eq!(json["live"], false);
    let path = &json["paths"][0];
    let asked = &path["ingress"]["asked"];
    let chain = asked[0]["tiers"][0]["chain"].as_str().unwrap();
    assert!(chain.starts_with("DG-in-allow-web"), "{chain}");
    assert_eq!(
        *asked,
        json!([{
            "endpoint": "api@front",
            "behind_published_port": null,
            "tiers": [{
                "tier": "default",
                "chain": chain,
                "policies": [{
                    "policy": "shop/allow-web-to-api",
                    "kind": "NetworkPolicy",
                    "file": "policies/web.yaml",
                    "line": 1,
                    "rules": [{
                        "rule": 0,
                        "action": "Allow",
                        "file": "policies/web.yaml",
                        "line": 9,
                        "column": 7,
                        "matched": false,
                        "unmet": ["source batch@front does not match app == \"web\" (app is 'batch')"],
                        "chain_rules": [0],
                        "counters": null,
                    }],
                }],
                "end": {"action": "deny", "counters": null},
            }],
        }])
    );
    let sets = path["sets"].as_array().unwrap();
    let last = sets.last().unwrap();
    assert_eq!(
        [&last["kind"], &last["stands_for"], &last["members"], &last["side"], &last["contains"]],
        [
            &json!("hash:ip"),
            &json!("who matches (projectcalico.org/namespace == \"shop\" && app == \"web\")"),
            &json!(1),
            &json!("source"),
            &json!(false)
        ],
        "{sets:#?}"
    );
    assert_eq!(
        path["suggestion"],
        json!({
            "additions": [{
                "policy": "shop/allow-web-to-api",
                "kind": "NetworkPolicy",
                "direction": "ingress",
                "place": "after",
                "file": "policies/web.yaml",
                "line": 9,
                "column": 7,
                "rule": "- action: Allow\n  protocol: TCP\n  source:\n    selector: app == 'batch'\n  destination:\n    \
                         ports:\n    - 8080",
                "containers": 1,
            }],
            "reason": null,
        })
    );
}

/// A shop in which everybody is closed on both sides: by a policy of Calico, or of Kubernetes.
fn closed(policy: &str) -> Files {
    Files::new(&[("policies/p.yaml", policy), ("inventory.yaml", INVENTORY)])
}

const CALICO: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  types: [Ingress, Egress]
  ingress:
    - {action: Deny, protocol: TCP, destination: {ports: [22]}}
  egress:
    - {action: Deny}
";
const KUBERNETES: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
    - {ports: [{port: 22}]}
  egress:
    - {ports: [{port: 22}]}
";

/// Puts the rules that are suggested where they are said to belong.
fn follow(policy: &str, suggestion: &Value) -> String {
    let mut lines: Vec<String> = policy.lines().map(str::to_owned).collect();
    let mut additions = suggestion["additions"].as_array().unwrap().clone();
    // From the end of the file, so that what stands above keeps its line.
    additions.sort_by_key(|addition| std::cmp::Reverse(addition["line"].as_u64()));
    for addition in additions {
        let line = usize::try_from(addition["line"].as_u64().unwrap()).unwrap();
        let at = if addition["place"] == "before" { line - 1 } else { line };
        let rule = addition["rule"].as_str().unwrap().lines().map(|line| format!("    {line}"));
        lines.splice(at..at, rule);
    }
    lines.join("\n") + "\n"
}

#[test]
fn what_is_suggested_for_both_sides_works_in_the_files() {
    for (policy, places) in [(CALICO, ["before", "after"]), (KUBERNETES, ["after", "after"])] {
        let question = ["--port", "8080", "--ip-version", "4", "-o", "json"];
        let files = closed(policy);
        let json = ask(&files, "web", "batch", &question).json();
        assert_eq!(json["decision"], "deny");
        let suggestion = &json["paths"][0]["suggestion"];
        let additions = suggestion["additions"].as_array().unwrap();
        let told: Vec<_> = additions.iter().map(|addition| (&addition["direction"], &addition["place"])).collect();
        let expected = [(&json!("egress"), &json!(places[0])), (&json!("ingress"), &json!(places[1]))];
        assert_eq!(told, expected, "{suggestion:#}");
        fs::write(files.path().join("policies/p.yaml"), follow(policy, suggestion)).unwrap();
        assert_eq!(ask(&files, "web", "batch", &question).json()["decision"], "allow", "{suggestion:#}");
        let other = ["--port", "8081", "--ip-version", "4", "-o", "json"];
        assert_eq!(ask(&files, "web", "batch", &other).json()["decision"], "deny", "another port stays closed");
        assert_eq!(ask(&files, "api@front", "batch", &question).json()["decision"], "deny", "and so does another peer");
        let outside = ask(&files, "web", "203.0.113.9", &question).json();
        let rule = outside["paths"][0]["suggestion"]["additions"][0]["rule"].as_str().unwrap();
        assert!(rule.contains("203.0.113.9/32"), "{rule}");
    }
}

#[test]
fn a_ping_is_suggested_where_the_kind_of_policy_can_say_it() {
    let question = ["--ping", "--ip-version", "6", "-o", "json"];
    let files = closed(CALICO);
    let json = ask(&files, "web", "batch", &question).json();
    let suggestion = &json["paths"][0]["suggestion"];
    assert!(suggestion["additions"][0]["rule"].as_str().unwrap().contains("protocol: ICMPv6"), "{suggestion:#}");
    fs::write(files.path().join("policies/p.yaml"), follow(CALICO, suggestion)).unwrap();
    assert_eq!(ask(&files, "web", "batch", &question).json()["decision"], "allow", "{suggestion:#}");

    let json = ask(&closed(KUBERNETES), "web", "batch", &question).json();
    let suggestion = &json["paths"][0]["suggestion"];
    assert_eq!(suggestion["additions"], json!([]));
    assert_eq!(
        suggestion["reason"],
        "no rule for shop/closed can say just this: Kubernetes' NetworkPolicy knows only TCP, UDP and SCTP"
    );
}

#[test]
fn what_the_gate_refuses_is_told_with_the_address_and_what_to_do() {
    for (from, to) in [("172.30.0.77", "api@front"), ("api@front", "172.30.0.77"), ("host", "172.30.0.77")] {
        let files = Files::new(&[
            ("policies/p.yaml", &POLICY.replace("- action: Deny", "- action: Allow")),
            ("inventory.yaml", INVENTORY),
        ]);
        let answer = ask(&files, from, to, &["--port", "8080"]);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        let said = "  denied by dockgate's gate: 172.30.0.77 is an address on network front that no container is known to have\n";
        assert!(answer.stdout.contains(said) && !answer.stdout.contains("gate: address"), "{answer:?}");
        assert!(
            answer.stdout.contains("  help: where policy is in force, only addresses of known containers pass"),
            "{answer:?}"
        );
        let json = ask(&files, from, to, &["--port", "8080", "-o", "json"]).json();
        let path = &json["paths"][0];
        assert!(path["fixed"].as_str().unwrap().starts_with("gate: ") && path["gate"]["help"].is_string(), "{json:#}");
        assert_eq!(path["suggestion"]["reason"], "no policy denies it, so no rule of one would allow it");
    }
}

#[test]
fn whoever_is_outside_is_told_of_a_port_that_is_not_published() {
    let note = "  note: api does not publish TCP port 9000 to the outside: whoever is there has to be routed to ";
    let answer = ask(&Files::shop(), "203.0.113.9", "api", &["--port", "9000"]);
    assert!(answer.stdout.contains(note), "{answer:?}");
    let answer = ask(&Files::shop(), "203.0.113.9", "api", &["--port", "8080"]);
    assert!(!answer.stdout.contains("note"), "{answer:?}");
    let answer = ask(&publishing("['127.0.0.1:9001:9000']"), "203.0.113.9", "api", &["--port", "9000"]);
    assert!(answer.stdout.contains(note), "the host's own loopback is not outside: {answer:?}");
    let answer = ask(&Files::shop(), "203.0.113.9", "web", &["--ping", "-o", "json"]);
    let notes = &answer.json()["paths"][0]["notes"];
    assert!(notes[0].as_str().unwrap().starts_with("a ping is not published: "), "{notes}");
}

#[test]
fn this_host_is_exempt_from_the_policy_on_its_containers() {
    let inventory =
        INVENTORY.replace("    - name: camera\n", "    - name: agent\n      networkMode: host\n    - name: camera\n");
    let files = Files::new(&[("policies/p.yaml", POLICY), ("inventory.yaml", &inventory)]);
    for from in ["host", "172.30.0.1", "127.0.0.1", "agent"] {
        let question = ["--port", "8080", "--ip-version", "4"];
        let answer = ask(&files, from, "api@front", &question);
        let text = "  ingress  not asked at api@front: this host may always reach its containers\n";
        assert!(answer.code == Some(0) && answer.stdout.contains(text), "{from}: {answer:?}");
        let json = ask(&files, from, "api@front", &[&question[..], &["-o", "json"]].concat()).json();
        assert_eq!(json["paths"][0]["ingress"]["result"], "exempt", "{from}: {json:#}");
        assert_eq!(json["paths"][0]["packet"]["source"], "172.30.0.1", "{from}: {json:#}");
    }
}

#[test]
fn what_is_suggested_names_others_by_the_labels_that_the_policies_use() {
    let inventory = INVENTORY.replace("labels: {app: batch}", "labels: {role: worker, svc: batch}");
    let inventory = inventory.replace("labels: {app: api}", "labels: {app: api, svc: api}");
    let policy = POLICY.replace("app == 'api'", "svc == 'api'").replace("app == 'web'", "svc in {'web', 'cron'}");
    let question = ["--port", "8080", "--ip-version", "4", "-o", "json"];
    for (policy, expected) in [(policy, "selector: svc == 'batch'"), (POLICY.to_owned(), "selector: role == 'worker'")]
    {
        let files = Files::new(&[("policies/p.yaml", &policy), ("inventory.yaml", &inventory)]);
        let json = ask(&files, "batch", "api@front", &question).json();
        let rule = json["paths"][0]["suggestion"]["additions"][0]["rule"].as_str().unwrap();
        assert!(rule.contains(expected), "{expected}: {rule}");
    }
}

#[test]
fn a_name_that_others_have_too_is_not_suggested() {
    // One in another namespace, and one in the same.
    let worker = "    - name: other\n      labels: {role: worker, app: worker}\n      networks: [front]\n    - name: second\n      \
                  namespace: shop\n      labels: {role: worker}\n      networks: [front]\n    - name: camera\n";
    let inventory = INVENTORY.replace("labels: {app: batch}", "labels: {role: worker, app: batch}");
    let inventory = inventory.replace("    - name: camera\n", worker);
    let files = Files::new(&[("policies/p.yaml", POLICY), ("inventory.yaml", &inventory)]);
    let json = ask(&files, "batch", "api@front", &["--port", "8080", "--ip-version", "4", "-o", "json"]).json();
    let rule = json["paths"][0]["suggestion"]["additions"][0]["rule"].as_str().unwrap();
    assert!(rule.contains("selector: app == 'batch'"), "role is another service's, too: {rule}");
    let json = ask(&files, "other", "api@front", &["--port", "8080", "--ip-version", "4", "-o", "json"]).json();
    let rule = json["paths"][0]["suggestion"]["additions"][0]["rule"].as_str().unwrap();
    let named = "    selector: app == 'worker'\n    namespaceSelector: projectcalico.org/name == 'default'\n";
    assert!(rule.contains(named), "a container of another namespace is named with it: {rule}");
}

#[test]
fn counters_need_a_kernel_that_may_be_read() {
    let arguments = [&WORLD[..], &["--from", "web", "--to", "api@front", "--port", "8080", "--live"]].concat();
    let files = Files::shop();
    // Without commands, root reads no kernel either.
    let output = command(&arguments).current_dir(files.path()).env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.contains("policy cannot be enforced on this machine"), "{said}");
}
