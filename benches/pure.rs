//! How long the pure parts take: reading policies and compiling them, against the size of the world.
//!
//! `make bench` runs it. Nothing here fails for being slow.

#[path = "../tests/support/scale.rs"]
#[expect(dead_code, reason = "other benches use more of it")]
mod scale;

use std::cell::RefCell;
use std::path::PathBuf;

use divan::Bencher;
use dockgate::compile::{Options, compile};
use dockgate::controller::core::{Core, Event};
use dockgate::inventory::{Attachment, Change};
use dockgate::policy::{Loaded, SourceFile, Store, load};

use scale::Scale;

const ENDPOINTS: [usize; 4] = [10, 100, 1000, 10_000];

fn main() {
    divan::main();
}

fn files(scale: &Scale) -> Vec<SourceFile> {
    let numbered = scale.policies().into_iter().enumerate();
    numbered.map(|(number, text)| SourceFile::new(PathBuf::from(format!("{number}.yaml")), text)).collect()
}

fn loaded(scale: &Scale) -> Loaded {
    let loaded = load(&files(scale));
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics.first());
    loaded
}

/// 1,000 files with a policy of 5 rules each, from text to checked policies.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn load_1000_files(bencher: Bencher<'_, '_>) {
    let files = files(&Scale::large(10));
    bencher.bench(|| load(&files));
}

/// All endpoints with their labels, as selectors see them.
#[divan::bench(args = ENDPOINTS, sample_count = 5, sample_size = 1)]
fn endpoints(bencher: Bencher<'_, '_>, endpoints: usize) {
    let inventory = Scale::large(endpoints).inventory();
    bencher.bench(|| inventory.endpoints().len());
}

/// The whole ruleset anew: 1,000 policies with 5 rules each, 200 label sets.
#[divan::bench(args = ENDPOINTS, sample_count = 3, sample_size = 1)]
fn compile_all(bencher: Bencher<'_, '_>, endpoints: usize) {
    let scale = Scale::large(endpoints);
    let (policies, inventory) = (loaded(&scale).policies, scale.inventory());
    bencher.bench(|| compile(&policies, &inventory, &Options::default()));
}

/// A container comes to a class that others are in, with its addresses: what the controller's state makes of the event, and
/// the ruleset that is wanted then.
#[divan::bench(args = ENDPOINTS, sample_count = 100, sample_size = 1)]
fn follow_one(bencher: Bencher<'_, '_>, endpoints: usize) {
    let scale = Scale::large(endpoints);
    let mut core = Core::new(Options::default(), Store::default());
    core.take(Event::Policies(Ok(files(&scale))));
    core.take(Event::Inventory(Change::Snapshot(scale.inventory())));
    let core = RefCell::new(core);
    bencher
        .with_inputs(|| {
            // Its create event comes long before its address.
            let mut container = Scale { endpoints: endpoints + 1, ..scale }.container(endpoints);
            core.borrow_mut().take(Event::Inventory(Change::ContainerGone(container.id.clone())));
            let attachment = container.attachments.remove(0);
            container.attachments.push(Attachment::pending(attachment.network.clone()));
            let id = container.id.clone();
            core.borrow_mut().take(Event::Inventory(Change::Container(container.into())));
            assert!(core.borrow_mut().compiled().is_some());
            core.borrow_mut().flows_are_judged();
            Change::Attached { container: id, attachment }
        })
        .bench_local_values(|change| {
            let mut core = core.borrow_mut();
            core.take(Event::Inventory(change));
            core.compiled().map(|compiled| compiled.ruleset.bridges.len())
        });
}

/// One of 1,000 policies has another port: what the controller's state makes of the files, and the ruleset that is wanted then.
#[divan::bench(args = ENDPOINTS, sample_count = 20, sample_size = 1)]
fn edit_one(bencher: Bencher<'_, '_>, endpoints: usize) {
    let scale = Scale::large(endpoints);
    let mut core = Core::new(Options::default(), Store::default());
    let mut files = files(&scale);
    core.take(Event::Policies(Ok(files.clone())));
    core.take(Event::Inventory(Change::Snapshot(scale.inventory())));
    assert!(core.compiled().is_some());
    let original = files[800].text.clone();
    let mut port = 20_000;
    let core = RefCell::new(core);
    bencher
        .with_inputs(|| {
            core.borrow_mut().flows_are_judged();
            port += 1;
            files[800].text = original.replace("ports: [80,", &format!("ports: [{port},"));
            files.clone()
        })
        .bench_local_values(|files| {
            let mut core = core.borrow_mut();
            core.take(Event::Policies(Ok(files)));
            core.compiled().map(|compiled| compiled.ruleset.bridges.len())
        });
}
