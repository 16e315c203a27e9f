//! How many connections the system leaves room for.

/// Files that are open beside connections: models that are loaded, catalogs, the process's own.
const OTHERS: usize = 48;

/// `wanted` connections, or what the limit on open files leaves.
pub(crate) fn connections(wanted: usize) -> usize {
    match open_files() {
        Some(files) => wanted.min(files.saturating_sub(OTHERS)).max(1),
        None => wanted.max(1),
    }
}

/// The limit on open files, where the system says it in a file (Linux).
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
