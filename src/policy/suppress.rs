//! Findings that somebody has looked at: those that a comment in the file or a baseline says are all right.
//!
//! Input: findings and the files they are about. Output: every [`Finding`] with what suppresses it, if anything does, and
//! findings about comments that are of no use. Errors are never suppressed: no comment makes a resource usable. Only
//! `validate` asks; the controller does not care what is ignored.

pub mod baseline;
mod comment;
mod fingerprint;

use std::collections::BTreeMap;
use std::path::Path;

use super::codes::{self, Code};
use super::diagnostic::did_you_mean;
use super::field::FieldPath;
use super::{Diagnostic, Location, Severity, SourceFile};

pub use fingerprint::{name, relative};

use comment::{Comment, Scope};

/// A finding, and whether it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub diagnostic: Diagnostic,
    /// 32 hexadecimal digits, other than those of every other finding of the run, and the same in a later run although
    /// lines were added or removed elsewhere in the file.
    pub fingerprint: String,
    /// Why it is not told; `None` when it is.
    pub suppressed: Option<Suppression>,
}

/// Why a finding is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// A comment says so, for this reason.
    Comment {
        /// The reason.
        reason: String,
    },
    /// The baseline has it.
    Baseline,
}

/// Judges the findings by the comments of the files, and adds what is wrong with the comments. File names within
/// fingerprints are relative to `base`. Only codes that were `looked_for` can make a comment superfluous.
pub fn judge(
    sources: &[SourceFile],
    diagnostics: Vec<Diagnostic>,
    base: &Path,
    looked_for: impl Fn(&Code) -> bool,
) -> Vec<Finding> {
    let comments: Vec<Comment> = sources.iter().flat_map(comment::comments).collect();
    let mut ignored = Ignored::default();
    let mut judged: Vec<(Diagnostic, Option<Suppression>)> = Vec::new();
    for comment in &comments {
        let (valid, faults) = ignores_of(comment);
        for code in valid {
            ignored.add(comment, code);
        }
        judged.extend(faults.into_iter().map(|fault| (fault, None)));
    }
    let comment = |reason: &str| Suppression::Comment { reason: reason.to_owned() };
    let suppressed: Vec<_> = diagnostics.iter().map(|found| ignored.reason_for(found).map(comment)).collect();
    for (comment, code) in ignored.unused().filter(|(_, code)| looked_for(code)) {
        let message = format!("there is no finding {} to ignore", code.id);
        let finding = finding(&codes::IGNORES_NOTHING, comment, message);
        judged.push((finding.with_help("remove the comment, or move it to the line of the finding"), None));
    }
    judged.extend(diagnostics.into_iter().zip(suppressed));
    judged.sort_by(|(a, _), (b, _)| Diagnostic::order(a, b));
    fingerprint::findings(judged, sources, base)
}

/// What the comments of all files ignore, by file, code and part of the file.
#[derive(Default)]
struct Ignored<'a>(BTreeMap<(&'a Path, &'static str, Scope), Ignore<'a>>);

/// The comments that ignore one code in one part of a file, the first of which gives the reason.
struct Ignore<'a> {
    code: &'static Code,
    comments: Vec<&'a Comment>,
    used: bool,
}

impl<'a> Ignored<'a> {
    fn add(&mut self, comment: &'a Comment, code: &'static Code) {
        let key = (comment.location.file.as_path(), code.id, comment.scope);
        let ignore = self.0.entry(key).or_insert_with(|| Ignore { code, comments: Vec::new(), used: false });
        ignore.comments.push(comment);
    }

    /// Why a finding is ignored, if it is: of its line first, then of its document.
    fn reason_for(&mut self, found: &'a Diagnostic) -> Option<&'a str> {
        if found.severity == Severity::Error {
            return None;
        }
        let Location { file, line, .. } = &found.location;
        let key = |scope| (file.as_path(), found.code, scope);
        // Documents do not overlap: the last one that begins before the line has it, if any.
        let documents = self.0.range_mut(key(Scope::Document(0, 0))..=key(Scope::Document(*line, u32::MAX)));
        let document =
            documents.last().filter(|((.., scope), _)| scope.contains(*line)).map(|(_, ignore)| ignore.take());
        let line = self.0.get_mut(&key(Scope::Line(*line))).map(Ignore::take);
        line.or(document).flatten()
    }

    fn unused(&self) -> impl Iterator<Item = (&'a Comment, &'static Code)> {
        let unused = self.0.values().filter(|ignore| !ignore.used);
        unused.flat_map(|ignore| ignore.comments.iter().map(|comment| (*comment, ignore.code)))
    }
}

impl<'a> Ignore<'a> {
    /// Its reason; it is not unused any more.
    fn take(&mut self) -> Option<&'a str> {
        self.used = true;
        self.comments.first().map(|comment| comment.reason.as_str())
    }
}

/// What a comment ignores, and what is wrong with it. One without a reason ignores nothing.
fn ignores_of(comment: &Comment) -> (Vec<&'static Code>, Vec<Diagnostic>) {
    const FORM: &str = "write `# dockgate:ignore CODE[,CODE...] reason`";
    let mut valid = Vec::new();
    let mut faults = Vec::new();
    if comment.codes.is_empty() {
        faults.push(finding(&codes::IGNORES_UNKNOWN_CODE, comment, "the comment names no code").with_help(FORM));
    }
    for written in &comment.codes {
        match codes::find(written) {
            Some(code) if code.severity == Severity::Error => {
                let message = format!("{} is an error, and errors cannot be ignored", code.id);
                faults.push(finding(&codes::IGNORES_ERROR, comment, message).with_help("correct what it is about"));
            }
            Some(code) => valid.push(code),
            None => {
                let known = codes::CODES.iter().map(|code| code.id);
                let help = did_you_mean(written, known).unwrap_or_else(|| FORM.to_owned());
                let message = format!("there is no code `{written}`");
                faults.push(finding(&codes::IGNORES_UNKNOWN_CODE, comment, message).with_help(help));
            }
        }
    }
    if comment.reason.is_empty() && !valid.is_empty() {
        let message = "the comment has no effect: it gives no reason";
        faults.push(finding(&codes::IGNORED_WITHOUT_REASON, comment, message).with_help(FORM));
        valid.clear();
    }
    (valid, faults)
}

fn finding(code: &Code, comment: &Comment, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(code, comment.location.clone(), &FieldPath::root(), message)
}

#[cfg(test)]
mod tests;
