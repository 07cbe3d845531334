//! A container is covered before its first packet.
//!
//! The first and only thing that these containers do is to connect. Where the controller is late all the same, the gate
//! drops the first packet and TCP sends it again after a second: the container gets through, and the test counts it.

use std::thread;

use crate::support::lab::IMAGE;
use crate::support::world::{OWNERS_EXAMPLE, Policies};
use crate::support::{Engine, Lab};

const ROUNDS: usize = 50;

/// What a container says that connects to api as its first action: `here` when it gets through, `late` before that when
/// its first packet was dropped.
fn first_words(lab: &Lab, app: &str, api: &str) -> String {
    // Who is allowed may need a second try; who is not need not be waited for.
    let patience = if app == "web" { 4 } else { 1 };
    let label = format!("app={app}");
    // The first nc gives up after a second, which is when TCP would try again.
    let connect =
        format!("nc -w 1 {api} 80 </dev/null || {{ echo late; nc -w {patience} {api} 80 </dev/null; }}; true");
    lab.docker(&["run", "--rm", "--network", "shop", "--label", &label, IMAGE, "sh", "-c", &connect])
}

fn covered_before_the_first_packet(engine: Engine) {
    let lab = Lab::start(engine);
    println!("engine {}", lab.engine_version());
    lab.network("shop", &["10.77.0.0/24"]);
    let api = lab.container("api").network("shop").ip("10.77.0.200").label("app", "api").serve(&[80]).start();
    assert_eq!(first_words(&lab, "other", "10.77.0.200"), "here", "without policy everybody gets through");
    let policies = Policies::new(&lab);
    policies.save("p.yaml", OWNERS_EXAMPLE);
    let mut controller = lab.dockgate(&["run", "--policies", &policies.argument()]);
    controller.wait_until_ready();
    let (mut shut_out, mut late, mut leaked) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let (allowed, denied) = thread::scope(|scope| {
            let denied = scope.spawn(|| first_words(&lab, "other", "10.77.0.200"));
            let allowed = first_words(&lab, "web", "10.77.0.200");
            (allowed, denied.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        shut_out += usize::from(!allowed.contains("here"));
        late += usize::from(allowed.contains("late"));
        leaked += usize::from(denied.contains("here"));
    }
    println!("{ROUNDS} rounds: {shut_out} shut out, {late} covered only at the second packet, {leaked} got through");
    assert_eq!((shut_out, leaked), (0, 0), "{}", controller.log());
    // A busy machine may often be late; a controller that waits for the wrong event always is.
    assert!(late < ROUNDS, "{late} of {ROUNDS} first packets were dropped: {}", controller.log());
    assert_eq!(api.name(), "api");
}

#[test]
fn on_the_first_engine() {
    covered_before_the_first_packet(Engine::Installed);
}

#[test]
fn on_the_newest_engine() {
    covered_before_the_first_packet(Engine::Sid);
}
