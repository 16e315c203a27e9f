//! Teachers and judges that are programs, for tests, for measurements, and where no large model is
//! at hand.
//!
//! A [`Scorer`] scores the whole catalog for a conversation: [`PopularityScorer`],
//! [`CooccurrenceScorer`], [`WordScorer`], [`SimilarityScorer`], [`Bm25Scorer`], or a
//! [`MixedScorer`] of several. It is a baseline for evaluations by itself. [`ScriptedTeacher`]
//! makes a teacher of it that makes mistakes as a chat model does ([`Mistakes`]), and
//! [`ScriptedJudge`] makes a judge of it. [`Scorers`] holds those of the noisy and the heuristic
//! teacher.

mod cooccurrence;
mod judge;
mod scorer;
mod scorers;
mod similarity;
mod teacher;
mod words;

pub use convrec_services::Mistakes;
pub use cooccurrence::{CooccurrenceScorer, PopularityScorer};
pub use judge::ScriptedJudge;
pub use scorer::{Bm25Scorer, MixedScorer, Scorer};
pub use scorers::Scorers;
pub use similarity::SimilarityScorer;
pub use teacher::ScriptedTeacher;
pub use words::WordScorer;
