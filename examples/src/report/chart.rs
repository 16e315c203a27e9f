//! Curves, drawn as SVG.

use std::error::Error;

use plotters::prelude::*;

/// A named curve.
#[derive(Debug, Clone)]
pub struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// Values at 1, 2, 3, ...
    pub fn of_values(name: &str, values: &[f64]) -> Self {
        Self { name: name.into(), points: values.iter().enumerate().map(|(n, y)| (n as f64 + 1.0, *y)).collect() }
    }

    /// Each point the mean of itself and those around it, `window` in all (fewer at the ends).
    pub fn smoothed(mut self, window: usize) -> Self {
        let values: Vec<f64> = self.points.iter().map(|point| point.1).collect();
        for (n, point) in self.points.iter_mut().enumerate() {
            let around = &values[n.saturating_sub(window / 2)..(n + window / 2 + 1).min(values.len())];
            point.1 = around.iter().sum::<f64>() / around.len() as f64;
        }
        self
    }
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(55, 115, 200),
    RGBColor(222, 100, 40),
    RGBColor(40, 150, 95),
    RGBColor(150, 80, 180),
    RGBColor(120, 120, 120),
    RGBColor(195, 155, 20),
];

/// The chart, or nothing where there is no point to draw.
pub(super) fn draw(title: &str, x: &str, lines: &[Line]) -> Result<Option<String>, Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return Ok(None);
    }
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if high > low { low..high } else { low - 0.5..low + 0.5 }
    };
    let (across, y) = (range(|point| point.0), range(|point| point.1));
    let room = (y.end - y.start) * 0.05;
    let up = (y.start - room).max(if y.start >= 0.0 { 0.0 } else { f64::NEG_INFINITY })..y.end + room;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (470, 290)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 15))
            .margin(10)
            .x_label_area_size(34)
            .y_label_area_size(46)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .x_desc(x)
            .disable_x_mesh()
            .bold_line_style(BLACK.mix(0.08))
            .light_line_style(WHITE)
            .axis_style(BLACK.mix(0.4))
            .x_labels(6)
            .y_labels(6)
            .draw()?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        }
        let (place, ground) = (SeriesLabelPosition::UpperRight, WHITE.mix(0.8));
        chart.configure_series_labels().position(place).background_style(ground).draw()?;
        area.present()?;
    }
    Ok(Some(svg))
}
