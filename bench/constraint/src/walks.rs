//! The files that `prepare` writes.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use convrec_text::TextTokenizer;
use serde::{Deserialize, Serialize};

/// The number of items in a list.
pub const N: usize = 20;
/// Items that the user has seen.
pub const SEEN: usize = 10;

/// What a run reads.
#[derive(clap::Args)]
pub struct Paths {
    /// The folder of `prepare`.
    #[arg(long)]
    folder: PathBuf,
    /// The number of items in the catalog.
    #[arg(long)]
    items: usize,
    /// The name of the tokenizer: `NAME.json` in the folder.
    #[arg(long)]
    tokenizer: String,
}

/// Lists that are written, in one tokenizer's tokens.
#[derive(Serialize, Deserialize)]
pub struct Walks {
    pub end: u32,
    pub vocabulary: usize,
    pub walks: Vec<Walk>,
}

/// A list of different items, as lines and as a JSON array.
#[derive(Serialize, Deserialize)]
pub struct Walk {
    pub seen: Vec<u32>,
    pub items: Vec<u32>,
    pub text: String,
    /// The tokens of the lines, and the end token.
    pub tokens: Vec<u32>,
    pub json: String,
    /// The tokens of the JSON text, and the end token.
    pub json_tokens: Vec<u32>,
}

impl Paths {
    pub fn names(&self) -> Result<Vec<String>, Box<dyn Error>> {
        read(self.folder.join(format!("names-{}.json", self.items)))
    }

    pub fn walks(&self) -> Result<Walks, Box<dyn Error>> {
        let name = format!("walks-{}-{}.json", self.items, self.tokenizer);
        read(self.folder.join(name))
    }

    pub fn tokenizer(&self) -> Result<TextTokenizer, Box<dyn Error>> {
        Ok(TextTokenizer::load(
            self.folder.join(format!("{}.json", self.tokenizer)),
        )?)
    }

    /// The trie's file, which the Python package reads.
    pub fn trie(&self) -> PathBuf {
        self.folder
            .join(format!("{}-{}.trie", self.items, self.tokenizer))
    }
}

fn read<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<T, Box<dyn Error>> {
    let text = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?)
}
