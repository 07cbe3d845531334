//! The read-back of the kernel that is made beside the loop.
//!
//! Input: a listing that is to be made. Output: what it found, when it has. Events go on meanwhile. They write to the same
//! kernel, and the tools begin a listing anew when what they list has changed: where events never stop it may never end, so
//! that it is given up after a while, and the kernel is read in the loop.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::dataplane::{self, Found, ReadBack};
use crate::telemetry::chain;

/// How long a listing may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A read-back beside the loop, or none.
#[derive(Debug, Default)]
pub(super) struct Beside {
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    began: Instant,
    listing: oneshot::Receiver<Result<Found, dataplane::Error>>,
}

impl Beside {
    /// Whether there is one.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins one, in place of one that is under way.
    pub(super) fn begin(&mut self, read_back: ReadBack) {
        let (sender, listing) = oneshot::channel();
        // No task: the end of the controller does not wait for a thread, and it has the loop's network namespace.
        let list = move || drop(sender.send(read_back.list()));
        if let Err(error) = thread::Builder::new().name("read-back".to_owned()).spawn(list) {
            debug!(%error, "cannot read the kernel back beside other work");
        }
        self.under_way = Some(UnderWay { began: Instant::now(), listing });
    }

    /// Waits for the one that is under way, if there is one: since when it was, and what was found; `None` where that could
    /// not be found out. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> (Instant, Option<Found>) {
        let Some(UnderWay { began, listing }) = &mut self.under_way else { return std::future::pending().await };
        let began = *began;
        let listed = timeout_at(began + PATIENCE, listing).await;
        self.under_way = None;
        let found = match listed {
            Ok(Ok(Ok(found))) => Some(found),
            Ok(Ok(Err(error))) => {
                debug!(error = %chain(&error), "cannot read the kernel back beside other work");
                None
            }
            // It was never begun, or goes on.
            Ok(Err(_)) | Err(_) => None,
        };
        (began, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listing_that_does_not_end_is_given_up() {
        let soon = || Instant::now() + Duration::from_millis(10);
        let mut beside = Beside::default();
        assert!(timeout_at(soon(), beside.next()).await.is_err(), "there is none");
        let (sender, listing) = oneshot::channel();
        beside.under_way = Some(UnderWay { began: Instant::now(), listing });
        assert!(timeout_at(soon(), beside.next()).await.is_err(), "it goes on");
        let Some(under_way) = &mut beside.under_way else { panic!("also where the wait for it was given up") };
        under_way.began = Instant::now().checked_sub(PATIENCE).expect("the machine runs for longer");
        let began = under_way.began;
        let (since, found) = beside.next().await;
        assert!(found.is_none() && since == began && !beside.is_under_way());
        drop(sender);
    }

    #[tokio::test]
    async fn a_listing_that_fails_is_none() {
        let (sender, listing) = oneshot::channel();
        let mut beside = Beside { under_way: Some(UnderWay { began: Instant::now(), listing }) };
        sender.send(Err(dataplane::Error::NoTrial(std::io::Error::other("x")))).expect("it is waited for");
        assert!(beside.next().await.1.is_none() && !beside.is_under_way());
    }
}
