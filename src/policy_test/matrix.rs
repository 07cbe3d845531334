//! The table of a PolicyTest: who reaches whom on one port, as a person draws it.
//!
//! Input: the text of the table. Output: a case for each cell that is not left open, at its line. What cannot be read is a
//! finding at its line; a table is never read in part.

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
    let traffic = traffic(&matrix.port);
    if traffic.is_none() {
        let message = format!("`{}` is not `PORT/PROTOCOL` and not `ping`", matrix.port);
        reader.report(&codes::PORT, &path.key("port"), message);
    }
    let table = path.key("table");
    let mut lines = lines(reader, &table, &matrix.table).into_iter();
    let Some((place, header)) = lines.next() else {
        reader.report(&codes::TEST_MATRIX, &table, "the table is empty");
        return Vec::new();
    };
    let is_corner = |word: &&&str| **word == CORNER || NOT_ASKED.contains(*word);
    let columns = header.iter().skip(usize::from(header.first().as_ref().is_some_and(is_corner)));
    let columns: Vec<_> = columns.map(|name| end(reader, &table, &place, name)).collect();
    let mut cases = Vec::new();
    for (place, words) in lines {
        let Some((name, cells)) = words.split_first() else { continue };
        let row = end(reader, &table, &place, name);
        if cells.len() != columns.len() {
            let message = format!("the row `{name}` has {} cells under {} columns", cells.len(), columns.len());
            report(reader, &table, &place, message);
            continue;
        }
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
            let (Some(from), Some(to), Some(traffic)) = (&row, column, traffic) else { continue };
            cases.push(Case {
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
            });
        }
    }
    cases
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
