//! The filesystem door of policies: reading a directory and watching it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::SourceFile;

/// Largest file that is read, in bytes. A policy of a thousand rules has about a tenth of it.
pub const MAX_FILE_SIZE: u64 = 4 * 1024 * 1024;

/// Why policy files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that was named does not exist or cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Reads files and, recursively, directories. Paths in the result begin with what was given.
pub fn read(_paths: &[PathBuf]) -> Result<Vec<SourceFile>, Error> {
    todo!()
}

/// Watches a directory: sends its whole content once at the start and again after every change, once no further change
/// has come for `debounce`. A directory that vanishes is sent as an error, and again as content when it is back.
/// Ends when the receiver is dropped. A message on `reread` reads again at once.
pub fn watch(
    _directory: &Path,
    _debounce: Duration,
    _reread: mpsc::Receiver<()>,
) -> mpsc::Receiver<Result<Vec<SourceFile>, Error>> {
    todo!()
}
