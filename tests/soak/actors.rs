//! Who does what to the world, each at the same time as the others.
//!
//! Input: the world and a source of chance. Output: events in its ledger, until the time is over.

pub(crate) mod accidents;
pub(crate) mod containers;
pub(crate) mod engine;
pub(crate) mod files;

use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;

/// Sleeps for a random time of at most so many milliseconds.
fn pause(random: &mut StdRng, at_most: u64) {
    thread::sleep(Duration::from_millis(random.random_range(0..=at_most)));
}

/// Waits for a condition as long as other actors may keep it from coming true, and panics with its name after that.
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "waited a minute for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
