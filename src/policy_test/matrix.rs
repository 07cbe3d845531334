//! The table of a PolicyTest: who reaches whom on some ports, as a person draws it.
//!
//! Input: the text of the table. Output: a case for each port and each cell that is not left open, at its line. What cannot be
//! read is a finding at its line; a table is never read in part.

use std::collections::BTreeSet;

use crate::api::policy_test as wire;
use crate::net::Protocol;
use crate::policy::codes;
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location};
use crate::verdict::Decision;
use crate::verdict::path::Traffic;

use super::load::{Reader, families, title};
use super::{Case, Ends, to_port};

/// What stands in a cell that is not asked about.
const NOT_ASKED: [&str; 2] = ["-", "."];
/// What may stand before the names of the columns: a block of YAML is indented as its first line is, so that nothing can begin
/// to the left of it.
const CORNER: &str = "from/to";

pub(super) fn cases(reader: &mut Reader<'_>, path: &FieldPath, matrix: &wire::Matrix) -> Vec<Case> {
    let traffics = traffics(reader, path, matrix);
    let table = path.key("table");
    let mut lines = lines(reader, &table, &matrix.table).into_iter();
    let Some((place, header)) = lines.next() else {
        reader.report(&codes::TEST_MATRIX, &table, "the table is empty");
        return Vec::new();
    };
    if lines.as_slice().is_empty() {
        let message = "the table has no line below the names of the columns".to_owned();
        let finding = Diagnostic::new(&codes::TEST_MATRIX, place, &table, message);
        reader.push(finding.with_help("begin it with `table: |`, so that its lines stay lines"));
        return Vec::new();
    }
    let is_corner = |word: &&&str| **word == CORNER || NOT_ASKED.contains(*word);
    let names = header.iter().skip(usize::from(header.first().as_ref().is_some_and(is_corner)));
    let mut columns = Vec::new();
    let mut known = BTreeSet::new();
    for name in names {
        columns.push(end(reader, &table, &place, name));
        if !known.insert(*name) {
            report(reader, &table, &place, format!("there are two columns `{name}`"));
        }
    }
    let mut cases = Vec::new();
    let mut known = BTreeSet::new();
    let mut asks_anything = false;
    for (place, words) in lines {
        let Some((name, cells)) = words.split_first() else { continue };
        let row = end(reader, &table, &place, name);
        if !known.insert(*name) {
            report(reader, &table, &place, format!("there are two rows `{name}`"));
        }
        if cells.len() != columns.len() {
            let message = format!("the row `{name}` has {} cells under {} columns", cells.len(), columns.len());
            report(reader, &table, &place, message);
            continue;
        }
        asks_anything |= cells.iter().any(|cell| !NOT_ASKED.contains(cell));
        for (column, cell) in columns.iter().zip(cells) {
            let expect = match *cell {
                cell if NOT_ASKED.contains(&cell) => continue,
                "yes" => Decision::Allow,
                "no" => Decision::Deny,
                other => {
                    report(reader, &table, &place, format!("`{other}` is not one of `yes`, `no`, `-`, `.`"));
                    continue;
                }
            };
            let (Some(from), Some(to)) = (&row, column) else { continue };
            cases.extend(traffics.iter().map(|&traffic| Case {
                name: title(from, to, traffic),
                location: place.clone(),
                of_matrix: true,
                from: from.clone(),
                to: to.clone(),
                traffic,
                families: families(matrix.ip_version),
                via: matrix.via,
                expect,
                by: None,
            }));
        }
    }
    if !asks_anything && reader.is_faultless() {
        reader.report(&codes::TEST_MATRIX, &table, "the table asks about nothing: no cell is `yes` or `no`");
    }
    cases
}

/// What is asked about; none where it cannot be told.
fn traffics(reader: &mut Reader<'_>, path: &FieldPath, matrix: &wire::Matrix) -> Vec<Traffic> {
    let texts: Vec<(FieldPath, &String)> = match (&matrix.port, &matrix.ports) {
        (Some(port), None) => vec![(path.key("port"), port)],
        (None, Some(ports)) if !ports.is_empty() => {
            let path = path.key("ports");
            ports.iter().enumerate().map(|(index, port)| (path.index(index), port)).collect()
        }
        (None, _) => {
            reader.report(
                &codes::MISSING_FIELD,
                &path.key("port"),
                "the field `port` is required, or `ports` with a list",
            );
            return Vec::new();
        }
        (Some(_), Some(_)) => {
            reader.report(&codes::TEST_MATRIX, &path.key("ports"), "a matrix has `port` or `ports`, not both");
            return Vec::new();
        }
    };
    let mut traffics = Vec::new();
    for (path, text) in texts {
        match traffic(text) {
            Some(found) if traffics.contains(&found) => {
                reader.report(&codes::DUPLICATE_ITEM, &path, format!("`{text}` stands in the list twice"));
            }
            Some(found) => traffics.push(found),
            None => {
                let message = format!("`{text}` is not `PORT/PROTOCOL` and not `ping`");
                reader.report(&codes::PORT, &path, message);
            }
        }
    }
    traffics
}

/// The lines that are not blank, each with its place and its words.
fn lines<'t>(reader: &Reader<'_>, path: &FieldPath, text: &'t str) -> Vec<(Location, Vec<&'t str>)> {
    let whole = reader.document.locate(path);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let placed = lines.map(|(index, line)| {
        let place = reader.document.locate_line(path, index, line).unwrap_or_else(|| whole.clone());
        (place, line.split_whitespace().collect())
    });
    placed.collect()
}

fn end(reader: &mut Reader<'_>, path: &FieldPath, place: &Location, name: &str) -> Option<Ends> {
    match reader.named(name) {
        Ok(ends) => Some(ends),
        Err(message) => {
            report(reader, path, place, message);
            None
        }
    }
}

fn report(reader: &mut Reader<'_>, path: &FieldPath, place: &Location, message: String) {
    reader.push(Diagnostic::new(&codes::TEST_MATRIX, place.clone(), path, message));
}

fn traffic(text: &str) -> Option<Traffic> {
    if text.eq_ignore_ascii_case("ping") {
        return Some(Traffic::EchoRequest);
    }
    let (port, protocol) = text.split_once('/')?;
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        "sctp" => Protocol::SCTP,
        _ => return None,
    };
    Some(to_port(protocol, port.parse().ok().filter(|port| *port != 0)?))
}
