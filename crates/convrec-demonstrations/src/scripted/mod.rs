//! Teachers and judges that are programs: for tests, for measurements, and where no large model is
//! at hand.
//!
//! A [`Scorer`] scores the whole catalog for a conversation: [`Popularity`], [`Cooccurrence`],
//! [`Words`], [`Alike`], [`Bm25Scorer`], or a [`Mixed`] one. It is a baseline for evaluations by
//! itself; [`ScriptedTeacher`] makes a teacher of it that errs like a chat model ([`Mistakes`]),
//! [`ScriptedJudge`] a judge.

mod alike;
mod cooccurrence;
mod judge;
mod scorer;
mod teacher;
mod words;

pub use alike::Alike;
pub use convrec_services::Mistakes;
pub use cooccurrence::{Cooccurrence, Popularity};
pub use judge::ScriptedJudge;
pub use scorer::{Bm25Scorer, Mixed, Scorer};
pub use teacher::ScriptedTeacher;
pub use words::Words;
