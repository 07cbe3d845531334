//! Files that commands are told to write.
//!
//! Input: a path and a text. Output: a file that is there whole or not at all. What is no regular file, such as
//! `/dev/stdout`, is written to: replacing it would take it away from everybody else.

#![expect(clippy::disallowed_methods, reason = "the door to reports and baselines")]

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::controller::write_whole;

/// Whether a path leads to one of these files.
pub(super) fn is_one_of<'p>(path: &Path, files: impl IntoIterator<Item = &'p Path>) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(path).is_some_and(|target| files.into_iter().any(|file| real(file).as_ref() == Some(&target)))
}

/// Writes a text.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
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
