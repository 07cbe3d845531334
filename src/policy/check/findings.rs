//! Where checks put what they find, and the proof that they did.
//!
//! Input: paths and messages. Output: [`Diagnostic`]s with their places, and [`Checked`] values.
//! A check that gives up a value must have said why, or a resource would vanish without a word: [`Reported`] makes that
//! a matter of types.

use ipnet::IpNet;

use crate::net::Cidr;
use crate::policy::codes::{self, Code};
use crate::policy::document::Document;
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, Severity};
use crate::selector::Selector;

/// Proof that an error was reported: only [`Findings`] makes one. So a check that fails without a finding does not compile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// A checked value, or the proof that it was reported why there is none.
pub(super) type Checked<T> = Result<T, Reported>;

/// The findings about one document.
pub(super) struct Findings<'a> {
    document: &'a Document,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(document: &'a Document) -> Findings<'a> {
        Findings { document, diagnostics: Vec::new() }
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(super) fn document(&self) -> &'a Document {
        self.document
    }

    pub(super) fn locate(&self, path: &FieldPath) -> Location {
        self.document.locate(path)
    }

    /// Takes a finding that was made elsewhere.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        self.diagnostics.push(diagnostic);
        Reported(())
    }

    /// Reports the value at a path.
    pub(super) fn value(&mut self, code: &Code, path: &FieldPath, message: impl Into<String>) -> Reported {
        self.report(self.document.finding(code, path, message))
    }

    /// Reports the value at a path and says what to do.
    pub(super) fn value_with_help(
        &mut self,
        code: &Code,
        path: &FieldPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Reported {
        self.report(self.document.finding(code, path, message).with_help(help))
    }

    /// Reports the key at the end of a path, where the field itself is at fault and not its value.
    pub(super) fn key_with_help(
        &mut self,
        code: &Code,
        path: &FieldPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Reported {
        self.report(self.document.key_finding(code, path, message).with_help(help))
    }

    /// Reads an address or a block whose host bits are cleared, with a warning about them; `None` when it is neither.
    pub(super) fn lenient_block(&mut self, path: &FieldPath, text: &str) -> Option<Cidr> {
        let block = text.parse::<Cidr>().ok()?;
        if let Some(net) = text.parse::<IpNet>().ok().filter(|net| net.addr() != net.network()) {
            let message = format!("`{text}` has bits set beyond its prefix and means all of `{block}`");
            let help = format!("write `{block}` for the block or `{}` for the address", IpNet::from(net.addr()));
            self.value_with_help(&codes::HOST_BITS_CLEARED, path, message, help);
        }
        Some(block)
    }

    /// Parses a selector. The place of an error is the character at fault, where the file shows it literally.
    pub(super) fn selector(&mut self, path: &FieldPath, text: &str) -> Checked<Selector> {
        Selector::parse(text).map_err(|error| {
            let diagnostic = self.document.finding(&codes::SELECTOR, path, error.message);
            let location = self.document.locate_within(path, text, error.offset);
            self.report(Diagnostic { location, help: error.help, ..diagnostic })
        })
    }

    /// Parses a selector in which `global()` has no meaning.
    pub(super) fn selector_without_global(&mut self, path: &FieldPath, text: &str) -> Checked<Selector> {
        let selector = self.selector(path, text)?;
        if selector.mentions_global() {
            let help = "use `namespaceSelector: global()` in a rule to match what has no namespace";
            return Err(self.value_with_help(&codes::GLOBAL, path, "`global()` is not allowed here", help));
        }
        Ok(selector)
    }
}

/// All values, if all are valid. Every item is checked, so that every finding is made.
pub(super) fn all<T>(items: impl IntoIterator<Item = Checked<T>>) -> Checked<Vec<T>> {
    let mut all = Ok(Vec::new());
    for item in items {
        match (item, &mut all) {
            (Ok(value), Ok(values)) => values.push(value),
            (Err(reported), Ok(_)) => all = Err(reported),
            (_, Err(_)) => {}
        }
    }
    // It is kept for as long as its file is as it is.
    all.map(|mut values| {
        values.shrink_to_fit();
        values
    })
}
