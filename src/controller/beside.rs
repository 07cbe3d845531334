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

use super::enforcer::Cause;

/// How long a listing may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the kernel is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The time has come.
    Clock,
    /// It has notified us of a change by others.
    Notice,
    /// The engine has done something after which it changes rules. That is nobody's meddling.
    Engine,
}

impl Occasion {
    /// Whose work a difference is.
    pub(super) fn cause(self) -> Cause {
        match self {
            Occasion::Clock | Occasion::Notice => Cause::ReadBack,
            Occasion::Engine => Cause::Event,
        }
    }
}

/// What became of a listing.
#[derive(Debug)]
pub(super) enum Listed {
    /// It was made.
    Found(Box<Found>),
    /// It could not be made.
    Failed,
    /// It was given up.
    Endless,
}

/// A read-back beside the loop, or none.
#[derive(Debug, Default)]
pub(super) struct Beside {
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    occasion: Occasion,
    began: Instant,
    listing: oneshot::Receiver<Result<Found, dataplane::Error>>,
}

impl Beside {
    /// Whether there is one.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins one, in place of one that is under way.
    pub(super) fn begin(&mut self, occasion: Occasion, read_back: ReadBack) {
        let (sender, listing) = oneshot::channel();
        // No task: the end of the controller does not wait for a thread, and it has the loop's network namespace.
        let list = move || drop(sender.send(read_back.list()));
        if let Err(error) = thread::Builder::new().name("read-back".to_owned()).spawn(list) {
            debug!(%error, "cannot read the kernel back beside other work");
        }
        self.under_way = Some(UnderWay { occasion, began: Instant::now(), listing });
    }

    /// Waits for the one that is under way, if there is one: why and when it began, and what became of it. Nothing is lost when
    /// the wait is given up.
    pub(super) async fn next(&mut self) -> (Occasion, Instant, Listed) {
        let Some(UnderWay { occasion, began, listing }) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let (occasion, began) = (*occasion, *began);
        let listed = timeout_at(began + PATIENCE, listing).await;
        self.under_way = None;
        let listed = match listed {
            Ok(Ok(Ok(found))) => Listed::Found(Box::new(found)),
            Ok(Ok(Err(error))) => {
                debug!(error = %chain(&error), "cannot read the kernel back beside other work");
                Listed::Failed
            }
            // It was never begun.
            Ok(Err(_)) => Listed::Failed,
            Err(_) => Listed::Endless,
        };
        (occasion, began, listed)
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
        beside.under_way = Some(UnderWay { occasion: Occasion::Clock, began: Instant::now(), listing });
        assert!(timeout_at(soon(), beside.next()).await.is_err(), "it goes on");
        let Some(under_way) = &mut beside.under_way else { panic!("also where the wait for it was given up") };
        under_way.began = Instant::now().checked_sub(PATIENCE).expect("the machine runs for longer");
        let began = under_way.began;
        let (occasion, since, listed) = beside.next().await;
        assert!(matches!(listed, Listed::Endless) && since == began && occasion == Occasion::Clock);
        assert!(!beside.is_under_way());
        drop(sender);
    }

    #[tokio::test]
    async fn a_listing_that_fails_is_none() {
        let (sender, listing) = oneshot::channel();
        let under_way = UnderWay { occasion: Occasion::Notice, began: Instant::now(), listing };
        let mut beside = Beside { under_way: Some(under_way) };
        sender.send(Err(dataplane::Error::NoTrial(std::io::Error::other("x")))).expect("it is waited for");
        assert!(matches!(beside.next().await.2, Listed::Failed) && !beside.is_under_way());
    }
}
