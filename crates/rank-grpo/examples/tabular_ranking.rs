//! Learning to rank with a table: no text, no tokens, no films.
//!
//! The policy holds one logit per (context, item) and draws lists without replacement (a
//! Plackett-Luce model); each context likes some of the items. The same sampler, optimiser and
//! budget train it twice: with GRPO, which pays the whole list one reward, and with Rank-GRPO,
//! which pays each rank its own.
//!
//! ```text
//! cargo run --release -p rank-grpo --example tabular_ranking
//! ```

use burn::module::Param;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rank_grpo::{LossConfig, LossInputs, ScaleRewards, Segments, group_advantages, spread};

const CONTEXTS: usize = 32;
const ITEMS: usize = 60;
const LIKED: usize = 12; // items 0..LIKED of each context, as far as the policy can tell in no order
const N: usize = 10; // ranks of a list
const GROUP: usize = 8; // lists per context and step
const STEPS: usize = 150;

fn main() {
    for (name, config, per_rank) in [
        ("GRPO", LossConfig::bnpo(), false),
        ("Rank-GRPO", LossConfig::paper(), true),
    ] {
        let (before, after) = train(LossConfig { kl: None, ..config }, per_rank);
        println!("{name:<10} NDCG@{N} before {before:.3}, after {STEPS} steps {after:.3}");
    }
}

fn train(config: LossConfig, per_rank: bool) -> (f64, f64) {
    let loss = config.check().expect("a preset makes sense");
    let device = Device::flex().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(3407);
    let mut table = Param::from_tensor(Tensor::<2>::zeros([CONTEXTS, ITEMS], &device)); // the policy
    let mut optimizer = AdamConfig::new().init();
    let before = mean_ndcg(&table.val(), &mut rng);
    for _ in 0..STEPS {
        // 1. Sample a group of lists for every context.
        let lists = sample(&table.val(), &mut rng); // [B][N], B = CONTEXTS * GROUP
        // 2. Reward: 1 for each rank that holds a liked item, or the list's NDCG.
        let rewards: Vec<Vec<f64>> = lists
            .iter()
            .map(|list| {
                if per_rank {
                    relevance(list)
                } else {
                    vec![ndcg(list)]
                }
            })
            .collect();
        // 3. Advantages within each group, spread over tokens. Here a rank is one token.
        let ranks: Vec<i64> = (0..lists.len() * N)
            .map(|token| (token % N) as i64)
            .collect();
        let segments = Segments::ranks(&ranks, N);
        let advantages =
            group_advantages(&rewards, GROUP, ScaleRewards::Group).expect("whole groups");
        let spread_over = if per_rank {
            segments.clone()
        } else {
            Segments::sequences(ranks.len())
        };
        let advantages = spread(&advantages.values, &spread_over).expect("one row per list");
        // 4. The loss of the lists' log-probabilities, and a gradient step.
        let inputs = LossInputs::new(
            [lists.len(), N],
            vec![true; ranks.len()],
            segments,
            advantages,
        );
        let output = loss
            .forward(log_probs(table.val(), &lists), &inputs)
            .expect("tables of one shape");
        let gradients = GradientsParams::from_grads(output.loss.backward(), &table);
        table = optimizer.step(0.05, table, gradients);
    }
    (before, mean_ndcg(&table.val(), &mut rng))
}

/// Draws `GROUP` lists per context: sorting by logit plus Gumbel noise is drawing without
/// replacement.
fn sample(table: &Tensor<2>, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let logits = table
        .clone()
        .try_into_vec_as::<f64>()
        .expect("a table in memory");
    let draw = |logits: &[f64], rng: &mut ChaCha8Rng| {
        let keys: Vec<f64> = logits
            .iter()
            .map(|x| x - (-rng.random::<f64>().ln()).ln())
            .collect();
        let mut items: Vec<usize> = (0..ITEMS).collect();
        items.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
        items.truncate(N);
        items
    };
    logits
        .chunks(ITEMS)
        .flat_map(|row| (0..GROUP).map(|_| draw(row, rng)).collect::<Vec<_>>())
        .collect()
}

/// log P(item at rank k | items above it) of each list, `[B, N]`.
fn log_probs(table: Tensor<2>, lists: &[Vec<usize>]) -> Tensor<2> {
    let b = lists.len();
    let device = table.device();
    let contexts: Vec<i64> = (0..b).map(|row| (row / GROUP) as i64).collect();
    let chosen: Vec<i64> = lists.concat().into_iter().map(|item| item as i64).collect();
    let mut taken = vec![0.0f32; b * N * ITEMS]; // minus infinity for what stands above
    for (row, list) in lists.iter().enumerate() {
        for (rank, item) in
            (0..N).flat_map(|rank| list[..rank].iter().map(move |item| (rank, item)))
        {
            taken[(row * N + rank) * ITEMS + item] = -1e9;
        }
    }
    let contexts = Tensor::<1, Int>::from_data(TensorData::new(contexts, [b]), &device);
    let chosen = Tensor::<3, Int>::from_data(TensorData::new(chosen, [b, N, 1]), &device);
    let taken = Tensor::<3>::from_data(TensorData::new(taken, [b, N, ITEMS]), &device);
    let logits = table.select(0, contexts).unsqueeze_dim::<3>(1) + taken; // [B, N, ITEMS]
    activation::log_softmax(logits, 2)
        .gather(2, chosen)
        .squeeze_dim(2)
}

fn relevance(list: &[usize]) -> Vec<f64> {
    list.iter().map(|item| f64::from(*item < LIKED)).collect()
}

fn ndcg(list: &[usize]) -> f64 {
    let discount = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let gain: f64 = relevance(list)
        .iter()
        .enumerate()
        .map(|(rank, liked)| liked * discount(rank))
        .sum();
    gain / (0..N).map(discount).sum::<f64>()
}

fn mean_ndcg(table: &Tensor<2>, rng: &mut ChaCha8Rng) -> f64 {
    let lists = sample(table, rng);
    lists.iter().map(|list| ndcg(list)).sum::<f64>() / lists.len() as f64
}
