//! Kubernetes' NetworkPolicy, enforced and staged, as a policy of Calico's model.
//!
//! Input: the wire form. Output: a [`Policy`] in the tier `default` with Allow rules; what they do not allow is denied at
//! the end of the tier. The defaults are the Kubernetes API's own: Calico's converter leaves them to an API server, and
//! there is none here.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::findings::{Checked, Findings, all};
use super::metadata::{self, NameForm};
use super::peer::is_port_name;
use super::policy::{deletion, governing};
use super::{Resource, spec};
use crate::api::calico::{StagedAction, StagedKubernetesNetworkPolicySpec};
use crate::api::int_or_string::IntOrString;
use crate::api::kubernetes::{self, LabelOperator, LabelSelector, NetworkPolicySpec, PolicyType, TransportProtocol};
use crate::net::{Cidr, PortRange, Protocol};
use crate::policy::field::FieldPath;
use crate::policy::{
    DEFAULT_TIER, Direction, Order, Peer, Policy, PolicyKey, PolicyKind, Port, Rule, RuleAction, codes,
};
use crate::selector::{NAMESPACE_LABEL, ORCHESTRATOR, ORCHESTRATOR_LABEL, Selector};

/// Order of Kubernetes policies within the tier `default`, as Calico places them.
const ORDER: f64 = 1000.0;

pub(super) fn check(
    findings: &mut Findings<'_>,
    kind: PolicyKind,
    metadata: &ObjectMeta,
    wire: &NetworkPolicySpec,
) -> Checked<Resource> {
    let identity = metadata::check(findings, metadata, NameForm::Subdomain, true);
    let scope = Scope { namespace: metadata.namespace.as_deref() };
    let pods = containers(findings, &spec().key("podSelector"), wire.pod_selector.as_ref());
    let ingress = wire.ingress.iter().flatten().map(|rule| (rule.from.as_deref(), rule.ports.as_deref()));
    let egress = wire.egress.iter().flatten().map(|rule| (rule.to.as_deref(), rule.ports.as_deref()));
    let ingress = scope.rules(findings, Direction::Ingress, ingress.collect());
    let egress = scope.rules(findings, Direction::Egress, egress.collect());
    let governed = governed(wire);
    let (identity, ingress, egress) = (identity?, ingress?, egress?);
    let policy = Policy {
        key: PolicyKey { kind, namespace: identity.namespace, name: identity.name },
        tier: DEFAULT_TIER.to_owned(),
        order: Order(Some(ORDER)),
        selector: pods?.and(scope.own_namespace()),
        ingress: governing(findings, governed.contains(&PolicyType::Ingress), Direction::Ingress, ingress),
        egress: governing(findings, governed.contains(&PolicyType::Egress), Direction::Egress, egress),
        location: findings.locate(&FieldPath::root()),
    };
    let location = policy.location.clone();
    Ok(Resource::Policy(policy, location))
}

pub(super) fn check_staged(
    findings: &mut Findings<'_>,
    metadata: &ObjectMeta,
    wire: StagedKubernetesNetworkPolicySpec,
) -> Checked<Resource> {
    if wire.staged_action == Some(StagedAction::Delete) {
        let identity = metadata::check(findings, metadata, NameForm::Subdomain, true);
        deletion(findings)?;
        return identity.map(|_| Resource::Nothing);
    }
    let StagedKubernetesNetworkPolicySpec { staged_action: _, pod_selector, ingress, egress, policy_types } = wire;
    let wire = NetworkPolicySpec { pod_selector, ingress, egress, policy_types };
    check(findings, PolicyKind::StagedKubernetesNetworkPolicy, metadata, &wire)
}

/// The directions that are governed: those stated, else Ingress, and Egress if there are egress rules (the Kubernetes
/// API's default; Calico's converter presumes that an API server has applied it).
fn governed(wire: &NetworkPolicySpec) -> Vec<PolicyType> {
    match wire.policy_types.as_deref() {
        Some(types) if !types.is_empty() => types.to_vec(),
        _ if wire.egress.as_ref().is_some_and(|rules| !rules.is_empty()) => {
            vec![PolicyType::Ingress, PolicyType::Egress]
        }
        _ => vec![PolicyType::Ingress],
    }
}

/// Peers and ports of a rule, of either direction.
type Parts<'a> = (Option<&'a [kubernetes::Peer]>, Option<&'a [kubernetes::PolicyPort]>);

/// Ports by protocol number; an empty list is every port.
type PortsByProtocol = BTreeMap<u8, (Protocol, Vec<Port>)>;

/// What the policy's namespace lets its rules see.
struct Scope<'a> {
    namespace: Option<&'a str>,
}

impl Scope<'_> {
    fn own_namespace(&self) -> Selector {
        self.namespace.map_or_else(Selector::all, |namespace| Selector::equals(NAMESPACE_LABEL, namespace))
    }

    fn rules(&self, findings: &mut Findings<'_>, direction: Direction, rules: Vec<Parts<'_>>) -> Checked<Vec<Rule>> {
        let path = spec().key(&direction.to_string());
        let rules = all(rules.into_iter().enumerate().map(|(index, parts)| {
            let path = path.index(index);
            self.rule(findings, &path, direction, index, parts)
        }));
        Ok(rules?.into_iter().flatten().collect())
    }

    /// The checked rules of one rule: one for each pair of a protocol and a peer.
    fn rule(
        &self,
        findings: &mut Findings<'_>,
        path: &FieldPath,
        direction: Direction,
        index: usize,
        (peers, ports): Parts<'_>,
    ) -> Checked<Vec<Rule>> {
        let field = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        let peers = peers.unwrap_or_default().iter().enumerate();
        let peers = all(peers.map(|(index, peer)| self.peer(findings, &path.key(field).index(index), peer)));
        let ports = self::ports(findings, &path.key("ports"), ports.unwrap_or_default());
        let (peers, ports) = (peers?, ports?);
        let mut peers: Vec<(Option<usize>, Peer)> =
            peers.into_iter().enumerate().map(|(index, peer)| (Some(index), peer)).collect();
        if peers.is_empty() {
            // No peers are every peer, in the cluster or not.
            peers.push((None, Peer::default()));
            let path = path.key(field);
            if findings.document().get(&path).is_some() {
                let message = format!("`{field}` is empty, so the rule is about every address, the outside included");
                let help = format!(
                    "write `podSelector: {{}}` as its item for containers only, or leave `{field}` out if every address is meant"
                );
                findings.key_with_help(&codes::EMPTY_PEER, &path, message, help);
            }
        }
        let protocols: Vec<(Option<Protocol>, Vec<Port>)> = if ports.is_empty() {
            vec![(None, Vec::new())]
        } else {
            ports.into_values().map(|(protocol, ports)| (Some(protocol), ports)).collect()
        };
        let location = findings.locate(path);
        let pairs =
            protocols.iter().flat_map(|(protocol, ports)| peers.iter().map(move |peer| (*protocol, ports, peer)));
        let rules = pairs.map(|(protocol, ports, (place, peer))| {
            let (source, destination) = match direction {
                Direction::Ingress => (peer.clone(), Peer { ports: ports.clone(), ..Peer::default() }),
                Direction::Egress => (Peer::default(), Peer { ports: ports.clone(), ..peer.clone() }),
            };
            Rule {
                action: RuleAction::Allow,
                family: None,
                protocol,
                not_protocol: None,
                icmp: None,
                not_icmp: None,
                source,
                destination,
                index,
                peer: *place,
                location: location.clone(),
            }
        });
        Ok(rules.collect())
    }

    fn peer(&self, findings: &mut Findings<'_>, path: &FieldPath, wire: &kubernetes::Peer) -> Checked<Peer> {
        match (&wire.ip_block, &wire.pod_selector, &wire.namespace_selector) {
            (None, None, None) => {
                let help = "use `podSelector: {}` for every container, or leave the list out for every address";
                let message = "a peer needs `podSelector`, `namespaceSelector` or `ipBlock`";
                Err(findings.value_with_help(&codes::PEER, path, message, help))
            }
            (Some(block), None, None) => ip_block(findings, &path.key("ipBlock"), block),
            (Some(block), pods, namespaces) => {
                let help = "write two peers";
                let message = "`ipBlock` cannot stand beside a selector";
                let reported = findings.key_with_help(&codes::PEER, &path.key("ipBlock"), message, help);
                // What is wrong within them stays wrong in two peers.
                let _ = ip_block(findings, &path.key("ipBlock"), block);
                for (field, labels) in [("podSelector", pods), ("namespaceSelector", namespaces)] {
                    let _ = labels.as_ref().map(|labels| label_selector(findings, &path.key(field), labels));
                }
                Err(reported)
            }
            (None, pods, namespaces) => {
                let pods = containers(findings, &path.key("podSelector"), pods.as_ref());
                let scope = match namespaces {
                    None => Ok(self.own_namespace()),
                    Some(namespaces) => label_selector(findings, &path.key("namespaceSelector"), namespaces)
                        .map(Selector::on_namespaces),
                };
                Ok(Peer { selector: Some(scope?.and(pods?)), ..Peer::default() })
            }
        }
    }
}

/// Containers by label. The first clause keeps network sets out, whose labels could match as well.
fn containers(findings: &mut Findings<'_>, path: &FieldPath, wire: Option<&LabelSelector>) -> Checked<Selector> {
    let container = Selector::equals(ORCHESTRATOR_LABEL, ORCHESTRATOR);
    match wire {
        None => Ok(container),
        Some(wire) => label_selector(findings, path, wire).map(|labels| container.and(labels)),
    }
}

fn label_selector(findings: &mut Findings<'_>, path: &FieldPath, wire: &LabelSelector) -> Checked<Selector> {
    let labels = path.key("matchLabels");
    let equal = all(wire.match_labels.iter().flatten().map(|(key, value)| {
        let path = labels.literal_key(key);
        let key = label_key(key).map_err(|(message, help)| findings.key_with_help(&codes::LABEL, &path, message, help));
        label_value(findings, &path, value)?;
        Ok(Selector::equals(key?, value))
    }));
    let expressions = path.key("matchExpressions");
    let required = all(wire.match_expressions.iter().flatten().enumerate().map(|(index, requirement)| {
        let path = expressions.index(index);
        let key = label_key(&requirement.key)
            .map_err(|(message, help)| findings.value_with_help(&codes::LABEL, &path.key("key"), message, help));
        let values = requirement.values.as_deref().unwrap_or_default();
        let valid = all(values
            .iter()
            .enumerate()
            .map(|(index, value)| label_value(findings, &path.key("values").index(index), value)));
        let takes_values = matches!(requirement.operator, LabelOperator::In | LabelOperator::NotIn);
        if takes_values == values.is_empty() {
            let needs = if takes_values { "needs values" } else { "takes no values" };
            let message = format!("`{:?}` {needs}", requirement.operator);
            let place = if requirement.values.is_some() { path.key("values") } else { path };
            return Err(findings.value(&codes::LABEL_SELECTOR, &place, message));
        }
        let (key, _) = (key?, valid?);
        Ok(match requirement.operator {
            LabelOperator::In => Selector::is_in(key, values.to_vec()),
            LabelOperator::NotIn => Selector::not_in(key, values.to_vec()),
            LabelOperator::Exists => Selector::has(key),
            LabelOperator::DoesNotExist => Selector::has(key).negate(),
        })
    }));
    Ok(equal?.into_iter().chain(required?).fold(Selector::all(), Selector::and))
}

/// A label key that the selector language can write, or what is wrong with it and what to do. Docker's labels know no
/// more limits than that.
fn label_key(key: &str) -> Result<&str, (String, &'static str)> {
    let valid = (1..=512).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-'));
    if valid {
        return Ok(key);
    }
    Err((format!("`{key}` is not a label key"), "use at most 512 letters, digits, `_`, `.`, `/` and `-`"))
}

fn label_value(findings: &mut Findings<'_>, path: &FieldPath, value: &str) -> Checked<()> {
    if value.contains('"') && value.contains('\'') {
        return Err(findings.value(&codes::LABEL, path, "a label value cannot hold both kinds of quotes"));
    }
    Ok(())
}

fn ip_block(findings: &mut Findings<'_>, path: &FieldPath, wire: &kubernetes::IpBlock) -> Checked<Peer> {
    let block = block(findings, &path.key("cidr"), &wire.cidr);
    let except = path.key("except");
    let holes = all(wire.except.iter().flatten().enumerate().map(|(index, text)| {
        let path = except.index(index);
        let hole = self::block(findings, &path, text)?;
        let inside = |block: Cidr| {
            block.contains(hole.network()) && block.contains(hole.last()) && block.prefix() < hole.prefix()
        };
        if block.is_ok_and(|block| !inside(block)) {
            let message = format!("`{text}` is not strictly within `{}`", wire.cidr);
            return Err(findings.value(&codes::EXCEPT, &path, message));
        }
        Ok(hole)
    }));
    Ok(Peer { nets: vec![block?], not_nets: holes?, ..Peer::default() })
}

/// A block as Kubernetes takes it: host bits are cleared.
fn block(findings: &mut Findings<'_>, path: &FieldPath, text: &str) -> Checked<Cidr> {
    findings.lenient_block(path, text).filter(|_| text.contains('/')).ok_or_else(|| {
        let help = "use an address and a prefix length, e.g. `10.0.0.0/8` or `2001:db8::/32`";
        findings.value_with_help(&codes::CIDR, path, format!("`{text}` is not a CIDR block"), help)
    })
}

/// The ports by protocol. An entry without a port is its whole protocol and takes in the other entries of it.
fn ports(findings: &mut Findings<'_>, path: &FieldPath, wire: &[kubernetes::PolicyPort]) -> Checked<PortsByProtocol> {
    let entries = all(wire.iter().enumerate().map(|(index, wire)| {
        let protocol = match wire.protocol.unwrap_or(TransportProtocol::Tcp) {
            TransportProtocol::Tcp => Protocol::TCP,
            TransportProtocol::Udp => Protocol::UDP,
            TransportProtocol::Sctp => Protocol::SCTP,
        };
        Ok((protocol, port(findings, &path.index(index), wire)?))
    }))?;
    let mut named: BTreeMap<u8, (Protocol, Option<Vec<Port>>)> = BTreeMap::new();
    for (protocol, port) in entries {
        let (_, ports) = named.entry(protocol.number()).or_insert_with(|| (protocol, Some(Vec::new())));
        *ports = ports.take().zip(port).map(|(mut ports, port)| {
            ports.push(port);
            ports
        });
    }
    Ok(named
        .into_iter()
        .map(|(number, (protocol, ports))| (number, (protocol, simplified(ports.unwrap_or_default()))))
        .collect())
}

/// A port, a range or a name; `None` for every port.
fn port(findings: &mut Findings<'_>, path: &FieldPath, wire: &kubernetes::PolicyPort) -> Checked<Option<Port>> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let first = match wire.port.as_ref().map(|port| &port.0) {
        None => None,
        Some(IntOrString::String(name)) if is_port_name(name) => {
            if wire.end_port.is_some() {
                let message = "`endPort` needs a port number";
                return Err(findings.value(&codes::END_PORT, &path.key("endPort"), message));
            }
            return Ok(Some(Port::Named(name.clone())));
        }
        Some(written) => {
            let written = written.to_string();
            let Some(first) = number(&written) else {
                let help = "use 1 to 65535, or a name of at most 15 characters of a-z, 0-9 and `-`";
                let message = format!("`{written}` is not a port");
                return Err(findings.value_with_help(&codes::PORT, &path.key("port"), message, help));
            };
            Some(first)
        }
    };
    match (first, wire.end_port) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(findings.value(&codes::END_PORT, &path.key("endPort"), "`endPort` needs a port number")),
        (Some(first), last) => {
            let last = last.map_or(Some(first), |last| u16::try_from(last).ok());
            let range = last.and_then(|last| PortRange::new(first, last));
            range
                .map(|range| Some(Port::Range(range)))
                .ok_or_else(|| findings.value(&codes::END_PORT, &path.key("endPort"), "`endPort` is below `port`"))
        }
    }
}

/// The same ports with touching ranges joined: names first, then ranges, both ascending.
fn simplified(ports: Vec<Port>) -> Vec<Port> {
    let mut names = Vec::new();
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in ports {
        match port {
            Port::Named(_) => names.push(port),
            Port::Range(range) => ranges.push(range),
        }
    }
    names.sort();
    names.dedup();
    ranges.sort();
    let mut joined: Vec<PortRange> = Vec::new();
    for range in ranges {
        let touching = joined.last_mut().filter(|last| u32::from(range.first()) <= u32::from(last.last()) + 1);
        match touching.and_then(|last| Some((PortRange::new(last.first(), last.last().max(range.last()))?, last))) {
            Some((both, last)) => *last = both,
            None => joined.push(range),
        }
    }
    names.into_iter().chain(joined.into_iter().map(Port::Range)).collect()
}
