//! Why a text is not a selector, in words that lead to one that is.
//!
//! Input: what the parser expected and the text that stands there instead. Output: an [`Error`] with its place.

use super::MAX_DEPTH;

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Byte offset in the text that was to be parsed; its length when something is missing at the end. Always at the
    /// boundary of a character.
    pub offset: usize,
    /// What to write instead, where that can be told.
    pub help: Option<String>,
}

/// What the grammar allows at the place of an error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected<'a> {
    /// The beginning of an operation.
    Operand,
    /// A key between the parentheses of `has`.
    Key,
    /// An operator after this key.
    Operator {
        /// The key.
        key: &'a str,
    },
    /// A quoted text after this key and operator.
    Value {
        /// The key.
        key: &'a str,
        /// The operator.
        operator: &'static str,
    },
    /// `{`.
    Set,
    /// A quoted text or `}`.
    SetValue,
    /// `,` or `}`.
    SetEnd,
    /// `)` right after this word and its `(`.
    Close {
        /// `has(`, `all(` or `global(`.
        word: &'a str,
    },
    /// `&&`, `||` or `)`.
    GroupEnd,
    /// `&&`, `||` or nothing more.
    End,
}

impl Error {
    /// Something else stands at `offset` than what is expected there.
    pub(super) fn unexpected(expected: Expected<'_>, text: &str, offset: usize) -> Error {
        let found = Found::at(text, offset);
        Error {
            message: format!("expected {}, found {}", expected.describe(), found.describe()),
            offset,
            help: expected.help(found),
        }
    }

    /// A quoted text begins at `offset` and does not end.
    pub(super) fn unterminated(quote: char, offset: usize) -> Error {
        Error {
            message: "the quoted text does not end".to_owned(),
            offset,
            help: Some(format!("close it with `{quote}`; there are no escapes inside")),
        }
    }

    /// The key at `offset` is too long.
    pub(super) fn long_key(length: usize, limit: usize, offset: usize) -> Error {
        Error { message: format!("the label key is {length} bytes long, the limit is {limit}"), offset, help: None }
    }

    /// The group that begins at `offset` makes the nesting too deep.
    pub(super) fn too_deep(offset: usize) -> Error {
        Error {
            message: format!("the selector is nested more than {MAX_DEPTH} levels deep"),
            offset,
            help: Some("`&&` binds stronger than `||`, and `in {...}` replaces a chain of `==`".to_owned()),
        }
    }
}

/// What stands at the place of an error.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    Nothing,
    LineBreak,
    Text,
    Word(&'a str),
    Other(char),
}

impl<'a> Found<'a> {
    fn at(text: &'a str, offset: usize) -> Found<'a> {
        let rest = &text[offset..];
        match rest.chars().next() {
            None => Found::Nothing,
            Some('\n' | '\r') => Found::LineBreak,
            Some('"' | '\'') => Found::Text,
            Some(first) if first.is_alphanumeric() || "_./-".contains(first) => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && !"_./-".contains(c)).unwrap_or(rest.len());
                Found::Word(&rest[..end])
            }
            Some(other) => Found::Other(other),
        }
    }

    fn describe(self) -> String {
        match self {
            Found::Nothing => "the end".to_owned(),
            Found::LineBreak => "a line break".to_owned(),
            Found::Text => "a quoted text".to_owned(),
            Found::Word(word) => format!("`{word}`"),
            Found::Other(other) if other.is_control() || other.is_whitespace() => {
                format!("the character U+{:04X}", u32::from(other))
            }
            Found::Other(other) => format!("`{other}`"),
        }
    }
}

impl Expected<'_> {
    fn describe(self) -> String {
        match self {
            Expected::Operand => "a label key, `has(...)`, `all()`, `!` or `(`".to_owned(),
            Expected::Key => "a label key".to_owned(),
            Expected::Operator { key } => format!("an operator after the label key `{key}`"),
            Expected::Value { .. } => "a quoted value".to_owned(),
            Expected::Set => "`{`".to_owned(),
            Expected::SetValue => "a quoted value or `}`".to_owned(),
            Expected::SetEnd => "`,` or `}`".to_owned(),
            Expected::Close { word } => format!("`)` after `{word}`"),
            Expected::GroupEnd => "`&&`, `||` or `)`".to_owned(),
            Expected::End => "`&&`, `||` or the end".to_owned(),
        }
    }

    fn help(self, found: Found<'_>) -> Option<String> {
        let help = match (self, found) {
            (_, Found::LineBreak) => {
                "a selector stands on one line; a folded YAML block (`>-`) joins its lines with blanks"
            }
            (_, Found::Other('“' | '”' | '„' | '‘' | '’')) => "use straight quotes, `\"` or `'`",
            (
                Expected::Operator { .. },
                Found::Other('=' | ':') | Found::Text | Found::Word("is" | "equals" | "eq"),
            )
            | (Expected::Value { .. }, Found::Other('=')) => "use `==`",
            (Expected::Operator { .. }, Found::Other('~' | '^' | '*') | Found::Word("like" | "matches")) => {
                "there are no patterns: use `contains`, `starts with` or `ends with`"
            }
            (Expected::Operator { .. }, Found::Other('<' | '>')) => "values are text and have no order: use `in {...}`",
            (Expected::Operator { key: "not" }, Found::Word(_) | Found::Other('(')) => "use `!` to negate",
            (Expected::Operator { key: key @ ("has" | "all" | "global") }, Found::Other('(')) => {
                return Some(format!("write `{key}(` without a blank in between"));
            }
            (Expected::Operator { key: key @ ("all" | "global") }, _) => return Some(format!("write `{key}()`")),
            (Expected::Operator { key: "has" }, Found::Word(word)) => return Some(format!("write `has({word})`")),
            (Expected::Operator { key }, Found::Other('(')) => return Some(function_for(key).to_owned()),
            (Expected::Operator { key }, Found::Nothing | Found::Other('&' | '|' | ')') | Found::Word("exists"))
            | (Expected::Value { key, operator: "!=" }, Found::Word("null" | "nil")) => {
                return Some(format!("use `has({key})` to ask whether there is such a label"));
            }
            (Expected::Operand, Found::Other('*')) => "write `all()` to match everything",
            (Expected::Value { key, operator: "==" }, Found::Word("null" | "nil")) => {
                return Some(format!("use `!has({key})` to ask whether there is no such label"));
            }
            (Expected::Value { .. } | Expected::SetValue, Found::Word(word)) => {
                return Some(format!("put it in quotes: `\"{word}\"`"));
            }
            (Expected::Set, _) => "values of `in` stand in braces: `{\"a\", \"b\"}`",
            (Expected::Key, Found::Text) => "a key has no quotes",
            (Expected::Operand, Found::Text) => "the key comes first: `key == \"value\"`",
            (Expected::GroupEnd | Expected::End, Found::Word("and" | "AND") | Found::Other('&' | ',')) => "use `&&`",
            (Expected::GroupEnd | Expected::End, Found::Word("or" | "OR") | Found::Other('|')) => "use `||`",
            _ => return None,
        };
        Some(help.to_owned())
    }
}

/// The function that was probably meant by a word before a parenthesis.
fn function_for(word: &str) -> &'static str {
    match word.to_lowercase().as_str() {
        "all" | "any" | "everything" => "write `all()`",
        "global" => "write `global()`",
        "has" | "exists" | "defined" => "write `has(KEY)`",
        _ => "the functions are `has(KEY)`, `all()` and `global()`",
    }
}
