//! The last good version of every policy file.
//!
//! Input: the files as they are now. Output: the policies in force. A file that no longer parses keeps the resources
//! of its last good version in force; a file that is gone takes its resources with it.
//! What is kept are texts, not resources: after a restart or an upgrade they are loaded like any other file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::load::{load, load_in_order};
use super::{Diagnostic, Loaded, PolicySet, Severity, SourceFile, codes};

/// Texts of the last good version of every file; what the state directory keeps across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    good: BTreeMap<PathBuf, String>,
}

/// What an update led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The policies that are to be in force.
    pub policies: PolicySet,
    /// Findings about the files as they are now.
    pub diagnostics: Vec<Diagnostic>,
    /// Files whose last good version is in force instead of what they say now.
    pub held: Vec<PathBuf>,
    /// Invalid files that have no good version: nothing of them is in force.
    pub missing: Vec<PathBuf>,
    /// Number of files read.
    pub files: usize,
}

impl Store {
    /// A store that starts from known good texts.
    pub fn new(good: BTreeMap<PathBuf, String>) -> Store {
        Store { good }
    }

    /// The good texts, to be kept across restarts.
    pub fn good(&self) -> &BTreeMap<PathBuf, String> {
        &self.good
    }

    /// Takes the files as they are now.
    pub fn update(&mut self, files: &[SourceFile]) -> Update {
        let now = load(files);
        let mut bad: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
        let broken = broken(&now);
        bad.retain(|path| broken.contains(*path));
        let mut diagnostics = now.diagnostics.clone();
        let mut in_force = now;
        // A good version that comes back may define what another file defines by now: that one is then held as well.
        // Each turn takes at least one file out of those that count as they are, so this ends.
        while !bad.is_empty() {
            in_force = load_in_order(&self.effective(files, &bad));
            let collisions = self::broken(&in_force);
            let collides = |file: &&SourceFile| !bad.contains(file.path.as_path()) && collisions.contains(&file.path);
            let also: Vec<&Path> = files.iter().filter(collides).map(|file| file.path.as_path()).collect();
            if also.is_empty() {
                break;
            }
            let is_new = |finding: &&Diagnostic| is_fatal(finding) && also.contains(&finding.location.file.as_path());
            diagnostics.extend(in_force.diagnostics.iter().filter(is_new).cloned());
            bad.extend(also);
        }
        Diagnostic::sort(&mut diagnostics);
        let (held, missing): (Vec<&Path>, Vec<&Path>) = bad.iter().partition(|path| self.good.contains_key(**path));
        let owned = |paths: Vec<&Path>| paths.into_iter().map(Path::to_owned).collect();
        let update = Update {
            policies: in_force.policies,
            diagnostics,
            held: owned(held),
            missing: owned(missing),
            files: files.len(),
        };
        self.remember(files, &update);
        update
    }

    /// The good versions of the bad files, then the other files as they are: what is in force already comes first and
    /// cannot be replaced by a file that defines the same.
    fn effective(&self, files: &[SourceFile], bad: &BTreeSet<&Path>) -> Vec<SourceFile> {
        let versions = bad.iter().filter_map(|path| Some(SourceFile::new(*path, self.good.get(*path)?)));
        let mut others: Vec<&SourceFile> = files.iter().filter(|file| !bad.contains(file.path.as_path())).collect();
        others.sort();
        versions.chain(others.into_iter().cloned()).collect()
    }

    fn remember(&mut self, files: &[SourceFile], update: &Update) {
        let present: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
        self.good.retain(|path, _| present.contains(path.as_path()));
        for file in files {
            if !update.held.contains(&file.path) && !update.missing.contains(&file.path) {
                self.good.insert(file.path.clone(), file.text.clone());
            }
        }
    }
}

/// The files that are not good.
fn broken(loaded: &Loaded) -> BTreeSet<PathBuf> {
    let fatal = loaded.diagnostics.iter().filter(|diagnostic| is_fatal(diagnostic));
    fatal.map(|diagnostic| diagnostic.location.file.clone()).collect()
}

/// Whether a finding makes its file bad. A policy in an unknown tier is in force all the same, so its file is good.
fn is_fatal(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error && diagnostic.code != codes::UNKNOWN_TIER.id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> String {
        format!("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{}}\n")
    }

    /// One state of the directory and what is to follow from it.
    struct Step {
        files: Vec<(&'static str, String)>,
        in_force: &'static [&'static str],
        held: &'static [&'static str],
        missing: &'static [&'static str],
        codes: &'static [&'static str],
    }

    fn run(store: &mut Store, case: &str, steps: Vec<Step>) {
        for (number, step) in steps.into_iter().enumerate() {
            let case = format!("{case}, step {number}");
            let files: Vec<_> = step.files.iter().map(|(path, text)| SourceFile::new(*path, text)).collect();
            let update = store.update(&files);
            let names: Vec<_> = update.policies.policies.iter().map(|policy| policy.key.name.as_str()).collect();
            let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            assert_eq!(names, step.in_force, "{case}: in force");
            assert_eq!(paths(&update.held), step.held, "{case}: held");
            assert_eq!(paths(&update.missing), step.missing, "{case}: missing");
            assert_eq!(update.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), step.codes, "{case}: codes");
            assert_eq!(update.files, files.len());
            let reversed: Vec<_> = files.iter().rev().cloned().collect();
            assert_eq!(store.clone().update(&reversed).policies, update.policies, "{case}: the order of files");
        }
    }

    const NONE: &[&str] = &[];

    #[test]
    fn the_last_good_version_stays_in_force() {
        let broken = || "kind: [".to_owned();
        let step = |files, in_force, held, missing, codes| Step { files, in_force, held, missing, codes };
        run(
            &mut Store::default(),
            "good, broken, good, gone",
            vec![
                step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
                step(vec![("a", broken()), ("b", policy("y"))], &["x", "y"], &["a"], NONE, &["DG1001"]),
                step(vec![("a", broken()), ("b", broken())], &["x", "y"], &["a", "b"], NONE, &["DG1001", "DG1001"]),
                step(vec![("a", policy("z")), ("b", broken())], &["y", "z"], &["b"], NONE, &["DG1001"]),
                step(vec![("a", policy("z"))], &["z"], NONE, NONE, NONE),
                step(vec![("a", policy("z")), ("b", broken())], &["z"], NONE, &["b"], &["DG1001"]),
                step(vec![], NONE, NONE, NONE, NONE),
            ],
        );
        run(
            &mut Store::default(),
            "broken at the first start",
            vec![
                step(vec![("a", broken()), ("b", policy("y"))], &["y"], NONE, &["a"], &["DG1001"]),
                step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            ],
        );
        run(
            &mut Store::default(),
            "nothing of a file that is partly broken",
            vec![step(vec![("a", format!("{}---\nkind: [", policy("x")))], NONE, NONE, &["a"], &["DG1001"])],
        );
    }

    #[test]
    fn a_restart_begins_with_what_was_kept() {
        let mut before = Store::default();
        before.update(&[SourceFile::new("a", policy("x"))]);
        let mut after = Store::new(before.good().clone());
        let update = after.update(&[SourceFile::new("a", "kind: [")]);
        assert_eq!(update.held, [PathBuf::from("a")]);
        assert_eq!(update.policies.policies.len(), 1);
        assert_eq!(after, before);
    }

    #[test]
    fn an_unreadable_file_is_held() {
        let mut store = Store::default();
        store.update(&[SourceFile::new("a", policy("x"))]);
        let unreadable = Some(super::super::Unreadable::Refused("no".to_owned()));
        let update = store.update(&[SourceFile { unreadable, ..SourceFile::new("a", "") }]);
        assert_eq!((update.held.len(), update.policies.policies.len()), (1, 1));
    }

    #[test]
    fn a_policy_in_an_unknown_tier_is_in_force_and_reported() {
        let mut store = Store::default();
        let update = store.update(&[SourceFile::new("a", policy("x").replace("{}", "{tier: nowhere}"))]);
        assert_eq!((update.held.len(), update.missing.len(), update.policies.policies.len()), (0, 0, 1));
        assert_eq!(update.diagnostics[0].code, "DG3029");
        assert_eq!(store.good().len(), 1);
    }

    #[test]
    fn resources_that_collide_hold_the_later_file() {
        let step = |files, in_force, held, missing, codes| Step { files, in_force, held, missing, codes };
        run(
            &mut Store::default(),
            "a second definition",
            vec![
                step(vec![("b", policy("x"))], &["x"], NONE, NONE, NONE),
                step(vec![("b", policy("x")), ("c", policy("x"))], &["x"], NONE, &["c"], &["DG3030"]),
                step(vec![("b", policy("y")), ("c", policy("x"))], &["x", "y"], NONE, NONE, NONE),
                step(
                    vec![("b", policy("x")), ("c", policy("x"))],
                    &["x", "y"],
                    &["b", "c"],
                    NONE,
                    &["DG3030", "DG3030"],
                ),
            ],
        );
        run(
            &mut Store::default(),
            "a newcomer whose name sorts first",
            vec![
                step(vec![("b", policy("x"))], &["x"], NONE, NONE, NONE),
                step(vec![("a", policy("x")), ("b", policy("x"))], &["x"], &["b"], &["a"], &["DG3030", "DG3030"]),
                step(vec![("a", policy("x"))], &["x"], NONE, NONE, NONE),
            ],
        );
        run(
            &mut Store::default(),
            "a good version that comes back",
            vec![
                step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
                // `b` may not take over `x` while the version of `a` that defines it is in force.
                step(
                    vec![("a", "[".to_owned()), ("b", policy("x"))],
                    &["x", "y"],
                    &["a", "b"],
                    NONE,
                    &["DG1001", "DG3030"],
                ),
                step(vec![("a", policy("z")), ("b", policy("x"))], &["x", "z"], NONE, NONE, NONE),
            ],
        );
    }
}
