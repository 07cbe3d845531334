//! An engine whose bridges are not where dockgate runs, as a remote or a rootless one: nothing can be enforced there, and
//! it is said.

use crate::support::world::{Policies, wait_for};
use crate::support::{Engine, Lab, Probe, Survey};

const CLOSED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed}
spec: {selector: all(), types: [Ingress]}
";

#[test]
fn an_engine_elsewhere_never_looks_enforced() {
    let lab = Lab::start(Engine::Installed);
    lab.network("front", &["10.76.0.0/24", "2001:db8:76::/64"]);
    let [one, other] = ["one", "other"].map(|name| lab.container(name).network("front").serve(&[80]).start());
    let policies = Policies::new(&lab);
    policies.save("closed.yaml", CLOSED);
    let arguments = ["run", "--policies", &policies.argument()];
    let elsewhere = lab.dockgate_outside(&arguments);
    let bridge = lab.run(&["ip", "-o", "link", "show", "type", "bridge", "up"]);
    let bridge = bridge.lines().find_map(|line| line.split(": ").nth(1).filter(|name| name.starts_with("br-")));
    let told = format!("policy on bridge {} is NOT enforced: there is no such bridge", bridge.expect("one of front"));
    wait_for("the status to say so", || elsewhere.document()["problems"].to_string().contains(&told));
    assert_eq!(elsewhere.document()["ready"], false);
    let survey = Survey::new().source(one.source()).target(other.target(&[Probe::Tcp(80), Probe::Ping]));
    survey.expect(|_| true);
    drop(elsewhere);

    let mut here = lab.dockgate(&arguments);
    here.wait_until_ready();
    survey.expect(|_| false);
}
