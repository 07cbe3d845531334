//! Files that commands are told to write.
//!
//! Input: a path and a text. Output: a file that is there whole or not at all. What is no regular file, such as a pipe, is
//! written to, and so is what this process has open already: replacing it would take it away from everybody else. `/dev/stdout`
//! is a regular file after `>> log`.

#![expect(clippy::disallowed_methods, reason = "the door to reports and baselines")]

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;

use super::failure::Failure;
use crate::controller::write_whole;

/// Refuses a path to write to that leads to one of the files that are read: that one would be gone.
pub(super) fn refuse_input<'p>(
    option: &str,
    path: Option<&Path>,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Result<(), Failure> {
    match path.filter(|path| is_one_of(path, inputs)) {
        None => Ok(()),
        Some(path) => Err(Failure {
            message: format!("{option} {} is one of the files that are read", path.display()),
            help: "name another file: it would be replaced".to_owned(),
        }),
    }
}

/// Whether a path leads to one of these files.
fn is_one_of<'p>(path: &Path, files: impl IntoIterator<Item = &'p Path>) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(path).is_some_and(|target| files.into_iter().any(|file| real(file).as_ref() == Some(&target)))
}

/// Writes a text.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if let Ok(metadata) = fs::metadata(path) {
        if let Some(mut stream) = standard_stream(&metadata) {
            return stream.write_all(text.as_bytes()).with_context(cannot);
        }
        if !metadata.is_file() || is_descriptor(path) {
            return append(path, text).with_context(cannot);
        }
    }
    // A link stays a link: the file that it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = target.file_name().and_then(|name| name.to_str()).with_context(cannot)?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    write_whole(directory, name, |file| file.write_all(text.as_bytes())).with_context(cannot)
}

/// Standard output or standard error, where that is the file in question. It is written to by the descriptor, which knows
/// how far the file has been written.
fn standard_stream(metadata: &Metadata) -> Option<File> {
    let streams = [io::stdout().as_fd().try_clone_to_owned(), io::stderr().as_fd().try_clone_to_owned()];
    let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    streams
        .into_iter()
        .flatten()
        .map(File::from)
        .find(|stream| stream.metadata().is_ok_and(|own| identity(&own) == identity(metadata)))
}

/// Whether a path names an open file, as `/dev/fd/3` and `/proc/self/fd/3` do.
fn is_descriptor(path: &Path) -> bool {
    path.parent().and_then(|parent| fs::canonicalize(parent).ok()).is_some_and(|parent| parent.starts_with("/proc"))
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    File::options().append(true).open(path)?.write_all(text.as_bytes())
}
