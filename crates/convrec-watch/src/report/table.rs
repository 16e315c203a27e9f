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

    /// The table as text, in Markdown, for lines of at most `width` characters: where the columns
    /// do not fit, those that are left follow below, with the names of the rows again. A column is
    /// never cut, so that a narrow terminal still wraps a wide one.
    pub fn print_in(&self, width: usize) -> String {
        let all = || std::iter::once(&self.heading).chain(&self.rows);
        // A cell has a space on each side and a bar behind it.
        let wide = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + 3
        };
        let (mut blocks, mut left) = (vec![vec![0]], 0);
        for column in 1..self.heading.len() {
            let block = blocks.last_mut().expect("there is one");
            if block.len() > 1 && wide(column) > left {
                blocks.push(vec![0]);
                left = width.saturating_sub(1 + wide(0));
            } else if block.len() == 1 {
                left = width.saturating_sub(1 + wide(0));
            }
            blocks.last_mut().expect("there is one").push(column);
            left = left.saturating_sub(wide(column));
        }
        let of = |row: &Vec<String>, block: &[usize]| -> Vec<String> {
            let cell = |column: &usize| row.get(*column).cloned().unwrap_or_default();
            block.iter().map(cell).collect()
        };
        let print = |block: &Vec<usize>| {
            let rows = self.rows.iter().map(|row| of(row, block)).collect();
            let heading = of(&self.heading, block);
            Self { heading, rows }.print()
        };
        let printed: Vec<String> = blocks.iter().map(print).collect();
        printed.join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_tables_go_on_below() {
        let mut table = Table::new(["", "one", "two", "three", "four"]);
        table.row("a name", ["1.5", "22", "333", "4444"].map(String::from));
        table.row("é", ["", "", "", ""].map(String::from));
        assert_eq!(table.print_in(usize::MAX), table.print());
        for width in [0, 20, 24, 25, 26, 32, 33, 40] {
            let printed = table.print_in(width);
            let longest = printed.lines().map(|line| line.chars().count()).max();
            // One column goes beyond where it must.
            assert!(longest <= Some(width.max(18)), "{width}: {printed}");
            for cell in ["one", "two", "three", "four", "1.5", "22", "333", "4444"] {
                let cells = printed.split(['|', '\n']).map(str::trim);
                assert_eq!(cells.filter(|found| *found == cell).count(), 1, "{printed}");
            }
            let names = printed.matches("a name").count();
            assert_eq!(names, printed.split("\n\n").count());
        }
        assert_eq!(table.print_in(0).split("\n\n").count(), 4);
        let alone = Table::new(["alone"]);
        assert_eq!(alone.print_in(0), alone.print());
    }
}
