//! `dockgate man`: manual pages, one for each command.
//!
//! Input: the definition of the command line. Output: roff, on standard output or as files. The pages are made by the
//! binary and not at build time, so that whoever packages it needs nothing but the binary.

#![expect(clippy::disallowed_methods, reason = "the door to the directory of the manual pages")]

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::failure::Failure;
use super::{Cli, EXIT_CODES, Outcome};

/// Print a manual page, or write all of them
///
/// `dockgate man explain | man -l -` shows one. `dockgate man --output DIR` writes all of them into a directory of section 1,
/// e.g. `/usr/local/share/man/man1`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The command whose page is printed, e.g. `explain` or `get endpoints` [default: dockgate itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write a page for every command into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

/// A manual page.
struct Page {
    /// The command with its subcommands, as they are joined in the name of the page: `dockgate-get-endpoints`.
    name: String,
    roff: Vec<u8>,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let pages = pages()?;
        if let Some(directory) = self.output {
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
            for page in pages {
                let path = directory.join(format!("{}.1", page.name));
                fs::write(&path, page.roff).with_context(|| format!("cannot write {}", path.display()))?;
            }
            return Ok(Outcome::Yes);
        }
        let name = [&["dockgate".to_owned()], self.command.as_slice()].concat().join("-");
        let page = pages.into_iter().find(|page| page.name == name).ok_or_else(|| Failure {
            message: format!("there is no command `{}`", self.command.join(" ")),
            help: "`dockgate --help` lists the commands".to_owned(),
        })?;
        output.write_all(&page.roff)?;
        Ok(Outcome::Yes)
    }
}

/// The pages of the program and of every command below it.
fn pages() -> anyhow::Result<Vec<Page>> {
    // `help` repeats every command; it is no command that has something to say.
    let mut program = Cli::command().disable_help_subcommand(true);
    // Gives every command its full name and the options of all of them.
    program.build();
    let mut pages = Vec::new();
    let mut open = vec![program];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let roff = page(command).with_context(|| format!("cannot make the page of {name}"))?;
        pages.push(Page { name, roff });
    }
    Ok(pages)
}

/// One page. The generator's own order of sections has none for exit codes.
fn page(command: Command) -> io::Result<Vec<u8>> {
    let has_commands = command.has_subcommands();
    let man = Man::new(command).source(concat!("dockgate ", env!("CARGO_PKG_VERSION"))).manual("dockgate");
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if has_commands {
        man.render_subcommands_section(&mut roff)?;
    }
    // The text has nothing that roff would take for its own.
    writeln!(roff, ".SH \"EXIT STATUS\"\n{EXIT_CODES}")?;
    Ok(roff)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every command, by the name of its page.
    fn names(command: &Command, prefix: &str) -> BTreeSet<String> {
        let name =
            if prefix.is_empty() { command.get_name().to_owned() } else { format!("{prefix}-{}", command.get_name()) };
        command.get_subcommands().flat_map(|command| names(command, &name)).chain([name.clone()]).collect()
    }

    #[test]
    fn every_command_has_a_page_with_its_name_usage_and_options() {
        let pages = pages().unwrap();
        let made: BTreeSet<String> = pages.iter().map(|page| page.name.clone()).collect();
        assert_eq!(made, names(&Cli::command(), ""));
        assert!(made.contains("dockgate-get-endpoints"), "{made:?}");
        for page in pages {
            let text = String::from_utf8(page.roff).unwrap();
            assert!(text.lines().any(|line| line.starts_with(&format!(".TH {} 1", page.name))), "{text}");
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
                assert!(text.lines().any(|line| line == format!(".SH {section}")), "{}: no {section}", page.name);
            }
            assert!(text.contains("\\-\\-help"), "{}", page.name);
            assert!(text.ends_with(&format!(".SH \"EXIT STATUS\"\n{EXIT_CODES}\n")), "{}", page.name);
        }
    }

    #[test]
    fn no_line_of_text_is_taken_for_a_request() {
        // What roff knows and the generator uses; a line of text that began with a dot would be lost.
        const REQUESTS: [&str; 8] = [".ie", ".el", ".TH", ".SH", ".TP", ".RS", ".RE", ".br"];
        for page in pages().unwrap() {
            let text = String::from_utf8(page.roff).unwrap();
            for line in text.lines().filter(|line| line.starts_with(['.', '\''])) {
                let known = REQUESTS.iter().any(|request| line.split_whitespace().next() == Some(request));
                assert!(known || line == ".PP" || line == ".IP" || line.starts_with(".IP "), "{}: {line}", page.name);
            }
        }
    }
}
