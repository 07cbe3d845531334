//! The documents are true where a machine can tell: commands and flags exist, links lead to files.

#[path = "support/command_line.rs"]
mod command_line;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use command_line::{Invocation, code_blocks, dockgate, root};

/// Documents for people, from the root of the repository. Those of the examples are checked by `tests/examples.rs`.
const DOCUMENTS: [&str; 13] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/README.md",
    "docs/commands.md",
    "docs/connectivity.md",
    "docs/diagnostics.md",
    "docs/diff.md",
    "docs/explain.md",
    "docs/performance.md",
    "docs/policy.md",
    "docs/tutorial.md",
    "helm-free-deploy/README.md",
];

fn text(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The uses of the binary in the code blocks and in the inline code of a document.
fn invocations(document: &str) -> Vec<Invocation> {
    let text = text(document);
    let blocks = code_blocks(&text, &["sh", "console"]).into_iter().flat_map(|block| Invocation::in_shell(&block));
    let prose = text.split("```").step_by(2).collect::<String>();
    let inline: Vec<&str> = prose.split('`').skip(1).step_by(2).collect();
    blocks.chain(inline.into_iter().flat_map(Invocation::in_shell)).collect()
}

/// The targets of the Markdown links of a document that lead into the repository.
fn relative_links(document: &str) -> Vec<String> {
    text(document)
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_command_in_the_documents_exists_with_its_flags() {
    for document in DOCUMENTS {
        for invocation in invocations(document) {
            if invocation.subcommand() == "COMMAND" {
                continue;
            }
            assert_eq!(invocation.unknown(), Vec::<String>::new(), "{document}: {invocation:?}");
        }
    }
}

#[test]
fn commands_end_with_the_exit_code_that_the_readme_promises() {
    let text = code_blocks(&text("README.md"), &["sh"]).concat().replace("\\\n", " ");
    let promises = text.lines().filter_map(|line| {
        let (command, promise) = line.split_once("# exit code ")?;
        let code: i32 = promise.get(..1)?.parse().ok()?;
        Some((command.strip_prefix("dockgate ")?.split_whitespace().collect::<Vec<_>>(), code))
    });
    let mut kept = 0;
    for (arguments, code) in promises {
        let output = dockgate(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        kept += 1;
    }
    assert!(
        kept >= 5,
        "the README shows a check, an allowed and a denied connection, and both of Compose files: {kept}"
    );
}

#[test]
fn the_readme_names_every_command_and_no_other() {
    let help = dockgate(&["--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let commands = help.split("Commands:").nth(1).unwrap_or_default();
    let real: BTreeSet<String> = commands
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(real.contains("run"), "{help}");

    let readme = text("README.md");
    let table = readme.split("## Commands").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let named: BTreeSet<String> = table
        .lines()
        .filter(|line| line.starts_with("| `dockgate"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .flat_map(Invocation::in_shell)
        .map(|invocation| invocation.subcommand().to_owned())
        .collect();
    assert_eq!(named, real);
}

#[test]
fn the_explanation_that_is_shown_is_what_the_binary_says() {
    let document = text("docs/explain.md");
    let command = code_blocks(&document, &["sh"])[0].replace("\\\n", " ");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let output = dockgate(&arguments);
    assert_eq!(String::from_utf8_lossy(&output.stdout), code_blocks(&document, &["text"])[0], "{command}");
}

#[test]
fn every_relative_link_leads_to_a_file() {
    for document in DOCUMENTS {
        let directory = root().join(document).parent().map_or_else(PathBuf::new, PathBuf::from);
        for link in relative_links(document) {
            assert!(directory.join(&link).exists(), "{document} links to {link}, which does not exist");
        }
    }
}

#[test]
fn the_policy_on_the_first_screen_is_the_example() {
    let shown = code_blocks(&text("README.md"), &["yaml"]);
    let example = text("examples/owner/allow-web-to-api.yaml");
    let example = example.split_once('\n').map_or("", |(_, body)| body);
    assert_eq!(shown.first().map(String::as_str), Some(example));
}

#[test]
fn connectivity_prints_what_the_documents_show() {
    for document in ["README.md", "docs/connectivity.md"] {
        let text = text(document);
        let (before, after) =
            text.split_once("```\n\n```text\nFROM ").unwrap_or_else(|| panic!("{document} shows none"));
        let (_, commands) = before.rsplit_once("```sh\n").expect("a block of shell is before it");
        let (command, _) = commands.trim_end().split_once(" #").unwrap_or((commands.trim_end(), ""));
        let shown = format!("FROM {}", after.split_once("```").expect("the block ends").0);
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let output = dockgate(&arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "{document}: {command}");
    }
    // The other commands of that page are questions that have an answer.
    let page = text("docs/connectivity.md");
    let commands = code_blocks(&page, &["sh"]).concat().replace("\\\n", " ");
    for command in commands.lines().filter(|line| !line.contains('"')) {
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        assert_eq!(dockgate(&arguments).status.code(), Some(0), "{command}");
    }
}
