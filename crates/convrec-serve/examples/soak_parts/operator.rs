//! Who reloads, watches and kills.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::life::Sample;
use super::rest;
use super::world::{World, add};
use crate::support::client::Client;
use crate::support::process::{descriptors, memory};

/// Exchanges the weights, reads the catalog once more, and asks for what must be refused.
pub fn reload(world: &World, every: Duration, until: Instant) {
    let mut turn = 0_usize;
    while rest(every, until) {
        turn += 1;
        let life = world.life();
        let now = *life.versions.lock().unwrap().last().unwrap();
        let mut client = Client::new(life.address).with_key(&world.key);
        let (body, weights): (Value, Option<usize>) = match turn % 5 {
            0 => (json!({ "path": world.weights(7) }), None),
            1 => (json!({ "path": "/etc" }), None),
            2 => (
                json!({ "catalog": world.folder.path().join("catalog.jsonl") }),
                Some(now),
            ),
            _ => (json!({ "path": world.weights(1 - now) }), Some(1 - now)),
        };
        // Answers may be of the new version before this one comes.
        if let Some(weights) = weights {
            life.versions.lock().unwrap().push(weights);
        }
        let Some(answer) = client.post("/admin/reload", &body.to_string()) else {
            continue;
        };
        match (answer.status, weights) {
            (200, Some(_)) => add(&world.counts.reloads),
            (400 | 403, None) => add(&world.counts.refused_reloads),
            (503, _) => {
                life.versions.lock().unwrap().pop();
            }
            (status, _) => {
                let problem = format!("reload: {body} -> {status} {}", answer.body);
                world.counts.wrong.lock().unwrap().push(problem);
            }
        }
    }
}

/// Takes down what the server holds.
pub fn watch(world: &World, until: Instant) {
    while rest(Duration::from_secs(2), until) {
        let life = world.life();
        let sample = Sample {
            seconds: life.born.elapsed().as_secs_f64(),
            memory: memory(&life.process),
            descriptors: descriptors(&life.process),
        };
        // Where it was just killed there is nothing.
        if sample.memory > 0 {
            life.samples.lock().unwrap().push(sample);
        }
    }
}

/// Ends the server, by turns at once and gently, and starts another one.
pub fn kill(world: &World, every: Duration, until: Instant) {
    let mut turn = 0;
    while rest(every, until) {
        // The last server is watched for a while too.
        if until.saturating_duration_since(Instant::now()) < every / 2 {
            rest(every, until);
            return;
        }
        if !world.life().end(turn % 2 == 0) {
            add(&world.counts.bad_ends);
        }
        world.restart();
        turn += 1;
    }
}
