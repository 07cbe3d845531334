//! Published ports in Compose's two forms.
//!
//! Input: `[[HOST-ADDRESS:]HOST-PORT:]CONTAINER-PORT[/PROTOCOL]` with ranges, or a mapping. Output: one published port for
//! each port of the container. A host port that the engine chooses is not known: an absent one, 0, and one of a range.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::node::Node;
use crate::inventory::PublishedPort;
use crate::net::Protocol;
use crate::policy::codes::{self, Code};

/// Why a port cannot be published, and where it says so.
pub(super) struct Problem {
    pub(super) code: &'static Code,
    pub(super) message: String,
}

impl Problem {
    fn port(message: impl Into<String>) -> Problem {
        Problem { code: &codes::PORT, message: message.into() }
    }

    fn address(text: &str) -> Problem {
        let message = format!("`{text}` is not an IP address of the host");
        Problem { code: &codes::ADDRESS, message }
    }
}

/// Reads the short form.
pub(super) fn short(text: &str) -> Result<Vec<PublishedPort>, Problem> {
    let (ports, protocol_text) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(protocol_text)?;
    let (before, target) = ports.rsplit_once(':').map_or((None, ports), |(before, target)| (Some(before), target));
    let (host, published) = match before.map(|before| before.rsplit_once(':').ok_or(before)) {
        None => (None, ""),
        Some(Err(published)) => (None, published),
        Some(Ok((host, published))) => (Some(host).filter(|host| !host.is_empty()), published),
    };
    let host_address = host.map(address).transpose().map_err(|problem| Problem {
        message: format!("{}: a port is `[[HOST-ADDRESS:]HOST-PORT:]PORT[/PROTOCOL]`", problem.message),
        ..problem
    })?;
    let target = range(target).filter(|range| *range.start() != 0).ok_or_else(|| {
        Problem::port(format!("`{target}` in `{text}` is not a port of the container: use 1 to 65535, or `first-last`"))
    })?;
    let published = match published {
        "" => None,
        stated => Some(range(stated).ok_or_else(|| {
            Problem::port(format!("`{stated}` in `{text}` is not a port of the host: use 0 to 65535, or `first-last`"))
        })?),
    };
    let is_single = target.start() == target.end();
    if let Some(published) = &published
        && !is_single
        && published.len() != target.len()
    {
        return Err(Problem::port(format!("the two ranges of `{text}` have different lengths")));
    }
    let ports = target.clone().map(|container_port| {
        // One port of the container and several of the host: the engine takes one that is free.
        let stated = published.as_ref().filter(|range| !is_single || range.start() == range.end());
        let host_port = stated.and_then(|range| range.start().checked_add(container_port - target.start()));
        let host_port = host_port.filter(|port| *port != 0);
        PublishedPort { host_address, host_port, container_port, protocol }
    });
    Ok(ports.collect())
}

/// Reads the long form. The place of a problem is the key's value, where it has one.
pub(super) fn long(node: &Node) -> Result<PublishedPort, (Problem, Node)> {
    let text = |key: &str| node.get(key).and_then(|value| Some((value.text()?, value.clone())));
    let Some((target, target_node)) = text("target") else {
        return Err((Problem::port("a published port needs a `target`, the port of the container"), node.clone()));
    };
    let container_port = target.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        (Problem::port(format!("`{target}` is not a port of the container: use 1 to 65535")), target_node)
    })?;
    let host_port = match text("published").filter(|(text, _)| !text.is_empty()) {
        None => None,
        Some((stated, published)) => {
            let range = range(&stated)
                .ok_or_else(|| (Problem::port(format!("`{stated}` is not a port of the host")), published))?;
            Some(*range.start()).filter(|port| *port != 0 && range.len() == 1)
        }
    };
    let host_address = match text("host_ip") {
        Some((stated, place)) => Some(address(&stated).map_err(|problem| (problem, place))?),
        None => None,
    };
    let protocol = match text("protocol") {
        Some((stated, place)) => protocol(&stated).map_err(|problem| (problem, place))?,
        None => Protocol::TCP,
    };
    Ok(PublishedPort { host_address, host_port, container_port, protocol })
}

fn protocol(text: &str) -> Result<Protocol, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::TCP),
        "udp" => Ok(Protocol::UDP),
        "sctp" => Ok(Protocol::SCTP),
        _ => Err(Problem::port(format!("`{text}` is not a protocol of ports: use tcp, udp or sctp"))),
    }
}

/// An address, an IPv6 one with or without brackets.
fn address(text: &str) -> Result<IpAddr, Problem> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| Problem::address(text))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
