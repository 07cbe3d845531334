//! The address sets that rules refer to, each built once however many rules name it.
//!
//! Input: selectors, CIDR lists and port names of rules. Output: named sets of one family.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdSet;

use crate::inventory::{Inventory, NetworkId};
use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::policy::{Direction, PolicySet};
use crate::ruleset::{AddressSet, Member, SetKind, SetName, Sets};
use crate::selector::Selector;

use super::chains::Class;
use super::made::{Blocks, Made};
use super::meaning::Meaning;
use super::membership::Membership;

/// A network set with its labels as selectors see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelledNets {
    labels: BTreeMap<String, String>,
    nets: Vec<Cidr>,
}

/// Builds sets on demand, as yet without endpoints: who is a member is put down in `membership`.
pub(super) struct SetBuilder<'a> {
    network_sets: Vec<LabelledNets>,
    /// What the last compilation made of rules, where that still holds.
    pub(super) former: Made,
    /// What this one made of them.
    pub(super) blocks: Blocks,
    selected: HashMap<(Family, &'a Selector), (SetName, SetKind)>,
    pub(super) membership: Membership,
    pub(super) sets: BTreeMap<SetName, AddressSet>,
    pub(super) meanings: BTreeMap<SetName, Arc<Meaning>>,
}

impl<'a> SetBuilder<'a> {
    pub(super) fn new(policies: &'a PolicySet, inventory: &Inventory) -> Self {
        let network_sets = policies
            .network_sets
            .iter()
            .map(|set| {
                let mut labels = set.labels.clone();
                if let Some(namespace) = &set.namespace {
                    labels.extend(inventory.namespace_labels(namespace));
                }
                LabelledNets { labels, nets: set.nets.clone() }
            })
            .collect();
        SetBuilder {
            network_sets,
            former: Made::default(),
            blocks: Blocks::new(),
            selected: HashMap::new(),
            membership: Membership::default(),
            sets: BTreeMap::new(),
            meanings: BTreeMap::new(),
        }
    }

    /// As [`SetBuilder::new`], with what the last compilation made of rules. It holds as long as network sets are the same.
    pub(super) fn after(policies: &'a PolicySet, inventory: &Inventory, former: Made) -> Self {
        let mut builder = SetBuilder::new(policies, inventory);
        if former.network_sets == builder.network_sets {
            builder.former = former;
        }
        builder
    }

    /// The sets, what they stand for, who is in them, and what was made of rules. No endpoint is in a set yet.
    pub(super) fn finish(self) -> (Sets, BTreeMap<SetName, Arc<Meaning>>, Membership, Made) {
        let of_rules = self.meanings.iter().filter(|(_, meaning)| meaning.is_of_rules());
        let sets = of_rules.map(|(name, meaning)| (name.clone(), (self.sets[name].clone(), Arc::clone(meaning))));
        let made = Made { network_sets: self.network_sets, blocks: self.blocks, sets: sets.collect() };
        (self.sets.into_iter().collect(), self.meanings, self.membership, made)
    }

    /// Asks once more for a set that the rules of the last compilation asked for. Returns whether it is known.
    pub(super) fn again(&mut self, name: &SetName) -> bool {
        if self.sets.contains_key(name) {
            return true;
        }
        let Some((set, meaning)) = self.former.sets.get(name) else { return false };
        match &**meaning {
            Meaning::Selected(selector) => self.membership.add_selected(name, set.family, set.kind, selector),
            Meaning::NamedPort { name: port, protocol, selector } => {
                self.membership.add_ports(name, set.family, selector.as_ref(), port, *protocol);
            }
            // Of these only blocks are members.
            _ => {}
        }
        self.sets.insert(name.clone(), set.clone());
        self.meanings.insert(name.clone(), Arc::clone(meaning));
        true
    }

    /// The set of all addresses that a rule's selector stands for: endpoints, and the blocks of network sets.
    ///
    /// It is of type `hash:net` only where a network set is in it, and the type is part of the name, because a set's
    /// type cannot change.
    pub(super) fn selected(&mut self, family: Family, selector: &'a Selector) -> (SetName, SetKind) {
        if let Some(known) = self.selected.get(&(family, selector)) {
            return known.clone();
        }
        let mut matching_sets = self.network_sets.iter().filter(|set| selector.matches(&set.labels)).peekable();
        let (kind, blocks) = if matching_sets.peek().is_some() {
            let blocks = matching_sets.flat_map(|set| &set.nets).filter(|net| net.family() == family);
            (SetKind::Net, blocks.flat_map(|net| net.storable()).map(Member::Net).collect())
        } else {
            (SetKind::Ip, Vec::new())
        };
        let canonical = selector.to_string();
        let meaning = Meaning::Selected(selector.clone());
        let name = self.insert(family, kind, (&canonical, &format!("selector {canonical}")), meaning, blocks);
        self.membership.add_selected(&name, family, kind, selector);
        self.selected.insert((family, selector), (name.clone(), kind));
        (name, kind)
    }

    /// Whether a selector stands for something with these labels and this address: by the labels, or by a network set.
    pub(super) fn selects(
        &self,
        selector: &Selector,
        labels: &BTreeMap<String, String>,
        address: Option<IpAddr>,
    ) -> bool {
        let holds = |set: &LabelledNets| {
            selector.matches(&set.labels) && address.is_some_and(|a| set.nets.iter().any(|net| net.contains(a)))
        };
        selector.matches(labels) || self.network_sets.iter().any(holds)
    }

    /// The set of a list of blocks of one family.
    pub(super) fn nets(&mut self, family: Family, nets: &[Cidr]) -> SetName {
        let members = nets.iter().flat_map(|net| net.storable()).map(Member::Net).collect();
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
        let meaning = Meaning::NamedPort { name: name.to_owned(), protocol, selector: selector.cloned() };
        let of_whom = selector.map_or_else(String::new, ToString::to_string);
        let of_protocol = protocol.map_or_else(String::new, |protocol| protocol.to_string());
        let content = format!("port {name}/{of_protocol} of {of_whom}");
        let set = self.insert(family, SetKind::IpPort, (name, &content), meaning, Vec::new());
        self.membership.add_ports(&set, family, selector, name, protocol);
        set
    }

    /// The members of one class of one network; identified by the network and the policies that govern the class.
    pub(super) fn class(
        &mut self,
        family: Family,
        (readable, content): (&str, &str),
        meaning: Meaning,
        (network, direction): (&NetworkId, Direction),
        class: &Class<'_>,
    ) -> SetName {
        let set = self.insert(family, SetKind::Ip, (readable, &format!("class {content}")), meaning, Vec::new());
        self.membership.add_class(&set, family, network, direction, &class.governing);
        set
    }

    /// The classified endpoints of all governed networks, and those of them that this host may reach, each bound to its
    /// bridge. Of other networks all is known that may come from their bridges.
    pub(super) fn places(&mut self, family: Family, ungoverned: impl Iterator<Item = (Cidr, InterfaceName)>) {
        let (known, listed) = (SetName::known(family), SetName::listed(family));
        let members = ungoverned.map(|(net, interface)| Member::NetInterface { net, interface }).collect();
        let kind = SetKind::NetInterface;
        self.sets.insert(known.clone(), AddressSet { family, kind, members });
        self.sets.insert(listed.clone(), AddressSet { family, kind, members: OrdSet::new() });
        self.membership.add_places(family, &known, &listed);
        self.meanings.insert(known, Meaning::Known.into());
        self.meanings.insert(listed, Meaning::Listed.into());
    }

    /// The members of a branch of the classes of one network; identified by the network and those classes, so that rules
    /// with other classes in the branch have another set, and none is changed under rules that it was not made for.
    pub(super) fn branch<'c, 'e: 'c>(
        &mut self,
        family: Family,
        (level, readable, content): (u8, &str, &str),
        meaning: Meaning,
        (network, direction): (&NetworkId, Direction),
        classes: impl Iterator<Item = &'c Class<'e>>,
    ) -> SetName {
        let name = SetName::branch(family, level, &readable_part(readable), content);
        for class in classes {
            self.membership.add_class(&name, family, network, direction, &class.governing);
        }
        self.store(name, AddressSet { family, kind: SetKind::Ip, members: OrdSet::new() }, meaning)
    }

    /// The subnets of all bridge networks: a source among them comes from that bridge, or is a lie.
    pub(super) fn bridged_subnets<'s>(&mut self, family: Family, subnets: impl Iterator<Item = &'s Cidr>) {
        let members = subnets.filter(|subnet| subnet.family() == family).flat_map(|subnet| subnet.storable());
        let set = AddressSet { family, kind: SetKind::Net, members: members.map(Member::Net).collect() };
        self.meanings.insert(SetName::bridged_subnets(family), Meaning::BridgedSubnets.into());
        self.sets.insert(SetName::bridged_subnets(family), set);
    }

    fn insert(
        &mut self,
        family: Family,
        kind: SetKind,
        (readable, content): (&str, &str),
        meaning: Meaning,
        members: Vec<Member>,
    ) -> SetName {
        let name = SetName::of_content(family, kind, &readable_part(readable), content);
        self.store(name, AddressSet { family, kind, members: members.into_iter().collect() }, meaning)
    }

    fn store(&mut self, name: SetName, set: AddressSet, meaning: Meaning) -> SetName {
        let AddressSet { family, kind, members } = set;
        let set = self.sets.entry(name.clone()).or_insert(AddressSet { family, kind, members: OrdSet::new() });
        // Equal names mean equal content; where they ever did not, a member too many is closed, one too few is open.
        set.members.extend(members);
        self.meanings.entry(name.clone()).or_insert_with(|| meaning.into());
        name
    }
}

/// The letters and digits of a text, with one dash for everything between them: `app == "web"` gives `app-web`.
fn readable_part(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
