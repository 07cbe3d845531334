//! Tier.
//!
//! Input: the wire form. Output: a [`Tier`]. The well-known tiers may be declared, but not changed: policies of every
//! source rely on where they lie.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::findings::{Checked, Findings};
use super::metadata::{self, NameForm};
use super::{Resource, spec};
use crate::api::calico;
use crate::policy::order::well_known_tiers;
use crate::policy::{DefaultAction, Order, Tier, codes};

pub(super) fn check(findings: &mut Findings<'_>, metadata: &ObjectMeta, wire: &calico::TierSpec) -> Checked<Resource> {
    let identity = metadata::check(findings, metadata, NameForm::Label, false);
    let default_action = match wire.default_action.unwrap_or_default() {
        calico::DefaultAction::Deny => DefaultAction::Deny,
        calico::DefaultAction::Pass => DefaultAction::Pass,
    };
    let tier = Tier { name: identity?.name, order: Order(wire.order), default_action, declared: true };
    if let Some(known) = well_known_tiers().into_iter().find(|known| known.name == tier.name)
        && known != tier
    {
        let field = if known.order == tier.order { "defaultAction" } else { "order" };
        let order = known.order.0.unwrap_or(f64::INFINITY);
        let help =
            format!("leave the resource out, or use `order: {order}` and `defaultAction: {}`", known.default_action);
        let message = format!("the tier `{}` has a fixed order and default action", tier.name);
        return Err(findings.value_with_help(&codes::WELL_KNOWN_TIER, &spec().key(field), message, help));
    }
    Ok(Resource::Tier(tier))
}
