//! `docs/commands.md`: every command, from the definition of the command line, and the README's word on exit code 1.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, CommandFactory};
use dockgate::cli::Cli;

use super::{hold, page, root, text};

const HEAD: &str = "\
<!-- Made from the command line's own definition by `UPDATE_DOCS=1 cargo test --test docs`. -->

# Commands

The same as `dockgate COMMAND --help` says; `dockgate man` makes manual pages of it. Exit codes are the same everywhere: 0
yes or clean, 1 the negative answer, 2 could not run. An option with a variable can be set by that as well.
";

/// Every command that can be called, with its subcommands.
fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn reference() -> String {
    let program = program();
    let mut text = HEAD.to_owned();
    for command in program.get_subcommands() {
        write_command(&mut text, command, command.get_name(), 2);
    }
    text.push_str("\n## Options of every command\n\n");
    write_options(&mut text, program.get_arguments().filter(|argument| argument.is_global_set()));
    text
}

fn write_command(text: &mut String, command: &Command, path: &str, level: usize) {
    let _ = write!(text, "\n{} dockgate {path}\n\n", "#".repeat(level));
    let about = command.get_long_about().or_else(|| command.get_about());
    let _ = writeln!(text, "{}", about.map(StyledStr::to_string).unwrap_or_default().trim_end());
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let _ = write!(text, "\n```text\n{usage}\n```\n");
    if level == 2
        && let Some(meaning) = exit_one(path)
    {
        let _ = write!(text, "\nExit code 1: {meaning}.\n");
    }
    let own = page(&format!("{path}.md"));
    if own.exists() {
        let _ = write!(text, "\nMore: [{path}.md]({path}.md)\n");
    }
    let options: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help")
        .collect();
    if !options.is_empty() {
        text.push('\n');
        write_options(text, options.into_iter());
    }
    for subcommand in command.get_subcommands() {
        write_command(text, subcommand, &format!("{path} {}", subcommand.get_name()), level + 1);
    }
}

fn write_options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    for argument in arguments {
        let values = argument.get_value_names().unwrap_or_default().join(" ");
        let takes_values = argument.get_action().takes_values();
        let mut forms: Vec<String> = argument.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
        match argument.get_long() {
            Some(long) if takes_values => forms.push(format!("`--{long} {values}`")),
            Some(long) => forms.push(format!("`--{long}`")),
            None => forms.push(format!("`{values}`")),
        }
        let help = argument.get_long_help().or_else(|| argument.get_help());
        let help = help.map(StyledStr::to_string).unwrap_or_default().replace("\n\n", "\n\n  ");
        let mut remarks = Vec::new();
        let says_so = help.contains("repeated") || help.contains("several");
        if matches!(argument.get_action(), ArgAction::Append | ArgAction::Count) && !says_so {
            remarks.push("can be repeated".to_owned());
        }
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if takes_values && !defaults.is_empty() {
            remarks.push(format!("default `{}`", defaults.join(" ")));
        }
        if let Some(variable) = argument.get_env() {
            remarks.push(format!("variable `{}`", variable.to_string_lossy()));
        }
        let remarks = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) };
        let _ = writeln!(text, "- {}: {}{remarks}", forms.join(", "), help.trim_end());
        let values = argument.get_possible_values();
        for value in values.iter().filter(|value| !value.is_hide_set()) {
            let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
            let _ = writeln!(text, "  - `{}`{help}", value.get_name());
        }
    }
}

/// What the table of the README says of exit code 1 of a command.
fn exit_one(command: &str) -> Option<String> {
    let readme = text(&root().join("README.md"));
    let word = format!("dockgate {command}");
    let row = readme.lines().find(|line| {
        let names = line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2);
        line.starts_with("| `dockgate")
            && names.into_iter().any(|name| name == word || name.starts_with(&format!("{word} ")))
    });
    let row = row.unwrap_or_else(|| panic!("the README's table of commands has no row for {command}"));
    let meaning = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
    (!meaning.is_empty()).then(|| meaning.to_owned())
}

#[test]
fn the_page_is_what_the_command_line_says() {
    hold("commands.md", &reference());
}

#[test]
fn every_command_and_every_option_is_on_the_page() {
    fn check(command: &Command, path: &str, page: &str) {
        assert!(page.lines().any(|line| line.trim_start_matches('#') == format!(" {path}")), "{path} has no heading");
        let about = command.get_about().map(StyledStr::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{path} says nothing of itself");
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            if let Some(long) = argument.get_long() {
                assert!(page.contains(&format!("`--{long}")), "{path}: --{long} is missing");
            }
        }
        for subcommand in command.get_subcommands() {
            check(subcommand, &format!("{path} {}", subcommand.get_name()), page);
        }
    }
    let page = reference();
    for command in program().get_subcommands() {
        check(command, &format!("dockgate {}", command.get_name()), &page);
    }
}
