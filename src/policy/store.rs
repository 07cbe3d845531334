//! The last good version of every policy file.
//!
//! Input: the files as they are now. Output: the policies in force. A file that no longer parses keeps the resources
//! of its last good version in force; a file that is gone takes its resources with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Diagnostic, PolicySet, SourceFile};

/// Texts of the last good version of every file; what the state directory keeps across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    good: BTreeMap<PathBuf, String>,
}

/// What an update led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The policies that are to be in force.
    pub policies: PolicySet,
    /// Findings about the files as they are now.
    pub diagnostics: Vec<Diagnostic>,
    /// Files whose last good version is in force instead of what they say now.
    pub held: Vec<PathBuf>,
    /// Invalid files that have no good version: nothing of them is in force.
    pub missing: Vec<PathBuf>,
    /// Number of files read.
    pub files: usize,
}

impl Store {
    /// A store that starts from known good texts.
    pub fn new(good: BTreeMap<PathBuf, String>) -> Store {
        Store { good }
    }

    /// The good texts, to be kept across restarts.
    pub fn good(&self) -> &BTreeMap<PathBuf, String> {
        &self.good
    }

    /// Takes the files as they are now.
    pub fn update(&mut self, _files: &[SourceFile]) -> Update {
        todo!()
    }
}
