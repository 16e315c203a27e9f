//! The advantages of the authors' public code, quirks included. They are for comparisons with that
//! code, not for training.

use crate::advantage::{STD_EPSILON, check, mean, std};
use crate::shaping::row_length;
use crate::{AdvantageError, LengthShaping, ListEnd, Segments, spread};

/// Advantages as [`group_advantages`](crate::group_advantages) has them, with two quirks.
///
/// A group of one is NaN where `scaled` (quirk A1). A constant group is what rounding makes of it
/// (quirk A3). `rewards` is `[B][N]`.
///
/// # Errors
/// As [`group_advantages`](crate::group_advantages).
pub fn group_advantages(
    rewards: &[Vec<f64>],
    group_size: usize,
    scaled: bool,
) -> Result<Vec<Vec<f64>>, AdvantageError> {
    let n_ranks = check(rewards, group_size)?;
    let mut advantages = rewards.to_vec();
    for rank in 0..n_ranks {
        for group in advantages.chunks_mut(group_size) {
            let column: Vec<f64> = group.iter().map(|row| row[rank]).collect();
            let divisor = if scaled {
                std(&column) + STD_EPSILON
            } else {
                1.0
            };
            group
                .iter_mut()
                .for_each(|row| row[rank] = (row[rank] - mean(&column)) / divisor);
        }
    }
    Ok(advantages)
}

/// The length of each list, counted as the largest segment plus 1.
///
/// An end token after a trailing newline is thus an item (quirk S4), and so is one alone (quirk
/// S5). `segments` are by line, with overflow. `end_tokens`, `[B]`, holds the column of each row's
/// end token.
///
/// # Errors
/// [`AdvantageError::Count`] if the rows do not divide the segments.
pub fn list_ends(
    segments: &Segments,
    end_tokens: &[Option<usize>],
) -> Result<Vec<ListEnd>, AdvantageError> {
    let n_tokens = row_length(segments, end_tokens.len())?;
    let last = |row: usize| {
        (row * n_tokens..(row + 1) * n_tokens)
            .filter_map(|t| segments.get(t))
            .max()
    };
    let end = |(row, &end_token)| ListEnd {
        n_items: last(row).map_or(0, |rank| rank + 1),
        end_token,
    };
    Ok(end_tokens.iter().enumerate().map(end).collect())
}

/// Advantages per token, `[B, T]`: [`spread`] and [`LengthShaping::apply`] with the lengths of
/// [`list_ends`].
///
/// NaN spreads to every token whose rank has it, even where the rank's value is multiplied by 0.
///
/// # Errors
/// [`AdvantageError::Count`] or [`AdvantageError::Width`] if the tables do not fit together.
pub fn token_advantages(
    advantages: &[Vec<f64>],
    segments: &Segments,
    end_tokens: &[Option<usize>],
    shaping: &LengthShaping,
) -> Result<Vec<f64>, AdvantageError> {
    let mut tokens = spread(advantages, segments)?;
    shaping.apply(&mut tokens, segments, &list_ends(segments, end_tokens)?)?;
    let n_tokens = tokens.len() / advantages.len();
    for (t, advantage) in tokens.iter_mut().enumerate() {
        let rank = segments.get(t).unwrap_or(0).min(segments.n_ranks() - 1);
        *advantage += 0.0 * advantages[t / n_tokens][rank];
    }
    Ok(tokens)
}
