//! Controllers that are killed on their way, at every place in turn.
//!
//! Input: two worlds between which a controller has something to do, and where it is killed. Output: how often it was, and that
//! the next one came to what one comes to that lives.

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use crate::support::world::{packet_filter, wait_for};

use super::Accidents;
use super::wrappers::Wrappers;

/// What is between two moments at which a controller is killed, from its start on.
const KILL_PACE: Duration = Duration::from_millis(5);

/// Where a controller is killed on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// Before and after the Nth command that it has carry out a change.
    Command,
    /// Some time after its start. Of members of sets there is no command: they go over netlink.
    Moment,
}

/// Goes there and back between two worlds, as `go` makes them, time and again. The controller that carries the Nth change
/// of each kind out is killed at its Nth step, and another one has to come to the state that one which is not killed
/// comes to. Ends where it began, when no step is left to be killed at. Returns how many there were, there and back.
pub(super) fn kill_everywhere(
    accidents: &mut Accidents,
    at: At,
    mut go: impl FnMut(&mut Accidents, bool),
) -> [usize; 2] {
    let wrappers = Wrappers::new(&accidents.lab);
    let end = |accidents: &mut Accidents| accidents.controller.take().expect("there is one between rounds").crash();
    let wanted = [true, false].map(|there| {
        end(accidents);
        go(accidents, there);
        accidents.start_controller();
        packet_filter(&accidents.lab)
    });
    assert_ne!(wanted[0], wanted[1], "there is nothing to do between the two");
    let mut kills = [0, 0];
    let mut survived = [false, false];
    for step in 1_u32.. {
        for (way, there) in [true, false].into_iter().enumerate() {
            end(accidents);
            go(accidents, there);
            if !survived[way] {
                survived[way] = match at {
                    At::Command => {
                        survives_command(accidents, &wrappers, usize::try_from(step).expect("it is killed before that"))
                    }
                    At::Moment => survives_moment(accidents, KILL_PACE * step),
                };
                kills[way] += usize::from(!survived[way]);
                // Whatever is open now would let some of these pass.
                let enough = accidents.forbidden.sent() + 6;
                wait_for("probes of what it left", || accidents.forbidden.sent() >= enough);
            }
            accidents.start_controller();
            let found = packet_filter(&accidents.lab);
            assert_eq!(found, wanted[way], "killed at step {step}, there: {there}");
        }
        if survived == [true, true] {
            break;
        }
    }
    kills
}

/// Whether there are fewer commands than that, so that the controller is killed at none.
fn survives_command(accidents: &Accidents, wrappers: &Wrappers, step: usize) -> bool {
    wrappers.kill_at(step);
    let mut controller = accidents.lab.dockgate_with(&[("PATH", &wrappers.path())], &accidents.arguments());
    wait_for("the controller to be killed or to be ready", || {
        controller.ended().is_some() || controller.status().status.success()
    });
    wrappers.kill_at(0);
    let Some(status) = controller.ended() else {
        controller.crash();
        return true;
    };
    assert_eq!(status.signal(), Some(9), "{}", controller.log());
    false
}

/// Whether the controller has done what there was to do so long after its start; it is killed all the same.
fn survives_moment(accidents: &Accidents, after: Duration) -> bool {
    let controller = accidents.lab.dockgate(&accidents.arguments());
    let written = controller.written();
    thread::sleep(after);
    let done = controller.log_since(written).contains("applied");
    controller.crash();
    done
}
