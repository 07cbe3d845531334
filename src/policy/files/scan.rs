//! One walk over policy files.
//!
//! Input: paths. Output: the files, and the directories in which a change would make the next walk differ.
//! A directory may be replaced underneath a walk; one that meets a name that has just gone begins anew, because half of
//! the old and half of the new policies is neither.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{SourceFile, Unreadable};
use super::{Error, MAX_FILE_SIZE};

/// Walks that are made when something vanishes underneath one: the writer is replacing a directory.
const ATTEMPTS: u32 = 5;
/// Links that are followed from one path, as in the kernel.
const MAX_LINKS: u32 = 40;

/// What a walk found.
pub(super) struct Scan {
    /// The files by path, or why it cannot be told what they are.
    pub(super) files: Result<Vec<SourceFile>, Error>,
    /// Real paths of the directories to watch; those known so far after an error.
    pub(super) directories: BTreeSet<PathBuf>,
    /// The file system of each directory that was walked, by the path to name it by; `None` when it was another one after
    /// the walk than before.
    pub(super) file_systems: BTreeMap<PathBuf, Option<u64>>,
}

/// The file system that a path is on; `None` when that cannot be told.
fn file_system(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.dev())
}

/// Walks over files and directories. A path of which it cannot be told what belongs to it makes all of them unknown.
pub(super) fn scan(paths: &[PathBuf]) -> Scan {
    let mut walk = walk(paths);
    let files = match walk.failures.pop_first() {
        Some((path, source)) => Err(failed(&path, source)),
        None => Ok(walk.files()),
    };
    Scan { files, directories: walk.directories, file_systems: walk.file_systems }
}

/// Walks over files and directories. A path of which it cannot be told what belongs to it is among the files, unreadable.
pub(super) fn files(paths: &[PathBuf]) -> Vec<SourceFile> {
    let walk = walk(paths);
    let mut files = walk.files();
    files.extend(walk.failures.iter().map(|(path, error)| refused(path, error)));
    files.sort();
    files
}

fn walk(paths: &[PathBuf]) -> Walk {
    let mut attempt = 1;
    loop {
        let mut walk = Walk::default();
        for path in paths {
            walk.attempt(path, |walk| walk.root(path));
        }
        let vanished = walk.failures.values().any(|error| error.kind() == ErrorKind::NotFound);
        if !vanished || attempt == ATTEMPTS {
            return walk;
        }
        attempt += 1;
    }
}

#[derive(Default)]
struct Walk {
    /// Files by their real path: the path to name them by, and whether a link leads there.
    found: BTreeMap<PathBuf, (bool, PathBuf)>,
    /// Links that lead nowhere.
    dangling: Vec<SourceFile>,
    /// Paths of which it cannot be told what belongs to them. The walk goes on, so that all of them are known.
    failures: BTreeMap<PathBuf, io::Error>,
    directories: BTreeSet<PathBuf>,
    file_systems: BTreeMap<PathBuf, Option<u64>>,
    /// Real paths of the directories that are being walked, so that links in a circle end.
    open: Vec<PathBuf>,
}

impl Walk {
    fn attempt(&mut self, path: &Path, step: impl FnOnce(&mut Walk) -> io::Result<()>) {
        if let Err(error) = step(self) {
            self.failures.insert(path.to_owned(), error);
        }
    }

    fn root(&mut self, path: &Path) -> io::Result<()> {
        self.note_links(path);
        if fs::metadata(path)?.is_dir() { self.directory(path, false) } else { self.file(path, false) }
    }

    fn directory(&mut self, path: &Path, linked: bool) -> io::Result<()> {
        let real = fs::canonicalize(path)?;
        if self.open.contains(&real) {
            return Ok(());
        }
        self.directories.insert(real.clone());
        let before = file_system(path);
        self.open.push(real);
        let listed = self.entries(path, linked);
        self.open.pop();
        self.file_systems.insert(path.to_owned(), before.filter(|before| file_system(path) == Some(*before)));
        listed
    }

    fn entries(&mut self, directory: &Path, linked: bool) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            if !is_hidden(&name) {
                let path = directory.join(name);
                self.attempt(&path, |walk| walk.entry(&path, linked));
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, linked: bool) -> io::Result<()> {
        let own = fs::symlink_metadata(path)?;
        if own.is_dir() {
            return self.directory(path, linked);
        }
        if !own.is_symlink() {
            // It is where its name says, and asking the kernel for each of a thousand files takes its time.
            let real = self.open.last().zip(path.file_name()).map(|(directory, name)| directory.join(name));
            if let Some(real) = real.filter(|_| has_policy_name(path)) {
                self.found_at(real, path, linked);
            }
            return Ok(());
        }
        self.note_links(path);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.directory(path, true),
            Ok(_) if has_policy_name(path) => self.file(path, true),
            Ok(_) => Ok(()),
            // A circle of links, or one to nowhere. It may stand for a directory, whose files must not vanish unseen;
            // only where its name says that it is a file can the rest be told.
            Err(error) if has_policy_name(path) => {
                self.dangling.push(refused(path, &error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn file(&mut self, path: &Path, linked: bool) -> io::Result<()> {
        let real = fs::canonicalize(path)?;
        if let Some(parent) = real.parent() {
            self.directories.insert(parent.to_owned());
        }
        self.found_at(real, path, linked);
        Ok(())
    }

    fn found_at(&mut self, real: PathBuf, path: &Path, linked: bool) {
        // The name through a link outlives the version that it points to at the moment.
        let candidate = (!linked, path.to_owned());
        let known = self.found.entry(real).or_insert_with(|| candidate.clone());
        if candidate < *known {
            *known = candidate;
        }
    }

    /// Notes the directories that hold a path and every link on the way from it. Where the path does not exist, the
    /// closest directory above is where it will appear.
    fn note_links(&mut self, path: &Path) {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let parent = match path.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => return,
            };
            match parent.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok()) {
                Some(real) => self.directories.insert(real),
                None => return,
            };
            let Ok(target) = fs::read_link(&path) else { return };
            path = parent.join(target);
        }
    }

    fn files(&self) -> Vec<SourceFile> {
        let mut files: Vec<SourceFile> = self.found.values().map(|(_, path)| read_file(path)).collect();
        files.extend(self.dangling.iter().cloned());
        files.sort();
        files
    }
}

fn read_file(path: &Path) -> SourceFile {
    let content = fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            // Opening a named pipe would wait for a writer.
            return Err(io::Error::other("not a regular file"));
        }
        content(path, File::open(path)?, metadata.len())
    });
    content.unwrap_or_else(|error| refused(path, &error))
}

pub(super) fn read_stream(name: &Path, stream: impl Read) -> io::Result<SourceFile> {
    content(name, stream, 0)
}

/// What a stream holds, which claims to have this size.
fn content(name: &Path, stream: impl Read, claimed: u64) -> io::Result<SourceFile> {
    let mut bytes = Vec::with_capacity(usize::try_from(claimed.min(MAX_FILE_SIZE)).unwrap_or_default() + 1);
    stream.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    let size = claimed.max(bytes.len() as u64);
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Ok(SourceFile { unreadable: Some(Unreadable::TooLarge { size }), ..SourceFile::new(name, "") });
    }
    Ok(decode(name, bytes))
}

pub(super) fn decode(path: &Path, bytes: Vec<u8>) -> SourceFile {
    match String::from_utf8(bytes) {
        Ok(text) => SourceFile::new(path, text),
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
            let last_line = valid.rsplit('\n').next().unwrap_or_default();
            let unreadable = Unreadable::NotUtf8 {
                line: count(valid.matches('\n').count()),
                column: count(last_line.chars().count()),
            };
            let text = String::from_utf8_lossy(error.as_bytes());
            SourceFile { unreadable: Some(unreadable), ..SourceFile::new(path, text) }
        }
    }
}

/// A path that is there as a name only. Of a link it is told where it leads: "no such file" of a name that is listed
/// would be a riddle.
fn refused(path: &Path, error: &io::Error) -> SourceFile {
    let reason = match fs::read_link(path) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            format!("the link leads to `{}`, which does not exist", target.display())
        }
        _ => error.to_string(),
    };
    SourceFile { unreadable: Some(Unreadable::Refused(reason)), ..SourceFile::new(path, "") }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}

pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether the name says that the file holds policies. What editors leave behind (`x.yaml~`, `#x.yaml#`, `x.yaml.swp`,
/// `4913`) and half-copied files (`x.yaml.tmp`) have other endings.
pub(super) fn has_policy_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

#[cfg(test)]
mod tests;
