//! The path of a field within a document, as it stands in findings.
//!
//! Input: keys and indices, or a JSON pointer. Output: text such as `spec.ingress[0].source.nets[1]`.
//! A path is what ties a finding of a later stage to the line and column that only the parser knew.

use std::fmt;

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// To the value of a key of a mapping.
    Key(String),
    /// To an item of a sequence, counted from 0.
    Index(usize),
}

/// The way from the top of a document to one of its values; empty for the document itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The document itself.
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// The path of a key of the mapping at this path. A dotted text is several keys: `a.key("spec.tier")`.
    #[must_use]
    pub fn key(&self, dotted: &str) -> FieldPath {
        dotted.split('.').fold(self.clone(), |path, name| path.literal_key(name))
    }

    /// The path of a key that may itself hold dots, e.g. the key of a label.
    #[must_use]
    pub fn literal_key(&self, name: &str) -> FieldPath {
        self.then(Step::Key(name.to_owned()))
    }

    /// The path of an item of the sequence at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> FieldPath {
        self.then(Step::Index(index))
    }

    /// The steps from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// This path followed by another.
    #[must_use]
    pub fn join(&self, other: &FieldPath) -> FieldPath {
        FieldPath(self.0.iter().chain(&other.0).cloned().collect())
    }

    fn then(&self, step: Step) -> FieldPath {
        let mut steps = self.0.clone();
        steps.push(step);
        FieldPath(steps)
    }
}

impl FromIterator<Step> for FieldPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        FieldPath(steps.into_iter().collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_plain(key) && position == 0 => f.write_str(key)?,
                Step::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

/// Whether a key can stand after a dot without being mistaken for two.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_file() {
        let path = FieldPath::root().key("spec.ingress").index(0).key("source.nets").index(1);
        assert_eq!(path.to_string(), "spec.ingress[0].source.nets[1]");
        let label = FieldPath::root().key("metadata.labels").literal_key("example.com/role");
        assert_eq!(label.to_string(), "metadata.labels[\"example.com/role\"]");
        assert_eq!(FieldPath::root().to_string(), "");
        assert_eq!(FieldPath::root().key("items").index(2).join(&label.clone()).steps().len(), 5);
    }
}
