//! The softmax over part of the vocabulary against the same over all of it with the rest masked
//! out: values and gradients.

use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData, activation};
use convrec_kernels::token_log_probs_constrained;
use proptest::prelude::*;

fn host<const N: usize>(x: Tensor<N>) -> Vec<f32> {
    x.into_data().try_into_vec_as::<f32>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Up to 20 rows of up to 20 tokens, every `step`th of the vocabulary: few rows, many rows that
    /// share most of their tokens, and such whose tokens lie together.
    #[test]
    fn as_masking_all_logits(
        d in 1..9usize,
        step in 1..5u32,
        further in 1..20u32,
        sets in prop::collection::vec(prop::collection::btree_set(0..20u32, 1..20), 1..20),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 20),
        temperature in 0.3..2.0f32,
        with_prior: bool,
        seed: u64,
    ) {
        let v = 20 * step + further;
        let sets: Vec<Vec<u32>> = sets
            .into_iter()
            .map(|set| set.into_iter().map(|x| x * step + further / 2).collect())
            .collect();
        let (m, device) = (sets.len(), Device::flex().autodiff());
        device.seed(seed);
        let hidden =
            Tensor::<2>::random([m, d], Distribution::Normal(0.0, 1.0), &device).require_grad();
        let weight = Tensor::<2>::random([v as usize, d], Distribution::Normal(0.0, 1.0), &device)
            .require_grad();
        let targets: Vec<i64> = sets
            .iter()
            .zip(&chosen)
            .map(|(set, n)| i64::from(*n.get(set)))
            .collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [m]), &device);
        let factors = Tensor::<1>::random([m], Distribution::Normal(0.0, 1.0), &device);

        let slices: Vec<&[u32]> = sets.iter().map(Vec::as_slice).collect();
        let all_priors =
            Tensor::<2>::random([m, v as usize], Distribution::Normal(0.0, 1.0), &device);
        let numbers = host(all_priors.clone());
        let of_row = |(row, set): (usize, &Vec<u32>)| -> Vec<f32> {
            set.iter()
                .map(|token| numbers[row * v as usize + *token as usize])
                .collect()
        };
        let priors: Vec<Vec<f32>> = sets.iter().enumerate().map(of_row).collect();
        let priors: Vec<&[f32]> = priors
            .iter()
            .filter(|_| with_prior)
            .map(Vec::as_slice)
            .collect();
        let (found, entropy) = token_log_probs_constrained(
            hidden.clone(),
            weight.clone(),
            targets.clone(),
            &slices,
            &priors,
            temperature,
        );
        let gradients = (found.clone() * factors.clone()).sum().backward();
        let of_found = [
            host(hidden.grad(&gradients).unwrap()),
            host(weight.grad(&gradients).unwrap()),
        ];

        let outside: Vec<bool> = sets
            .iter()
            .flat_map(|set| (0..v).map(|token| !set.contains(&token)))
            .collect();
        let outside =
            Tensor::<2, Bool>::from_data(TensorData::new(outside, [m, v as usize]), &device);
        let logits = hidden.clone().matmul(weight.clone().transpose());
        let logits = if with_prior {
            logits + all_priors
        } else {
            logits
        }
        .div_scalar(temperature);
        let all = activation::log_softmax(logits.mask_fill(outside, -1e30), 1);
        let expected = all
            .clone()
            .gather(1, targets.unsqueeze_dim(1))
            .squeeze_dim::<1>(1);
        let expected_entropy = host((all.clone().exp() * all.clamp(-1e3, 0.0)).sum_dim(1).neg());
        let gradients = (expected.clone() * factors).sum().backward();
        let of_expected = [
            host(hidden.grad(&gradients).unwrap()),
            host(weight.grad(&gradients).unwrap()),
        ];

        let pairs = host(found)
            .into_iter()
            .zip(host(expected))
            .chain(host(entropy).into_iter().zip(expected_entropy));
        for (x, y) in pairs {
            prop_assert!((x - y).abs() <= 2e-5 * y.abs().max(1.0), "{} and {}", x, y);
        }
        for (x, y) in of_found.concat().into_iter().zip(of_expected.concat()) {
            prop_assert!(
                (x - y).abs() <= 2e-5 * y.abs().max(1.0),
                "gradients {} and {}",
                x,
                y
            );
        }
    }
}
