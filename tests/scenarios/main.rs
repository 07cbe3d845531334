//! Every way past policy that is known, tried with packets on a real engine.
//!
//! Each scenario is a test with a name: a path, a family, an accident, and what must hold. Where a rule in the kernel
//! is what makes it hold, a second test takes that rule out and expects the scenario to fail, so that none of them can
//! pass for another reason. `cargo test --test scenarios` prints the table at its end; `-- NAME` runs some of them.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

#[path = "../support/mod.rs"]
mod support;

mod boot;
mod direct;
mod engine;
mod flows;
mod controller;
mod hands;
mod host;
mod proxy;
mod scenario;
mod security;
mod spoof;
mod tricks;

use std::panic;
use std::process::ExitCode;

use libtest_mimic::Arguments;

use scenario::Board;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Scenarios of one group share a laboratory and wait for each other; more threads than this only make noise.
    arguments.test_threads.get_or_insert(2);
    // A scenario that fails is told by its test, and one that has to fail is no news.
    panic::set_hook(Box::new(|_| {}));
    let board = Board::default();
    let mut groups = vec![
        flows::group().trials(&board),
        host::group().trials(&board),
        direct::group().trials(&board),
        proxy::group().trials(&board),
        proxy::without_proxy().trials(&board),
        tricks::group().trials(&board),
        controller::group().trials(&board),
        hands::group().trials(&board),
        hands::read_back_group().trials(&board),
        hands::legacy_group().trials(&board),
        spoof::group().trials(&board),
        engine::group().trials(&board),
        engine::live_group().trials(&board),
        engine::newest_group().trials(&board),
    ];
    groups.extend(engine::upgrade_groups().map(|group| group.trials(&board)));
    groups.extend(boot::groups().into_iter().map(|group| group.trials(&board)));
    let mut trials = scenario::interleave(groups);
    trials.push(security::trial(&trials));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        println!("{board}");
    }
    conclusion.exit_code()
}
