//! Holds the module order of `src/lib.rs`: a module may use only modules that are listed above it.
//!
//! The sources are read as tokens, not as syntax trees, so that paths inside macros are seen as well.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A token of a Rust source, as far as paths need it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Mark(char),
}

/// The tokens of a source with their lines, without comments, strings, characters and lifetimes.
fn tokens(source: &str) -> Vec<(usize, Token)> {
    let characters: Vec<char> = source.chars().collect();
    let at = |index: usize| characters.get(index).copied();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut position = 0;
    while let Some(character) = at(position) {
        let end = match (character, at(position + 1)) {
            ('/', Some('/')) => end_of_line(&characters, position),
            ('/', Some('*')) => end_of_block_comment(&characters, position),
            ('"', _) => end_of_string(&characters, position),
            ('r', Some('"' | '#')) => end_of_raw_string(&characters, position).unwrap_or(position + 1),
            ('\'', _) => end_of_character_or_lifetime(&characters, position),
            _ if is_word(character) => {
                let end = position + characters[position..].iter().take_while(|character| is_word(**character)).count();
                // `br"..."` is a raw string behind a prefix: leave the `r` to the next round.
                let end =
                    if end == position + 2 && characters[position..end] == ['b', 'r'] { position + 1 } else { end };
                tokens.push((line, Token::Word(characters[position..end].iter().collect())));
                end
            }
            _ => {
                if !character.is_whitespace() {
                    tokens.push((line, Token::Mark(character)));
                }
                position + 1
            }
        };
        let end = end.min(characters.len());
        line += characters[position..end].iter().filter(|character| **character == '\n').count();
        position = end;
    }
    tokens
}

fn end_of_line(characters: &[char], start: usize) -> usize {
    characters[start..]
        .iter()
        .position(|character| *character == '\n')
        .map_or(characters.len(), |length| start + length)
}

fn end_of_block_comment(characters: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut position = start;
    while position < characters.len() {
        match characters[position..] {
            ['/', '*', ..] => (depth, position) = (depth + 1, position + 2),
            ['*', '/', ..] => (depth, position) = (depth - 1, position + 2),
            _ => position += 1,
        }
        if depth == 0 {
            break;
        }
    }
    position
}

fn end_of_string(characters: &[char], start: usize) -> usize {
    let mut position = start + 1;
    while position < characters.len() {
        match characters[position] {
            '\\' => position += 2,
            '"' => return position + 1,
            _ => position += 1,
        }
    }
    position
}

/// The end of `r"..."` or `r#"..."#`; `None` for an identifier such as `r#type`.
fn end_of_raw_string(characters: &[char], start: usize) -> Option<usize> {
    let hashes = characters[start + 1..].iter().take_while(|character| **character == '#').count();
    let open = start + 1 + hashes;
    if characters.get(open) != Some(&'"') {
        return None;
    }
    let closes = |index: &usize| {
        characters[*index] == '"'
            && characters[index + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((open + 1..characters.len()).find(closes).map_or(characters.len(), |index| index + 1 + hashes))
}

fn end_of_character_or_lifetime(characters: &[char], start: usize) -> usize {
    match characters[start + 1..] {
        // The character after the backslash may itself be a quote.
        ['\\', ..] => {
            let rest = characters.get(start + 3..).unwrap_or_default();
            rest.iter().position(|character| *character == '\'').map_or(characters.len(), |length| start + 4 + length)
        }
        [_, '\'', ..] => start + 3,
        _ => start + 1,
    }
}

/// The names that follow `root::` in a source, with their lines: `root::a`, `root::{a, b::{c}}` gives `a` and `b`.
/// `root` is a path of words, such as `crate` or `super`, `super`.
fn names_after(root: &[&str], tokens: &[(usize, Token)]) -> Vec<(usize, String)> {
    let word = |index: usize, text: &str| matches!(tokens.get(index), Some((_, Token::Word(word))) if word == text);
    let mark =
        |index: usize, expected: char| matches!(tokens.get(index), Some((_, Token::Mark(mark))) if *mark == expected);
    let mut names = Vec::new();
    for start in 0..tokens.len() {
        let is_root = root.iter().enumerate().all(|(step, text)| {
            word(start + 3 * step, text) && mark(start + 3 * step + 1, ':') && mark(start + 3 * step + 2, ':')
        });
        if !is_root {
            continue;
        }
        let first = start + 3 * root.len();
        let mut depth = 0;
        for (index, token) in tokens.iter().enumerate().skip(first) {
            let begins = index == first || mark(index - 1, '{') || mark(index - 1, ',');
            match token {
                (_, Token::Mark('{')) => depth += 1,
                (_, Token::Mark('}')) => depth -= 1,
                (line, Token::Word(name)) if begins && depth <= 1 => names.push((*line, name.clone())),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// The modules that `src/lib.rs` declares, in their order.
fn module_order(lib: &str) -> Vec<String> {
    let tokens = tokens(lib);
    tokens
        .windows(2)
        .filter_map(|pair| match pair {
            [(_, Token::Word(keyword)), (_, Token::Word(name))] if keyword == "mod" => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// A use of a module that stands below the user's own.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: PathBuf,
    line: usize,
    own: String,
    used: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { file, line, own, used } = self;
        write!(f, "src/{}:{line}: `{own}` uses `{used}`, which src/lib.rs lists below it", file.display())
    }
}

/// What is wrong with one source. `file` is relative to `src`.
fn violations(order: &[String], file: &Path, source: &str) -> Vec<Violation> {
    let own =
        file.iter().next().map(|first| first.to_string_lossy().trim_end_matches(".rs").to_owned()).unwrap_or_default();
    let place = |name: &str| order.iter().position(|module| module == name);
    let own_place =
        place(&own).unwrap_or_else(|| panic!("src/lib.rs does not declare `{own}` of src/{}", file.display()));
    let tokens = tokens(source);
    // As many `super` as the file is deep lead to the crate's root too.
    let up = vec!["super"; file.iter().count()];
    let names = names_after(&["crate"], &tokens).into_iter().chain(names_after(&up, &tokens));
    names
        .filter(|(_, name)| place(name).is_some_and(|used| used > own_place))
        .map(|(line, used)| Violation { file: file.to_owned(), line, own: own.clone(), used })
        .collect()
}

/// All sources under a directory, relative to it, in order of path.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the sources is readable") {
            let path = entry.expect("an entry of the sources is readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root).expect("it was found below the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn modules_use_only_what_is_listed_above_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |file: &Path| fs::read_to_string(root.join(file)).expect("a source is readable");
    let order = module_order(&read(Path::new("lib.rs")));
    let files = sources(&root);
    assert!(files.len() > order.len(), "the sources were not found: {files:?}");
    let found: Vec<String> = files
        .iter()
        .filter(|file| !["lib.rs", "main.rs"].iter().any(|crate_root| *file == Path::new(crate_root)))
        .flat_map(|file| violations(&order, file, &read(file)))
        .map(|violation| violation.to_string())
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_binary_uses_the_command_line_only() {
    let main =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).expect("main.rs is readable");
    let used = names_after(&["dockgate"], &tokens(&main));
    assert!(used.iter().all(|(_, name)| name == "cli"), "src/main.rs uses {used:?}");
}

/// Name, file, source, and the findings: line and module.
type Row = (&'static str, &'static str, &'static str, &'static [(usize, &'static str)]);

#[test]
fn offending_sources_are_found() {
    let order = module_order("//! mod zero;\npub mod low;\nmod middle;\npub mod high;\n");
    assert_eq!(order, ["low", "middle", "high"]);
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("a plain import", "middle.rs", "use crate::high::Thing;", &[(1, "high")]),
        ("an import from above", "middle.rs", "use crate::low::Thing;\nuse crate::middle::Other;", &[]),
        (
            "an import in braces",
            "middle.rs",
            "use crate::{\n    low::{high, Thing},\n    high::{self, Thing as Other},\n};",
            &[(3, "high")],
        ),
        ("a whole module in braces", "low.rs", "use crate::{middle, high};", &[(1, "middle"), (1, "high")]),
        ("an inline path", "middle/part.rs", "fn f() -> u8 {\n    crate::high::value()\n}", &[(2, "high")]),
        ("a path inside a macro", "middle.rs", "log!(\"{}\", crate::high::VALUE);", &[(1, "high")]),
        ("a path up to the root", "middle/part.rs", "use super::super::high::Thing;", &[(1, "high")]),
        (
            "a path up to the root, in braces",
            "low.rs",
            "use super::{high, middle::Thing};",
            &[(1, "high"), (1, "middle")],
        ),
        ("a path up to its own module", "middle/part.rs", "use super::high;", &[]),
        (
            "after a string, a raw string and a character",
            "low.rs",
            "const A: (&str, &str, char, char) = (\"\\\"\", r#\"\"\"#, '\"', '\\'');\nuse crate::high;",
            &[(2, "high")],
        ),
        ("after lifetimes", "low.rs", "fn f<'a>(x: &'a str) {}\nuse crate::high;", &[(2, "high")]),
        ("visibility is no use", "low.rs", "pub(crate) fn f() {}", &[]),
        (
            "comments and strings are no uses",
            "low.rs",
            "//! [`crate::high`]\n/* use crate::high; /* crate::high */ */\nconst A: &str = \"crate::high\";\nconst B: &str = r\"crate::high\";\nconst C: &[u8] = br#\"crate::high\"#;",
            &[],
        ),
    ];
    for (name, file, source, expected) in rows {
        let found = violations(&order, Path::new(file), source);
        let found: Vec<(usize, &str)> =
            found.iter().map(|violation| (violation.line, violation.used.as_str())).collect();
        assert_eq!(found, *expected, "{name}");
    }
}

#[test]
#[should_panic(expected = "src/lib.rs does not declare `stray`")]
fn a_source_outside_the_order_is_found() {
    violations(&["low".to_owned()], Path::new("stray.rs"), "");
}
