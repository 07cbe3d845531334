//! Text to syntax tree, by recursive descent straight over the bytes.
//!
//! Input: the text of a selector. Output: an [`Expression`] or an [`Error`] with its place. There is no separate list of
//! tokens: whether `in` is an operator or a key depends on what stands before it, which only the grammar knows.

use std::collections::BTreeSet;

use super::MAX_DEPTH;
use super::error::{Error, Expected};
use super::expression::{Expression, Test};

/// Longest key in bytes (Calico's tokenizer).
const MAX_KEY_LENGTH: usize = 512;

/// Parses a whole text; see [`Selector::parse`](super::Selector::parse).
pub(super) fn parse(text: &str) -> Result<Expression, Error> {
    let position = text.len() - text.trim_start().len();
    let text = text.trim_end();
    if text.is_empty() {
        return Ok(Expression::All);
    }
    let mut parser = Parser { text, position };
    let node = parser.disjunction(0)?;
    parser.skip_blanks();
    if parser.rest().is_empty() { Ok(node.expression) } else { Err(parser.unexpected(Expected::End)) }
}

/// A tree and how many pairs of nested parentheses its canonical form has.
struct Node {
    expression: Expression,
    height: usize,
}

impl Node {
    fn leaf(expression: Expression) -> Node {
        Node { expression, height: 0 }
    }
}

struct Parser<'a> {
    /// The text up to its last character that is not white space; offsets are those of the original text.
    text: &'a str,
    /// Where parsing goes on, in bytes; always at the boundary of a character.
    position: usize,
}

/// A level of the grammar: takes the number of parentheses that are open.
type Level<'a> = fn(&mut Parser<'a>, usize) -> Result<Node, Error>;

impl<'a> Parser<'a> {
    fn disjunction(&mut self, open: usize) -> Result<Node, Error> {
        self.joined("||", Parser::conjunction, Expression::Or, open)
    }

    fn conjunction(&mut self, open: usize) -> Result<Node, Error> {
        self.joined("&&", Parser::operation, Expression::And, open)
    }

    /// One or more operands with an operator between them. The height is bounded here, the number of open parentheses in
    /// [`Parser::primary`]: the first so that the canonical form can be parsed, the second so that recursion ends.
    fn joined(
        &mut self,
        operator: &str,
        operand: Level<'a>,
        join: fn(Vec<Expression>) -> Expression,
        open: usize,
    ) -> Result<Node, Error> {
        let start = self.skip_blanks();
        let mut node = operand(self, open)?;
        if !self.take(operator) {
            return Ok(node);
        }
        let mut operands = vec![node.expression];
        loop {
            let next = operand(self, open)?;
            node.height = node.height.max(next.height);
            operands.push(next.expression);
            if !self.take(operator) {
                break;
            }
        }
        if node.height == MAX_DEPTH {
            return Err(Error::too_deep(start));
        }
        Ok(Node { expression: join(operands), height: node.height + 1 })
    }

    fn operation(&mut self, open: usize) -> Result<Node, Error> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let node = self.primary(open)?;
        Ok(if negated { Node { expression: node.expression.negate(), height: node.height } } else { node })
    }

    fn primary(&mut self, open: usize) -> Result<Node, Error> {
        let start = self.skip_blanks();
        if self.take("(") {
            if open == MAX_DEPTH {
                return Err(Error::too_deep(start));
            }
            let node = self.disjunction(open + 1)?;
            self.expect(")", Expected::GroupEnd)?;
            return Ok(node);
        }
        let key = self.key(Expected::Operand)?;
        let expression = match key {
            "has" if self.take_here("(") => {
                self.skip_blanks();
                let key = self.key(Expected::Key)?.to_owned();
                self.expect(")", Expected::Close { word: "has(" })?;
                Expression::Label { key, test: Test::Exists }
            }
            "all" if self.take_here("(") => {
                self.expect(")", Expected::Close { word: "all(" })?;
                Expression::All
            }
            "global" if self.take_here("(") => {
                self.expect(")", Expected::Close { word: "global(" })?;
                Expression::Global
            }
            _ => Expression::Label { key: key.to_owned(), test: self.test(key)? },
        };
        Ok(Node::leaf(expression))
    }

    /// What follows a key: an operator and its operand.
    fn test(&mut self, key: &str) -> Result<Test, Error> {
        let value = |operator| Expected::Value { key, operator };
        if self.take("==") {
            self.value(value("==")).map(Test::Equals)
        } else if self.take("!=") {
            self.value(value("!=")).map(Test::Differs)
        } else if self.take_words(&["contains"]) {
            self.value(value("contains")).map(Test::Contains)
        } else if self.take_words(&["starts", "with"]) {
            self.value(value("starts with")).map(Test::StartsWith)
        } else if self.take_words(&["ends", "with"]) {
            self.value(value("ends with")).map(Test::EndsWith)
        } else if self.take_words(&["in"]) {
            self.set().map(Test::In)
        } else if self.take_words(&["not", "in"]) {
            self.set().map(Test::NotIn)
        } else {
            Err(self.unexpected(Expected::Operator { key }))
        }
    }

    fn set(&mut self) -> Result<BTreeSet<String>, Error> {
        self.expect("{", Expected::Set)?;
        let mut values = BTreeSet::new();
        // One comma may stand before the end, so the end is looked for again after each comma.
        while !self.take("}") {
            values.insert(self.value(Expected::SetValue)?);
            if !self.take(",") {
                self.expect("}", Expected::SetEnd)?;
                break;
            }
        }
        Ok(values)
    }

    fn value(&mut self, expected: Expected<'_>) -> Result<String, Error> {
        let start = self.skip_blanks();
        let Some(quote @ ('"' | '\'')) = self.rest().chars().next() else {
            return Err(self.unexpected(expected));
        };
        let content = &self.rest()[1..];
        let length = content.find(quote).ok_or_else(|| Error::unterminated(quote, start))?;
        self.position += length + 2;
        Ok(content[..length].to_owned())
    }

    fn key(&mut self, expected: Expected<'_>) -> Result<&'a str, Error> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !is_key_byte(byte)).unwrap_or(rest.len());
        match length {
            0 => Err(self.unexpected(expected)),
            1..=MAX_KEY_LENGTH => {
                self.position += length;
                Ok(&rest[..length])
            }
            _ => Err(Error::long_key(length, MAX_KEY_LENGTH, self.position)),
        }
    }

    fn expect(&mut self, token: &str, expected: Expected<'_>) -> Result<(), Error> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Skips blanks and takes a token, if it stands there.
    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        self.take_here(token)
    }

    /// Takes a token that stands right here.
    fn take_here(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.position += token.len();
        }
        found
    }

    /// Takes an operator of words, if it stands here. Between its words there may be blanks or nothing at all; after the
    /// last one no character of a key may follow.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let start = self.position;
        let found = words.iter().all(|word| self.take(word)) && !self.rest().bytes().next().is_some_and(is_key_byte);
        if !found {
            self.position = start;
        }
        found
    }

    /// Skips what is white space inside a selector, and tells where the next token begins.
    fn skip_blanks(&mut self) -> usize {
        self.position = self.text.len() - self.rest().trim_start_matches([' ', '\t']).len();
        self.position
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// The error at the next token.
    fn unexpected(&mut self, expected: Expected<'_>) -> Error {
        let offset = self.skip_blanks();
        Error::unexpected(expected, self.text, offset)
    }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./-".contains(&byte)
}
