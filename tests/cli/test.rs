//! `test`: what policies are expected to do, in every form, and what is told when they do not.

use super::*;

/// What holds in the shop, in every form that there is.
const TESTS: &str = "\
apiVersion: dockgate.io/v1alpha1
kind: PolicyTest
metadata: {name: shop}
spec:
  world: {inventory: inventory.yaml}
  policies: [policies]
  groups: {webs: app == 'web'}
  cases:
    - {name: web asks api, from: web, to: api, port: 8080, expect: Allow, by: 'shop/allow-web-to-api ingress[0]'}
    - {from: {selector: app == 'batch'}, to: api@front, port: 8080, expect: Deny, by: shop/allow-web-to-api}
    - {from: api, to: host, protocol: ICMP, expect: Deny, by: shop/allow-web-to-api egress}
    - {from: host, to: api, port: 1, expect: Allow}
    - {from: 203.0.113.9, to: api, port: 8080, via: published, ipVersion: 4, expect: Deny}
    - {from: web, to: api, port: 8080, via: direct, ipVersion: 6, expect: Allow}
    - {from: batch, to: api, port: 8080, via: proxy, expect: Deny}
  matrix:
    port: 8080/tcp
    table: |
      from/to web api batch
      webs     -  yes    .
      batch   yes no     -
  invariants:
    - name: only web reaches api
      from: {selector: app != 'web' && has(app)}
      to: api
      expect: Deny
    - {from: batch, to: web, expect: Allow, protocol: TCP, ports: ['1:65535'], via: direct}
    - {from: outside, to: api, expect: Deny}
";

pub(super) fn shop_with(tests: &str) -> Files {
    let files = Files::shop();
    fs::write(files.path().join("tests.yaml"), tests).unwrap();
    files
}

/// A test of the shop with these lines in its spec.
pub(super) fn spec(lines: &str) -> String {
    let head = "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {}\nspec:\n";
    format!("{head}  world: {{inventory: inventory.yaml}}\n  policies: [policies]\n{lines}")
}

pub(super) fn one_case(case: &str) -> String {
    spec(&format!("  cases:\n    - {case}\n"))
}

#[test]
fn every_form_of_expectation_can_be_met() {
    let answer = shop_with(TESTS).run(&["test", "tests.yaml"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer:?}");
    assert!(answer.stdout.contains("ok    web asks api\n"), "{answer:?}");
    assert!(answer.stdout.contains("ok    webs -> api, TCP 8080\n"), "{answer:?}");
    assert!(answer.stdout.ends_with("13 passed\n"), "{answer:?}");
    // Among policies and other files it is found as well.
    assert_eq!(shop_with(TESTS).run(&["test", "."]).stdout, answer.stdout);
}

#[test]
fn a_matrix_is_about_several_ports_and_there_are_several() {
    let matrices = "  matrix:
    - ports: [80/tcp, 53/UDP]
      table: |
        from/to api
        web     yes
        batch   no
    - port: ping
      ipVersion: 6
      table: |
        from/to api
        web     no
";
    let answer = shop_with(&spec(matrices)).run(&["test", "tests.yaml"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for line in [
        "ok    web -> api, TCP 80\n",
        "ok    web -> api, UDP 53\n",
        "ok    batch -> api, TCP 80\n",
        "ok    batch -> api, UDP 53\n",
        "FAIL  web -> api, ping (tests.yaml:17:9)\n",
        "1 failed, 4 passed\n",
    ] {
        assert!(answer.stdout.contains(line), "{line}{}", answer.stdout);
    }
}

#[test]
fn what_is_not_as_expected_is_told_with_its_place_and_its_trace() {
    let wrong = TESTS.replace("batch   yes no ", "batch   yes yes");
    let answer = shop_with(&wrong).run(&["test", "tests.yaml"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for part in [
        "FAIL  batch -> api, TCP 8080 (tests.yaml:21:7)\n",
        "expected Allow: batch -> api is closed for TCP 8080 on network front in IPv4: by the end of tier default after \
         shop/allow-web-to-api, ingress (policies/web.yaml:1:1)",
        "        deny  batch -> api, TCP port 8080, IPv4, on network front\n",
        "1 failed, 12 passed\n",
    ] {
        assert!(answer.stdout.contains(part), "{part}\n{}", answer.stdout);
    }
    assert!(!answer.stdout.contains('\u{1b}'), "{answer:?}");
}

#[test]
fn every_wrong_expectation_is_told_by_its_reason() {
    for (case, reason) in [
        (
            "{from: web, to: api, port: 80, expect: Deny}",
            "web -> api is open for TCP 80 on network front in IPv4: by shop/",
        ),
        (
            "{from: web, to: api, port: 80, expect: Allow, by: 'shop/allow-web-to-api egress[0]'}",
            "is decided by shop/allow-web-to-api ingress[0]",
        ),
        (
            "{from: web, to: api, port: 80, expect: Allow, by: shop/allow-web-to-apy}",
            "did you mean `shop/allow-web-to-api`?",
        ),
        ("{from: web, to: api, port: 80, expect: Allow, by: 'shop/allow-web-to-api ingress[1]'}", "there is no rule"),
        ("{from: wep, to: api, port: 80, expect: Deny}", "did you mean `web`?"),
        ("{from: batc, to: api, port: 80, expect: Deny}", "did you mean `batch`?"),
        (
            "{from: {selector: app == 'none'}, to: api, port: 80, expect: Deny}",
            "asks about nothing: no endpoint matches",
        ),
        (
            "{from: web, to: 172.30.0.77, port: 80, expect: Deny}",
            "no container has 172.30.0.77, which is of network front",
        ),
        (
            "{from: 172.30.0.77, to: web, port: 80, expect: Deny}",
            "no container has 172.30.0.77, which is of network front",
        ),
        ("{from: web, to: web, port: 80, expect: Deny}", "asks about nothing: both ends are the container web"),
        (
            "{from: batch, to: web, port: 80, via: proxy, expect: Deny}",
            "asks about nothing: no way goes through `docker-proxy`",
        ),
        ("{from: web, to: camera, port: 80, expect: Deny}", "policy cannot reach camera@lan"),
        ("{from: 203.0.113.9, to: batch, port: 80, expect: Allow}", "policy allows it, but the port is not published"),
        ("{from: web, to: host, port: 8081, expect: Allow}", "another container has this port"),
    ] {
        let answer = shop_with(&one_case(case)).run(&["test", "tests.yaml"]);
        assert_eq!(answer.code, Some(1), "{case}: {answer:?}");
        assert!(answer.stdout.contains(reason), "{case}: {}", answer.stdout);
    }
    let noted =
        shop_with(&one_case("{from: 203.0.113.9, to: batch, port: 80, expect: Deny}")).run(&["test", "tests.yaml"]);
    assert_eq!(noted.code, Some(0), "{noted:?}");
    assert!(
        noted.stdout.contains("note: no policy denies 203.0.113.9 -> batch: the port is not published"),
        "{noted:?}"
    );
}

#[test]
fn an_invariant_names_pair_ports_and_rule() {
    let invariant =
        |text: &str| shop_with(&spec(&format!("  invariants:\n    - {text}\n"))).run(&["test", "tests.yaml"]);
    let broken =
        invariant("{from: {selector: has(app)}, to: api, ports: [22, '8000:8099'], protocol: TCP, expect: Deny}");
    assert_eq!(broken.code, Some(1), "{broken:?}");
    let told = "web -> api is open for TCP 22,8000:8099 directly in IPv4: by shop/allow-web-to-api ingress[0] (policies/web.yaml:9:7)";
    assert!(broken.stdout.contains(told), "{}", broken.stdout);
    assert!(broken.stdout.contains("        allow  web -> api, TCP port 22"), "{}", broken.stdout);
    let closed = invariant("{from: batch, to: api, protocol: UDP, expect: Allow}");
    assert!(
        closed.stdout.contains("batch -> api is closed for every UDP port: by the end of tier default"),
        "{closed:?}"
    );
    let unreached = invariant("{from: {selector: all()}, to: api, expect: Deny}");
    assert!(unreached.stdout.contains("cannot be judged: policy cannot reach camera@lan"), "{unreached:?}");
    let excepted = invariant("{from: {selector: all()}, to: api, expect: Deny, except: [{from: camera}, {from: web}]}");
    assert_eq!(excepted.code, Some(0), "{excepted:?}");
    let nothing = invariant("{from: {selector: app == 'none'}, to: api, expect: Deny}");
    assert!(nothing.stdout.contains("asks about nothing"), "{nothing:?}");
}

#[test]
fn an_exception_that_is_idle_is_told_in_every_form() {
    let invariant = |except: &str| {
        let line =
            format!("{{from: {{selector: has(app)}}, to: api, expect: Deny, except: [{{from: web}}, {except}]}}");
        shop_with(&spec(&format!("  invariants:\n    - {line}\n")))
    };
    for (except, told) in [
        ("{from: batsh}", "fits nothing that is asked about: `batsh` is no container here"),
        ("{from: {selector: app == 'gone'}}", "fits nothing that is asked about: `app == 'gone'` asks about nothing"),
        ("{from: web, to: batch}", "fits nothing that is asked about"),
        ("{from: camera}", "fits nothing that is asked about"),
        ("{from: batch, protocol: TCP}", "is not needed: nothing that it leaves out is open"),
        ("{from: batch, protocol: UDP, ports: [53]}", "is not needed: nothing that it leaves out is open"),
    ] {
        let files = invariant(except);
        let told = format!("the exception at tests.yaml:8:81 {told}");
        for form in ["human", "json", "junit", "tap"] {
            let answer = files.run(&["test", "tests.yaml", "-o", form]);
            assert_eq!(answer.code, Some(0), "{except}: {answer:?}");
            assert!(answer.stdout.contains(&told), "{except}, {form}: {}", answer.stdout);
            assert_eq!(answer.stdout.matches("the exception at").count(), 1, "{except}, {form}: {}", answer.stdout);
        }
    }
    let needed = invariant("{from: web, protocol: TCP, ports: [80]}").run(&["test", "tests.yaml"]);
    assert_eq!((needed.code, needed.stdout.as_str()), (Some(0), "ok    has(app) -> api\n1 passed\n"));
    let junit = invariant("{from: batch, protocol: TCP}").run(&["test", "tests.yaml", "-o", "junit"]).stdout;
    assert!(junit.contains("line=\"8\" time=\"0\">\n      <system-out>note: the exception at"), "{junit}");
    let tap = invariant("{from: batch, protocol: TCP}").run(&["test", "tests.yaml", "-o", "tap"]).stdout;
    assert!(tap.contains("ok 1 - has(app) -> api\n  ---\n  notes:\n    - \"the exception at"), "{tap}");
}

#[test]
fn an_exception_leaves_out_no_more_than_is_written() {
    // Every address of the block is the same to the policy, and one of them is excepted.
    let open = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  selector: app == 'api'
  ingress:
    - {action: Allow, source: {nets: [203.0.113.0/24]}}
";
    let excepted = |net: &str| {
        let tests = spec(&format!("  invariants:\n    - {{from: outside, to: api, expect: Deny, except: [{net}]}}\n"));
        let files = shop_with(&tests);
        fs::write(files.path().join("policies/web.yaml"), open).unwrap();
        files.run(&["test", "tests.yaml"])
    };
    // The second is the first as an address of IPv6.
    for address in ["203.0.113.9", "'::ffff:203.0.113.9'"] {
        let one = excepted(&format!("{{from: {address}}}"));
        assert_eq!(one.code, Some(1), "{one:?}");
        assert!(one.stdout.contains("203.0.113.10 -> api is open"), "{}", one.stdout);
        assert!(!one.stdout.contains("203.0.113.9 -> api is open"), "{}", one.stdout);
    }
    assert_eq!(excepted("{from: outside}").code, Some(1));

    // The container is on two networks.
    let part = shop_with(&spec(
        "  invariants:\n    - {from: web, to: {selector: has(app)}, expect: Deny, except: [{to: 172.30.0.2}]}\n",
    ));
    let part = part.run(&["test", "tests.yaml"]);
    assert!(
        part.code == Some(1) && part.stdout.contains("is about one network of the container of 172.30.0.2"),
        "{part:?}"
    );
}

#[test]
fn an_invariant_about_what_cannot_be_fails() {
    for (invariant, told) in [
        ("from: outside, to: host", "cannot be judged: neither end is on a Docker network"),
        ("from: outside, to: outside", "cannot be judged: neither end is on a Docker network"),
        ("from: web, to: batch, via: published", "no way between these ends goes through a published port"),
        ("from: outside, to: batch, via: direct", "no way between these ends goes directly"),
        ("from: host, to: api, via: proxy", "no way between these ends goes through `docker-proxy`"),
        // On the other network there is a way.
        (
            "from: {selector: \"app == 'api' && dockgate.io/network == 'back'\"}, to: web",
            "api@back is one network of its container, and an invariant is about whole containers",
        ),
        ("from: web, to: 172.30.0.77", "asks about nothing: no container has 172.30.0.77, which is of network front"),
    ] {
        let files = shop_with(&spec(&format!("  invariants:\n    - {{{invariant}, expect: Deny}}\n")));
        let answer = files.run(&["test", "tests.yaml"]);
        assert!(answer.code == Some(1) && answer.stdout.contains(told), "{invariant}: {answer:?}");
    }
    let files = shop_with(&spec("  invariants:\n    - {from: outside, to: batch, expect: Deny}\n"));
    let answer = files.run(&["test", "tests.yaml"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(
        answer.stdout.contains("note: no policy is asked: there is no way between these ends, whatever policy says"),
        "{answer:?}"
    );
}

#[test]
fn machines_are_told_the_same() {
    let wrong = TESTS.replace("batch   yes no ", "batch   yes yes");
    let json = shop_with(&wrong).run(&["test", "tests.yaml", "-o", "json", "--coverage"]);
    assert_eq!(json.code, Some(1), "{json:?}");
    let value = json.json();
    assert_eq!((&value["passed"], &value["failed"]), (&12.into(), &1.into()));
    let failed = value["results"].as_array().unwrap().iter().find(|result| result["passed"] == false).unwrap();
    let fields = ["test", "form", "file", "line", "column", "expect"].map(|field| failed[field].to_string());
    assert_eq!(fields, ["\"shop\"", "\"matrix\"", "\"tests.yaml\"", "21", "7", "\"Allow\""]);
    assert_eq!(failed["trace"]["decision"], "deny");
    assert_eq!(value["coverage"]["rules"], 2);
    let junit = shop_with(&wrong).run(&["test", "tests.yaml", "-o", "junit"]).stdout;
    assert!(junit.contains("<testsuites name=\"dockgate test\" tests=\"13\" failures=\"1\""), "{junit}");
    assert!(
        junit.contains(
            "<testcase name=\"batch -&gt; api, TCP 8080 at 21:7\" classname=\"tests.yaml\" file=\"tests.yaml\" line=\"21\""
        ),
        "{junit}"
    );
    assert_eq!(junit.matches("<failure ").count(), 1, "{junit}");
    let tap = shop_with(&wrong).run(&["test", "tests.yaml", "-o", "tap"]).stdout;
    assert!(tap.starts_with("TAP version 14\n1..13\nok 1 - web asks api\n"), "{tap}");
    assert!(tap.contains("\nnot ok 10 - batch -> api, TCP 8080\n  ---\n  message: \"expected Allow: "), "{tap}");
    assert!(tap.contains("  at: \"tests.yaml:21:7\"\n  trace:\n    - \"deny  batch -> api"), "{tap}");
    let files = shop_with(&wrong);
    let summary = files.run(&["test", "tests.yaml", "-o", "tap", "--output", "report.tap"]);
    assert_eq!((summary.code, summary.stdout.as_str()), (Some(1), "1 failed, 12 passed\n"));
    assert_eq!(fs::read_to_string(files.path().join("report.tap")).unwrap(), tap);
    assert_eq!(files.run(&["test", "tests.yaml", "--output", "tap"]).code, Some(2));
}

#[test]
fn options_come_before_what_the_tests_name() {
    let open = POLICY.replace("app == 'web'", "all()");
    let files = shop_with(&one_case("{from: batch, to: api, port: 80, expect: Deny}"));
    fs::write(files.path().join("open.yaml"), open).unwrap();
    assert_eq!(files.run(&["test", "tests.yaml"]).code, Some(0));
    assert_eq!(files.run(&["test", "tests.yaml", "--policies", "open.yaml"]).code, Some(1));
    fs::write(files.path().join("other.yaml"), INVENTORY.replace("batch", "job")).unwrap();
    let other = files.run(&["test", "tests.yaml", "--inventory", "other.yaml"]);
    assert!(other.code == Some(1) && other.stdout.contains("`batch` is no container"), "{other:?}");
    let filtered = shop_with(TESTS).run(&["test", "tests.yaml", "--filter", "web asks"]);
    assert_eq!((filtered.code, filtered.stdout.as_str()), (Some(0), "ok    web asks api\n1 passed\n"));
    assert_eq!(shop_with(TESTS).run(&["test", "tests.yaml", "--filter", "nobody"]).code, Some(2));
}

#[test]
fn a_world_stands_in_compose_files_or_in_the_test_itself() {
    let inline = "  world:\n    inline:\n      networks: [{name: n, subnets: [10.0.0.0/24]}]\n      containers:\n        \
                  - {name: a, labels: {app: web}, networks: [n], namespace: shop}\n        \
                  - {name: b, labels: {app: api}, networks: [n], namespace: shop}\n";
    let cases = "  policies: [policies]\n  cases:\n    - {from: a, to: b, port: 1, expect: Allow}\n    \
                 - {from: b, to: a, port: 1, expect: Deny}\n";
    let head = "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {}\nspec:\n";
    let answer = shop_with(&format!("{head}{inline}{cases}")).run(&["test", "tests.yaml"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let broken = shop_with(&format!("{head}{}{cases}", inline.replace("networks: [n]", "networks: [m]")));
    let broken = broken.run(&["test", "tests.yaml"]);
    assert_eq!(broken.code, Some(2), "{broken:?}");
    assert!(broken.stderr.contains("DG3040") && broken.stderr.contains("tests.yaml:9:"), "{broken:?}");
    let compose = "name: shop\nservices:\n  web: {image: w, labels: {app: web}}\n  api: {image: a, labels: {app: api}}\n  \
                   debug: {image: d, profiles: [debug]}\n";
    let world = "  world: {compose: [compose.yaml], profiles: [debug], projectName: other}\n";
    let cases = cases.replace("from: a, to: b", "from: other-web-1, to: other-api-1");
    let cases = cases.replace("from: b, to: a", "from: other-debug-1, to: other-api-1").replace("Deny", "Allow");
    let files = shop_with(&format!("{head}{world}{cases}"));
    fs::write(files.path().join("compose.yaml"), compose).unwrap();
    // The policy is the namespace's, and the project is another one: everything is open.
    let answer = files.run(&["test", "tests.yaml"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

/// Every file of tests cannot be used, and what is told of it has these parts.
fn expect_refused<const N: usize>(rows: [(&str, String, Vec<&str>); N]) {
    for (name, tests, told) in rows {
        let answer = shop_with(&tests).run(&["test", "tests.yaml"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{name}: {answer:?}");
        for part in told {
            assert!(answer.stderr.contains(part), "{name}: {part}\n{}", answer.stderr);
        }
    }
}

#[test]
fn what_is_wrong_with_a_test_is_told_at_its_place() {
    expect_refused([
        (
            "a field",
            one_case("{from: web, to: api, prt: 80, expect: Deny}"),
            vec!["DG2004", "tests.yaml:8:28", "did you mean `port`?"],
        ),
        ("no port", one_case("{from: web, to: api, expect: Deny}"), vec!["DG2005", "`port` is required"]),
        (
            "an expectation",
            one_case("{from: web, to: api, port: 80, expect: deny}"),
            vec!["DG2007", "did you mean `Deny`?"],
        ),
        (
            "a ping with a port",
            one_case("{from: web, to: api, protocol: ICMP, port: 80, expect: Deny}"),
            vec!["DG3015"],
        ),
        (
            "a selector as text",
            one_case("{from: \"app == 'web'\", to: api, port: 80, expect: Deny}"),
            vec!["DG3080", "{selector:"],
        ),
        (
            "a selector",
            one_case("{from: {selector: app = 'web'}, to: api, port: 80, expect: Deny}"),
            vec!["DG3010", "tests.yaml:8:25"],
        ),
        ("a rule", one_case("{from: web, to: api, port: 80, expect: Deny, by: 'p ingres[0]'}"), vec!["DG3084"]),
        (
            "two worlds",
            TESTS.replace("{inventory: inventory.yaml}", "{inventory: i, compose: [c]}"),
            vec!["DG3081", "tests.yaml:5:"],
        ),
        ("nothing", spec("  cases: []\n"), vec!["DG3082"]),
        ("a cell", TESTS.replace("yes    .", "yea    ."), vec!["DG3083", "tests.yaml:20:7", "`yea` is not one of"]),
        ("a row", TESTS.replace("yes    .", "yes"), vec!["DG3083", "tests.yaml:20:7", "2 cells under 3 columns"]),
        ("two columns", TESTS.replace("from/to web api", "from/to api api"), vec!["DG3083", "two columns `api`"]),
        ("two rows", TESTS.replace("batch   yes", "webs    yes"), vec!["DG3083", "tests.yaml:21:7", "two rows `webs`"]),
        (
            "no cell",
            TESTS.replace("-  yes    .", "-   -     .").replace("yes no     -", " .  -     -"),
            vec!["DG3083", "tests.yaml:19:", "the table asks about nothing"],
        ),
        ("no line", TESTS.replace("table: |", "table: >"), vec!["DG3083", "`table: |`"]),
        (
            "both forms of a port",
            TESTS.replace("port: 8080/tcp", "port: 8080/tcp\n    ports: [80/tcp]"),
            vec!["DG3083", "not both"],
        ),
        ("no port of a matrix", TESTS.replace("    port: 8080/tcp\n", ""), vec!["DG2005", "or `ports` with a list"]),
        ("no ports", TESTS.replace("port: 8080/tcp", "ports: []"), vec!["DG2005", "or `ports` with a list"]),
        ("a port twice", TESTS.replace("port: 8080/tcp", "ports: [80/tcp, 80/TCP]"), vec!["DG2011", "twice"]),
        (
            "one of several matrices",
            spec("  matrix:\n    - {port: 80/tcp, table: \"a b\", tabel: x}\n"),
            vec!["DG2004", "tests.yaml:8:36", "did you mean `table`?", "spec.matrix[0].tabel"],
        ),
        ("a matrix's port", TESTS.replace("8080/tcp", "http"), vec!["DG3013", "tests.yaml:17:"]),
        (
            "a network of a container",
            spec("  invariants:\n    - {from: api@back, to: web, expect: Deny}\n"),
            vec!["DG3080"],
        ),
        (
            "a network of an excepted container",
            spec("  invariants:\n    - {from: web, to: api, expect: Deny, except: [{to: api@back}]}\n"),
            vec!["DG3080", "tests.yaml:8:56"],
        ),
        (
            "a kind",
            TESTS.replace("kind: PolicyTest", "kind: PolicyTests"),
            vec!["DG2003", "did you mean `PolicyTest`?"],
        ),
        ("a version", TESTS.replace("v1alpha1", "v1"), vec!["DG2002", "dockgate.io/v1alpha1"]),
        ("syntax", TESTS.replace("cases:\n", "cases: [\n"), vec!["DG1001"]),
    ]);
}

#[test]
fn what_a_test_names_must_be_there() {
    expect_refused([
        (
            "no world",
            one_case("{from: web, to: api, port: 1, expect: Allow}")
                .replace("  world: {inventory: inventory.yaml}\n", ""),
            vec!["names no world", "--inventory"],
        ),
        (
            "no policies",
            one_case("{from: web, to: api, port: 1, expect: Allow}").replace("  policies: [policies]\n", ""),
            vec!["names no policies"],
        ),
        ("no policy file", TESTS.replace("[policies]", "[gone]"), vec!["the test at tests.yaml:1:1: cannot read gone"]),
        (
            "no policy",
            TESTS.replace("[policies]", "[policies, inventory.yaml]"),
            vec!["there is no policy in inventory.yaml", "relative to the file of the test"],
        ),
        (
            "no Compose file",
            TESTS.replace("{inventory: inventory.yaml}", "{compose: [gone.yaml]}"),
            vec!["the test at tests.yaml:1:1: there is no file gone.yaml", "beside the file of the test"],
        ),
        (
            "a protocol",
            one_case("{from: web, to: api, protocol: tcp, port: 80, expect: Deny}"),
            vec!["`tcp` is not one of `TCP`, `UDP`, `SCTP`, `ICMP`\n", "did you mean `TCP`?"],
        ),
    ]);
    let none = Files::shop().run(&["test", "policies"]);
    assert!(none.code == Some(2) && none.stderr.contains("there is no PolicyTest in policies"), "{none:?}");
}

#[test]
fn paths_in_a_test_begin_beside_its_file() {
    let files = Files::new(&[("a/policies/web.yaml", POLICY), ("a/inventory.yaml", INVENTORY), ("a/b/tests.yaml", "")]);
    let tests = TESTS.replace("[policies]", "[../policies]").replace("inventory: inv", "inventory: ../inv");
    fs::write(files.path().join("a/b/tests.yaml"), tests).unwrap();
    let answer = files.run(&["test", "a"]);
    assert!(answer.code == Some(0) && answer.stdout.ends_with("13 passed\n"), "{answer:?}");
}

#[test]
fn a_report_takes_the_place_of_nothing_that_it_is_about() {
    let files = shop_with(TESTS);
    for input in ["tests.yaml", "./policies/web.yaml", "inventory.yaml"] {
        let before = fs::read_to_string(files.path().join(input)).unwrap();
        let answer = files.run(&["test", "tests.yaml", "--output", input]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{input}: {answer:?}");
        assert!(answer.stderr.contains("is one of the files that are read"), "{input}: {answer:?}");
        assert_eq!(fs::read_to_string(files.path().join(input)).unwrap(), before);
    }
    // A report of before is none of them.
    for _ in 0..2 {
        assert_eq!(files.run(&["test", ".", "-o", "json", "--output", "report.json"]).code, Some(0));
    }
}

#[test]
fn names_are_whatever_a_person_writes() {
    let cases = "  cases:
    - {name: same, from: web, to: api, port: 80, expect: Allow}
    - {name: same, from: web, to: api, port: 81, expect: Allow}
    - {name: '  ', from: web, to: api, port: 82, expect: Allow}
    - {name: \"<a> & \\\"b\\\" # \\e[31m ]]> \\u0000\", from: web, to: api, port: 83, expect: Allow}
";
    let files = shop_with(&spec(cases));
    let junit = files.run(&["test", "tests.yaml", "-o", "junit"]).stdout;
    for name in
        ["same", "same at 9:7", "web -&gt; api, TCP 82", "&lt;a&gt; &amp; &quot;b&quot; # \\u{1b}[31m ]]&gt; \\u{0}"]
    {
        assert!(junit.contains(&format!("<testcase name=\"{name}\"")), "{name}\n{junit}");
    }
    let tap = files.run(&["test", "tests.yaml", "-o", "tap"]).stdout;
    assert!(tap.contains("\nok 4 - <a> & \"b\" \\# \\\\u{1b}[31m ]]> \\\\u{0}\n"), "{tap}");
}

#[test]
fn an_ip_version_that_nobody_has_is_no_pass() {
    let text = "\
apiVersion: dockgate.io/v1alpha1
kind: PolicyTest
metadata: {}
spec:
  world:
    inline:
      networks: [{name: n, subnets: [10.0.0.0/24]}]
      containers: [{name: a, networks: [n]}, {name: b, networks: [n]}]
  policies: [policies]
  cases: [{from: a, to: b, port: 80, ipVersion: 6, expect: Deny}]
  invariants: [{from: a, to: b, ipVersion: 6, expect: Deny}]
";
    let answer = shop_with(text).run(&["test", "tests.yaml"]);
    let told = "expected Deny: asks about nothing: the two ends have no address of the same family\n";
    assert_eq!((answer.code, answer.stdout.matches(told).count()), (Some(1), 2), "{answer:?}");
}

#[test]
fn a_test_among_policies_is_no_policy_and_no_trouble() {
    let files = Files::new(&[
        ("policies/web.yaml", POLICY),
        ("policies/tests.yaml", TESTS),
        ("policies/inventory.yaml", INVENTORY),
    ]);
    let answer = files.run(&["validate", "policies", "-o", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let schema = files.run(&["schema", "policytest"]);
    assert_eq!(schema.json()["properties"]["kind"]["const"], "PolicyTest");
}

#[test]
fn the_reference_holds_what_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/policytest.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let files = Files::shop();
    for block in blocks.iter().filter(|block| block.starts_with("apiVersion")) {
        fs::write(files.path().join("tests.yaml"), block).unwrap();
        let answer = files.run(&["test", "tests.yaml"]);
        assert_eq!(answer.code, Some(0), "{answer:?}\n{block}");
    }
    assert!(blocks.len() >= 2, "{page}");
}
