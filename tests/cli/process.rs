//! What holds for every command: exit codes, standard output and standard error, colours, readers that go away.

use std::fs::OpenOptions;
use std::process::Stdio;

use super::*;

#[test]
fn exit_codes_are_the_documented_ones() {
    let files = Files::shop();
    files_with_problems(&files);
    let explain = |from: &'static str, to: &'static str| {
        vec!["explain", "--policies", "policies", "--inventory", "inventory.yaml", "--from", from, "--to", to]
    };
    let with = |mut arguments: Vec<&'static str>, more: &[&'static str]| {
        arguments.extend(more);
        arguments
    };
    let port: &[&str] = &["--port", "8080/tcp"];
    for (name, arguments, code) in [
        ("version", vec!["--version"], 0),
        ("help", vec!["help", "run"], 0),
        ("no command", vec![], 2),
        ("unknown command", vec!["enforce"], 2),
        ("unknown flag", vec!["validate", "--dance", "policies"], 2),
        ("valid", vec!["validate", "policies"], 0),
        ("nothing to validate", vec!["validate"], 2),
        ("invalid", vec!["validate", "broken.yaml"], 1),
        ("one of two invalid", vec!["validate", "policies", "broken.yaml"], 1),
        ("path that is not there", vec!["validate", "nowhere"], 2),
        ("allowed", with(explain("web", "api"), port), 0),
        ("denied", with(explain("batch", "api"), port), 1),
        ("denied in one family", with(explain("batch", "api"), &["--ping", "--ip-version", "6"]), 1),
        ("unknown end", with(explain("wbe", "api"), port), 2),
        ("itself", with(explain("api@front", "api@back"), port), 2),
        ("out of reach", with(explain("camera", "api"), port), 2),
        ("no port", explain("web", "api"), 2),
        ("port that is none", with(explain("web", "api"), &["--port", "0"]), 2),
        ("list", vec!["get", "endpoints", "--inventory", "inventory.yaml"], 0),
        ("list by a bad selector", vec!["get", "endpoints", "--selector", "a = b", "--inventory", "inventory.yaml"], 2),
        ("list without engine", vec!["get", "endpoints"], 2),
        ("list by invalid policies", vec!["get", "policies", "--policies", "broken.yaml"], 2),
        ("list by an invalid inventory", vec!["get", "networks", "--inventory", "broken.yaml"], 2),
        ("no controller", vec!["status", "--state-dir", "nowhere"], 1),
        ("schema", vec!["schema", "networkpolicy"], 0),
        ("schema of what is not a kind", vec!["schema", "Pod"], 2),
        ("CRD of a kind of Kubernetes' own", vec!["crds", "KubernetesNetworkPolicy"], 2),
        ("duration without unit", vec!["run", "--policies", "policies", "--debounce", "50"], 2),
        (
            "controller on a directory that is not there",
            vec!["run", "--policies", "nowhere", "--state-dir", "state"],
            2,
        ),
    ] {
        let answer = files.run(&arguments);
        assert_eq!(answer.code, Some(code), "{name}: {arguments:?}\n{answer:?}");
        assert!(!answer.stderr.contains("panicked"), "{name}: {answer:?}");
        // An answer is on standard output, a failure on standard error.
        assert_eq!(answer.stdout.is_empty(), code == 2, "{name}: {answer:?}");
        assert_eq!(answer.stderr.is_empty(), code != 2, "{name}: {answer:?}");
    }
}

fn files_with_problems(files: &Files) {
    fs::write(files.path().join("broken.yaml"), POLICY.replace("selector: app == 'api'", "selektor: x")).unwrap();
}

#[test]
fn a_failure_is_told_once_with_its_causes_and_the_remedy() {
    let files = Files::shop();
    for (name, arguments, stderr) in [
        (
            "missing path",
            vec!["validate", "nowhere"],
            "error: cannot read nowhere: No such file or directory (os error 2)\n",
        ),
        (
            "typing error",
            vec![
                "explain",
                "--policies",
                "policies",
                "--inventory",
                "inventory.yaml",
                "--from",
                "wbe",
                "--to",
                "api",
                "--port",
                "1",
            ],
            "error: `wbe` is no container here, no address, and not `host`\n\
             help: `dockgate get endpoints` with the same --inventory lists containers, networks and addresses\n",
        ),
        (
            "no policies",
            vec!["get", "policies", "--inventory", "inventory.yaml"],
            "error: no policies: /etc/dockgate/policies does not exist\nhelp: name a directory with --policies DIR\n",
        ),
    ] {
        assert_eq!(files.run(&arguments).stderr, stderr, "{name}");
    }
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let files = Files::shop();
    files_with_problems(&files);
    for (name, arguments, coloured) in [
        ("by default", vec!["validate", "broken.yaml"], false),
        ("on request", vec!["validate", "broken.yaml", "--color", "always"], true),
        ("never", vec!["--color", "never", "validate", "broken.yaml"], false),
        ("an error", vec!["validate", "nowhere", "--color=always"], true),
        ("findings beside an error", vec!["get", "policies", "--policies", "broken.yaml", "--color=always"], true),
    ] {
        let answer = files.run(&arguments);
        assert_eq!(format!("{}{}", answer.stdout, answer.stderr).contains('\u{1b}'), coloured, "{name}: {answer:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_changes_nothing_about_the_answer() {
    let files = Files::shop();
    files_with_problems(&files);
    for (name, arguments, code) in [
        ("long output", vec!["schema"], 0),
        ("short output", vec!["completions", "bash"], 0),
        ("a negative answer", vec!["validate", "broken.yaml"], 1),
        ("help", vec!["--help"], 0),
    ] {
        let mut child = command(&arguments)
            .current_dir(files.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        assert!(output.stderr.is_empty(), "{name}: {output:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
}

#[test]
fn what_is_generated_is_what_it_should_be() {
    let files = Files::new(&[]);
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef dockgate"), ("fish", "complete -c dockgate")] {
        let script = files.run(&["completions", shell]).stdout;
        assert!(script.contains(sign) && script.contains("explain"), "{shell}: {script}");
    }

    let schema = files.run(&["schema", "gnp"]).json();
    assert_eq!(schema["properties"]["kind"]["const"], "GlobalNetworkPolicy", "{schema:#}");

    let definitions = files.run(&["crds"]).stdout;
    assert_eq!(definitions.matches("kind: CustomResourceDefinition").count(), 10);
    assert_eq!(definitions.split("---\n").count(), 10);
    let one = files.run(&["crds", "tier"]).stdout;
    assert!(one.contains("name: tiers.projectcalico.org") && definitions.contains(&one));
}

#[test]
fn the_log_says_nothing_unless_asked_and_can_be_json() {
    let files = Files::shop();
    let list = ["get", "policies", "--policies", "policies"];
    let warned = files.run(&list).stderr;
    assert!(warned.contains("WARN") && warned.contains("endpoints are left out"), "{warned}");
    assert_eq!(files.run(&[&list[..], &["-q"]].concat()).stderr, "");
    let json = files.run(&[&list[..], &["--log-format", "json"]].concat()).stderr;
    let line: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!((line["level"].as_str(), line["target"].as_str()), (Some("WARN"), Some("dockgate::cli::get::policies")));
}

#[test]
fn no_report_replaces_a_file_that_is_read() {
    let files = Files::shop();
    for command in [&["connectivity", "--policies", "policies"][..], &["diff", "policies", "policies"]] {
        let to = |file| files.run(&[command, &["--inventory", "inventory.yaml", "--output", file]].concat());
        for (file, text) in [("inventory.yaml", INVENTORY), ("policies/web.yaml", POLICY)] {
            let answer = to(file);
            assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{command:?} {file}: {answer:?}");
            assert!(
                answer.stderr.contains(&format!("--output {file} is one of the files that are read")),
                "{answer:?}"
            );
            assert_eq!(fs::read_to_string(files.path().join(file)).unwrap(), text, "{command:?}");
        }
        // Nor is the name of a form taken for that of a file.
        assert!(to("json").code == Some(2) && !files.path().join("json").exists(), "{command:?}");
    }
}
