//! `explain`, `connectivity`, `test` and `diff` say the same, and it is what `verdict` says of the packets.
//!
//! Each world has containers, networks and published ports, and policies of all kinds before and after a change. The
//! commands are run as a user runs them, by their arguments on files, and what they print is held against `verdict`: its
//! rules are asked about every way of a connection by the very addresses of both ends, and what Docker's own rules do to a
//! way is decided in this test (`truth.rs`), not by code that the commands share. What it holds:
//!
//! - `explain` has these ways with these verdicts, and names the rule that decides;
//! - `connectivity` has a port as open exactly where a way is open, and as denied exactly where all are closed;
//! - a case of a `PolicyTest` passes exactly when it expects that, and its `by` is met by the rule that `explain` names;
//! - `diff` has a port exactly where the verdicts before and after differ, and between two parties exactly what the two
//!   answers of `connectivity` differ in; without a change it has nothing, and backwards it is its own mirror image.
//!
//! `verdict` itself is held to the kernel by `tests/enforcement/differential.rs`, whose module text has the whole chain.
//!
//! A world that fails is made as small as it can be before it is shown. `DOCKGATE_AGREEMENT_WORLDS` (default 1000) and
//! `DOCKGATE_AGREEMENT_SEED` (default 0) choose the worlds.

#![expect(clippy::print_stdout, reason = "how much was compared belongs to the output of the test")]

mod check;
mod commands;
mod differences;
mod matrix;
#[path = "../support/policies.rs"]
mod policies;
mod truth;
mod world;
#[path = "../support/worlds.rs"]
mod worlds;

use std::num::NonZero;

use check::Tally;
use commands::Desk;
use world::World;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Takes away from a world what it also fails without.
fn smallest(mut world: World, mut failure: String, desk: &Desk) -> (World, String) {
    loop {
        let found = world.smaller().into_iter().find_map(|smaller| {
            let failure = check::check(&smaller, desk).err()?;
            Some((smaller, failure))
        });
        let Some(found) = found else { return (world, failure) };
        (world, failure) = found;
    }
}

fn run(seeds: impl Iterator<Item = u64>) -> Tally {
    let desk = Desk::new();
    let mut tally = Tally::default();
    for seed in seeds {
        let world = World::generated(seed);
        match check::check(&world, &desk) {
            Ok(found) => tally += found,
            Err(first) => {
                let (world, failure) = smallest(world, first.clone(), &desk);
                panic!("seed {seed}: {first}\n\nThe smallest world that fails, too: {failure}\n{world}");
            }
        }
    }
    tally
}

#[test]
fn the_commands_agree_with_each_other_and_with_verdict() {
    let worlds = number("DOCKGATE_AGREEMENT_WORLDS", 1000);
    let first = number("DOCKGATE_AGREEMENT_SEED", 0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let share = |thread| move || run((first..first + worlds).skip(thread).step_by(threads));
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that failed has said why")).collect()
    });
    let mut tally = Tally::default();
    for other in tallies {
        tally += other;
    }
    println!("{worlds} worlds from seed {first}: {tally:#?}");
    // Per hundred worlds, so that it holds for fewer of them as well.
    for (what, found, least) in tally.least() {
        let expected = usize::try_from(worlds).expect("a number of worlds") * least / 100;
        assert!(found >= expected, "{what}: {found} of at least {expected}: the worlds are worth little");
    }
}
