//! Which policies select all that another selects.
//!
//! Input: policies. Output: answers by their places in the policy set, each proved once for every pair of selectors: in a
//! large set of policies the pairs are many, and different selectors are few.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::policy::PolicySet;
use crate::selector::Selector;

/// The selectors of all policies.
pub(super) struct Implications<'a> {
    distinct: Vec<Distinct<'a>>,
    /// By place of the policy, the place of its selector.
    of_policy: Vec<usize>,
    proved: RefCell<BTreeMap<(usize, usize), bool>>,
}

struct Distinct<'a> {
    selector: &'a Selector,
    /// Labels that it matches. What does not match them is not implied, which settles most pairs.
    example: Option<BTreeMap<String, String>>,
}

impl<'a> Implications<'a> {
    pub(super) fn new(policies: &'a PolicySet) -> Implications<'a> {
        let mut distinct = Vec::new();
        let mut places = BTreeMap::new();
        let of_policy = policies.policies.iter().map(|policy| {
            *places.entry(&policy.selector).or_insert_with(|| {
                distinct.push(Distinct { selector: &policy.selector, example: policy.selector.example() });
                distinct.len() - 1
            })
        });
        let of_policy = of_policy.collect();
        Implications { distinct, of_policy, proved: RefCell::default() }
    }

    /// Whether the second policy is proved to select all that the first selects.
    pub(super) fn holds(&self, narrow: usize, wide: usize) -> bool {
        let (narrow, wide) = (self.of_policy[narrow], self.of_policy[wide]);
        *self.proved.borrow_mut().entry((narrow, wide)).or_insert_with(|| {
            let Distinct { selector, example } = &self.distinct[narrow];
            let wide = self.distinct[wide].selector;
            example.as_ref().is_none_or(|example| wide.matches(example)) && selector.implies(wide)
        })
    }
}
