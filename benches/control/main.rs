//! The controller's own part: from the engine's word to the kernel, against the size of the world.
//!
//! The engine is an imitation of its API, because no machine for tests runs 10,000 containers; bridges, cables, sets and
//! rules are real, in network namespaces of this program's own. How soon a real engine's containers are known, and what a
//! packet costs, is measured by other programs beside this one.
//!
//! `make bench` runs it, as root. `DOCKGATE_BENCH_ENDPOINTS=10,100` chooses other sizes; targets speak of 10,000.
//! `DOCKGATE_BENCH_PARTS=edits` chooses parts, of `pure`, `events`, `idle`, `edits`, `starts` and `replicas`; their figures
//! are told and not kept.

#![expect(clippy::print_stderr, reason = "progress is told to whoever waits for it")]
#![expect(clippy::cast_precision_loss, reason = "nothing here is counted in numbers that large")]

#[path = "../choice/mod.rs"]
mod choice;
#[expect(dead_code, reason = "this program uses a part of it")]
#[path = "../../tests/support/command.rs"]
mod command;
mod controller;
#[path = "../form/mod.rs"]
mod form;
mod host;
#[expect(dead_code, reason = "this program uses a part of it")]
#[path = "../../tests/support/imitation.rs"]
mod imitation;
mod large;
mod members;
#[expect(dead_code, reason = "this program uses a part of it")]
#[path = "../../tests/support/namespace.rs"]
mod namespace;
mod part;
mod point;
mod pure;
mod replicas;
mod rows;
mod rules;
mod samples;
#[path = "../../tests/support/scale.rs"]
mod scale;
#[path = "../../tests/support/tools.rs"]
mod tools;

use std::sync::LazyLock;
use std::time::Instant;
use std::{fs, io};

use part::Part;
use samples::Samples;
use scale::Scale;

const ENDPOINTS: [usize; 4] = [10, 100, 1000, 10_000];

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Tells whoever waits what is being done, in the world of how many endpoints.
fn progress(endpoints: usize, what: &str) {
    eprintln!("[{:6.1} s] control, {endpoints} endpoints: {what}", BEGAN.elapsed().as_secs_f64());
}

fn main() -> io::Result<()> {
    let sizes = choice::values("DOCKGATE_BENCH_ENDPOINTS", choice::number, choice::NUMBER)?;
    let (sizes, are_all_parts) = (sizes.unwrap_or_else(|| ENDPOINTS.to_vec()), Part::choose()?);
    let largest = sizes.iter().copied().max().expect("at least one size");
    // The directory above is watched, too, and `/tmp` itself is never quiet.
    let place = tempfile::tempdir()?;
    let policies = place.path().join("policies");
    fs::create_dir(&policies)?;
    point::write_policies(&policies, &Scale::large(largest));
    let (mut validated, mut compiled) = (Samples::default(), Vec::new());
    if Part::Pure.is_wanted() {
        validated = pure::validate(&policies, largest);
        compiled.extend(sizes.iter().map(|size| (*size, pure::compile_all(&Scale::large(*size)))));
    }
    let points: Vec<_> =
        sizes.iter().map(|size| (*size, point::measure(&Scale::large(*size), &policies, *size == largest))).collect();
    let replicas = Part::Replicas.is_wanted().then(|| replicas::measure(&Scale::large(largest), &policies)).flatten();
    if are_all_parts {
        return form::write("control", &rows::outcome(&points, &compiled, &validated, replicas.as_ref()));
    }
    eprintln!("validate: {validated:?}\ncompile: {compiled:?}\n{replicas:?}");
    for point in points.iter().filter_map(|(_, point)| point.as_ref()) {
        eprintln!("{} endpoints: events {:?}, {:?}", point.endpoints, point.latency, point.large);
    }
    Ok(())
}
