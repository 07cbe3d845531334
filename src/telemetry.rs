//! What the running controller says about itself: its status, its log, and its word to the service manager.
//!
//! Input: facts that the controller publishes. Output: one JSON document per connection on a control socket that only
//! root may open, log lines on standard error, and systemd notifications.
//! The lock on the state directory lives here too: it says which process may speak for that directory.

mod control;
mod lock;
mod log;
mod status;
mod systemd;

pub use control::{AskError, BindError, CONTROL_SOCKET, ask, bind, serve};
pub use lock::{LOCK_FILE, Lock, LockError, NamespaceLock};
pub use log::{Error as LogError, Format, Level, Log};
pub use status::{EndpointsStatus, EngineStatus, Finding, KernelStatus, PoliciesStatus, Status, UnenforceableEndpoint};
pub use systemd::{Notifier, watchdog_interval};

/// An error and its causes on one line, for the log and the status.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
