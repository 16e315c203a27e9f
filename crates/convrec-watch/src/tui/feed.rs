use std::path::{Path, PathBuf};

use super::Board;
use crate::completions;
use crate::error::Error;
use crate::follow::{Follow, Tail};
use crate::timing::TimedStep;

/// Puts the records and completions of a run's folder onto a board.
#[derive(Debug)]
pub(super) struct Feed {
    folder: PathBuf,
    log: Follow,
    timing: Tail,
    /// The step of the completions that are shown.
    completions: usize,
}

impl Feed {
    pub(super) fn new(folder: &Path) -> Self {
        let (log, timing) = (
            Follow::new(folder),
            Tail::new(&folder.join(TimedStep::FILE)),
        );
        Self {
            folder: folder.into(),
            log,
            timing,
            completions: 0,
        }
    }

    /// Puts the news since the last call onto the board.
    pub(super) fn pass_on(&mut self, board: &mut Board) -> Result<(), Error> {
        let news = self.log.poll()?;
        if news.restarted {
            board.restart();
            self.completions = 0;
            self.timing = Tail::new(&self.folder.join(TimedStep::FILE));
        }
        news.records.iter().for_each(|record| board.record(record));
        let timed = match self.timing.poll()? {
            Some(timed) => timed,
            // A run need not have the file. Where it had one, the file was written anew.
            None => {
                self.timing = Tail::new(&self.folder.join(TimedStep::FILE));
                board.restart_pace();
                self.timing.poll()?.unwrap_or_default()
            }
        };
        for line in timed {
            let timed = serde_json::from_value(serde_json::Value::Object(line));
            timed.iter().for_each(|timed| board.timed(timed));
        }
        match completions::kept(&self.folder)?.pop() {
            Some((step, path)) if step != self.completions => {
                board.completions(&completions::read(path)?);
                self.completions = step;
            }
            _ => {}
        }
        Ok(())
    }
}
