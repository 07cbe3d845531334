//! How long the pure parts take: reading policies and compiling them, against the size of the world.
//!
//! `make bench` runs it. Nothing here fails for being slow.

#[path = "../tests/support/scale.rs"]
mod scale;

use std::path::PathBuf;

use divan::Bencher;
use dockgate::compile::{Options, compile};
use dockgate::policy::{Loaded, SourceFile, load};

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
