//! The full-screen view of a run in a terminal.
//!
//! [`follow`] watches a run's folder from another terminal; a [`Screen`] is an [`Observer`] inside
//! the training process. Both put the news onto a [`Board`], and [`draw`] draws it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

mod board;
mod draw;
mod feed;

pub use board::{Board, Wish};
pub use draw::draw;
use feed::Feed;

use crate::completions::CompletionRecord;
use crate::journal::{Observer, StepView};
use crate::record::{Record, step};
use crate::timing::TimedStep;

/// Gives the terminal back, with the last figures in it.
fn leave(board: &Board) {
    ratatui::restore();
    // An error is ignored: nothing is lost where nobody reads any more.
    let _ = io::stdout().write_all(board.summary().as_bytes());
}

/// The time between two looks at the keyboard and at the news.
const PAUSE: Duration = Duration::from_millis(200);

fn has_terminal() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Shows the run in `folder` until a key ends the view. The run need not have begun.
///
/// # Errors
/// When `folder` is a file, there is no terminal, or the terminal fails.
pub fn follow(folder: &Path, mut board: Board) -> io::Result<()> {
    if folder.is_file() {
        let problem = format!(
            "{} is a file; expected the folder of a run",
            folder.display()
        );
        return Err(io::Error::other(problem));
    }
    if !has_terminal() {
        return Err(io::Error::other(
            "the view needs a terminal; a report or a check does not",
        ));
    }
    let mut feed = Feed::new(folder);
    let mut news = |board: &mut Board| {
        let problem = feed.pass_on(board).err().map(|error| error.to_string());
        board.problem(problem);
        true
    };
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut board, &mut news);
    leave(&board);
    shown.map(drop)
}

/// The view inside the training process. A thread of its own draws it. Dropping it restores the
/// terminal.
///
/// Quitting the view lets the training go on; Ctrl-C ends the process.
#[derive(Debug)]
pub struct Screen {
    steps: Option<Sender<Step>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A finished step.
type Step = (Record, Vec<CompletionRecord>, TimedStep);

impl Screen {
    /// Takes over the terminal; nothing else should print then. `None` where there is no terminal.
    ///
    /// # Errors
    /// When the terminal fails.
    pub fn open(mut board: Board) -> io::Result<Option<Self>> {
        if !has_terminal() {
            return Ok(None);
        }
        let mut terminal = ratatui::try_init()?;
        let (steps, heard) = mpsc::channel();
        let draw = move || {
            let shown = show(&mut terminal, &mut board, &mut |board| hear(&heard, board));
            leave(&board);
            if matches!(shown, Ok(Wish::Interrupt)) {
                // This is what Ctrl-C does to a process without a handler. A run resumes from any
                // moment.
                std::process::exit(130);
            }
            shown.map(drop)
        };
        Ok(Some(Self {
            steps: Some(steps),
            thread: Some(std::thread::spawn(draw)),
        }))
    }

    /// Whether the view is still open. A key may have ended it.
    pub fn is_open(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Observer for Screen {
    fn observe(&mut self, view: &StepView<'_>) {
        let step = step(view.record).unwrap_or_default();
        let timed = TimedStep {
            step,
            total_steps: view.total_steps,
            timing: view.timing,
        };
        if let Some(steps) = &self.steps {
            // The error is ignored: nobody receives any more where the view was quit.
            let _ = steps.send((view.record.clone(), view.completions.to_vec(), timed));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Puts the steps that were sent onto the board. Returns false when no more will come.
fn hear(heard: &Receiver<Step>, board: &mut Board) -> bool {
    loop {
        match heard.try_recv() {
            Ok((record, completions, timed)) => {
                board.record(&record);
                board.completions(&completions);
                board.timed(&timed);
            }
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

/// Draws until a key or the end of the news ends it.
fn show(
    terminal: &mut DefaultTerminal,
    board: &mut Board,
    news: &mut dyn FnMut(&mut Board) -> bool,
) -> io::Result<Wish> {
    while news(board) {
        terminal.draw(|frame| draw(frame, board))?;
        if !event::poll(PAUSE)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match board.key(key) {
                Wish::Stay => {}
                wish => return Ok(wish),
            }
        }
    }
    Ok(Wish::Quit)
}

#[cfg(test)]
mod tests;
