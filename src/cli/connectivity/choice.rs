//! Which part of the table was asked for.
//!
//! Input: options as they were written. Output: the groups that are shown as rows and as columns. A name that nobody has is
//! an error: an empty answer would look like a closed network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::cli::failure::Failure;
use crate::inventory::{Container, Inventory};
use crate::net::Protocol;
use crate::reach::table::{Group, GroupKind, Table};
use crate::reach::{Party, Reach};
use crate::selector::Selector;

/// Names that an error lists.
const LISTED: usize = 12;

/// What was asked for.
pub(super) struct Choice<'a> {
    pub(super) from: &'a [String],
    pub(super) to: &'a [String],
    pub(super) network: Option<&'a str>,
    pub(super) port: Option<(u16, Protocol)>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen<'a> {
    /// Groups that connect.
    pub(super) from: BTreeSet<usize>,
    /// Groups to which they do.
    pub(super) to: BTreeSet<usize>,
    /// The only network, if there is one.
    pub(super) network: Option<&'a str>,
    /// The only port, if there is one.
    pub(super) port: Option<(u16, Protocol)>,
}

impl<'a> Choice<'a> {
    /// The groups that are meant.
    pub(super) fn choose(
        &self,
        table: &Table,
        reach: &Reach<'_>,
        inventory: &Inventory,
    ) -> Result<Chosen<'a>, Failure> {
        let on_network = self.on_network(table, inventory)?;
        let side = |texts: &[String]| -> Result<BTreeSet<usize>, Failure> {
            let mut groups = BTreeSet::new();
            for text in texts {
                groups.extend(named(text, table, reach, inventory)?);
            }
            Ok(if texts.is_empty() { on_network.clone() } else { &groups & &on_network })
        };
        Ok(Chosen { from: side(self.from)?, to: side(self.to)?, network: self.network, port: self.port })
    }

    fn on_network(&self, table: &Table, inventory: &Inventory) -> Result<BTreeSet<usize>, Failure> {
        let all = table.groups.iter().enumerate();
        let Some(network) = self.network else { return Ok(all.map(|(index, _)| index).collect()) };
        let mut known: Vec<&str> = inventory.networks.values().map(|network| network.name.as_str()).collect();
        known.sort_unstable();
        if !known.contains(&network) {
            return Err(Failure {
                message: format!("there is no network {network}"),
                help: format!("the networks are {}", listed(&known)),
            });
        }
        let is_on_it = |group: &Group| {
            matches!(group.kind, GroupKind::Host | GroupKind::Outside)
                || group.networks.iter().any(|name| name == network)
        };
        Ok(all.filter(|(_, group)| is_on_it(group)).map(|(index, _)| index).collect())
    }
}

/// The groups that a name, an address or a selector means.
fn named(text: &str, table: &Table, reach: &Reach<'_>, inventory: &Inventory) -> Result<BTreeSet<usize>, Failure> {
    let chosen = |is_meant: &dyn Fn(&Group) -> bool| -> BTreeSet<usize> {
        let all = table.groups.iter().enumerate();
        all.filter(|(_, group)| is_meant(group)).map(|(index, _)| index).collect()
    };
    let has = |group: &Group, is_meant: &dyn Fn(&Container) -> bool| {
        group.members.iter().any(|member| match member {
            Party::Container(index) => is_meant(reach.containers()[*index]),
            Party::Host | Party::Outside(_) => false,
        })
    };
    if text.trim().is_empty() {
        return Err(Failure {
            message: "an empty name is nobody's".to_owned(),
            help: "without the option everybody is shown".to_owned(),
        });
    }
    if text == "outside" {
        return Ok(chosen(&|group| group.kind == GroupKind::Outside));
    }
    let by_name = chosen(&|group| group.name == text || has(group, &|container| container.name == text));
    if !by_name.is_empty() {
        return Ok(by_name);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let holds = |container: &Container| {
            container.attachments.iter().any(|at| at.ipv4 == Some(address) || at.ipv6 == Some(address))
        };
        let by_address =
            chosen(&|group| group.nets.iter().any(|net| net.contains(address)) || has(group, &|one| holds(one)));
        return if by_address.is_empty() { Err(nobody(text, table, "is at")) } else { Ok(by_address) };
    }
    let selector = Selector::parse(text).map_err(|_| nobody(text, table, "is called"))?;
    let endpoints = inventory.endpoints();
    let selected: BTreeSet<_> = endpoints
        .iter()
        .filter(|endpoint| selector.matches(&endpoint.labels))
        .map(|endpoint| &endpoint.container.id)
        .collect();
    let by_label = chosen(&|group| has(group, &|container| selected.contains(&container.id)));
    if by_label.is_empty() {
        return Err(Failure {
            message: format!("no container that policy can reach matches `{text}`"),
            help: "`dockgate get endpoints --selector EXPR` lists endpoints with their labels".to_owned(),
        });
    }
    Ok(by_label)
}

fn nobody(text: &str, table: &Table, is: &str) -> Failure {
    let names: Vec<&str> = table.groups.iter().map(|group| group.name.as_str()).collect();
    Failure {
        message: format!("nobody whom policy can reach {is} `{text}`"),
        help: format!("name one of {}, or write a selector such as \"app == 'web'\"", listed(&names)),
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
