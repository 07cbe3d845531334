//! Generated policies.
#[path = "support/policies.rs"]
mod policies;

use dockgate::policy::{Severity, SourceFile, load};

#[test]
fn every_generated_file_is_valid() {
    for seed in 0..500 {
        let text = policies::policies(seed);
        let loaded = load(&[SourceFile::new("generated.yaml", text.clone())]);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "seed {seed}: {errors:#?}\n{text}");
    }
}
