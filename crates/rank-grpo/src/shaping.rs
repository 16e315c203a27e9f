//! Turns advantages per rank into advantages per token.

use serde::{Deserialize, Serialize};

use crate::{AdvantageError, Segments};

/// The advantage of each token, `[B, T]`, from advantages per rank, `[B][N]`.
///
/// A token has the advantage of its rank. Overflow tokens and tokens without a rank have 0. With
/// [`Segments::sequences`] and N = 1, every token has its completion's advantage.
///
/// A segment can be a *phase* as well as a rank. F-GRPO (arXiv 2605.12995) writes candidates first
/// and ranks them afterwards. Give the tokens of the phases the ids 0 and 1, and each completion a
/// reward for either phase (coverage, then NDCG). [`group_advantages`](crate::group_advantages)
/// without scaling and `spread` then give each phase its own advantage. The paper's abstract says
/// so much. Its weights of the phases and its ratio were not to be had, so there is no preset.
///
/// # Errors
/// [`AdvantageError::Count`] if the rows do not divide the tokens, [`AdvantageError::Width`] if a
/// row is not N wide.
///
/// ```
/// use rank_grpo::{Segments, spread};
///
/// // One completion of three tokens and one of padding.
/// let segments = Segments::ranks(&[0, 0, 1, -1], 2);
/// assert_eq!(
///     spread(&[vec![0.5, -0.5]], &segments)?,
///     [0.5, 0.5, -0.5, 0.0]
/// );
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn spread(advantages: &[Vec<f64>], segments: &Segments) -> Result<Vec<f64>, AdvantageError> {
    let n_tokens = row_length(segments, advantages.len())?;
    let expected = segments.n_ranks();
    if let Some(row) = advantages.iter().position(|ranks| ranks.len() != expected) {
        return Err(AdvantageError::Width {
            row,
            found: advantages[row].len(),
            expected,
        });
    }
    let of_rank = |t: usize| {
        segments
            .get(t)
            .and_then(|rank| advantages[t / n_tokens].get(rank).copied())
    };
    Ok((0..segments.len())
        .map(|t| of_rank(t).unwrap_or(0.0))
        .collect())
}

/// The end of a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListEnd {
    /// The number of items of the completion, surplus ones included. Count items, not lines: a
    /// trailing newline is not an item (quirk S4).
    pub n_items: usize,
    /// The column of the end token; `None` where the completion was cut off.
    pub end_token: Option<usize>,
}

/// Advantages that teach the length of a list. They are not normalised; ratio and clip act on them
/// as on any other (quirk S7).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthShaping {
    /// The advantage of the end token after exactly N items.
    pub exact: f64,
    /// The advantage of the end token before N items.
    pub early: f64,
    /// The advantage of every token of the overflow segment, and of the end token after it.
    pub extra: f64,
}

impl Default for LengthShaping {
    /// The authors' numbers: 0.1, -0.1, -0.1.
    fn default() -> Self {
        LengthShaping {
            exact: 0.1,
            early: -0.1,
            extra: -0.1,
        }
    }
}

impl LengthShaping {
    /// No shaping: end tokens and overflow tokens get advantage 0.
    pub const OFF: Self = LengthShaping {
        exact: 0.0,
        early: 0.0,
        extra: 0.0,
    };

    /// Replaces the advantages of end tokens and overflow tokens in `advantages`, `[B, T]`.
    ///
    /// The end token keeps its segment, so it shares the last rank's ratio (quirk S3). Overflow
    /// tokens are those that [`Segments::ranks_and_overflow`] put past the last rank. `ends` is
    /// `[B]`.
    ///
    /// # Errors
    /// [`AdvantageError::Count`] if the tables do not fit together, or if an end token stands
    /// outside of its row.
    ///
    /// ```
    /// use rank_grpo::{LengthShaping, ListEnd, Segments, spread};
    ///
    /// let segments = Segments::ranks_and_overflow(&[0, 1, 1, /**/ 0, 1, 2], 2);
    /// let mut advantages = spread(&[vec![1.0, -1.0], vec![-1.0, 1.0]], &segments)?;
    /// let ends = [
    ///     ListEnd {
    ///         n_items: 2,
    ///         end_token: Some(2),
    ///     },
    ///     ListEnd {
    ///         n_items: 3,
    ///         end_token: None,
    ///     },
    /// ];
    /// LengthShaping::default().apply(&mut advantages, &segments, &ends)?;
    /// assert_eq!(advantages, [1.0, -1.0, 0.1, /**/ -1.0, 1.0, -0.1]);
    /// # Ok::<(), rank_grpo::AdvantageError>(())
    /// ```
    pub fn apply(
        &self,
        advantages: &mut [f64],
        segments: &Segments,
        ends: &[ListEnd],
    ) -> Result<(), AdvantageError> {
        let n_tokens = row_length(segments, ends.len())?;
        let (found, expected) = (advantages.len(), segments.len());
        if found != expected {
            return Err(AdvantageError::Count {
                what: "token advantages",
                found,
                expected,
            });
        }
        for (t, advantage) in advantages.iter_mut().enumerate() {
            if segments.get(t) == Some(segments.n_ranks()) {
                *advantage = self.extra;
            }
        }
        for (row, end) in ends.iter().enumerate() {
            let Some(place) = end.end_token else { continue };
            if place >= n_tokens {
                return Err(AdvantageError::Count {
                    what: "place of an end token",
                    found: place,
                    expected: n_tokens,
                });
            }
            advantages[row * n_tokens + place] = match end.n_items.cmp(&segments.n_ranks()) {
                std::cmp::Ordering::Less => self.early,
                std::cmp::Ordering::Equal => self.exact,
                std::cmp::Ordering::Greater => self.extra,
            };
        }
        Ok(())
    }
}

/// Takes the completions that were cut off out of a mask `[B, T]` (DAPO; TRL's setting of this
/// name).
///
/// Such completions are not punished for what they could not finish. `ends` is `[B]`.
///
/// # Errors
/// [`AdvantageError::Count`] if the rows do not divide the mask.
///
/// ```
/// use rank_grpo::{ListEnd, mask_truncated_completions};
///
/// let ends = [
///     ListEnd {
///         n_items: 1,
///         end_token: Some(1),
///     },
///     ListEnd {
///         n_items: 1,
///         end_token: None,
///     },
/// ];
/// let mut mask = [true, true, true, true];
/// mask_truncated_completions(&mut mask, &ends)?;
/// assert_eq!(mask, [true, true, false, false]);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn mask_truncated_completions(
    mask: &mut [bool],
    ends: &[ListEnd],
) -> Result<(), AdvantageError> {
    let n_tokens = rows_of(mask.len(), ends.len())?;
    let rows = mask.chunks_mut(n_tokens.max(1)).zip(ends);
    rows.filter(|(_, end)| end.end_token.is_none())
        .for_each(|(row, _)| row.fill(false));
    Ok(())
}

/// Returns T.
pub(crate) fn row_length(segments: &Segments, rows: usize) -> Result<usize, AdvantageError> {
    rows_of(segments.len(), rows)
}

fn rows_of(tokens: usize, rows: usize) -> Result<usize, AdvantageError> {
    if rows == 0 || !tokens.is_multiple_of(rows) {
        return Err(AdvantageError::Count {
            what: "tokens, which should divide into rows",
            found: tokens,
            expected: rows,
        });
    }
    Ok(tokens / rows)
}
