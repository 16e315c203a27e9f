//! What a person sees while a run works, and after.

use comfy_table::{CellAlignment, Table, presets};
use convrec_train::Record;
use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar with rate, time left and a message.
///
/// # Panics
/// Never: the template is fixed.
pub fn bar(name: &str, total: usize) -> ProgressBar {
    let style = "{prefix:>24} {bar:30} {pos}/{len} {per_sec:>10} eta {eta:>4}  {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is right");
    ProgressBar::new(total as u64).with_style(style).with_prefix(name.to_string())
}

/// Moves a bar by one step and shows some numbers of its record.
pub fn step(bar: &ProgressBar, record: &Record, names: &[&str]) {
    let number = |name: &&str| record.get(*name).and_then(|value| value.as_f64()).map(|x| format!("{name} {x:.3}"));
    bar.set_message(names.iter().filter_map(number).collect::<Vec<_>>().join("  "));
    bar.inc(1);
}

/// A plain table: a heading, then rows of a name and numbers.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(heading.to_vec());
    rows.iter().for_each(|row| {
        table.add_row(row.clone());
    });
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.to_string()
}
