//! One side of a comparison: policies of a path, or of a path in a git revision.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::world;
use crate::policy::{PolicySet, SourceFile, files};

use super::git;

/// Policies and their files.
pub(super) struct Side {
    /// The policies.
    pub(super) policies: PolicySet,
    /// The files, by their path below what was named.
    pub(super) files: BTreeMap<PathBuf, SourceFile>,
}

impl Side {
    /// Reads what a user named.
    pub(super) fn load(text: &str) -> anyhow::Result<Side> {
        let path = Path::new(text);
        let is_path = path.is_absolute() || path.starts_with(".") || path.starts_with("..");
        let revision = text.split_once(':').filter(|_| !is_path);
        let files = match (files::read(&[path.to_owned()]), revision) {
            (Ok(sources), _) => sources
                .into_iter()
                .map(|source| (source.path.strip_prefix(path).unwrap_or(&source.path).to_owned(), source))
                .collect(),
            (Err(_), Some((revision, path))) => git::read(revision, path)?,
            (Err(error), None) => return Err(error.into()),
        };
        let sources: Vec<SourceFile> = files.values().cloned().collect();
        Ok(Side { policies: world::policies_of(&sources, path)?, files })
    }

    /// Whether there is no policy file.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The path of a file below what was named.
    pub(super) fn relative<'a>(&'a self, file: &'a Path) -> &'a Path {
        self.files.iter().find(|(_, source)| source.path == file).map_or(file, |(relative, _)| relative)
    }
}
