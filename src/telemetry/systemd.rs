//! Notifications to systemd, when it asked for them (`Type=notify` or `notify-reload` in the unit,
//! `NOTIFY_SOCKET` in the environment); otherwise every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells the service manager how the process is. A notification that cannot be sent is logged and never stops the
/// controller: enforcement does not depend on who watches it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifier;

impl Notifier {
    /// The first apply is done.
    pub fn ready(self) {
        send(&[NotifyState::Ready]);
    }

    /// Policies are being read again on request; [`Notifier::ready`] ends it.
    pub fn reloading(self) {
        // systemd 253 and later end the service if the time is missing.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock for systemd"),
        }
    }

    /// The process is about to end on request.
    pub fn stopping(self) {
        send(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`.
    pub fn status(self, line: &str) {
        // A line break would start another assignment of the protocol.
        let line = line.replace(['\n', '\r'], " ");
        send(&[NotifyState::Status(&line)]);
    }

    /// The process is alive; to be sent within every [`watchdog_interval`].
    pub fn alive(self) {
        send(&[NotifyState::Watchdog]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// How often [`Notifier::alive`] is to be sent: half of what systemd allows; `None` when it does not watch.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}
