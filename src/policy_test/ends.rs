//! Who is meant by an end of connections, in one world.
//!
//! Input: [`Ends`] and an inventory. Output: each single end with its name, never none: what matches nothing is an error,
//! because an expectation about nobody would always be met.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::inventory::{ContainerId, Inventory, NETWORK_LABEL};
use crate::policy::diagnostic::did_you_mean;
use crate::reach::Block;
use crate::selector::Selector;
use crate::verdict::path::{End, Error};

use super::Ends;

/// Everybody who is meant, by name.
pub(super) fn everybody(inventory: &Inventory, outside: &[Block], ends: &Ends) -> Result<Vec<(String, End)>, String> {
    match ends {
        Ends::Outside if outside.is_empty() => Err("there is no address outside".to_owned()),
        Ends::Outside => Ok(outside.iter().map(|block| (block.first.to_string(), End::Address(block.first))).collect()),
        Ends::Named(text) => match End::find(inventory, text) {
            Ok(End::Address(address)) => match network_without(inventory, address) {
                Some(network) => {
                    Err(format!("asks about nothing: no container has {text}, which is of network {network}"))
                }
                None => Ok(vec![(text.clone(), End::Address(address))]),
            },
            Ok(end) => Ok(vec![(text.clone(), end)]),
            Err(error) => Err(with_suggestion(inventory, text, &error)),
        },
        Ends::Selected { selector, text } => {
            let found = selected(inventory, selector);
            if found.is_empty() {
                return Err(format!("`{text}` asks about nothing: no endpoint matches `{selector}`"));
            }
            Ok(found)
        }
    }
}

/// The network of containers in which an address lies that none of them has: nobody there is let in or out.
fn network_without(inventory: &Inventory, address: IpAddr) -> Option<&str> {
    let mut networks = inventory.networks.values().filter(|network| network.bridge.is_some());
    let network = networks.find(|network| network.subnets.iter().any(|subnet| subnet.contains(address)))?;
    Some(&network.name)
}

fn with_suggestion(inventory: &Inventory, text: &str, error: &Error) -> String {
    let names = inventory.containers.values().map(|container| container.name.as_str());
    match did_you_mean(text, names).filter(|_| matches!(error, Error::Unknown(_))) {
        Some(suggestion) => format!("{error}: {suggestion}"),
        None => error.to_string(),
    }
}

/// Whole containers, as far as the selector does not tell their networks apart.
fn selected(inventory: &Inventory, selector: &Selector) -> Vec<(String, End)> {
    let by_network = selector.keys().contains(NETWORK_LABEL);
    let mut seen: BTreeSet<(&ContainerId, Option<&str>)> = BTreeSet::new();
    let endpoints = inventory.endpoints();
    let mut found = Vec::new();
    for endpoint in endpoints.iter().filter(|endpoint| selector.matches(&endpoint.labels)) {
        let network = endpoint.network.filter(|_| by_network);
        if seen.insert((&endpoint.container.id, network.map(|network| &*network.id.0))) {
            let name = if by_network { endpoint.name() } else { endpoint.container.name.clone() };
            let container = endpoint.container.id.clone();
            found.push((name, End::Container { container, network: network.map(|network| network.id.clone()) }));
        }
    }
    found
}
