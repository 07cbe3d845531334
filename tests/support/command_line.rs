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
    /// The subcommand; empty for `dockgate --version` and the like.
    pub(crate) subcommand: String,
    /// Flags, without their values.
    pub(crate) flags: Vec<String>,
}

impl Invocation {
    /// Reads the words after `dockgate`, up to a comment, a redirection or another command.
    pub(crate) fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Invocation {
        const ENDS: [&str; 7] = ["|", "||", "&&", ";", "&", ">", "<"];
        let mut invocation = Invocation { subcommand: String::new(), flags: Vec::new() };
        let mut first = true;
        for word in words {
            if word.starts_with('#') || ENDS.iter().any(|end| word.starts_with(end)) {
                break;
            }
            if word.len() > 1 && word.starts_with('-') {
                let flag = word.split_once('=').map_or(word, |(flag, _)| flag);
                invocation.flags.push(flag.to_owned());
            } else if first {
                word.clone_into(&mut invocation.subcommand);
            }
            first = false;
        }
        invocation
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
        let arguments: &[&str] =
            if self.subcommand.is_empty() { &["--help"] } else { &[self.subcommand.as_str(), "--help"] };
        let output = dockgate(arguments);
        if !output.status.success() {
            return vec![format!("subcommand `{}`", self.subcommand)];
        }
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        let known: Vec<&str> = help
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '=' | '<'))
            .filter(|word| word.starts_with('-'))
            .collect();
        self.flags
            .iter()
            .filter(|flag| !known.contains(&flag.as_str()))
            .map(|flag| format!("flag `{flag}` of `dockgate {}`", self.subcommand))
            .collect()
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
