//! The segments of a row as groups of numbers.

use crate::{RatioLevel, Segments};

/// The tokens of a row that count, divided into the segments of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// The segment of each token.
    pub of: Vec<usize>,
    /// The number of tokens in each segment.
    pub sizes: Vec<f64>,
    /// The sum of the last values over each segment.
    pub sums: Vec<f64>,
    /// The mean of the last values over each segment; 0 for an empty one.
    pub means: Vec<f64>,
}

impl Groups {
    /// Divides the tokens at `columns` of the row that begins at token `first`.
    ///
    /// At rank level, every token must have a rank.
    pub fn assign(
        &mut self,
        level: RatioLevel,
        columns: &[usize],
        first: usize,
        segments: &Segments,
    ) {
        let Groups { of, sizes, .. } = self;
        of.clear();
        sizes.clear();
        match level {
            RatioLevel::Token => {
                of.extend(0..columns.len());
                sizes.resize(columns.len(), 1.0);
            }
            RatioLevel::Sequence => {
                of.resize(columns.len(), 0);
                sizes.push(columns.len() as f64);
            }
            RatioLevel::Rank => {
                sizes.resize(segments.count(), 0.0);
                of.extend(
                    columns
                        .iter()
                        .map(|column| segments.get(first + column).unwrap_or(0)),
                );
                for run in of.chunk_by(|a, b| a == b) {
                    sizes[run[0]] += run.len() as f64;
                }
            }
        }
    }

    /// Sums the values of the tokens over each segment.
    pub fn sum(&mut self, values: impl Iterator<Item = f64>) {
        self.sums.clear();
        self.sums.resize(self.sizes.len(), 0.0);
        // Neighbours mostly share a segment, whose sum then need not go through memory.
        let (mut last, mut sum) = (0, 0.0);
        for (&group, value) in self.of.iter().zip(values) {
            if group != last {
                self.sums[last] = sum;
                (last, sum) = (group, self.sums[group]);
            }
            sum += value;
        }
        if let Some(total) = self.sums.get_mut(last) {
            *total = sum;
        }
        let means = self.sums.iter().zip(&self.sizes);
        self.means.clear();
        self.means
            .extend(means.map(|(sum, size)| sum / size.max(1.0)));
    }

    /// The number of segments that hold tokens.
    pub fn present(&self) -> usize {
        self.sizes.iter().filter(|size| **size > 0.0).count()
    }
}
