use std::fmt::Display;
use std::io::{Write, stderr, stdout};

use convrec_core::printable;

/// Prints a line on standard output. A reader that has gone away (`| head`), or a full disk under a
/// redirected output, is no reason to stop the work.
///
/// What models, servers and files say may stand in it: escape sequences never reach the terminal
/// ([`printable`]).
pub fn say(line: impl Display) {
    let line = line.to_string();
    let mut out = stdout().lock();
    let _ = writeln!(out, "{}", printable(&line)).and_then(|()| out.flush());
}

/// Prints a table on standard output. On a terminal, columns that do not fit follow below.
#[cfg(feature = "report")]
pub fn say_table(table: &convrec_watch::report::Table) {
    let terminal = console::Term::stdout();
    let width = terminal.size_checked().map(|(_, columns)| columns);
    match width.filter(|_| terminal.is_term()) {
        Some(width) => say(table.print_in(width.into())),
        None => say(table.print()),
    }
}

/// Prints a line on standard error, with the same patience and care.
pub fn warn(line: &dyn Display) {
    let line = line.to_string();
    let _ = writeln!(stderr().lock(), "{}", printable(&line));
}

/// Shows the warnings of this project's crates on standard error, such as a server that is asked
/// again. A logger that is set already stays.
pub fn show_warnings() {
    if log::set_logger(&Warnings).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("convrec") || metadata.target().starts_with("rank_grpo")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            warn(record.args());
        }
    }

    fn flush(&self) {}
}
