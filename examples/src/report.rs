//! A self-contained HTML report: text, tables, curves and lists in one file that opens anywhere.

use std::error::Error;
use std::path::Path;

use convrec_core::{Turn, files::write_atomic};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};
use serde::Serialize;

mod chart;

pub use chart::Line;

use crate::show::Table;

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
    Charts { charts: Vec<String> },
    Lists { lists: Vec<(String, Vec<Marked>)> },
}

/// A line of a list, and what is to be said of it.
#[derive(Debug, Clone, Serialize)]
pub struct Marked {
    /// The line.
    pub text: String,
    /// Whether it is a hit.
    pub right: bool,
    /// Whether it repeats an earlier line.
    pub repeated: bool,
}

impl Report {
    /// An empty report.
    pub fn new(title: &str, subtitle: &str) -> Self {
        Self { title: title.into(), subtitle: subtitle.into(), sections: vec![] }
    }

    /// Begins a section, which all that follows belongs to.
    pub fn section(&mut self, heading: &str, text: &str) {
        self.sections.push(Section { heading: heading.into(), pieces: vec![] });
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
        self.add(Piece::Chat { turns: turns.to_vec() });
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.add(Piece::Table { table: table.clone() });
    }

    /// Adds lists side by side, each under its name.
    pub fn lists(&mut self, lists: &[(String, Vec<Marked>)]) {
        self.add(Piece::Lists { lists: lists.to_vec() });
    }

    /// Adds a chart beside the one before it; without any point it is left out.
    ///
    /// # Errors
    /// When the chart cannot be drawn.
    pub fn chart(&mut self, title: &str, x: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
        let Some(svg) = chart::draw(title, x, lines)? else { return Ok(()) };
        match self.sections.last_mut().and_then(|section| section.pieces.last_mut()) {
            Some(Piece::Charts { charts }) => charts.push(svg),
            _ => self.add(Piece::Charts { charts: vec![svg] }),
        }
        Ok(())
    }

    fn add(&mut self, piece: Piece) {
        if self.sections.is_empty() {
            self.sections.push(Section { heading: String::new(), pieces: vec![] });
        }
        self.sections.last_mut().expect("there is one").pieces.push(piece);
    }

    /// Writes the report, replacing the file whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let template = include_str!("report.html");
        let page = Environment::new().render_named_str(
            "report.html",
            template,
            context! { report => Value::from(Serde(self)) },
        )?;
        Ok(write_atomic(path, |out| out.write_all(page.as_bytes()))?)
    }
}
