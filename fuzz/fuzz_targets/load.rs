//! A policy file is loaded or refused, and every finding points into the file.

#![no_main]

use dockgate::policy::{self, SourceFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = text.lines().count().max(1);
    let loaded = policy::load(&[SourceFile::new("policy.yaml", text)]);
    for diagnostic in &loaded.diagnostics {
        let line = usize::try_from(diagnostic.location.line).expect("a line number fits into a word");
        assert!((1..=lines).contains(&line), "{diagnostic:?}");
    }
});
