//! Relevance against violations: what a target for a reward costs, beside fixed prices.

use convrec_cli::Table;
use convrec_watch::report::{Line, Report, ReportError};

/// The trained policies of an experiment with one reward to keep within bounds.
pub struct Frontier {
    /// What a violation is, for headings.
    pub violation: String,
    /// What relevance is measured by.
    pub relevance: String,
    /// One for each policy.
    pub points: Vec<Point>,
}

/// A policy in training. Each number is a mean over the first and over the last rollouts.
pub struct Point {
    /// Its name.
    pub name: String,
    /// The share of listed items that violate.
    pub share: [f64; 2],
    /// The relevance of the lists.
    pub relevance: [f64; 2],
    /// The multiplier of its target; none where the price is fixed.
    pub multiplier: Option<[f64; 2]>,
}

impl Frontier {
    /// The numbers.
    pub fn table(&self) -> Table {
        let Self {
            violation,
            relevance,
            ..
        } = self;
        let share = format!("share of {violation}");
        let mut table = Table::new(["reward", &share, "multiplier", relevance]);
        for point in &self.points {
            let multiplier = point.multiplier.map_or_else(String::new, arrow);
            let cells = [arrow(point.share), multiplier, arrow(point.relevance)];
            table.row(&point.name, cells);
        }
        table
    }

    /// The plot: a point for each policy at the end of its training, joined in the order of their
    /// shares.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn draw(&self, report: &mut Report) -> Result<(), ReportError> {
        let line = |name: &str, has_target: bool| {
            let chosen = self.points.iter();
            let chosen = chosen.filter(|point| point.multiplier.is_some() == has_target);
            let at = |point: &Point| (100.0 * point.share[1], point.relevance[1]);
            let mut points: Vec<(f64, f64)> = chosen.map(at).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line::of_points(name, points).marked()
        };
        let Self {
            violation,
            relevance,
            ..
        } = self;
        let title = format!("frontier: {relevance} against {violation}");
        let lines = [line("fixed price", false), line("target", true)];
        report.chart(&title, &format!("{violation}, % of listed items"), &lines)
    }
}

/// The first and the last of two numbers.
pub fn arrow([first, last]: [f64; 2]) -> String {
    format!("{first:.3}>{last:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_targets_are_two_lines_of_points() {
        let point = |name: &str, share: f64, multiplier| Point {
            name: name.into(),
            share: [0.3, share],
            relevance: [0.5, 0.4 + share],
            multiplier,
        };
        let frontier = Frontier {
            violation: "blocked items".into(),
            relevance: "DCG".into(),
            points: vec![
                point("no target", 0.3, None),
                point("cost 0.2", 0.1, None),
                point("at most 1%", 0.02, Some([0.0, 0.7])),
            ],
        };
        let table = frontier.table().print();
        assert!(
            table.contains("0.300>0.020") && table.contains("0.000>0.700"),
            "{table}"
        );
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::new("", "");
        frontier.draw(&mut report).unwrap();
        report.write_plots(folder.path()).unwrap();
        let path = folder.path().join("frontier-dcg-against-blocked-items.svg");
        let svg = std::fs::read_to_string(path).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("fixed price") && svg.contains("target"));
    }
}
