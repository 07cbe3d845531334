//! The address sets that rules refer to, each built once however many rules name it.
//!
//! Input: selectors, CIDR lists and port names of rules. Output: named sets of one family.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::inventory::{Endpoint, Inventory, NamedPort, Unenforceable};
use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::policy::PolicySet;
use crate::ruleset::{AddressSet, Member, SetKind, SetName};
use crate::selector::Selector;

use super::label_sets::LabelSet;
use super::meaning::Meaning;

/// An endpoint with what is asked of it again and again.
pub(super) struct Candidate<'a> {
    pub(super) endpoint: Endpoint<'a>,
    pub(super) named_ports: Vec<NamedPort>,
}

/// A network set with its labels as selectors see them.
struct LabelledNets<'a> {
    labels: BTreeMap<String, String>,
    nets: &'a [Cidr],
}

/// Builds sets on demand.
pub(super) struct SetBuilder<'a> {
    label_sets: &'a [LabelSet<'a>],
    network_sets: Vec<LabelledNets<'a>>,
    selected: BTreeMap<(Family, &'a Selector), (SetName, SetKind)>,
    /// Addresses of the endpoints that rules name, be it to let them pass or to keep them out.
    pub(super) named: BTreeSet<IpAddr>,
    pub(super) sets: BTreeMap<SetName, AddressSet>,
    pub(super) meanings: BTreeMap<SetName, Meaning>,
}

impl<'a> SetBuilder<'a> {
    pub(super) fn new(policies: &'a PolicySet, inventory: &Inventory, label_sets: &'a [LabelSet<'a>]) -> Self {
        let network_sets = policies
            .network_sets
            .iter()
            .map(|set| {
                let mut labels = set.labels.clone();
                if let Some(namespace) = &set.namespace {
                    labels.extend(inventory.namespace_labels(namespace));
                }
                LabelledNets { labels, nets: &set.nets }
            })
            .collect();
        SetBuilder {
            label_sets,
            network_sets,
            selected: BTreeMap::new(),
            named: BTreeSet::new(),
            sets: BTreeMap::new(),
            meanings: BTreeMap::new(),
        }
    }

    /// The set of all addresses that a rule's selector stands for: endpoints, and the blocks of network sets.
    ///
    /// It is of type `hash:net` only where a network set is in it, and the type is part of the name, because a set's
    /// type cannot change.
    pub(super) fn selected(&mut self, family: Family, selector: &'a Selector) -> (SetName, SetKind) {
        if let Some(known) = self.selected.get(&(family, selector)) {
            return known.clone();
        }
        let addresses: BTreeSet<_> =
            self.peers(Some(selector)).filter_map(|candidate| candidate.endpoint.address(family)).collect();
        self.named.extend(addresses.iter().copied());
        let mut matching_sets = self.network_sets.iter().filter(|set| selector.matches(&set.labels)).peekable();
        let (kind, members) = if matching_sets.peek().is_some() {
            let blocks = matching_sets.flat_map(|set| set.nets).copied().filter(|net| net.family() == family);
            let blocks = blocks.flat_map(Cidr::storable).chain(addresses.into_iter().map(Cidr::host));
            (SetKind::Net, blocks.map(Member::Net).collect())
        } else {
            (SetKind::Ip, addresses.into_iter().map(Member::Ip).collect())
        };
        let canonical = selector.to_string();
        let meaning = Meaning::Selected(selector.clone());
        let name = self.insert(family, kind, (&canonical, &format!("selector {canonical}")), meaning, members);
        self.selected.insert((family, selector), (name.clone(), kind));
        (name, kind)
    }

    /// The endpoints that a selector picks, or all, and that packets can come from and go to. An address that no packet of
    /// its endpoint shows is left out: whoever shows it is somebody else.
    fn peers<'s>(&self, selector: Option<&'s Selector>) -> impl Iterator<Item = &'a Candidate<'a>> + use<'a, 's> {
        let shows = |candidate: &&Candidate<'_>| {
            candidate.endpoint.unenforceable.as_ref().is_none_or(Unenforceable::shows_its_address)
        };
        let picked = self.label_sets.iter().filter(move |set| selector.is_none_or(|s| s.matches(set.labels)));
        picked.flat_map(|set| set.members.iter().copied()).filter(shows)
    }

    /// Whether a selector stands for something with these labels and this address: by the labels, or by a network set.
    pub(super) fn selects(
        &self,
        selector: &Selector,
        labels: &BTreeMap<String, String>,
        address: Option<IpAddr>,
    ) -> bool {
        let holds = |set: &LabelledNets<'_>| {
            selector.matches(&set.labels) && address.is_some_and(|a| set.nets.iter().any(|net| net.contains(a)))
        };
        selector.matches(labels) || self.network_sets.iter().any(holds)
    }

    /// The set of a list of blocks of one family.
    pub(super) fn nets(&mut self, family: Family, nets: &[Cidr]) -> SetName {
        let members: BTreeSet<_> = nets.iter().flat_map(|net| net.storable()).map(Member::Net).collect();
        let content: Vec<_> = nets.iter().map(ToString::to_string).collect();
        let content = format!("nets {}", content.join(","));
        self.insert(family, SetKind::Net, ("nets", &content), Meaning::Nets(nets.to_vec()), members)
    }

    /// The set of (address, protocol, port) of the endpoints that declare a port of this name, restricted by the
    /// selector of the same side and the protocol of the rule (calico-semantics §3.7).
    pub(super) fn named_port(
        &mut self,
        family: Family,
        selector: Option<&Selector>,
        name: &str,
        protocol: Option<Protocol>,
    ) -> SetName {
        let mut members = BTreeSet::new();
        for candidate in self.peers(selector) {
            let Some(address) = candidate.endpoint.address(family) else { continue };
            let ports = candidate.named_ports.iter().filter(|port| port.name == name);
            for port in ports.filter(|port| protocol.is_none_or(|protocol| protocol == port.protocol)) {
                self.named.insert(address);
                members.insert(Member::IpPort { address, protocol: port.protocol.number(), port: port.port });
            }
        }
        let meaning = Meaning::NamedPort { name: name.to_owned(), protocol, selector: selector.cloned() };
        let selector = selector.map_or_else(String::new, ToString::to_string);
        let protocol = protocol.map_or_else(String::new, |protocol| protocol.to_string());
        let content = format!("port {name}/{protocol} of {selector}");
        self.insert(family, SetKind::IpPort, (name, &content), meaning, members)
    }

    /// The members of one class of one network; identified by the network and the policies that govern the class.
    pub(super) fn class<'e>(
        &mut self,
        family: Family,
        (readable, content): (&str, &str),
        meaning: Meaning,
        members: impl Iterator<Item = &'e Endpoint<'e>>,
    ) -> SetName {
        let members = members.filter_map(|endpoint| endpoint.address(family)).map(Member::Ip).collect();
        self.insert(family, SetKind::Ip, (readable, &format!("class {content}")), meaning, members)
    }

    /// The members of a branch of the classes of one network; identified by the network and those classes, so that rules
    /// with other classes in the branch have another set, and none is changed under rules that it was not made for.
    pub(super) fn branch<'e>(
        &mut self,
        family: Family,
        (level, readable, content): (u8, &str, &str),
        meaning: Meaning,
        members: impl Iterator<Item = &'e Endpoint<'e>>,
    ) -> SetName {
        let members = members.filter_map(|endpoint| endpoint.address(family)).map(Member::Ip).collect();
        let name = SetName::branch(family, level, &readable_part(readable), content);
        self.store(name, AddressSet { family, kind: SetKind::Ip, members }, meaning)
    }

    /// The classified endpoints of all governed networks, each bound to its bridge.
    pub(super) fn known(&mut self, family: Family, members: BTreeSet<(Cidr, InterfaceName)>) {
        let members = members.into_iter().map(|(net, interface)| Member::NetInterface { net, interface }).collect();
        self.meanings.insert(SetName::known(family), Meaning::Known);
        self.sets.insert(SetName::known(family), AddressSet { family, kind: SetKind::NetInterface, members });
    }

    /// The classified endpoints that this host may reach, each bound to its bridge.
    pub(super) fn listed(&mut self, family: Family, members: BTreeSet<(Cidr, InterfaceName)>) {
        let members = members.into_iter().map(|(net, interface)| Member::NetInterface { net, interface }).collect();
        self.meanings.insert(SetName::listed(family), Meaning::Listed);
        self.sets.insert(SetName::listed(family), AddressSet { family, kind: SetKind::NetInterface, members });
    }

    /// The subnets of all bridge networks: a source among them comes from that bridge, or is a lie.
    pub(super) fn bridged_subnets<'s>(&mut self, family: Family, subnets: impl Iterator<Item = &'s Cidr>) {
        let members = subnets.filter(|subnet| subnet.family() == family).flat_map(|subnet| subnet.storable());
        let set = AddressSet { family, kind: SetKind::Net, members: members.map(Member::Net).collect() };
        self.meanings.insert(SetName::bridged_subnets(family), Meaning::BridgedSubnets);
        self.sets.insert(SetName::bridged_subnets(family), set);
    }

    fn insert(
        &mut self,
        family: Family,
        kind: SetKind,
        (readable, content): (&str, &str),
        meaning: Meaning,
        members: BTreeSet<Member>,
    ) -> SetName {
        let name = SetName::of_content(family, kind, &readable_part(readable), content);
        self.store(name, AddressSet { family, kind, members }, meaning)
    }

    fn store(&mut self, name: SetName, set: AddressSet, meaning: Meaning) -> SetName {
        let AddressSet { family, kind, members } = set;
        let set = self.sets.entry(name.clone()).or_insert(AddressSet { family, kind, members: BTreeSet::new() });
        // Equal names mean equal content; where they ever did not, a member too many is closed, one too few is open.
        set.members.extend(members);
        self.meanings.entry(name.clone()).or_insert(meaning);
        name
    }
}

/// The letters and digits of a text, with one dash for everything between them: `app == "web"` gives `app-web`.
fn readable_part(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
