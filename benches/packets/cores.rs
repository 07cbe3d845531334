//! Threads bound to cores: where the scheduler moves the two ends of a flow between measurements, their speed differs by
//! more than any rules cost.
//!
//! Input: the number of a thread. Output: the thread is on one of the cores that this process may use, always the same one.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Binds the calling thread to the core of this number, counted from 0; where there are fewer cores, they are shared.
pub(crate) fn bind_to_core(number: usize) {
    const EXPECT: &str = "a thread may choose among its cores";
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).expect(EXPECT);
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true)).collect();
    let mut chosen = CpuSet::new();
    chosen.set(cores[number % cores.len()]).expect(EXPECT);
    sched_setaffinity(this_thread, &chosen).expect(EXPECT);
}
