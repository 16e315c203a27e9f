//! Rollouts that are sampled while the policy is updated: one step late, and by nothing else than
//! the weights of one step before.

mod common;

use std::error::Error;
use std::fs;
use std::path::Path;

use common::{bytes, options, policy, run_sampled, world};
use convrec_policy::{Allowed, Completion, Generation, Policy, Sequence};
use convrec_train::{
    Local, RankGrpoTrainer, Record, RlConfig, RunOptions, Sample, Sampler, StepView, Stop, Task,
    TrainError,
};
use rank_grpo::{LossConfig, RatioLevel};

type Sampled = Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>>;

/// The policy samples by itself, but always from the weights of the step before.
#[derive(Default)]
struct Late {
    now: Option<Policy>,
    before: Option<Policy>,
}

impl Sampler for Late {
    fn begin_step(
        &mut self,
        policy: &Policy,
        _: usize,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let before = self.now.replace(policy.clone());
        self.before = before.or_else(|| self.now.clone());
        Ok(())
    }

    fn sample(&mut self, _: &Policy, task: &Task, of: &[&Sample], how: &Generation) -> Sampled {
        Local::default().sample(self.before.as_ref().unwrap(), task, of, how)
    }

    fn is_trainer(&self) -> bool {
        true
    }
}

/// The bytes of the weights, and the log.
fn trained(kind: &str, sampler: Option<&mut dyn Sampler>) -> (Vec<u8>, Vec<Record>) {
    let (mut log, options) = (Vec::new(), RunOptions::default());
    let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
    let how = (&options, &[][..]);
    let policy = run_sampled(&world(), kind, 5, how, sampler, &mut observe);
    (bytes(&policy.unwrap()), log)
}

/// Two updates a batch, whose ratios compare with the policy that sampled in both runs. The one in
/// threads ends with the weights and the log of the one in order, bit for bit.
#[test]
fn a_run_is_one_in_order_whose_sampler_is_a_step_late() {
    for kind in [
        "constrained+slow",
        "everything+slow",
        "constrained+lora+bf16",
    ] {
        let (weights, log) = trained(&format!("{kind}+async"), None);
        let (expected, in_order) = trained(kind, Some(&mut Late::default()));
        assert_eq!(log, in_order, "{kind}");
        assert!(weights == expected, "{kind}: the weights");
        assert!(weights != trained(kind, None).0, "{kind}: a step late");
    }
}

/// Keeps what it sampled: policy, samples and completions of each step.
#[derive(Default)]
struct Keeping(Vec<(Policy, Vec<Sample>, Vec<Vec<Completion>>)>);

impl Sampler for Keeping {
    fn sample(&mut self, from: &Policy, task: &Task, of: &[&Sample], how: &Generation) -> Sampled {
        let groups = Local::default().sample(from, task, of, how)?;
        let samples = of.iter().map(|sample| (*sample).clone()).collect();
        self.0.push((from.clone(), samples, groups.clone()));
        Ok(groups)
    }

    fn is_trainer(&self) -> bool {
        true
    }
}

/// The log-probabilities of a completion's tokens that were no forced ones, under a policy.
fn log_probs(policy: &Policy, task: &Task, sample: &Sample, completion: &Completion) -> Vec<f64> {
    let mut constraint = task.constraint(sample).unwrap();
    let allowed = Allowed::along(constraint.as_mut(), &completion.tokens);
    let sequence = Sequence {
        prompt: &sample.prompt,
        completion: &completion.tokens,
    };
    let found = policy.log_probs_constrained(&[sequence], &[&allowed], 1.0);
    let found = found.log_probs.into_data().try_into_vec::<f32>().unwrap();
    let chosen = (0..found.len()).filter(|t| !allowed.is_forced(*t));
    chosen.map(|t| f64::from(found[t])).collect()
}

/// One update a batch: in order its ratios would be 1. Here they are those of the weights now to
/// the weights before the last update, as computed from what the sampler was handed.
#[test]
fn ratios_compare_with_the_weights_that_sampled() {
    let (world, mut sampler, mut log) = (world(), Keeping::default(), Vec::new());
    let task = world.task.clone().constrained().unwrap();
    let mut config = RlConfig {
        max_steps: 4,
        prompts_per_step: 3,
        num_generations: 4,
        one_step_off_policy: true,
        loss: LossConfig {
            importance_sampling_level: RatioLevel::Token,
            ..LossConfig::paper()
        },
        ..RlConfig::default()
    };
    config.optimizer.learning_rate = 5e-4;
    let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
    RankGrpoTrainer::new(policy(&world), &task, &world.samples)
        .config(config)
        .sampler(&mut sampler)
        .observer(&mut observe)
        .train()
        .unwrap();
    let steps = &sampler.0;
    assert_eq!(steps.len(), 4, "one batch a step");
    let weights = |step: usize| bytes(&steps[step].0);
    // The first two batches are of the first policy; the one of step n is of the policy that step
    // n - 1 began with.
    assert!(weights(0) == weights(1) && weights(1) != weights(2) && weights(2) != weights(3));
    // In step 1 (from 0) the policy is what step 2 samples from, and so on.
    for step in 1..3 {
        let (_, samples, groups) = &steps[step];
        let now = &steps[step + 1].0;
        let mut ratios = Vec::new();
        for (sample, group) in samples.iter().zip(groups) {
            for completion in group {
                let new = log_probs(now, &task, sample, completion);
                let old = log_probs(&steps[step].0, &task, sample, completion);
                ratios.extend(new.iter().zip(&old).map(|(new, old)| (new - old).exp()));
            }
        }
        let mean = |of: fn(f64) -> f64| {
            ratios.iter().map(|ratio| of(*ratio)).sum::<f64>() / ratios.len() as f64
        };
        let logged = |name: &str| log[step][name].as_f64().unwrap();
        let (found, expected) = (logged("ratio_mean"), mean(|ratio| ratio));
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
        let name = "sampling/sampling_logp_difference/mean";
        let (found, expected) = (logged(name), mean(|ratio| ratio.ln().abs()));
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
        assert!(
            expected > 1e-3,
            "the weights have moved by {expected} nats a token"
        );
    }
}

/// Fails when the weights of this step are handed over, and asks the run to stop before or not.
struct Failing {
    at: usize,
    stop: Option<Stop>,
}

impl Sampler for Failing {
    fn begin_step(&mut self, _: &Policy, step: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        if step != self.at {
            return Ok(());
        }
        if let Some(stop) = &self.stop {
            stop.ask();
        }
        Err("gone".into())
    }

    fn sample(&mut self, from: &Policy, task: &Task, of: &[&Sample], how: &Generation) -> Sampled {
        Local::default().sample(from, task, of, how)
    }

    fn is_trainer(&self) -> bool {
        true
    }
}

fn checkpoints(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("checkpoint-"))
        .collect();
    names.sort();
    names
}

/// While step 2 learns, the sampler hangs at the rollouts of step 3 until a stop is asked for. Step
/// 2 is whole and kept, with the weights that step 3 samples from. The same happens once more as
/// the resumed run draws these rollouts.
#[test]
fn a_stop_while_the_next_rollouts_are_drawn_keeps_the_step() {
    let (world, kind) = (world(), "everything+async");
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let run = |folder: &Path, at: usize| {
        let options = RunOptions {
            checkpoint_every: 0,
            ..options(folder, true)
        };
        let stop = Some(options.stop.clone());
        let mut sampler = Failing { at, stop };
        let how = (&options, &[][..]);
        run_sampled(&world, kind, 5, how, Some(&mut sampler), &mut ())
    };
    let expected = bytes(&run(&whole, 0).unwrap());
    for _ in 0..2 {
        let stopped = run(&cut, 3).unwrap_err();
        assert!(
            matches!(stopped, TrainError::Stopped { done: 2, total: 5 }),
            "{stopped}"
        );
        assert_eq!(checkpoints(&cut), ["checkpoint-000002"]);
        assert!(
            cut.join("checkpoint-000002/behaviour/model.safetensors")
                .exists()
        );
    }
    assert!(bytes(&run(&cut, 0).unwrap()) == expected);
    let log = |folder: &Path| fs::read(folder.join("log.jsonl")).unwrap();
    assert!(log(&cut) == log(&whole));
    // Nothing follows the last step, so nothing is sampled for it.
    assert!(!cut.join("checkpoint-000005/behaviour").exists());
}

#[test]
fn rollouts_that_fail_end_the_step_that_needs_them() {
    let (mut steps, options) = (0, RunOptions::default());
    let mut sampler = Failing { at: 3, stop: None };
    let how = (&options, &[][..]);
    let mut count = |_: &StepView<'_>| steps += 1;
    let sampler: Option<&mut dyn Sampler> = Some(&mut sampler);
    let error = run_sampled(&world(), "constrained+async", 5, how, sampler, &mut count);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("step 3: no completions: gone"), "{error}");
    assert_eq!(steps, 2, "the steps before are whole");
}

#[test]
fn a_damaged_behaviour_policy_is_named() {
    let (world, folder) = (world(), tempfile::tempdir().unwrap());
    let run = |stop_after| {
        let options = RunOptions {
            stop_after,
            ..options(folder.path(), true)
        };
        let how = (&options, &[][..]);
        run_sampled(&world, "constrained+async", 4, how, None, &mut ()).unwrap_err()
    };
    run(Some(2));
    let weights = "checkpoint-000002/behaviour/model.safetensors";
    fs::write(folder.path().join(weights), "x").unwrap();
    let error = run(None).to_string();
    assert!(
        error.contains(weights) && error.contains("SHA-256"),
        "{error}"
    );
}

/// A checkpoint of a run without this setting does not name it, so it resumes as ever.
#[test]
fn without_it_the_settings_are_as_they_were() {
    let json = |config: &RlConfig| serde_json::to_value(config).unwrap();
    let mut config = RlConfig::default();
    assert!(json(&config).get("one_step_off_policy").is_none());
    config.one_step_off_policy = true;
    let read: RlConfig = serde_json::from_value(json(&config)).unwrap();
    assert_eq!(read, config);
}
