//! The whole of ConvRec-R1 in a few minutes, on an embedded world of real films.
//!
//! `cargo run --release --example quickstart`

use std::collections::BTreeMap;
use std::time::Instant;

use burn::module::Module;
use clap::Parser;
use convrec_catalog::{Catalog, rewards::RankReward};
use convrec_cloning::{LexicalEmbedder, Pipeline, PipelineConfig, Services};
use convrec_core::Example;
use convrec_examples::{Outcome, device::device, show};
use convrec_metrics::Measure;
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{ListFormat, PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::evaluate::{Evaluation, evaluate, judge_ranking};
use convrec_train::{OptimizerConfig, RlConfig, Reward, RunOptions, Sample, Schedule, SftConfig, Task, TokenPair, Validation, train_rank_grpo, train_sft};
use convrec_world::{World, WorldConfig, WorldJudge, WorldTeacher};
use rank_grpo::{LengthShaping, LossConfig};

const N: usize = 10;
const MAX_NEW_TOKENS: usize = 96;

/// Trains and compares policies on an embedded world of films.
#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1500)]
    train: usize,
    #[arg(long, default_value_t = 400)]
    sft_steps: usize,
    #[arg(long, default_value_t = 60)]
    rl_steps: usize,
    #[arg(long, default_value_t = 1e-4)]
    rl_lr: f64,
    #[arg(long, default_value_t = 2e-3)]
    sft_lr: f64,
    #[arg(long, default_value_t = 128)]
    width: usize,
    #[arg(long, default_value_t = 3)]
    layers: usize,
    #[arg(long, default_value_t = 16)]
    prompts: usize,
    #[arg(long, default_value_t = 2048)]
    vocab: usize,
    #[arg(long, default_value_t = 0.0)]
    beta: f64,
}

fn main() -> Outcome {
    let options = Options::parse();
    let clock = Instant::now();
    let world = World::embedded();
    let catalog = Catalog::new(world.catalog())?;
    let split = world.generate(&WorldConfig { seed: options.seed, n_train: options.train, n_validation: 200, n_test: 400, ..Default::default() });

    let teacher = WorldTeacher::new(options.seed);
    let judge = WorldJudge::new(split.tastes.clone(), options.seed);
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let embedder = LexicalEmbedder::fit(&texts, 1024);
    let services = Services { teacher: &teacher, embedder: &embedder, judge: Some(&judge), describer: &teacher };
    let pipeline = Pipeline::new(PipelineConfig { n: N, ..Default::default() }, &catalog, services)?;
    let cloned = pipeline.run(&split.train, &|_| {})?;
    eprintln!("cloned {:.1}s", clock.elapsed().as_secs_f64());

    let lines: Vec<String> = catalog.iter().map(|(_, item)| format!("{}\n", item.item())).collect();
    let dialogs: Vec<String> = split.train.iter().flat_map(|e| e.dialog.iter().map(|t| t.content.clone())).collect();
    let corpus: Vec<&String> = lines.iter().chain(&lines).chain(&dialogs).collect();
    let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: options.vocab, ..Default::default() })?;
    let prompter = PromptFormat { max_dialog_tokens: 64, max_seen: 16, list: ListFormat::default() }.prompter(&tokenizer)?;
    let task = Task::new(catalog, prompter, N);
    let samples = |examples: &[Example]| examples.iter().map(|e| task.sample(e)).collect::<Result<Vec<Sample>, _>>();
    let (train, test) = (samples(&split.train)?, samples(&split.test)?);
    let pairs = cloned.demonstrations.iter().map(|d| task.pair(d)).collect::<Result<Vec<TokenPair>, _>>()?;
    let mean = |f: &dyn Fn(&TokenPair) -> usize| pairs.iter().map(f).sum::<usize>() as f64 / pairs.len() as f64;
    eprintln!("vocab {} prompt {:.1} completion {:.1}", tokenizer.vocab_size(), mean(&|p| p.prompt.len()), mean(&|p| p.completion.len()));
    for (name, f) in [("teacher", 0), ("remap", 1), ("reflect", 2), ("adjust", 3)] {
        let ndcg: f64 = cloned.steps.iter().zip(&train).map(|(s, x)| {
            let list: Vec<_> = match f { 0 => s.teacher.iter().filter_map(|t| t.id).collect(), 1 => s.remap.clone(), 2 => s.reflect.clone(), _ => s.adjust.clone() };
            Measure::Ndcg(N).of(&judge_ranking(&list, x, N).1)
        }).sum::<f64>() / train.len() as f64;
        eprintln!("{name}: NDCG@10 {ndcg:.3}");
    }
    let oracle: f64 = split.test.iter().zip(&test).map(|(e, x)| Measure::Ndcg(N).of(&judge_ranking(&world.oracle_ranking(&split.tastes[&e.id], &e.seen, N), x, N).1)).sum::<f64>() / test.len() as f64;
    eprintln!("oracle {oracle:.3}");

    let device = device()?.autodiff();
    let policy = Policy::new(&ModelConfig::small(tokenizer.vocab_size(), options.width, options.layers, 4), options.seed, &device)?;
    eprintln!("parameters {}", policy.num_params());
    let report = |name: &str, e: &Evaluation| eprintln!("{:.1}s {name}: {:?} NDCG@5 {:.3} @10 {:.3} R@10 {:.3} ranks {:?}", clock.elapsed().as_secs_f64(), e.health, e.mean(Measure::Ndcg(5)), e.mean(Measure::Ndcg(10)), e.mean(Measure::Recall(10)), e.hits_per_rank.iter().map(|x| (x * 1000.0).round() / 1000.0).collect::<Vec<_>>());
    report("zero-shot", &evaluate(&policy.valid(), &task, &test, MAX_NEW_TOKENS, 128));
    let none = Validation { task: &task, samples: &[], max_new_tokens: MAX_NEW_TOKENS, max_rows: 128 };
    let sft = SftConfig {
        steps: options.sft_steps,
        batch_size: 16,
        micro_batch: 16,
        seed: options.seed,
        optimizer: OptimizerConfig { learning_rate: options.sft_lr, beta_2: 0.98, weight_decay: 0.05, schedule: Schedule::Cosine, warmup_steps: 20, ..Default::default() },
    };
    let run = RunOptions::default();
    let bar = show::bar("SFT", sft.steps);
    let policy = train_sft(policy, &pairs, &none, &sft, &run, BTreeMap::new(), &mut |r| { show::step(&bar, r, &["loss", "grad_norm"]); if r["step"].as_u64().unwrap() % 50 == 0 { eprintln!("{:.1}s {} {}", clock.elapsed().as_secs_f64(), r["step"], r["loss"]) } })?;
    bar.finish();
    report("SFT", &evaluate(&policy.valid(), &task, &test, MAX_NEW_TOKENS, 128));
    let base = RlConfig {
        steps: options.rl_steps,
        prompts_per_step: options.prompts,
        max_new_tokens: MAX_NEW_TOKENS,
        seed: options.seed,
        micro_batch: 64,
        optimizer: OptimizerConfig { learning_rate: options.rl_lr, ..Default::default() },
        ..Default::default()
    };
    let kl = |mut loss: LossConfig| { loss.kl = LossConfig::paper().kl.map(|kl| rank_grpo::Kl { beta: options.beta, ..kl }).filter(|kl| kl.beta > 0.0); loss };
    for (name, config) in [
        ("Rank-GRPO", RlConfig { loss: kl(LossConfig::paper()), ..base.clone() }),
        ("GRPO", RlConfig { loss: kl(LossConfig::grpo()), reward: Reward::Dcg, shaping: LengthShaping::OFF, ..base.clone() }),
        ("GSPO", RlConfig { loss: kl(LossConfig::gspo()), reward: Reward::Dcg, shaping: LengthShaping::OFF, ..base.clone() }),
    ] {
        let _ = RankReward::ExpInf;
        let bar = show::bar(name, config.steps);
        let trained = train_rank_grpo(policy.clone(), &task, &train, &none, &config, &run, BTreeMap::new(), &mut |r| {
            show::step(&bar, r, &["dcg", "entropy"]);
            if r["step"].as_u64().unwrap() % 10 == 0 { eprintln!("{:.1}s {name} {} dcg {:.3} entropy {:.3} len {} gn {:.3} diff {:.1e} zero {:.2} kl {}", clock.elapsed().as_secs_f64(), r["step"], r["dcg"].as_f64().unwrap(), r["entropy"].as_f64().unwrap(), r["items"], r["grad_norm"].as_f64().unwrap(), r["sampling/sampling_logp_difference/max"].as_f64().unwrap(), r["frac_reward_zero_std"].as_f64().unwrap(), r["kl"]); }
        })?;
        bar.finish();
        report(name, &evaluate(&trained.valid(), &task, &test, MAX_NEW_TOKENS, 128));
    }
    Ok(())
}
