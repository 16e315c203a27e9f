//! A chat model as teacher, judge and describer: its prompts, and the reading of its answers.

mod describer;
mod judge;
mod prompts;
mod ratings;
mod teacher;

pub use describer::{ChatDescriber, SourceText, describe_catalog};
pub use judge::ChatJudge;
pub use prompts::{PromptError, Prompts};
pub use ratings::read_ratings;
pub use teacher::ChatTeacher;
