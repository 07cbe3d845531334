//! What a person is told about a policy file: one finding, with its place and what to do.
//!
//! Output: data for every renderer; findings are never `Err`, so that all of them are collected.

use serde::{Deserialize, Serialize};

use super::Location;

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

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// Stable code, `DG1xxx` syntax, `DG2xxx` shape, `DG3xxx` meaning, `DG4xxx` enforceability.
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

impl Serialize for Diagnostic {
    /// The documented JSON form: place flattened into `file`, `line`, `column`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Diagnostic", 8)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("code", self.code)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("file", &self.location.file)?;
        object.serialize_field("line", &self.location.line)?;
        object.serialize_field("column", &self.location.column)?;
        object.serialize_field("field", &self.field)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}
