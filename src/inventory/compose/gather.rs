//! Several Compose files, and what they extend and include, as one tree.
//!
//! Input: files in the order in which they override each other. Output: the merged tree. Other files are asked for by
//! path; who reads them decides what may be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::environment;
use super::form::{Context, Former};
use super::merge::{extend, merge, settled};
use super::node::{Content, Entry, Map, Mode, Node, parse};
use crate::policy::diagnostic::did_you_mean;
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, SourceFile, codes};

/// Most services that extend one another.
const MAX_CHAIN: usize = 64;

/// Reads a file; `None` if there is none.
pub type Read<'r> = dyn FnMut(&Path) -> Result<Option<SourceFile>, String> + 'r;

/// Collects what belongs to a model.
pub(super) struct Gatherer<'r> {
    pub(super) read: &'r mut Read<'r>,
    pub(super) findings: Vec<Diagnostic>,
    /// Every file that was read.
    pub(super) sources: Vec<SourceFile>,
    pub(super) unset: BTreeSet<String>,
}

impl Gatherer<'_> {
    /// The model of files that override each other. `within` are the files that include them.
    pub(super) fn model(&mut self, files: &[SourceFile], context: Context<'_>, within: &[PathBuf]) -> Node {
        let location = |file: &SourceFile| Location { file: file.path.clone(), line: 1, column: 1 };
        let location = files.first().map_or(Location { file: PathBuf::new(), line: 1, column: 1 }, location);
        let mut model = Node { content: Content::Map(Map::new()), location, field: FieldPath::root() };
        for file in files {
            for document in self.documents(file, context) {
                let document = self.extended(document, &file.path, context);
                let document = self.included(document, &file.path, context, within);
                model = merge(model, document, &mut self.findings);
            }
        }
        model
    }

    fn documents(&mut self, file: &SourceFile, context: Context<'_>) -> Vec<Node> {
        if !self.sources.iter().any(|known| known.path == file.path) {
            self.sources.push(file.clone());
        }
        let (documents, diagnostics) = parse(file);
        for finding in diagnostics {
            // A file that is reached twice has its findings once.
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        let mut former = Former { findings: &mut self.findings, unset: &mut self.unset, context };
        documents.into_iter().map(|document| former.document(document)).collect()
    }

    /// The document with what its services extend.
    fn extended(&mut self, mut document: Node, file: &Path, context: Context<'_>) -> Node {
        let Some(services) = services(&document).cloned() else { return document };
        if let Content::Map(map) = &mut document.content
            && let Some(Entry { value: Node { content: Content::Map(map), .. }, .. }) = map.get_mut("services")
        {
            for (name, entry) in map.iter_mut().filter(|(_, entry)| entry.mode != Mode::Reset) {
                if let Some(value) = self.service(&services, name, file, context, &mut Vec::new()) {
                    entry.value = value;
                }
            }
        }
        document
    }

    /// A service with all that it extends. `chain` are the services that extend it.
    fn service(
        &mut self,
        services: &Map,
        name: &str,
        file: &Path,
        context: Context<'_>,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Option<Node> {
        let mut own = services.get(name)?.value.clone();
        let Some(extends) = own.get("extends").cloned() else { return Some(own) };
        if let Content::Map(map) = &mut own.content {
            map.remove("extends");
        }
        let Some(target) = extends.get("service").filter(|target| target.text().is_some()).cloned() else {
            self.findings.push(extends.finding(&codes::MISSING_FIELD, "`extends` names no `service`"));
            return Some(own);
        };
        let target_name = target.text().unwrap_or_default();
        let place = (normalized(file), name.to_owned());
        if chain.contains(&place) {
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).chain([name]).collect();
            let message = format!("services extend each other in a circle: {}", names.join(" → "));
            self.findings.push(target.finding(&codes::CIRCLE, message));
            return Some(own);
        }
        if chain.len() == MAX_CHAIN {
            let message = format!("more than {MAX_CHAIN} services extend one another");
            self.findings.push(target.finding(&codes::LIMIT, message));
            return Some(own);
        }
        chain.push(place);
        let base = match extends.get("file").cloned() {
            None => self.base(services, &target, &target_name, file, context, chain),
            Some(path) => self.base_of_file(&path, &target, &target_name, context, chain),
        };
        chain.pop();
        Some(match base {
            Some(base) => extend(base, own, &mut self.findings),
            None => own,
        })
    }

    fn base_of_file(
        &mut self,
        path: &Node,
        target: &Node,
        name: &str,
        context: Context<'_>,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Option<Node> {
        let source = self.referenced(path, context.directory)?;
        let directory = parent(&source.path);
        let context = Context { directory: &directory, ..context };
        let documents = self.documents(&source, context).into_iter();
        let model = documents.reduce(|earlier, later| merge(earlier, later, &mut self.findings)).map(settled);
        let none = Map::new();
        let services = model.as_ref().and_then(services).unwrap_or(&none);
        self.base(services, target, name, &source.path, context, chain)
    }

    fn base(
        &mut self,
        services: &Map,
        target: &Node,
        name: &str,
        file: &Path,
        context: Context<'_>,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Option<Node> {
        let base = self.service(services, name, file, context, chain);
        if base.is_none() {
            let message = format!("there is no service `{name}` in {}", file.display());
            self.findings.push(unknown_service(target, message, name, services.keys().map(String::as_str)));
        }
        base
    }

    /// The document with what it includes, which it overrides.
    fn included(&mut self, mut document: Node, file: &Path, context: Context<'_>, within: &[PathBuf]) -> Node {
        let Content::Map(map) = &mut document.content else { return document };
        let Some(Entry { value: include, .. }) = map.remove("include") else { return document };
        let Content::List(items) = include.content else {
            self.findings.push(include.finding(&codes::WRONG_TYPE, "`include` is a list of files"));
            return document;
        };
        let within = [within, &[normalized(file)]].concat();
        for item in items {
            let Some(model) = self.inclusion(&item, context, &within) else { continue };
            let Content::Map(mut parts) = model.content else { continue };
            // The project is named by the file that includes.
            parts.remove("name");
            let model = Node { content: Content::Map(parts), location: model.location, field: model.field };
            document = extend(model, document, &mut self.findings);
        }
        document
    }

    fn inclusion(&mut self, item: &Node, context: Context<'_>, within: &[PathBuf]) -> Option<Node> {
        let paths = match (item.text(), item.get("path")) {
            (Some(_), _) => vec![item.clone()],
            (None, Some(paths)) => texts(paths),
            (None, None) => {
                self.findings.push(item.finding(&codes::MISSING_FIELD, "what is included has no `path`"));
                return None;
            }
        };
        let mut files = Vec::new();
        for path in &paths {
            let source = self.referenced(path, context.directory)?;
            if within.contains(&normalized(&source.path)) {
                let message = format!("{} includes itself", source.path.display());
                self.findings.push(path.finding(&codes::CIRCLE, message));
                return None;
            }
            files.push(source);
        }
        let directory = match item.get("project_directory").and_then(Node::text) {
            Some(stated) => context.directory.join(stated),
            None => parent(&files.first()?.path),
        };
        let mut variables = match item.get("env_file") {
            Some(stated) => {
                let mut set = BTreeMap::new();
                for path in texts(stated).iter().filter(|path| path.text().as_deref() != Some("/dev/null")) {
                    let source = self.referenced(path, context.directory)?;
                    set.extend(self.environment(&source, context.variables));
                }
                set
            }
            None => match (self.read)(&directory.join(".env")) {
                Ok(Some(source)) => self.environment(&source, context.variables),
                Ok(None) => BTreeMap::new(),
                Err(problem) => {
                    let message = format!("{}: {problem}", directory.join(".env").display());
                    self.findings.push(item.finding(&codes::REFERENCED_FILE, message));
                    return None;
                }
            },
        };
        variables.extend(context.variables.clone());
        Some(self.model(&files, Context { directory: &directory, variables: &variables }, within))
    }

    /// What an environment file sets.
    pub(super) fn environment(
        &mut self,
        source: &SourceFile,
        known: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        self.sources.push(source.clone());
        let (set, findings) = environment::read(source, known);
        self.findings.extend(findings);
        set
    }

    /// The file that a value names.
    pub(super) fn referenced(&mut self, node: &Node, directory: &Path) -> Option<SourceFile> {
        let path = node.text().unwrap_or_default();
        let problem = if path.is_empty() {
            "the path of a file is expected here".to_owned()
        } else if path.contains("://") || path.starts_with("git@") {
            format!("`{path}` is not a file here, and nothing is fetched")
        } else {
            let path = directory.join(&path);
            match (self.read)(&path) {
                Ok(Some(source)) => return Some(source),
                Ok(None) => format!("there is no file {}", path.display()),
                Err(problem) => format!("cannot read {}: {problem}", path.display()),
            }
        };
        self.findings.push(node.finding(&codes::REFERENCED_FILE, problem));
        None
    }
}

/// A finding about the name of a service that there is not.
pub(super) fn unknown_service<'a>(
    node: &Node,
    message: String,
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Diagnostic {
    let finding = node.finding(&codes::UNKNOWN_SERVICE, message);
    let listed = known.clone().into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match did_you_mean(name, known) {
        Some(hint) => finding.with_help(hint),
        None if listed.is_empty() => finding,
        None => finding.with_help(format!("the services are {listed}")),
    }
}

fn services(document: &Node) -> Option<&Map> {
    match &document.get("services")?.content {
        Content::Map(map) => Some(map),
        Content::Scalar(_) | Content::List(_) => None,
    }
}

/// The items of a list, or the one value that stands instead.
fn texts(node: &Node) -> Vec<Node> {
    match &node.content {
        Content::List(items) => items.clone(),
        Content::Scalar(_) | Content::Map(_) => vec![node.clone()],
    }
}

/// The directory of a file; empty for the current one.
pub(super) fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// A path without `.` and, where it can be told without asking the file system, without `..`.
pub(super) fn normalized(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(result.components().next_back(), Some(Component::Normal(_))) => {
                result.pop();
            }
            Component::ParentDir if result.has_root() => {}
            other => result.push(other),
        }
    }
    result
}
