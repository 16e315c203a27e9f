//! Policies that begin with a retriever's scores.

mod common;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use burn::module::Module;
use common::{World, policy, world};
use convrec_core::{Demonstration, Example, Item, ItemId, Turn};
use convrec_retrieve::Fitted;
use convrec_train::evaluate::{Decoding, evaluate};
use convrec_train::{
    RankGrpoTrainer, RlConfig, RunOptions, Sample, SftConfig, SftJob, Task, Validation, train_sft,
};

/// After a film with an odd number somebody is recommended the next one.
fn examples(world: &World) -> Vec<Example> {
    let names: Vec<Item> = world.task.catalog().iter().map(|(_, x)| x.item()).collect();
    let example = |n: usize| Example {
        id: format!("d{n}-1"),
        dialog: vec![Turn::user("something with robots")],
        seen: vec![names[2 * (n % 3)].clone()],
        ground_truth: vec![names[2 * (n % 3) + 1].clone()],
    };
    (0..12).map(example).collect()
}

fn task(world: &World, n_candidates: usize, weight: f32) -> Task {
    let catalog = world.task.catalog();
    let mut fitted = Fitted::fit(catalog, &examples(world)).unwrap();
    (fitted.n_candidates, fitted.weight) = (n_candidates, weight);
    let constrained = world.task.clone().constrained().unwrap();
    constrained.with_retriever(fitted.over(catalog).into())
}

#[test]
fn a_policy_that_says_little_lists_what_the_retriever_ranks_first() {
    let world = world();
    let task = task(&world, 4, 1e4);
    let samples: Vec<Sample> = examples(&world)
        .iter()
        .map(|example| task.sample(example).unwrap())
        .collect();
    let decoding = Decoding::greedy(24, 8);
    let found = evaluate(&policy(&world).valid(), &task, &samples, &decoding);
    for (sample, answered) in samples.iter().zip(&found.samples) {
        let candidates = sample.candidates.as_ref().unwrap();
        assert_eq!(candidates.len(), 4);
        assert_eq!(answered.list[0], candidates.items()[0]);
        // The second is one of the best that are left: several may be equally likely.
        let scores = candidates.scores().unwrap();
        let place = candidates
            .items()
            .iter()
            .position(|id| *id == answered.list[1]);
        assert!(scores[1] - scores[place.unwrap()] < 1.0, "{scores:?}");
        assert_eq!(answered.list[0], sample.ground_truth[0]);
    }
}

/// Every step compares the sampler's numbers with the trainer's, and fails where they differ.
#[test]
fn sampler_and_trainer_agree_under_a_prior() {
    let world = world();
    let task = task(&world, 3, 1.0);
    let samples: Vec<Sample> = examples(&world)
        .iter()
        .map(|example| task.sample(example).unwrap())
        .collect();
    let config = RlConfig {
        max_steps: 3,
        prompts_per_step: 4,
        num_generations: 4,
        num_iterations: 2,
        micro_batch: 5,
        max_completion_length: 24,
        ..RlConfig::default()
    };
    let mut log = vec![];
    RankGrpoTrainer::new(policy(&world), &task, &samples)
        .config(config)
        .observer(&mut |view: &convrec_train::StepView<'_>| log.push(view.record.clone()))
        .train()
        .unwrap();
    assert_eq!(log.len(), 3);
    for sample in &samples {
        let outside = ItemId(
            (0..6)
                .find(|id| {
                    let found = sample.candidates.as_ref().unwrap();
                    !found.items().contains(&ItemId(*id))
                })
                .unwrap(),
        );
        let list = [task.catalog()[outside].item(), sample_item(&task, sample)];
        let completion = task.prompter().completion(&list).unwrap();
        let walked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut constraint = task.constraint(sample).unwrap();
            convrec_policy::Allowed::along(constraint.as_mut(), &completion)
        }));
        assert!(
            walked.is_err(),
            "an item that is no candidate cannot be written"
        );
    }
}

fn sample_item(task: &Task, sample: &Sample) -> Item {
    let first = sample.candidates.as_ref().unwrap().items()[0];
    task.catalog()[first].item()
}

#[test]
fn demonstrated_items_can_be_learned_though_the_retriever_does_not_find_them() {
    let world = world();
    let task = task(&world, 2, 1.0);
    let pair = |example: &Example| {
        let sample = task.sample(example).unwrap();
        let found = sample.candidates.unwrap();
        let others = (0..6)
            .map(ItemId)
            .filter(|id| !found.items().contains(id) && !sample.seen.contains(id));
        let list = others.take(2).map(|id| task.catalog()[id].item()).collect();
        let demonstration = Demonstration {
            example: example.clone(),
            list,
        };
        task.pair(&demonstration).unwrap()
    };
    let pairs: Vec<_> = examples(&world).iter().map(pair).collect();
    assert!(
        pairs
            .iter()
            .all(|pair| pair.candidates.as_ref().unwrap().len() == 4)
    );
    let config = SftConfig {
        max_steps: 60,
        batch_size: 12,
        constrained: true,
        ..SftConfig::default()
    };
    let job = SftJob {
        task: &task,
        data: &pairs,
        validation: Validation {
            task: &task,
            samples: &[],
            decoding: Decoding::greedy(24, 8),
        },
        devices: &[],
    };
    let mut losses = vec![];
    let (options, inputs) = (RunOptions::default(), BTreeMap::new());
    let mut observer = |view: &convrec_train::StepView<'_>| {
        losses.push(view.record["loss"].as_f64().unwrap());
    };
    train_sft(
        policy(&world),
        job,
        &config,
        &options,
        inputs,
        &mut observer,
    )
    .unwrap();
    assert!(losses[59] < losses[0] - 0.1, "{} {}", losses[0], losses[59]);
}
