//! A self-contained HTML report: text, tables, curves and lists in one file that opens anywhere.

use std::path::Path;

use convrec_core::{Turn, files, files::write_atomic, printable};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};
use serde::Serialize;

mod chart;
mod page;
mod run;
mod table;

pub use chart::Line;
pub use page::page;
pub use run::TrainingRun;
pub use table::Table;

/// A report cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A run cannot be read.
    #[error(transparent)]
    Run(#[from] crate::Error),
    /// A chart cannot be drawn.
    #[error("the chart `{title}` cannot be drawn: {problem}")]
    Chart {
        /// The chart.
        title: String,
        /// The message of the library for charts.
        problem: String,
    },
    /// The page cannot be made of its template.
    #[error("the page cannot be made: {0}")]
    Page(#[from] minijinja::Error),
}

/// A report in the making.
#[derive(Serialize)]
pub struct Report {
    title: String,
    subtitle: String,
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    heading: String,
    pieces: Vec<Piece>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Piece {
    Text { text: String },
    Note { text: String },
    Chat { turns: Vec<Turn> },
    Table { table: Table },
    Charts { charts: Vec<Chart> },
    Lists { lists: Vec<(String, Vec<Marked>)> },
}

#[derive(Serialize)]
struct Chart {
    title: String,
    svg: String,
}

/// A line of a list with its marks.
#[derive(Debug, Clone, Serialize)]
pub struct Marked {
    /// The line.
    pub text: String,
    /// Whether it is a hit.
    pub relevant: bool,
    /// Whether it repeats an earlier line.
    pub repeated: bool,
}

impl Report {
    /// An empty report.
    pub fn new(title: &str, subtitle: &str) -> Self {
        Self {
            title: title.into(),
            subtitle: subtitle.into(),
            sections: vec![],
        }
    }

    /// Begins a section. All that is added later belongs to it.
    pub fn section(&mut self, heading: &str, text: &str) {
        self.sections.push(Section {
            heading: heading.into(),
            pieces: vec![],
        });
        if !text.is_empty() {
            self.text(text);
        }
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: &str) {
        self.add(Piece::Text { text: text.into() });
    }

    /// Adds an explanation in small print.
    pub fn note(&mut self, text: &str) {
        self.add(Piece::Note { text: text.into() });
    }

    /// Adds a conversation.
    pub fn chat(&mut self, turns: &[Turn]) {
        self.add(Piece::Chat {
            turns: turns.to_vec(),
        });
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.add(Piece::Table {
            table: table.clone(),
        });
    }

    /// Adds lists side by side, each under its name.
    pub fn lists(&mut self, lists: &[(String, Vec<Marked>)]) {
        self.add(Piece::Lists {
            lists: lists.to_vec(),
        });
    }

    /// Adds a chart beside the one before it. A chart without any point is left out.
    ///
    /// # Errors
    /// [`ReportError::Chart`] when the chart cannot be drawn.
    pub fn chart(&mut self, title: &str, x: &str, lines: &[Line]) -> Result<(), ReportError> {
        let problem = |problem: String| ReportError::Chart {
            title: title.into(),
            problem,
        };
        let Some(svg) = chart::draw(title, x, lines).map_err(|e| problem(e.to_string()))? else {
            return Ok(());
        };
        let chart = Chart {
            title: title.into(),
            svg,
        };
        match self
            .sections
            .last_mut()
            .and_then(|section| section.pieces.last_mut())
        {
            Some(Piece::Charts { charts }) => charts.push(chart),
            _ => self.add(Piece::Charts {
                charts: vec![chart],
            }),
        }
        Ok(())
    }

    fn add(&mut self, piece: Piece) {
        if self.sections.is_empty() {
            self.sections.push(Section {
                heading: String::new(),
                pieces: vec![],
            });
        }
        self.sections
            .last_mut()
            .expect("there is one")
            .pieces
            .push(piece);
    }

    /// Writes the report and replaces the file as a whole. Control characters in what it holds
    /// become U+FFFD ([`printable`]).
    ///
    /// # Errors
    /// [`ReportError::Page`] when the page cannot be made, [`ReportError::File`] when the file
    /// cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let template = include_str!("report/report.html");
        let page = Environment::new().render_named_str(
            "report.html",
            template,
            context! { report => Value::from(Serde(self)) },
        )?;
        // What models and people wrote stands in it.
        let page = printable(&page);
        Ok(write_atomic(path, |out| out.write_all(page.as_bytes()))?)
    }

    /// Writes each chart as an SVG file into `folder`, named by its title. Returns their number.
    ///
    /// # Errors
    /// [`ReportError::File`] when a file cannot be written.
    pub fn write_plots(&self, folder: &Path) -> Result<usize, ReportError> {
        let charts = self
            .sections
            .iter()
            .flat_map(|section| &section.pieces)
            .flat_map(|piece| match piece {
                Piece::Charts { charts } => charts.as_slice(),
                _ => &[],
            });
        let mut names = std::collections::HashSet::new();
        for chart in charts {
            let name = file_name(&chart.title);
            // Charts with one title still have a file each.
            let mut all = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
            let name = all
                .find(|name| names.insert(name.clone()))
                .expect("numbers do not end");
            // An SVG file has no page around it that sets its colours.
            let svg = chart.svg.replacen('>', &format!(">{STYLE}"), 1);
            let svg = printable(&svg);
            write_atomic(folder.join(name + ".svg"), |out| {
                out.write_all(svg.as_bytes())
            })?;
        }
        Ok(names.len())
    }
}

/// The ink of a chart that stands alone, on light pages and on dark ones.
const STYLE: &str = "<style>text{fill:#1d2430}@media(prefers-color-scheme:dark){text{fill:#e4e7ec}\
    [stroke=\"#000000\"]{stroke:#e4e7ec}}</style>";

/// `KL, nats a token` is `kl-nats-a-token`.
fn file_name(title: &str) -> String {
    let words = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}
