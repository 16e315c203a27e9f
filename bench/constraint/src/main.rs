//! Measures constraints that keep a list in a catalog: the token trie of `convrec-text`, and
//! llguidance. `peers.py` measures libraries for Python at the same walks, and `compare.py` runs
//! all of them. Each run is a process and prints JSON lines.

mod llg;
mod measure;
mod ours;
mod prepare;
mod walks;

use std::error::Error;

use clap::{Parser, Subcommand};

/// Measures constraints that keep a list in a catalog.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Writes catalogs, vocabularies and walks for all others.
    Prepare(prepare::Options),
    /// The token trie, made from the catalog.
    Ours {
        #[command(flatten)]
        paths: walks::Paths,
        /// Opens the file that an earlier run has saved.
        #[arg(long)]
        open: bool,
    },
    /// llguidance with a grammar of the catalog.
    Llguidance {
        #[command(flatten)]
        paths: walks::Paths,
        /// What the catalog is written as.
        #[arg(long)]
        form: llg::Form,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    match Options::parse().work {
        Work::Prepare(options) => prepare::run(&options),
        Work::Ours { paths, open } => ours::run(&paths, open),
        Work::Llguidance { paths, form } => llg::run(&paths, form),
    }
}
