//! What `policy_test` says of invariants in generated worlds is what `reach` says, which another test holds to `verdict`.
//! `tests/agreement` has the single cases.

#[path = "support/policies.rs"]
mod policies;
#[path = "support/worlds.rs"]
mod worlds;

use std::collections::BTreeSet;

use dockgate::compile::{Options, compile};
use dockgate::policy::{SourceFile, load};
use dockgate::policy_test::{self, Coverage, Judge};
use dockgate::reach::{Party, Reach};

use policies::policies;
use worlds::inventory;

fn name<'r>(reach: &'r Reach<'_>, party: Party) -> &'r str {
    match party {
        Party::Container(index) => &reach.containers()[index].name,
        Party::Host | Party::Outside(_) => panic!("{party:?} is no container"),
    }
}

/// Invariants say of all ports what cases say of each: what is open between two parties breaks `Deny` exactly there, and what
/// is excepted breaks nothing.
#[test]
fn an_invariant_is_broken_by_exactly_what_reach_says_is_open() {
    for seed in 0..100 {
        let loaded = load(&[SourceFile::new("policies.yaml", policies(seed))]);
        let world = inventory(seed);
        let compiled = compile(&loaded.policies, &world, &Options::default());
        let reach = Reach::new(&world, &compiled, &BTreeSet::new());
        let mut judge = Judge::new(&world, &loaded.policies, &compiled);
        let containers: Vec<Party> = reach.parties().filter(|party| matches!(party, Party::Container(_))).collect();
        for pair in containers.windows(2) {
            let (from, to) = (name(&reach, pair[0]), name(&reach, pair[1]));
            let is_open = reach.ways(pair[0], pair[1]).iter().any(|way| !way.open().is_empty());
            let text = format!(
                "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {{}}\nspec:\n  invariants:\n    \
                 - {{from: {from}, to: {to}, expect: Deny}}\n    \
                 - {{from: {from}, to: {to}, expect: Deny, except: [{{to: {to}}}]}}\n"
            );
            let (tests, findings) = policy_test::load(&[SourceFile::new("generated.yaml", text)]);
            assert_eq!(findings, []);
            let told = judge.run(&tests[0], &mut Coverage::default());
            assert_eq!(told[0].is_met(), !is_open, "seed {seed}: {:?}", told[0]);
            // Nothing is left of it, and that is no pass either.
            assert_eq!(told[1].failures, ["asks about nothing: exceptions leave nothing of it"], "seed {seed}");
        }
    }
}
