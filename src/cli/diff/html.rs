//! The report as a page that needs nothing else: no script, no font, no picture.

use std::fmt::Write as _;

use crate::cli::output::printable;

use super::report::{Report, Row, Ruling, list};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8885; --more: #b42318; --less: #067647; }
@media (prefers-color-scheme: dark) { :root { --more: #ff8a80; --less: #6ee7a8; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0; border-bottom: 1px solid var(--line); }
td, li { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; font-weight: 600; }
.widened td:first-child { color: var(--more); }
.narrowed td:first-child { color: var(--less); }
.rules { font-size: .9em; }
.rules p { margin: 0; }
code { font: .9em ui-monospace, monospace; }
";

pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>dockgate diff</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>Network policy: {}</h1>\n",
        escaped(&report.summary())
    );
    if !report.is_empty() {
        page.push_str("<table>\n<thead><tr><th>effect</th><th>from</th><th>to</th><th>traffic</th><th>rules</th></tr></thead>\n<tbody>\n");
        for row in &report.changes {
            page.push_str(&line(row));
        }
        page.push_str("</tbody>\n</table>\n");
    }
    let remarks = report.remarks();
    if !remarks.is_empty() {
        page.push_str("<h2>What changed in the files</h2>\n<ul>\n");
        for remark in remarks {
            let _ = writeln!(page, "<li>{}</li>", escaped(&remark));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn line(row: &Row) -> String {
    let sign = if row.is_widened() { "+" } else { "−" };
    format!(
        "<tr class=\"{0}\"><td>{sign} {0}<br><small>{1}</small></td><td>{2}</td><td>{3}</td><td>{4}</td><td class=\"rules\">{5}{6}</td></tr>\n",
        row.effect,
        row.connection,
        escaped(&list(&row.from)),
        escaped(&list(&row.to)),
        escaped(&row.traffic()),
        ruling("was", &row.old),
        ruling("now", &row.new),
    )
}

fn ruling(when: &str, ruling: &Ruling) -> String {
    let told = ruling.told().into_iter().map(|(what, place)| match place {
        Some(place) => format!("{}, <code>{}</code>", escaped(&what), escaped(&place)),
        None => escaped(&what),
    });
    let word = if ruling.decision == "allow" { "allowed" } else { "denied" };
    format!("<p>{when} {word}: {}</p>", told.collect::<Vec<_>>().join("; "))
}

fn escaped(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(escaped("<a href=\"x\">&\u{1b}"), "&lt;a href=&quot;x&quot;&gt;&amp;\\u{1b}");
    }
}
