//! The laboratory itself: what an engine without any policy lets through, and that nothing is left behind.

mod support;

use support::{Engine, Lab, Probe, Survey};

#[test]
fn without_policy() {
    let lab = Lab::start(Engine::Installed);
    eprintln!("engine {}", lab.engine_version());
    lab.network("front", &["10.10.1.0/24", "2001:db8:10:1::/64"]);
    lab.network("back", &["10.10.2.0/24", "2001:db8:10:2::/64"]);
    let containers = lab.start_all(vec![
        lab.container("web").network("front").publish("8080:80").serve(&[80]),
        lab.container("api").network("front").network("back").serve(&[80]),
        lab.container("db").network("back").serve(&[80]),
    ]);
    let mut survey = Survey::new().source(lab.outside_source()).source(lab.host_source());
    for container in &containers {
        survey = survey.source(container.source());
        survey = survey.target(container.target(&[Probe::Tcp(80), Probe::Udp(80), Probe::Ping]));
    }
    let start = std::time::Instant::now();
    let matrix = survey.measure();
    eprintln!("{:?}\n{matrix}", start.elapsed());
}

#[test]
fn sid() {
    let lab = Lab::start(Engine::Sid);
    eprintln!("engine {}", lab.engine_version());
    lab.network("front", &["10.10.1.0/24", "2001:db8:10:1::/64"]);
    lab.network("back", &["10.10.2.0/24", "2001:db8:10:2::/64"]);
    let containers = lab.start_all(vec![
        lab.container("web").network("front").publish("8080:80").serve(&[80]),
        lab.container("api").network("front").network("back").serve(&[80]),
        lab.container("db").network("back").serve(&[80]),
    ]);
    let mut survey = Survey::new().source(lab.outside_source()).source(lab.host_source());
    for container in &containers {
        survey = survey.source(container.source());
        survey = survey.target(container.target(&[Probe::Tcp(80), Probe::Udp(80), Probe::Ping]));
    }
    let start = std::time::Instant::now();
    let matrix = survey.measure();
    eprintln!("{:?}\n{matrix}", start.elapsed());
}
