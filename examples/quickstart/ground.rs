//! The common parts of experiments on the embedded world: the data of a seed, demonstrations, and
//! the training of a small policy.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::module::Module;
use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, jsonl};
use convrec_demonstrations::{LexicalEmbedder, Pipeline, PipelineConfig, PipelineOutput, Services};
use convrec_metrics::JudgedList;
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::evaluate::{Decoding, Evaluation, evaluate};
use convrec_train::{
    Language, Model, OptimizerConfig, Prompts, RankGrpoTrainer, Record, Reward, RlConfig,
    RunOptions, Sample, Schedule, SftConfig, SftJob, StepView, Task, TaskFormat, TokenPair,
    TrainError, Validation, train_sft,
};
use convrec_world::{Split, World, WorldConfig, WorldJudge, WorldTeacher};
use rank_grpo::{Kl, LengthShaping, LossConfig};

use convrec::device;
use convrec_cli::progress;
use convrec_train::evaluate::judge_example;

/// N, items in a list.
pub const N: usize = 10;
/// The number of tokens after which an unconstrained list is cut.
pub const MAX_NEW_TOKENS: usize = 96;
/// Ranks above which a list's tail begins.
pub const HEAD: usize = 3;
/// Lists side by side.
const ROWS: usize = 128;

/// The conversations of a seed, and their prompts for a policy.
pub struct Ground {
    /// The seed of all random numbers.
    pub seed: u64,
    /// The conversations.
    pub split: Split,
    /// The task in which anything can be written.
    pub unconstrained: Task,
    /// The task in which only lists of N different unseen catalog items can be.
    pub constrained: Task,
    /// The training samples.
    pub train: Vec<Sample>,
    /// The test samples.
    pub test: Vec<Sample>,
}

impl Ground {
    /// Makes this many conversations, and a tokenizer trained on them and the catalog.
    ///
    /// # Errors
    /// When a conversation does not fit the catalog.
    pub fn new(
        world: &World,
        seed: u64,
        conversations: usize,
        test: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let catalog = Catalog::new(world.catalog())?;
        let split = world.generate(&WorldConfig {
            seed,
            n_train: conversations,
            n_validation: 0,
            n_test: test,
        });
        let unconstrained = task(catalog, &split.train)?;
        let constrained = unconstrained.clone().constrained()?;
        let samples = |examples: &[Example]| {
            examples
                .iter()
                .map(|e| constrained.sample(e))
                .collect::<Result<_, _>>()
        };
        let (train, test) = (samples(&split.train)?, samples(&split.test)?);
        Ok(Self {
            seed,
            split,
            unconstrained,
            constrained,
            train,
            test,
        })
    }

    /// Makes demonstrations of the scripted teacher's answers.
    ///
    /// # Errors
    /// When a setting makes no sense, or Adjust cannot be fitted.
    pub fn clone_teacher(&self, config: PipelineConfig) -> Result<PipelineOutput, Box<dyn Error>> {
        let (teacher, catalog) = (WorldTeacher::new(self.seed), self.unconstrained.catalog());
        let judge = WorldJudge::new(self.split.tastes.clone(), self.seed);
        let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
        let embedder = LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH);
        let services = Services {
            teacher: &teacher,
            embedder: &embedder,
            judge: Some(&judge),
            describer: &teacher,
        };
        let pipeline = Pipeline::new(config, catalog, services)?;
        let bars = progress::Stages::default();
        let output = pipeline
            .run(&self.split.train, &|progress| {
                bars.show(progress, String::new())
            })?
            .complete()?;
        bars.finish();
        Ok(output)
    }

    /// The demonstrations in ids.
    ///
    /// # Errors
    /// When one does not fit the catalog.
    pub fn pairs(&self, output: &PipelineOutput) -> Result<Vec<TokenPair>, Box<dyn Error>> {
        Ok(output
            .demonstrations
            .iter()
            .map(|d| self.constrained.pair(d))
            .collect::<Result<_, _>>()?)
    }

    /// A small policy that has learned nothing.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn untrained(&self) -> Result<Policy, Box<dyn Error>> {
        let shape = ModelConfig::small(
            self.unconstrained.prompter().tokenizer().vocab_size(),
            128,
            2,
            4,
        );
        Ok(Policy::new(&shape, self.seed, &device()?.autodiff())?)
    }

    /// Writes the inputs of the other programs into a folder: the model, the catalog, and the
    /// conversations for training and for testing.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, policy: &Policy, folder: &Path) -> Result<(), Box<dyn Error>> {
        let format = TaskFormat {
            prompts: Prompts::Marked(PromptFormat::default()),
            n_ranks: N,
            max_new_tokens: MAX_NEW_TOKENS,
        };
        let tokenizer = self.unconstrained.prompter().tokenizer().clone();
        let language = Language::small(tokenizer, format);
        let model = Model {
            policy: policy.valid(),
            language,
        };
        std::fs::create_dir_all(folder)?;
        model.save(folder.join("model"))?;
        let catalog = self.unconstrained.catalog().iter();
        let catalog: Vec<CatalogItem> = catalog.map(|(_, item)| item.clone()).collect();
        jsonl::write_file(folder.join("catalog.jsonl"), &catalog)?;
        jsonl::write_file(folder.join("train.jsonl"), &self.split.train)?;
        Ok(jsonl::write_file(
            folder.join("test.jsonl"),
            &self.split.test,
        )?)
    }

    /// Greedy lists for the test conversations: constrained ones, and unconstrained ones.
    pub fn evaluate(&self, policy: &Policy) -> [Evaluation; 2] {
        let decoding = Decoding::greedy(MAX_NEW_TOKENS, ROWS);
        [&self.constrained, &self.unconstrained]
            .map(|task| evaluate(&policy.valid(), task, &self.test, &decoding))
    }

    /// The best lists by each user's known taste. No list can be expected to do better.
    pub fn best(&self, world: &World) -> Vec<JudgedList> {
        let best = |example: &Example| {
            let ranking = world.oracle_ranking(&self.split.tastes[&example.id], &example.seen, N);
            judge_example(self.unconstrained.catalog(), example, &ranking, N)
        };
        self.split.test.iter().map(best).collect()
    }
}

/// A tokenizer trained on catalog lines and dialogs, and prompts written with it.
///
/// # Errors
/// When the tokenizer cannot be trained.
pub fn task(catalog: Catalog, examples: &[Example]) -> Result<Task, Box<dyn Error>> {
    let mut corpus: Vec<String> = catalog
        .iter()
        .map(|(_, item)| format!("{}\n", item.item()))
        .collect();
    corpus.extend(corpus.clone());
    corpus.extend(
        examples
            .iter()
            .flat_map(|example| example.dialog.iter().map(|turn| turn.content.clone())),
    );
    let tokenizer = TextTokenizer::train(
        corpus.iter(),
        &TrainConfig {
            vocab_size: 3000,
            ..Default::default()
        },
    )?;
    Ok(Task::new(
        catalog,
        PromptFormat::default().prompter(&tokenizer)?,
        N,
    ))
}

/// Remap-Reflect-Adjust for lists of N.
pub fn cloning() -> PipelineConfig {
    PipelineConfig {
        n: N,
        ..PipelineConfig::default()
    }
}

/// Supervised fine-tuning of a small policy from nothing.
pub fn sft(steps: usize, seed: u64) -> SftConfig {
    let optimizer = OptimizerConfig {
        learning_rate: 4e-3,
        adam_beta2: 0.98,
        weight_decay: 0.05,
        lr_scheduler_type: Schedule::Cosine,
        warmup_steps: 30.min(steps / 4),
        ..Default::default()
    };
    SftConfig {
        max_steps: steps,
        batch_size: 16,
        micro_batch: 16,
        seed,
        optimizer,
        ..SftConfig::default()
    }
}

/// Rank-GRPO with exp_inf and two updates a batch, so that ratios matter.
pub fn rank_grpo(steps: usize, seed: u64) -> RlConfig {
    RlConfig {
        max_steps: steps,
        num_iterations: 2,
        max_completion_length: MAX_NEW_TOKENS,
        micro_batch: 64,
        rollout_rows: ROWS,
        seed,
        optimizer: OptimizerConfig {
            learning_rate: 2e-4,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// A member of the family that rewards lists as a whole, with the rollouts, updates and KL penalty
/// of `base`.
pub fn list_level(base: &RlConfig, loss: LossConfig) -> RlConfig {
    let kl = LossConfig::paper().kl.map(|kl| Kl {
        aggregation: None,
        ..kl
    });
    RlConfig {
        loss: LossConfig { kl, ..loss },
        reward: Reward::Dcg,
        shaping: LengthShaping::OFF,
        ..base.clone()
    }
}

/// Trains `policy` to imitate demonstrations, and returns the log of the steps that were taken.
///
/// # Errors
/// Those of [`train_sft`].
pub fn supervise(
    policy: Policy,
    task: &Task,
    pairs: &[TokenPair],
    config: &SftConfig,
    run: &RunOptions,
) -> Result<(Policy, Vec<Record>), TrainError> {
    let (bar, mut log) = (progress::bar("SFT", config.max_steps), Vec::new());
    let job = SftJob {
        task,
        data: pairs,
        validation: unwatched(task),
        devices: &[],
    };
    let policy = train_sft(
        policy,
        job,
        config,
        run,
        BTreeMap::new(),
        &mut |view: &StepView<'_>| {
            progress::step(&bar, view, &["loss"]);
            log.push(view.record.clone());
        },
    )?;
    bar.finish();
    Ok((policy, log))
}

/// Trains `policy` on rewards, and returns the log of the steps that were taken.
///
/// # Errors
/// Those of [`RankGrpoTrainer::train`].
pub fn reinforce(
    name: &str,
    policy: Policy,
    task: &Task,
    train: &[Sample],
    config: &RlConfig,
    run: &RunOptions,
) -> Result<(Policy, Vec<Record>), TrainError> {
    let (bar, mut log) = (progress::bar(name, config.max_steps), Vec::new());
    let mut observe = |view: &StepView<'_>| {
        progress::step(&bar, view, &["dcg", "kl", "entropy", "items"]);
        log.push(view.record.clone());
    };
    let policy = RankGrpoTrainer::new(policy, task, train)
        .config(config.clone())
        .run(run.clone())
        .observer(&mut observe)
        .train()?;
    bar.finish();
    Ok((policy, log))
}

/// A validation without samples, so that nothing is evaluated while training.
fn unwatched(task: &Task) -> Validation<'_> {
    Validation {
        task,
        samples: &[],
        decoding: Decoding::greedy(MAX_NEW_TOKENS, ROWS),
    }
}
