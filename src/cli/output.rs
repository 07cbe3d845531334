//! Standard output: colours where they are wanted, tables, JSON and YAML, and readers that have seen enough.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::ValueEnum;
use comfy_table::Table;
use serde::Serialize;

/// Style of a yes.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Style of a no.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Style of a remark.
pub(super) const REMARK: Style = AnsiColor::Cyan.on_default();

/// The form of an answer: for people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AnswerFormat {
    /// For people
    Human,
    /// For machines; the fields are an interface
    Json,
}

/// Standard output.
///
/// A reader that went away (`dockgate get endpoints | head -1`) has seen enough: what is written after that is dropped,
/// and the exit code stays the command's own answer.
pub(super) struct Output {
    stream: BufWriter<AutoStream<io::Stdout>>,
    unread: bool,
}

impl Output {
    pub(super) fn new() -> Output {
        Output { stream: BufWriter::new(AutoStream::auto(io::stdout())), unread: false }
    }

    fn tolerate<T>(&mut self, result: io::Result<T>, unread: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread = true;
                Ok(unread)
            }
            result => result,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unread {
            return Ok(bytes.len());
        }
        let result = self.stream.write(bytes);
        self.tolerate(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.unread {
            return Ok(());
        }
        let result = self.stream.flush();
        self.tolerate(result, ())
    }
}

/// What is written, without colours.
pub(super) fn plain(write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut stream = anstream::StripStream::new(Vec::new());
    write(&mut stream)?;
    String::from_utf8(stream.into_inner()).context("what is to be written is not text")
}

/// Prints indented JSON and a line break.
pub(super) fn json(output: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot print the answer as JSON")?;
    writeln!(output, "{text}")?;
    Ok(())
}

/// Prints a YAML document.
pub(super) fn yaml(output: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_yaml::to_string(value).context("cannot print the answer as YAML")?;
    writeln!(output, "{}", text.trim_end())?;
    Ok(())
}

/// Prints aligned columns under a header.
pub(super) fn table(output: &mut dyn Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| if cell.is_empty() { "-".into() } else { printable(cell) }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    writeln!(output, "{}", table.trim_fmt())
}

/// The text with control characters escaped, so that a label or a file name cannot write to the terminal, nor be read
/// backwards there.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(has_effect) {
        return Cow::Borrowed(text);
    }
    // The marks are escaped as control characters are: `\u{202e}`.
    let escape = |c: char| if has_effect(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Whether a character does something to those around it: control characters, marks of direction, separators of lines.
fn has_effect(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || matches!(c, '\u{2028}' | '\u{2029}')
}

/// `1 policy`, `2 policies`.
pub(super) fn count(number: usize, singular: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { singular } else { plural })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_leave_no_space_at_the_end() {
        let mut out = Vec::new();
        let rows = [vec!["a".to_owned(), "longer".to_owned()], vec!["name".to_owned(), String::new()]];
        table(&mut out, &["NAME", "X"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME   X\na      longer\nname   -\n");
    }

    #[test]
    fn a_text_for_a_file_has_no_colours() {
        let text = plain(|output| Ok(writeln!(output, "{BAD}ü{BAD:#}")?));
        assert_eq!(text.unwrap(), "ü\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("plain ü"), "plain ü");
        assert_eq!(printable("\u{1b}[31mred\n"), "\\u{1b}[31mred\\n");
        assert_eq!(printable("ü\u{202e}txt.exe"), "ü\\u{202e}txt.exe");
    }
}
