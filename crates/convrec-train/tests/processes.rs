//! Several processes train together. Here they are threads, each with a policy of its own, which
//! share nothing but what they send each other. `examples/tests/processes.rs` starts real ones.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use common::{World, bytes, options, policy, run_on, world};
use convrec_collective::{ProcessGroup, threads};
use convrec_policy::{Completion, Generation, Policy};
use convrec_train::{
    Listed, Local, RankGrpoTrainer, Record, RewardFunction, RlConfig, RunOptions, Sample, Sampler,
    StepView, Task, TrainError,
};

/// The outcome of `work` in each of `n` processes, in the order of ranks.
fn in_processes<T: Send>(n: usize, work: impl Fn(ProcessGroup) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> = threads(n)
            .into_iter()
            .map(|group| scope.spawn(move || work(group)))
            .collect();
        let outcomes = workers.into_iter().map(|worker| worker.join().unwrap());
        outcomes.collect()
    })
}

/// Trains on so many further devices. Returns the bytes of the weights and the log.
fn train(kind: &str, steps: usize, further: usize, group: ProcessGroup) -> (Vec<u8>, Vec<Record>) {
    let options = RunOptions {
        group,
        evaluate_every: 2,
        ..RunOptions::default()
    };
    let devices = vec![Device::flex(); further];
    let mut log = Vec::new();
    let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
    let trained = run_on(&world(), kind, steps, &options, &devices, &mut observe);
    (bytes(&trained.unwrap()), log)
}

#[test]
fn processes_give_the_bits_of_as_many_devices() {
    let kinds = ["sft", "constrained sft+lora", "constrained", "everything"];
    for (kind, n) in kinds.into_iter().flat_map(|kind| [(kind, 2), (kind, 3)]) {
        let (weights, log) = train(kind, 4, n - 1, ProcessGroup::alone());
        let of_each = in_processes(n, |group| train(kind, 4, 0, group));
        for (rank, (of_process, log_of_process)) in of_each.into_iter().enumerate() {
            assert!(of_process == weights, "{kind}: process {rank} of {n}");
            // Process 0 speaks for all.
            let expected = if rank == 0 { &log[..] } else { &[] };
            assert_eq!(log_of_process, expected, "{kind}: process {rank} of {n}");
        }
    }
}

#[test]
fn processes_may_have_several_devices() {
    let (weights, log) = train("constrained", 2, 1, ProcessGroup::alone());
    let further = |group: &ProcessGroup| group.rank() % 2;
    let of_each = in_processes(2, |group| train("constrained", 2, further(&group), group));
    assert!(of_each[0].0 == of_each[1].0);
    // Three devices in all: what is drawn in the first step is the same, sums differ by rounding.
    assert_eq!(of_each[0].1[0]["reward"], log[0]["reward"]);
    assert_eq!(of_each[0].0.len(), weights.len());
    let loss = |log: &[Record]| log[0]["loss"].as_f64().unwrap();
    assert!((loss(&of_each[0].1) - loss(&log)).abs() < 1e-5);
}

/// The options of a run in `folder`. Only process 0 sees it.
fn in_folder(folder: &Path, group: ProcessGroup) -> RunOptions {
    let folder = match group.is_first() {
        true => folder.to_path_buf(),
        false => folder.join("nobody/sees/this"),
    };
    RunOptions {
        group,
        ..options(&folder, true)
    }
}

#[test]
fn processes_resume_from_the_folder_of_the_first() {
    for kind in ["constrained sft", "everything", "constrained+lora"] {
        let whole = in_processes(2, |group| train(kind, 5, 0, group).0);
        let folder = tempfile::tempdir().unwrap();
        let run = |group: ProcessGroup, stop_after| {
            let options = RunOptions {
                stop_after,
                ..in_folder(folder.path(), group)
            };
            run_on(&world(), kind, 5, &options, &[], &mut ())
        };
        for outcome in in_processes(2, |group| run(group, Some(3))) {
            let error = outcome.unwrap_err();
            let stopped = matches!(error, TrainError::Stopped { done: 3, total: 5 });
            assert!(stopped, "{kind}: {error}");
        }
        for outcome in in_processes(2, |group| run(group, None)) {
            assert!(bytes(&outcome.unwrap()) == whole[0], "{kind}");
        }
        assert!(!folder.path().join("nobody").exists());
        // Another number of processes goes on as well; the run is done.
        for outcome in in_processes(3, |group| run(group, None)) {
            assert!(bytes(&outcome.unwrap()) == whole[0], "{kind}");
        }
    }
}

#[test]
fn a_stop_that_one_process_is_asked_for_stops_all() {
    let outcomes = in_processes(3, |group| {
        let asked = group.rank() == 1;
        let options = RunOptions {
            group,
            ..RunOptions::default()
        };
        if asked {
            options.stop.ask();
        }
        run_on(&world(), "sft", 5, &options, &[], &mut ()).unwrap_err()
    });
    for error in outcomes {
        let stopped = matches!(error, TrainError::Stopped { done: 1, total: 5 });
        assert!(stopped, "{error}");
    }
}

#[test]
fn processes_that_were_started_differently_are_refused() {
    let errors = in_processes(2, |group| {
        let steps = 5 + group.rank();
        let options = RunOptions {
            group,
            ..RunOptions::default()
        };
        let trained = run_on(&world(), "sft", steps, &options, &[], &mut ());
        trained.unwrap_err().to_string()
    });
    for error in errors {
        assert!(error.contains("process 1 of 2 is not in step"), "{error}");
        assert!(
            error.contains("`config`") && error.contains("flags"),
            "{error}"
        );
    }
}

#[test]
fn rollouts_beside_updates_need_a_single_process() {
    let errors = in_processes(2, |group| {
        let options = RunOptions {
            group,
            ..RunOptions::default()
        };
        let trained = run_on(&world(), "constrained+async", 2, &options, &[], &mut ());
        trained.unwrap_err().to_string()
    });
    for error in errors {
        let named = error.contains("field `one_step_off_policy`: found true");
        assert!(named && error.contains("one process"), "{error}");
    }
}

/// Its checkpoint holds a folder, which is sent with the rest before the settings are compared.
#[test]
fn a_run_of_one_step_off_policy_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let alone = RunOptions {
        stop_after: Some(1),
        ..options(folder.path(), true)
    };
    let stopped = run_on(&world(), "constrained+async", 3, &alone, &[], &mut ());
    assert!(matches!(stopped, Err(TrainError::Stopped { .. })));
    for error in in_processes(2, |group| {
        let options = in_folder(folder.path(), group);
        let trained = run_on(&world(), "constrained", 3, &options, &[], &mut ());
        trained.unwrap_err().to_string()
    }) {
        let expected = "config field `one_step_off_policy` was true and is null now";
        assert!(error.contains(expected), "{error}");
    }
}

/// Trains with a reward function or a sampler of the test's own.
fn train_with(
    world: &World,
    group: &ProcessGroup,
    folder: Option<&Path>,
    reward: Option<&Counting>,
    sampler: Option<&mut dyn Sampler>,
) -> Result<Policy, TrainError> {
    let task = world.task.clone().constrained().unwrap();
    let weights = reward.map(|_| ("own".to_string(), 1.0));
    let mut config = RlConfig {
        max_steps: 3,
        prompts_per_step: 3,
        num_generations: 4,
        micro_batch: 3,
        ..RlConfig::default()
    };
    config.reward_weights.extend(weights);
    let options = RunOptions {
        group: group.clone(),
        ..folder.map_or(RunOptions::default(), |folder| options(folder, true))
    };
    let mut trainer = RankGrpoTrainer::new(policy(world), &task, &world.samples)
        .config(config)
        .inputs(BTreeMap::new())
        .run(options);
    if let Some(reward) = reward {
        trainer = trainer.reward_function(Own(reward));
    }
    if let Some(sampler) = sampler {
        trainer = trainer.sampler(sampler);
    }
    trainer.train()
}

struct Own<'a>(&'a Counting);

impl RewardFunction for Own<'_> {
    fn name(&self) -> &str {
        "own"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        self.0.rewards(list)
    }
}

/// Counts how often it is asked, and fails from a call on.
struct Counting {
    calls: AtomicUsize,
    fails_at: usize,
}

impl RewardFunction for Counting {
    fn name(&self) -> &str {
        "own"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let value = match call >= self.fails_at {
            true => f64::NAN,
            false => list.sample.id.len() as f64,
        };
        vec![value; list.items.len()]
    }
}

fn counting(fails_at: usize) -> Counting {
    Counting {
        calls: AtomicUsize::new(0),
        fails_at,
    }
}

#[test]
fn each_completion_is_rewarded_once() {
    let reward = counting(usize::MAX);
    let alone = train_with(&world(), &ProcessGroup::alone(), None, Some(&reward), None);
    let expected = reward.calls.into_inner();
    let reward = counting(usize::MAX);
    let of_each = in_processes(3, |group| {
        bytes(&train_with(&world(), &group, None, Some(&reward), None).unwrap())
    });
    assert_eq!(reward.calls.into_inner(), expected);
    assert!(of_each.iter().all(|weights| *weights == of_each[0]));
    assert_eq!(of_each[0].len(), bytes(&alone.unwrap()).len());
}

#[test]
fn an_error_of_one_process_stops_all_and_is_told() {
    // In process 1 alone, in the second step; each process has 4 of 12 completions a step.
    let errors = in_processes(3, |group| {
        let fails_at = if group.rank() == 1 { 5 } else { usize::MAX };
        let reward = counting(fails_at);
        let trained = train_with(&world(), &group, None, Some(&reward), None);
        trained.unwrap_err().to_string()
    });
    assert!(
        errors[1].starts_with("step 2: reward `own`"),
        "{}",
        errors[1]
    );
    for rank in [0, 2] {
        let error = &errors[rank];
        assert!(
            error.contains("process 1 of 3 stopped: step 2: reward"),
            "{error}"
        );
    }
}

#[test]
fn a_folder_that_the_first_cannot_write_stops_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let errors = in_processes(2, |group| {
        let trained = train_with(&world(), &group, Some(&file), None, None);
        trained.unwrap_err().to_string()
    });
    assert!(errors[0].contains("file"), "{}", errors[0]);
    assert!(
        errors[1].contains("process 0 of 2 stopped"),
        "{}",
        errors[1]
    );
}

/// The policy itself, which says that it is another sampler, and counts.
struct Elsewhere<'a>(Local, &'a AtomicUsize);

impl Sampler for Elsewhere<'_> {
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sample(policy, task, samples, generation)
    }

    fn is_trainer(&self) -> bool {
        false
    }
}

#[test]
fn another_sampler_is_asked_by_the_first_process_alone() {
    let calls = AtomicUsize::new(0);
    let of_each = in_processes(3, |group| {
        let mut sampler = Elsewhere(Local::default(), &calls);
        bytes(&train_with(&world(), &group, None, None, Some(&mut sampler)).unwrap())
    });
    assert_eq!(calls.into_inner(), 3, "once a step");
    assert!(of_each.iter().all(|weights| *weights == of_each[0]));
}
