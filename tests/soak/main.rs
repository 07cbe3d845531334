//! A long time of accidents in random order, with packets on forbidden and on allowed ways all along.
//!
//! Containers, networks and policies come and go, other hands change the packet filter, dockerd and dockgate are stopped,
//! halted and killed, all at once. Nothing forbidden may pass, except after somebody else's change of rules of ours, until they
//! are repaired: the report says how long each was open, and how many for longer than a second. What is allowed may fail only while a container of its own
//! restarts, after such a change, and, where it goes through a published port, while dockerd is away. At the end the kernel
//! must hold what a controller writes that has never seen anything else.
//!
//! `make soak` runs it. `DOCKGATE_SOAK_SECONDS` is how long (default 60), `DOCKGATE_SOAK_SEED` repeats the choices of a
//! run, though not the moments at which they meet.

#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

#[path = "../support/mod.rs"]
mod support;

mod actors;
mod ledger;
mod pair;
mod world;

use std::env;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};

use world::World;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let seconds = setting("DOCKGATE_SOAK_SECONDS").unwrap_or(60);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let seed = setting("DOCKGATE_SOAK_SEED").unwrap_or_else(now);
    let soak = Trial::test("nothing_forbidden_passes", move || soak(Duration::from_secs(seconds), seed));
    libtest_mimic::run(&arguments, vec![soak]).exit_code()
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn soak(duration: Duration, seed: u64) -> Result<(), Failed> {
    let mut world = World::build();
    println!("soak: {} s, seed {seed}, engine {}", duration.as_secs(), world.lab.engine_version());
    world.endure(duration, seed);
    let report = world.report();
    println!("{report}");
    let mut failures = report.failures();
    failures.extend(world.compare_with_a_fresh_start());
    failures.extend(world.show_that_a_hole_would_show());
    if failures.is_empty() { Ok(()) } else { Err(format!("{}\n{}", failures.join("\n"), world.log()).into()) }
}
