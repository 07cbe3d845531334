//! A rule that allows one flow, as a person writes it in a policy of a kind.
//!
//! Input: the policy, the other end and what is sent. Output: items of the policy's list of rules in YAML, the best first.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::calico::{self, Action, EntityRule};
use crate::api::int_or_string::{self, IntOrString, KubernetesPort};
use crate::api::kubernetes::{self, EgressRule, IngressRule, IpBlock, LabelSelector, PolicyPort, TransportProtocol};
use crate::net::{Cidr, Protocol};
use crate::policy::{Direction, Policy, PolicyKind};
use crate::verdict::reason::World;

use super::peer::{Peer, Telling, telling};

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) protocol: Protocol,
    pub(super) port: Option<u16>,
    pub(super) icmp: Option<(u8, u8)>,
}

/// The rules that say just this, or why the policy's kind cannot.
pub(super) fn forms(
    policy: &Policy,
    direction: Direction,
    peer: &Peer<'_>,
    sent: Sent,
    world: World<'_>,
) -> Result<Vec<String>, &'static str> {
    let names = match peer {
        Peer::Endpoint(endpoint) => telling(endpoint, policy.key.namespace.as_deref(), world),
        Peer::Address(_) => Vec::new(),
    };
    let address = match peer {
        Peer::Address(address) => Some(Cidr::host(*address).to_string()),
        Peer::Endpoint(_) => None,
    };
    if policy.key.kind == PolicyKind::KubernetesNetworkPolicy {
        let ports = ports(sent).ok_or("Kubernetes' NetworkPolicy knows only TCP, UDP and SCTP")?;
        let by_label = names.iter().map(pods);
        let by_address = address.into_iter().map(|cidr| kubernetes::Peer {
            ip_block: Some(IpBlock { cidr, except: None }),
            ..kubernetes::Peer::default()
        });
        return Ok(by_label.chain(by_address).filter_map(|peer| kubernetes_rule(direction, peer, &ports)).collect());
    }
    let by_label = names.iter().filter_map(entity);
    let by_address = address.into_iter().map(|net| EntityRule { nets: Some(vec![net]), ..EntityRule::default() });
    Ok(by_label.chain(by_address).filter_map(|peer| calico_rule(direction, peer, sent)).collect())
}

fn calico_rule(direction: Direction, peer: EntityRule, sent: Sent) -> Option<String> {
    let ports = sent.port.map(|port| vec![int_or_string::Port(i64::from(port).into())]);
    let of_ports = |ports| EntityRule { ports, ..EntityRule::default() };
    let (source, destination) = match direction {
        Direction::Ingress => (Some(peer), ports.is_some().then(|| of_ports(ports))),
        Direction::Egress => (None, Some(EntityRule { ports, ..peer })),
    };
    let rule = calico::Rule {
        action: Action::Allow,
        ip_version: None,
        protocol: Some(int_or_string::Protocol(IntOrString::String(sent.protocol.to_string()))),
        not_protocol: None,
        icmp: sent.icmp.map(|(icmp_type, _)| calico::Icmp { icmp_type: Some(icmp_type.into()), code: None }),
        not_icmp: None,
        source,
        destination,
        http: None,
        metadata: None,
    };
    item(&rule)
}

fn kubernetes_rule(direction: Direction, peer: kubernetes::Peer, ports: &[PolicyPort]) -> Option<String> {
    let (peers, ports) = (Some(vec![peer]), Some(ports.to_vec()));
    match direction {
        Direction::Ingress => item(&IngressRule { from: peers, ports }),
        Direction::Egress => item(&EgressRule { to: peers, ports }),
    }
}

fn ports(sent: Sent) -> Option<Vec<PolicyPort>> {
    let protocol = match sent.protocol {
        Protocol::TCP => TransportProtocol::Tcp,
        Protocol::UDP => TransportProtocol::Udp,
        Protocol::SCTP => TransportProtocol::Sctp,
        _ => return None,
    };
    let port = sent.port.map(|port| KubernetesPort(i64::from(port).into()));
    Some(vec![PolicyPort { protocol: Some(protocol), port, end_port: None }])
}

fn pods(Telling { key, value, namespace }: &Telling<'_>) -> kubernetes::Peer {
    let labels = |key: &str, value: &str| LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        match_expressions: None,
    };
    kubernetes::Peer {
        pod_selector: Some(labels(key, value)),
        namespace_selector: namespace.map(|namespace| labels("kubernetes.io/metadata.name", namespace)),
        ip_block: None,
    }
}

/// `None` for a value that the selector language cannot write.
fn entity(Telling { key, value, namespace }: &Telling<'_>) -> Option<EntityRule> {
    Some(EntityRule {
        selector: Some(equals(key, value)?),
        namespace_selector: namespace.and_then(|namespace| equals("projectcalico.org/name", namespace)),
        ..EntityRule::default()
    })
}

fn equals(key: &str, value: &str) -> Option<String> {
    let quote = ['\'', '"'].into_iter().find(|quote| !value.contains(*quote))?;
    Some(format!("{key} == {quote}{value}{quote}"))
}

/// A list of one rule as YAML.
fn item(rule: &impl Serialize) -> Option<String> {
    serde_yaml::to_string(&[rule]).ok().map(|text| text.trim_end().to_owned())
}
