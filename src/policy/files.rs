//! The filesystem door of policies: reading a directory and watching it.
//!
//! Input: paths. Output: [`SourceFile`]s, or an [`Error`] when it cannot be told what belongs to the policies.
//! A file or directory that is there and cannot be read is never treated as absent: its policies would vanish, and with
//! them what they deny.

#![expect(clippy::disallowed_methods, reason = "the filesystem door of policies")]

mod scan;
mod watch;

use std::io::Read;
use std::path::{Path, PathBuf};

use super::SourceFile;

pub use watch::watch;

/// Largest file that is read, in bytes. A policy of a thousand rules has about a tenth of it.
pub const MAX_FILE_SIZE: u64 = 4 * 1024 * 1024;

/// Why policy files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that was named does not exist, or what belongs to it cannot be told.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Reads files and, recursively, directories. Paths in the result begin with what was given; the result is in their
/// order, and a file that is reached twice is in it once.
///
/// Of a directory, the files named `*.yaml`, `*.yml` and `*.json` are read, which leaves out what editors leave behind;
/// names that begin with a dot are not looked at. Symbolic links are followed, also to hidden places, because that is
/// how git-sync and Kubernetes volumes publish a new version. A file that is named itself is read whatever its name is.
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Error> {
    scan::scan(paths).files
}

/// Reads like [`read`], and goes on where that gives up: what cannot be read, or of which it cannot be told what belongs to
/// it, is in the result as an unreadable file. For whoever reports about files; what is enforced needs all of them.
pub fn read_what_can_be(paths: &[PathBuf]) -> Vec<SourceFile> {
    scan::files(paths)
}

/// The content of a stream, bounded as a file is.
pub fn read_stream(name: &Path, stream: impl Read) -> std::io::Result<SourceFile> {
    scan::read_stream(name, stream)
}

/// Whether a file is read of a directory, by its path below that.
pub fn is_read(path: &Path) -> bool {
    scan::has_policy_name(path) && !is_below_hidden(path)
}

/// Whether a path below a directory has a part that is not looked at.
pub fn is_below_hidden(path: &Path) -> bool {
    path.iter().any(scan::is_hidden)
}

/// The file that some bytes are the content of.
pub fn decode(path: &Path, bytes: Vec<u8>) -> SourceFile {
    scan::decode(path, bytes)
}
