//! What editors and pipelines are given works: modelines lead to the current schema, and the files of `examples/ci` and
//! the hooks run commands that find what is wrong.

#[expect(dead_code, reason = "shared by several tests; this one asks for no subcommand's name")]
#[path = "support/command_line.rs"]
mod command_line;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use command_line::{Invocation, code_blocks, root};
use dockgate::api;
use serde_json::{Value, json};

/// A policy with an error, and one with a warning.
const ERROR: &str =
    "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec: {tpyes: []}\n";
const WARNING: &str = "\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: a}
spec: {types: [Ingress], egress: [{action: Allow}]}
";

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn list<'a>(value: &'a Value, what: &str) -> &'a [Value] {
    value.as_array().unwrap_or_else(|| panic!("{what} is not a list: {value}"))
}

/// The lines of a pipeline, in order.
fn github_commands() -> Vec<String> {
    let workflow = yaml("examples/ci/github-actions.yaml");
    let steps = list(&workflow["jobs"]["validate"]["steps"], "steps");
    assert!(steps.iter().all(|step| step["run"].is_string() != step["uses"].is_string()), "{steps:#?}");
    steps.iter().filter_map(|step| step["run"].as_str()).map(str::to_owned).collect()
}

fn gitlab_commands() -> Vec<String> {
    let job = &yaml("examples/ci/gitlab-ci.yaml")["network-policies"];
    let lines = list(&job["before_script"], "before_script").iter().chain(list(&job["script"], "script"));
    lines.map(|line| line.as_str().expect("a line of a script is text").to_owned()).collect()
}

/// Runs a line as a pipeline does, in a repository whose `policies/` hold this file.
fn run_in_repository(line: &str, policy: &str) -> (tempfile::TempDir, Output) {
    let repository = tempfile::tempdir().expect("a directory for the test");
    fs::create_dir(repository.path().join("policies")).expect("a directory for the test");
    fs::write(repository.path().join("policies/a.yaml"), policy).expect("a file for the test");
    let output = run_in(repository.path(), line, &[]);
    (repository, output)
}

fn run_in(repository: &Path, line: &str, environment: &[(&str, &str)]) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_dockgate")).parent().expect("the binary is in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .args(["-e", "-c", line])
        .env("PATH", format!("{}:{path}", binary.display()))
        .envs(environment.iter().copied())
        .current_dir(repository)
        .output()
        .expect("every system has a shell")
}

/// Whether each of the lines that use dockgate succeeds, and what it wrote to files.
fn outcomes(lines: &[String], policy: &str) -> Vec<(bool, Option<String>)> {
    let uses = lines.iter().filter(|line| line.starts_with("dockgate validate "));
    uses.map(|line| {
        let (repository, output) = run_in_repository(line, policy);
        let written = line.split_whitespace().skip_while(|word| *word != "--output").nth(1);
        let written = written.map(|file| {
            fs::read_to_string(repository.path().join(file))
                .unwrap_or_else(|error| panic!("{line}: {error}: {output:?}"))
        });
        (output.status.success(), written)
    })
    .collect()
}

#[test]
fn every_command_of_the_pipelines_exists_with_its_options() {
    let readme = code_blocks(&text("examples/ci/README.md"), &["sh"]);
    let lines =
        [github_commands(), gitlab_commands(), readme, hooks().into_iter().map(|hook| hook.0).collect()].concat();
    let used: Vec<Invocation> = lines.iter().flat_map(|line| Invocation::in_shell(line)).collect();
    assert!(used.len() >= 9, "{used:?}");
    for invocation in used {
        assert_eq!(invocation.unknown(), Vec::<String>::new(), "{invocation:?}");
    }
}

#[test]
fn the_workflow_annotates_and_uploads_what_is_found() {
    let lines = github_commands();
    for (policy, succeeds, results) in [(ERROR, false, 1), (WARNING, false, 1)] {
        let [(written, Some(sarif)), (validated, None)] = &outcomes(&lines, policy)[..] else { panic!("{lines:?}") };
        let sarif: Value = serde_json::from_str(sarif).expect("SARIF is JSON");
        let errors = list(&sarif["runs"][0]["results"], "results").iter().filter(|result| result["level"] != "note");
        assert_eq!((*written, *validated, errors.count()), (true, succeeds, results), "{sarif:#}");
    }
    let clean = outcomes(&lines, "");
    assert!(clean.iter().all(|(succeeds, _)| *succeeds), "{clean:?}");
    let line = lines.iter().find(|line| line.contains("--format github")).expect("a step that annotates");
    let output = run_in_repository(line, ERROR).1;
    assert!(String::from_utf8_lossy(&output.stdout).contains("::error file=policies/a.yaml,line=4"), "{output:?}");

    let workflow = yaml("examples/ci/github-actions.yaml");
    let steps = list(&workflow["jobs"]["validate"]["steps"], "steps");
    let upload = steps.iter().find(|step| step["name"] == "Upload SARIF").expect("a step that uploads");
    assert!(lines.iter().any(|line| {
        line.contains(&format!("--output {}", upload["with"]["sarif_file"].as_str().unwrap_or("nothing")))
    }));
}

#[test]
fn the_gitlab_job_writes_both_reports_and_fails_at_its_end() {
    let lines = gitlab_commands();
    for policy in [ERROR, WARNING] {
        let outcomes = outcomes(&lines, policy);
        let [(true, Some(quality)), (true, Some(junit)), (false, None)] = &outcomes[..] else {
            panic!("{outcomes:#?}")
        };
        let quality: Value = serde_json::from_str(quality).expect("Code Quality is JSON");
        assert!(!list(&quality, "Code Quality").is_empty() && junit.contains("<testsuite"), "{quality:#} {junit}");
    }
    assert!(outcomes(&lines, "").iter().all(|(succeeds, _)| *succeeds));
    let reports = &yaml("examples/ci/gitlab-ci.yaml")["network-policies"]["artifacts"]["reports"];
    for report in ["codequality", "junit"] {
        let files = reports[report].as_str().map_or_else(
            || list(&reports[report], "reports").iter().filter_map(Value::as_str).collect(),
            |file| vec![file],
        );
        assert!(!files.is_empty(), "{report}");
        for file in files {
            assert!(lines.iter().any(|line| line.contains(&format!("--output {file}"))), "{file}");
        }
    }
}

/// A git repository with a policy, a test of it and a world; a change, not committed, opens the
/// database to `api`.
fn repository_with_a_change() -> tempfile::TempDir {
    let repository = tempfile::tempdir().expect("a directory for the test");
    let shop = root().join("examples/shop");
    for directory in ["policies", "policy-tests"] {
        fs::create_dir(repository.path().join(directory)).expect("a directory for the test");
    }
    let put = |from: &str, to: &str| {
        let text = fs::read_to_string(shop.join(from)).expect("an example can be read");
        // The example's test lies beside its policies.
        let text = text.replace("policies: [.]", "policies: [../policies]").replace("[compose.", "[../compose.");
        fs::write(repository.path().join(to), text).expect("a file for the test");
    };
    for file in ["web.yaml", "api.yaml", "default-deny.yaml"] {
        put(file, &format!("policies/{file}"));
    }
    put("inventory.yaml", "inventory.yaml");
    put("compose.yaml", "compose.yaml");
    put("tests.yaml", "policy-tests/shop.yaml");
    let commit = "git init -q . && git add . && \
        git -c user.name=a -c user.email=a@example.org -c commit.gpgsign=false commit -q -m shop";
    let output = run_in(repository.path(), commit, &[]);
    assert!(output.status.success(), "{output:?}");
    put("db.yaml", "policies/db.yaml");
    repository
}

#[test]
fn the_pipelines_judge_tests_and_tell_what_a_change_opens() {
    let repository = repository_with_a_change();
    let base = run_in(repository.path(), "git rev-parse HEAD", &[]);
    let base = String::from_utf8_lossy(&base.stdout).trim().to_owned();
    for (lines, variable) in [(github_commands(), "BASE"), (gitlab_commands(), "CI_MERGE_REQUEST_DIFF_BASE_SHA")] {
        let find = |word: &str| lines.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word}"));
        let judge = find("dockgate test ");
        // The lines of a script are of one shell.
        let compare = lines.iter().filter(|line| line.contains("before")).cloned().collect::<Vec<_>>().join("\n");
        let output = run_in(repository.path(), &compare, &[(variable, &base), ("GITHUB_STEP_SUMMARY", "summary.md")]);
        assert!(output.status.success(), "{compare}: {output:?}");
        let told = fs::read_to_string(repository.path().join("diff.md")).expect("the comment was written");
        assert!(told.contains("widened") && told.contains("5432"), "{told}");
        fs::remove_file(repository.path().join("diff.md")).expect("it was read above");
        // The request that brings the first policies has none before it.
        let unborn = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let output = run_in(repository.path(), &compare, &[(variable, unborn), ("GITHUB_STEP_SUMMARY", "summary.md")]);
        assert!(output.status.success(), "{compare}: {output:?}");

        let output = run_in(repository.path(), judge, &[]);
        assert!(output.status.success(), "{judge}: {output:?}");
        let web = repository.path().join("policies/web.yaml");
        let kept = fs::read(&web).expect("it was put there");
        fs::remove_file(&web).expect("it is there");
        assert_eq!(run_in(repository.path(), judge, &[]).status.code(), Some(1), "{judge}");
        fs::write(&web, kept).expect("it was there before");
    }
    assert!(fs::read_to_string(repository.path().join("summary.md")).is_ok_and(|told| told.contains("5432")));
}

/// The command of each hook with its arguments, as pre-commit runs it, and the pattern of its files.
fn hooks() -> Vec<(String, String)> {
    let hooks = yaml(".pre-commit-hooks.yaml");
    let hook = |hook: &Value| {
        let text = |name: &str| hook[name].as_str().unwrap_or_else(|| panic!("{hook}: no {name}")).to_owned();
        let arguments: Vec<&str> = list(&hook["args"], "args").iter().filter_map(Value::as_str).collect();
        assert_eq!(hook["pass_filenames"], false, "{hook}");
        assert!(
            !text("id").is_empty() && !text("name").is_empty() && ["rust", "system"].contains(&&text("language")[..])
        );
        (format!("{} {}", text("entry"), arguments.join(" ")), text("files"))
    };
    list(&hooks, "hooks").iter().map(hook).collect()
}

#[test]
fn the_hooks_check_the_policies_when_one_of_them_changes() {
    for (line, files) in hooks() {
        for (policy, code) in [(ERROR, 1), (WARNING, 1), ("", 0)] {
            assert_eq!(run_in_repository(&line, policy).1.status.code(), Some(code), "{line}: {policy}");
        }
        let pattern = jsonschema::draft7::new(&json!({ "pattern": files })).expect("a pattern");
        for (file, concerns) in [
            ("policies/a.yaml", true),
            ("policies/shop/b.yml", true),
            ("policies/README.md", false),
            ("compose.yaml", false),
            ("old-policies/a.yaml", false),
        ] {
            assert_eq!(pattern.is_valid(&json!(file)), concerns, "{file}");
        }
    }
    let configuration = yaml("examples/ci/pre-commit-config.yaml");
    let used = &configuration["repos"][0]["hooks"][0]["id"];
    assert!(list(&yaml(".pre-commit-hooks.yaml"), "hooks").iter().any(|hook| hook["id"] == *used), "{used}");
}

/// Every YAML file of the examples with documents that dockgate reads.
fn documents() -> Vec<PathBuf> {
    let listed = |path: PathBuf| {
        fs::read_dir(path)
            .expect("the examples can be listed")
            .map(|entry| entry.expect("a directory can be listed to its end").path())
    };
    let directories = listed(root().join("examples")).filter(|path| path.is_dir() && !path.ends_with("ci"));
    directories
        .flat_map(listed)
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("compose.yaml"))
        .collect()
}

#[test]
fn the_examples_tell_editors_the_schema_that_is_current() {
    let documents = documents();
    assert!(documents.len() > 15, "{documents:?}");
    for path in documents {
        // The owner's policy is shown word for word.
        if path.ends_with("owner/allow-web-to-api.yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("an example is text");
        // A modeline is about the document that it stands in, not about the file.
        for document in text.split("---\n") {
            let first = document.lines().next().unwrap_or_default();
            let schema = first.strip_prefix("# yaml-language-server: $schema=");
            let schema = schema.unwrap_or_else(|| panic!("{}: no modeline but `{first}`", path.display()));
            let schema = path.parent().expect("a file is in a directory").join(schema);
            let schema = fs::read_to_string(&schema).unwrap_or_else(|error| panic!("{}: {error}", schema.display()));
            assert_eq!(schema, api::any_schema_json(), "{}", path.display());
        }
    }
}
