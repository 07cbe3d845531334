//! A policy directory, sent whenever it changes.
//!
//! Input: the directory, and the wish to read it again. Output: its whole content each time it differs.
//! The kernel's notifications make it quick; a slow poll makes it sure, since network filesystems send none, watches run
//! out, and a directory that is replaced takes its watch with it.

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

type Content = Result<Vec<SourceFile>, Error>;

/// Watches a directory: sends its whole content once at the start and again after every change, once no further change
/// has come for `debounce`, but at the latest ten times that after the first. A directory that vanishes is sent as an
/// error, and again as content when it is back. Ends when the receiver is dropped. A message on `reread` reads and sends
/// again at once, changed or not.
///
/// Must be called within a tokio runtime.
pub fn watch(directory: &Path, debounce: Duration, reread: mpsc::Receiver<()>) -> mpsc::Receiver<Content> {
    let (sender, receiver) = mpsc::channel(1);
    let (waker, events) = mpsc::channel(1);
    let watching = Watching { paths: vec![directory.to_owned()], waker, watcher: None, file_system: None };
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

struct Watching {
    paths: Vec<PathBuf>,
    waker: mpsc::Sender<()>,
    /// `None` where the kernel gives no notifications; then only the poll finds changes.
    watcher: Option<RecommendedWatcher>,
    /// The file system on which files were found the last time.
    file_system: Option<u64>,
}

impl Watching {
    /// Reads after the watches are in place, so that no change falls between the two.
    fn read(mut self) -> (Watching, Content) {
        let mut watched = None;
        let mut attempt = 1;
        loop {
            let scan = self.scan();
            if watched.as_ref() == Some(&scan.directories) || attempt == SETTLE_ATTEMPTS {
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

    /// Walks, and takes a directory that is empty all at once and on another file system for one whose mount has gone:
    /// what is below a mount point says nothing about policies.
    fn scan(&mut self) -> scan::Scan {
        let on = |paths: &[PathBuf]| paths.first().and_then(|path| scan::file_system(path));
        let before = on(&self.paths);
        let mut scan = scan::scan(&self.paths);
        let after = on(&self.paths);
        let Ok(files) = &scan.files else { return scan };
        if !files.is_empty() {
            if before == after {
                self.file_system = after;
            }
        } else if self.file_system.is_some_and(|known| [before, after] != [Some(known); 2]) {
            let source = std::io::Error::other("it is empty, and on another file system than before: is it unmounted?");
            scan.files = Err(Error::Read { path: self.paths[0].clone(), source });
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
