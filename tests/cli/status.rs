//! `status` and `cleanup` against the real control socket and lock.

use dockgate::policy::Severity;
use dockgate::telemetry::{self, Finding, Lock, PoliciesStatus, Status};
use tokio::sync::watch;

use super::*;

/// Runs `status` while a controller with this status holds the state directory.
async fn status_of(status: Status, more: &'static [&'static str]) -> Answer {
    let files = Files::new(&[]);
    let lock = Lock::acquire(&files.path().join("state")).unwrap();
    let (_publish, latest) = watch::channel(status);
    let server = tokio::spawn(telemetry::serve(telemetry::bind(&lock).unwrap(), latest));
    let asked = move || files.run(&[&["status", "--state-dir", "state"], more].concat());
    let answer = tokio::task::spawn_blocking(asked).await.unwrap();
    server.abort();
    answer
}

fn healthy() -> Status {
    Status { version: "0.1.0".to_owned(), pid: 77, ready: true, in_sync: true, ..Status::default() }
}

/// The owner's case: a broken edit of a file, whose last good version stays in force.
fn held() -> Status {
    let file = PathBuf::from("policies/web.yaml");
    Status {
        ready: false,
        problems: vec!["policies/web.yaml:6:3: unknown field `selektor`".to_owned()],
        policies: PoliciesStatus {
            directory: "policies".into(),
            files: 1,
            policies: 1,
            held: vec![file.clone()],
            diagnostics: vec![Finding {
                severity: Severity::Error,
                code: "DG2004".to_owned(),
                message: "unknown field `selektor`".to_owned(),
                file,
                line: 6,
                column: 3,
                field: "spec.selektor".to_owned(),
                help: None,
            }],
            missing: vec![],
        },
        ..healthy()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_whether_policy_is_in_force() {
    for (name, status, code) in [
        ("healthy", healthy(), 0),
        ("not ready", Status { ready: false, ..healthy() }, 1),
        ("not in sync", Status { in_sync: false, ..healthy() }, 1),
        ("a held file", held(), 1),
    ] {
        let answer = status_of(status, &[]).await;
        assert_eq!(answer.code, Some(code), "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_file_is_named_with_line_and_column() {
    let answer = status_of(held(), &[]).await;
    for line in [
        "not ready: the kernel holds the rules, but see below\n",
        "  held       policies/web.yaml: its last good version is in force\n",
        "  error      policies/web.yaml:6:3: unknown field `selektor` [DG2004]\n",
    ] {
        assert!(answer.stdout.contains(line), "{line}\n{}", answer.stdout);
    }
    let json = status_of(held(), &["-o", "json"]).await.json();
    assert_eq!((&json["running"], &json["ready"], &json["in_sync"]), (&true.into(), &false.into(), &true.into()));
    assert_eq!(json["policies"]["diagnostics"][0]["line"], 6);
}

#[test]
fn no_controller_is_an_answer_and_not_a_failure() {
    let files = Files::new(&[]);
    let answer = files.run(&["status", "--state-dir", "state"]);
    assert_eq!((answer.stdout.as_str(), answer.code), ("not ready: no controller is running on state\n", Some(1)));
    let json = files.run(&["status", "--state-dir", "state", "-o", "json"]).json();
    assert_eq!((&json["running"], &json["ready"]), (&false.into(), &false.into()));
}

#[test]
fn cleanup_leaves_a_running_controllers_rules_alone() {
    let files = Files::new(&[]);
    let _lock = Lock::acquire(&files.path().join("state")).unwrap();
    let answer = files.run(&["cleanup", "--state-dir", "state"]);
    let expected = format!(
        "error: a controller is running: state is in use by process {}\n\
         help: stop it first, or use --force; it puts everything back at its next check\n",
        std::process::id()
    );
    assert_eq!((answer.stderr.as_str(), answer.code), (expected.as_str(), Some(2)), "{answer:?}");
}

#[test]
fn a_second_controller_is_refused() {
    let files = Files::shop();
    let _lock = Lock::acquire(&files.path().join("state")).unwrap();
    let answer = files.run(&["run", "--policies", "policies", "--state-dir", "state"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    let expected = format!("error: state is in use by process {}\n", std::process::id());
    assert!(answer.stderr.starts_with(&expected), "{answer:?}");
}
