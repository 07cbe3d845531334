//! The last good version of every policy file.
//!
//! Input: the files as they are now. Output: the policies in force. A file that no longer parses keeps the resources
//! of its last good version in force, and as long as there is such a file, no resource goes at all: one that is no longer
//! defined may have been moved to the broken file, as when a file is renamed and spoilt in one step. Once every file is
//! valid, exactly what the files say is in force.
//! What is kept are texts, not resources: after a restart or an upgrade they are loaded like any other file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::field::FieldPath;
use super::load::{combine, combine_with_former};
use super::reading::{Identity, Readings};
use super::{Diagnostic, Loaded, Location, PolicySet, Severity, SourceFile, codes};

/// Texts of the last good version of every file; what the state directory keeps across restarts.
#[derive(Clone, Debug, Default)]
pub struct Store {
    good: BTreeMap<PathBuf, String>,
    /// Earlier good versions of files that are gone or no longer define all that they did, newest first. Empty while
    /// every file is valid.
    former: Vec<(PathBuf, String)>,
    /// What the texts say, as far as it was asked for: never anything else than they say.
    readings: Readings,
}

impl PartialEq for Store {
    fn eq(&self, other: &Store) -> bool {
        (&self.good, &self.former) == (&other.good, &other.former)
    }
}

impl Eq for Store {}

/// What an update led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The policies that are to be in force.
    pub policies: PolicySet,
    /// Findings about the files as they are now.
    pub diagnostics: Vec<Diagnostic>,
    /// Files of which an earlier version is in force instead of what they say now. While a file is broken, this can be one
    /// that is gone.
    pub held: Vec<PathBuf>,
    /// Invalid files that have no good version: nothing of them is in force.
    pub missing: Vec<PathBuf>,
    /// Number of files read.
    pub files: usize,
}

impl Store {
    /// A store that starts from what [`Store::good`] and [`Store::former`] gave.
    pub fn new(good: BTreeMap<PathBuf, String>, former: Vec<(PathBuf, String)>) -> Store {
        Store { good, former, readings: Readings::default() }
    }

    /// The good texts, to be kept across restarts.
    pub fn good(&self) -> &BTreeMap<PathBuf, String> {
        &self.good
    }

    /// Earlier good texts of which something is still in force while a file is broken, newest first; to be kept across
    /// restarts as well.
    pub fn former(&self) -> &[(PathBuf, String)] {
        &self.former
    }

    /// The files of which a version is known.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.good.keys().chain(self.former.iter().map(|(path, _)| path))
    }

    /// Whether no good version of any file is known.
    pub fn is_empty(&self) -> bool {
        self.good.is_empty() && self.former.is_empty()
    }

    /// Forgets the files that are not in a directory: they belong to one that was used before.
    pub fn retain_below(&mut self, directory: &Path) {
        self.good.retain(|path, _| path.starts_with(directory));
        self.former.retain(|(path, _)| path.starts_with(directory));
    }

    /// What is in force when the files cannot be read: all that is known, and every file of it is held.
    pub fn last_good(&mut self) -> Update {
        let good: Vec<SourceFile> = self.good.iter().map(|(path, text)| SourceFile::new(path, text)).collect();
        let former: Vec<SourceFile> = self.former.iter().map(|(path, text)| SourceFile::new(path, text)).collect();
        let (loaded, _) = self.load_with_former(&good, &former);
        let held: BTreeSet<&PathBuf> = self.paths().collect();
        Update {
            policies: loaded.policies,
            diagnostics: loaded.diagnostics,
            held: held.into_iter().cloned().collect(),
            missing: Vec::new(),
            files: 0,
        }
    }

    /// What [`Store::update`] would lead to. Nothing is taken, but what was read need not be read again.
    pub fn try_update(&mut self, files: &[SourceFile]) -> Update {
        let mut tried = self.clone();
        let update = tried.update(files);
        self.readings = tried.readings;
        update
    }

    /// Takes the files as they are now.
    pub fn update(&mut self, files: &[SourceFile]) -> Update {
        let now = self.load(files);
        let mut diagnostics = now.diagnostics;
        for file in files {
            diagnostics.extend(self.emptied(file));
        }
        let bad = at_fault(&diagnostics);
        let settled = if bad.is_empty() {
            Settled { policies: now.policies, ..Settled::default() }
        } else {
            self.settle(files, bad)
        };
        let Settled { policies, bad, former, collisions } = settled;
        diagnostics.extend(collisions);
        for (version, given) in former.iter().filter(|(version, _)| !bad.contains(&version.path)) {
            diagnostics.extend(given.iter().map(|resource| removal_waits(&version.path, resource)));
        }
        Diagnostic::sort(&mut diagnostics);
        let good: BTreeSet<&PathBuf> =
            files.iter().map(|file| &file.path).filter(|path| !bad.contains(*path)).collect();
        let mut held: BTreeSet<PathBuf> = bad.iter().filter(|path| self.good.contains_key(*path)).cloned().collect();
        held.extend(former.iter().map(|(version, _)| version.path.clone()).filter(|path| !good.contains(path)));
        let missing = bad.difference(&held).cloned().collect();
        self.good.retain(|path, _| bad.contains(path));
        let taken = files.iter().filter(|file| good.contains(&file.path));
        self.good.extend(taken.map(|file| (file.path.clone(), file.text.clone())));
        self.former = former.into_iter().map(|(version, _)| (version.path, version.text)).collect();
        self.readings.forget_unused();
        Update { policies, diagnostics, held: held.into_iter().collect(), missing, files: files.len() }
    }

    /// As [`super::load()`]; what was read before is not read again.
    fn load(&mut self, files: &[SourceFile]) -> Loaded {
        let mut files: Vec<&SourceFile> = files.iter().collect();
        files.sort();
        combine(files.into_iter().map(|file| self.readings.of(file)))
    }

    fn load_with_former(&mut self, files: &[SourceFile], former: &[SourceFile]) -> (Loaded, Vec<Vec<Identity>>) {
        let [files, former] = [files, former]
            .map(|versions| versions.iter().map(|version| self.readings.of(version)).collect::<Vec<_>>());
        combine_with_former(files, former)
    }

    /// Finds out what is to be in force while there are bad files.
    fn settle(&mut self, files: &[SourceFile], mut bad: BTreeSet<PathBuf>) -> Settled {
        let mut collisions = Vec::new();
        // A good version that comes back may define what another file defines by now: that one is then held as well.
        // Each turn takes at least one file out of those that count as they are, so this ends.
        loop {
            let former = self.possibly_gone(files, &bad);
            let (in_force, given) = self.load_with_former(&self.effective(files, &bad), &former);
            let colliding = at_fault(&in_force.diagnostics);
            let also: BTreeSet<PathBuf> = files
                .iter()
                .map(|file| &file.path)
                .filter(|path| colliding.contains(*path) && !bad.contains(*path))
                .cloned()
                .collect();
            if also.is_empty() {
                // A version that gives nothing is forgotten. What replaced its resources is newer, and the one to keep.
                let former = former.into_iter().zip(given).filter(|(_, given)| !given.is_empty()).collect();
                return Settled { policies: in_force.policies, bad, former, collisions };
            }
            let is_new = |finding: &Diagnostic| is_fatal(finding) && also.contains(&finding.location.file);
            collisions.extend(in_force.diagnostics.into_iter().filter(is_new));
            bad.extend(also);
        }
    }

    /// The good versions of the bad files, then the other files as they are: what is in force already comes first and
    /// cannot be replaced by a file that defines the same.
    fn effective(&self, files: &[SourceFile], bad: &BTreeSet<PathBuf>) -> Vec<SourceFile> {
        let versions = bad.iter().filter_map(|path| Some(SourceFile::new(path, self.good.get(path)?)));
        let mut others: Vec<&SourceFile> = files.iter().filter(|file| !bad.contains(&file.path)).collect();
        others.sort();
        versions.chain(others.into_iter().cloned()).collect()
    }

    /// The versions that were good until now and may define what no file does any more, newest first.
    fn possibly_gone(&self, files: &[SourceFile], bad: &BTreeSet<PathBuf>) -> Vec<SourceFile> {
        let now: BTreeMap<&PathBuf, &String> = files.iter().map(|file| (&file.path, &file.text)).collect();
        let is_replaced = |path: &PathBuf, text: &String| !bad.contains(path) && now.get(path) != Some(&text);
        let replaced = self.good.iter().filter(|(path, text)| is_replaced(path, text));
        let earlier = self.former.iter().map(|(path, text)| (path, text));
        replaced.chain(earlier).map(|(path, text)| SourceFile::new(path, text)).collect()
    }

    /// The finding about a file that holds no document and whose last good version held resources.
    fn emptied(&mut self, file: &SourceFile) -> Option<Diagnostic> {
        let former = || self.former.iter().find(|(path, _)| *path == file.path).map(|(_, text)| text);
        let good = self.good.get(&file.path).or_else(former)?;
        if *good == file.text || !self.readings.of(file).is_blank {
            return None;
        }
        let good = SourceFile::new(&file.path, good);
        let count = match self.readings.of(&good).resources().count() {
            0 => return None,
            1 => "1 resource".to_owned(),
            more => format!("{more} resources"),
        };
        let message = format!("the file is empty, its last good version had {count}");
        let finding = Diagnostic::new(&codes::EMPTIED, start_of(&file.path), &FieldPath::root(), message);
        Some(finding.with_help("delete the file to remove them"))
    }
}

/// What is in force while there are bad files.
#[derive(Default)]
struct Settled {
    policies: PolicySet,
    bad: BTreeSet<PathBuf>,
    /// Former versions, each with what is in force because of it.
    former: Vec<(SourceFile, Vec<Identity>)>,
    /// Findings about files that are bad because of what else is in force.
    collisions: Vec<Diagnostic>,
}

/// The files that are not good.
fn at_fault(diagnostics: &[Diagnostic]) -> BTreeSet<PathBuf> {
    let fatal = diagnostics.iter().filter(|diagnostic| is_fatal(diagnostic));
    fatal.map(|diagnostic| diagnostic.location.file.clone()).collect()
}

/// Whether a finding makes its file bad. A policy in an unknown tier is in force all the same, so its file is good.
fn is_fatal(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error && diagnostic.code != codes::UNKNOWN_TIER.id
}

fn removal_waits(path: &Path, resource: &Identity) -> Diagnostic {
    let message = format!("{resource} is no longer defined, and stays in force while a file is broken");
    Diagnostic::new(&codes::REMOVAL_WAITS, start_of(path), &FieldPath::root(), message)
        .with_help("it goes as soon as every file is valid")
}

/// The place of findings about a file as a whole.
fn start_of(path: &Path) -> Location {
    Location { file: path.to_owned(), line: 1, column: 1 }
}

#[cfg(test)]
mod tests;
