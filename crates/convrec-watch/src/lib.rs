//! The files of a training run, and their readers.
//!
//! A run writes a [record](Record) for each step: names and numbers, with TRL's names where TRL has
//! one. Everything here is made of records:
//!
//! | what | where it goes | for whom |
//! |---|---|---|
//! | [`Log`] | `log.jsonl`, rotated | everyone; equal in equal runs, bit for bit, whatever interrupted them |
//! | [`Completions`] | `completions/step-000100.jsonl`: the first and the newest | who wants to see what the policy writes |
//! | [`Timing`] | `timing.jsonl` | [`Pace`]: tokens a second, time left |
//! | [`Events`] | `tensorboard/` | TensorBoard |
//! | [`Doctor`] | an error that stops the run: what was seen, what it usually means, what to do | who pays for the machine |
//! | `report` | a page about runs side by side, and SVG plots (feature `report`) | who compares |
//! | `tui` | a full-screen view in a terminal (feature `tui`) | who waits |
//!
//! The training loop makes a [`Journal`] and hands it each finished step. The journal does the
//! rest. Files are a function of the steps, so a run that is resumed from a checkpoint leaves the
//! same ones: lines of later steps are dropped and written again.
//!
//! ```
//! use convrec_watch::{CompletionRecord, Follow, Journal, Record, StepView, Timing, Trouble, WatchConfig, log};
//!
//! // A run whose policy loses its entropy from step 31 on: it writes the same list again and again.
//! fn train(journal: &mut Journal, from: usize) -> Result<(), Trouble> {
//!     for step in from + 1..=100 {
//!         let entropy = if step <= 30 { 1.0 } else { 0.01 }; // nats a token
//!         let record = Record::from_iter([("step".into(), step.into()), ("entropy".into(), entropy.into())]);
//!         let completion = CompletionRecord { step, id: "dialog-1".into(), ..CompletionRecord::default() };
//!         let timing = Timing { seconds: 0.5, rollout_seconds: 0.3, tokens: 800 };
//!         journal.step(&StepView { record: &record, completions: &[completion], timing, total_steps: 100 })?;
//!         // ... and now the checkpoint of the step.
//!     }
//!     Ok(())
//! }
//!
//! let folder = tempfile::tempdir()?;
//! let mut watcher = Follow::new(folder.path()); // from another process, in earnest
//! let mut journal = Journal::open(Some(folder.path().into()), 0, WatchConfig::default())?;
//! let Err(Trouble::Unhealthy(diagnosis)) = train(&mut journal, 0) else { panic!("the doctor slept") };
//! assert_eq!((diagnosis.check.name(), diagnosis.last), ("entropy_low", 41));
//! println!("{diagnosis}");
//! assert_eq!(watcher.poll()?.records.len(), 41); // all that was logged, the last step too
//!
//! // Resumed from the checkpoint of step 20: the journal shows the doctor the first 20 records again.
//! drop(journal);
//! let mut journal = Journal::open(Some(folder.path().into()), 20, WatchConfig::default())?;
//! assert_eq!(log::read(folder.path())?.len(), 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The example program `watch` of the repository offers all of this on the command line.

pub mod completions;
mod doctor;
mod error;
mod events;
mod follow;
mod journal;
pub mod log;
mod record;
#[cfg(feature = "report")]
pub mod report;
#[cfg(any(feature = "report", feature = "tui"))]
mod scale;
mod timing;
#[cfg(feature = "tui")]
pub mod tui;

pub use completions::{CompletionRecord, Completions, ListedItem};
pub use convrec_config::ConfigError;
pub use doctor::{Check, Diagnosis, Doctor, DoctorConfig};
pub use error::Error;
pub use events::Events;
pub use follow::{Follow, News};
pub use journal::{Journal, Observer, StepView, Trouble, WatchConfig};
pub use log::Log;
pub use record::{Record, number, step};
pub use timing::{Pace, TimedStep, Timing};
