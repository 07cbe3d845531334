//! Files that `validate` is told to write or to read beside the policies.
//!
//! Input: a path. Output: a file that is there whole or not at all. What is no regular file, such as `/dev/stdout`, is
//! written to: replacing it would take it away from everybody else.

#![expect(clippy::disallowed_methods, reason = "the door to reports and baselines")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use crate::cli::failure::Failure;
use crate::controller::write_whole;
use crate::policy::SourceFile;

/// Writes a text.
pub(in crate::cli) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    // A link stays a link: the file that it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(&target, text).with_context(cannot);
    }
    let name = target.file_name().and_then(|name| name.to_str()).with_context(cannot)?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    write_whole(directory, name, text).with_context(cannot)
}

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
