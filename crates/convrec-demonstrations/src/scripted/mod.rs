//! Teachers and judges that are programs, for tests, for measurements, and where no large model is
//! at hand.
//!
//! A [`Scorer`] scores the whole catalog for a conversation: [`PopularityScorer`],
//! [`CooccurrenceScorer`], [`WordScorer`], [`SimilarityScorer`], [`Bm25Scorer`], or a
//! [`MixedScorer`] of several. It is a baseline for evaluations by itself. [`ScriptedTeacher`]
//! makes a teacher of it that makes mistakes as a chat model does ([`Mistakes`]), and
//! [`ScriptedJudge`] makes a judge of it. [`Scorers`] holds those of the noisy and the heuristic
//! teacher.

mod judge;
mod teacher;

pub use convrec_retrieve::{
    Bm25Scorer, CooccurrenceScorer, MixedScorer, PopularityScorer, Scorer, Scorers,
    SimilarityScorer, WordScorer,
};
pub use convrec_services::Mistakes;
pub use judge::ScriptedJudge;
pub use teacher::ScriptedTeacher;
