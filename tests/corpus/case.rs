//! A file of the corpus and what its head expects.
//!
//! Input: the comments before the first line that is none. Output: a [`Case`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use dockgate::policy::SourceFile;
use dockgate::verdict::Decision;

use crate::world::Flow;

/// A file and its expectations. The head of a file has, in this order and each as often as needed:
///
/// ```text
/// # What it shows.
/// # From: where such a policy is published
/// # Expect: 1 NetworkPolicy, 2 Tier        accepted, with so many resources of each kind
/// # Expect: DG3014 17:9 protocol           or an error or warning, its place, and a part of what is said
/// # Policy: shop/web ingress 1, egress 0   each usable policy in evaluation order, and its rules
/// # Allow: web -> db 5432/tcp; web -> 203.0.113.9 ping
/// # Deny: ...
/// ```
#[derive(Debug)]
pub(crate) struct Case {
    /// Path within the corpus.
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) published_in: String,
    /// Expected number of resources by kind; empty for a file with findings.
    pub(crate) resources: BTreeMap<String, usize>,
    /// Expected findings.
    pub(crate) findings: Vec<Finding>,
    /// Expected policies.
    pub(crate) policies: Vec<String>,
    /// Expected verdicts.
    pub(crate) flows: Vec<(Flow, Decision)>,
    text: String,
}

/// An error or a warning.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) code: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Message and help, or the part of them that is expected.
    pub(crate) says: String,
}

impl Finding {
    pub(crate) fn is_met_by(&self, found: &Finding) -> bool {
        (&self.code, self.line, self.column) == (&found.code, found.line, found.column)
            && found.says.contains(&self.says)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{} {}", self.code, self.line, self.column, self.says)
    }
}

impl Case {
    pub(crate) fn source(&self) -> SourceFile {
        SourceFile::new(self.name.as_str(), self.text.as_str())
    }

    fn read(name: String, text: String) -> Case {
        let mut case = Case {
            name,
            about: String::new(),
            published_in: String::new(),
            resources: BTreeMap::new(),
            findings: Vec::new(),
            policies: Vec::new(),
            flows: Vec::new(),
            text: String::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let Some(comment) = line.strip_prefix("# ") else { break };
            match comment.split_once(": ") {
                Some(("From", place)) => place.clone_into(&mut case.published_in),
                Some(("Expect", expected)) => case.expect(expected),
                Some(("Policy", policy)) => case.policies.push(policy.to_owned()),
                Some(("Allow", flows)) => case.decide(flows, Decision::Allow),
                Some(("Deny", flows)) => case.decide(flows, Decision::Deny),
                _ if number == 0 => comment.clone_into(&mut case.about),
                // A comment of the policy itself, behind its head.
                _ if !case.published_in.is_empty() => break,
                _ => panic!("{}: what is `{comment}`?", case.name),
            }
        }
        case.text = text;
        case
    }

    fn expect(&mut self, expected: &str) {
        if expected.starts_with("DG") {
            let mut words = expected.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default();
            let (code, place, says) = (word().to_owned(), word(), word().to_owned());
            let (line, column) = place.split_once(':').unwrap_or_default();
            let number = |text: &str| text.parse().unwrap_or_default();
            self.findings.push(Finding { code, line: number(line), column: number(column), says });
        } else {
            self.resources = expected
                .split(", ")
                .map(|resources| {
                    let (count, kind) = resources.split_once(' ').expect("`COUNT KIND`");
                    (kind.to_owned(), count.parse().expect("a count of resources"))
                })
                .collect();
        }
    }

    fn decide(&mut self, flows: &str, decision: Decision) {
        self.flows.extend(flows.split("; ").map(|flow| (Flow::read(flow), decision)));
    }
}

/// Directory of the corpus.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Every file, by name.
pub(crate) fn cases() -> Vec<Case> {
    let listed = |path: &Path| {
        let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the corpus can be listed").path()).collect();
        paths.sort();
        paths
    };
    let projects = listed(&directory()).into_iter().filter(|path| path.is_dir());
    let files = projects.flat_map(|project| listed(&project));
    files
        .map(|path| {
            let name = path.strip_prefix(directory()).expect("it was listed there").to_string_lossy().into_owned();
            Case::read(name, fs::read_to_string(&path).expect("the corpus is text"))
        })
        .collect()
}
