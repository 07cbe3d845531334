//! How soon a new container is in the kernel's sets, on real engines.
//!
//! Input: the optimized `dockgate`, the laboratory's engines. Output: rows for the table of `make bench`. From the engine's
//! `network connect` event to the members in the kernel, and for comparison to the container's first packet; processes and
//! calls to the engine's API for each container. First beside one container, then beside many.
//!
//! `DOCKGATE_BENCH_ENGINE_ENDPOINTS` (1000), `DOCKGATE_BENCH_ENGINE_ROUNDS` (60) and `DOCKGATE_BENCH_ENGINES`
//! (`installed,sid`) make a smaller run. With `DOCKGATE_BENCH_DFW=PATH`, nothing but dfw is measured: see `benches/peers`.

#![expect(clippy::print_stderr, reason = "a run takes minutes, and says what it is at")]

#[path = "../choice/mod.rs"]
mod choice;
#[path = "../form/mod.rs"]
mod form;
#[path = "../../tests/support/scale.rs"]
#[expect(dead_code, reason = "the worlds of other benches have other sizes")]
mod scale;
#[path = "../../tests/support/mod.rs"]
mod support;

mod api;
mod first_packet;
mod members;
mod peer;
mod processes;
mod relay;
mod rounds;
mod rows;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use api::Api;
use form::Outcome;
use processes::{Notes, Processes};
use relay::Relay;
use rounds::Start;
use rows::Measured;
use support::{Controller, Engine, Lab};
use world::World;

/// Starts that are not measured, at first.
const WARM_UP: usize = 3;
/// Starts whose calls are counted.
const COUNTED: usize = 5;
/// The part of all rounds that the small world gets.
const SMALL_PART: usize = 4;
/// What follows a start of its own accord is over after this: the first read-backs and the second listing.
const SETTLE: Duration = Duration::from_secs(2);

fn main() -> std::io::Result<()> {
    let number = |variable| choice::value(variable, choice::number, choice::NUMBER);
    let endpoints = number("DOCKGATE_BENCH_ENGINE_ENDPOINTS")?.unwrap_or(1000);
    let rounds = number("DOCKGATE_BENCH_ENGINE_ROUNDS")?;
    let mut outcome = Outcome::default();
    let program = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_file());
    if let Some(dfw) = choice::value("DOCKGATE_BENCH_DFW", program, "a file")? {
        outcome.rows = peer::measure(&dfw, endpoints, rounds.unwrap_or(10));
        return form::write("peer", &outcome);
    }
    let engines = choice::values("DOCKGATE_BENCH_ENGINES", engine, "one of installed, trixie, sid")?;
    for engine in engines.unwrap_or_else(|| vec![Engine::Installed, Engine::Sid]) {
        let measured = measure(engine, endpoints, rounds.unwrap_or(60));
        outcome.rows.extend(measured.rows());
        outcome.series.push(measured.series());
    }
    form::write("engine", &outcome)
}

fn engine(name: &str) -> Option<Engine> {
    match name {
        "installed" => Some(Engine::Installed),
        "trixie" => Some(Engine::Trixie),
        "sid" => Some(Engine::Sid),
        _ => None,
    }
}

/// Says what a run is at.
struct Progress {
    engine: String,
    begun: Instant,
}

impl Progress {
    fn of(engine: &str) -> Progress {
        Progress { engine: engine.to_owned(), begun: Instant::now() }
    }

    fn say(&self, what: &str) {
        eprintln!("[{:5.1} s] Docker {}: {what}", self.begun.elapsed().as_secs_f64(), self.engine);
    }
}

/// The engine's version without what a distribution adds.
fn version(lab: &Lab) -> String {
    lab.engine_version().split('+').next().unwrap_or_default().to_owned()
}

fn measure(engine: Engine, endpoints: usize, rounds: usize) -> Measured {
    let lab = Lab::start(engine);
    let version = version(&lab);
    let progress = Progress::of(&version);
    let api = Api::connect(lab.docker_host());
    let mut world = World::found(&lab, &api, endpoints);
    let processes = Processes::watch(&lab.directory(), Notes::Beginning);
    let bench = Bench { lab: &lab, api: &api, processes: &processes, progress: &progress };
    let (small, (of_small, _)) = (world.endpoints(), bench.starts(&world, rounds.div_ceil(SMALL_PART)));
    progress.say(&format!("making {endpoints} endpoints"));
    world.complete(&api);
    let (starts, commands) = bench.starts(&world, rounds);
    let calls = bench.calls(&world);
    progress.say(&format!("{rounds} starts without dockgate"));
    let answers = rounds::answers(&api, &world, rounds);
    progress.say("done");
    let [endpoints, networks] = [world.endpoints(), world.networks()];
    Measured {
        version,
        networks,
        small: (small, of_small),
        endpoints,
        starts,
        commands,
        answers,
        calls,
        counted: COUNTED,
    }
}

/// Where it is measured.
struct Bench<'a> {
    lab: &'a Lab,
    api: &'a Api,
    processes: &'a Processes,
    progress: &'a Progress,
}

impl Bench<'_> {
    /// So many starts, and the processes that dockgate starts meanwhile.
    fn starts(&self, world: &World, number: usize) -> (Vec<Start>, Vec<String>) {
        self.progress.say(&format!("{number} starts beside {} endpoints", world.endpoints()));
        let controller = self.dockgate(world, self.lab.docker_host());
        rounds::run(self.lab, self.api, world, self.processes, WARM_UP);
        let begun = self.processes.begun();
        let starts = rounds::run(self.lab, self.api, world, self.processes, number);
        let commands = self.processes.commands().split_off(begun);
        controller.stop();
        (starts, commands)
    }

    /// The calls to the engine's API for [`COUNTED`] containers that come and go.
    fn calls(&self, world: &World) -> Vec<String> {
        let relay = Relay::open(&self.lab.directory(), self.lab.docker_host());
        let _controller = self.dockgate(world, &format!("unix://{}", relay.socket().display()));
        relay.take();
        rounds::run(self.lab, self.api, world, self.processes, COUNTED);
        relay.take()
    }

    fn dockgate(&self, world: &World, docker_host: &str) -> Controller {
        let path = self.processes.path();
        let environment = [("PATH", path.as_str()), ("DOCKER_HOST", docker_host)];
        let mut controller = self.lab.dockgate_with(&environment, &["run", "--policies", world.policies.path()]);
        controller.wait_until_ready();
        std::thread::sleep(SETTLE);
        controller
    }
}
