//! Curves, drawn as SVG.

use std::error::Error;

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::scale;

/// A named curve.
#[derive(Debug, Clone)]
pub struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    is_marked: bool,
}

impl Line {
    /// Values at 1, 2, 3, ...
    pub fn of_values(name: &str, values: &[f64]) -> Self {
        Self {
            name: name.into(),
            points: values
                .iter()
                .enumerate()
                .map(|(n, y)| (n as f64 + 1.0, *y))
                .collect(),
            is_marked: false,
        }
    }

    /// Values at places on the x axis, in the order of the places.
    pub fn of_points(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            is_marked: false,
        }
    }

    /// The curve with a dot at each of its points, for few points that are results by themselves.
    pub fn marked(self) -> Self {
        Self {
            is_marked: true,
            ..self
        }
    }

    /// The curve with at most `most` points, each the mean of adjacent ones. A page need not hold a
    /// million points.
    pub fn thinned(mut self, most: usize) -> Self {
        let side_by_side = self.points.len().div_ceil(most.max(1)).max(1);
        let mean = |points: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            points.iter().map(of).sum::<f64>() / points.len() as f64
        };
        let means = self
            .points
            .chunks(side_by_side)
            .map(|points| (mean(points, |p| p.0), mean(points, |p| p.1)));
        self.points = means.collect();
        self
    }

    /// The curve with each point replaced by the mean of `window` points around it, fewer at the
    /// ends.
    pub fn smoothed(mut self, window: usize) -> Self {
        let values: Vec<f64> = self.points.iter().map(|point| point.1).collect();
        for (n, point) in self.points.iter_mut().enumerate() {
            let around =
                &values[n.saturating_sub(window / 2)..(n + window / 2 + 1).min(values.len())];
            point.1 = around.iter().sum::<f64>() / around.len() as f64;
        }
        self
    }
}

/// The largest number of ticks of an axis.
const TICKS: usize = 6;
/// The width and the height of a chart, in pixels.
const SIZE: (u32, u32) = (470, 310);
/// The height of title and a legend of one row.
const TOP: u32 = 48;
/// The height of each further row.
const ROW: i32 = 15;
/// Colours that can be seen on a white and on a dark page.
const COLOURS: [RGBColor; 8] = [
    RGBColor(55, 115, 200),
    RGBColor(222, 100, 40),
    RGBColor(40, 150, 95),
    RGBColor(150, 80, 180),
    RGBColor(120, 120, 120),
    RGBColor(195, 155, 20),
    RGBColor(205, 70, 120),
    RGBColor(0, 150, 160),
];

/// The chart, or nothing where there is no point to draw.
pub(super) fn draw(title: &str, x: &str, lines: &[Line]) -> Result<Option<String>, Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return Ok(None);
    }
    let across = scale::range(points().map(|point| point.0));
    let y = scale::range(points().map(|point| point.1));
    let room = (y.end - y.start) * 0.05;
    // Values that are never negative get no room below 0.
    let lowest = if y.start >= 0.0 {
        0.0
    } else {
        f64::NEG_INFINITY
    };
    let up = (y.start - room).max(lowest)..y.end + room;
    let ticks = RangedCoordf64::from(up.clone()).key_points(TICKS);
    let tick = scale::labels(&ticks);
    let names = legend_places(lines)?;
    let below = names
        .last()
        .map_or(0, |(_, _, (_, row))| (row * ROW) as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 + below)).into_drawing_area();
        let (top, bottom) = area.split_vertically(TOP + below);
        legend(&top, title, &names)?;
        let mut chart = ChartBuilder::on(&bottom)
            .margin(10)
            // Half of the last step's number stands beyond the axis.
            .margin_right(20)
            .x_label_area_size(34)
            .y_label_area_size(54)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .x_desc(x)
            .x_label_formatter(&|x| scale::whole(*x))
            .y_label_formatter(&|y| tick(*y))
            .disable_x_mesh()
            .bold_line_style(BLACK.mix(0.08))
            .light_line_style(TRANSPARENT)
            .axis_style(BLACK.mix(0.4))
            .x_labels(6)
            .y_labels(TICKS)
            .draw()?;
        for (line, colour) in coloured(lines) {
            chart.draw_series(LineSeries::new(
                line.points.iter().copied(),
                colour.stroke_width(2),
            ))?;
            let marked = line.points.iter().filter(|_| line.is_marked);
            let dots = marked.map(|point| Circle::new(*point, 4, colour.filled()));
            chart.draw_series(dots)?;
        }
        area.present()?;
    }
    Ok(Some(svg))
}

/// A line with its colour, and where its name stands in the legend: how far to the right, and in
/// which row.
type Named<'a> = (&'a Line, &'a RGBColor, (i32, i32));

/// The names of the lines side by side, in as many rows as it takes.
fn legend_places(lines: &[Line]) -> Result<Vec<Named<'_>>, Box<dyn Error>> {
    let (mut x, mut row) = (LEFT, 0);
    let place = |(line, colour): (_, _)| {
        let line: &Line = line;
        let ((left, _), (right, _)) = ("sans-serif", 11).into_font().layout_box(&line.name)?;
        let width = 30 + right - left;
        if x > LEFT && x + width > SIZE.0 as i32 {
            (x, row) = (LEFT, row + 1);
        }
        x += width;
        Ok((line, colour, (x - width, row)))
    };
    coloured(lines).map(place).collect()
}

/// Where title and legend begin.
const LEFT: i32 = 14;

/// The title, and below it the names of the lines.
fn legend(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    names: &[Named<'_>],
) -> Result<(), Box<dyn Error>> {
    area.draw(&Text::new(
        title.to_string(),
        (LEFT, 12),
        ("sans-serif", 15),
    ))?;
    for (line, colour, (x, row)) in names {
        let y = row * ROW;
        area.draw(&PathElement::new(
            [(*x, 40 + y), (x + 12, 40 + y)],
            colour.stroke_width(3),
        ))?;
        area.draw(&Text::new(
            line.name.clone(),
            (x + 16, 35 + y),
            ("sans-serif", 11),
        ))?;
    }
    Ok(())
}

fn coloured(lines: &[Line]) -> impl Iterator<Item = (&Line, &RGBColor)> {
    // A line without points takes a colour too, so that a run has one colour in all charts.
    lines
        .iter()
        .zip(COLOURS.iter().cycle())
        .filter(|(line, _)| !line.points.is_empty())
}
