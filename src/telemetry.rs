//! What the running controller says about itself: its status on the control socket, and its log.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// File name of the control socket in the state directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The controller's state as `dockgate status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether policies and inventory are known and the kernel holds what they say, with nothing held back.
    pub ready: bool,
    /// Whether the kernel holds the compiled ruleset.
    pub in_sync: bool,
    /// Everything that keeps `ready` from being true, and every other trouble, as sentences.
    pub problems: Vec<String>,
}

/// Asks the controller whose state directory this is.
pub async fn ask(_state_directory: &Path) -> std::io::Result<Status> {
    todo!()
}
