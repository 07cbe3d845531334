//! What a person is told about a policy file: one finding, with its place and what to do.
//!
//! Output: data for every renderer; findings are never `Err`, so that all of them are collected.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Location;
use super::codes::Code;
use super::field::FieldPath;
use super::location::file_name;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The resource is not usable.
    Error,
    /// The resource is usable and probably not what was meant.
    Warning,
    /// Something worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// Stable code, `DG1xxx` syntax, `DG2xxx` shape, `DG3xxx` meaning, `DG4xxx` enforceability, `DG5xxx` lints,
    /// `DG9xxx` what is ignored; one of [`super::codes::CODES`].
    pub code: &'static str,
    /// What is wrong, without the place and without the remedy.
    pub message: String,
    /// Where.
    pub location: Location,
    /// Path of the field, e.g. `spec.ingress[0].source.nets[1]`; empty for the document.
    pub field: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without help.
    pub fn new(code: &Code, location: Location, field: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: code.severity,
            code: code.id,
            message: message.into(),
            location,
            field: field.to_string(),
            help: None,
        }
    }

    /// The same finding with what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }

    /// Orders findings as they are shown: by place, then by gravity.
    pub fn sort(diagnostics: &mut [Diagnostic]) {
        diagnostics.sort_by(Diagnostic::order);
    }

    /// The order of two findings as they are shown.
    pub(super) fn order(a: &Diagnostic, b: &Diagnostic) -> Ordering {
        a.location.cmp(&b.location).then_with(|| a.cmp(b))
    }
}

impl Serialize for Diagnostic {
    /// The documented JSON form: place flattened into `file`, `line`, `column`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Diagnostic", 8)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("code", self.code)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("file", &file_name(&self.location.file))?;
        object.serialize_field("line", &self.location.line)?;
        object.serialize_field("column", &self.location.column)?;
        object.serialize_field("field", &self.field)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

/// `did you mean X?` when one of the candidates is close to what was written.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(written, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Words of Kubernetes' policies that Calico's have another word for. The closest by its letters can be its opposite:
/// `notSelector` for `podSelector`.
const OTHER_WORDS: [(&str, &str); 5] =
    [("podSelector", "selector"), ("from", "source"), ("to", "destination"), ("cidr", "nets"), ("ipBlock", "nets")];

/// The candidate that was probably meant, if any is close.
pub(super) fn closest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == written);
    if let Some(candidate) = other.and_then(|(_, other)| candidates.iter().find(|candidate| *candidate == other)) {
        return Some(candidate);
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(written.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance that counts a swap of neighbours as one and ignores case.
fn distance(a: &str, b: &str) -> usize {
    strsim::damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_far_ones_are_not() {
        let fields = ["selector", "notSelector", "nets", "ports"];
        assert_eq!(did_you_mean("notselector", fields).as_deref(), Some("did you mean `notSelector`?"));
        assert_eq!(did_you_mean("selectro", fields).as_deref(), Some("did you mean `selector`?"));
        assert_eq!(did_you_mean("port", fields).as_deref(), Some("did you mean `ports`?"));
        assert_eq!(did_you_mean("serviceAccounts", fields), None);
        assert_eq!(did_you_mean("podSelector", fields).as_deref(), Some("did you mean `selector`?"));
        assert_eq!(did_you_mean("cidr", fields).as_deref(), Some("did you mean `nets`?"));
        assert_eq!(did_you_mean("from", fields), None);
    }
}
