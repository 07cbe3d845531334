//! The file that `validate` is told to read beside the policies.
//!
//! Input: a path. Output: the baseline, or what to do about a missing one.

#![expect(clippy::disallowed_methods, reason = "the door to baselines")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use crate::cli::failure::Failure;
use crate::policy::SourceFile;

/// Reads a baseline.
pub(super) fn read(path: &Path) -> anyhow::Result<SourceFile> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(SourceFile::new(path, text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure {
            message: format!("there is no baseline {}", path.display()),
            help: "`dockgate validate --write-baseline FILE` makes one".to_owned(),
        }
        .into()),
        Err(error) => Err(error).with_context(|| format!("cannot read the baseline {}", path.display())),
    }
}
