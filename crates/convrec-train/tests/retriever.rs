//! Policies that begin with a retriever's scores.

mod common;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use burn::module::Module;
use common::{World, conversations, policy, retrieved};
use convrec_core::{Candidates, Demonstration, Example, Item, ItemId};
use convrec_train::evaluate::{Decoding, evaluate};
use convrec_train::{
    RankGrpoTrainer, RlConfig, RunOptions, Sample, SftConfig, SftJob, Task, Validation, train_sft,
};

#[test]
fn a_policy_that_says_little_lists_what_the_retriever_ranks_first() {
    let world = retrieved(4, 1e4);
    let World { task, samples, .. } = &world;
    let decoding = Decoding::greedy(24, 8);
    let found = evaluate(&policy(&world).valid(), task, samples, &decoding);
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
    let world = retrieved(3, 1.0);
    let World { task, samples, .. } = &world;
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
    RankGrpoTrainer::new(policy(&world), task, samples)
        .config(config)
        .observer(&mut |view: &convrec_train::StepView<'_>| log.push(view.record.clone()))
        .train()
        .unwrap();
    assert_eq!(log.len(), 3);
    for sample in samples {
        let outside = ItemId(
            (0..6)
                .find(|id| {
                    let found = sample.candidates.as_ref().unwrap();
                    !found.items().contains(&ItemId(*id))
                })
                .unwrap(),
        );
        let list = [task.catalog()[outside].item(), sample_item(task, sample)];
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
    let world = retrieved(2, 1.0);
    let task = &world.task;
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
    let pairs: Vec<_> = conversations(task.catalog()).iter().map(pair).collect();
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
        task,
        data: &pairs,
        validation: Validation {
            task,
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

/// What another search found is scored by the retriever, so that a policy that says little ranks it
/// as the retriever does, in whatever order it was found.
#[test]
fn candidates_of_another_search_are_ranked_by_the_retrievers_scores() {
    let world = retrieved(6, 1e4);
    let task = &world.task;
    let policy = policy(&world).valid();
    for example in conversations(task.catalog()) {
        let sample = task.sample(&example).unwrap();
        let own = sample.candidates.clone().unwrap();
        // The worst first, a seen film among them.
        let found: Vec<ItemId> = own.items().iter().rev().take(3).copied().collect();
        let given = Candidates::new(found.iter().copied().chain(sample.seen.iter().copied()));
        let scored = task.prior_among(&example, given);
        assert_eq!(scored.items(), found);
        for (id, score) in found.iter().zip(scored.scores().unwrap()) {
            let place = own.items().iter().position(|own| own == id).unwrap();
            assert_eq!(*score, own.scores().unwrap()[place]);
        }
        let best = scored
            .scores()
            .unwrap()
            .iter()
            .copied()
            .fold(f32::MIN, f32::max);
        // Scores that somebody gave are kept.
        let others = Candidates::scored([(found[0], 1.0)]);
        assert_eq!(task.prior_among(&example, others.clone()), others);

        let sample = task.among(sample, scored.clone()).unwrap();
        let answered = evaluate(&policy, task, &[sample], &Decoding::greedy(24, 8));
        let first = answered.samples[0].list[0];
        let place = found.iter().position(|id| *id == first).unwrap();
        assert!(best - scored.scores().unwrap()[place] < 1.0, "{scored:?}");
    }
}
