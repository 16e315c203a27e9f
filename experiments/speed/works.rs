//! The kinds of work. Token ids are those of PyTorch's side: n-th token `(7919 n + 13) mod 40000 +
//! 20`.

use std::fmt;

use burn::module::Module;
use burn::tensor::{DType, Int, Tensor, TensorData};
use clap::ValueEnum;
use convrec::device;
use convrec_catalog::Catalog;
use convrec_core::Item;
use convrec_embed::SentenceEncoder;
use convrec_policy::{
    Allowed, Completion, Generation, ModelConfig, Policy, Sampling, Sequence, TokenLogProbs,
};
use convrec_text::{ListFormat, ListTrie, TextTokenizer};
use convrec_train::{Accumulator, InCatalog, OptimizerConfig, Updates};
use convrec_world::World;
use rank_grpo::{
    BatchTotals, LossConfig, LossInputs, ScaleRewards, Segments, group_advantages, spread, to_host,
};

use crate::{Clock, Done, Options, limits};

/// Items of a list.
const RANKS: usize = 20;
/// Completions of a prompt.
const GROUP: usize = 8;

/// The kinds of work, by the names of PyTorch's side.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Work {
    /// Logits of the last of 512 tokens.
    #[value(name = "prefill_1x512")]
    Prefill,
    /// 127 greedy tokens after a prompt of 32, one row.
    #[value(name = "decode_1")]
    Decode1,
    /// The same, 8 rows.
    #[value(name = "decode_8")]
    Decode8,
    /// The same, 32 rows.
    #[value(name = "decode_32")]
    Decode32,
    /// A training step on 2 rows of 256 tokens.
    #[value(name = "train_2x256")]
    Train2x256,
    /// A training step on 8 rows of 512 tokens.
    #[value(name = "train_8x512")]
    Train8x512,
    /// A list of 20 items after a prompt of 150 tokens.
    #[value(name = "list_1")]
    List1,
    /// 8 lists for one prompt.
    #[value(name = "list_8")]
    List8,
    /// A Rank-GRPO step: 8 prompts of 150 tokens, 8 lists each.
    #[value(name = "grpo_150")]
    Grpo150,
    /// The same with prompts of 1,000 tokens.
    #[value(name = "grpo_1000")]
    Grpo1000,
    /// A gibibyte of memory that is read; bytes are counted.
    #[value(name = "limit_memory")]
    LimitMemory,
    /// A product of matrices in f32; operations are counted.
    #[value(name = "limit_product_f32")]
    LimitProduct,
    /// The same in bf16.
    #[value(name = "limit_product_bf16")]
    LimitProductBf16,
    /// Embeddings of the catalog's texts; the model is an encoder, and texts are counted, not
    /// tokens.
    Embed,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.to_possible_value()
                .expect("no variant is hidden")
                .get_name(),
        )
    }
}

pub type Error = Box<dyn std::error::Error>;
/// A repetition. Its argument says whether it is only a warm-up.
pub type Repetition = Box<dyn FnMut(bool) -> Result<Done, Error>>;

pub fn prepare(options: &Options) -> Result<Repetition, Error> {
    Ok(match options.work {
        Work::Prefill => prefill(load(options)?, 512),
        Work::Decode1 => decode(load(options)?, 1),
        Work::Decode8 => decode(load(options)?, 8),
        Work::Decode32 => decode(load(options)?, 32),
        Work::Train2x256 => train(load(options)?, 2, 256),
        Work::Train8x512 => train(load(options)?, 8, 512),
        Work::List1 => lists(load(options)?, trie(options)?, 1),
        Work::List8 => lists(load(options)?, trie(options)?, 8),
        Work::Grpo150 => grpo(load(options)?, trie(options)?, 150, options),
        Work::Grpo1000 => grpo(load(options)?, trie(options)?, 1000, options),
        Work::LimitMemory => limits::memory(),
        Work::LimitProduct => limits::product(DType::F32)?,
        Work::LimitProductBf16 => limits::product(DType::BF16)?,
        Work::Embed => embed(options)?,
    })
}

/// The policy on an autodiff device.
fn load(options: &Options) -> Result<Policy, Error> {
    let device = device()?.autodiff();
    let policy = match &options.shape {
        Some(shape) => Policy::new(&ModelConfig::load_folder(shape)?, 3407, &device)?,
        None => Policy::load_folder(&options.model, &device)?,
    };
    Ok(policy.with_gradient_checkpointing(options.gradient_checkpointing))
}

fn catalog(options: &Options) -> Result<Catalog, Error> {
    Ok(match &options.catalog {
        Some(path) => Catalog::read(path)?,
        None => Catalog::new(World::embedded().catalog())?,
    })
}

fn embed(options: &Options) -> Result<Repetition, Error> {
    let encoder = SentenceEncoder::load(&options.model, &device()?)?;
    let texts: Vec<String> = catalog(options)?
        .iter()
        .map(|(_, item)| item.text())
        .collect();
    Ok(Box::new(move |_| {
        let mut clock = Clock::start();
        let rows = encoder.encode(&texts)?;
        let check = rows.column(0).iter().map(|x| f64::from(*x)).sum();
        Ok(Done {
            tokens: texts.len(),
            parts: vec![("", clock.lap())],
            check: Some(check),
            ..Done::default()
        })
    }))
}

fn trie(options: &Options) -> Result<ListTrie, Error> {
    let catalog = catalog(options)?;
    let items: Vec<Item> = catalog.iter().map(|(_, item)| item.item()).collect();
    let tokenizer = TextTokenizer::load(options.model.join("tokenizer.json"))?;
    let end_tokens = ModelConfig::load_folder(&options.model)?.end_tokens;
    let end = *end_tokens
        .first()
        .ok_or("config.json, field `eos_token_id`: missing; expected a token that ends lists")?;
    Ok(ListTrie::new(
        &tokenizer,
        ListFormat::default(),
        end,
        &items,
        RANKS,
    )?)
}

fn ids(rows: usize, length: usize) -> Vec<Vec<u32>> {
    let id = |n: usize| ((n * 7919 + 13) % 40000 + 20) as u32;
    (0..rows)
        .map(|row| (0..length).map(|t| id(row * length + t)).collect())
        .collect()
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

fn prefill(policy: Policy, length: usize) -> Repetition {
    let policy = policy.valid();
    Box::new(move |_| {
        let mut clock = Clock::start();
        let ids: Vec<i64> = ids(1, length).concat().into_iter().map(i64::from).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, length]), &policy.device());
        let hidden = policy.hidden(ids); // [1, T, D]
        let last = hidden.narrow(1, length - 1, 1).squeeze_dim(1); // [1, D]
        let best = policy.logits(last).argmax(1).into_scalar::<i64>();
        Ok(Done {
            tokens: length,
            parts: vec![("", clock.lap())],
            check: Some(best as f64),
            ..Done::default()
        })
    })
}

fn generation(
    sampling: Sampling,
    group_size: usize,
    max_new_tokens: usize,
    rows: usize,
    seed: u64,
) -> Generation {
    Generation {
        sampling,
        group_size,
        max_new_tokens,
        end_token: u32::MAX,
        max_rows: rows,
        seed,
    }
}

fn decode(policy: Policy, rows: usize) -> Repetition {
    let policy = policy.valid();
    let prompts = ids(rows, 32);
    Box::new(move |_| {
        let run = |new| {
            let mut clock = Clock::start();
            let found = policy.generate(
                &slices(&prompts),
                &generation(Sampling::greedy(), 1, new, rows, 0),
            );
            (clock.lap(), found)
        };
        // The prompts and the first tokens are not timed on either side.
        let (first, _) = run(1);
        let (all, found) = run(128);
        let check = found
            .iter()
            .flatten()
            .flat_map(|c| &c.tokens)
            .map(|token| f64::from(*token))
            .sum();
        Ok(Done {
            tokens: rows * 127,
            parts: vec![("", all - first)],
            check: Some(check),
            ..Done::default()
        })
    })
}

fn updates(max_grad_norm: f64) -> Updates {
    let config = OptimizerConfig {
        learning_rate: 1e-5,
        max_grad_norm,
        ..OptimizerConfig::default()
    };
    Updates::new(&config, 1000)
}

fn train(policy: Policy, rows: usize, length: usize) -> Repetition {
    let mut state = Some((policy, updates(0.0)));
    let tokens = ids(rows, length + 1);
    Box::new(move |_| {
        let (policy, mut updates) = state.take().expect("put back after each step");
        let sequences: Vec<_> = tokens.iter().map(|row| row.split_at(1)).collect();
        let sequences: Vec<_> = sequences
            .iter()
            .map(|(prompt, completion)| Sequence { prompt, completion })
            .collect();
        let mut clock = Clock::start();
        let output = policy.log_probs(&sequences, 1.0);
        let loss = output.log_probs.mean().neg();
        let check = f64::from(loss.clone().into_scalar::<f32>());
        let forward = clock.lap();
        let mut gradients = Accumulator::default();
        gradients.add(output.tape.backward(loss, &policy), &policy);
        let gradients = gradients.take();
        let backward = clock.lap();
        let (policy, _) = updates.step(0, policy, gradients);
        let parts = vec![
            ("forward", forward),
            ("backward", backward),
            ("optimizer", clock.lap()),
        ];
        state = Some((policy, updates));
        Ok(Done {
            tokens: rows * length,
            parts,
            check: Some(check),
            ..Done::default()
        })
    })
}

fn begin(trie: &ListTrie) -> InCatalog {
    InCatalog(
        trie.cursor(&[])
            .expect("the catalog has more items than a list"),
    )
}

fn roll_out(
    policy: &Policy,
    trie: &ListTrie,
    prompts: &[Vec<u32>],
    group: usize,
    seed: u64,
) -> Vec<Vec<Completion>> {
    let config = generation(
        Sampling::default(),
        group,
        trie.longest_list(),
        prompts.len() * group,
        seed,
    );
    policy.generate_constrained(&slices(prompts), &config, &|_| Box::new(begin(trie)))
}

fn mean_passes(found: &[Vec<Completion>]) -> f64 {
    let passes: Vec<usize> = found.iter().flatten().map(|c| c.passes).collect();
    passes.iter().sum::<usize>() as f64 / passes.len() as f64
}

fn lists(policy: Policy, trie: ListTrie, rows: usize) -> Repetition {
    let policy = policy.valid();
    let prompts = ids(1, 150);
    let mut seed = 0;
    Box::new(move |_| {
        seed += 1;
        let mut clock = Clock::start();
        let found = roll_out(&policy, &trie, &prompts, rows, seed);
        let tokens = found.iter().flatten().map(|c| c.tokens.len()).sum();
        Ok(Done {
            tokens,
            parts: vec![("", clock.lap())],
            passes: Some(mean_passes(&found)),
            ..Done::default()
        })
    })
}

/// Rollout, reference log-probabilities, and one update, by the library's parts; rewards are random
/// numbers per rank.
fn grpo(policy: Policy, trie: ListTrie, length: usize, options: &Options) -> Repetition {
    let reference = policy.valid();
    let mut state = Some((policy, updates(1.0)));
    let all = ids((8.0 * options.scale).round().max(1.0) as usize, length);
    let (micro_batch, mut seed) = (options.micro_batch, 0);
    Box::new(move |warmup| {
        let (policy, mut updates) = state.take().expect("put back after each step");
        let loss = LossConfig::paper().check()?;
        // A whole step takes long, so the warm-up has one prompt.
        let prompts = if warmup { &all[..1] } else { &all[..] };
        seed += 1;
        let mut clock = Clock::start();
        let found = roll_out(&policy.valid(), &trie, prompts, GROUP, seed);
        let rows: Vec<(&Vec<u32>, &Completion, Allowed)> = prompts
            .iter()
            .zip(&found)
            .flat_map(|(prompt, group)| group.iter().map(move |c| (prompt, c)))
            .map(|(prompt, c)| (prompt, c, Allowed::along(&mut begin(&trie), &c.tokens)))
            .collect();
        let sequences: Vec<Sequence<'_>> = rows
            .iter()
            .map(|(prompt, c, _)| Sequence {
                prompt,
                completion: &c.tokens,
            })
            .collect();
        let allowed: Vec<&Allowed> = rows.iter().map(|(.., allowed)| allowed).collect();
        let rollout = clock.lap();

        let micro_batches = || {
            sequences
                .chunks(micro_batch)
                .zip(allowed.chunks(micro_batch))
        };
        let theirs = micro_batches()
            .map(|(s, a)| to_host(&reference.log_probs_constrained(s, a, 1.0).log_probs));
        let theirs = theirs.collect::<Result<Vec<_>, _>>()?;
        let of_reference = clock.lap();

        let rewards: Vec<Vec<f64>> = (0..rows.len())
            .map(|row| (0..RANKS).map(|k| reward(row, k)).collect())
            .collect();
        let advantages = group_advantages(&rewards, GROUP, ScaleRewards::Group)?.values;
        let mut gradients = Accumulator::default();
        let parts = rows
            .chunks(micro_batch)
            .zip(advantages.chunks(micro_batch))
            .zip(theirs)
            .zip(micro_batches());
        let choices = |allowed: &&Allowed| {
            (0..allowed.len())
                .filter(|t| !allowed.is_forced(*t))
                .count()
        };
        let whole = BatchTotals {
            rows: rows.len(),
            tokens: allowed.iter().map(choices).sum(),
        };
        for (((rows, advantages), theirs), (sequences, allowed)) in parts {
            let TokenLogProbs {
                log_probs, tape, ..
            } = policy.log_probs_constrained(sequences, allowed, 1.0);
            let mut inputs = inputs(&trie, rows, log_probs.dims(), advantages)?;
            inputs.ref_log_probs = Some(theirs);
            inputs.whole_batch = Some(whole);
            gradients.add(
                tape.backward(loss.forward(log_probs, &inputs)?.loss, &policy),
                &policy,
            );
        }
        let gradients = gradients.take();
        let tokens = rows.iter().map(|(_, c, _)| c.tokens.len()).sum();
        let passes = Some(mean_passes(&found));
        let (policy, _) = updates.step(0, policy, gradients);
        state = Some((policy, updates));
        let parts = vec![
            ("rollout", rollout),
            ("reference", of_reference),
            ("update", clock.lap()),
        ];
        Ok(Done {
            tokens,
            parts,
            passes,
            ..Done::default()
        })
    })
}

/// Any number in [0, 1) that differs from row to row.
fn reward(row: usize, rank: usize) -> f64 {
    ((row * 7919 + rank * 104_729) % 1000) as f64 / 1000.0
}

/// The tables of the loss. Tokens with a choice count, and the tokens of an item have its rank.
fn inputs(
    trie: &ListTrie,
    rows: &[(&Vec<u32>, &Completion, Allowed)],
    shape: [usize; 2],
    advantages: &[Vec<f64>],
) -> Result<LossInputs, Error> {
    let (mut mask, mut ranks) = (
        vec![false; shape[0] * shape[1]],
        vec![-1; shape[0] * shape[1]],
    );
    for (row, (_, completion, allowed)) in rows.iter().enumerate() {
        let mut cursor = trie.cursor(&[])?;
        for (t, token) in completion.tokens.iter().enumerate() {
            let place = row * shape[1] + t;
            mask[place] = !allowed.is_forced(t);
            ranks[place] = cursor.items().len().min(RANKS - 1) as i64;
            cursor.push(*token);
        }
    }
    let segments = Segments::ranks(&ranks, RANKS);
    let advantages = spread(advantages, &segments)?;
    Ok(LossInputs::new(shape, mask, segments, advantages))
}
