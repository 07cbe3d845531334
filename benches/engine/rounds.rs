//! One container after another, of a class that there is already.
//!
//! Input: a world under policy. Output: for each start the moments after the engine's `network connect`.

use std::time::Duration;

use super::api::Api;
use super::first_packet::FirstPacket;
use super::members::{Members, now};
use super::processes::Processes;
use super::support::Lab;
use super::world::World;

/// How long the controller is left alone between two starts: longer than it gathers notifications of the kernel for.
const REST: Duration = Duration::from_millis(300);

/// What was seen of one start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// From the event to the members in the kernel's sets, in milliseconds.
    pub(crate) known: f64,
    /// From the event to the container's first packet.
    pub(crate) packet: f64,
    /// Processes that were started from before the container was made until after it was gone.
    pub(crate) processes: usize,
}

/// Starts and removes so many containers.
pub(crate) fn run(lab: &Lab, api: &Api, world: &World, processes: &Processes, number: usize) -> Vec<Start> {
    let mut members = Members::of(lab.host());
    (0..number).map(|_| start(lab, api, world, processes, &mut members)).collect()
}

fn start(lab: &Lab, api: &Api, world: &World, processes: &Processes, members: &mut Members) -> Start {
    let begun = processes.begun();
    let container = api.create(&world.newcomer);
    let packets = FirstPacket::listen(lab.host());
    let starting = api.start(&container);
    // Until here nothing asks the kernel: on two processors that would delay what is measured. What became known before
    // this program had the event too counts as known now.
    let connected = api.event("connect", &container).at;
    let known = members.wait_until_known(world.address, &world.bridge);
    let packet = packets.from(world.address);
    api.started(starting);
    api.remove(&container);
    members.wait_until_unknown(world.address, &world.bridge);
    std::thread::sleep(REST);
    let processes = processes.begun() - begun;
    Start { known: milliseconds(connected, known), packet: milliseconds(connected, packet), processes }
}

/// Starts so many containers while nobody else asks the engine. Returns the times from the event to the engine's answer about
/// the network, in milliseconds: nobody knows the container's address sooner.
pub(crate) fn answers(api: &Api, world: &World, number: usize) -> Vec<f64> {
    let answer = |_| {
        let container = api.create(&world.newcomer);
        let starting = api.start(&container);
        let connected = api.event("connect", &container).at;
        api.inspect(&world.network);
        let answered = now();
        api.started(starting);
        api.remove(&container);
        std::thread::sleep(REST);
        milliseconds(connected, answered)
    };
    (0..number).map(answer).collect()
}

/// Milliseconds between two moments in nanoseconds since the beginning of 1970.
pub(crate) fn milliseconds(from: i64, to: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a difference of minutes at most")]
    let nanoseconds = (to - from) as f64;
    nanoseconds / 1e6
}
