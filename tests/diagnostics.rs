//! `docs/diagnostics.md` holds what the table of codes says: `UPDATE_DIAGNOSTICS=1 cargo test --test diagnostics` writes
//! it anew. And the table holds what the sources use, no more and no less.

use std::fs;
use std::path::{Path, PathBuf};

use dockgate::policy::codes::{CODES, reference};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_is_what_the_table_says() {
    let path = root().join("docs/diagnostics.md");
    if std::env::var_os("UPDATE_DIAGNOSTICS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, reference()).unwrap();
        return;
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == reference(),
        "{} is stale: UPDATE_DIAGNOSTICS=1 cargo test --test diagnostics writes it anew",
        path.display()
    );
}

#[test]
fn the_page_explains_every_code() {
    let page = reference();
    for code in CODES {
        let heading = format!("\n### {}: {}\n", code.id, code.title);
        assert_eq!(page.matches(&heading).count(), 1, "{}", code.id);
        assert!(page.contains(code.explanation), "{}", code.id);
    }
}

/// Every source of the library but the table itself, with its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("sources can be listed") {
            let path = entry.expect("sources can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("policy/codes.rs")
            {
                let text = fs::read_to_string(&path).expect("sources are texts");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

#[test]
fn every_code_of_the_table_is_used_and_no_other_is_made() {
    let sources = sources();
    for code in CODES {
        let constant = |text: &str| {
            text.match_indices(code.name).any(|(at, _)| {
                let after = text[at + code.name.len()..].chars().next();
                text[..at].ends_with("codes::") && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        };
        assert!(sources.iter().any(|(_, text)| constant(text)), "nothing reports {} ({})", code.id, code.name);
    }
    for (path, text) in &sources {
        // A `Code` that is made elsewhere would not be in the table.
        let made = text.match_indices("Code {").any(|(at, _)| text[at..].starts_with("Code { id:"));
        assert!(!made, "{} makes a code of its own", path.display());
    }
}
