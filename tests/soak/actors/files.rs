//! Policies are edited, broken, mended, moved and opened for a guest, who is forbidden again after that.

use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;

use super::{pause, wait};
use crate::ledger::Kind;
use crate::support::world::rules;
use crate::world::{FORMS, GUESTS, World};

/// Edits policies, time and again.
pub(crate) fn act(world: &World, random: &mut StdRng) {
    let mut noise: Vec<String> = Vec::new();
    while !world.is_over() {
        match random.random_range(0..8) {
            0 | 1 => {
                let form = random.random_range(0..FORMS.len());
                world.ledger.record(Kind::Policy, format!("the policies in form {form}"), || {
                    world.policies.save("policies.yaml", FORMS[form]);
                });
            }
            2 | 3 => add_noise(world, random, &mut noise),
            4 => {
                if let Some(name) = noise.pop() {
                    world.ledger.record(Kind::Policy, format!("{name} is removed"), || world.policies.remove(&name));
                }
            }
            5 => {
                let form = FORMS[random.random_range(0..FORMS.len())];
                world.ledger.record(Kind::Policy, "the policies are broken, and mended", || {
                    world.policies.save("policies.yaml", &format!("{form}\n{{"));
                    pause(random, 800);
                    world.policies.save("policies.yaml", form);
                });
            }
            _ => let_a_guest_in(world, random),
        }
        pause(random, 1200);
    }
}

/// A policy that changes chains, classes, sets and their order, and nothing of what is probed.
fn add_noise(world: &World, random: &mut StdRng, noise: &mut Vec<String>) {
    let number = random.random_range(0..6);
    let name = format!("noise-{number}.yaml");
    let role = ["server", "client", "sealed", "intruder"][random.random_range(0..4)];
    let (order, port) = (random.random_range(1..500), random.random_range(1..60_000));
    let text = format!(
        "{{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {{name: noise-{number}}}, spec: {{
            order: {order}, selector: role == '{role}', types: [Ingress], ingress: [
                {{action: Allow, protocol: TCP, source: {{selector: role == 'nobody'}}, destination: {{ports: [{port}]}}}},
                {{action: Deny, source: {{nets: [192.0.2.{number}/32]}}}}]}}}}"
    );
    world.ledger.record(Kind::Policy, format!("{name} is saved"), || world.policies.save(&name, &text));
    if !noise.contains(&name) {
        noise.push(name);
    }
}

/// What a guest may do depends on a file. It is forbidden again when no rule mentions it any more.
fn let_a_guest_in(world: &World, random: &mut StdRng) {
    world.guests.open(Instant::now());
    world.ledger.record(Kind::Policy, "guests are let in", || {
        world.policies.save("guests.yaml", GUESTS);
        // A controller that has read the file already may put its rules in force after the file is gone.
        wait("the rules for guests", || rules(&world.lab).contains("guests"));
        pause(random, 1000);
        world.policies.remove("guests.yaml");
        wait("the rules for guests to go", || !rules(&world.lab).contains("guests"));
    });
    // Rules first, then flows.
    thread::sleep(Duration::from_secs(1));
    world.guests.close(Instant::now());
}
