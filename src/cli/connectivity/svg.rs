//! The matrix as a picture, laid out here.
//!
//! Input: a [`View`]. Output: SVG. Of few parties each cell has its ports in words; of many it has a colour and a sign, and
//! the words for those who point at it. Texts are in a typeface of fixed width, so that their lengths are known without a
//! font and nothing is written over anything else.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::matrix::{Cell, State, cells};
use super::view::View;
use crate::cli::output::printable;

/// More parties than this on a side have no room for words.
pub(super) const MOST_IN_WORDS: usize = 12;
/// Lines of text in a cell, and characters in a line, before something is left to its tooltip.
const CELL_LINES: usize = 5;
const CELL_CHARACTERS: usize = 30;
/// Characters of a name before it is cut.
const NAME_CHARACTERS: usize = 32;
const NOTE_CHARACTERS: usize = 110;
/// Side of a cell without words.
const SMALL: usize = 18;
/// Height of a line of text, and a tenth of a pixel's share of its characters' width: 12 pixels, 0.61 of them.
const LINE: usize = 16;
const TENTHS: usize = 74;
const MARGIN: usize = 16;
/// Between parties of different namespaces or kinds.
const GAP: usize = 4;

const STYLE: &str = "\
text{font:12px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1a1a1a}
.title{font-weight:bold;font-size:15px}.soft{fill:#555}.name{font-weight:bold}
.ground{fill:#fff}.none{fill:#f3f3f3}.any rect{fill:#9fd8a4}.some rect{fill:#fdeeb0}.denied rect{fill:#f3c5c0}
.grid{stroke:#fff;stroke-width:1}g:hover>rect{stroke:#1a1a1a;stroke-width:1.5}";

/// A column or a row.
struct Track {
    party: usize,
    start: usize,
    size: usize,
}

/// Writes it.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> io::Result<()> {
    output.write_all(picture(view).as_bytes())
}

fn picture(view: &View<'_>) -> String {
    let cells = cells(view);
    let in_words = view.from.len().max(view.to.len()) <= MOST_IN_WORDS;
    let text_of = |from: usize, to: usize| cells.get(&(from, to)).map(words).unwrap_or_default();
    let longest =
        |names: &mut dyn Iterator<Item = usize>| names.map(|party| width(&name(view, party))).max().unwrap_or(0);
    let left = MARGIN + longest(&mut view.from.iter().copied()).max(width("from \\ to")) + 10;
    let head = if in_words { LINE + 8 } else { longest(&mut view.to.iter().copied()) + 10 };
    let top = MARGIN + 2 * LINE + head;

    let column = |to: usize| {
        let texts = view.from.iter().flat_map(|from| text_of(*from, to));
        let widest = texts.map(|text| width(&text)).max().unwrap_or(0).max(width(&name(view, to)));
        if in_words { widest + 16 } else { SMALL }
    };
    let row = |from: usize| {
        let lines = view.to.iter().map(|to| text_of(from, *to).len()).max().unwrap_or(0).max(1);
        if in_words { lines * LINE + 12 } else { SMALL }
    };
    let together = |one: usize, other: usize| view.party(one).section() == view.party(other).section();
    let columns = tracks(view.to.iter().copied(), left, column, together);
    let rows = tracks(view.from.iter().copied(), top, row, together);
    let (right, bottom) = (end(&columns, left), end(&rows, top));

    let mut body = String::new();
    headings(&mut body, view, &columns, &rows, in_words, (left, top));
    for row in &rows {
        for column in &columns {
            let cell = cells.get(&(row.party, column.party));
            write_cell(&mut body, view, cell, row, column, in_words);
        }
    }
    let mut below = Below { text: String::new(), y: bottom + MARGIN + LINE, right };
    below.legend(in_words);
    for note in view.notes() {
        below.note(&note);
    }
    let (width, height) = (below.right.max(MARGIN + width(TITLE) + width(&view.summary())) + MARGIN, below.y + MARGIN);
    let (summary, below) = (escaped(&view.summary()), below.text);
    let title_y = MARGIN + LINE - 2;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{TITLE}: {summary}\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text x=\"{MARGIN}\" y=\"{title_y}\" class=\"title\">{TITLE}<tspan class=\"soft\" dx=\"12\" font-size=\"12\" \
         font-weight=\"normal\">{summary}</tspan></text>\n{body}{below}</svg>\n"
    )
}

const TITLE: &str = "Who may reach whom";

/// The names of all rows and columns.
fn headings(
    body: &mut String,
    view: &View<'_>,
    columns: &[Track],
    rows: &[Track],
    in_words: bool,
    (left, top): (usize, usize),
) {
    let (x, y) = (left - 10, top - 8);
    let _ = writeln!(body, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" class=\"soft\">from \\ to</text>");
    for column in columns {
        let (x, place) = if in_words {
            (column.start + 8, String::new())
        } else {
            let x = column.start + SMALL / 2 + 4;
            (x, format!(" transform=\"rotate(-90 {x} {y})\""))
        };
        let _ = writeln!(body, "<text x=\"{x}\" y=\"{y}\" class=\"name\"{place}>{}</text>", label(view, column.party));
    }
    for row in rows {
        let (x, y) = (left - 10, row.start + if in_words { LINE + 2 } else { SMALL / 2 + 4 });
        let label = label(view, row.party);
        let _ = writeln!(body, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" class=\"name\">{label}</text>");
    }
}

/// A name with a tooltip that says who it is.
fn label(view: &View<'_>, party: usize) -> String {
    let shown = view.party(party);
    let detail = format!("{}: {}", shown.name, shown.detail());
    format!("<title>{}</title>{}", escaped(&detail), escaped(&name(view, party)))
}

fn write_cell(
    body: &mut String,
    view: &View<'_>,
    cell: Option<&Cell<'_>>,
    row: &Track,
    column: &Track,
    in_words: bool,
) {
    let (x, y, width, height) = (column.start, row.start, column.size - 1, row.size - 1);
    let rect = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
    let Some(cell) = cell else {
        let _ = writeln!(body, "<rect class=\"none\" {rect}/>");
        return;
    };
    let (from, to) = (view.party(row.party).name, view.party(column.party).name);
    let explanation = format!("{from} → {to}\n{}", cell.explanation(view).join("\n"));
    let title = explanation.lines().map(escaped).collect::<Vec<_>>().join("\n");
    let _ = write!(body, "<g class=\"{}\"><title>{title}</title><rect {rect}/>", cell.state.class());
    if in_words {
        for (index, text) in words(cell).iter().enumerate() {
            let (x, y) = (x + 8, y + LINE + 2 + index * LINE);
            let _ = write!(body, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
        }
    } else {
        let (x, y, sign) = (x + SMALL / 2, y + SMALL / 2 + 4, cell.state.sign());
        let _ = write!(body, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{sign}</text>");
    }
    let _ = writeln!(body, "</g>");
}

/// What stands in a cell with room for words.
fn words(cell: &Cell<'_>) -> Vec<String> {
    if cell.state == State::Denied {
        return vec![cell.state.sign().to_owned()];
    }
    let mut texts: Vec<String> = cell.texts().iter().map(|text| cut(text, CELL_CHARACTERS)).collect();
    if texts.len() > CELL_LINES {
        let more = texts.len() + 1 - CELL_LINES;
        texts.truncate(CELL_LINES - 1);
        texts.push(format!("and {more} more"));
    }
    texts
}

/// What stands below the matrix.
struct Below {
    text: String,
    y: usize,
    right: usize,
}

impl Below {
    fn legend(&mut self, in_words: bool) {
        let states = [State::Any, State::Some, State::Denied].map(|state| {
            let to_be_pointed_at = state == State::Some && !in_words;
            let meaning = if to_be_pointed_at { "something is allowed: point at the cell" } else { state.meaning() };
            (state.class(), state.sign(), meaning)
        });
        let mut x = MARGIN;
        for (class, sign, meaning) in states.into_iter().chain([("", "", "no way: no common network, or itself")]) {
            let (top, middle) = (self.y - 13, x + 9);
            let ground = if class.is_empty() { " class=\"none\"" } else { "" };
            let _ = write!(
                self.text,
                "<g class=\"{class}\"><rect{ground} x=\"{x}\" y=\"{top}\" width=\"18\" height=\"18\"/>"
            );
            if !sign.is_empty() {
                let _ = write!(self.text, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{sign}</text>", self.y);
            }
            let _ = writeln!(self.text, "</g><text x=\"{}\" y=\"{}\">{meaning}</text>", x + 24, self.y);
            x += 24 + width(meaning) + 20;
            self.right = self.right.max(x);
        }
        self.y += LINE / 2;
    }

    fn note(&mut self, note: &str) {
        self.y += LINE;
        let shown = cut(&format!("note: {note}"), NOTE_CHARACTERS);
        self.right = self.right.max(MARGIN + width(&shown));
        let (note, shown) = (escaped(note), escaped(&shown));
        let _ = writeln!(self.text, "<text x=\"{MARGIN}\" y=\"{}\"><title>{note}</title>{shown}</text>", self.y);
    }
}

fn tracks(
    parties: impl Iterator<Item = usize>,
    start: usize,
    size: impl Fn(usize) -> usize,
    belong_together: impl Fn(usize, usize) -> bool,
) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    for party in parties {
        let gap = tracks.last().map_or(0, |last| if belong_together(last.party, party) { 0 } else { GAP });
        tracks.push(Track { party, start: end(&tracks, start) + gap, size: size(party) });
    }
    tracks
}

fn end(tracks: &[Track], start: usize) -> usize {
    tracks.last().map_or(start, |last| last.start + last.size)
}

fn name(view: &View<'_>, party: usize) -> String {
    cut(&printable(view.party(party).name), NAME_CHARACTERS)
}

/// A text of no more than so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}…")
}

/// The width of a text in pixels, no less than it has. Letters beyond Latin, Greek and Cyrillic may be twice as wide.
fn width(text: &str) -> usize {
    let wide = text.chars().filter(|c| *c > '\u{52f}' && !('\u{2010}'..'\u{2600}').contains(c)).count();
    ((text.chars().count() + wide) * TENTHS).div_ceil(10)
}

/// A text for XML, in attributes too.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in XML, however it is written.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(c),
        }
    }
    escaped
}
