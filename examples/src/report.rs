//! A self-contained HTML report: tables and curves in one file that opens anywhere.

use std::error::Error;
use std::path::Path;

use convrec_core::files::write_atomic;
use convrec_train::Record;
use minijinja::{Environment, Value, context};
use plotters::prelude::*;

/// A report in the making.
#[derive(Default)]
pub struct Report {
    title: String,
    sections: Vec<Section>,
}

struct Section {
    heading: String,
    text: String,
    table: Option<Table>,
    charts: Vec<String>,
}

struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Section {
    fn value(&self) -> Value {
        let table = |table: &Table| context! { heading => table.heading.clone(), rows => table.rows.clone() };
        let (heading, text, charts) = (self.heading.clone(), self.text.clone(), self.charts.clone());
        context! { heading, text, charts, table => self.table.as_ref().map(table) }
    }
}

/// A named line of a chart.
pub struct Line<'a> {
    /// What the legend says.
    pub name: &'a str,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

impl<'a> Line<'a> {
    /// One number of a run's records over its steps.
    pub fn of_records(name: &'a str, records: &[Record], field: &str) -> Self {
        let point = |record: &Record| Some((record.get("step")?.as_f64()?, record.get(field)?.as_f64()?));
        Self { name, points: records.iter().filter_map(point).collect() }
    }

    /// Values at 1, 2, 3, ...
    pub fn of_values(name: &'a str, values: &[f64]) -> Self {
        Self { name, points: values.iter().enumerate().map(|(place, y)| (place as f64 + 1.0, *y)).collect() }
    }
}

impl Report {
    /// An empty report.
    pub fn new(title: &str) -> Self {
        Self { title: title.into(), sections: vec![] }
    }

    /// Adds a section of text.
    pub fn section(&mut self, heading: &str, text: &str) {
        self.sections.push(Section { heading: heading.into(), text: text.into(), table: None, charts: vec![] });
    }

    /// Adds a table to the newest section.
    pub fn table(&mut self, heading: &[&str], rows: &[Vec<String>]) {
        if let Some(section) = self.sections.last_mut() {
            let heading = heading.iter().map(ToString::to_string).collect();
            section.table = Some(Table { heading, rows: rows.to_vec() });
        }
    }

    /// Adds a chart to the newest section; without any point it is left out.
    ///
    /// # Errors
    /// When the chart cannot be drawn.
    pub fn chart(&mut self, title: &str, x: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn Error>> {
        if let (Some(section), Some(svg)) = (self.sections.last_mut(), draw(title, x, lines)?) {
            section.charts.push(svg);
        }
        Ok(())
    }

    /// Writes the report, replacing the file whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let environment = Environment::new();
        let page = environment.render_named_str(
            "report.html",
            include_str!("report.html"),
            context! { title => self.title.clone(), sections => self.sections.iter().map(Section::value).collect::<Vec<_>>() },
        )?;
        Ok(write_atomic(path, |out| out.write_all(page.as_bytes()))?)
    }
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(38, 99, 199),
    RGBColor(208, 84, 32),
    RGBColor(34, 139, 84),
    RGBColor(140, 70, 170),
    RGBColor(110, 110, 110),
    RGBColor(190, 150, 20),
];

fn draw(title: &str, x: &str, lines: &[Line<'_>]) -> Result<Option<String>, Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return Ok(None);
    }
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if high > low { low..high } else { low - 0.5..low + 0.5 }
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (460, 280)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(46)
            .build_cartesian_2d(range(|p| p.0), range(|p| p.1))?;
        chart.configure_mesh().x_desc(x).light_line_style(WHITE).x_labels(6).y_labels(6).draw()?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        }
        let legend = SeriesLabelPosition::UpperLeft;
        chart.configure_series_labels().position(legend).background_style(WHITE.mix(0.8)).draw()?;
        area.present()?;
    }
    Ok(Some(svg))
}
