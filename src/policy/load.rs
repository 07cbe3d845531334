//! Files to a policy set: what each of them says, put together.
//!
//! Input: [`SourceFile`]s, or their readings. Output: [`Loaded`]. The result does not depend on the order of the files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Resource;
use super::diagnostic::did_you_mean;
use super::field::FieldPath;
use super::reading::{Entry, Found, Identity, Reading};
use super::{Diagnostic, Loaded, Location, NetworkSet, Policy, PolicySet, SourceFile, Tier, codes, order};

/// Parses and checks policy files. The daemon and `validate` both call this and nothing else.
pub fn load(files: &[SourceFile]) -> Loaded {
    let mut files: Vec<&SourceFile> = files.iter().collect();
    files.sort();
    combine(files.into_iter().map(|file| Arc::new(Reading::of(file))))
}

/// As [`load`], of what was read already, in the order of the files.
pub(super) fn combine(readings: impl IntoIterator<Item = Arc<Reading>>) -> Loaded {
    combine_with_former(readings, []).0
}

/// Like [`combine`], but of two resources with one identity the one counts whose file comes first here. After
/// the files come former versions, which give only what nothing before them defines; for each of them the second result
/// says what that is. Of what is wrong with them, only an unknown tier is a finding.
pub(super) fn combine_with_former(
    readings: impl IntoIterator<Item = Arc<Reading>>,
    former: impl IntoIterator<Item = Arc<Reading>>,
) -> (Loaded, Vec<Vec<Identity>>) {
    let mut loader = Loader::default();
    for reading in readings {
        loader.reading(&reading);
    }
    let given = former.into_iter().map(|version| loader.fill(&version)).collect();
    (loader.finish(), given)
}

#[derive(Default)]
struct Loader {
    policies: Vec<(Policy, Location)>,
    /// Tiers that invalid policies name, and where.
    named_tiers: Vec<(String, Location)>,
    network_sets: Vec<NetworkSet>,
    tiers: Vec<Tier>,
    /// Where each resource was first defined.
    defined: BTreeMap<Identity, Location>,
    resources: BTreeMap<String, usize>,
    diagnostics: Vec<Diagnostic>,
}

impl Loader {
    fn reading(&mut self, reading: &Reading) {
        for entry in &reading.entries {
            match entry {
                Entry::Finding(finding) => self.diagnostics.push(finding.clone()),
                Entry::Tier(name, place) => self.named_tiers.push((name.clone(), place.clone())),
                Entry::Resource(found) => self.resource(found),
            }
        }
    }

    /// Takes from a former version what nothing has defined yet, and says what that was.
    fn fill(&mut self, version: &Reading) -> Vec<Identity> {
        let (findings, named_tiers) = (self.diagnostics.len(), self.named_tiers.len());
        let mut given = Vec::new();
        for found in version.resources().rev() {
            if let Some(identity) = found.identity.as_ref().filter(|identity| !self.defined.contains_key(identity)) {
                self.resource(found);
                given.push(identity.clone());
            }
        }
        self.diagnostics.truncate(findings);
        self.named_tiers.truncate(named_tiers);
        given
    }

    fn resource(&mut self, found: &Found) {
        *self.resources.entry(found.kind.to_owned()).or_default() += 1;
        let is_first = self.is_first(found);
        self.diagnostics.extend(found.findings.iter().cloned());
        self.named_tiers.extend(found.tier.clone());
        match found.resource.as_ref().filter(|_| is_first) {
            Some(Resource::Policy(policy, tier_place)) => self.policies.push((policy.clone(), tier_place.clone())),
            Some(Resource::NetworkSet(set)) => self.network_sets.push(set.clone()),
            Some(Resource::Tier(tier)) => self.tiers.push(tier.clone()),
            Some(Resource::Nothing) | None => {}
        }
    }

    /// Whether no resource of this identity came before; reports it otherwise. An invalid one counts too: which of two
    /// is meant is not for us to guess.
    fn is_first(&mut self, found: &Found) -> bool {
        let Some(identity) = &found.identity else { return true };
        let first = self.defined.entry(identity.clone()).or_insert_with(|| found.place.clone());
        if *first == found.place {
            return true;
        }
        let message = format!("{} at {first}", found.duplicate.message);
        self.diagnostics.push(Diagnostic { message, ..found.duplicate.clone() });
        false
    }

    fn finish(mut self) -> Loaded {
        let places: Vec<Location> = self.policies.iter().map(|(_, place)| place.clone()).collect();
        let mut policies: Vec<Policy> = self.policies.into_iter().map(|(policy, _)| policy).collect();
        let tiers = order::tiers(self.tiers, &policies);
        let named = policies.iter().map(|policy| policy.tier.clone()).zip(places).chain(self.named_tiers);
        for (name, place) in named {
            let known = || tiers.iter().filter(|tier| tier.declared).map(|tier| tier.name.as_str());
            if known().all(|known| known != name) {
                let help = did_you_mean(&name, known()).unwrap_or_else(|| "add a Tier of this name".to_owned());
                let message = format!("there is no tier `{name}`");
                let path = FieldPath::root().key("spec.tier");
                self.diagnostics.push(Diagnostic::new(&codes::UNKNOWN_TIER, place, &path, message).with_help(help));
            }
        }
        order::sort_policies(&mut policies, &tiers);
        self.network_sets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Diagnostic::sort(&mut self.diagnostics);
        Loaded {
            policies: PolicySet { tiers, policies, network_sets: self.network_sets },
            diagnostics: self.diagnostics,
            resources: self.resources,
        }
    }
}

#[cfg(test)]
mod tests;
