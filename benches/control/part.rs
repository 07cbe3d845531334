//! The parts of this program, each of which can be measured alone.

use std::io;
use std::sync::OnceLock;

use crate::choice;

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Pure,
    Events,
    Idle,
    Edits,
    Starts,
    Replicas,
}

static CHOSEN: OnceLock<Vec<Part>> = OnceLock::new();

impl Part {
    const ALL: [Part; 6] = [Part::Pure, Part::Events, Part::Idle, Part::Edits, Part::Starts, Part::Replicas];

    fn name(self) -> &'static str {
        match self {
            Part::Pure => "pure",
            Part::Events => "events",
            Part::Idle => "idle",
            Part::Edits => "edits",
            Part::Starts => "starts",
            Part::Replicas => "replicas",
        }
    }

    /// Chooses those that the environment names; all, where it names none. Returns whether it is all.
    pub(crate) fn choose() -> io::Result<bool> {
        let named = |name: &str| Part::ALL.into_iter().find(|part| part.name() == name);
        let known = format!("one of {}", Part::ALL.map(Part::name).join(", "));
        let chosen = choice::values("DOCKGATE_BENCH_PARTS", named, &known)?;
        let all = chosen.is_none();
        CHOSEN.get_or_init(|| chosen.unwrap_or_else(|| Part::ALL.to_vec()));
        Ok(all)
    }

    /// Whether it is to be measured.
    pub(crate) fn is_wanted(self) -> bool {
        CHOSEN.get().is_none_or(|chosen| chosen.contains(&self))
    }
}
