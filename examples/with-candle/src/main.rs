//! Rank-GRPO on a policy in candle.
//!
//! The policy is a table of logits, `[ranks, items]`. Item k is wanted at rank k, and each rank has
//! a reward of its own. The loss is computed on the host; its gradient goes back through candle.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::RngExt;
use rank_grpo::{
    Loss, LossConfig, LossSlices, ScaleRewards, Segments, Workspace, group_advantages, spread,
};

const GROUP: usize = 16;
const RANKS: usize = 3;
const ITEMS: usize = 8;

/// The loss of `log_probs` `[B, T]`, and a scalar for `backward`: its gradient is the loss's.
fn loss(log_probs: &Tensor, loss: &Loss, inputs: &LossSlices<'_, f64>) -> Result<(f64, Tensor)> {
    let host = log_probs.flatten_all()?.to_vec1::<f64>()?;
    let mut gradient = vec![0.0; host.len()];
    let value = loss
        .evaluate_into(&host, inputs, &mut Workspace::default(), &mut gradient)
        .map_err(candle_core::Error::wrap)?;
    let gradient = Tensor::from_vec(gradient, log_probs.dims(), log_probs.device())?;
    Ok((value.loss, (log_probs * gradient)?.sum_all()?))
}

/// The log-probabilities of lists, `[B, ranks]`.
fn log_probs(logits: &Tensor, lists: &[[u32; RANKS]]) -> Result<Tensor> {
    let all = logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?;
    let all = all.unsqueeze(0)?.repeat((lists.len(), 1, 1))?;
    let ids = Tensor::from_vec(lists.concat(), (lists.len(), RANKS, 1), logits.device())?;
    all.gather(&ids, D::Minus1)?.squeeze(D::Minus1)
}

fn draw(logits: &Tensor) -> Result<[u32; RANKS]> {
    let logits = logits.to_vec2::<f64>()?;
    // The largest logit with Gumbel noise is a draw from the softmax.
    let key = |logit: f64| logit - (-rand::rng().random::<f64>().ln()).ln();
    Ok(std::array::from_fn(|rank| {
        let keys: Vec<f64> = logits[rank].iter().map(|logit| key(*logit)).collect();
        (0..ITEMS)
            .max_by(|a, b| keys[*a].total_cmp(&keys[*b]))
            .unwrap_or(0) as u32
    }))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let config = LossConfig {
        kl: None,
        ..LossConfig::paper()
    }
    .check()?;
    let logits = Var::zeros((RANKS, ITEMS), DType::F64, &Device::Cpu)?;
    let ranks: Vec<i64> = (0..GROUP * RANKS)
        .map(|place| (place % RANKS) as i64)
        .collect();
    let (segments, mask) = (Segments::ranks(&ranks, RANKS), vec![true; GROUP * RANKS]);
    for step in 0..=100 {
        let lists = (0..GROUP)
            .map(|_| draw(&logits))
            .collect::<Result<Vec<_>>>()?;
        let reward = |list: &[u32; RANKS]| {
            (0..RANKS)
                .map(|rank| f64::from(list[rank] == rank as u32))
                .collect()
        };
        let rewards: Vec<Vec<f64>> = lists.iter().map(reward).collect();
        let advantages = group_advantages(&rewards, GROUP, ScaleRewards::Group)?;
        let advantages = spread(&advantages.values, &segments)?;
        let inputs = LossSlices::new([GROUP, RANKS], &mask, &segments, &advantages);
        let (_, scalar) = loss(&log_probs(&logits, &lists)?, &config, &inputs)?;
        let gradients = scalar.backward()?;
        let gradient = gradients
            .get(&logits)
            .expect("the loss is a function of the logits");
        logits.set(&(logits.as_tensor() - (gradient * 2.0)?)?)?;
        if step % 20 == 0 {
            let mean = rewards.concat().iter().sum::<f64>() / rewards.concat().len() as f64;
            println!("step {step}: mean reward of a rank {mean:.2}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
