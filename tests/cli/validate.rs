//! `validate`: every finding with its place, for people and for machines.

use serde_json::json;

use super::*;

/// Two resources with an error each, and one whose namespace is left out.
const FINDINGS: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: a, namespace: shop}
spec:
  selektor: app == 'api'
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: b
spec:
  selector: app == 'api'
  ingress:
    - action: allow
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: c}
spec: {}
";

#[test]
fn findings_are_shown_in_their_lines() {
    let files = Files::new(&[("policies/a.yaml", FINDINGS), ("policies/good.yaml", POLICY)]);
    let answer = files.run(&["validate", "policies"]);
    let expected = "\
error[DG2004]: unknown field `selektor`
 --> policies/a.yaml:5:3
  |
5 |   selektor: app == 'api'
  |   ^^^^^^^^ spec.selektor
  |
  = help: did you mean `selector`?

error[DG2007]: `allow` is not one of `Allow`, `Deny`, `Log`, `Pass`
  --> policies/a.yaml:14:15
   |
14 |     - action: allow
   |               ^^^^^ spec.ingress[0].action
   |
   = help: did you mean `Allow`?

note[DG3201]: without a namespace, this covers the containers of every namespace
  --> policies/a.yaml:18:18
   |
18 | metadata: {name: c}
   |                  ^ metadata.name
   |
   = help: set `metadata.namespace` to restrict it, e.g. to a Compose project

2 errors, 1 note in 2 files (4 resources)
";
    assert_eq!((answer.stdout.as_str(), answer.code), (expected, Some(1)));
}

#[test]
fn the_json_form_has_every_finding_and_the_counts() {
    let files = Files::new(&[("policies/a.yaml", FINDINGS), ("policies/good.yaml", POLICY)]);
    let answer = files.run(&["validate", "policies", "-o", "json"]);
    let json = answer.json();
    assert_eq!(answer.code, Some(1));
    assert_eq!(
        json["diagnostics"][0],
        json!({
            "severity": "error",
            "code": "DG2004",
            "message": "unknown field `selektor`",
            "file": "policies/a.yaml",
            "line": 5,
            "column": 3,
            "field": "spec.selektor",
            "help": "did you mean `selector`?",
        })
    );
    let counts = ["errors", "warnings", "notes", "files", "resources"].map(|key| json[key].as_u64());
    assert_eq!(counts, [Some(2), Some(0), Some(1), Some(2), Some(4)], "{json:#}");
    assert_eq!(json["kinds"], json!({"NetworkPolicy": 4}));
    assert_eq!(json["diagnostics"].as_array().map(Vec::len), Some(3));
}

#[test]
fn clean_files_say_how_much_was_looked_at() {
    let files = Files::shop();
    for (name, arguments, input, stdout) in [
        ("directory", ["validate", "policies"], "", "no problems in 1 file (1 resource)\n"),
        ("file", ["validate", "policies/web.yaml"], "", "no problems in 1 file (1 resource)\n"),
        ("standard input", ["validate", "-"], POLICY, "no problems in 1 file (1 resource)\n"),
    ] {
        let answer = files.run_with_input(&arguments, input);
        assert_eq!((answer.stdout.as_str(), answer.code), (stdout, Some(0)), "{name}: {answer:?}");
    }
}

#[test]
fn a_path_without_policy_files_is_a_mistake_and_not_clean() {
    let files =
        Files::new(&[("policies/web.yaml", POLICY), ("empty/README.md", "policies"), ("empty/x.yaml~", POLICY)]);
    for (name, arguments) in [
        ("alone", &["validate", "empty"][..]),
        ("beside another", &["validate", "policies", "empty"]),
        ("beside standard input", &["validate", "-", "empty"]),
        ("for machines", &["validate", "empty", "-o", "json"]),
    ] {
        let answer = files.run(arguments);
        let expected = "error: no policy files (.yaml, .yml, .json) in empty\n";
        assert_eq!((answer.stdout.as_str(), answer.stderr.as_str(), answer.code), ("", expected, Some(2)), "{name}");
    }
    let twice = files.run(&["validate", "policies", "policies/web.yaml", "."]);
    assert_eq!((twice.stdout.as_str(), twice.code), ("no problems in 1 file (1 resource)\n", Some(0)), "{twice:?}");
}

#[test]
fn standard_input_has_a_name_in_findings() {
    let answer = Files::new(&[]).run_with_input(&["validate", "-"], FINDINGS);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stdout.contains("--> <stdin>:5:3"), "{answer:?}");
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let answer = Files::new(&[]).run_with_input(&["validate", "-"], "kind: \"\u{1b}[2J\"\n\u{1b}]0;x: y\n");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(!answer.stdout.contains('\u{1b}'), "{answer:?}");
}

#[test]
fn lints_are_warnings_that_only_strictness_lets_fail() {
    let policy = POLICY.replace("app == 'web'", "app == 'wbe'");
    let files = Files::new(&[("web.yaml", &policy), ("inventory.yaml", INVENTORY)]);
    let expected = "\
warning[DG5002]: no container and no network set matches `app == \"wbe\"` in namespace `shop`
  --> web.yaml:11:19
   |
11 |         selector: app == 'wbe'
   |                   ^^^ spec.ingress[0].source.selector
   |
   = help: the values of `app` are `api`, `batch`, `web`

1 warning in 1 file (1 resource)
";
    let answer = files.run(&["validate", "web.yaml", "--inventory", "inventory.yaml"]);
    assert_eq!((answer.stdout.as_str(), answer.code), (expected, Some(0)), "{answer:?}");
    let strict = files.run(&["validate", "web.yaml", "--inventory", "inventory.yaml", "--strict"]);
    assert_eq!((strict.stdout.as_str(), strict.code), (expected, Some(1)), "{strict:?}");
    let without = files.run(&["validate", "web.yaml", "--strict"]);
    assert_eq!((without.stdout.as_str(), without.code), ("no problems in 1 file (1 resource)\n", Some(0)));
}

#[test]
fn what_is_doubtful_in_a_compose_file_is_a_finding_in_every_form() {
    let compose = "name: shop\nservices:\n  web: {image: x, ports: ['8080:80'], deploy: {replicas: 2}}\n";
    let files = Files::new(&[("web.yaml", POLICY), ("compose.yaml", compose)]);
    let run = |form: &[&str]| files.run(&[&["validate", "web.yaml", "--compose", "compose.yaml"], form].concat());
    assert_eq!(run(&[]).code, Some(0));
    for form in ["human", "json", "sarif", "junit", "github", "gitlab"] {
        let answer = run(&["--strict", "--format", form]);
        assert_eq!(answer.code, Some(1), "{form}: {answer:?}");
        assert!(answer.stdout.contains("DG3151") && answer.stdout.contains("compose.yaml"), "{form}: {answer:?}");
        assert_eq!(answer.stderr, "", "{form}");
    }
}

/// A policy with one mistake.
fn broken() -> String {
    POLICY.replace("selector: app == 'api'", "selektor: app == 'api'")
}

#[test]
fn every_name_of_a_file_is_told_and_none_is_obeyed() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new(&[("policies/.x", "")]);
    for name in [&b"a\xff.yaml"[..], b"b\n::error::x.yaml", b"c\x1b[2J<\"&.yaml"] {
        fs::write(files.path().join("policies").join(OsStr::from_bytes(name)), broken()).unwrap();
    }
    let run = |form: &str| {
        let answer = files.run(&["validate", "policies", "-o", form, "--color", "always"]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(1), ""), "{form}: {answer:?}");
        answer.stdout
    };
    let human = run("human");
    let places: Vec<_> = human.lines().filter(|line| line.contains("--> ")).collect();
    assert_eq!(places.len(), 5, "three unknown fields and two policies that are defined already: {human}");
    assert!(
        human.contains("policies/a\\xff.yaml:7:3") && human.contains("policies/b\\n::error::x.yaml:7:3"),
        "{human}"
    );
    assert!(human.contains("policies/c\\u{1b}[2J<\"&.yaml:7:3") && !human.contains("\u{1b}[2J"), "{human}");
    let json: Value = serde_json::from_str(&run("json")).unwrap();
    let mut names: Vec<_> =
        json["diagnostics"].as_array().unwrap().iter().map(|found| found["file"].as_str().unwrap()).collect();
    names.dedup();
    assert_eq!(names, ["policies/a\\xff.yaml", "policies/b\n::error::x.yaml", "policies/c\u{1b}[2J<\"&.yaml"]);
    let sarif: Value = serde_json::from_str(&run("sarif")).unwrap();
    let uri = |index: usize| {
        &sarif["runs"][0]["results"][index]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    };
    assert_eq!((uri(0), uri(1)), (&json!("policies/a%FF.yaml"), &json!("policies/b%0A%3A%3Aerror%3A%3Ax.yaml")));
    let github = run("github");
    assert!(github.lines().all(|line| line.starts_with("::error file=policies/")), "{github}");
    let junit = run("junit");
    assert!(
        junit.contains("file=\"policies/c\\u{1b}[2J&lt;&quot;&amp;.yaml\"") && !junit.contains('\u{1b}'),
        "{junit}"
    );
    let gitlab: Value = serde_json::from_str(&run("gitlab")).unwrap();
    assert_eq!(gitlab[0]["location"]["path"], "policies/a\\xff.yaml");
}

#[test]
fn what_cannot_be_read_hides_nothing_of_the_rest() {
    use std::os::unix::fs::symlink;
    let files = Files::new(&[("policies/broken.yaml", &broken()), ("policies/.hidden", "")]);
    // Permissions mean nothing to root: circles of links cannot be read by anybody. Without a file's ending each of them may
    // stand for a directory.
    symlink("circle", files.path().join("policies/circle")).unwrap();
    symlink("/nonexistent/more", files.path().join("policies/more")).unwrap();
    symlink("gone.yaml", files.path().join("policies/link.yaml")).unwrap();
    let json = files.run(&["validate", "policies", "absent", "-o", "json"]);
    let found: Vec<_> = json.json()["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let text = |key: &str| found[key].as_str().unwrap().to_owned();
            (text("file"), text("code"), text("message"))
        })
        .collect();
    let unreadable =
        |file: &str, reason: &str| (file.to_owned(), "DG1004".to_owned(), format!("cannot be read: {reason}"));
    let expected = [
        unreadable("absent", "No such file or directory (os error 2)"),
        ("policies/broken.yaml".to_owned(), "DG2004".to_owned(), "unknown field `selektor`".to_owned()),
        unreadable("policies/circle", "Too many levels of symbolic links (os error 40)"),
        unreadable("policies/link.yaml", "the link leads to `gone.yaml`, which does not exist"),
        unreadable("policies/more", "the link leads to `/nonexistent/more`, which does not exist"),
    ];
    assert_eq!((found.as_slice(), json.code), (&expected[..], Some(2)));
    assert!(json.stderr.starts_with("error: cannot read 4 of the paths\nhelp: "), "{json:?}");

    let one = files.run(&["validate", "policies/broken.yaml", "policies/circle"]);
    assert_eq!(one.code, Some(2), "{one:?}");
    assert!(one.stdout.contains("error[DG2004]") && one.stdout.contains("\n--> policies/circle:1:1\n"), "{one:?}");
    assert!(one.stderr.starts_with("error: cannot read policies/circle: Too many levels"), "{one:?}");

    // What enforces or answers needs all of them.
    for arguments in [
        &["get", "policies", "--policies", "policies"][..],
        &["test", "policies"],
        &["diff", "policies", "policies", "--inventory", "x"],
    ] {
        let answer = files.run(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        assert!(answer.stderr.contains("cannot read policies/circle: "), "{answer:?}");
    }
}

#[test]
fn a_baseline_does_not_shrink_by_what_cannot_be_read() {
    let files = Files::new(&[
        ("policies/sub/web.yaml", &POLICY.replace("  namespace: shop\n", "")),
        ("policies/api.yaml", POLICY),
    ]);
    let written = files.run(&["validate", "policies", "--write-baseline", "baseline.json"]);
    assert_eq!(written.stdout, "no problems in 2 files (2 resources); 3 in the baseline\n", "{written:?}");
    fs::remove_dir_all(files.path().join("policies/sub")).unwrap();
    std::os::unix::fs::symlink("sub", files.path().join("policies/sub")).unwrap();
    let answer = files.run(&["validate", "policies", "--baseline", "baseline.json"]);
    assert!(answer.stdout.contains("DG1004") && !answer.stdout.contains("DG9005"), "{answer:?}");
}

#[test]
fn empty_standard_input_is_a_mistake_and_not_clean() {
    let files = Files::shop();
    for (name, arguments, input) in [
        ("nothing", &["validate", "-"][..], ""),
        ("blank", &["validate", "-"], " \n\n"),
        ("comments and markers", &["validate", "-"], "# Source: chart/templates/x.yaml\n---\n---\n"),
        ("beside a directory", &["validate", "policies", "-"], ""),
    ] {
        let answer = files.run_with_input(arguments, input);
        let expected = "error: no policies on standard input: it holds no document\nhelp: did the command before it fail, or \
                        render nothing?\n";
        assert_eq!((answer.stdout.as_str(), answer.stderr.as_str(), answer.code), ("", expected, Some(2)), "{name}");
    }
}

#[test]
fn standard_input_is_bounded_and_need_not_be_text() {
    let files = Files::new(&[]);
    let text = |length: usize| format!("a: {}\n", "x".repeat(length));
    for (name, input, code) in [
        ("too large", text(5 << 20).into_bytes(), "DG1006"),
        ("Latin-1", b"a: \xe4\n".to_vec(), "DG1005"),
        ("binary", b"\x7fELF\0\x01".to_vec(), "DG1001"),
    ] {
        let path = files.path().join("input");
        fs::write(&path, input).unwrap();
        let output = command(&["validate", "-", "-o", "json"]).stdin(fs::File::open(&path).unwrap()).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answer["diagnostics"][0]["code"], output.status.code()), (&json!(code), Some(1)), "{name}");
    }
}

#[test]
fn a_baseline_replaces_nothing_but_a_baseline() {
    let files = Files::new(&[("policies/web.yaml", POLICY), ("notes.json", "{\"a\": 1}\n"), ("empty", "")]);
    let write = |name: &str| files.run(&["validate", "policies", "--write-baseline", name]);
    for name in ["notes.json", "policies/../notes.json"] {
        let answer = write(name);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        assert!(answer.stderr.starts_with(&format!("error: {name} is there and is no baseline\nhelp: ")), "{answer:?}");
    }
    assert_eq!(fs::read_to_string(files.path().join("notes.json")).unwrap(), "{\"a\": 1}\n");
    fs::write(files.path().join("newer"), "{\"version\": 2, \"findings\": []}").unwrap();
    for name in ["empty", "newer", "new", "new"] {
        assert_eq!(write(name).code, Some(0), "{name}");
    }
}

#[test]
fn a_log_that_standard_output_goes_to_is_not_replaced() {
    let files = Files::new(&[("policies/broken.yaml", &broken())]);
    let log = files.path().join("log");
    let arguments = |name: &str| format!("validate policies -o github --output {name}");
    let line = "::error file=policies/broken.yaml,line=7,col=3,title=DG2004 unknown field::";
    for (redirection, name) in [
        (">> log", "/dev/stdout"),
        ("> log", "/dev/stdout"),
        (">> log", "/proc/self/fd/1"),
        (">> log", "log"),
        ("2>> log >&2", "/dev/stderr"),
        ("3>> log >> log", "/dev/fd/3"),
    ] {
        fs::write(&log, "before\n").unwrap();
        let script = format!("{} {} {redirection}; echo after >> log", env!("CARGO_BIN_EXE_dockgate"), arguments(name));
        let status = Command::new("/bin/sh").args(["-c", &script]).current_dir(files.path()).status().unwrap();
        assert!(status.success());
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let lines = lines.strip_prefix(&["before"]).unwrap_or(&lines);
        assert_eq!(redirection.starts_with("> "), lines.len() == text.lines().count(), "{redirection}: {text}");
        let [report, summary, "after"] = lines else { panic!("{redirection}: {text}") };
        assert!(report.starts_with(line) && *summary == "1 error in 1 file (1 resource)", "{redirection}: {text}");
    }
}

#[test]
fn inventories_and_tests_are_checked_too() {
    let inventory =
        INVENTORY.replace("networks: [front, back]", "networks: [frnt]").replace("driver: macvlan", "drivr: x");
    let second = "---\napiVersion: dockgate.io/v2\nkind: Inventory\nmetadata: {name: b}\nspec: {}\n";
    let misspelt = INVENTORY.replace("networks: [front, back]", "networks: [frnt]");
    let test = "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: a}\nspec:\n  cases:\n    - {from: web, to: api, port: 80, expct: Allow}\n";
    let files = Files::new(&[
        ("all/shape.yaml", &inventory),
        ("all/meaning.yaml", &format!("{misspelt}{second}")),
        ("all/test.yaml", test),
        ("all/broken.yaml", "kind: PolicyTest\na: [\n"),
        ("good/inventory.yaml", INVENTORY),
    ]);
    let answer = files.run(&["validate", "all", "-o", "json"]);
    let json = answer.json();
    let found: Vec<_> = json["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["severity"] == "error")
        .map(|found| {
            let line = found["line"].as_u64().unwrap();
            format!("{} {}:{line}", found["code"].as_str().unwrap(), found["file"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        found,
        [
            "DG1001 all/broken.yaml:2",
            "DG3040 all/meaning.yaml:18",
            "DG2002 all/meaning.yaml:31",
            "DG2004 all/shape.yaml:12",
            "DG2005 all/test.yaml:6",
            "DG2004 all/test.yaml:6",
        ],
        "{json:#}"
    );
    assert_eq!(answer.code, Some(1));
    let good = files.run(&["validate", "good", "--strict"]);
    assert_eq!(good.code, Some(0), "{good:?}");
}

#[test]
fn a_compose_file_is_named_by_its_own_option() {
    let files = Files::new(&[("web.yaml", POLICY), ("compose.yaml", "services:\n  web:\n    image: nginx\n")]);
    let answer = files.run(&["validate", "web.yaml", "--inventory", "compose.yaml"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("this is a Compose file, not an Inventory"), "{answer:?}");
    assert!(answer.stderr.contains("name it with `--compose FILE`"), "{answer:?}");
}

/// Each finding looks at its line: without a bound the time would grow by the square of its length.
#[test]
fn a_file_of_one_long_line_is_no_burden() {
    let rules = vec![r#"{"action": "Drop"}"#; 1000].join(",");
    let header = r#""apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "a"}"#;
    let files = Files::new(&[("policy.json", &format!(r#"{{{header}, "spec": {{"ingress": [{rules}]}}}}"#))]);
    let text = files.run(&["validate", "policy.json"]).stdout;
    assert!(text.ends_with("\n1000 errors in 1 file (1 resource)\n"), "{}", text.len());
    let shown = text.lines().filter(|line| line.contains(r#"{"action": "Drop"}"#)).count();
    assert!((10..100).contains(&shown), "the line is shown {shown} times");
}

#[test]
fn no_name_of_a_file_keeps_a_command_from_answering_in_json() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new(&[("policies/.x", ""), ("inventory.yaml", INVENTORY)]);
    fs::write(files.path().join("policies").join(OsStr::from_bytes(b"p\xff.yaml")), POLICY).unwrap();
    let world = ["--policies", "policies", "--inventory", "inventory.yaml", "-o", "json"];
    for command in [
        &["get", "policies"][..],
        &["explain", "--from", "web", "--to", "api", "--port", "80"],
        &["explain", "--from", "batch", "--to", "api", "--port", "80"],
        &["connectivity"],
    ] {
        let answer = files.run(&[command, &world].concat());
        assert!(answer.stdout.contains("p\\\\xff.yaml"), "{command:?}: {answer:?}");
        answer.json();
    }
}
