use std::collections::VecDeque;

/// The first and the latest values of a field, each with its step.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Series {
    first: Vec<(usize, f64)>,
    latest: VecDeque<(usize, f64)>,
    seen: usize,
}

/// A median, and the steps that it is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Median {
    pub(super) value: f64,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Series {
    /// Keeps the first `first` and the latest `latest` values.
    pub(super) fn push(&mut self, step: usize, value: f64, first: usize, latest: usize) {
        if self.first.len() < first {
            self.first.push((step, value));
        }
        if self.latest.len() == latest {
            self.latest.pop_front();
        }
        self.latest.push_back((step, value));
        self.seen += 1;
    }

    /// The medians of the first and the latest `n` values, once they have none in common.
    pub(super) fn ends(&self, n: usize) -> Option<(Median, Median)> {
        (self.seen >= 2 * n).then(|| {
            (
                Median::of(&self.first[..n]),
                self.latest(n).expect("there are more"),
            )
        })
    }

    /// The median of the latest `n` values.
    pub(super) fn latest(&self, n: usize) -> Option<Median> {
        let start = self.latest.len().checked_sub(n)?;
        Some(Median::of(
            &self.latest.range(start..).copied().collect::<Vec<_>>(),
        ))
    }

    /// The median of the values before the latest `n`, where there are `at_least` of them.
    pub(super) fn before_latest(&self, n: usize, at_least: usize) -> Option<Median> {
        let before = self
            .latest
            .len()
            .checked_sub(n)
            .filter(|before| *before >= at_least)?;
        Some(Median::of(
            &self.latest.range(..before).copied().collect::<Vec<_>>(),
        ))
    }

    /// The upper quartile of the first values.
    pub(super) fn upper_quartile_of_first(&self) -> Option<f64> {
        let mut values: Vec<f64> = self.first.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() * 3 / 4).copied()
    }
}

impl Median {
    fn of(values: &[(usize, f64)]) -> Self {
        let mut sorted: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let value = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
        Self {
            value,
            from: values[0].0,
            to: values[n - 1].0,
        }
    }
}

/// The number of records in a row for which a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Streak {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) records: usize,
}

impl Streak {
    pub(super) fn push(&mut self, step: usize, holds: bool) {
        *self = match (holds, self.records) {
            (false, _) => Self::default(),
            (true, 0) => Self {
                from: step,
                to: step,
                records: 1,
            },
            (true, n) => Self {
                to: step,
                records: n + 1,
                ..*self
            },
        };
    }
}
