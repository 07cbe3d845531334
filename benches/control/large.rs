//! What is measured in the largest world: starts, an edit of a policy, memory, and what doing nothing costs.
//!
//! Input: a running controller. Output: [`Large`]. What a time is compared with is measured in the same round.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::controller::{Controller, Place, Tools};
use crate::part::Part;
use crate::point::START_LIMIT;
use crate::progress;
use crate::rules::{Rules, load_beside};
use crate::samples::Samples;
use crate::scale::Scale;

/// Starts on an empty kernel.
const STARTS: usize = 3;
const EDITS: usize = 7;
/// How long an edit may take.
const EDIT_LIMIT: Duration = Duration::from_secs(30);
/// How long nothing happens: longer than the interval in which the engine is listed anew.
const IDLE_SECONDS: usize = 35;
/// The policy that is edited. It selects one label set.
const EDITED: usize = 800;

/// The figures; times in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Large {
    pub(crate) starts: Samples,
    /// `ipset restore` and `iptables-restore` of the same text.
    pub(crate) loads: Samples,
    pub(crate) edits: Samples,
    /// `iptables-restore --noflush` of the chains that an edit has changed.
    pub(crate) edit_loads: Samples,
    /// MB.
    pub(crate) resident: f64,
    /// Part of a core in the second in the middle of all, and over all of them.
    pub(crate) idle: f64,
    pub(crate) idle_with_list: f64,
}

/// The file of a policy.
pub(crate) fn policy_file(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("policy-{number}.yaml"))
}

pub(crate) fn measure(place: &Place<'_>, mut controller: Controller, scale: &Scale) -> Large {
    let mut large = Large { resident: controller.resident(), ..Large::default() };
    if Part::Idle.is_wanted() {
        progress(scale.endpoints, &format!("{IDLE_SECONDS} s in which nothing happens"));
        large.idle(&controller);
    }
    if Part::Edits.is_wanted() {
        progress(scale.endpoints, &format!("{EDITS} edits of a policy"));
        large.edit(place, &mut controller, scale);
    }
    drop(controller);
    if Part::Starts.is_wanted() {
        progress(scale.endpoints, &format!("{STARTS} starts"));
        large.start(place);
    }
    large
}

impl Large {
    fn idle(&mut self, controller: &Controller) {
        let mut seconds = Samples::default();
        let (first, began) = (controller.processor_time(), Instant::now());
        let (mut last, mut at) = (first, began);
        for _ in 0..IDLE_SECONDS {
            thread::sleep(Duration::from_secs(1));
            let (used, now) = (controller.processor_time(), Instant::now());
            seconds.push(used.saturating_sub(last).as_secs_f64() / (now - at).as_secs_f64());
            (last, at) = (used, now);
        }
        self.idle = seconds.median().unwrap_or_default();
        self.idle_with_list = last.saturating_sub(first).as_secs_f64() / began.elapsed().as_secs_f64();
    }

    fn edit(&mut self, place: &Place<'_>, controller: &mut Controller, scale: &Scale) {
        let original = scale.policies().swap_remove(EDITED);
        let file = policy_file(place.policies, EDITED);
        let draft = place.directory.join("draft");
        let mut before = Rules::of(place.host);
        let (_, copy) = before.load();
        for round in 0..EDITS {
            let edited = original.replace("ports: [80,", &format!("ports: [{},", 20_000 + round));
            assert_ne!(edited, original, "the policy has a rule about port 80");
            fs::write(&draft, edited).expect("a temporary directory takes files");
            controller.forget_log();
            let saved = Instant::now();
            fs::rename(&draft, &file).expect("both are in temporary directories");
            let Some(applied) = controller.applied(EDIT_LIMIT) else {
                self.edits.push_time(EDIT_LIMIT);
                break;
            };
            self.edits.push_time(applied - saved);
            let now = Rules::of(place.host);
            let changed = now.changed_since(&before);
            assert!(
                changed.iter().all(|text| text.contains(&(20_000 + round).to_string())),
                "the edit is in force in both families"
            );
            self.edit_loads.push_time(load_beside(&copy, &changed));
            before = now;
        }
        fs::write(file, original).expect("a temporary directory takes files");
    }

    fn start(&mut self, place: &Place<'_>) {
        let rules = Rules::of(place.host);
        // The kernel takes its time to clear a namespace away: not while others are measured.
        let mut copies = Vec::new();
        for _ in 0..STARTS {
            let (took, copy) = rules.load();
            self.loads.push_time(took);
            copies.push(copy);
            place.clean();
            let mut controller = Controller::start(place, Tools::Bare);
            let in_sync = controller.applied(START_LIMIT);
            self.starts.push_time(in_sync.map_or(START_LIMIT, |in_sync| in_sync - controller.started()));
        }
    }
}
