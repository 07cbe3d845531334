//! What is measured in a world of each size: containers come and go, one after another, beside those that stay.
//!
//! Input: a size. Output: a [`Point`] of the growth plot. Every moment that can get slow has a limit, and what was not reached
//! is told as such.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dockgate::inventory::{Container, ContainerId, Inventory, Network};
use tempfile::TempDir;

use crate::controller::{Controller, Place, Tools};
use crate::host::Host;
use crate::imitation::Imitation;
use crate::large::{self, Large};
use crate::members::Members;
use crate::part::Part;
use crate::progress;
use crate::rules::Rules;
use crate::samples::Samples;
use crate::scale::Scale;

/// How long a start may take.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take after that until nothing is in the way any more.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long one member may take.
const EVENT_LIMIT: Duration = Duration::from_secs(10);
/// How long all events of one size may take.
const EVENTS_LIMIT: Duration = Duration::from_secs(60);
/// Containers that come and go.
const EVENTS: usize = 120;
/// Others before them: with the first ones, sockets are opened.
const WARM_UP: usize = 5;
/// From one to the next. A container is created this long before it gets an address, which takes a real engine longer.
const PACE: Duration = Duration::from_millis(120);
/// Addresses that they take in turn: a bridge has room for some beyond the generated ones.
const SLOTS: usize = 10;
/// After a start: until whatever it has left to do is done.
const SETTLE: Duration = Duration::from_secs(3);

/// A world's figures.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) endpoints: usize,
    /// From the event to the kernel's set, in milliseconds.
    pub(crate) latency: Samples,
    /// Processes that were started while these containers came and went.
    pub(crate) processes: Vec<String>,
    /// Rules, chains, sets, members.
    pub(crate) rules: Rules,
    /// The first start, by counted tools.
    pub(crate) start: Duration,
    /// What is measured in the largest world only.
    pub(crate) large: Option<Large>,
}

/// One of the containers that come and go: a further replica of what runs already, as when a service is scaled. `round` makes
/// it another one, with the address of one before.
fn newcomer(scale: &Scale, round: usize) -> Container {
    let slot = scale.container(scale.endpoints + round % SLOTS);
    let sibling = scale.container(round % SLOTS);
    let id = format!("{:064x}", 0x10_0000 + round);
    let mut labels = sibling.labels;
    labels.insert("com.docker.compose.container-number".into(), (scale.endpoints + round).to_string().into());
    let mut container =
        Container { id: ContainerId(id.into()), name: format!("{}-{round}", slot.name), labels, ..slot };
    container.attachments[0].endpoint_id = format!("{:063x}f", 0x10_0000 + round).into();
    container
}

/// Measures a world of this size; `None` when dockgate does not get in sync within the limit.
pub(crate) fn measure(scale: &Scale, policies: &Path, is_largest: bool) -> Option<Point> {
    in_sync(scale, policies, |running| running.measure(scale, is_largest))
}

/// The rules in a world of this size; `None` when dockgate does not get in sync within the limit.
pub(crate) fn rules(scale: &Scale, policies: &Path) -> Option<Rules> {
    in_sync(scale, policies, |running| Rules::of(running.place.host))
}

/// A world of which everything is enforced.
struct Running<'a> {
    place: &'a Place<'a>,
    inventory: &'a Inventory,
    imitation: &'a Imitation,
    controller: Controller,
    start: Duration,
}

/// Makes a world of this size and has dockgate enforce it.
fn in_sync<T>(scale: &Scale, policies: &Path, then: impl FnOnce(Running<'_>) -> T) -> Option<T> {
    let directory = TempDir::new().expect("a temporary directory");
    progress(scale.endpoints, "making the world");
    let inventory = scale.inventory();
    let host = Host::new(&inventory);
    let imitation = Imitation::serve(directory.path().join("docker.sock"), &inventory);
    let docker_host = imitation.docker_host();
    let place = Place { host: &host, docker_host, policies, directory: directory.path() };
    progress(scale.endpoints, "first start");
    let mut controller = Controller::start(&place, Tools::Counted);
    let in_sync = controller.applied(START_LIMIT)?;
    let start = in_sync - controller.started();
    controller.wait_until_ready(&place, READY_LIMIT);
    thread::sleep(SETTLE);
    Some(then(Running { place: &place, inventory: &inventory, imitation: &imitation, controller, start }))
}

impl Running<'_> {
    fn measure(self, scale: &Scale, is_largest: bool) -> Point {
        let Running { place, inventory, imitation, mut controller, start } = self;
        let changing = Changing { scale, inventory, host: place.host, imitation };
        let (mut latency, mut before) = (Samples::default(), 0);
        if Part::Events.is_wanted() {
            progress(scale.endpoints, &format!("{EVENTS} containers come and go"));
            changing.come_and_go(1..=WARM_UP);
            before = controller.processes().len();
            latency = changing.come_and_go(WARM_UP + 1..=WARM_UP + EVENTS);
            controller.wait_until_ready(place, READY_LIMIT);
            thread::sleep(SETTLE);
        }
        controller.forget_log();
        let processes = controller.processes().split_off(before);
        let rules = Rules::of(place.host);
        let large = is_largest.then(|| large::measure(place, controller, scale));
        Point { endpoints: scale.endpoints, latency, processes, rules, start, large }
    }
}

/// The world, while containers come and go.
struct Changing<'a> {
    scale: &'a Scale,
    inventory: &'a Inventory,
    host: &'a Host,
    imitation: &'a Imitation,
}

impl Changing<'_> {
    /// Times from the event to the kernel's set. At each moment one container is created, one runs, and one is in between.
    fn come_and_go(&self, rounds: RangeInclusive<usize>) -> Samples {
        let mut members = Members::of(self.host);
        let mut latency = Samples::default();
        let began = Instant::now();
        let mut next = newcomer(self.scale, *rounds.start());
        self.imitation.create(&next);
        let mut last = None;
        for round in rounds {
            thread::sleep(PACE);
            let container = std::mem::replace(&mut next, newcomer(self.scale, round + 1));
            latency.push_time(self.connect(&container, &mut members));
            self.imitation.start(&container);
            self.imitation.create(&next);
            if let Some(gone) = last.replace(container) {
                self.remove(&gone);
            }
            if began.elapsed() > EVENTS_LIMIT {
                break;
            }
        }
        self.imitation.remove(&next);
        if let Some(gone) = last {
            self.remove(&gone);
        }
        latency
    }

    fn connect(&self, container: &Container, members: &mut Members) -> Duration {
        let network = self.network(container);
        let bridge = network.bridge.as_ref().expect("generated networks have bridges");
        let address = container.attachments[0].ipv4.expect("generated containers have addresses");
        self.host.plug(container, network);
        let told = self.imitation.connect(container);
        let known = members.wait_for(address, bridge.as_str(), EVENT_LIMIT);
        known.map_or(EVENT_LIMIT, |known| known - told)
    }

    fn remove(&self, container: &Container) {
        self.imitation.remove(container);
        self.host.unplug(container);
    }

    fn network(&self, container: &Container) -> &Network {
        &self.inventory.networks[&container.attachments[0].network]
    }
}

/// Writes the policies into a directory, a file each.
pub(crate) fn write_policies(directory: &Path, scale: &Scale) {
    for (number, text) in scale.policies().into_iter().enumerate() {
        fs::write(large::policy_file(directory, number), text).expect("a temporary directory takes files");
    }
}
