use comfy_table::{CellAlignment, presets};
use serde::Serialize;

/// A table with a name and numbers in each row.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(heading: impl IntoIterator<Item = S>) -> Self {
        Self {
            heading: heading.into_iter().map(Into::into).collect(),
            rows: vec![],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(std::iter::once(name.to_string()).chain(cells).collect());
    }

    /// The table as text, in Markdown.
    pub fn print(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_header(&self.heading)
            .add_rows(&self.rows);
        table
            .column_iter_mut()
            .skip(1)
            .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table.to_string()
    }
}
