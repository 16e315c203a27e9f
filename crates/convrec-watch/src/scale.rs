//! Axes of curves: a range that shows something, and ticks that can be told apart.

use std::ops::Range;

/// Returns the range of some values. One that is a single value is widened by half of its size, so
/// that a constant curve lies in the middle of a chart with sensible ticks.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let room = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
    match () {
        () if low > high => 0.0..1.0,
        // A smaller range is lost in the rounding of the chart's coordinates.
        () if high - low > 1e-9 * low.abs().max(high.abs()) => low..high,
        () if low >= 0.0 => (low - room).max(0.0)..high + room,
        () => low - room..high + room,
    }
}

/// The most digits after the point.
const DIGITS: usize = 12;

/// Returns how to write the ticks of an axis: with as few digits as tell them apart, and with an
/// exponent where they are very small or very large.
pub(crate) fn labels(ticks: &[f64]) -> impl Fn(f64) -> String + use<> {
    let largest = ticks
        .iter()
        .fold(0.0, |largest: f64, tick| largest.max(tick.abs()));
    let scientific = largest > 0.0 && !(1e-3..1e6).contains(&largest);
    let span = range(ticks.iter().copied());
    // A hundredth of the space between two ticks is not seen.
    let close = (span.end - span.start) / ticks.len().max(1) as f64 / 100.0;
    let says = |digits: usize| {
        ticks.iter().all(|tick| {
            let label = label(*tick, digits, scientific).parse::<f64>();
            label.is_ok_and(|label| (label - tick).abs() <= close)
        })
    };
    let digits = (0..DIGITS).find(|digits| says(*digits)).unwrap_or(DIGITS);
    move |value| {
        // A sum of steps may miss 0 by rounding.
        let value = if value.abs() < close { 0.0 } else { value };
        label(value, digits, scientific)
    }
}

fn label(value: f64, digits: usize, scientific: bool) -> String {
    match (value == 0.0, scientific) {
        (true, _) => "0".into(),
        (false, true) => format!("{value:.digits$e}"),
        (false, false) => format!("{value:.digits$}"),
    }
}

/// Returns the label of a step or a rank: nothing between two whole numbers.
pub(crate) fn whole(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 {
        format!("{value:.0}")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(ticks: &[f64]) -> Vec<String> {
        let label = labels(ticks);
        ticks.iter().map(|tick| label(*tick)).collect()
    }

    #[test]
    fn ticks_are_told_apart() {
        assert_eq!(labelled(&[0.0, 1e-7, 2e-7]), ["0", "1e-7", "2e-7"]);
        assert_eq!(
            labelled(&[5e-8, 1e-7, 1.5e-7]),
            ["5.0e-8", "1.0e-7", "1.5e-7"]
        );
        assert_eq!(labelled(&[0.0, 0.25, 0.5]), ["0", "0.25", "0.50"]);
        assert_eq!(labelled(&[-2.0, 0.0, 2.0]), ["-2", "0", "2"]);
        assert_eq!(labelled(&[1.00001, 1.00002]), ["1.00001", "1.00002"]);
        assert_eq!(labelled(&[2e6, 4e6]), ["2e6", "4e6"]);
        assert_eq!(labelled(&[0.1 + 0.2, 0.4]), ["0.3", "0.4"]);
        assert_eq!(labelled(&[]), [""; 0]);
    }

    #[test]
    fn a_constant_curve_has_a_range() {
        assert_eq!(range([3.0, 3.0].into_iter()), 1.5..4.5);
        assert_eq!(range([0.0].into_iter()), 0.0..1.0);
        assert_eq!(range([-2.0].into_iter()), -3.0..-1.0);
        assert_eq!(range([1e-7, 1e-7].into_iter()), 5e-8..1.5e-7);
        assert_eq!(range([1.0, 2.0, f64::NAN].into_iter()), 1.0..2.0);
        assert_eq!(range(std::iter::empty()), 0.0..1.0);
    }

    #[test]
    fn steps_are_whole() {
        assert_eq!([2.0, 2.5].map(whole), ["2", ""]);
    }
}
