//! A Calico rule.
//!
//! Input: the wire form. Output: a [`Rule`] that can be rendered whatever it says. Calico's validator lets two things pass
//! that its renderer cannot express, `notICMP` without a protocol and ICMP by number with both families; here they are
//! refused and told apart.

use super::findings::{Checked, Findings};
use super::{metadata, peer};
use crate::api::calico;
use crate::api::int_or_string;
use crate::net::{Family, Protocol};
use crate::policy::diagnostic::did_you_mean;
use crate::policy::field::FieldPath;
use crate::policy::{Icmp, Peer, Port, Rule, RuleAction, codes};

pub(super) fn check(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    wire: &calico::Rule,
    index: usize,
    namespace: Option<&str>,
) -> Checked<Rule> {
    if wire.http.is_some() {
        let help = "leave it out, and restrict the rule by port";
        findings.key_with_help(&codes::HTTP, &path.key("http"), "HTTP matches are not supported", help);
    }
    if let Some(metadata) = &wire.metadata {
        metadata::annotations(findings, &path.key("metadata.annotations"), metadata.annotations.as_ref());
    }
    let protocol = protocol(findings, &path.key("protocol"), wire.protocol.as_ref());
    let not_protocol = self::protocol(findings, &path.key("notProtocol"), wire.not_protocol.as_ref());
    let icmp = icmp(findings, &path.key("icmp"), wire.icmp, protocol);
    let not_icmp = self::icmp(findings, &path.key("notICMP"), wire.not_icmp, protocol);
    let family = family(findings, path, wire.ip_version, protocol, not_protocol);
    let source = peer::check(findings, &path.key("source"), wire.source.as_ref(), namespace);
    let destination = peer::check(findings, &path.key("destination"), wire.destination.as_ref(), namespace);
    for (side, peer) in [("source", &source), ("destination", &destination)] {
        if let (Ok(protocol), Ok(peer)) = (protocol, peer) {
            ports(findings, &path.key(side), peer, protocol);
        }
    }
    if let (Ok(family), Ok(source), Ok(destination)) = (family, &source, &destination) {
        families(findings, path, family, source, destination);
    }
    Ok(Rule {
        action: match wire.action {
            calico::Action::Allow => RuleAction::Allow,
            calico::Action::Deny => RuleAction::Deny,
            calico::Action::Log => RuleAction::Log,
            calico::Action::Pass => RuleAction::Pass,
        },
        family: family?,
        protocol: protocol?,
        not_protocol: not_protocol?,
        icmp: icmp?,
        not_icmp: not_icmp?,
        source: source?,
        destination: destination?,
        index,
        peer: None,
        location: findings.locate(path),
    })
}

fn protocol(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    written: Option<&int_or_string::Protocol>,
) -> Checked<Option<Protocol>> {
    let Some(written) = written.map(ToString::to_string) else { return Ok(None) };
    written.parse().map(Some).map_err(|_| {
        const NAMES: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];
        let help = did_you_mean(&written, NAMES)
            .unwrap_or_else(|| format!("use {} or a number from 1 to 255", NAMES.join(", ")));
        findings.value_with_help(&codes::PROTOCOL, path, format!("`{written}` is not a protocol"), help)
    })
}

/// Checks an ICMP match; an empty one is none. Without an ICMP protocol the kernel would refuse the rule, or apply it to
/// packets that have no ICMP type.
fn icmp(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    wire: Option<calico::Icmp>,
    protocol: Checked<Option<Protocol>>,
) -> Checked<Option<Icmp>> {
    let Some(wire) = wire else { return Ok(None) };
    let is_icmp = |protocol: Option<Protocol>| protocol.is_some_and(|protocol| protocol.family().is_some());
    if protocol.is_ok_and(|protocol| !is_icmp(protocol)) {
        let help = "add `protocol: ICMP` or `protocol: ICMPv6`";
        let message = "an ICMP match needs an ICMP protocol";
        return Err(findings.key_with_help(&codes::ICMP_NEEDS_PROTOCOL, path, message, help));
    }
    // The schema bounds both numbers; a type of 255 is none.
    let number = |value: Option<i32>| value.map(u8::try_from).transpose();
    match (number(wire.icmp_type), number(wire.code)) {
        (Ok(None), Ok(None)) => Ok(None),
        (Ok(Some(icmp_type @ 0..=254)), Ok(code)) => Ok(Some(Icmp { icmp_type, code })),
        (Ok(None), Ok(Some(_))) => {
            Err(findings.value_with_help(&codes::ICMP, path, "an ICMP code needs a type", "add `type`"))
        }
        _ => Err(findings.value(&codes::ICMP, path, "an ICMP type is 0 to 254 and a code 0 to 255")),
    }
}

/// The only family of the rule: stated, or that of its ICMP protocol.
fn family(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    stated: Option<calico::IpVersion>,
    protocol: Checked<Option<Protocol>>,
    not_protocol: Checked<Option<Protocol>>,
) -> Checked<Option<Family>> {
    let stated = stated.map(|version| match version {
        calico::IpVersion::V4 => Family::V4,
        calico::IpVersion::V6 => Family::V6,
    });
    let path = path.key("ipVersion");
    for protocol in [protocol, not_protocol].into_iter().flatten().flatten() {
        if let (Some(stated), Some(of_protocol)) = (stated, protocol.family())
            && stated != of_protocol
        {
            let message = format!("{protocol} does not exist in {stated}");
            let help =
                format!("{protocol} is {of_protocol} only: use the other ICMP protocol, or leave `ipVersion` out");
            return Err(findings.value_with_help(&codes::IP_VERSION, &path, message, help));
        }
    }
    Ok(stated.or(protocol?.and_then(Protocol::family)))
}

/// Checks that ports stand beside a protocol that has them.
fn ports(findings: &mut Findings<'_>, path: &FieldPath, peer: &Peer, protocol: Option<Protocol>) {
    for (field, ports) in [("ports", &peer.ports), ("notPorts", &peer.not_ports)] {
        let path = path.key(field);
        match protocol {
            Some(protocol) if protocol.has_ports() => {}
            Some(protocol) if !ports.is_empty() => {
                let help = "only TCP, UDP and SCTP have ports";
                let message = format!("{protocol} has no ports");
                findings.key_with_help(&codes::PROTOCOL_WITHOUT_PORTS, &path, message, help);
            }
            _ => {
                if let Some(number) = ports.iter().position(|port| matches!(port, Port::Range(_)))
                    && protocol.is_none()
                {
                    let help = "add `protocol: TCP`, `UDP` or `SCTP` to the rule";
                    let message = "a port number needs a protocol";
                    findings.value_with_help(&codes::PORT_NEEDS_PROTOCOL, &path.index(number), message, help);
                }
            }
        }
    }
}

/// Checks that all blocks are of one family, the rule's if it has one.
fn families(findings: &mut Findings<'_>, path: &FieldPath, family: Option<Family>, source: &Peer, destination: &Peer) {
    let mut family = family;
    for (side, peer) in [("source", source), ("destination", destination)] {
        for (field, nets) in [("nets", &peer.nets), ("notNets", &peer.not_nets)] {
            for (index, net) in nets.iter().enumerate() {
                let expected = *family.get_or_insert(net.family());
                if net.family() != expected {
                    let path = path.key(side).key(field).index(index);
                    let message = format!("`{net}` is {}, but the rule is {expected}", net.family());
                    let help = "write one rule for each IP version";
                    findings.value_with_help(&codes::MIXED_FAMILIES, &path, message, help);
                }
            }
        }
    }
}
