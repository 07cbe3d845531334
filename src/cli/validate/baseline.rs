//! The file that `validate` is told to read beside the policies, or to write.
//!
//! Input: a path. Output: the baseline, or what to do about a missing one; and whether one may be written there: whoever names
//! another file by mistake must not lose it.

#![expect(clippy::disallowed_methods, reason = "the door to baselines")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use crate::cli::failure::Failure;
use crate::policy::SourceFile;
use crate::policy::suppress::baseline::{Baseline, Error};

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

/// Refuses to replace a file that holds something else. A baseline of another version may be replaced, and so may an empty
/// file, as `mktemp` makes one.
pub(super) fn refuse_other_file(path: &Path) -> anyhow::Result<()> {
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        return Ok(());
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    match Baseline::parse(&String::from_utf8_lossy(&bytes)) {
        Ok(_) | Err(Error::Version(_)) => Ok(()),
        Err(Error::Form(_)) => Err(Failure {
            message: format!("{} is there and is no baseline", path.display()),
            help: "name another file, or remove this one: it would be replaced".to_owned(),
        }
        .into()),
    }
}
