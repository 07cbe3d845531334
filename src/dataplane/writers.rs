//! Which changes of nftables are our own.
//!
//! Input: our processes as they begin and end. Output: whether a notification tells of what one of them did. The kernel names the
//! netlink port of the socket from which a change was asked for. That of the first socket of a process is the process's id,
//! unless somebody else has it; and for elements we have a port of our own. A change by others has another port, also when
//! it comes in the same moment.
//!
//! Only what we change in one go is taken down, and for as long as it takes. Another process can have the same port all the
//! same: one in another pid namespace, where ids are others, or one that takes it on purpose; both need the right to change
//! nftables. At the next periodic read-back of everything such a change is found.

#![expect(clippy::disallowed_methods, reason = "a process that has ended is forgotten after a while")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a process is remembered that has ended. What it did may be notified while the loop is busy.
const MEMORY: Duration = Duration::from_secs(30);

/// Our processes, with the time of their end.
static PROCESSES: Mutex<BTreeMap<u32, Option<Instant>>> = Mutex::new(BTreeMap::new());

/// The netlink port from which this process changes elements. Ports that the kernel gives are process ids, which end below this, or
/// negative.
pub(super) fn own_port() -> u32 {
    (1 << 30) | std::process::id()
}

/// A process of ours that may change nftables, from its beginning to its end.
pub(super) struct Writer(u32);

impl Writer {
    /// It has begun, and is waiting for what it is to do.
    pub(super) fn begins(id: u32) -> Writer {
        let mut processes = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
        processes.retain(|_, ended| ended.is_none_or(|ended| ended.elapsed() < MEMORY));
        processes.insert(id, None);
        Writer(id)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        PROCESSES.lock().unwrap_or_else(PoisonError::into_inner).insert(self.0, Some(Instant::now()));
    }
}

/// Whether a netlink port is this process's for elements or that of a process of ours.
pub(super) fn is_ours(port: u32) -> bool {
    let is_remembered = |ended: &Option<Instant>| ended.is_none_or(|ended| ended.elapsed() < MEMORY);
    let processes = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
    port == own_port() || processes.get(&port).is_some_and(is_remembered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_from_its_beginning_until_long_after_its_end() {
        // Beyond what process ids there are.
        const ID: u32 = 1 << 29;
        assert!(is_ours(own_port()) && !is_ours(ID) && !is_ours(own_port() + 1));
        let writer = Writer::begins(ID);
        assert!(is_ours(ID));
        drop(writer);
        assert!(is_ours(ID), "what it did may be notified later");
        let long_ago = Instant::now().checked_sub(MEMORY).expect("the machine runs for longer");
        PROCESSES.lock().expect("no test panics while it has the lock").insert(ID, Some(long_ago));
        assert!(!is_ours(ID), "another process may have its id");
        drop(Writer::begins(ID + 1));
        assert!(!PROCESSES.lock().expect("no test panics while it has the lock").contains_key(&ID), "nor is it kept");
    }
}
