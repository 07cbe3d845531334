//! What needs no kernel: compiling the world, and `dockgate validate`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dockgate::compile::{Options, compile};
use dockgate::policy::{SourceFile, load};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::controller::DOCKGATE;
use crate::progress;
use crate::samples::Samples;
use crate::scale::Scale;

const ROUNDS: usize = 7;
/// How long the rounds of one size may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The policies of a world as files are read.
pub(crate) fn files(scale: &Scale) -> Vec<SourceFile> {
    let numbered = scale.policies().into_iter().enumerate();
    numbered.map(|(number, text)| SourceFile::new(PathBuf::from(format!("{number}.yaml")), text)).collect()
}

/// Times of compiling the whole world, in milliseconds.
pub(crate) fn compile_all(scale: &Scale) -> Samples {
    progress(scale.endpoints, "compiling");
    let loaded = load(&files(scale));
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics.first());
    let inventory = scale.inventory();
    let mut times = Samples::default();
    let began = Instant::now();
    while times.len() < ROUNDS && began.elapsed() < LIMIT {
        let round = Instant::now();
        std::hint::black_box(compile(&loaded.policies, &inventory, &Options::default()));
        times.push_time(round.elapsed());
    }
    times
}

/// Times of `dockgate validate` of the directory, whose files are read from the disk each time; in milliseconds.
pub(crate) fn validate(policies: &Path, endpoints: usize) -> Samples {
    progress(endpoints, "validating the policies");
    let mut times = Samples::default();
    for _ in 0..ROUNDS {
        for entry in fs::read_dir(policies).expect("a directory of ours").flatten() {
            let file = File::open(entry.path()).expect("a file of ours");
            file.sync_all().expect("a file of ours");
            // Files in memory only cannot be dropped from it; then this is no colder than it can be.
            let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        let mut command = Command::new(DOCKGATE);
        command.arg("validate").arg(policies).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let round = Instant::now();
        let output = command.output().expect("the binary runs");
        times.push_time(round.elapsed());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    times
}
