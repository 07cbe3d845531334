//! Which chain stands in which table of iptables.
//!
//! Input: a ruleset. Output: its chains by family and table.
//!
//! What is forwarded is judged in the mangle table: no engine writes into its FORWARD chain. In that of the filter table
//! Docker keeps its own jumps on top by deleting and inserting them, and at a start it puts a chain that accepts above
//! everything else; whatever stands in DOCKER-USER or in first place is out of reach for moments, by turns. The mangle
//! table is asked after the destination was translated and before the filter table, with the same addresses, and what it
//! drops nobody accepts any more.
//!
//! The rest stays in the filter table: `REJECT` is valid nowhere else, and this host's refusal of what `docker-proxy` may
//! not reach yet is one. For the same reason everything is there when denied packets are answered and not dropped.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::net::Family;
use crate::ruleset::{Action, Chain, ChainName, Hook, Ruleset};

/// A table of iptables that may hold chains of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Xtable {
    /// `-t mangle`
    Mangle,
    /// `-t filter`
    #[default]
    Filter,
}

impl Xtable {
    /// Both, in the order in which a packet passes them.
    pub const ALL: [Xtable; 2] = [Xtable::Mangle, Xtable::Filter];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Xtable::Mangle => "mangle",
            Xtable::Filter => "filter",
        }
    }
}

impl fmt::Display for Xtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table of a family.
pub type Place = (Family, Xtable);

/// Every table of every family.
pub(super) fn places() -> impl Iterator<Item = Place> {
    Family::ALL.into_iter().flat_map(|family| Xtable::ALL.map(|table| (family, table)))
}

/// Some chains of a ruleset.
pub(super) type Chains<'a> = BTreeMap<&'a ChainName, &'a Chain>;

/// Chains by place.
pub(super) type Placed<'a> = BTreeMap<Place, Chains<'a>>;

/// The chains of a ruleset by place; no place is empty. One that is used in both tables is in both.
pub(super) fn placed(ruleset: &Ruleset) -> Placed<'_> {
    let mut placed = BTreeMap::new();
    for (family, named) in ruleset.chains.iter() {
        let forward = reached(named, &[Hook::Forward]);
        let rejects = forward.values().any(|chain| chain.iter().any(|rule| rule.action == Action::Reject));
        let (mangle, filter) = if rejects {
            (Chains::new(), named.iter().collect())
        } else {
            let local = reached(named, &[Hook::Input, Hook::Output]);
            (forward, local)
        };
        placed.insert((*family, Xtable::Mangle), mangle);
        placed.insert((*family, Xtable::Filter), filter);
    }
    placed.retain(|_, chains| !chains.is_empty());
    placed
}

/// The table in which packets of a hook meet the rules.
pub(super) fn table_of(ruleset: &Ruleset, family: Family, hook: Hook) -> Xtable {
    let placed = placed(ruleset);
    let holds = |table: &Xtable| {
        placed.get(&(family, *table)).is_some_and(|chains| chains.contains_key(&ChainName::base(hook)))
    };
    Xtable::ALL.into_iter().find(holds).unwrap_or_default()
}

/// The chains that packets at these hooks may come to.
fn reached<'a>(named: &'a BTreeMap<ChainName, Chain>, hooks: &[Hook]) -> Chains<'a> {
    let mut reached = Chains::new();
    let bases: Vec<ChainName> = hooks.iter().map(|hook| ChainName::base(*hook)).collect();
    let mut ahead: Vec<&ChainName> = bases.iter().collect();
    while let Some(name) = ahead.pop() {
        let Some((name, chain)) = named.get_key_value(name) else { continue };
        if reached.insert(name, chain).is_none() {
            ahead.extend(chain.iter().filter_map(|rule| match &rule.action {
                Action::Jump(target) | Action::Goto(target) => Some(target),
                Action::Return | Action::Drop | Action::Reject | Action::Log { .. } => None,
            }));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Rule;

    #[test]
    fn what_is_forwarded_is_in_mangle_unless_it_is_answered() {
        let rule = |action| Rule { matches: [].into(), action, comment: "".into() };
        let class: ChainName = ChainName::of_content("out-class", "x");
        let base = |hook, action| (ChainName::base(hook), vec![rule(action)].into());
        let ruleset = |verdict: Action| Ruleset {
            chains: BTreeMap::from([(
                Family::V4,
                [
                    base(Hook::Forward, Action::Jump(class.clone())),
                    base(Hook::Input, Action::Goto(class.clone())),
                    base(Hook::Output, Action::Reject),
                    (class.clone(), vec![rule(verdict)].into()),
                ]
                .into(),
            )])
            .into(),
            ..Ruleset::default()
        };
        let names = |ruleset: &Ruleset| -> Vec<(Xtable, Vec<String>)> {
            let of = |(place, chains): (Place, Chains<'_>)| {
                (place.1, chains.into_keys().map(|name| name.as_str().to_owned()).collect())
            };
            placed(ruleset).into_iter().map(of).collect()
        };
        let [forward, input, output] = ["DG-FORWARD", "DG-INPUT", "DG-OUTPUT"].map(str::to_owned);
        let class = class.as_str().to_owned();
        let local = [input.clone(), output.clone(), class.clone()];
        assert_eq!(
            names(&ruleset(Action::Drop)),
            [(Xtable::Mangle, vec![forward.clone(), class.clone()]), (Xtable::Filter, local.to_vec())]
        );
        assert_eq!(names(&ruleset(Action::Reject)), [(Xtable::Filter, vec![forward, input, output, class])]);
        assert_eq!(names(&Ruleset::default()), []);
    }
}
