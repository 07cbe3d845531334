//! The steps of a page: files, commands, and what these print, in the order in which a reader meets them.
//!
//! Input: Markdown. Output: its fenced blocks, as what they ask of the reader. A YAML block whose first line is `# FILE` is
//! that file. A line of a `sh` block is a command, which says after `# exit code` how it ends unless that is 0, and may say
//! after `# prints` what it prints. A `text` block is what the last command printed.

/// What a reader does, or sees.
#[derive(Debug)]
pub(crate) enum Step {
    /// Writes a file.
    File {
        /// Its name, as the page has it.
        name: String,
        /// All of it.
        content: String,
    },
    /// Types a command.
    Command(Command),
    /// Sees this of the last command.
    Output(String),
}

/// A command and what the page promises of it.
#[derive(Debug)]
pub(crate) struct Command {
    /// The line, without a promise.
    pub(crate) line: String,
    /// How it ends.
    pub(crate) exit_code: i32,
    /// What it prints, where the page says so beside it.
    pub(crate) prints: Option<String>,
}

impl Command {
    fn new(line: &str) -> Command {
        let (line, promise) = line.split_once("    # ").unwrap_or((line, ""));
        let code = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|code| code.parse().ok());
        let exit_code = promise.strip_prefix("exit code ").map(|rest| code(rest).expect("an exit code is a number"));
        let prints = promise.strip_prefix("prints ").map(str::to_owned);
        assert!(promise.is_empty() || exit_code.is_some() || prints.is_some(), "`{promise}` is no promise to be held");
        Command { line: line.to_owned(), exit_code: exit_code.unwrap_or(0), prints }
    }

    /// Whether it needs root, Docker or a repository of the reader's own.
    pub(crate) fn needs_host(&self) -> bool {
        ["sudo ", "docker ", "git "].iter().any(|marked| self.line.starts_with(marked))
    }
}

/// The steps of a page.
pub(crate) fn steps(markdown: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for (language, body) in blocks(markdown) {
        match language.as_str() {
            "yaml" => {
                let (name, _) = body.split_once('\n').expect("a file has a line");
                let name = name.strip_prefix("# ").expect("the first line of a file is its name").to_owned();
                steps.push(Step::File { name, content: body });
            }
            "sh" => {
                let text = body.replace("\\\n", " ");
                let lines = text.lines().filter(|line| !line.is_empty());
                steps.extend(lines.map(|line| Step::Command(Command::new(line))));
            }
            "text" => steps.push(Step::Output(body)),
            other => panic!("a block of language {other:?} is neither a file, nor commands, nor their output"),
        }
    }
    steps
}

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
