//! The pages in `docs/` hold what the binary does: `UPDATE_DOCS=1 cargo test --test docs` writes anew what is made from the
//! sources. The steps of the tutorial are taken as a reader takes them.

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/policy.rs"]
mod policy;
#[path = "docs/steps.rs"]
#[expect(dead_code, reason = "what a command prints is asked on a host only")]
mod steps;
#[path = "docs/tutorial.rs"]
mod tutorial;

use std::fs;
use std::path::{Path, PathBuf};

/// Root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> PathBuf {
    root().join("docs").join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds a page to what it should say, or writes it.
fn hold(name: &str, expected: &str) {
    let path = page(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("the page can be written");
        return;
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    assert!(present == expected, "docs/{name} is stale: UPDATE_DOCS=1 cargo test --test docs writes it anew");
}
