//! The same policies on every engine: 20.10, 26.1 and 28.5, with both variants of iptables, with and without docker-proxy,
//! with and without the engine's own rules for IPv6.
//!
//! Each combination is a test with a name and a laboratory. Who reaches whom is measured without dockgate first; with it,
//! exactly those pairs must be open that were open before and that policy allows. `cargo test --test engines` runs a part
//! on the newest engine, `make test-engines` all; the table at the end has a line per combination, run or not.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

#[path = "../support/mod.rs"]
mod support;

mod board;
mod suite;

use std::panic;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use board::Board;
use suite::Combination;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A laboratory waits for its engine most of the time; more of them than this only make noise.
    arguments.test_threads.get_or_insert(2);
    // A combination that fails is told by its test.
    panic::set_hook(Box::new(|_| {}));
    let board = Board::default();
    let trial = |combination: Combination| {
        board.expect(combination);
        let board = board.clone();
        let (name, often) = (combination.name(), combination.is_run_often());
        Trial::test(name, move || suite::run(combination, &board).map_err(Into::into)).with_ignored_flag(!often)
    };
    let trials = Combination::all().into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        println!("{board}");
    }
    conclusion.exit_code()
}
