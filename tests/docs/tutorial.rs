//! `docs/tutorial.md`: files are written and commands run in the order in which a reader meets them.
//!
//! A YAML block whose first line is `# FILE` is that file. Lines that need root, Docker or a repository of one's own begin
//! with `sudo`, `docker` or `git`: they are not run, and what they say to dockgate must parse. Every other line of a `sh`
//! block is run, and says after `# exit code` how it ends unless that is 0. A `text` block is what the last one printed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use dockgate::cli::Cli;

use super::{page, root, text};

/// The fenced blocks of a page: language and body.
fn blocks(markdown: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in markdown.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

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
fn run(line: &str, directory: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_dockgate"));
    let path = format!("{}:/usr/bin:/bin", binary.parent().expect("a binary lies in a directory").display());
    let output = Command::new("/bin/sh")
        .args(["-c", line])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .expect("a shell can be started");
    let promised = line.split_once("# exit code ").map_or(0, |(_, code)| {
        code.split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|code| code.parse().ok())
            .expect("an exit code is a number")
    });
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(promised), "{line}\n{stdout}{stderr}");
    stdout
}

#[test]
fn the_steps_of_the_tutorial_work_as_they_are_told() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    symlink(root().join("examples"), directory.path().join("examples")).expect("a link can be made");
    let (mut files, mut commands, mut parsed, mut shown) = (0, 0, 0, 0);
    let mut said = String::new();
    for (language, body) in blocks(&text(&page("tutorial.md"))) {
        match language.as_str() {
            "yaml" => {
                let (name, _) = body.split_once('\n').expect("a file has a line");
                let name = name.strip_prefix("# ").expect("the first line of a file is its name");
                fs::write(directory.path().join(name), &body).unwrap_or_else(|error| panic!("{name}: {error}"));
                files += 1;
            }
            "sh" => {
                for line in body.replace("\\\n", " ").lines().filter(|line| !line.is_empty()) {
                    if ["sudo ", "docker ", "git "].iter().any(|marked| line.starts_with(marked)) {
                        parsed += usize::from(parses(line));
                    } else {
                        commands += 1;
                        said = run(line, directory.path());
                    }
                }
            }
            "text" => {
                assert_eq!(said, body, "the output that is shown");
                shown += 1;
            }
            other => panic!("a block of language {other:?} is neither a file, nor commands, nor their output"),
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
