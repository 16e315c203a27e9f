//! Rollouts: what the policy wrote, what it is worth, and the tables that the loss reads.

use convrec_policy::{Allowed, Completion, Sequence};
use convrec_text::segments::{END, NO_RANK};
use rank_grpo::{AdvantageError, LengthShaping, ListEnd, LossInputs, Segments, spread};
use serde::{Deserialize, Serialize};

use crate::reward::{Listed, Reward, Rewards};
use crate::task::{Answer, Sample, Task};

/// What becomes of tokens that a constraint left no choice about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForcedTokens {
    /// They take no part: a rank's ratio is the geometric mean over its decisions.
    #[default]
    LeaveOut,
    /// They count, with log-probability 0: the mean is over all tokens of the rank, as the paper
    /// defines it.
    Count,
}

/// One completion of one prompt, read and rewarded.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) completion: Completion,
    pub(crate) answer: Answer,
    /// Under a constraint, what could have been written instead of each token.
    pub(crate) allowed: Option<Allowed>,
    pub(crate) relevant: Vec<bool>,
    /// A row for each gain: `[terms][N]`, or one number each where lists as a whole are rewarded.
    pub(crate) rewards: Vec<Vec<f64>>,
    /// Their weighted sum.
    pub(crate) total: Vec<f64>,
    /// The trainer's own log-probabilities and entropies, where the sampler's are others.
    pub(crate) trainers: Option<[Vec<f32>; 2]>,
}

/// Reads and rewards completions, as many of each sample as there are; those of a sample are
/// adjacent.
pub(crate) fn read_rows<'a>(
    task: &Task,
    samples: &[&'a Sample],
    completions: Vec<Vec<Completion>>,
    weights: &Rewards<'_>,
) -> Result<Vec<Row<'a>>, String> {
    let rows = samples
        .iter()
        .zip(completions)
        .flat_map(|(sample, group)| group.into_iter().map(move |c| (*sample, c)));
    rows.map(|(sample, completion)| {
        let answer = task.answer(sample, &completion.tokens);
        let relevant = task.relevance(&answer, sample);
        let mut items = answer.items.clone();
        items.resize(task.n_ranks(), None);
        let rewards = weights.of(&Listed {
            sample,
            items: &items,
            relevant: &relevant,
        })?;
        let allowed = task.allowed(&sample.seen, &completion.tokens);
        let total = weights.total(&rewards);
        Ok(Row {
            sample,
            completion,
            answer,
            allowed,
            relevant,
            rewards,
            total,
            trainers: None,
        })
    })
    .collect()
}

impl Row<'_> {
    pub(crate) fn sequence(&self) -> Sequence<'_> {
        Sequence {
            prompt: &self.sample.prompt,
            completion: &self.completion.tokens,
        }
    }

    /// Of its tokens, as the trainer has them.
    pub(crate) fn log_probs(&self) -> &[f32] {
        self.trainers
            .as_ref()
            .map_or(&self.completion.log_probs, |[log_probs, _]| log_probs)
    }

    /// Of the distributions that its tokens were drawn from.
    pub(crate) fn entropies(&self) -> &[f32] {
        self.trainers
            .as_ref()
            .map_or(&self.completion.entropies, |[_, entropies]| entropies)
    }

    fn len(&self) -> usize {
        self.completion.tokens.len()
    }

    /// Whether token t was the only one that could be written: its log-probability is 0 under every
    /// policy.
    pub(crate) fn is_forced(&self, t: usize) -> bool {
        self.allowed
            .as_ref()
            .is_some_and(|allowed| allowed.is_forced(t))
    }

    /// The end token shares the ratio of the last item (quirk S3); its advantage is length
    /// shaping's to give.
    fn rank_ids(&self) -> impl Iterator<Item = i64> {
        let last = self.answer.segments.items as i64 - 1;
        self.answer.segments.ranks.iter().map(move |&rank| {
            if rank == END {
                last.max(0)
            } else {
                i64::from(rank)
            }
        })
    }
}

/// How rows become tables.
pub(crate) struct Collation {
    pub(crate) n_ranks: usize,
    pub(crate) reward: Reward,
    pub(crate) shaping: LengthShaping,
    pub(crate) mask_truncated: bool,
    pub(crate) forced: ForcedTokens,
}

impl Collation {
    /// The loss's view of some rows and their advantages: `[B, T]` tables, T the longest
    /// completion, padded behind.
    pub(crate) fn inputs(
        &self,
        rows: &[&Row<'_>],
        advantages: &[&Vec<f64>],
    ) -> Result<LossInputs, AdvantageError> {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let pad = |row: &&Row<'_>| width - row.len();
        let mask = rows.iter().flat_map(|row| {
            let row_counts = row.completion.ended || !self.mask_truncated;
            let ranks = &row.answer.segments.ranks;
            // Where ranks are rewarded, a remark takes no part, not even in the number of tokens.
            let has_rank = move |t: usize| !self.reward.is_ranked() || ranks[t] != NO_RANK;
            let counts = move |t| {
                row_counts
                    && has_rank(t)
                    && (self.forced == ForcedTokens::Count || !row.is_forced(t))
            };
            (0..row.len())
                .map(counts)
                .chain(std::iter::repeat_n(false, pad(row)))
        });
        let advantages: Vec<Vec<f64>> = advantages.iter().map(|row| (*row).clone()).collect();
        let ids = rows
            .iter()
            .flat_map(|row| row.rank_ids().chain(std::iter::repeat_n(-1, pad(row))));
        let ranks = Segments::ranks_and_overflow(&ids.collect::<Vec<_>>(), self.n_ranks);
        let mut token_advantages = if self.reward.is_ranked() {
            spread(&advantages, &ranks)?
        } else {
            spread(&advantages, &Segments::sequences(rows.len() * width))?
        };
        if self.reward.is_ranked() {
            let end = |row: &&Row<'_>| ListEnd {
                n_items: row.answer.segments.items,
                end_token: row.completion.ended.then(|| row.len() - 1),
            };
            self.shaping.apply(
                &mut token_advantages,
                &ranks,
                &rows.iter().map(end).collect::<Vec<_>>(),
            )?;
        }
        Ok(LossInputs::new(
            [rows.len(), width],
            mask.collect(),
            ranks,
            token_advantages,
        ))
    }
}

/// A number per completion token as a `[B, T]` table, 0 on padding.
pub(crate) fn table<'r>(
    rows: &[&'r Row<'_>],
    values: impl Fn(&'r Row<'_>) -> &'r [f32],
) -> Vec<f64> {
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let padded = rows.iter().flat_map(|row| {
        let values = values(row).iter().map(|x| f64::from(*x));
        values.chain(std::iter::repeat_n(0.0, width - row.len()))
    });
    padded.collect()
}

#[cfg(test)]
mod tests {
    use convrec_metrics::rewards::RankReward;
    use convrec_policy::Constraint;
    use convrec_text::segments::TokenRanks;

    use super::*;

    /// A row whose tokens have these ranks.
    fn row<'a>(sample: &'a Sample, ranks: &[i32], items: usize, ended: bool) -> Row<'a> {
        let n = ranks.len();
        let completion = Completion {
            tokens: vec![7; n],
            log_probs: vec![-1.0; n],
            entropies: vec![0.5; n],
            ended,
            passes: n,
        };
        let segments = TokenRanks {
            ranks: ranks.to_vec(),
            items,
            ended,
        };
        let answer = Answer {
            text: String::new(),
            names: vec![],
            items: vec![None; items],
            unparsed_lines: 0,
            segments,
        };
        Row {
            sample,
            completion,
            answer,
            allowed: None,
            relevant: vec![],
            rewards: vec![],
            total: vec![],
            trainers: None,
        }
    }

    fn collated(rows: &[Row<'_>], mask_truncated: bool) -> LossInputs {
        let reward = Reward::Rank(RankReward::ExpInf);
        let (shaping, forced) = (LengthShaping::default(), ForcedTokens::LeaveOut);
        let collation = Collation {
            n_ranks: 2,
            reward,
            shaping,
            mask_truncated,
            forced,
        };
        let advantages = vec![vec![1.0, -1.0]; rows.len()];
        collation
            .inputs(
                &rows.iter().collect::<Vec<_>>(),
                &advantages.iter().collect::<Vec<_>>(),
            )
            .unwrap()
    }

    fn segments(inputs: &LossInputs) -> Vec<Option<usize>> {
        (0..inputs.segments.len())
            .map(|token| inputs.segments.get(token))
            .collect()
    }

    fn sample() -> Sample {
        Sample {
            id: "a-1".into(),
            prompt: vec![1],
            seen: vec![],
            ground_truth: vec![],
        }
    }

    /// Quirk S3: the end token is in the last item's segment, and its advantage is that of length
    /// shaping.
    #[test]
    fn the_end_token_shares_the_last_items_ratio_and_has_its_own_advantage() {
        let sample = sample();
        let exact = row(&sample, &[0, 0, 1, END], 2, true);
        let early = row(&sample, &[0, END], 1, true);
        let inputs = collated(&[exact, early], false);
        assert_eq!(inputs.shape, [2, 4]);
        assert_eq!(
            segments(&inputs),
            [
                Some(0),
                Some(0),
                Some(1),
                Some(1),
                Some(0),
                Some(0),
                None,
                None
            ]
        );
        assert_eq!(
            inputs.advantages,
            [1.0, 1.0, -1.0, 0.1, 1.0, -0.1, 0.0, 0.0]
        );
        assert_eq!(
            inputs.mask,
            [true, true, true, true, true, true, false, false]
        );
    }

    #[test]
    fn tokens_of_no_rank_and_surplus_items_earn_nothing_from_ranks() {
        let sample = sample();
        let inputs = collated(&[row(&sample, &[NO_RANK, 0, 1, 2, 3, END], 4, true)], false);
        assert_eq!(
            segments(&inputs),
            [None, Some(0), Some(1), Some(2), Some(2), Some(2)]
        );
        assert_eq!(inputs.advantages, [0.0, 1.0, -1.0, -0.1, -0.1, -0.1]);
        assert_eq!(inputs.mask, [false, true, true, true, true, true]);
    }

    /// Token 7 and another one, then only token 7.
    struct OneChoice(Vec<u32>);

    impl Constraint for OneChoice {
        fn allowed(&self) -> &[u32] {
            &self.0
        }

        fn push(&mut self, _: u32) {
            self.0 = vec![7];
        }
    }

    #[test]
    fn forced_tokens_are_left_out_or_counted() {
        let sample = sample();
        let constrained = Row {
            allowed: Some(Allowed::along(&mut OneChoice(vec![7, 9]), &[7, 7, 7])),
            ..row(&sample, &[0, 0, END], 1, true)
        };
        let mask = |forced| {
            let reward = Reward::Rank(RankReward::ExpInf);
            let collation = Collation {
                n_ranks: 1,
                reward,
                shaping: LengthShaping::OFF,
                mask_truncated: false,
                forced,
            };
            collation
                .inputs(&[&constrained], &[&vec![1.0]])
                .unwrap()
                .mask
        };
        assert_eq!(mask(ForcedTokens::LeaveOut), [true, false, false]);
        assert_eq!(mask(ForcedTokens::Count), [true, true, true]);
    }

    #[test]
    fn rows_that_were_cut_can_be_left_out() {
        let sample = sample();
        let rows = [row(&sample, &[0, 1, 1], 2, false)];
        assert_eq!(collated(&rows, false).mask, [true; 3]);
        assert_eq!(collated(&rows, true).mask, [false; 3]);
        assert_eq!(collated(&rows, false).advantages, [1.0, -1.0, -1.0]);
    }
}
