//! `dockgate test --watch`: judges again whenever a file changes.
//!
//! Input: arguments. Output: one report after the other, until Ctrl-C; the last one decides the exit code. What is watched is
//! found out anew each time, because a test can come to name other files.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{Outcome, report};
use crate::policy::files;

use super::Arguments;

/// Time after a change in which further ones are waited for: editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(150);

/// Judges until Ctrl-C.
pub(super) async fn run(arguments: &Arguments, output: &mut dyn Write) -> anyhow::Result<Outcome> {
    // Listened to all the time: one that is listened to only while waiting would lose a Ctrl-C pressed during a judgement.
    let mut interrupts = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut watched = Watched::new(arguments.watched());
    watched.settle().await;
    loop {
        let outcome = arguments.judge(output);
        if let Err(error) = &outcome {
            report(error);
        }
        writeln!(output, "\nwaiting for a change; Ctrl-C ends")?;
        output.flush().context("cannot write to standard output")?;
        tokio::select! {
            _ = interrupts.recv() => return outcome,
            () = watched.change() => {}
        }
        let paths = arguments.watched();
        if paths != watched.paths {
            watched = Watched::new(paths);
            watched.settle().await;
        }
        writeln!(output)?;
    }
}

/// Files and directories, with one channel that tells of changes in any of them.
struct Watched {
    paths: Vec<PathBuf>,
    changes: mpsc::Receiver<()>,
}

impl Watched {
    fn new(paths: Vec<PathBuf>) -> Watched {
        let (sender, changes) = mpsc::channel(paths.len().max(1));
        for path in &paths {
            let (_, rereads) = mpsc::channel(1);
            let mut contents = files::watch(path, [], DEBOUNCE, rereads);
            let sender = sender.clone();
            tokio::spawn(async move {
                // The content itself is read again with everything else.
                while contents.recv().await.is_some() {
                    if sender.send(()).await.is_err() {
                        return;
                    }
                }
            });
        }
        Watched { paths, changes }
    }

    /// Waits until every watch has told what is there now.
    async fn settle(&mut self) {
        for _ in 0..self.paths.len() {
            self.changes.recv().await;
        }
    }

    /// Waits for a change, and takes those that came with it for the same.
    async fn change(&mut self) {
        self.changes.recv().await;
        while tokio::time::timeout(DEBOUNCE, self.changes.recv()).await.is_ok_and(|change| change.is_some()) {}
    }
}
