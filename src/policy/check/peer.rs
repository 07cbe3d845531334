//! One end of a Calico rule: blocks, selectors and their scope, ports.
//!
//! Input: the wire form and the namespace of the policy. Output: a [`Peer`], into whose selectors the scope is folded, so
//! that nothing downstream can forget it.

use ipnet::IpNet;

use super::findings::{Checked, Findings, all};
use crate::api::calico::EntityRule;
use crate::api::int_or_string;
use crate::net::{Cidr, PortRange};
use crate::policy::field::FieldPath;
use crate::policy::{Peer, Port, codes};
use crate::selector::{NAMESPACE_LABEL, Selector};

/// Longest name of a port (RFC 6335).
const MAX_PORT_NAME: usize = 15;

/// Checks one end of a rule in a policy of this namespace. An end that is left out matches everything.
pub(super) fn check(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    wire: Option<&EntityRule>,
    namespace: Option<&str>,
) -> Checked<Peer> {
    let Some(wire) = wire else { return Ok(Peer::default()) };
    if wire.service_accounts.is_some() {
        let path = path.key("serviceAccounts");
        let help = "use `selector` with a label of the containers";
        findings.key_with_help(&codes::SERVICE_ACCOUNTS, &path, "service accounts are not supported", help);
    }
    if wire.services.is_some() {
        let help = "use `selector` with a label of the containers behind the service";
        findings.key_with_help(&codes::SERVICES, &path.key("services"), "services are not supported", help);
    }
    let selectors = selectors(findings, path, wire, namespace);
    let nets = nets(findings, &path.key("nets"), wire.nets.as_deref());
    let not_nets = self::nets(findings, &path.key("notNets"), wire.not_nets.as_deref());
    let excluded = not_nets.as_deref().unwrap_or_default().iter().enumerate();
    for (everything, _) in excluded.filter(|(_, net)| net.prefix() == 0) {
        let path = path.key("notNets").index(everything);
        let message = "a rule that excludes every address never matches";
        findings.value_with_help(&codes::EXCLUDES_EVERYTHING, &path, message, "leave the rule out");
    }
    let ports = ports(findings, &path.key("ports"), wire.ports.as_deref());
    let not_ports = self::ports(findings, &path.key("notPorts"), wire.not_ports.as_deref());
    let (selector, not_selector) = selectors?;
    Ok(Peer { nets: nets?, not_nets: not_nets?, selector, not_selector, ports: ports?, not_ports: not_ports? })
}

/// Warns of the end that is the peer where an empty selector is all that is said of its address: it excludes nobody.
pub(super) fn warn_if_empty(findings: &mut Findings<'_>, path: &FieldPath, wire: Option<&EntityRule>) {
    let Some(wire) = wire else { return };
    let fields = [
        ("selector", &wire.selector),
        ("notSelector", &wire.not_selector),
        ("namespaceSelector", &wire.namespace_selector),
    ];
    let is_said = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let lists = [&wire.nets, &wire.not_nets];
    if fields.iter().any(|(_, text)| is_said(text)) || lists.into_iter().flatten().any(|nets| !nets.is_empty()) {
        return;
    }
    // A key with nothing behind it is in no wire form.
    let written = fields.map(|(field, _)| path.key(field)).into_iter().zip(fields);
    let Some((path, (field, _))) = written.into_iter().find(|(path, _)| findings.document().get(path).is_some()) else {
        return;
    };
    let message = format!("`{field}` is empty, so the rule is about every address, the outside included");
    let help = match field {
        "notSelector" => "name what is excluded, or leave the field out if every address is meant",
        _ => "write `all()` for containers and network sets only, or leave the field out if every address is meant",
    };
    findings.key_with_help(&codes::EMPTY_PEER, &path, message, help);
}

/// The positive and the negative selector of an end, scoped. An empty text is as good as none.
fn selectors(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    wire: &EntityRule,
    namespace: Option<&str>,
) -> Checked<(Option<Selector>, Option<Selector>)> {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut parse = |field: &str, text: &Option<String>| {
        given(text).map(|text| findings.selector_without_global(&path.key(field), &text)).transpose()
    };
    let own = parse("selector", &wire.selector);
    let negative = parse("notSelector", &wire.not_selector);
    let namespaces = given(&wire.namespace_selector)
        .map(|text| namespace_selector(findings, &path.key("namespaceSelector"), &text))
        .transpose();
    Ok(scoped(own?, negative?, namespaces?, namespace))
}

/// A selector on namespaces, in which `global()` may stand alone.
fn namespace_selector(findings: &mut Findings<'_>, path: &FieldPath, text: &str) -> Checked<Selector> {
    let selector = findings.selector(path, text)?;
    if selector.mentions_global() && !selector.is_global() {
        let help = "write two rules: one with `namespaceSelector: global()`, one with the rest";
        return Err(findings.value_with_help(&codes::GLOBAL, path, "`global()` must stand alone", help));
    }
    Ok(selector.on_namespaces())
}

/// Folds the scope into the selectors, as Calico does (`updateprocessors/rules.go`): without a namespace selector, a policy
/// of a namespace sees only what is in it, as soon as it uses any selector.
fn scoped(
    own: Option<Selector>,
    negative: Option<Selector>,
    namespaces: Option<Selector>,
    namespace: Option<&str>,
) -> (Option<Selector>, Option<Selector>) {
    let of_namespace = || {
        let scope = namespace.map(|namespace| Selector::equals(NAMESPACE_LABEL, namespace));
        scope.filter(|_| own.is_some() || negative.is_some())
    };
    let positive = match (namespaces.or_else(of_namespace), own) {
        (Some(scope), Some(own)) => Some(scope.and(own)),
        (scope, own) => scope.or(own),
    };
    match (positive, negative) {
        (Some(positive), Some(negative)) => (Some(positive.and(negative.negate())), None),
        (positive, negative) => (positive, negative),
    }
}

fn nets(findings: &mut Findings<'_>, path: &FieldPath, texts: Option<&[String]>) -> Checked<Vec<Cidr>> {
    let texts = texts.unwrap_or_default().iter().enumerate();
    all(texts.map(|(index, text)| block(findings, &path.index(index), text)))
}

/// A block as rules take it: with a prefix length and without host bits.
fn block(findings: &mut Findings<'_>, path: &FieldPath, text: &str) -> Checked<Cidr> {
    let Ok(net) = text.parse::<IpNet>() else {
        let message = format!("`{text}` is not a CIDR block");
        let help = match text.parse::<Cidr>() {
            Ok(host) => format!("an address alone is not a block: write `{host}`"),
            Err(_) => "use an address and a prefix length, e.g. `10.0.0.0/8` or `2001:db8::/32`".to_owned(),
        };
        return Err(findings.value_with_help(&codes::CIDR, path, message, help));
    };
    if net.addr() != net.network() {
        let message = format!("`{text}` has bits set beyond its prefix");
        let help = format!("write `{}` for the block or `{}` for the address", net.trunc(), IpNet::from(net.addr()));
        return Err(findings.value_with_help(&codes::HOST_BITS, path, message, help));
    }
    let cidr = Cidr::new(net.addr(), net.prefix_len());
    cidr.ok_or_else(|| findings.value(&codes::CIDR, path, format!("`{text}` is not a CIDR block")))
}

fn ports(findings: &mut Findings<'_>, path: &FieldPath, ports: Option<&[int_or_string::Port]>) -> Checked<Vec<Port>> {
    let ports = ports.unwrap_or_default().iter().enumerate();
    all(ports.map(|(index, written)| port(findings, &path.index(index), &written.to_string())))
}

/// A port as Calico reads it: digits are a number, digits around a colon are a range, and anything else is a name.
fn port(findings: &mut Findings<'_>, path: &FieldPath, text: &str) -> Checked<Port> {
    if let Ok(range) = text.parse::<PortRange>() {
        return Ok(Port::Range(range));
    }
    if is_port_name(text) {
        return Ok(Port::Named(text.to_owned()));
    }
    let help = match text.split_once('-').map(|(first, last)| (first.trim(), last.trim())) {
        Some((first, last)) if first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok() => {
            format!("a range is written with a colon: `{first}:{last}`")
        }
        _ => "use 1 to 65535, a range `first:last`, or a name of at most 15 characters of a-z, 0-9 and `-`".to_owned(),
    };
    Err(findings.value_with_help(&codes::PORT, path, format!("`{text}` is not a port"), help))
}

/// Whether a text is a port name: IANA's form of service names (RFC 6335), in lower case.
pub(super) fn is_port_name(text: &str) -> bool {
    text.len() <= MAX_PORT_NAME
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !(text.starts_with('-') || text.ends_with('-') || text.contains("--"))
}
