//! Compose files as a world without Docker: what `docker compose up` would make of them.
//!
//! Input: the texts of Compose and environment files, and the variables of the environment. Output: the [`Inventory`] that
//! an engine would show then, and all findings at once, each at its place. No crate reads Compose files as Compose does:
//! those there are have the shapes of single files, without merging, variables, `extends` and places.
//!
//! What only an engine or an image knows is not in it: labels of images, containers and networks of other projects, and of
//! Compose's own labels `config-hash`, `image` and `version`.

mod environment;
mod form;
mod gather;
mod merge;
mod model;
mod node;
mod ports;
mod subnets;
mod template;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::form::Context;
use self::gather::{Gatherer, normalized, parent};
use self::model::Service;
use super::Inventory;
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, Severity, SourceFile, codes};

pub use gather::Read;

/// Variable with the name of the project.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";
/// Variable with the active profiles.
const PROFILES: &str = "COMPOSE_PROFILES";

/// What a model is made of, as the options and the environment of `docker compose` say it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Compose files; each overrides those before it.
    pub files: Vec<SourceFile>,
    /// The current directory, absolute.
    pub working_directory: PathBuf,
    /// Variables of the environment.
    pub variables: BTreeMap<String, String>,
    /// Environment files instead of `.env` beside the first Compose file.
    pub environment_files: Option<Vec<SourceFile>>,
    /// Name of the project, instead of what files, environment and directory say.
    pub project_name: Option<String>,
    /// Active profiles; `*` for all. With none, `COMPOSE_PROFILES` says them.
    pub profiles: BTreeSet<String>,
}

/// What Compose files say.
#[derive(Debug)]
pub struct Loaded {
    /// What could be read; complete only when no finding is an error.
    pub inventory: Inventory,
    /// Findings, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that was read.
    pub sources: Vec<SourceFile>,
}

/// Reads Compose files. `read` gives the files that they name, and `.env`.
pub fn load(request: &Request, read: &mut Read<'_>) -> Loaded {
    let mut gatherer = Gatherer { read, findings: Vec::new(), sources: Vec::new(), unset: BTreeSet::new() };
    let directory = request.files.first().map(|file| parent(&file.path)).unwrap_or_default();
    let mut variables = environment(request, &directory, &mut gatherer);
    let project_name = project_name(request, &directory, &variables, &mut gatherer);
    variables.insert(PROJECT_NAME.to_owned(), project_name.clone());

    let context = Context { directory: &directory, variables: &variables };
    let tree = gatherer.model(&request.files, context, &[]);
    let is_broken = gatherer.findings.iter().any(|finding| finding.severity == Severity::Error);
    if tree.get("services").is_none() && !is_broken {
        let place = request.files.first().map_or_else(PathBuf::new, |file| file.path.clone());
        let location = Location { file: place, line: 1, column: 1 };
        let message = "the Compose files have no `services`";
        let finding = Diagnostic::new(&codes::MISSING_FIELD, location, &FieldPath::root(), message);
        gatherer.findings.push(finding.with_help("a world without any container is `services: {}`"));
    }
    let mut model = model::read(&tree, &profiles(request, &variables), &mut gatherer.findings);
    for service in &mut model.services {
        labels_of_files(service, &mut gatherer);
    }
    let Gatherer { mut findings, sources, .. } = gatherer;
    let project = world::Project { labels: project_labels(request, &directory, &project_name), name: project_name };
    let inventory = world::build(&model, &project, &mut findings);
    Diagnostic::sort(&mut findings);
    findings.dedup();
    Loaded { inventory, diagnostics: findings, sources }
}

/// The variables of the environment, and of environment files those that are not set there.
fn environment(request: &Request, directory: &Path, gatherer: &mut Gatherer<'_>) -> BTreeMap<String, String> {
    let files = match &request.environment_files {
        Some(files) => files.clone(),
        None => match (gatherer.read)(&directory.join(".env")) {
            Ok(file) => file.into_iter().collect(),
            Err(problem) => {
                let location = Location { file: directory.join(".env"), line: 1, column: 1 };
                let message = format!("cannot be read: {problem}");
                let finding = Diagnostic::new(&codes::REFERENCED_FILE, location, &FieldPath::root(), message);
                gatherer.findings.push(finding);
                Vec::new()
            }
        },
    };
    let mut known = request.variables.clone();
    let mut set = BTreeMap::new();
    for file in &files {
        // A later file sees what earlier ones set, and sets it anew.
        let of_file = gatherer.environment(file, &known);
        known.extend(of_file.clone().into_iter().filter(|(name, _)| !request.variables.contains_key(name)));
        set.extend(of_file);
    }
    set.extend(request.variables.clone());
    set
}

/// The name of the project: the option, the environment, the last file that has a `name`, the directory.
fn project_name(
    request: &Request,
    directory: &Path,
    variables: &BTreeMap<String, String>,
    gatherer: &mut Gatherer<'_>,
) -> String {
    let place = request.files.first().map_or_else(PathBuf::new, |file| file.path.clone());
    let location = Location { file: place, line: 1, column: 1 };
    let stated = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    let named = stated(request.project_name.as_ref()).map(|name| (name, location.clone(), ""));
    let named = named.or_else(|| {
        let name = stated(variables.get(PROJECT_NAME))?;
        let line = gatherer.sources.iter().rev().find_map(|file| assignment(file, PROJECT_NAME));
        let line = line.filter(|_| !request.variables.contains_key(PROJECT_NAME));
        Some((name, line.unwrap_or_else(|| location.clone()), ", the value of `COMPOSE_PROJECT_NAME`,"))
    });
    let findings = &mut gatherer.findings;
    if let Some((name, location, source)) = named {
        if !is_project_name(&name) {
            let message = format!("`{name}`{source} is not the name of a project");
            let finding = Diagnostic::new(&codes::PROJECT_NAME, location, &FieldPath::root(), message);
            findings.push(finding.with_help(PROJECT_NAME_HELP));
        }
        return name;
    }
    let in_files = request.files.iter().flat_map(|file| node::parse(file).0).filter_map(|document| {
        let text = document.get("name")?.text()?;
        // What is wrong with it is found again when the file is read.
        template::substitute(&text, variables, &mut BTreeSet::new()).ok()
    });
    let in_files = in_files.map(|name| normalized_name(&name)).rfind(|name| !name.is_empty());
    in_files.unwrap_or_else(|| {
        let directory = normalized(&request.working_directory.join(directory));
        let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = normalized_name(&name);
        if name.is_empty() {
            let finding =
                Diagnostic::new(&codes::PROJECT_NAME, location, &FieldPath::root(), "the project has no name");
            findings.push(finding.with_help("add `name:` to the file, or use --project-name"));
        }
        name
    })
}

/// What to do about an invalid name of a project.
pub const PROJECT_NAME_HELP: &str = "use lower-case letters, digits, `-` and `_`, with a letter or digit first";

/// Whether Compose takes a text for the name of a project where it is stated outside of the files.
pub fn is_project_name(name: &str) -> bool {
    !name.is_empty() && normalized_name(name) == name
}

/// The line of an environment file that sets a variable: of several the last.
fn assignment(file: &SourceFile, name: &str) -> Option<Location> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(['=', ':']))
    };
    let line = file.text.lines().collect::<Vec<_>>().into_iter().rposition(sets)?;
    Some(Location { file: file.path.clone(), line: u32::try_from(line + 1).ok()?, column: 1 })
}

/// As Compose makes the name of a project from another one.
fn normalized_name(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept: String =
        lower.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-')).collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

fn profiles(request: &Request, variables: &BTreeMap<String, String>) -> BTreeSet<String> {
    if !request.profiles.is_empty() {
        return request.profiles.clone();
    }
    let stated = variables.get(PROFILES).map_or("", String::as_str);
    stated.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned).collect()
}

/// Adds the labels of a service's `label_file`; those that stand in the Compose file come before them.
fn labels_of_files(service: &mut Service, gatherer: &mut Gatherer<'_>) {
    let mut labels = BTreeMap::new();
    for node in &service.label_files {
        if let Some(source) = gatherer.referenced(node, Path::new("")) {
            // Such a file sees what label files before it set, and not the environment.
            let of_file = gatherer.environment(&source, &labels);
            labels.extend(of_file);
        }
    }
    labels.append(&mut service.labels);
    service.labels = labels;
}

/// The labels that Compose gives to every container of the project.
fn project_labels(request: &Request, directory: &Path, name: &str) -> BTreeMap<&'static str, String> {
    let absolute = |path: &Path| normalized(&request.working_directory.join(path)).to_string_lossy().into_owned();
    let list = |files: &[SourceFile]| files.iter().map(|file| absolute(&file.path)).collect::<Vec<_>>().join(",");
    let mut labels = BTreeMap::from([
        ("project", name.to_owned()),
        ("project.working_dir", absolute(directory)),
        ("project.config_files", list(&request.files)),
    ]);
    if let Some(files) = request.environment_files.as_ref().filter(|files| !files.is_empty()) {
        labels.insert("project.environment_file", list(files));
    }
    labels
}
