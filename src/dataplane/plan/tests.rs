//! The order of steps: what a crash or a packet between two of them would find.

use super::*;
use crate::dataplane::Step;
use crate::dataplane::place::Xtable;
use crate::dataplane::port::Port;
use crate::net::{Cidr, Family};
use crate::ruleset::{Action, AntiSpoofing, Binding, ChainName, Hook, Role, Rule, SetKind};

/// A ruleset with one class whose members are known on `bridge`; a rule for the bridge only if it is `governed`.
fn ruleset(bridge: &str, members: &[&str], governed: bool) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let interface: InterfaceName = bridge.parse().unwrap();
    let class = SetName::of_content(Family::V4, SetKind::Ip, "class", "");
    let addresses = || members.iter().map(|member| member.parse().unwrap());
    let known = |address| Member::NetInterface { net: Cidr::host(address), interface: interface.clone() };
    let set = |kind, members| AddressSet { family: Family::V4, kind, members };
    ruleset.sets.insert(class, set(SetKind::Ip, addresses().map(Member::Ip).collect()));
    ruleset.sets.insert(SetName::known(Family::V4), set(SetKind::NetInterface, addresses().map(known).collect()));
    let gate =
        Rule { matches: [Match::InInterface(interface.clone())].into(), action: Action::Drop, comment: bridge.into() };
    let rules = if governed { vec![gate].into() } else { Arc::default() };
    ruleset.chains.insert(Family::V4, [(ChainName::base(Hook::Forward), rules)].into());
    ruleset
}

fn held(ruleset: &Ruleset) -> State {
    State::default().after(ruleset)
}

/// A word per step, and the lines of the set steps.
fn outline(steps: &[Step]) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Sets(lines) => lines.iter().map(|line| line.replace(" -exist", "")).collect(),
        Step::Restore { .. } => vec!["restore".to_owned()],
        Step::FilterBridge(bridge) => vec![format!("filter {bridge}")],
        Step::InsertJump(jump) => vec![format!("insert {}", jump.serial)],
        Step::DeleteJump(jump) => vec![format!("delete {}", jump.serial)],
        Step::DeleteTable(_) => vec!["delete table".to_owned()],
        Step::Destroy(_) => vec!["destroy".to_owned()],
        Step::Table(_) => vec!["table".to_owned()],
        Step::Elements(changes) => changes.iter().map(ToString::to_string).collect(),
    };
    steps.iter().flat_map(word).collect()
}

/// What begins several names only leads to rules that name an interface: where none does yet, being known changes nothing.
#[test]
fn a_beginning_of_names_names_no_interface() {
    let mut ruleset = ruleset("br-a", &[], true);
    let leads = Rule {
        matches: [Match::InInterfacePrefix("br-".parse().unwrap())].into(),
        action: Action::Jump(ChainName::base(Hook::Forward)),
        comment: "".into(),
    };
    ruleset.chains.get_mut(&Family::V4).unwrap().insert(ChainName::base(Hook::Input), vec![leads].into());
    assert_eq!(interfaces(&ruleset), BTreeSet::from(["br-a".parse().unwrap()]));
}

#[test]
fn sets_are_filled_from_the_class_up_and_emptied_from_the_branch_down() {
    let class = SetName::of_content(Family::V4, SetKind::Ip, "out-web", "");
    let branches = [0, 1].map(|level| SetName::branch(Family::V4, level, "out-front", ""));
    let with = |members: &[&str]| {
        let mut ruleset = ruleset("br-a", &[], true);
        for name in branches.iter().chain([&class]) {
            let members = members.iter().map(|member| Member::Ip(member.parse().unwrap())).collect();
            ruleset.sets.insert(name.clone(), AddressSet { family: Family::V4, kind: SetKind::Ip, members });
        }
        ruleset
    };
    let [outer, inner] = &branches;
    assert_eq!(
        outline(&plan(&held(&with(&[])), &with(&["192.0.2.1"]))),
        [&class, inner, outer].map(|name| format!("add {name} 192.0.2.1"))
    );
    assert_eq!(
        outline(&plan(&held(&with(&["192.0.2.1"])), &with(&[]))),
        [outer, inner, &class].map(|name| format!("del {name} 192.0.2.1"))
    );
}

#[test]
fn an_address_becomes_known_last_and_unknown_first() {
    let class = SetName::of_content(Family::V4, SetKind::Ip, "class", "");
    let (one, both) = (ruleset("br-a", &["192.0.2.1"], true), ruleset("br-a", &["192.0.2.1", "192.0.2.2"], true));
    assert_eq!(
        outline(&plan(&held(&one), &both)),
        [format!("add {class} 192.0.2.2"), "add dg-4-known 192.0.2.2/32,br-a".to_owned()]
    );
    assert_eq!(
        outline(&plan(&held(&both), &one)),
        ["del dg-4-known 192.0.2.2/32,br-a".to_owned(), format!("del {class} 192.0.2.2")]
    );
    assert_eq!(plan(&held(&one), &one), []);
}

/// `192.0.2.2` is of the class, or of an endpoint at `port` without one.
fn owned_by(port: Option<&str>) -> Ruleset {
    let mut ruleset = ruleset("br-a", &["192.0.2.2"], true);
    if port.is_some() {
        let class = SetName::of_content(Family::V4, SetKind::Ip, "class", "");
        ruleset.sets.get_mut(&class).unwrap().members.clear();
    }
    let binding = |name: &str, mac: &str| Binding {
        endpoint: name.to_owned(),
        attachment: name.into(),
        bridge: "br-a".parse().unwrap(),
        mac: mac.parse().ok(),
        addresses: ["192.0.2.2".parse().unwrap()].into(),
        role: Role::Governed,
    };
    let owner = port.map_or_else(|| binding("former", MACS[0]), |_| binding("latter", MACS[1]));
    ruleset.anti_spoofing = Some(AntiSpoofing { bindings: OrdSet::unit(owner.into()), ..AntiSpoofing::default() });
    ruleset.bridges = ["br-a".parse().unwrap()].into();
    ruleset
}

const MACS: [&str; 2] = ["02:42:c0:00:02:02", "02:42:c0:00:02:03"];

/// An address goes from one endpoint to another while no controller runs: it has no port from before anything else until
/// it has left the class of the one. So it is where the table is there, and where it is not.
#[test]
fn an_address_that_is_handed_on_has_no_port_before_it_has_left_its_former_class() {
    let port = |(name, mac): (&str, &str)| Port {
        name: name.parse().unwrap(),
        bridge: "br-a".parse().unwrap(),
        mac: mac.parse().ok(),
    };
    let ports = ["v1", "v2"].into_iter().zip(MACS).map(port).collect();
    let old = State { ports, ..State::default() }.after(&owned_by(None));
    let new = owned_by(Some("v2"));
    let class = SetName::of_content(Family::V4, SetKind::Ip, "class", "");
    let flushed = State { table: None, ..old.clone() };
    for (case, state, first) in [("bound", old, "delete element"), ("flushed", flushed, "table")] {
        let steps = outline(&plan(&state, &new));
        let place = |what: &str| {
            steps
                .iter()
                .position(|step| step.starts_with(what))
                .unwrap_or_else(|| panic!("{case}: no {what} in {steps:?}"))
        };
        assert!(steps[0].starts_with(first), "{case}: {steps:?}");
        assert!(place(&format!("del {class}")) < place("add element bridge dockgate bound4"), "{case}: {steps:?}");
        let early = plan(&state, &new).into_iter().find_map(|step| match step {
            Step::Table(input) => Some(input),
            _ => None,
        });
        assert!(early.is_none_or(|input| !input.contains(&format!("{} . 192.0.2.2", MACS[1]))), "{case}");
    }
}

#[test]
fn a_change_of_rules_stands_between_members_that_come_and_members_that_go() {
    let class = SetName::of_content(Family::V4, SetKind::Ip, "class", "");
    let old = ruleset("br-a", &["192.0.2.1"], true);
    let mut new = ruleset("br-a", &["192.0.2.2"], true);
    new.chains
        .values_mut()
        .flat_map(BTreeMap::values_mut)
        .flat_map(Arc::make_mut)
        .for_each(|rule| rule.action = Action::Return);
    assert_eq!(
        outline(&plan(&held(&old), &new)),
        [
            "del dg-4-known 192.0.2.1/32,br-a".to_owned(),
            format!("add {class} 192.0.2.2"),
            "restore".to_owned(),
            format!("del {class} 192.0.2.1"),
            "add dg-4-known 192.0.2.2/32,br-a".to_owned(),
        ]
    );
}

#[test]
fn a_network_that_becomes_governed_or_free_loses_no_packet() {
    let class = SetName::of_content(Family::V4, SetKind::Ip, "class", "");
    let (free, governed) = (ruleset("br-a", &[], false), ruleset("br-a", &["192.0.2.1"], true));
    assert_eq!(
        outline(&plan(&held(&free), &governed)),
        ["add dg-4-known 192.0.2.1/32,br-a".to_owned(), format!("add {class} 192.0.2.1"), "restore".to_owned()]
    );
    assert_eq!(
        outline(&plan(&held(&governed), &free)),
        ["restore".to_owned(), format!("del {class} 192.0.2.1"), "del dg-4-known 192.0.2.1/32,br-a".to_owned()]
    );
}

#[test]
fn the_first_rules_come_with_full_sets_and_the_jump_comes_last() {
    let new = ruleset("br-a", &["192.0.2.1"], true);
    let steps = outline(&plan(&State::default(), &new));
    let place = |what: &str| steps.iter().position(|step| step.starts_with(what)).unwrap();
    assert!(place("create") < place("add") && place("add") < place("restore") && place("restore") < place("insert"));
    assert_eq!(steps.last().unwrap(), "insert 1");
    assert_eq!(outline(&removal(&held(&new))), ["delete 1", "restore", "destroy"]);
}

/// Name, jumps with their positions, expected steps.
type Row<'a> = (&'a str, Vec<(&'a Jump, Vec<usize>)>, Vec<&'a str>);

#[test]
fn jumps_are_replaced_before_they_are_deleted() {
    let desired = ruleset("br-a", &[], true);
    let good = held(&desired);
    let right = good.jumps.keys().next().unwrap().clone();
    let stopgap = Jump { serial: 2, ..right.clone() };
    let elsewhere = Jump { table: Xtable::Filter, chain: "DOCKER-USER".to_owned(), ..right.clone() };
    let table: Vec<Row<'_>> = vec![
        ("right", vec![(&right, vec![1])], vec![]),
        ("missing", vec![], vec!["insert 1"]),
        ("below another rule", vec![(&right, vec![2])], vec!["insert 2", "delete 1", "insert 1", "delete 2"]),
        ("twice", vec![(&right, vec![1, 3])], vec!["insert 2", "delete 1", "delete 1", "insert 1", "delete 2"]),
        ("a stopgap first", vec![(&stopgap, vec![1])], vec!["insert 1", "delete 2"]),
        ("a stopgap second", vec![(&right, vec![1]), (&stopgap, vec![2])], vec!["delete 2"]),
        (
            "both in the wrong order",
            vec![(&right, vec![2]), (&stopgap, vec![1])],
            vec!["insert 3", "delete 1", "delete 2", "insert 1", "delete 3"],
        ),
        ("in another chain", vec![(&elsewhere, vec![1])], vec!["insert 1", "delete 1"]),
    ];
    for (name, jumps, expected) in table {
        let jumps = jumps.into_iter().map(|(jump, positions)| (jump.clone(), positions)).collect();
        assert_eq!(outline(&plan(&State { jumps, ..good.clone() }, &desired)), expected, "{name}");
    }
}

/// The same ruleset with denied packets answered.
fn answering(mut ruleset: Ruleset) -> Ruleset {
    let rules = ruleset.chains.values_mut().flat_map(BTreeMap::values_mut).flat_map(Arc::make_mut);
    rules.for_each(|rule| rule.action = Action::Reject);
    ruleset
}

#[test]
fn forwarded_packets_are_met_in_mangle_unless_they_are_answered() {
    let desired = ruleset("br-a", &[], true);
    let jumps = |desired: &Ruleset, docker_user: &[Family]| -> Vec<String> {
        let state = State { docker_user: docker_user.iter().copied().collect(), ..State::default() };
        let jumps = state.after(desired).jumps;
        jumps.into_keys().map(|jump| format!("{} {}", jump.table, jump.chain)).collect()
    };
    assert_eq!(jumps(&desired, &[]), ["mangle FORWARD"]);
    assert_eq!(jumps(&desired, &[Family::V4]), ["mangle FORWARD"]);
    assert_eq!(jumps(&answering(desired.clone()), &[]), ["filter FORWARD"]);
    assert_eq!(jumps(&answering(desired), &[Family::V4]), ["filter DOCKER-USER", "filter FORWARD"]);
}

#[test]
fn rules_stand_in_their_new_table_before_they_leave_the_old_one() {
    let (one, other) = (ruleset("br-a", &[], true), answering(ruleset("br-a", &[], true)));
    for (from, to) in [(&one, &other), (&other, &one)] {
        assert_eq!(outline(&plan(&held(from), to)), ["restore", "insert 1", "delete 1", "restore"]);
    }
}

#[test]
fn a_family_that_cannot_be_filtered_is_left_out() {
    let mut desired = ruleset("br-a", &["192.0.2.1"], true);
    let of_v4 = desired.chains[&Family::V4].clone();
    desired.chains.insert(Family::V6, of_v4);
    let state = State { without: [Family::V6].into(), ..State::default() };
    let steps = plan(&state, &desired);
    let of_v6 = |step: &&Step| match step {
        Step::Restore { family, .. } => *family == Family::V6,
        Step::InsertJump(jump) => jump.family == Family::V6,
        _ => false,
    };
    assert_eq!(steps.iter().filter(of_v6).count(), 0);
    assert_eq!(plan(&state.after(&desired), &desired), []);
}

#[test]
fn a_table_that_came_with_us_goes_with_us_unless_others_use_it() {
    let desired = ruleset("br-a", &[], true);
    let mangle = (Family::V4, Xtable::Mangle);
    let absent = State { absent_tables: [mangle].into(), bare_tables: [mangle].into(), ..State::default() };
    let after = absent.after(&desired);
    assert_eq!(plan(&after, &desired), []);
    assert_eq!(outline(&removal(&after)), ["delete 1", "restore", "delete table", "destroy"]);
    let shared = State { bare_tables: BTreeSet::new(), ..after };
    assert_eq!(outline(&removal(&shared)), ["delete 1", "restore", "destroy"]);
}
