//! `docs/policy.md`: its rows are the fields of the schemas, no more and no less, and their meanings the schemas' own.
//!
//! A table begins with a comment that says of which kinds and under which fields its rows are. What is done with a field
//! is prose; the column of meanings is written by `UPDATE_DOCS`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use dockgate::api::{KINDS, Kind};
use dockgate::policy::codes::CODES;
use serde_json::{Value, json};

use super::{hold, page, text};

/// Fields of the document itself, which the page explains as a whole.
const FRAME: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The kinds that are policy; the inventory is a world.
fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| kind.group() != "dockgate.io")
}

/// Every field of a kind with its description.
fn fields(kind: &Kind) -> BTreeMap<String, String> {
    fn walk(schema: &Value, prefix: &str, found: &mut BTreeMap<String, String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let description = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
            walk(field, &path, found);
            walk(&field["items"], &format!("{path}[]"), found);
            if !FRAME.contains(&path.as_str()) {
                found.insert(path, description);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&kind.json_schema(), "", &mut found);
    found
}

/// The kinds and the fields above the rows of a table.
struct Scope {
    kinds: Vec<&'static Kind>,
    under: Vec<String>,
}

impl Scope {
    fn of_comment(line: &str) -> Option<Scope> {
        let text = line.strip_prefix("<!-- fields of ")?.strip_suffix(" -->")?;
        let (above, under) = text.split_once(" under ").expect("a table says under which fields its rows are");
        let named = |name: &str| kinds().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind {name}"));
        let kinds = if above == "every kind" { kinds().collect() } else { above.split(", ").map(named).collect() };
        Some(Scope { kinds, under: under.split(", ").map(str::to_owned).collect() })
    }

    fn paths<'a>(&'a self, field: &'a str) -> impl Iterator<Item = (&'static Kind, String)> + 'a {
        let kinds = self.kinds.iter().copied();
        kinds.flat_map(move |kind| self.under.iter().map(move |under| (kind, format!("{under}.{field}"))))
    }
}

/// The rows of a page: their table's scope and their cells.
fn rows(page: &str) -> Vec<(usize, usize, Vec<String>)> {
    let mut scope = None;
    let mut rows = Vec::new();
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("<!-- fields of ") {
            scope = Some(number);
        } else if line.starts_with('#') || !(line.is_empty() || line.starts_with('|')) {
            scope = None;
        }
        if let (Some(scope), true) = (scope, line.starts_with("| `")) {
            let cells = line.replace("\\|", "\u{0}");
            let cells = cells.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{0}', "\\|")).collect();
            rows.push((number, scope, cells));
        }
    }
    rows
}

#[test]
fn every_field_has_one_row_and_every_row_a_field_with_its_meaning() {
    let present = text(&page("policy.md"));
    let mut lines: Vec<String> = present.lines().map(str::to_owned).collect();
    let known: BTreeMap<&str, _> = kinds().map(|kind| (kind.name, fields(kind))).collect();
    let mut told: BTreeSet<(&str, String)> = BTreeSet::new();
    for (number, comment, cells) in rows(&present) {
        let scope = Scope::of_comment(&lines[comment]).expect("the line of the scope is its comment");
        let [field, here, _, how] = cells.as_slice() else { panic!("four cells: {}", lines[number]) };
        let field = field.trim_matches('`');
        assert!(
            ["supported", "refused", "no effect"].iter().any(|word| here.starts_with(word)),
            "line {}: what is done with the field? {here}",
            number + 1
        );
        let mut meanings = BTreeSet::new();
        for (kind, path) in scope.paths(field) {
            let description = known[kind.name].get(&path);
            meanings.insert(description.unwrap_or_else(|| panic!("{} has no field {path}", kind.name)).clone());
            assert!(told.insert((kind.name, path.clone())), "{} {path} has two rows", kind.name);
        }
        assert_eq!(meanings.len(), 1, "line {}: {field} means different things: {meanings:?}", number + 1);
        let meaning = meanings.into_iter().next().unwrap_or_default();
        lines[number] = format!("| `{field}` | {here} | {meaning} | {how} |").replace("|  |", "| |");
    }
    for (kind, fields) in &known {
        for path in fields.keys() {
            assert!(told.contains(&(*kind, path.clone())), "{kind} {path} has no row in docs/policy.md");
        }
    }
    hold("policy.md", &format!("{}\n", lines.join("\n")));
}

#[test]
fn every_code_on_the_page_exists() {
    let text = text(&page("policy.md"));
    let named: BTreeSet<&str> = text.match_indices("DG").filter_map(|(at, _)| text.get(at..at + 6)).collect();
    let named: Vec<&str> =
        named.into_iter().filter(|code| code[2..].bytes().all(|byte| byte.is_ascii_digit())).collect();
    assert!(named.len() > 15, "{named:?}");
    for code in named {
        assert!(CODES.iter().any(|known| known.id == code), "{code} is no code");
    }
}

#[test]
fn what_the_schema_calls_refused_is_refused_on_the_page() {
    let present = text(&page("policy.md"));
    let mut refused = 0;
    for (number, _, cells) in rows(&present) {
        let by_schema = cells[2].ends_with("refused.");
        assert_eq!(by_schema, cells[1].starts_with("refused"), "line {}: {cells:?}", number + 1);
        refused += usize::from(by_schema);
    }
    assert!(refused > 10, "{refused}");
}

/// A document of a kind in which the field at `path` has a value, and nothing else is said that need not be.
fn document(kind: &Kind, path: &str, value: Value) -> Value {
    let mut document = json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": { "name": "sample" },
        "spec": {},
    });
    let mut place = &mut document;
    for step in path.split('.') {
        let (name, is_item) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        place = &mut place[name];
        if is_item {
            *place = json!([{ "action": "Allow" }]);
            place = &mut place[0];
        }
    }
    *place = value;
    document
}

/// What `dockgate validate` finds in a document, as JSON.
fn findings(document: &Value) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockgate"))
        .args(["validate", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary that cargo built for this test can be started");
    let mut input = child.stdin.take().expect("standard input is a pipe");
    input.write_all(document.to_string().as_bytes()).expect("the binary reads");
    drop(input);
    let output = child.wait_with_output().expect("the binary ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_the_page_calls_refused_is_refused_with_its_code_and_what_has_no_effect_is_not() {
    let present = text(&page("policy.md"));
    let lines: Vec<&str> = present.lines().collect();
    let (mut refused, mut accepted) = (0, 0);
    for (_, comment, cells) in rows(&present) {
        let scope = Scope::of_comment(lines[comment]).expect("the line of the scope is its comment");
        let field = cells[0].trim_matches('`');
        let value = match field.rsplit('.').next().unwrap_or_default() {
            "performanceHints" => json!(["AssumeNeededOnEveryNode"]),
            "doNotTrack" | "preDNAT" | "applyOnForward" => json!(true),
            "serviceAccountSelector" => json!("all()"),
            "annotations" => json!({ "owner": "somebody" }),
            "serviceAccounts" | "services" | "http" | "metadata" => json!({}),
            _ => continue,
        };
        for (kind, path) in scope.paths(field) {
            let found = findings(&document(kind, &path, value.clone()));
            if let Some(code) = cells[1].strip_prefix("refused").and_then(|rest| rest.split("DG").nth(1)?.get(..4)) {
                assert!(
                    found.contains(&format!("DG{code}")),
                    "{} {path} is not refused with DG{code}: {found}",
                    kind.name
                );
                refused += 1;
            } else {
                assert!(!found.contains("\"error\""), "{} {path} has no effect, and is refused: {found}", kind.name);
                accepted += 1;
            }
        }
    }
    assert!(refused > 40 && accepted > 10, "{refused} {accepted}");
}
