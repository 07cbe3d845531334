//! One page with a matrix, a list and a filter, that needs nothing else.
//!
//! Input: a [`View`]. Output: HTML with its style, its script and its data. What it has is data in JSON, from which the
//! script makes elements by their text, so that no name can be markup.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use super::matrix::cells;
use super::svg::{MOST_IN_WORDS, escaped};
use super::view::{ViaText, View, between, word};
use crate::cli::output::printable;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// What the script gets. Names are short because there can be ten thousand cells.
#[derive(Serialize)]
struct Data {
    parties: BTreeMap<usize, Party>,
    from: Vec<usize>,
    to: Vec<usize>,
    /// Whether cells have words.
    words: bool,
    /// Whether what is denied is shown at first.
    all: bool,
    cells: Vec<Entry>,
    /// Reasons, to which lines refer by their index.
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Party {
    name: String,
    /// The same where parties stand together.
    section: String,
    detail: String,
}

#[derive(Serialize)]
struct Entry {
    from: usize,
    to: usize,
    state: &'static str,
    sign: &'static str,
    texts: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    decision: &'static str,
    /// Between whom of two networks; empty for other parties.
    pairs: &'static str,
    protocols: String,
    ports: String,
    via: String,
    ip: String,
    reason: usize,
}

/// Writes it.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> anyhow::Result<()> {
    let data = serde_json::to_string(&data(view)).context("cannot write the data of the page")?;
    // Within a script nothing but `</` and `<!--` is markup, and JSON can have `<` in texts only.
    let data = data.replace('<', "\\u003c");
    let notes: Vec<String> = view.notes().map(|note| format!("<li>{}</li>", escaped(&note))).collect();
    let notes = if notes.is_empty() {
        String::new()
    } else {
        format!("<section id=\"notes\"><h2>Out of reach</h2><ul>{}</ul></section>", notes.join(""))
    };
    let summary = escaped(&view.summary());
    let parts = [("STYLE", STYLE), ("SUMMARY", &summary), ("NOTES", &notes), ("DATA", &data), ("SCRIPT", SCRIPT)];
    let mut rest = PAGE;
    for (name, part) in parts {
        // Each place is looked for behind the one before, never in what was put in.
        let (before, after) =
            rest.split_once(&format!("{{{{{name}}}}}")).context("the page has no place for a part")?;
        write!(output, "{before}{part}")?;
        rest = after;
    }
    write!(output, "{rest}")?;
    Ok(())
}

fn data(view: &View<'_>) -> Data {
    let text = |text: &str| printable(text).into_owned();
    let mut reasons: Vec<String> = Vec::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut entries = Vec::new();
    for ((from, to), cell) in cells(view) {
        let lines = cell.lines.iter().map(|line| {
            let reason = *numbers.entry(text(&view.reason(line))).or_insert_with_key(|reason| {
                reasons.push(reason.clone());
                reasons.len() - 1
            });
            Line {
                decision: word(line.decision),
                pairs: if view.by_network { between(line.pairs) } else { "" },
                protocols: line.protocols(),
                ports: line.port_text(),
                via: ViaText(line.via).to_string(),
                ip: line.ip_versions(),
                reason,
            }
        });
        let lines = lines.collect();
        entries.push(Entry {
            from,
            to,
            state: cell.state.class(),
            sign: cell.state.sign(),
            texts: cell.texts(),
            lines,
        });
    }
    let parties = view.parties().map(|(index, party)| {
        let (kind, namespace) = party.section();
        let section = format!("{kind} {}", text(namespace.unwrap_or_default()));
        (index, Party { name: text(party.name), section, detail: text(&party.detail()) })
    });
    Data {
        parties: parties.collect(),
        from: view.from.iter().copied().collect(),
        to: view.to.iter().copied().collect(),
        words: view.from.len().max(view.to.len()) <= MOST_IN_WORDS,
        all: view.all,
        cells: entries,
        reasons,
    }
}
