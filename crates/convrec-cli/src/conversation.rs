//! A conversation that a user types, and the items that it is about.

use std::error::Error;
use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use convrec_catalog::{Catalog, Mentions};
use convrec_core::{ItemId, Turn, files};

use crate::output::warn;

/// The flags of one conversation.
#[derive(Debug, Args)]
pub struct ConversationOptions {
    /// A file with one conversation: a line per turn, the user's first, then by turns. `-` is
    /// standard input.
    #[arg(long, conflicts_with = "turns")]
    pub file: Option<PathBuf>,
    /// An item already seen, as `Heat (1995)`; may be given often. Items that the conversation
    /// names are found anyway. A title without a year means all items of that title.
    #[arg(long)]
    pub seen: Vec<String>,
    /// The turns, the user's first, then by turns.
    pub turns: Vec<String>,
}

impl ConversationOptions {
    /// The turns of the conversation: given as arguments, in a file, or typed.
    ///
    /// # Errors
    /// When the file cannot be read, or the last turn is not the user's.
    pub fn turns(&self) -> Result<Vec<Turn>, Box<dyn Error>> {
        let lines = match &self.file {
            Some(path) if path != Path::new("-") => lines_of(&files::read_text(path)?),
            None if !self.turns.is_empty() => self.turns.clone(),
            None if stdin().is_terminal() => {
                warn(&"Type the conversation, a line per turn, yours first; end with Ctrl-D.");
                typed()?
            }
            _ => typed()?,
        };
        if lines.len().is_multiple_of(2) {
            let found = lines.len();
            let expected = "expected an odd number: the first and the last are the user's";
            return Err(format!("{found} turns; {expected}").into());
        }
        let turn = |(index, line): (usize, String)| match index % 2 {
            0 => Turn::user(line),
            _ => Turn::assistant(line),
        };
        Ok(lines.into_iter().enumerate().map(turn).collect())
    }

    /// The items that the turns name and those of `--seen`, each once.
    ///
    /// # Errors
    /// When `--seen` names no item of the catalog; the error names the nearest ones.
    pub fn seen(&self, catalog: &Catalog, turns: &[Turn]) -> Result<Vec<ItemId>, Box<dyn Error>> {
        let mut seen = Mentions::new(catalog).in_turns(turns);
        for name in &self.seen {
            for id in catalog.named(name).map_err(|e| format!("--seen: {e}"))? {
                if !seen.contains(&id) {
                    seen.push(id);
                }
            }
        }
        Ok(seen)
    }
}

fn typed() -> Result<Vec<String>, std::io::Error> {
    let mut text = String::new();
    stdin().read_to_string(&mut text)?;
    Ok(lines_of(&text))
}

fn lines_of(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use convrec_core::{CatalogItem, Role};

    use super::*;

    fn options(turns: &[&str], seen: &[&str]) -> ConversationOptions {
        let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        ConversationOptions {
            file: None,
            seen: owned(seen),
            turns: owned(turns),
        }
    }

    #[test]
    fn turns_alternate_and_the_last_is_the_users() {
        let turns = options(&["Hello", "What do you like?", "Heat"], &[])
            .turns()
            .unwrap();
        let roles: Vec<Role> = turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
        let error = options(&["Hello", "And?"], &[])
            .turns()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("2 turns; expected an odd number"),
            "{error}"
        );
    }

    #[test]
    fn what_is_named_and_what_is_seen_come_once() {
        let item = |title: &str, year| CatalogItem {
            title: title.into(),
            year: Some(year),
            genres: vec![],
            metadata: String::new(),
        };
        let catalog = Catalog::new(vec![item("Heat", 1995), item("Ronin", 1998)]).unwrap();
        let given = options(&["I loved Heat (1995)"], &["Heat", "Ronin (1998)"]);
        let turns = given.turns().unwrap();
        assert_eq!(
            given.seen(&catalog, &turns).unwrap(),
            [ItemId(0), ItemId(1)]
        );
        let unknown = options(&["Hello"], &["No such thing (1234)"]);
        let error = unknown.seen(&catalog, &turns).unwrap_err().to_string();
        assert!(error.starts_with("--seen: "), "{error}");
    }
}
