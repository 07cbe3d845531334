//! The subscription to the kernel's notifications, made again when it ends.
//!
//! Input: a way to subscribe. Output: each notification, and why there are none, if so. Without them a repair takes as
//! long as the interval of the read-back, so that they are missing is a trouble and not only a line in the log.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::dataplane::Notice;

/// Pause before the first try to subscribe again; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something may have changed.
    Notice(Notice),
    /// It says nothing any more, or again. Anything may have changed unheard.
    Gap,
}

type Subscribe = Box<dyn FnMut() -> io::Result<mpsc::Receiver<Notice>> + Send>;

/// The kernel's notifications.
pub(super) struct Notices {
    subscribe: Subscribe,
    receiver: Option<mpsc::Receiver<Notice>>,
    /// Why there are none, if so.
    trouble: Option<String>,
    /// Tries that have failed in a row.
    failures: u32,
    retry_at: Instant,
}

impl Notices {
    /// Subscribes. What changes after that is notified.
    pub(super) fn new(subscribe: impl FnMut() -> io::Result<mpsc::Receiver<Notice>> + Send + 'static) -> Notices {
        let subscribe = Box::new(subscribe);
        let mut notices = Notices { subscribe, receiver: None, trouble: None, failures: 0, retry_at: Instant::now() };
        notices.try_subscribe();
        notices
    }

    /// Why the kernel does not notify us, while it does not.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Waits for what the kernel says next. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some(receiver) = &mut self.receiver {
            if let Some(notice) = receiver.recv().await {
                return Heard::Notice(notice);
            }
            self.receiver = None;
            self.failed("they have ended");
            return Heard::Gap;
        }
        loop {
            sleep_until(self.retry_at).await;
            if self.try_subscribe() {
                info!("the kernel notifies us of changes again");
                return Heard::Gap;
            }
        }
    }

    fn try_subscribe(&mut self) -> bool {
        match (self.subscribe)() {
            Ok(receiver) => {
                self.receiver = Some(receiver);
                (self.trouble, self.failures) = (None, 0);
                true
            }
            Err(error) => {
                self.failed(&error.to_string());
                false
            }
        }
    }

    fn failed(&mut self, reason: &str) {
        if self.trouble.is_none() {
            error!(%reason, "the kernel does not notify us of changes");
        }
        self.trouble = Some(format!(
            "the kernel does not notify us of changes, those of others are found by the periodic read-back alone: {reason}"
        ));
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Instant::now() + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscription_that_ends_or_cannot_be_made_is_made_again_and_told_until_then() {
        let (sender, tried) = mpsc::unbounded_channel();
        let mut tried = tried;
        let mut turn = 0;
        let mut notices = Notices::new(move || {
            turn += 1;
            if turn == 1 || turn == 3 {
                return Err(io::Error::other("no buffers"));
            }
            let (notice, receiver) = mpsc::channel(1);
            sender.send(notice).map_err(io::Error::other)?;
            Ok(receiver)
        });
        assert!(notices.trouble().is_some_and(|trouble| trouble.contains("no buffers")), "it cannot be made");
        assert_eq!(notices.next().await, Heard::Gap);
        assert_eq!(notices.trouble(), None);
        let kernel = tried.recv().await.expect("there is a subscription");
        let notice = Notice { rules: true, ..Notice::default() };
        kernel.send(notice.clone()).await.expect("somebody listens");
        assert_eq!(notices.next().await, Heard::Notice(notice));

        drop(kernel);
        assert_eq!(notices.next().await, Heard::Gap, "something may have changed unheard");
        assert!(notices.trouble().is_some_and(|trouble| trouble.contains("have ended")));
        let began = Instant::now();
        assert_eq!(notices.next().await, Heard::Gap);
        assert!(began.elapsed() > 2 * FIRST_PAUSE, "the second pause is longer: {:?}", began.elapsed());
        assert_eq!((notices.trouble(), notices.failures), (None, 0));
        assert!(tried.recv().await.is_some_and(|kernel| !kernel.is_closed()));
    }
}
