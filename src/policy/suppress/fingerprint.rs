//! What tells a finding from all others, also after the file was edited elsewhere.
//!
//! Input: findings in order, and the files. Output: the same with fingerprints. A fingerprint has no line number in it: it is
//! made of file, code, field, the text of the line, the message, and which of several equal ones it is.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Finding, Suppression};
use crate::policy::location::file_name;
use crate::policy::{Diagnostic, SourceFile};

/// Bytes of a hash that are kept.
const BYTES: usize = 16;

/// Characters of a line that count: a file of one line would be hashed once for each of its findings.
const LINE_LENGTH: usize = 1000;

/// The path of a file for machines: relative to a directory where it is below it, with `/`, without `./`.
pub fn relative(file: &Path, base: &Path) -> PathBuf {
    let file = file.strip_prefix(base).unwrap_or(file);
    file.components().filter(|component| !matches!(component, Component::CurDir)).collect()
}

/// That path as text.
pub fn name(file: &Path, base: &Path) -> String {
    file_name(&relative(file, base)).into_owned()
}

/// Adds fingerprints to findings, which are in order.
pub(super) fn findings(
    judged: Vec<(Diagnostic, Option<Suppression>)>,
    sources: &[SourceFile],
    base: &Path,
) -> Vec<Finding> {
    let texts: BTreeMap<&Path, Vec<&str>> =
        sources.iter().map(|source| (source.path.as_path(), source.text.lines().collect())).collect();
    let mut seen: BTreeMap<[u8; 32], u32> = BTreeMap::new();
    let fingerprinted = judged.into_iter().map(|(diagnostic, suppressed)| {
        let lines = texts.get(diagnostic.location.file.as_path());
        let line = lines.and_then(|lines| lines.get((diagnostic.location.line as usize).saturating_sub(1)));
        let likeness = likeness(&diagnostic, line.copied().unwrap_or_default(), base);
        let nth = seen.entry(likeness).or_default();
        let fingerprint = Sha256::new().chain_update(likeness).chain_update(nth.to_be_bytes()).finalize();
        *nth += 1;
        let fingerprint =
            fingerprint.iter().take(BYTES).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Finding { diagnostic, fingerprint, suppressed }
    });
    fingerprinted.collect()
}

/// What equal findings have in common.
fn likeness(diagnostic: &Diagnostic, line: &str, base: &Path) -> [u8; 32] {
    let name = name(&diagnostic.location.file, base);
    // Places in messages and positions in lists move with what stands before them.
    let (field, message) = (without_numbers(&diagnostic.field), without_numbers(&diagnostic.message));
    let line = line.trim();
    let line = line.char_indices().nth(LINE_LENGTH).map_or(line, |(end, _)| &line[..end]);
    let mut hash = Sha256::new();
    for part in [name.as_str(), diagnostic.code, &field, line, &message] {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().into()
}

fn without_numbers(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        let character = if character.is_ascii_digit() { '0' } else { character };
        if character != '0' || !result.ends_with('0') {
            result.push(character);
        }
    }
    result
}
