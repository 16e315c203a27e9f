//! Rollouts: completions, their rewards, and the tables that the loss reads.

use convrec_catalog::relevance;
use convrec_policy::{Allowed, Completion, Policy, Sequence, TokenLogProbs};
use convrec_text::segments::{END, NO_RANK};
use rank_grpo::{AdvantageError, LengthShaping, ListEnd, LossInputs, Segments, spread};
use serde::{Deserialize, Serialize};

use crate::reward::{Listed, Reward, RewardError, RowRewards, WeightedRewards};
use crate::task::{Answer, Sample, Task};

/// The treatment of forced tokens in the loss. A token is forced where a constraint allows no
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForcedTokens {
    /// They take no part. A rank's ratio is the geometric mean over its decisions.
    #[default]
    LeaveOut,
    /// They count, with log-probability 0. The mean is over all tokens of the rank, as the paper
    /// defines it.
    Count,
}

/// One completion of one prompt, read and rewarded.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) completion: Completion,
    pub(crate) answer: Answer,
    /// The tokens that the constraint allowed at each place, where there is a constraint.
    pub(crate) allowed: Option<Allowed>,
    /// rel_k, `[N]`.
    pub(crate) relevant: Vec<bool>,
    pub(crate) rewards: RowRewards,
    /// The trainer's own numbers, where another sampler wrote the completion.
    pub(crate) recomputed: Option<TokenNumbers>,
}

/// Numbers of a completion's tokens under the policy, `[T]` each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenNumbers {
    pub(crate) log_probs: Vec<f32>,
    pub(crate) entropies: Vec<f32>,
}

/// Reads completions, as many of each sample as there are. Those of a sample are adjacent. They are
/// not rewarded yet.
pub(crate) fn read_rows<'a>(
    task: &Task,
    samples: &[&'a Sample],
    completions: Vec<Vec<Completion>>,
) -> Vec<Row<'a>> {
    let read = |sample: &'a Sample, completion: Completion| {
        let answer = task.answer(sample, &completion.tokens);
        // Every table of the step is N wide, for lists of any length.
        let items = task.by_rank(&answer);
        let relevant = relevance(&items, &sample.ground_truth, &sample.seen);
        Row {
            sample,
            allowed: task.allowed(sample, &completion.tokens),
            completion,
            answer,
            relevant,
            rewards: RowRewards::default(),
            recomputed: None,
        }
    };
    let groups = samples.iter().zip(completions);
    groups
        .flat_map(|(sample, group)| {
            group
                .into_iter()
                .map(move |completion| read(sample, completion))
        })
        .collect()
}

/// The rewards of a row.
pub(crate) fn rewards_of(
    task: &Task,
    row: &Row<'_>,
    rewards: &WeightedRewards<'_>,
) -> Result<RowRewards, RewardError> {
    rewards.of(&Listed {
        sample: row.sample,
        items: &task.by_rank(&row.answer),
        relevant: &row.relevant,
    })
}

/// Log-probabilities and entropies of the rows' tokens, under the constraint that the rows were
/// sampled under.
pub(crate) fn log_probs(policy: &Policy, rows: &[&Row<'_>], temperature: f32) -> TokenLogProbs {
    let sequences: Vec<Sequence<'_>> = rows.iter().map(|row| row.sequence()).collect();
    let allowed: Option<Vec<&Allowed>> = rows.iter().map(|row| row.allowed.as_ref()).collect();
    match allowed {
        Some(allowed) => policy.log_probs_constrained(&sequences, &allowed, temperature),
        None => policy.log_probs(&sequences, temperature),
    }
}

impl Row<'_> {
    pub(crate) fn sequence(&self) -> Sequence<'_> {
        Sequence {
            prompt: &self.sample.prompt,
            completion: &self.completion.tokens,
        }
    }

    /// The trainer's log-probabilities of its tokens.
    pub(crate) fn log_probs(&self) -> &[f32] {
        let own = self.recomputed.as_ref();
        own.map_or(&self.completion.log_probs, |own| &own.log_probs)
    }

    /// The entropies of the distributions that its tokens were drawn from.
    pub(crate) fn entropies(&self) -> &[f32] {
        let own = self.recomputed.as_ref();
        own.map_or(&self.completion.entropies, |own| &own.entropies)
    }

    fn len(&self) -> usize {
        self.completion.tokens.len()
    }

    /// Whether token `t` was the only one that could be written. Its log-probability is 0 under
    /// every policy.
    pub(crate) fn is_forced(&self, t: usize) -> bool {
        self.allowed
            .as_ref()
            .is_some_and(|allowed| allowed.is_forced(t))
    }

    /// The rank of each token, -1 where it has none. The end token shares the ratio of the last
    /// item (quirk S3); length shaping gives it its advantage.
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

/// The rules by which rows become tables.
pub(crate) struct Collation {
    pub(crate) n_ranks: usize,
    pub(crate) reward: Reward,
    pub(crate) shaping: LengthShaping,
    pub(crate) mask_truncated_completions: bool,
    pub(crate) forced: ForcedTokens,
}

/// The loss's inputs about the tokens of one row, `[T]` each.
pub(crate) struct TokenTargets {
    /// The tokens that count.
    mask: Vec<bool>,
    /// The rank of each token, -1 where it has none.
    ranks: Vec<i64>,
    advantages: Vec<f64>,
}

impl Collation {
    /// Spreads the advantages `[N]` of a row over its tokens, and says which of them count.
    ///
    /// # Errors
    /// When the advantages are not N wide.
    pub(crate) fn targets(
        &self,
        row: &Row<'_>,
        advantages: &[f64],
    ) -> Result<TokenTargets, AdvantageError> {
        let ranks: Vec<i64> = row.rank_ids().collect();
        let segments = Segments::ranks_and_overflow(&ranks, self.n_ranks);
        let table = [advantages.to_vec()];
        let mut token_advantages = if self.reward.is_ranked() {
            spread(&table, &segments)?
        } else {
            spread(&table, &Segments::sequences(row.len()))?
        };
        if self.reward.is_ranked() {
            let end = ListEnd {
                n_items: row.answer.segments.items,
                end_token: row.completion.ended.then(|| row.len() - 1),
            };
            self.shaping
                .apply(&mut token_advantages, &segments, &[end])?;
        }
        let row_counts = row.completion.ended || !self.mask_truncated_completions;
        // Where ranks are rewarded, a remark between items takes no part, not even in the number of
        // tokens that the loss is divided by.
        let has_rank =
            |t: usize| !self.reward.is_ranked() || row.answer.segments.ranks[t] != NO_RANK;
        let counts = |t: usize| self.forced == ForcedTokens::Count || !row.is_forced(t);
        Ok(TokenTargets {
            mask: (0..row.len())
                .map(|t| row_counts && has_rank(t) && counts(t))
                .collect(),
            ranks,
            advantages: token_advantages,
        })
    }
}

impl TokenTargets {
    /// The number of tokens that count.
    pub(crate) fn counted(&self) -> usize {
        self.mask.iter().filter(|counts| **counts).count()
    }

    /// Whether any token that counts has an advantage.
    pub(crate) fn has_advantage(&self) -> bool {
        let mut tokens = self.mask.iter().zip(&self.advantages);
        tokens.any(|(counts, advantage)| *counts && *advantage != 0.0)
    }

    /// The loss's view of some rows: `[B, T]` tables, T the longest completion, padded behind.
    pub(crate) fn inputs(rows: &[&Self], n_ranks: usize) -> LossInputs {
        let width = rows.iter().map(|row| row.mask.len()).max().unwrap_or(0);
        let mask = padded(rows.iter().map(|row| row.mask.iter().copied()), false);
        let ranks = padded(rows.iter().map(|row| row.ranks.iter().copied()), -1);
        let advantages = padded(rows.iter().map(|row| row.advantages.iter().copied()), 0.0);
        let segments = Segments::ranks_and_overflow(&ranks, n_ranks);
        LossInputs::new([rows.len(), width], mask, segments, advantages)
    }
}

/// Rows of different lengths as one table: each is padded behind to the longest.
pub(crate) fn padded<T: Clone, R>(rows: impl Iterator<Item = R> + Clone, padding: T) -> Vec<T>
where
    R: ExactSizeIterator<Item = T>,
{
    let width = rows.clone().map(|row| row.len()).max().unwrap_or(0);
    rows.flat_map(|row| {
        let missing = width - row.len();
        row.chain(std::iter::repeat_n(padding.clone(), missing))
    })
    .collect()
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
            rewards: RowRewards::default(),
            recomputed: None,
        }
    }

    fn collation(n_ranks: usize) -> Collation {
        Collation {
            n_ranks,
            reward: Reward::Rank(RankReward::ExpInf),
            shaping: LengthShaping::default(),
            mask_truncated_completions: false,
            forced: ForcedTokens::LeaveOut,
        }
    }

    fn collated(rows: &[Row<'_>], mask_truncated_completions: bool) -> LossInputs {
        let collation = Collation {
            mask_truncated_completions,
            ..collation(2)
        };
        let targets: Vec<TokenTargets> = rows
            .iter()
            .map(|row| collation.targets(row, &[1.0, -1.0]).unwrap())
            .collect();
        TokenTargets::inputs(&targets.iter().collect::<Vec<_>>(), 2)
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
            candidates: None,
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

    /// Allows token 7 and another one, then only token 7.
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
            let collation = Collation {
                shaping: LengthShaping::OFF,
                forced,
                ..collation(1)
            };
            collation.targets(&constrained, &[1.0]).unwrap().mask
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
