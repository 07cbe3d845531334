//! Policies that select containers for which they are not in force.
//!
//! Input: policies and a world. Output: a finding for each policy and each container out of its reach. What is out of reach
//! is [`compile::out_of_reach`]'s to say, as it is for the running controller.

use crate::compile;
use crate::policy::codes;

use super::Context;
use super::place::{Finding, Place};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let Some(world) = &context.world else { return Vec::new() };
    let mut findings = Vec::new();
    for found in compile::out_of_reach(context.policies, world.inventory, world.inventory.containers.values()) {
        for policy in &found.policies {
            let message = format!("policy {} selects {found}", policy.key);
            let name = &found.endpoint.container.name;
            let help = format!(
                "leave it out of the selector, give it a bridge network, or start the controller with \
                 --accept-out-of-reach {name}"
            );
            findings.push(Finding::new(&codes::OUT_OF_REACH, Place::policy(policy), message).with_help(help));
        }
    }
    findings
}
