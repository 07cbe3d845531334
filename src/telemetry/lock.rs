//! One controller per state directory: an advisory lock on a file that carries the holder's process id. One controller per
//! network namespace, because rules belong to the namespace too: see [`claim`].
//!
//! The kernel releases both when the process ends, however it ends; a file that is left behind means nothing.

#![expect(clippy::disallowed_methods, reason = "the door to the state directory's lock")]

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::dataplane::{Claim, ClaimError, claim};

/// File name of the lock in the state directory.
pub const LOCK_FILE: &str = "lock";

/// Why the state directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by {}", .directory.display(), holder_text(*.pid))]
    Held {
        /// The state directory.
        directory: PathBuf,
        /// The process that holds it, if it has written its id already.
        pid: Option<u32>,
    },
    /// A controller with another state directory works on the same rules.
    #[error("another controller enforces policy in this network namespace")]
    Running,
    /// The directory or the file in it cannot be used.
    #[error("cannot lock {}", .path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn holder_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The right to speak and write for a state directory; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    directory: PathBuf,
    // Closing the file releases the lock.
    _file: File,
}

impl Lock {
    /// Takes the state directory, which is created for its owner alone if it does not exist.
    pub fn acquire(directory: &Path) -> Result<Lock, LockError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable(directory))?;
        let path = directory.join(LOCK_FILE);
        Lock::take(directory, &path, options().open(&path).map_err(unusable(&path))?)
    }

    /// Takes the state directory if there is one; without one no controller has ever run on it.
    pub fn acquire_existing(directory: &Path) -> Result<Option<Lock>, LockError> {
        let path = directory.join(LOCK_FILE);
        match options().open(&path) {
            Ok(file) => Lock::take(directory, &path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LockError::Unusable { path, source }),
        }
    }

    fn take(directory: &Path, path: &Path, mut file: File) -> Result<Lock, LockError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { directory: directory.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(path)(source)),
        }
        // It only tells a second one whose the lock is. A disk that is full must not keep policy from being enforced.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!(path = %path.display(), %error, "cannot note in the lock whose it is");
        }
        Ok(Lock { directory: directory.to_owned(), _file: file })
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The right to change the rules of this network namespace; given back when dropped.
#[derive(Debug)]
pub struct NamespaceLock {
    _claim: Option<Claim>,
}

impl NamespaceLock {
    /// Takes the right, or says that another has it. Where there can be no such right, the lock on the state directory is
    /// all there is: that is no reason to leave policy unenforced.
    pub fn acquire() -> Result<NamespaceLock, LockError> {
        match claim() {
            Ok(claim) => Ok(NamespaceLock { _claim: Some(claim) }),
            Err(ClaimError::Taken) => Err(LockError::Running),
            Err(error) => {
                let error = super::chain(&error);
                tracing::warn!(%error, "a second controller with another state directory would not be noticed");
                Ok(NamespaceLock { _claim: None })
            }
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Not truncated: until the lock is ours the content is the holder's.
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn unusable(path: &Path) -> impl Fn(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::Unusable { path: path.clone(), source }
}

fn read_pid(file: &mut File) -> Option<u32> {
    // No id is longer, whatever has been put there.
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let lock = Lock::acquire(&state).unwrap();
        let error = Lock::acquire(&state).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        assert_eq!(error.to_string(), format!("{} is in use by process {}", state.display(), std::process::id()));
        drop(lock);
        Lock::acquire(&state).unwrap();
    }

    #[test]
    fn a_file_left_behind_means_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(LOCK_FILE), "4194304999 and more").unwrap();
        let lock = Lock::acquire(directory.path()).unwrap();
        assert_eq!(
            std::fs::read_to_string(lock.directory().join(LOCK_FILE)).unwrap(),
            format!("{}\n", std::process::id())
        );
    }

    #[test]
    fn a_full_disk_keeps_nobody_from_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", directory.path().join(LOCK_FILE)).unwrap();
        let lock = Lock::acquire(directory.path()).unwrap();
        let error = Lock::acquire_existing(directory.path()).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: None, .. }), "{error}");
        drop(lock);
        assert!(Lock::acquire_existing(directory.path()).unwrap().is_some());
    }

    #[test]
    fn the_directory_is_created_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("a/b");
        let _lock = Lock::acquire(&state).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(LOCK_FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_directory_that_does_not_exist_is_not_made_only_to_be_taken() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert!(Lock::acquire_existing(&state).unwrap().is_none());
        assert!(!state.exists());
        let lock = Lock::acquire(&state).unwrap();
        assert!(matches!(Lock::acquire_existing(&state), Err(LockError::Held { .. })));
        drop(lock);
        assert!(Lock::acquire_existing(&state).unwrap().is_some());
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Lock::acquire(&file.join("state")).unwrap_err();
        assert!(matches!(error, LockError::Unusable { .. }), "{error}");
    }
}
