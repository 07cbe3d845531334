//! One walk over policy files.
//!
//! Input: paths. Output: the files, and the directories in which a change would make the next walk differ.
//! A directory may be replaced underneath a walk; one that meets a name that has just gone begins anew, because half of
//! the old and half of the new policies is neither.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
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

/// Walks over files and directories.
pub(super) fn scan(paths: &[PathBuf]) -> Scan {
    let mut attempt = 1;
    loop {
        let mut walk = Walk::default();
        let files = paths.iter().try_for_each(|path| walk.root(path)).map(|()| walk.files());
        let vanished = matches!(&files, Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound);
        if !vanished || attempt == ATTEMPTS {
            return Scan { files, directories: walk.directories, file_systems: walk.file_systems };
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
    directories: BTreeSet<PathBuf>,
    file_systems: BTreeMap<PathBuf, Option<u64>>,
    /// Real paths of the directories that are being walked, so that links in a circle end.
    open: Vec<PathBuf>,
}

impl Walk {
    fn root(&mut self, path: &Path) -> Result<(), Error> {
        self.note_links(path);
        let metadata = fs::metadata(path).map_err(|source| failed(path, source))?;
        if metadata.is_dir() { self.directory(path, false) } else { self.file(path, false) }
    }

    fn directory(&mut self, path: &Path, linked: bool) -> Result<(), Error> {
        let real = fs::canonicalize(path).map_err(|source| failed(path, source))?;
        if self.open.contains(&real) {
            return Ok(());
        }
        self.directories.insert(real.clone());
        self.open.push(real);
        let before = file_system(path);
        let entries = fs::read_dir(path).map_err(|source| failed(path, source))?;
        for entry in entries {
            let name = entry.map_err(|source| failed(path, source))?.file_name();
            if !is_hidden(&name) {
                self.entry(&path.join(name), linked)?;
            }
        }
        self.open.pop();
        self.file_systems.insert(path.to_owned(), before.filter(|before| file_system(path) == Some(*before)));
        Ok(())
    }

    fn entry(&mut self, path: &Path, linked: bool) -> Result<(), Error> {
        let own = fs::symlink_metadata(path).map_err(|source| failed(path, source))?;
        let linked = linked || own.is_symlink();
        if own.is_symlink() {
            self.note_links(path);
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.directory(path, linked),
            Ok(_) if has_policy_name(path) => self.file(path, linked),
            Ok(_) => Ok(()),
            // A circle of links, or one to nowhere. It may stand for a directory, whose files must not vanish unseen;
            // only where its name says that it is a file can the rest be told.
            Err(error) if has_policy_name(path) => {
                self.dangling.push(refused(path, &error));
                Ok(())
            }
            Err(source) => Err(failed(path, source)),
        }
    }

    fn file(&mut self, path: &Path, linked: bool) -> Result<(), Error> {
        let real = fs::canonicalize(path).map_err(|source| failed(path, source))?;
        if let Some(parent) = real.parent() {
            self.directories.insert(parent.to_owned());
        }
        // The name through a link outlives the version that it points to at the moment.
        let candidate = (!linked, path.to_owned());
        let known = self.found.entry(real).or_insert_with(|| candidate.clone());
        if candidate < *known {
            *known = candidate;
        }
        Ok(())
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
    let content = fs::metadata(path).and_then(|metadata| read_bytes(path, &metadata));
    match content {
        Ok(Ok(bytes)) => decode(path, bytes),
        Ok(Err(size)) => SourceFile { unreadable: Some(Unreadable::TooLarge { size }), ..SourceFile::new(path, "") },
        Err(error) => refused(path, &error),
    }
}

/// The content, or the size where that is too large.
fn read_bytes(path: &Path, metadata: &Metadata) -> io::Result<Result<Vec<u8>, u64>> {
    if !metadata.is_file() {
        // Opening a named pipe would wait for a writer.
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    let read = bytes.len() as u64;
    Ok(if read > MAX_FILE_SIZE { Err(metadata.len().max(read)) } else { Ok(bytes) })
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

fn refused(path: &Path, error: &io::Error) -> SourceFile {
    SourceFile { unreadable: Some(Unreadable::Refused(error.to_string())), ..SourceFile::new(path, "") }
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
