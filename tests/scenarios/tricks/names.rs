//! Names that change, come again, or are hostile.

use super::{BRIDGED, OPEN, Tricks, scenario};
use crate::scenario::Scenario;
use crate::support::world::{Policies, rules, wait_for};
use crate::support::{Container, Probe, Survey};

/// A container is renamed into a policy and out of it again.
fn renamed(world: &Tricks) {
    let policies = Policies::new(&world.lab);
    policies.save("named.yaml", NAMED);
    let container = world.lab.container("other").network("front").start();
    let survey = || Survey::new().source(container.source()).target(world.peer.target(&[Probe::Tcp(OPEN)])).measure();
    let outcome = || survey().cells.values().all(|outcome| outcome.is_open());
    assert!(outcome(), "no policy selects it under its first name");
    let restored = OnDrop(|| {
        world.lab.docker(&["rm", "--force", container.id()]);
        policies.remove("named.yaml");
    });
    world.lab.docker(&["rename", "other", "named"]);
    wait_for("the policy to govern it under its new name", || {
        survey().cells.values().all(|outcome| !outcome.is_open())
    });
    world.lab.docker(&["rename", "named", "other"]);
    wait_for("it to be free again", outcome);
    drop(restored);
}

const NAMED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: named}
spec: {selector: dockgate.io/container == 'named', types: [Egress]}
";

/// Runs something when dropped, also by a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A network ends and comes again with its name, its subnet and its bridge, and beside it one whose bridge has a longer
/// name that begins alike.
fn network_made_again(world: &Tricks) {
    let lab = &world.lab;
    let create = |name: &str, bridge: &str, subnet: &str| {
        let option = format!("com.docker.network.bridge.name={bridge}");
        lab.docker(&["network", "create", "--opt", &option, "--subnet", subnet, name]);
    };
    let cleanup = || {
        for name in ["first", "second", "third", "beside"] {
            let _gone = lab.try_docker(&["rm", "--force", name]);
        }
        for network in ["again", "longer"] {
            let _gone = lab.try_docker(&["network", "rm", network]);
        }
    };
    let _restored = OnDrop(cleanup);
    let start = |name: &str, network: &str, address: &str, label: &str| {
        lab.container(name).network(network).ip(address).label("app", label).serve(&[OPEN]).start()
    };
    let open = |from: &Container, to: &Container| {
        let survey = Survey::new().source(from.source()).target(to.target(&[Probe::Tcp(OPEN)]));
        survey.measure().cells.values().all(|outcome| outcome.is_open())
    };
    create("again", "dgt-again", "10.90.0.0/24");
    create("longer", "dgt-again1", "10.91.0.0/24");
    let beside = start("beside", "longer", "10.91.0.9", "free");
    let first = start("first", "again", "10.90.0.5", "shut");
    let second = start("second", "again", "10.90.0.6", "free");
    wait_for("the second to be known", || open(&second, &first));
    assert!(!open(&first, &second), "the first is closed");
    lab.docker(&["rm", "--force", "first", "second"]);
    lab.docker(&["network", "rm", "again"]);
    create("again", "dgt-again", "10.90.0.0/24");
    // The addresses are given the other way round.
    let second = start("second", "again", "10.90.0.5", "free");
    let first = start("first", "again", "10.90.0.6", "shut");
    wait_for("the second to be known", || open(&second, &first));
    assert!(!open(&first, &second), "the first is closed under the other address");
    let third = start("third", "longer", "10.91.0.8", "free");
    assert!(open(&third, &beside) && open(&beside, &third), "nobody has a policy on the longer bridge");
}

/// Names and labels that would end a comment, a line or a command, if any of them stood unquoted somewhere.
fn odd_names(world: &Tricks) {
    let lab = &world.lab;
    // The engine's client takes no blanks in a key; its API would.
    let key = "k\"-jACCEPT;$(reboot)`reboot`'ü,dgt-odd";
    let odd = "x\" -j ACCEPT\nCOMMIT\n*filter\n-I FORWARD -j ACCEPT\nadd dg-4-known 10.92.0.0/24,dgt-odd $(reboot) `reboot` ü";
    let long = "y".repeat(4096);
    let network = if lab.try_docker(&["network", "create", "--subnet", "10.92.0.0/24", odd]).is_ok() {
        odd.to_owned()
    } else {
        // Newer engines are strict.
        lab.docker(&["network", "create", "--subnet", "10.92.0.0/24", "odd_._-name"]);
        "odd_._-name".to_owned()
    };
    let name = "n".repeat(200);
    let cleanup = || {
        for container in ["odd-peer", &name] {
            let _gone = lab.try_docker(&["rm", "--force", container]);
        }
        let _gone = lab.try_docker(&["network", "rm", &network]);
    };
    let _restored = OnDrop(cleanup);
    let ports = format!("http=7000/tcp,{odd}=7000/tcp,{long}=1/udp,a=99999/tcp,=1/tcp");
    let peer = lab.container("odd-peer").network(&network).label("dockgate.io/ports", &ports).serve(&[OPEN]).start();
    let builder = lab.container(&name).network(&network).label("app", "shut").label(key, odd).label("long", &long);
    let builder = builder.label("projectcalico.org/namespace", odd).label("dockgate.io/container", "guard");
    let closed = builder.serve(&[OPEN]).start();
    let open = |from: &Container, to: &Container| {
        let survey = Survey::new().source(from.source()).target(to.target(&[Probe::Tcp(OPEN)]));
        survey.measure().cells.values().all(|outcome| outcome.is_open())
    };
    wait_for("the controller to take them in", || open(&peer, &closed));
    assert!(!open(&closed, &peer), "it is closed whatever it and its network are called");
    assert!(world.controller.status().status.success(), "{}", world.controller.log());
    assert!(!rules(lab).lines().any(|line| line.contains("-A FORWARD -j ACCEPT")));
}

/// A bridge whose name is a wildcard to iptables: no rule can name it, so policy there is not enforced, and that is said.
fn wildcard_bridge(world: &Tricks) {
    let lab = &world.lab;
    let cleanup = || {
        let _gone = lab.try_docker(&["rm", "--force", "wild"]);
        let _gone = lab.try_docker(&["network", "rm", "wild"]);
    };
    let _restored = OnDrop(cleanup);
    lab.docker(&[
        "network",
        "create",
        "--opt",
        "com.docker.network.bridge.name=dgt+",
        "--subnet",
        "10.93.0.0/24",
        "wild",
    ]);
    let _container = lab.container("wild").network("wild").label("app", "shut").start();
    let said = || String::from_utf8_lossy(&world.controller.status().stdout).contains("cannot stand in a rule");
    wait_for("the status to say so", said);
    let ours = rules(lab).lines().filter(|line| line.starts_with("-A DG-")).any(|line| line.contains("dgt+"));
    assert!(!ours, "a wildcard would hold for other bridges, too");
}

pub(super) fn scenarios() -> Vec<Scenario<Tricks>> {
    vec![
        scenario("a_new_name_is_a_new_policy", BRIDGED, "both", "container renamed", &[], |w| renamed(w)),
        scenario("a_network_made_again_is_a_new_one", BRIDGED, "IPv4", "network removed and made again", &[], |w| {
            network_made_again(w);
        }),
        scenario("odd_names_are_only_names", BRIDGED, "IPv4", "hostile names and labels", &[], |w| odd_names(w)),
        scenario("a_bridge_that_no_rule_can_name_is_said", "any", "both", "wildcard as bridge name", &[], |w| {
            wildcard_bridge(w);
        }),
    ]
}
