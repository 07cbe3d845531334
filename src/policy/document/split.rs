//! A YAML stream to the texts of its documents.
//!
//! YAML forbids a line that begins with `---` anywhere but at the start of a document, even within quoted and block
//! text (YAML 1.2, `c-forbidden`), so a document ends where such a line begins, whatever state the parser is in.

/// The text of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Part<'a> {
    /// The text, with its `---` line and what of directives stands before it.
    pub(in crate::policy) text: &'a str,
    /// Lines of the file before it.
    pub(in crate::policy) lines_before: u32,
}

/// The documents of a stream. Never empty.
pub(in crate::policy) fn documents(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut start = Part { text, lines_before: 0 };
    // Whether the current part already holds its `---` line, or content without one.
    let mut begun = false;
    // Whether the last line was `...`: whatever follows belongs to the next document.
    let mut ended = false;
    let mut offset = 0;
    for (line_number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        let marker = is_marker(line, "---");
        let splits = (marker && begun) || (ended && !is_marker(line, "..."));
        if splits {
            let length = start.text.len() - (text.len() - offset);
            parts.push(Part { text: &start.text[..length], ..start });
            start = Part { text: &text[offset..], lines_before: line_number };
            begun = false;
        }
        ended = is_marker(line, "...");
        let is_content =
            !matches!(line.trim_start_matches('\u{feff}').bytes().next(), Some(b'#' | b'%' | b'\n' | b'\r'));
        begun |= marker || is_content;
        offset += line.len();
    }
    parts.push(start);
    parts
}

/// Whether a line is a document marker: at its very start and followed by white space or nothing.
pub(in crate::policy) fn is_marker(line: &str, marker: &str) -> bool {
    line.trim_start_matches('\u{feff}')
        .strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_split_where_yaml_does_it() {
        for (name, text, expected) in [
            ("empty", "", vec![("", 0)]),
            ("one document", "a: 1\n", vec![("a: 1\n", 0)]),
            ("one document with a marker", "---\na: 1\n", vec![("---\na: 1\n", 0)]),
            ("a comment before the first marker", "# x\n---\na: 1\n", vec![("# x\n---\na: 1\n", 0)]),
            ("two documents", "a: 1\n---\nb: 2\n", vec![("a: 1\n", 0), ("---\nb: 2\n", 1)]),
            ("content on the marker line", "--- 1\n--- 2\n", vec![("--- 1\n", 0), ("--- 2\n", 1)]),
            ("not a marker", "a: |\n  ---\n---x: 1\n", vec![("a: |\n  ---\n---x: 1\n", 0)]),
            (
                "an end marker and directives",
                "%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n",
                vec![("%YAML 1.2\n---\na: 1\n...\n", 0), ("%YAML 1.2\n---\nb: 2\n", 4)],
            ),
            ("a marker within a broken text", "a: \"\n---\nb: 2", vec![("a: \"\n", 0), ("---\nb: 2", 1)]),
            ("Windows line ends", "a: 1\r\n---\r\nb: 2\r\n", vec![("a: 1\r\n", 0), ("---\r\nb: 2\r\n", 1)]),
            ("a byte order mark", "\u{feff}---\na: 1\n---\n", vec![("\u{feff}---\na: 1\n", 0), ("---\n", 2)]),
        ] {
            let parts: Vec<_> = documents(text).into_iter().map(|part| (part.text, part.lines_before)).collect();
            assert_eq!(parts, expected, "{name}");
        }
    }
}
