//! `dockgate test`: whether policies do what PolicyTest files expect of them.
//!
//! Input: files. Output: a report in the form that was asked for. Every test is judged in its own world by its own policies,
//! unless options name others for all of them; what cannot be read ends the command before anything is judged, since a report
//! about half of the tests would look like one about all.

mod junit;
mod report;
mod tap;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::compile::{self, Options};
use crate::inventory::Inventory;
use crate::policy::{self, PolicySet, files};
use crate::policy_test::{self, Coverage, Judge, PolicyTest, World};
use crate::verdict::reason;

use super::failure::Failure;
use super::file;
use super::report_options::ReportOptions;
use super::world::{self, ComposeArguments};
use super::{Outcome, explain};

use report::{Entry, Format, Report, Trace};

/// Check what policies allow and deny against PolicyTest files
///
/// A PolicyTest (`dockgate schema policytest`) says who is to reach whom, as single cases, as a table, or for all pairs on
/// every port; what is asked about nothing fails. Other files are read over, so that tests may lie among policies. Exit code
/// 0: all is as expected; 1: something is not; 2: there is no test, or something cannot be read.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files and directories that hold tests
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    report: ReportOptions<Format>,

    /// Judge these policies instead of those that the tests name; can be repeated
    #[arg(long, value_name = "PATH")]
    policies: Vec<PathBuf>,

    /// Judge in the world of this Inventory file instead of those that the tests name
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    #[command(flatten)]
    compose: ComposeArguments,

    /// Judge only what has this text in its name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Name the rules that nothing exercises, and those that invariants alone exercise
    #[arg(long)]
    coverage: bool,

    /// Judge again whenever a file changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        self.report.refuse_format_as_file()?;
        if self.watch { watch::run(&self, output).await } else { self.judge(output) }
    }

    /// Judges once and reports.
    fn judge(&self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let tests = self.tests()?;
        self.refuse_input_as_file(&tests)?;
        let mut entries = Vec::new();
        let mut coverage = Coverage::default();
        for test in &tests {
            let of_test = || format!("the test at {}", test.location);
            let inventory = self.inventory(test).with_context(of_test)?;
            let policies = self.policies(test).with_context(of_test)?;
            let compiled = compile::compile(&policies, &inventory, &Options::default());
            let world = reason::World { policies: &policies, inventory: &inventory, compiled: &compiled };
            let outcomes = Judge::new(&inventory, &policies, &compiled).run(test, &mut coverage);
            for outcome in outcomes.into_iter().filter(|outcome| self.is_wanted(&outcome.name)) {
                let found = outcome.evidence.as_ref().map(|evidence| explain::evidence(world, evidence)).transpose()?;
                let trace = found.flatten().map(|(text, answer)| Trace { text, answer });
                entries.push(Entry { test: test.name.clone(), outcome, trace });
            }
        }
        if entries.is_empty() {
            return Err(Failure {
                message: format!("nothing has `{}` in its name", self.filter.as_deref().unwrap_or_default()),
                help: "without --filter everything is judged, and the report has all names".to_owned(),
            }
            .into());
        }
        let report = Report { entries, coverage: self.coverage.then_some(coverage) };
        self.report.deliver(output, |format, output| report.write(format, output), || report.summary())?;
        Ok(Outcome::from_clean(!report.fails()))
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|text| name.contains(text))
    }

    fn tests(&self) -> anyhow::Result<Vec<PolicyTest>> {
        let sources = files::read(&self.paths)?;
        let (tests, diagnostics) = policy_test::load(&sources);
        let first = self.paths.first().map_or(Path::new("."), PathBuf::as_path);
        world::refuse_errors("the tests", first, &diagnostics, &sources, "docs/policytest.md has every field")?;
        // One by one: a path without a test was meant to have one.
        for path in &self.paths {
            let (found, _) = policy_test::load(&files::read(std::slice::from_ref(path))?);
            if found.is_empty() {
                return Err(Failure {
                    message: format!("there is no PolicyTest in {}", path.display()),
                    help: "a test is a document with `apiVersion: dockgate.io/v1alpha1` and `kind: PolicyTest`"
                        .to_owned(),
                }
                .into());
            }
        }
        Ok(tests)
    }

    fn inventory(&self, test: &PolicyTest) -> anyhow::Result<Inventory> {
        if let Some(inventory) = world::stated(self.inventory.as_deref(), &self.compose)? {
            return Ok(inventory);
        }
        match &test.world {
            Some(World::Inventory(path)) => world::from_file(path),
            Some(World::Compose { files, profiles, project_name }) => {
                let compose = ComposeArguments::of(files, profiles, project_name.as_deref());
                Ok(compose.load()?.unwrap_or_default())
            }
            Some(World::Inline(inventory)) => Ok((**inventory).clone()),
            None => Err(Failure {
                message: "names no world".to_owned(),
                help: "add `world` to its spec, or name one with --inventory FILE or --compose FILE".to_owned(),
            }
            .into()),
        }
    }

    fn policies(&self, test: &PolicyTest) -> anyhow::Result<PolicySet> {
        let paths = if self.policies.is_empty() { &test.policies } else { &self.policies };
        if paths.is_empty() {
            return Err(Failure {
                message: "names no policies".to_owned(),
                help: "add `policies` to its spec, or name some with --policies PATH".to_owned(),
            }
            .into());
        }
        let policies = world::policies_together(paths)?;
        // One by one: without policies everything is open, and half of all tests would pass.
        for path in paths {
            if policy::load(&files::read(std::slice::from_ref(path))?).resources.is_empty() {
                return Err(Failure {
                    message: format!("there is no policy in {}", path.display()),
                    help: "a path in a test is relative to the file of the test, and one on the command line to the \
                           current directory"
                        .to_owned(),
                }
                .into());
            }
        }
        Ok(policies)
    }

    /// A report in the place of what it is about would be the end of that.
    fn refuse_input_as_file(&self, tests: &[PolicyTest]) -> Result<(), Failure> {
        let sources = files::read(&self.named_by(tests)).unwrap_or_default();
        let files = tests.iter().map(|test| test.location.file.as_path());
        let files = files.chain(sources.iter().map(|source| source.path.as_path()));
        file::refuse_input("--output", self.report.output.as_deref(), files)
    }

    /// Everything that a report is made of, as far as it is known.
    fn watched(&self) -> Vec<PathBuf> {
        let tests = files::read(&self.paths).map(|sources| policy_test::load(&sources).0).unwrap_or_default();
        let mut paths = self.named_by(&tests);
        paths.extend(self.paths.iter().cloned());
        paths.sort();
        paths.dedup();
        paths
    }

    /// The policies and worlds that options and tests name.
    fn named_by(&self, tests: &[PolicyTest]) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            self.policies.iter().chain(&self.inventory).chain(self.compose.files()).cloned().collect();
        for test in tests {
            paths.extend(test.policies.iter().cloned());
            match &test.world {
                Some(World::Inventory(path)) => paths.push(path.clone()),
                Some(World::Compose { files, .. }) => paths.extend(files.iter().cloned()),
                Some(World::Inline(_)) | None => {}
            }
        }
        paths
    }
}
