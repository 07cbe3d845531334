//! SECURITY.md names scenarios that exist, and every scenario that exists.
//!
//! Input: the tests of this program. Output: one more test, which compares their names with the patterns in the document.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

const DOCUMENT: &str = include_str!("../../SECURITY.md");

/// The test.
pub(crate) fn trial(trials: &[Trial]) -> Trial {
    let titles = trials.iter().filter_map(|trial| trial.name().split(' ').next());
    let titles: BTreeSet<String> = titles.map(str::to_owned).collect();
    Trial::test("security::every_scenario_has_its_line_in_the_document", move || {
        let patterns: Vec<&str> = DOCUMENT.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect();
        let stale: Vec<&&str> = patterns.iter().filter(|p| !titles.iter().any(|title| matches(p, title))).collect();
        let unnamed: Vec<&String> = titles.iter().filter(|title| !patterns.iter().any(|p| matches(p, title))).collect();
        if stale.is_empty() && unnamed.is_empty() {
            return Ok(());
        }
        Err(format!("SECURITY.md names no scenario by {stale:?}, and these scenarios are not in it: {unnamed:?}")
            .into())
    })
}

/// Whether a name is one that a pattern stands for; `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = "";
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        (rest, last) = (after, part);
    }
    rest.is_empty() || (pattern.ends_with('*') && last.is_empty())
}
