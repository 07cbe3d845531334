//! Comma-separated values as in RFC 4180: a header, lines that end in CR and LF, quotes where they are needed.

use std::borrow::Cow;
use std::io::{self, Write};

use super::view::{View, between, word};
use crate::cli::output::printable;
use crate::reach::{Service, Via};

/// The columns.
const HEADER: &str = "from,to,decision,protocol,ports,via,host_port,ip_versions,rules,pairs";

/// Writes it.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> io::Result<()> {
    write!(output, "{HEADER}\r\n")?;
    for row in view.rows() {
        let (via, host_port) = match &row.via {
            Via::Direct => ("direct", None),
            Via::Published { host_port } => ("published", Some(host_port)),
            Via::Proxy { host_port } => ("proxy", Some(host_port)),
        };
        let rules: Vec<String> = view.rules(&row.rules).map(|rule| rule.to_string()).collect();
        let families: Vec<String> = row.families.iter().map(|family| family.digit().to_string()).collect();
        let fields = [
            view.party(row.from).name.to_owned(),
            view.party(row.to).name.to_owned(),
            word(row.decision).to_owned(),
            row.service.to_string(),
            if row.service == Service::Ping { String::new() } else { row.ports.to_string() },
            via.to_owned(),
            host_port.map(u16::to_string).unwrap_or_default(),
            families.join(","),
            rules.join("; "),
            between(row.pairs).to_owned(),
        ];
        let fields: Vec<Cow<'_, str>> = fields.iter().map(|field| quoted(field)).collect();
        write!(output, "{}\r\n", fields.join(","))?;
    }
    Ok(())
}

/// A field. Names come from users and containers, so that control characters are written as escapes, and what a spreadsheet
/// would take for a formula is a text to it.
pub(in crate::cli) fn quoted(field: &str) -> Cow<'_, str> {
    let mut field = printable(field);
    if field.starts_with(['=', '+', '-', '@']) {
        field.to_mut().insert(0, '\'');
    }
    if field.contains(['"', ',', ';']) { Cow::Owned(format!("\"{}\"", field.replace('"', "\"\""))) } else { field }
}
