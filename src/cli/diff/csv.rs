//! The report as comma-separated values (RFC 4180): a line for each change, sender, destination and protocol.

use std::io::{self, Write};

use crate::cli::connectivity::csv::quoted;

use super::report::{Report, Ruling};

const HEADER: &str =
    "effect,connection,from,to,protocol,ports,via,host_port,network,ip_versions,old,old_rules,new,new_rules";

pub(super) fn write(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    write!(output, "{HEADER}\r\n")?;
    for row in &report.changes {
        let families: Vec<String> = row.ip_versions.iter().map(|family| family.digit().to_string()).collect();
        for from in &row.from {
            for to in &row.to {
                for traffic in &row.traffic {
                    let ports = if traffic.ports.is_empty() { String::new() } else { traffic.ports.to_string() };
                    let cells = [
                        row.effect.to_owned(),
                        row.connection.to_owned(),
                        from.to_string(),
                        to.to_string(),
                        traffic.protocol.to_string(),
                        ports,
                        row.via.to_owned(),
                        row.host_port.map(|port| port.to_string()).unwrap_or_default(),
                        row.network.clone().unwrap_or_default(),
                        families.join(" "),
                        row.old.decision.to_owned(),
                        rules(&row.old),
                        row.new.decision.to_owned(),
                        rules(&row.new),
                    ];
                    let cells: Vec<_> = cells.iter().map(|cell| quoted(cell)).collect();
                    write!(output, "{}\r\n", cells.join(","))?;
                }
            }
        }
    }
    Ok(())
}

fn rules(ruling: &Ruling) -> String {
    let told = ruling.told().into_iter().map(|(what, place)| match place {
        Some(place) => format!("{what} ({place})"),
        None => what,
    });
    told.collect::<Vec<_>>().join("; ")
}
