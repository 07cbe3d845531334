//! Whose published ports were judged already when this controller began.
//!
//! Input: the kernel as the last controller left it, the containers, and the wanted ruleset. Output: the containers that have
//! had policy in force on all of their published ports since a time when nobody was on the way past it.
//!
//! A container may have started while no controller ran, and its list does not say when. The kernel says enough: what it lets
//! this host reach was judged by the last controller, at the ports that it had rules for. A port without a rule is new. Where
//! containers got each other's addresses and ports meanwhile, a client who was on the way in the last milliseconds was judged
//! by the policy of the one before.

use crate::dataplane::{ByHostPort, HostPort, State};
use crate::inventory::{Container, ContainerId, Inventory, PublishedPort};
use crate::net::{Cidr, Family};
use crate::ruleset::{Member, Ruleset, SetName};

/// The containers of which nothing is new. Where there is nothing of ours, whoever comes through a port has been let in so
/// far, and policy begins for all at once. That policies differ since then makes no port new: who was on the way was judged by
/// those before.
pub(super) fn judged_before(observed: &State, inventory: &Inventory, wanted: &Ruleset) -> Vec<ContainerId> {
    let asked = inventory.containers.values().filter(|container| container.listed && !container.ports_are_judged());
    let mut asked: Vec<&Container> = asked.collect();
    if !observed.is_blank() && !asked.is_empty() {
        retain_judged(&mut asked, observed, inventory, wanted);
    }
    asked.into_iter().map(|container| container.id.clone()).collect()
}

fn retain_judged(asked: &mut Vec<&Container>, observed: &State, inventory: &Inventory, wanted: &Ruleset) {
    if !observed.is_entered(wanted) {
        return asked.clear();
    }
    let (before, asked_about) = (observed.host_ports.joined(), observed.wanted_host_ports(wanted).joined());
    let is_covered = |published: &PublishedPort| {
        let Some(port) = published.host_port else { return true };
        let (protocol, bound_to) = (published.protocol, published.bound_to());
        let kinds = ByHostPort::ALL.into_iter().flat_map(|by| Family::ALL.map(|family| (by, family)));
        let mut places = kinds.map(|(by, family)| HostPort { by, family, protocol, bound_to, port });
        places.all(|place| !asked_about.contains(&place) || before.cover(&place))
    };
    asked.retain(|container| {
        is_open(observed, inventory, wanted, container) && container.published.iter().all(is_covered)
    });
}

/// Whether this host may reach it, wherever that is asked.
fn is_open(observed: &State, inventory: &Inventory, wanted: &Ruleset, container: &Container) -> bool {
    container.attachments.iter().all(|attachment| {
        let bridge = inventory.networks.get(&attachment.network).and_then(|network| network.bridge.as_ref());
        let Some(bridge) = bridge.filter(|bridge| wanted.bridges.contains(bridge)) else { return true };
        let addresses = [attachment.ipv4, attachment.ipv6].into_iter().flatten();
        addresses.into_iter().all(|address| {
            let member = Member::NetInterface { net: Cidr::host(address), interface: bridge.clone() };
            let set = observed.sets.get(&SetName::listed(Family::of(address)));
            set.is_some_and(|set| set.members.contains(&member))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::super::core::{Core, Event};
    use super::*;
    use crate::compile;
    use crate::inventory::{Attachment, Change, Network, NetworkId, labels};
    use crate::net::Protocol;
    use crate::policy::{SourceFile, Store};

    const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec: {selector: all(), types: [Ingress]}
";

    /// Containers of one network, each with its published ports.
    fn host(containers: &[(&str, &[u16])]) -> Inventory {
        let network = Network {
            id: NetworkId("n".into()),
            name: "n".to_owned(),
            driver: "bridge".to_owned(),
            bridge: "br-n".parse().ok(),
            subnets: vec!["10.0.0.0/24".parse().expect("a subnet")],
            gateways: vec![],
            internal: false,
        };
        let container = |(number, (name, ports)): (usize, &(&str, &[u16]))| Container {
            id: ContainerId((*name).into()),
            name: (*name).to_owned(),
            image: "i".to_owned(),
            labels: labels([]),
            attachments: vec![Attachment {
                network: network.id.clone(),
                endpoint_id: "e".into(),
                ipv4: format!("10.0.0.{}", number + 2).parse().ok(),
                ipv6: None,
                mac: None,
            }],
            unenforceable: None,
            published: ports.iter().map(|port| published(*port)).collect(),
            listed: true,
            judged: BTreeSet::new(),
            stated_namespace: None,
        };
        let containers =
            containers.iter().enumerate().map(container).map(|container| (container.id.clone(), container));
        Inventory {
            containers: containers.collect(),
            networks: BTreeMap::from([(network.id.clone(), network.clone())]),
            ..Inventory::default()
        }
    }

    fn published(port: u16) -> PublishedPort {
        PublishedPort { host_address: None, host_port: Some(port), container_port: 80, protocol: Protocol::TCP }
    }

    fn core(policies: &str, inventory: Inventory) -> Core {
        let mut core = Core::new(compile::Options::default(), Store::default());
        core.take(Event::Policies(Ok(vec![SourceFile::new("p.yaml", policies)])));
        core.take(Event::Inventory(Change::Snapshot(inventory)));
        core
    }

    /// The kernel in which a controller has had policy in force on these ports for long, or for a moment.
    fn left(inventory: Inventory, is_settled: bool) -> State {
        left_under(POLICY, inventory, is_settled)
    }

    fn left_under(policies: &str, inventory: Inventory, is_settled: bool) -> State {
        let mut core = core(policies, inventory);
        core.recognise(|inventory, _| if is_settled { inventory.containers.keys().cloned().collect() } else { vec![] });
        State::default().after(&core.compiled().expect("all is known").ruleset)
    }

    /// The containers that a controller recognises which begins with this kernel.
    fn recognised(observed: &State, inventory: Inventory) -> Vec<String> {
        recognised_under(POLICY, observed, inventory)
    }

    fn recognised_under(policies: &str, observed: &State, inventory: Inventory) -> Vec<String> {
        let mut core = core(policies, inventory);
        let mut recognised = Vec::new();
        core.recognise(|inventory, wanted| {
            let judged = judged_before(observed, inventory, wanted);
            recognised = judged.iter().map(|id| id.0.to_string()).collect();
            judged
        });
        // They are open again in what is wanted, and no others.
        let wanted = core.compiled().expect("all is known").ruleset.clone();
        let open = &wanted.sets[&SetName::listed(Family::V4)].members;
        let publishing = core.inventory().into_iter().flat_map(|inventory| inventory.containers.values());
        for container in publishing.filter(|container| !container.published.is_empty()) {
            let address = container.attachments[0].ipv4.expect("it has one");
            let member = Member::NetInterface { net: Cidr::host(address), interface: "br-n".parse().expect("a name") };
            assert_eq!(open.contains(&member), recognised.contains(&container.name), "{}", container.name);
        }
        recognised
    }

    #[test]
    fn what_was_judged_all_the_time_is_known_again() {
        let before = || host(&[("a", &[8080]), ("b", &[8090])]);
        assert_eq!(recognised(&State::default(), before()), ["a", "b"], "nothing has been in force yet");
        assert_eq!(recognised(&left(before(), true), before()), ["a", "b"]);
        assert_eq!(recognised(&left(before(), false), before()), [""; 0], "its time was not over");
        let other_port = host(&[("a", &[8080]), ("b", &[8091])]);
        assert_eq!(recognised(&left(before(), true), other_port), ["a"], "the other has started again");
        let other_place = host(&[("c", &[]), ("a", &[8080])]);
        assert_eq!(recognised(&left(host(&[("a", &[8080])]), true), other_place), [""; 0], "it has another address");
        let mut jumpless = left(before(), true);
        jumpless.jumps.clear();
        assert_eq!(recognised(&jumpless, before()), [""; 0], "nobody came to the rules");
        let mut flushed = left(before(), true);
        (flushed.chains, flushed.host_ports) = Default::default();
        assert_eq!(recognised(&flushed, before()), [""; 0], "there were no rules");
    }

    #[test]
    fn other_policies_and_other_networks_make_no_port_new() {
        let before = || host(&[("a", &[8080]), ("b", &[8090])]);
        let edited = POLICY.replace("types: [Ingress]", "ingress: [{action: Allow, protocol: UDP}]");
        assert_eq!(recognised_under(&edited, &left(before(), true), before()), ["a", "b"]);
        let mut with_another = before();
        let mut network = with_another.networks[&NetworkId("n".into())].clone();
        (network.id, network.name, network.bridge) = (NetworkId("m".into()), "m".to_owned(), "br-m".parse().ok());
        with_another.networks.insert(network.id.clone(), network);
        assert_eq!(recognised(&left(before(), true), with_another), ["a", "b"]);
    }

    #[test]
    fn a_port_is_new_that_was_another_before() {
        let bound = |to: Option<&str>| {
            let mut inventory = host(&[("a", &[8080])]);
            let id = ContainerId("a".into());
            let a = inventory.containers.get_mut(&id).expect("it is there");
            a.published[0].host_address = to.and_then(|address| address.parse().ok());
            inventory
        };
        let (local, all, outer) =
            (|| bound(Some("127.0.0.1")), || bound(Some("0.0.0.0")), || bound(Some("203.0.113.1")));
        assert_eq!(recognised(&left(local(), true), local()), ["a"]);
        for (name, before, after) in [("other", local(), outer()), ("more", local(), all())] {
            assert_eq!(recognised(&left(before, true), after), [""; 0], "{name} clients than before come to it");
        }
        assert_eq!(recognised(&left(all(), true), outer()), ["a"], "whoever came before was judged");
    }

    #[test]
    fn it_counts_whose_policy_was_asked() {
        let clients = "---\n".to_owned() + &POLICY.replace("name: p", "name: q").replace("Ingress", "Egress");
        let both = POLICY.to_owned() + &clients;
        let host = || host(&[("a", &[8080])]);
        assert_eq!(recognised_under(&both, &left_under(&both, host(), true), host()), ["a"]);
        let by_clients = left_under(&clients, host(), true);
        assert_eq!(recognised_under(&both, &by_clients, host()), [""; 0], "its own was not");
        assert_eq!(recognised_under(&both, &left(host(), true), host()), [""; 0], "the clients' was not");
        let more_ports = left_under(&both, super::tests::host(&[("a", &[])]), true);
        assert_eq!(recognised_under(&clients, &more_ports, host()), [""; 0], "the clients' was, at no port");
    }

    #[test]
    fn who_publishes_nothing_is_not_asked_about() {
        assert_eq!(recognised(&left(host(&[("a", &[8080])]), true), host(&[("b", &[])])), [""; 0]);
    }
}
