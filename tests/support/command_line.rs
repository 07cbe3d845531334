//! The binary's command line as documents use it: finds `dockgate ...` in text and asks the binary whether it exists.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the binary from the root of the repository, so that relative paths are those of the documents.
pub(crate) fn dockgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dockgate"))
        .args(arguments)
        .current_dir(root())
        .env_remove("DOCKER_HOST")
        .output()
        .expect("the binary that cargo built for this test can be started")
}

/// One use of the binary in a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// Subcommand, its own subcommand if it has any, and arguments; no values of flags stand before the subcommand.
    words: Vec<String>,
    /// Flags, without their values.
    flags: Vec<String>,
}

impl Invocation {
    /// Reads the words after `dockgate`, up to a comment, a redirection or another command.
    pub(crate) fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Invocation {
        const ENDS: [&str; 7] = ["|", "||", "&&", ";", "&", ">", "<"];
        let mut invocation = Invocation { words: Vec::new(), flags: Vec::new() };
        for word in words {
            if word.starts_with('#') || ENDS.iter().any(|end| word.starts_with(end)) {
                break;
            }
            if word.len() > 1 && word.starts_with('-') {
                let flag = word.split_once('=').map_or(word, |(flag, _)| flag);
                invocation.flags.push(flag.to_owned());
            } else {
                invocation.words.push(word.to_owned());
            }
        }
        invocation
    }

    /// The subcommand; empty for `dockgate --version` and the like.
    pub(crate) fn subcommand(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The uses of the binary in shell text: a line whose command, after `sudo` and variables, is `dockgate`.
    /// A backslash at the end of a line continues it.
    pub(crate) fn in_shell(text: &str) -> Vec<Invocation> {
        let joined = text.replace("\\\n", " ");
        joined
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip_while(|word| *word == "sudo" || word.contains('='));
                let command = words.next()?;
                (command.rsplit('/').next() == Some("dockgate")).then(|| Invocation::of_words(words))
            })
            .collect()
    }

    /// What of it the binary does not know, by its own help.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let mut words = self.words.iter().map(String::as_str);
        let mut command = Vec::new();
        let help = loop {
            let output = dockgate(&[command.as_slice(), &["--help"]].concat());
            if !output.status.success() {
                return vec![format!("command `{}`", command.join(" "))];
            }
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            match words.next().filter(|_| help.contains("\nCommands:")) {
                Some(word) => command.push(word),
                None => break help,
            }
        };
        let known: Vec<&str> = help
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '=' | '<'))
            .filter(|word| word.starts_with('-'))
            .collect();
        let unknown = self.flags.iter().filter(|flag| !known.contains(&flag.as_str()));
        unknown.map(|flag| format!("flag `{flag}` of `dockgate {}`", command.join(" "))).collect()
    }
}

/// The fenced code blocks of a Markdown text whose language is one of `languages`.
pub(crate) fn code_blocks(markdown: &str, languages: &[&str]) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in markdown.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((languages.contains(&language.trim()), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
            (None, Some((_, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}
