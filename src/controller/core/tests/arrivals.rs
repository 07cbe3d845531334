//! When a network on which nobody was opens.

use super::*;

/// A container that no policy selects, with an address on the only network.
fn peer(number: u8) -> Event {
    let mut peer = listed_api();
    peer.id = ContainerId(format!("peer{number}").into());
    peer.labels = BTreeMap::new();
    peer.attachments[0].ipv4 = Some([10, 0, 0, 100 + number].into());
    Event::Inventory(Change::Container(peer.into()))
}

fn api() -> Event {
    Event::Inventory(Change::Container(listed_api().into()))
}

fn without_containers() -> Inventory {
    Inventory { containers: Containers::default(), ..listing() }
}

fn listed_with(container: Event) -> Inventory {
    let Event::Inventory(change) = container else { panic!("{container:?} is no change") };
    let mut listed = without_containers();
    listed.apply(change);
    listed
}

/// Policies were read, and Docker was listed.
fn knowing(listed: Inventory) -> Core {
    let mut core = core();
    core.take(files(POLICY));
    core.take(Event::Inventory(Change::Snapshot(listed)));
    core
}

fn is_closed(core: &mut Core) -> bool {
    !core.compiled().expect("everything is known").ruleset.bridges.is_empty()
}

#[test]
fn a_network_on_which_nobody_was_opens_a_moment_after_the_last_who_came() {
    let start = Instant::now();
    let mut core = knowing(without_containers());
    assert!(is_closed(&mut core), "anybody may come");
    assert_eq!(core.settles_at(), None);
    core.take(peer(1));
    assert!(is_closed(&mut core), "others may be there who are not known yet");
    assert_eq!(core.settles_at(), None, "nothing is in force yet");
    applied(&mut core, start);
    assert_eq!(core.settles_at(), Some(start + ARRIVAL));
    assert_eq!(core.settle(start + ARRIVAL / 2, long_ago()), Need::Nothing);
    core.take(peer(2));
    applied(&mut core, start + ARRIVAL / 2);
    assert_eq!(core.settle(start + ARRIVAL, long_ago()), Need::Nothing, "somebody has come meanwhile");
    // Docker is listed anew.
    let known = core.inventory().expect("it was listed").clone();
    core.take(Event::Inventory(Change::Snapshot(Inventory { arrivals: BTreeSet::new(), ..known })));
    assert!(is_closed(&mut core));
    applied(&mut core, start + ARRIVAL);
    assert_eq!(core.settles_at(), Some(start + ARRIVAL / 2 + ARRIVAL));
    assert_eq!(core.settle(start + ARRIVAL / 2 + ARRIVAL, long_ago()), Need::Apply);
    assert!(!is_closed(&mut core), "no policy selects anybody there");
    core.take(peer(3));
    assert!(!is_closed(&mut core), "it was open before");
    assert_eq!(core.settles_at(), None);
}

#[test]
fn a_network_stays_closed_where_a_policy_selects_who_comes_next() {
    let start = Instant::now();
    let mut core = knowing(without_containers());
    core.compiled();
    core.take(peer(1));
    applied(&mut core, start);
    core.take(api());
    core.compiled();
    applied(&mut core, start);
    assert_eq!(core.settle(start + ARRIVAL, long_ago()), Need::Nothing, "nothing else is wanted");
    assert!(is_closed(&mut core));
    core.take(Event::Inventory(Change::ContainerGone(ContainerId("api".into()))));
    assert!(!is_closed(&mut core), "all that is left were known long ago");
}

#[test]
fn a_network_is_closed_to_begin_with_where_it_is_known_with_its_first_container_only() {
    let (start, network) = (Instant::now(), listing().networks.into_values().next().expect("one network"));
    let changes =
        [Event::Inventory(Change::Network(network)), Event::Inventory(Change::Snapshot(without_containers()))];
    for change in changes {
        let name = format!("{change:?}");
        let mut core = knowing(Inventory::default());
        core.compiled();
        core.take(change);
        core.take(peer(1));
        assert!(is_closed(&mut core), "{name}");
        applied(&mut core, start);
        assert_eq!(core.settle(start + ARRIVAL, long_ago()), Need::Apply, "{name}");
        assert!(!is_closed(&mut core), "{name}");
    }
    for is_listed in [true, false] {
        let mut core = knowing(if is_listed { listed_with(peer(1)) } else { without_containers() });
        core.take(peer(1));
        assert_eq!(is_closed(&mut core), !is_listed, "who was there when dockgate began is known by its list");
    }
}

#[test]
fn a_network_that_was_empty_between_two_looks_is_closed_like_one_that_is() {
    let gone = |id: &str| Event::Inventory(Change::ContainerGone(ContainerId(id.into())));
    for (name, listed, changes) in [
        ("one that a policy selected has gone", api(), vec![gone("api"), peer(2)]),
        ("one that none selected has gone", peer(1), vec![gone("peer1"), peer(2)]),
        ("that is listed", api(), vec![Event::Inventory(Change::Snapshot(listed_with(peer(2))))]),
    ] {
        let mut core = knowing(listed_with(listed));
        core.compiled();
        for change in changes {
            core.take(change);
        }
        assert!(is_closed(&mut core), "{name}");
        assert_eq!(arrivals(&core), 1, "{name}");
    }
}

#[test]
fn a_network_opens_after_a_time_in_which_dockgate_has_listened_and_an_end_is_no_arrival() {
    let start = Instant::now();
    let arrived = || {
        let mut core = knowing(without_containers());
        core.take(peer(1));
        core.compiled();
        applied(&mut core, start);
        core
    };
    let mut late = arrived();
    let resumed = start + ARRIVAL / 2;
    assert_eq!(late.settle(start + ARRIVAL, resumed), Need::Nothing, "it was halted");
    assert_eq!(late.settles_at(), Some(resumed + ARRIVAL));
    assert_eq!(late.settle(resumed + ARRIVAL * 3, resumed), Need::Apply, "to be busy is not to be halted");

    let mut away = arrived();
    away.take(Event::Inventory(Change::Unreachable("gone".to_owned())));
    applied(&mut away, start);
    assert_eq!(away.settles_at(), None, "the engine does not say who comes");
    let known = away.inventory().expect("it was listed").clone();
    away.take(Event::Inventory(Change::Snapshot(known)));
    applied(&mut away, start + ARRIVAL * 5);
    assert_eq!(away.settles_at(), Some(start + ARRIVAL * 6));

    let mut ended = arrived();
    let of_peer = Change::Detached { container: ContainerId("peer1".into()), network: NetworkId("n".into()) };
    ended.take(Event::Inventory(of_peer));
    assert_eq!(ended.settles_at(), Some(start + ARRIVAL));
}
