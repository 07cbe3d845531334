//! Other hands on the older iptables, of which the kernel notifies nobody, and whose commands share a lock.

use std::fs;
use std::time::{Duration, Instant};

use crate::scenario::{Group, Scenario, World};
use crate::support::world::wait_for;

use super::{Hands, of_any_variant, repaired};

/// Whoever holds the lock of the older iptables keeps everybody else from changing a rule. That is no fault of a policy.
fn hold_the_lock(hands: &mut Hands) {
    const MORE: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: more}, spec: {
    selector: app == 'peer', ingress: [{action: Allow, source: {selector: app == 'open'}}]}}
";
    let lock = hands.lab.directory().join("xtables.lock");
    let file = fs::File::create(&lock).expect("the laboratory's directory takes files");
    let restart = |hands: &mut Hands, environment: &[(&str, &str)]| {
        hands.controller = None;
        let arguments = ["run", "--policies", &hands.policies.argument(), "--resync-interval", hands.interval];
        let mut controller = hands.lab.dockgate_with(environment, &arguments);
        controller.wait_until_ready();
        hands.controller = Some(controller);
    };
    restart(hands, &[("XTABLES_LOCKFILE", &lock.to_string_lossy())]);
    let written = hands.controller().written();
    file.lock().expect("the file is ours");
    let began = Instant::now();
    hands.policies.save("more.yaml", MORE);
    // Two failures of ten seconds, and what would be the trial of one policy.
    while began.elapsed() < Duration::from_secs(33) {
        hands.expect_quiet(Instant::now(), "while somebody holds the lock");
    }
    let log = hands.controller().log_since(written);
    file.unlock().expect("the file is ours");
    wait_for("the policy to be in force", || hands.controller().status().status.success());
    let lost = hands.allowed.lost_since(began);
    hands.policies.remove("more.yaml");
    restart(hands, &[]);
    assert!(log.matches("xtables lock").count() >= 1, "the lock was not in the way:\n{log}");
    assert!(!log.contains("the kernel refuses this policy"), "{log}");
    // One of thousands gets lost on a busy machine.
    assert!(lost.len() < 5, "allowed packets were lost: {lost:?}");
    hands.expect_quiet(began, "after the lock was held");
}

/// The older iptables.
pub(crate) fn legacy_group() -> Group<Hands> {
    let mut scenarios = of_any_variant();
    scenarios.push(Scenario {
        rests_on: &[],
        ..repaired("a_lock_that_is_held_closes_nothing", "flock of the xtables lock", hold_the_lock)
    });
    Group { name: "hands_legacy", build: Hands::legacy, scenarios }
}
