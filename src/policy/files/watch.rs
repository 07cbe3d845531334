//! A policy directory, sent whenever it changes.
//!
//! Input: the directory, what it held in an earlier run, and the wish to read it again. Output: its whole content each
//! time it differs.
//! The kernel's notifications make it quick; a slow poll makes it sure, since network filesystems send none, watches run
//! out, and a directory that is replaced takes its watch with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::super::SourceFile;
use super::{Error, scan};

/// Time between two polls.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Multiple of the debounce time after which changes that never cease are read all the same.
const PATIENCE: u32 = 10;
/// Walks until the directories to watch are the ones that are watched.
const SETTLE_ATTEMPTS: u32 = 5;

/// Said of a directory that was emptied while we looked.
const OTHER_FILE_SYSTEM: &str = "it is empty, and on another file system than before: is it unmounted? If its policies \
    are to go, put an empty file `none.yaml` there, or remove the directory if it is not the policy directory itself";
/// Said of a directory that was emptied while nobody looked.
const OTHER_RUN: &str = "it is empty, and was not when the controller last ran: is a mount missing? If its policies are to \
    go, put an empty file `none.yaml` there, or remove the directory if it is not the policy directory itself";

type Content = Result<Vec<SourceFile>, Error>;

/// Watches a directory: sends its whole content once at the start and again after every change, once no further change
/// has come for `debounce`, but at the latest ten times that after the first. A directory that vanishes is sent as an
/// error, and again as content when it is back. Ends when the receiver is dropped. A message on `reread` reads and sends
/// again at once, changed or not.
///
/// `earlier` are the files that an earlier run found. A directory that held some of them, is there and holds none may be
/// the place of a mount that has not come: that is an error until it holds a file or is gone. While the watch runs, a
/// directory may be emptied, unless it is on another file system then.
///
/// Must be called within a tokio runtime.
pub fn watch<'a>(
    directory: &Path,
    earlier: impl IntoIterator<Item = &'a PathBuf>,
    debounce: Duration,
    reread: mpsc::Receiver<()>,
) -> mpsc::Receiver<Content> {
    let (sender, receiver) = mpsc::channel(1);
    let (waker, events) = mpsc::channel(1);
    let known = above(directory, earlier).map(|directory| (directory.to_owned(), None)).collect();
    let watching = Watching { directory: directory.to_owned(), waker, watcher: None, known, watched: BTreeSet::new() };
    tokio::spawn(run(watching, events, debounce, reread, sender));
    receiver
}

async fn run(
    mut watching: Watching,
    mut events: mpsc::Receiver<()>,
    debounce: Duration,
    mut reread: mpsc::Receiver<()>,
    sender: mpsc::Sender<Content>,
) {
    let mut rereads = true;
    let mut sent: Option<Result<Vec<SourceFile>, String>> = None;
    let mut wanted = false;
    loop {
        let Ok((back, content)) = tokio::task::spawn_blocking(|| watching.read()).await else {
            // The runtime is shutting down.
            return;
        };
        watching = back;
        let identity = content.as_ref().map_err(describe).cloned();
        if wanted || sent.as_ref() != Some(&identity) {
            sent = Some(identity);
            if sender.send(content).await.is_err() {
                return;
            }
        }
        wanted = tokio::select! {
            () = sender.closed() => return,
            Some(()) = events.recv() => false,
            request = reread.recv(), if rereads => {
                rereads = request.is_some();
                rereads
            }
            () = sleep(POLL_INTERVAL) => {
                let Ok((back, content)) = tokio::task::spawn_blocking(|| watching.peek()).await else { return };
                watching = back;
                if sent.as_ref() == Some(&content.map_err(|error| describe(&error))) {
                    continue;
                }
                false
            }
        };
        if !wanted && !settled(&mut events, debounce).await {
            return;
        }
    }
}

/// Waits until no event has come for `debounce`, or [`PATIENCE`] is at its end. False when none can come any more.
async fn settled(events: &mut mpsc::Receiver<()>, debounce: Duration) -> bool {
    let latest = Instant::now() + debounce * PATIENCE;
    while Instant::now() < latest {
        match timeout(debounce, events.recv()).await {
            Ok(Some(())) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
    true
}

/// An error in a form that can be compared.
fn describe(error: &Error) -> String {
    let Error::Read { source, .. } = error;
    format!("{error}: {source}")
}

/// The directories from `top` on down in or below which the files are.
fn above<'a>(top: &Path, files: impl IntoIterator<Item = &'a PathBuf>) -> impl Iterator<Item = &'a Path> {
    let parents = files.into_iter().flat_map(|file| file.ancestors().skip(1));
    parents.filter(move |directory| directory.starts_with(top))
}

struct Watching {
    directory: PathBuf,
    waker: mpsc::Sender<()>,
    /// `None` where the kernel gives no notifications; then only the poll finds changes.
    watcher: Option<RecommendedWatcher>,
    /// The directories in or below which files were found the last time, each with its file system; `None` when that is
    /// not known, as of those of an earlier run.
    known: BTreeMap<PathBuf, Option<u64>>,
    /// The directories that were to be watched the last time.
    watched: BTreeSet<PathBuf>,
}

impl Watching {
    /// Reads after the watches are in place, so that no change falls between the two. They are mostly those of the last
    /// time; then one walk is enough.
    fn read(mut self) -> (Watching, Content) {
        let last: BTreeSet<_> = self.watched.iter().filter(|directory| directory.is_dir()).cloned().collect();
        let mut watched = None;
        if !last.is_empty() {
            self.watcher = self.start(&last);
            watched = Some(last);
        }
        let mut attempt = 1;
        loop {
            let scan = self.scan();
            if watched.as_ref() == Some(&scan.directories) || attempt == SETTLE_ATTEMPTS {
                self.watched = scan.directories;
                return (self, scan.files);
            }
            // All of them and anew: the path of a watch that the kernel has dropped looks like any other.
            self.watcher = self.start(&scan.directories);
            watched = Some(scan.directories);
            attempt += 1;
        }
    }

    /// Reads without touching the watches.
    fn peek(mut self) -> (Watching, Content) {
        let content = self.scan().files;
        (self, content)
    }

    /// Walks, and takes a directory that has lost all its files and is not surely on the same file system as before for one
    /// whose mount has gone: what is below a mount point says nothing about policies.
    fn scan(&mut self) -> scan::Scan {
        let mut scan = scan::scan(std::slice::from_ref(&self.directory));
        let Ok(files) = &scan.files else { return scan };
        let mut found = BTreeMap::new();
        for directory in above(&self.directory, files.iter().map(|file| &file.path)) {
            let on = scan.file_systems.get(directory).copied().flatten();
            found.insert(directory.to_owned(), on.or_else(|| self.known.get(directory).copied().flatten()));
        }
        let unsure = self.known.iter().find(|(directory, before)| {
            // One that is not there was removed.
            let now = scan.file_systems.get(*directory);
            !found.contains_key(*directory) && now.is_some_and(|now| now.is_none() || now != *before)
        });
        match unsure {
            Some((directory, before)) => {
                let source = std::io::Error::other(if before.is_some() { OTHER_FILE_SYSTEM } else { OTHER_RUN });
                scan.files = Err(Error::Read { path: directory.clone(), source });
            }
            None => self.known = found,
        }
        scan
    }

    fn start<'a>(&self, directories: impl IntoIterator<Item = &'a PathBuf>) -> Option<RecommendedWatcher> {
        let waker = self.waker.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let reading = |event: &notify::Event| matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
            // Our own reading is reported as well. A full channel holds an event already.
            if !event.as_ref().is_ok_and(reading) {
                let _ = waker.try_send(());
            }
        });
        let mut watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "no change notifications: the policy directory is polled"))
            .ok()?;
        for directory in directories {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::warn!(directory = %directory.display(), %error, "cannot watch: the directory is polled");
            }
        }
        Some(watcher)
    }
}

#[cfg(test)]
mod tests;
