//! The effects of single settings of reinforcement learning on a step.

mod common;

use std::collections::BTreeMap;

use common::{World, policy, world};
use convrec_core::ItemId;
use convrec_policy::{Completion, Generation, Policy};
use convrec_train::{
    BlockedReward, DynamicSampling, Listed, Local, RankGrpoTrainer, Record, RewardFunction,
    RewardTarget, RlConfig, RunOptions, Sample, Sampler, StepView, Stop, Task, TrainError,
    WatchConfig,
};
use convrec_watch::{Check, DoctorConfig};
use rank_grpo::LossConfig;

/// Four prompts of four completions, without a KL penalty.
fn config() -> RlConfig {
    RlConfig {
        max_steps: 2,
        prompts_per_step: 4,
        num_generations: 4,
        loss: LossConfig {
            kl: None,
            ..LossConfig::paper()
        },
        ..RlConfig::default()
    }
}

fn log(
    world: &World,
    samples: &[Sample],
    reward_functions: Vec<Box<dyn RewardFunction>>,
    config: &RlConfig,
) -> Result<Vec<Record>, TrainError> {
    let task = world.task.clone().constrained().unwrap();
    let mut log = Vec::new();
    let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
    RankGrpoTrainer::new(policy(world), &task, samples)
        .config(config.clone())
        .reward_functions(reward_functions)
        .observer(&mut observe)
        .train()?;
    Ok(log)
}

/// Samples for which no list is relevant, so that no completion has an advantage.
fn hopeless(world: &World) -> Vec<Sample> {
    world
        .samples
        .iter()
        .map(|sample| Sample {
            ground_truth: vec![],
            ..sample.clone()
        })
        .collect()
}

fn number(record: &Record, name: &str) -> f64 {
    record[name].as_f64().unwrap()
}

#[test]
fn without_any_advantage_only_a_bonus_moves_the_policy() {
    let world = world();
    let samples = hopeless(&world);
    for record in log(&world, &samples, vec![], &config()).unwrap() {
        assert_eq!(
            (number(&record, "active_rows"), number(&record, "grad_norm")),
            (0.0, 0.0)
        );
        // The schedule goes on, so a doctor sees that there was a rate and nothing moved.
        assert!(number(&record, "learning_rate") > 0.0);
        assert!(!record.contains_key("kl"), "none is measured");
    }
    let bonus = LossConfig {
        entropy_coef: 0.01,
        ..config().loss
    };
    for record in log(
        &world,
        &samples,
        vec![],
        &RlConfig {
            loss: bonus,
            ..config()
        },
    )
    .unwrap()
    {
        assert_eq!(number(&record, "active_rows"), 16.0);
        assert!(number(&record, "grad_norm") > 0.0);
    }
}

#[test]
fn dynamic_sampling_goes_on_until_its_batches_are_used_up() {
    let world = world();
    let dynamic = |min_ranks| {
        let dynamic_sampling = Some(DynamicSampling {
            max_batches: 3,
            min_ranks,
        });
        RlConfig {
            dynamic_sampling,
            ..config()
        }
    };
    for record in log(&world, &hopeless(&world), vec![], &dynamic(1)).unwrap() {
        assert_eq!(
            (
                number(&record, "prompts"),
                number(&record, "frac_reward_zero_std")
            ),
            (12.0, 1.0)
        );
        // The figures are of sampled completions, although none is trained on.
        assert_eq!(
            (
                number(&record, "in_catalog"),
                number(&record, "active_rows")
            ),
            (1.0, 0.0)
        );
    }
    for record in log(&world, &world.samples, vec![], &dynamic(1)).unwrap() {
        assert!(
            number(&record, "active_rows") > 0.0 && number(&record, "frac_reward_zero_std") < 1.0,
            "{record:?}"
        );
    }
    let error = log(&world, &world.samples, vec![], &dynamic(3))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`dynamic_sampling.min_ranks`"), "{error}");
}

struct Endless;

impl RewardFunction for Endless {
    fn name(&self) -> &str {
        "endless"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        vec![f64::INFINITY; list.items.len()]
    }
}

#[test]
fn a_reward_that_is_no_number_is_named() {
    let world = world();
    let config = RlConfig {
        reward_weights: [("endless".to_string(), 1.0)].into(),
        ..config()
    };
    let error = log(&world, &world.samples, vec![Box::new(Endless)], &config)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("step 1") && error.contains("reward `endless`") && error.contains("rank 1"),
        "{error}"
    );
}

/// All that is relevant is blocked, so that the policy learns to list blocked films. With a target
/// it learns not to, and the price of a blocked film is in the log.
#[test]
fn a_target_brings_the_share_of_blocked_items_to_its_bound() {
    const BOUND: f64 = 0.1;
    const STEPS: usize = 120;
    let world = world();
    let task = world.task.clone().constrained().unwrap();
    let blocked = [ItemId(4), ItemId(5)];
    let samples: Vec<Sample> = world
        .samples
        .iter()
        .map(|sample| Sample {
            ground_truth: blocked.to_vec(),
            ..sample.clone()
        })
        .collect();
    let run = |targets: BTreeMap<String, RewardTarget>| {
        let mut config = RlConfig {
            max_steps: STEPS,
            reward_weights: [("relevance", 1.0), ("blocked", 0.0)]
                .map(|(name, weight)| (name.to_string(), weight))
                .into(),
            reward_targets: targets,
            ..config()
        };
        config.optimizer.learning_rate = 3e-3;
        // What is popular is blocked, so lists that keep the target drift away from it.
        let doctor = DoctorConfig {
            off: [Check::PopularityDrift, Check::EntropyLow].into(),
            ..DoctorConfig::default()
        };
        let watch = WatchConfig {
            doctor,
            ..WatchConfig::default()
        };
        let mut log = Vec::new();
        let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
        RankGrpoTrainer::new(policy(&world), &task, &samples)
            .config(config)
            .reward_function(BlockedReward(blocked.into()))
            .run(RunOptions {
                watch,
                ..RunOptions::default()
            })
            .observer(&mut observe)
            .train()
            .unwrap();
        // The reward is summed over the two ranks.
        let share = |record: &Record| number(record, "rewards/blocked/mean") / 2.0;
        let last = &log[STEPS - 40..];
        let mean = last.iter().map(share).sum::<f64>() / last.len() as f64;
        (mean, log)
    };
    let (free, log) = run(BTreeMap::new());
    assert!(!log[0].contains_key("targets/blocked/multiplier"));
    let target = RewardTarget::at_most(BOUND);
    let (bounded, log) = run([("blocked".to_string(), target)].into());
    let prices: Vec<f64> = log
        .iter()
        .map(|record| number(record, "targets/blocked/multiplier"))
        .collect();
    let shares: Vec<f64> = log
        .iter()
        .map(|record| number(record, "targets/blocked/mean"))
        .collect();
    assert!(
        free > 0.8 && bounded < BOUND + 0.15,
        "{free}, {bounded}: {prices:?}, {shares:?}"
    );
    // Dual ascent with a rate of 1, step by step.
    assert_eq!(prices[0], 0.0);
    for step in 1..STEPS {
        let expected = (prices[step - 1] + shares[step - 1] - BOUND).clamp(0.0, 10.0);
        assert!((prices[step] - expected).abs() < 1e-12, "step {step}");
    }
    let record = &log[STEPS / 2];
    let share = number(record, "rewards/blocked/mean") / 2.0;
    assert!((number(record, "targets/blocked/mean") - share).abs() < 1e-12);
}

/// A server that hangs in the second batch until the run is stopped.
struct Hanging {
    batches: usize,
    stop: Stop,
}

impl Sampler for Hanging {
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn std::error::Error + Send + Sync>> {
        self.batches += 1;
        if self.batches == 2 {
            self.stop.ask();
            return Err("stopped before it was answered".into());
        }
        Local::default().sample(policy, task, samples, generation)
    }

    fn is_trainer(&self) -> bool {
        true
    }
}

#[test]
fn a_run_that_is_stopped_while_its_sampler_hangs_loses_no_step() {
    let world = world();
    let task = world.task.clone().constrained().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, hangs: bool, resume: bool| {
        let stop = Stop::default();
        let mut sampler = Hanging {
            batches: if hangs { 0 } else { 2 },
            stop: stop.clone(),
        };
        let folder = folder.path().join(name);
        let options = RunOptions {
            folder: Some(folder.clone()),
            resume,
            keep_checkpoints: 1,
            stop,
            ..Default::default()
        };
        let trained = RankGrpoTrainer::new(policy(&world), &task, &world.samples)
            .config(config())
            .sampler(&mut sampler)
            .run(options)
            .train();
        trained.map(|_| std::fs::read(folder.join("checkpoint-000002/model.safetensors")).unwrap())
    };
    let whole = run("whole", false, false).unwrap();
    assert!(matches!(
        run("cut", true, false),
        Err(TrainError::Stopped { done: 1, total: 2 })
    ));
    assert!(run("cut", false, true).unwrap() == whole);
}
