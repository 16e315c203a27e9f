//! Advantages of the reference: `advantage.json` (per rank and token) and `advantage_scalar.json`
//! (per completion).

mod common;

use common::assert_close;
use rank_grpo::{LengthShaping, ScaleRewards, Segments, group_advantages, reference, sum_rewards};
use serde::Deserialize;

#[derive(Deserialize)]
struct File<Case> {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Golden {
    id: String,
    num_generations: usize,
    rec_num: usize,
    scale_rewards: bool,
    apply_length_shaping: bool,
    end_of_list_reward: f64,
    extra_token_penalty: f64,
    early_stop_penalty: f64,
    reward_weights: Option<Vec<f64>>,
    rewards: serde_json::Value,
    eos_mask: Vec<Vec<u8>>,
    item_seg_ids: Vec<Vec<i64>>,
    items_emitted: Vec<usize>,
    group_std: Vec<Vec<Option<f64>>>,
    advantages_f64: Vec<Vec<Option<f64>>>,
    advantages_f32: Vec<Vec<Option<f64>>>,
    token_advantages_f64: Vec<Vec<Option<f64>>>,
    token_advantages_f32: Vec<Vec<Option<f64>>>,
}

impl Golden {
    fn rewards(&self) -> Vec<Vec<f64>> {
        let Some(weights) = &self.reward_weights else {
            return serde_json::from_value(self.rewards.clone()).unwrap();
        };
        let by_row: Vec<Vec<Vec<Option<f64>>>> =
            serde_json::from_value(self.rewards.clone()).unwrap(); // [B, F, N]
        let table =
            |f: usize| -> Vec<Vec<f64>> { by_row.iter().map(|row| numbers(&row[f])).collect() };
        let tables: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(f, weight)| (*weight, table(f)))
            .collect();
        sum_rewards(&tables).unwrap()
    }

    fn segments(&self) -> Segments {
        Segments::ranks_and_overflow(&self.item_seg_ids.concat(), self.rec_num)
    }

    fn end_tokens(&self) -> Vec<Option<usize>> {
        self.eos_mask
            .iter()
            .map(|row| row.iter().position(|m| *m == 1))
            .collect()
    }

    fn shaping(&self) -> LengthShaping {
        let (exact, early) = (self.end_of_list_reward, self.early_stop_penalty);
        let on = LengthShaping {
            exact,
            early,
            extra: self.extra_token_penalty,
        };
        if self.apply_length_shaping {
            on
        } else {
            LengthShaping::OFF
        }
    }
}

fn numbers(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|x| x.unwrap_or(f64::NAN)).collect()
}

/// NaN equals NaN here.
fn assert_same(what: &str, found: &[f64], expected: &[Option<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        match expected {
            None => assert!(found.is_nan(), "{what}: {found} is not NaN"),
            Some(expected) => assert_close(what, &[*found], &[*expected], tolerance),
        }
    }
}

fn golden() -> Vec<Golden> {
    let file: File<Golden> = convrec_testdata::golden_as("advantage.json");
    assert!(!file.cases.is_empty());
    file.cases
}

#[test]
fn rank_advantages_are_the_reference() {
    for case in golden() {
        let quirky =
            reference::group_advantages(&case.rewards(), case.num_generations, case.scale_rewards)
                .unwrap();
        assert_same(
            &case.id,
            &quirky.concat(),
            &case.advantages_f64.concat(),
            1e-9,
        );
        let scale = if case.scale_rewards {
            ScaleRewards::Group
        } else {
            ScaleRewards::None
        };
        let right = group_advantages(&case.rewards(), case.num_generations, scale)
            .unwrap()
            .values
            .concat();
        for (found, expected) in right.iter().zip(case.advantages_f64.concat()) {
            // A group of one has no advantage where the reference has NaN (A1).
            assert_close(&case.id, &[*found], &[expected.unwrap_or(0.0)], 1e-9);
        }
    }
}

#[test]
fn token_advantages_are_the_reference() {
    for case in golden() {
        let ranks =
            reference::group_advantages(&case.rewards(), case.num_generations, case.scale_rewards)
                .unwrap();
        let (segments, ends) = (case.segments(), case.end_tokens());
        let tokens =
            reference::token_advantages(&ranks, &segments, &ends, &case.shaping()).unwrap();
        assert_same(&case.id, &tokens, &case.token_advantages_f64.concat(), 1e-9);
    }
}

#[test]
fn list_lengths_are_the_reference() {
    for case in golden() {
        let ends = reference::list_ends(&case.segments(), &case.end_tokens()).unwrap();
        for (end, &emitted) in ends.iter().zip(&case.items_emitted) {
            // All that is past the last rank is one segment, so lengths are told apart up to N + 1.
            assert_eq!(end.n_items, emitted.min(case.rec_num + 1), "{}", case.id);
        }
    }
}

/// The reference runs in f32, which turns constant rewards into advantages of up to 6e-4 (A3).
#[test]
fn rounding_to_f32_is_all_that_differs_from_the_reference_as_it_runs() {
    for case in golden() {
        let ranks =
            reference::group_advantages(&case.rewards(), case.num_generations, case.scale_rewards)
                .unwrap();
        let flat = case
            .group_std
            .concat()
            .iter()
            .flatten()
            .any(|std| *std < 1e-3);
        let tolerance = if flat && case.scale_rewards {
            1e-3
        } else {
            1e-5
        };
        assert_same(
            &case.id,
            &ranks.concat(),
            &case.advantages_f32.concat(),
            tolerance,
        );
        let (segments, ends) = (case.segments(), case.end_tokens());
        let tokens =
            reference::token_advantages(&ranks, &segments, &ends, &case.shaping()).unwrap();
        assert_same(
            &case.id,
            &tokens,
            &case.token_advantages_f32.concat(),
            tolerance,
        );
    }
}

#[derive(Deserialize)]
struct Scalar {
    id: String,
    num_generations: usize,
    scale_rewards: ScaleRewards,
    rewards: Vec<f64>,
    advantages: Vec<f64>,
}

#[test]
fn one_reward_per_completion_is_one_rank() {
    let file: File<Scalar> = convrec_testdata::golden_as("advantage_scalar.json");
    assert!(!file.cases.is_empty());
    for case in file.cases {
        let rewards: Vec<Vec<f64>> = case.rewards.iter().map(|r| vec![*r]).collect();
        let found = group_advantages(&rewards, case.num_generations, case.scale_rewards).unwrap();
        assert_close(&case.id, &found.values.concat(), &case.advantages, 1e-9);
    }
}
