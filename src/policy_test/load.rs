//! Documents to checked tests.
//!
//! Input: files, of which those that hold no PolicyTest are read over. Output: [`PolicyTest`]s and all findings at once, each
//! at its place. A test with a finding that is an error is not there at all.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::api::policy_test as wire;
use crate::api::{self, int_or_string};
use crate::inventory::file;
use crate::net::{Family, PortRange, PortSet, Protocol};
use crate::policy::codes::{self, Code};
use crate::policy::diagnostic::did_you_mean;
use crate::policy::document::{self, Document};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Direction, Severity, SourceFile};
use crate::reach::Service;
use crate::selector::Selector;
use crate::verdict::Decision;
use crate::verdict::path::{HOST, Traffic};

use super::{By, Case, Ends, Exception, Invariant, PolicyTest, World, describe, matrix, to_port};

/// The kind.
const KIND: &str = "PolicyTest";
/// The name of every address outside.
const OUTSIDE: &str = "outside";

/// Reads tests. What is no PolicyTest is read over, so that they may lie among policies; a file that cannot be parsed is
/// not when the kind is named in it.
pub fn load(files: &[SourceFile]) -> (Vec<PolicyTest>, Vec<Diagnostic>) {
    let mut tests = Vec::new();
    let mut diagnostics = Vec::new();
    for source in files {
        let (documents, findings) = document::parse(source);
        if source.unreadable.is_some() || source.text.contains(KIND) {
            diagnostics.extend(findings);
        }
        for document in &documents {
            let (test, findings) = read(document);
            tests.extend(test.filter(|_| document.is_unambiguous()));
            diagnostics.extend(findings);
        }
    }
    Diagnostic::sort(&mut diagnostics);
    (tests, diagnostics)
}

fn read(document: &Document) -> (Option<PolicyTest>, Vec<Diagnostic>) {
    let root = FieldPath::root();
    let (Some(api_version), Some(kind)) = (document.text("apiVersion"), document.text("kind")) else {
        let is_meant = document.text("kind") == Some(KIND);
        let message = "the field `apiVersion` is required";
        let finding = is_meant.then(|| document.finding(&codes::NO_KIND, &root.key("apiVersion"), message));
        return (None, finding.into_iter().collect());
    };
    let Some(known) = api::find(api_version, KIND) else {
        let message = format!("unknown apiVersion `{api_version}`");
        let finding = document.finding(&codes::UNKNOWN_API_VERSION, &root.key("apiVersion"), message);
        let finding = finding.with_help(format!("{KIND} belongs to `dockgate.io/v1alpha1`"));
        return (None, (kind == KIND).then_some(finding).into_iter().collect());
    };
    if kind != KIND {
        let is_known = api::find(api_version, kind).is_some();
        let message = format!("`{api_version}` has no kind `{kind}`");
        let finding = document.finding(&codes::UNKNOWN_KIND, &root.key("kind"), message);
        let finding = match did_you_mean(kind, [KIND, "Inventory"]) {
            Some(help) => finding.with_help(help),
            None => finding,
        };
        return (None, (!is_known).then_some(finding).into_iter().collect());
    }
    let shape = document.check(known);
    if shape.iter().any(|finding| finding.severity == Severity::Error) {
        return (None, shape);
    }
    let resource: wire::PolicyTest = match document.deserialize() {
        Ok(resource) => resource,
        Err(finding) => return (None, vec![*finding]),
    };
    let mut reader = Reader { document, diagnostics: shape, groups: BTreeMap::new() };
    let test = reader.test(resource);
    let is_usable = reader.diagnostics.iter().all(|finding| finding.severity != Severity::Error);
    (Some(test).filter(|_| is_usable), reader.diagnostics)
}

/// Reads the parts of one document.
pub(super) struct Reader<'d> {
    pub(super) document: &'d Document,
    diagnostics: Vec<Diagnostic>,
    groups: BTreeMap<String, Selector>,
}

impl Reader<'_> {
    pub(super) fn report(&mut self, code: &Code, path: &FieldPath, message: impl Into<String>) {
        self.diagnostics.push(self.document.finding(code, path, message));
    }

    pub(super) fn is_faultless(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub(super) fn push(&mut self, finding: Diagnostic) {
        self.diagnostics.push(finding);
    }

    fn test(&mut self, resource: wire::PolicyTest) -> PolicyTest {
        let root = FieldPath::root();
        let spec = root.key("spec");
        let wire::PolicyTestSpec { world, policies, groups, cases, matrix, invariants } = resource.spec;
        for (name, text) in groups.into_iter().flatten() {
            let path = spec.key("groups").literal_key(&name);
            if [HOST, OUTSIDE].contains(&name.as_str()) {
                self.report(&codes::TEST_END, &path, format!("`{name}` has a meaning already"));
            }
            if let Some(selector) = self.selector(&path, &text) {
                self.groups.insert(name, selector);
            }
        }
        let world = world.and_then(|world| self.world(&spec.key("world"), world));
        let mut read_cases = Vec::new();
        for (index, case) in cases.into_iter().flatten().enumerate() {
            read_cases.extend(self.case(&spec.key("cases").index(index), case));
        }
        let place = spec.key("matrix");
        match matrix {
            Some(wire::Matrices::One(matrix)) => read_cases.extend(matrix::cases(self, &place, &matrix)),
            Some(wire::Matrices::Several(matrices)) => {
                for (index, matrix) in matrices.iter().enumerate() {
                    read_cases.extend(matrix::cases(self, &place.index(index), matrix));
                }
            }
            None => {}
        }
        let mut read_invariants = Vec::new();
        for (index, invariant) in invariants.into_iter().flatten().enumerate() {
            read_invariants.extend(self.invariant(&spec.key("invariants").index(index), invariant));
        }
        if read_cases.is_empty() && read_invariants.is_empty() && self.diagnostics.is_empty() {
            let message = "there is nothing to test: no case, no matrix and no invariant";
            self.report(&codes::TEST_EMPTY, &spec, message);
        }
        PolicyTest {
            name: resource.metadata.name,
            location: self.document.locate(&root),
            world,
            policies: policies.into_iter().flatten().map(|path| self.beside(&path)).collect(),
            cases: read_cases,
            invariants: read_invariants,
        }
    }

    /// A path that is relative to the file.
    fn beside(&self, path: &str) -> PathBuf {
        let joined = self.document.file().parent().unwrap_or(Path::new("")).join(path);
        let plain: PathBuf = joined.components().filter(|part| *part != Component::CurDir).collect();
        if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
    }

    fn world(&mut self, path: &FieldPath, world: wire::World) -> Option<World> {
        let wire::World { inventory, compose, profiles, project_name, inline } = world;
        let of_compose = [("profiles", profiles.is_some()), ("projectName", project_name.is_some())];
        for (field, _) in of_compose.iter().filter(|(_, stated)| *stated && compose.is_none()) {
            let message = format!("`{field}` is about Compose files, and there are none");
            self.report(&codes::TEST_WORLD, &path.key(field), message);
        }
        match (inventory, compose, inline) {
            (Some(file), None, None) => Some(World::Inventory(self.beside(&file))),
            (None, Some(files), None) if !files.is_empty() => Some(World::Compose {
                files: files.iter().map(|file| self.beside(file)).collect(),
                profiles: profiles.into_iter().flatten().collect(),
                project_name,
            }),
            (None, None, Some(inline)) => {
                let (mut inventory, findings) = file::read_inline(self.document, &path.key("inline"), inline);
                self.diagnostics.extend(findings);
                inventory.trust_ports();
                Some(World::Inline(Box::new(inventory)))
            }
            _ => {
                self.report(&codes::TEST_WORLD, path, "a world is one of `inventory`, `compose` and `inline`");
                None
            }
        }
    }

    fn selector(&mut self, path: &FieldPath, text: &str) -> Option<Selector> {
        match Selector::parse(text) {
            Ok(_) if text.trim().is_empty() => {
                self.report(&codes::SELECTOR, path, "the selector is empty: write `all()` if all are meant");
                None
            }
            Ok(selector) => Some(selector),
            Err(error) => {
                self.report(&codes::SELECTOR, path, error.to_string());
                None
            }
        }
    }

    fn end(&mut self, path: &FieldPath, end: &wire::End) -> Option<Ends> {
        match end {
            wire::End::Selected(wire::SelectedEnd { selector: text }) => {
                let selector = self.selector(&path.key("selector"), text)?;
                Some(Ends::Selected { selector, text: text.trim().to_owned() })
            }
            wire::End::Named(text) => match self.named(text) {
                Ok(ends) => Some(ends),
                Err(message) => {
                    let finding = self.document.finding(&codes::TEST_END, path, message);
                    self.push(finding.with_help("a selector is written as `{selector: \"...\"}`"));
                    None
                }
            },
        }
    }

    /// The end that a text names; whether there is a container of that name is known when there is a world.
    pub(super) fn named(&self, text: &str) -> Result<Ends, String> {
        if text == OUTSIDE {
            return Ok(Ends::Outside);
        }
        if let Some(selector) = self.groups.get(text) {
            return Ok(Ends::Selected { selector: selector.clone(), text: text.to_owned() });
        }
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || "()='\"".contains(c)) {
            return Err(format!("`{text}` is no name and no address"));
        }
        Ok(Ends::Named(text.to_owned()))
    }

    fn case(&mut self, path: &FieldPath, case: wire::Case) -> Option<Case> {
        let traffic = self.traffic(path, case.protocol, case.port);
        let from = self.end(&path.key("from"), &case.from);
        let to = self.end(&path.key("to"), &case.to);
        let by = case.by.map(|text| self.by(&path.key("by"), &text));
        let (traffic, from, to) = (traffic?, from?, to?);
        let name = not_blank(case.name).unwrap_or_else(|| title(&from, &to, traffic));
        Some(Case {
            name,
            location: self.document.locate(path),
            of_matrix: false,
            from,
            to,
            traffic,
            families: families(case.ip_version),
            via: case.via,
            expect: decision(case.expect),
            by: by.flatten(),
        })
    }

    fn traffic(
        &mut self,
        path: &FieldPath,
        protocol: Option<wire::TestProtocol>,
        port: Option<u16>,
    ) -> Option<Traffic> {
        match (protocol.unwrap_or(wire::TestProtocol::Tcp), port) {
            (wire::TestProtocol::Icmp, None) => Some(Traffic::EchoRequest),
            (wire::TestProtocol::Icmp, Some(_)) => {
                self.report(&codes::PROTOCOL_WITHOUT_PORTS, &path.key("port"), "a ping has no port");
                None
            }
            (with_ports, Some(port)) => Some(to_port(protocol_of(with_ports), port)),
            (_, None) => {
                self.report(&codes::MISSING_FIELD, &path.key("port"), "the field `port` is required");
                None
            }
        }
    }

    fn by(&mut self, path: &FieldPath, text: &str) -> Option<By> {
        let read = read_by(text);
        if read.is_none() {
            let message = format!("`{text}` names no policy and no rule");
            let finding = self.document.finding(&codes::TEST_RULE, path, message);
            self.push(finding.with_help("write `POLICY`, `POLICY ingress` or `POLICY ingress[0]`"));
        }
        read
    }

    fn invariant(&mut self, path: &FieldPath, invariant: wire::Invariant) -> Option<Invariant> {
        let from = self.end(&path.key("from"), &invariant.from);
        let to = self.end(&path.key("to"), &invariant.to);
        self.refuse_attachments(path, [("from", from.as_ref()), ("to", to.as_ref())]);
        let services = self.services(path, invariant.protocol, invariant.ports);
        let mut except = Vec::new();
        for (index, exception) in invariant.except.into_iter().flatten().enumerate() {
            let path = path.key("except").index(index);
            let from = exception.from.map(|end| self.end(&path.key("from"), &end));
            let to = exception.to.map(|end| self.end(&path.key("to"), &end));
            let (from, to) = (from.flatten(), to.flatten());
            self.refuse_attachments(&path, [("from", from.as_ref()), ("to", to.as_ref())]);
            let services = self.services(&path, exception.protocol, exception.ports);
            let location = self.document.locate(&path);
            except.push(Exception { location, from, to, services });
        }
        let (from, to) = (from?, to?);
        let name = not_blank(invariant.name).unwrap_or_else(|| format!("{} -> {}", in_words(&from), in_words(&to)));
        Some(Invariant {
            name,
            location: self.document.locate(path),
            from,
            to,
            services,
            families: families(invariant.ip_version),
            via: invariant.via,
            expect: decision(invariant.expect),
            except,
        })
    }

    fn refuse_attachments(&mut self, path: &FieldPath, ends: [(&str, Option<&Ends>); 2]) {
        for (field, end) in ends {
            if let Some(Ends::Named(text)) = end.filter(|end| is_attachment(end)) {
                let message =
                    format!("an invariant is about whole containers, and `{text}` is one network of a container");
                self.report(&codes::TEST_END, &path.key(field), message);
            }
        }
    }

    fn services(
        &mut self,
        path: &FieldPath,
        protocol: Option<wire::TestProtocol>,
        ports: Option<Vec<int_or_string::Port>>,
    ) -> Vec<(Service, PortSet)> {
        let path = path.key("ports");
        let stated = ports.map(|ports| {
            let mut ranges = Vec::new();
            for (index, port) in ports.iter().enumerate() {
                match port.to_string().parse::<PortRange>() {
                    Ok(range) => ranges.push(range),
                    Err(error) => self.report(&codes::PORT, &path.index(index), error.to_string()),
                }
            }
            ranges.into_iter().collect::<PortSet>()
        });
        if stated.as_ref().is_some_and(PortSet::is_empty) && self.diagnostics.is_empty() {
            self.report(&codes::COUNT, &path, "at least 1 item is needed");
        }
        if protocol == Some(wire::TestProtocol::Icmp) && stated.is_some() {
            self.report(&codes::PROTOCOL_WITHOUT_PORTS, &path, "a ping has no port");
        }
        let is_asked = |service: &Service| match (service, protocol) {
            (Service::Ping, None) => stated.is_none(),
            (Service::Ping, Some(protocol)) => protocol == wire::TestProtocol::Icmp,
            (Service::Ports(_), None) => true,
            (Service::Ports(asked), Some(protocol)) => {
                protocol != wire::TestProtocol::Icmp && *asked == protocol_of(protocol)
            }
        };
        let asked = Service::ALL.into_iter().filter(is_asked);
        asked.map(|service| (service, stated.clone().unwrap_or_else(PortSet::all))).collect()
    }
}

fn not_blank(name: Option<String>) -> Option<String> {
    name.filter(|name| !name.trim().is_empty())
}

/// The name of a case that has none.
pub(super) fn title(from: &Ends, to: &Ends, traffic: Traffic) -> String {
    format!("{} -> {}, {}", in_words(from), in_words(to), describe(traffic))
}

/// An end as it stands in the file.
fn in_words(ends: &Ends) -> &str {
    match ends {
        Ends::Outside => OUTSIDE,
        Ends::Named(text) | Ends::Selected { text, .. } => text,
    }
}

/// Whether it is `CONTAINER@NETWORK`.
fn is_attachment(ends: &Ends) -> bool {
    matches!(ends, Ends::Named(text) if text.contains('@'))
}

pub(super) fn families(version: Option<api::calico::IpVersion>) -> Vec<Family> {
    match version {
        Some(api::calico::IpVersion::V4) => vec![Family::V4],
        Some(api::calico::IpVersion::V6) => vec![Family::V6],
        None => Family::ALL.to_vec(),
    }
}

fn decision(expectation: wire::Expectation) -> Decision {
    match expectation {
        wire::Expectation::Allow => Decision::Allow,
        wire::Expectation::Deny => Decision::Deny,
    }
}

/// A protocol with ports.
fn protocol_of(protocol: wire::TestProtocol) -> Protocol {
    match protocol {
        wire::TestProtocol::Tcp => Protocol::TCP,
        wire::TestProtocol::Udp => Protocol::UDP,
        wire::TestProtocol::Sctp => Protocol::SCTP,
        wire::TestProtocol::Icmp => Protocol::ICMP,
    }
}

fn read_by(text: &str) -> Option<By> {
    let mut words = text.split_whitespace();
    let policy = words.next()?.to_owned();
    let (mut direction, mut rule) = (None, None);
    if let Some(place) = words.next() {
        let (word, index) = match place.split_once('[') {
            Some((word, index)) => (word, Some(index.strip_suffix(']')?.parse().ok()?)),
            None => (place, None),
        };
        direction = Some(Direction::ALL.into_iter().find(|direction| direction.to_string() == word)?);
        rule = index;
    }
    words.next().is_none().then_some(By { policy, direction, rule })
}
