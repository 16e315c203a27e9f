use crate::Ratings;

/// Up to which share of the candidates, from the worst, each rating from -2 goes: the middle is
/// rated 0.
const QUANTILES: [f64; 4] = [0.1, 0.3, 0.7, 0.9];

/// Ratings of candidates by their order among those that have a score. The best tenth gets 2, the
/// next fifth 1, the worst tenth -2, the fifth above it -1, and the rest 0. Equal scores get equal
/// ratings. Candidates without a score get none.
#[must_use]
pub fn ratings_by_order(scores: &[Option<f32>]) -> Ratings {
    let n = scores.iter().flatten().count() as f64;
    let rating = |score: f32| {
        let share = |hit: fn(f32, f32) -> bool| {
            scores
                .iter()
                .flatten()
                .filter(|&&other| hit(other, score))
                .count() as f64
                / n
        };
        // The middle of those that score the same.
        let quantile =
            share(|other, score| other < score) + share(|other, score| other == score) / 2.0;
        QUANTILES.iter().filter(|&&bound| quantile > bound).count() as i8 - 2
    };
    scores.iter().map(|score| score.map(rating)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_without_a_score_change_nothing() {
        let scored: Vec<Option<f32>> = (0..10).map(|score| Some(score as f32)).collect();
        let expected = [-2, -1, -1, 0, 0, 0, 0, 1, 1, 2].map(Some);
        assert_eq!(ratings_by_order(&scored), expected);
        let with_gaps: Vec<_> = scored
            .iter()
            .flat_map(|score| [*score, None, None])
            .collect();
        assert_eq!(
            ratings_by_order(&with_gaps),
            expected.map(|rating| [rating, None, None]).concat()
        );
        assert_eq!(ratings_by_order(&[None]), [None]);
    }
}
