//! `docs/tutorial.md` without a host: files are written and commands run in the order in which a reader meets them.
//!
//! What needs a host of the reader's own is not run here (`tests/enforcement/tutorial.rs` does that), and what it says to
//! dockgate must parse.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use clap::Parser as _;
use dockgate::cli::Cli;

use super::steps::{Command, Step, steps};
use super::{page, root, text};

/// Parses what a line that is not run says to dockgate; true if it says anything.
fn parses(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let command = words.strip_prefix(&["sudo"]).unwrap_or(&words);
    if command.first() != Some(&"dockgate") {
        return false;
    }
    let end = command.iter().position(|word| word.starts_with(['#', '>', '|', '<'])).unwrap_or(command.len());
    if let Err(error) = Cli::try_parse_from(&command[..end]) {
        panic!("{line}: {error}");
    }
    true
}

/// Runs a line as a shell does, with the binary on the path and no engine; its output.
fn run(command: &Command, directory: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_dockgate"));
    let path = format!("{}:/usr/bin:/bin", binary.parent().expect("a binary lies in a directory").display());
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &command.line])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .expect("a shell can be started");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(command.exit_code), "{command:?}\n{stdout}{stderr}");
    stdout
}

#[test]
fn the_steps_of_the_tutorial_work_as_they_are_told() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    symlink(root().join("examples"), directory.path().join("examples")).expect("a link can be made");
    let (mut files, mut commands, mut parsed, mut shown) = (0, 0, 0, 0);
    let mut said = String::new();
    for step in steps(&text(&page("tutorial.md"))) {
        match step {
            Step::File { name, content } => {
                fs::write(directory.path().join(&name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
                files += 1;
            }
            Step::Command(command) if command.needs_host() => parsed += usize::from(parses(&command.line)),
            Step::Command(command) => {
                commands += 1;
                said = run(&command, directory.path());
            }
            Step::Output(output) => {
                assert_eq!(said, output, "the output that is shown");
                shown += 1;
            }
        }
    }
    assert!(files >= 4 && commands >= 12 && parsed >= 6 && shown >= 2, "{files} {commands} {parsed} {shown}");
}

#[test]
fn a_command_that_does_not_exist_would_be_found() {
    assert!(parses("sudo dockgate get endpoints > file"));
    assert!(!parses("sudo ls"));
    assert!(std::panic::catch_unwind(|| parses("sudo dockgate enforce --now")).is_err());
}
