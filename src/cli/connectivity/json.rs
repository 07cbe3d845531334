//! The documented JSON form: `docs/connectivity.md` has its fields.

use std::io::Write;

use serde::Serialize;

use super::view::{OutOfReach, Shown, View, between, word};
use crate::cli::explain::Decider;
use crate::cli::output::json;
use crate::net::{Family, PortSet};
use crate::reach::{Service, Via};

#[derive(Serialize)]
struct Answer<'a> {
    parties: Vec<&'a Shown<'a>>,
    connections: Vec<Connection<'a>>,
    out_of_reach: &'a [OutOfReach],
}

#[derive(Serialize)]
struct Connection<'a> {
    from: &'a str,
    to: &'a str,
    decision: &'static str,
    pairs: &'static str,
    protocol: Service,
    /// `null` for a ping.
    ports: Option<&'a PortSet>,
    #[serde(flatten)]
    via: &'a Via,
    ip_versions: Vec<Family>,
    rules: Vec<Decider<'a>>,
}

/// Writes it.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> anyhow::Result<()> {
    let connections = view.rows().map(|row| Connection {
        from: view.party(row.from).name,
        to: view.party(row.to).name,
        decision: word(row.decision),
        pairs: between(row.pairs),
        protocol: row.service,
        ports: (row.service != Service::Ping).then_some(&row.ports),
        via: &row.via,
        ip_versions: row.families.iter().copied().collect(),
        rules: view.rules(&row.rules).collect(),
    });
    let answer = Answer {
        parties: view.parties().map(|(_, party)| party).collect(),
        connections: connections.collect(),
        out_of_reach: &view.out_of_reach,
    };
    json(output, &answer)
}
