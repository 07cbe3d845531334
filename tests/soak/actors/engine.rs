//! dockerd ends and starts again; its containers live on.

use rand::RngExt;
use rand::rngs::StdRng;

use super::pause;
use crate::ledger::Kind;
use crate::support::world::repair_limit;
use crate::world::World;

/// Stops or kills dockerd, time and again.
pub(crate) fn act(world: &World, random: &mut StdRng) {
    while !world.is_over() {
        world.rest(random.random_range(4_000..12_000));
        if world.is_over() {
            return;
        }
        // A restart of a probed container is not cut in two: whether the engine gets it done is not our affair.
        let _absence = world.engine_stays.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kill = random.random_ratio(1, 2);
        let what = if kill { "dockerd is killed" } else { "dockerd is stopped" };
        world.ledger.record_with(Kind::Dockerd, what, repair_limit(), || {
            if kill {
                world.lab.kill_engine();
            } else {
                world.lab.stop_engine();
            }
            pause(random, 1500);
            world.lab.start_engine();
        });
    }
}
