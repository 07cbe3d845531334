use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::compile::worlds::{
    POLICIES, address, attachment, change, container, edited, network_id, networks, policies,
};
use crate::inventory::{Attachment, Change, ContainerId};
use crate::policy::{SourceFile, load};

/// The incremental ruleset is that of a full compilation after every change, whatever came before.
#[test]
fn what_is_followed_is_what_is_compiled_anew() {
    let random = &mut StdRng::seed_from_u64(0);
    let variants: Vec<PolicySet> = (0..60).map(|_| policies(&edited(random))).collect();
    let options = Options::default();
    let (mut followed, mut anew, mut edited) = (0, 0, 0);
    for seed in 0..400 {
        let random = &mut StdRng::seed_from_u64(seed);
        let of_networks = networks().into_iter().map(|network| (network.id.clone(), network));
        let mut inventory = Inventory { networks: of_networks.collect(), ..Inventory::default() };
        for _ in 0..random.random_range(0..12) {
            inventory.apply(Change::Container(container(random).into()));
        }
        let mut policies = variants.choose(random).expect("there are some");
        // In a tree each branch has sets of its own.
        let few = if seed % 2 == 0 { FEW } else { 1 };
        let mut compiler = Compiler::with_rows_of(few, policies, &inventory, &options);
        let mut former = Former::new();
        for step in 0..25 {
            let change = change(random, &inventory);
            let difference = inventory.apply(change.clone());
            for (id, before) in difference.containers {
                former.entry(id).or_insert(before);
            }
            if random.random_bool(0.2) {
                // Ports come to be judged without an event.
                for container in inventory.containers.values_mut() {
                    former.entry(container.id.clone()).or_insert_with(|| Some(container.clone().into()));
                    container.judged = container.published.iter().cloned().collect();
                }
            }
            // Several changes can come at once.
            if random.random_bool(0.3) {
                continue;
            }
            let former = std::mem::take(&mut former);
            if random.random_bool(0.3) {
                policies = variants.choose(random).expect("there are some");
                compiler = compiler.brought_to(policies, &inventory, &options, &former);
                edited += 1;
            } else if compiler.follow(policies, &inventory, &former) {
                followed += 1;
            } else {
                compiler = compiler.anew(policies, &inventory, &options);
                anew += 1;
            }
            let fresh = Compiler::with_rows_of(few, policies, &inventory, &options).into_compiled();
            assert_eq!(compiler.compiled(), &fresh, "seed {seed}, step {step}: {change:?}");
        }
    }
    let all = [followed, anew, edited];
    assert!(all.iter().all(|times| *times > 1000), "every way is tried: {all:?} followed, anew, edited");
}

/// An edit of a rule is followed, and all chains but those of that rule are the very ones of before.
#[test]
fn an_edit_of_a_rule_makes_few_chains() {
    let (random, options) = (&mut StdRng::seed_from_u64(3), Options::default());
    let of_networks = networks().into_iter().map(|network| (network.id.clone(), network));
    let mut inventory = Inventory { networks: of_networks.collect(), ..Inventory::default() };
    for _ in 0..20 {
        inventory.apply(Change::Container(container(random).into()));
    }
    let (before, after) = (policies(POLICIES), policies(&POLICIES.replace("ports: [http]", "ports: [80]")));
    let mut compiler = Compiler::new(&before, &inventory, &options);
    let former = compiler.compiled().ruleset.clone();
    assert!(compiler.follow_edit(&before, &after, &inventory, &options), "rules alone differ");
    assert_eq!(compiler.compiled(), &super::super::compile(&after, &inventory, &options));
    let mut new = 0;
    for (family, chains) in compiler.compiled().ruleset.chains.iter() {
        for (name, chain) in chains {
            let is_shared = former.chain(*family, name).is_some_and(|former| Arc::ptr_eq(former, chain));
            let is_about = chain.iter().any(|rule| rule.comment.contains("web"));
            assert!(is_shared || is_about, "{name}: {chain:?}");
            new += usize::from(!is_shared);
        }
    }
    assert!(new > 0, "the edit changes rules");
}

/// A replica of a service changes members alone, whatever else is on the host.
#[test]
fn a_replica_is_followed() {
    let (policies, options) = (load(&[SourceFile::new("p.yaml", POLICIES)]).policies, Options::default());
    let of_networks = networks().into_iter().map(|network| (network.id.clone(), network));
    let mut inventory = Inventory { networks: of_networks.collect(), ..Inventory::default() };
    let replica = |number: u16| {
        let random = &mut StdRng::seed_from_u64(0);
        let [ipv4, ipv6] = address(0, number + 2);
        let on_a = Attachment { network: network_id(0), ipv4, ipv6, ..attachment(random) };
        Container {
            id: ContainerId(number.to_string().into()),
            name: format!("web-{number}"),
            labels: [("app".into(), "web".into())].into(),
            attachments: vec![on_a],
            unenforceable: None,
            published: vec![],
            ..container(random)
        }
    };
    inventory.apply(Change::Container(replica(0).into()));
    let mut compiler = Compiler::new(&policies, &inventory, &options);
    for number in 1..5 {
        let difference = inventory.apply(Change::Container(replica(number).into()));
        assert!(compiler.follow(&policies, &inventory, &difference.containers), "{number}");
    }
    let difference = inventory.apply(Change::ContainerGone(ContainerId("0".into())));
    assert!(compiler.follow(&policies, &inventory, &difference.containers), "it goes");
    assert_eq!(compiler.compiled(), &super::super::compile(&policies, &inventory, &options));
}
