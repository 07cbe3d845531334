//! The last good policy files, kept in the state directory across restarts.
//!
//! Input: the [`Store`]. Output: the same after a restart. The file is replaced by rename, so that a crash or a full
//! disk leaves the former version whole.

#![expect(clippy::disallowed_methods, reason = "the door to the state directory")]

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::policy::Store;

/// File name in the state directory.
const FILE: &str = "last-good.json";

/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;

/// Why the memory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the last good policies from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not what this program wrote.
    #[error("{path} is damaged: remove it to start from the policy directory alone")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot keep the last good policies in {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

#[derive(Default, Deserialize)]
struct Document {
    /// Policy texts by path.
    files: BTreeMap<PathBuf, String>,
    /// Paths and earlier texts of which something is in force while a file is broken.
    #[serde(default)]
    former: Vec<(PathBuf, String)>,
}

/// As [`Document`], of what is there already.
#[derive(Serialize)]
struct View<'s> {
    files: &'s BTreeMap<PathBuf, String>,
    former: &'s [(PathBuf, String)],
}

/// Reads what an earlier run kept; empty when there was none.
pub(super) fn recall(state_directory: &Path) -> Result<Store, Error> {
    let path = state_directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Store::default()),
        Err(source) => return Err(Error::Read { path, source }),
    };
    match serde_json::from_str::<Document>(&text) {
        Ok(document) => Ok(Store::new(document.files, document.former)),
        Err(source) => Err(Error::Damaged { path, source }),
    }
}

/// What there is to keep of a store.
pub(super) fn text(store: &Store) -> serde_json::Result<String> {
    serde_json::to_string(&View { files: store.good(), former: store.former() })
}

/// Keeps the text of a store, whole or not at all.
pub(super) fn keep(state_directory: &Path, text: serde_json::Result<String>) -> Result<(), Error> {
    let written = text.map_err(io::Error::from);
    let written = written.and_then(|text| write_whole(state_directory, FILE, |file| file.write_all(text.as_bytes())));
    written.map_err(|source| Error::Write { path: state_directory.join(FILE), source })
}

/// Replaces a file of a directory, whole or not at all. Its content is written piece by piece, so that what is large need
/// not be in memory as a text.
pub(crate) fn write_whole(
    directory: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    let written = fs::File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::with_capacity(PIECE, file);
        write(&mut file)?;
        file.into_inner()?.sync_all()
    });
    if let Err(error) = written {
        // On a full disk the half of it would be in the way of others.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, directory.join(name))?;
    // The rename itself has to survive a power failure.
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        let text = || "kind: x\n".to_owned();
        Store::new(BTreeMap::from([("p/a.yaml".into(), text())]), vec![("p/b.yaml".into(), text())])
    }

    #[test]
    fn what_was_kept_is_recalled() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert_eq!(recall(directory.path()).expect("nothing kept yet"), Store::default());
        keep(directory.path(), text(&store())).expect("keep");
        assert_eq!(recall(directory.path()).expect("recall"), store());
    }

    #[test]
    fn what_an_earlier_version_of_the_program_kept_is_recalled() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join(FILE), r#"{"files":{"p/a.yaml":"kind: x\n"}}"#).expect("write");
        let expected = Store::new(store().good().clone(), vec![]);
        assert_eq!(recall(directory.path()).expect("recall"), expected);
    }

    #[test]
    fn a_crash_while_writing_leaves_the_former_version() {
        let directory = tempfile::tempdir().expect("temporary directory");
        keep(directory.path(), text(&store())).expect("keep");
        fs::write(directory.path().join("last-good.json.new"), "{\"fil").expect("half a file");
        assert_eq!(recall(directory.path()).expect("recall"), store());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_memory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join(FILE), "{").expect("write");
        assert!(matches!(recall(directory.path()), Err(Error::Damaged { .. })));
    }
}
