//! Policies that the kernel refuses.
//!
//! Input: a ruleset that the kernel has refused. Output: the policies that it refuses each on its own, which are closed
//! instead, and tried again after a while. Only what the kernel has judged counts: a lock that somebody holds would
//! otherwise close everything.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::super::core::Core;
use super::Enforcer;
use crate::dataplane::{self, Kernel};
use crate::policy::PolicyKey;
use crate::telemetry::chain;

/// How long a policy that the kernel refused is closed before it is tried again: a module may have been loaded meanwhile.
const REFUSAL_REST: Duration = Duration::from_secs(300);

impl Enforcer {
    /// Finds the policies that the kernel refuses on their own and has them closed instead. Returns whether there are
    /// any that were not known before.
    pub(super) fn exclude_refused(&mut self, core: &mut Core) -> bool {
        let Some(state) = core.policies() else { return false };
        let policies = state.policies.policies.iter().filter(|policy| !policy.key.kind.is_staged());
        let policies: Vec<PolicyKey> = policies.map(|policy| policy.key.clone()).collect();
        let Some(refused) = self.try_each(core, &policies) else { return false };
        if refused.is_empty() || !core.refuse(refused) {
            return false;
        }
        self.reconsider_at = Some(Instant::now() + REFUSAL_REST);
        true
    }

    /// Tries policies again that were refused, once they have been closed for a while. Those that the kernel takes by now
    /// are in force again.
    pub(super) fn reconsider_refused(&mut self, core: &mut Core, now: Instant) {
        if core.refused().is_empty() {
            self.reconsider_at = None;
        } else if self.reconsider_at.is_some_and(|at| at <= now) {
            self.reconsider_at = Some(now + REFUSAL_REST);
            let refused: Vec<PolicyKey> = core.refused().iter().cloned().collect();
            if let Some(still) = self.try_each(core, &refused) {
                core.refuse(still);
            }
        }
    }

    /// Those of the policies that the kernel refuses on their own; `None` when that cannot be found out.
    fn try_each(&self, core: &Core, policies: &[PolicyKey]) -> Option<BTreeSet<PolicyKey>> {
        let kernel = Kernel::open(self.options).ok()?;
        let cannot_try = |error: &dataplane::Error| warn!(error = %chain(error), "policies cannot be tried one by one");
        kernel.test_nothing().inspect_err(cannot_try).ok()?;
        let mut refused = BTreeSet::new();
        for key in policies {
            let Some(alone) = core.alone(key) else { continue };
            match kernel.test(&alone.ruleset) {
                Ok(()) => {}
                // Whatever made nothing fail just now may have made this fail, too.
                Err(reason) if reason.is_refusal() && kernel.test_nothing().is_ok() => {
                    let found = core.policies().into_iter().flat_map(|state| &state.policies.policies);
                    let place =
                        found.filter(|policy| policy.key == *key).map(|policy| policy.location.to_string()).next();
                    let place = place.unwrap_or_default();
                    error!(policy = %key, place, reason = %chain(&reason), "the kernel refuses this policy");
                    refused.insert(key.clone());
                }
                Err(error) => {
                    cannot_try(&error);
                    return None;
                }
            }
        }
        Some(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::core::Need;
    use super::*;
    use crate::compile;
    use crate::policy::{PolicyKind, Store};

    #[test]
    fn policies_that_were_refused_are_tried_again_after_a_while_and_stay_closed_until_they_are_taken() {
        let mut core = Core::new(compile::Options::default(), Store::default());
        let mut enforcer = Enforcer::default();
        let key = PolicyKey { kind: PolicyKind::NetworkPolicy, namespace: None, name: "x".to_owned() };
        assert!(core.refuse([key.clone()].into()));
        let now = Instant::now();
        enforcer.reconsider_at = Some(now + REFUSAL_REST);
        assert_eq!(enforcer.retry(), Some((now + REFUSAL_REST, Need::Apply)));
        enforcer.reconsider_refused(&mut core, now);
        assert_eq!(enforcer.reconsider_at, Some(now + REFUSAL_REST), "it is too early");
        core.refuse(BTreeSet::new());
        enforcer.reconsider_refused(&mut core, now);
        assert_eq!(enforcer.reconsider_at, None, "there is nothing to try again");
    }
}
