//! A small embedded world: films, users who talk about them, and a known best possible score.
//!
//! Real conversations do not tell how good a recommender could have been. Here every user has a
//! [`Taste`] that is known, and chooses films by a known law ([`World`]). A learned policy can be
//! compared with the best possible list, and with the best list that the words of the conversation
//! allow. All of it is bundled (424 real films) and seeded, for examples, tests and experiments
//! without downloads.
//!
//! ```
//! use convrec_world::{World, WorldConfig};
//!
//! let world = World::embedded();
//! let split = world.generate(&WorldConfig { seed: 7, n_train: 3, n_validation: 0, n_test: 0 });
//!
//! let example = &split.train[0];
//! for turn in &example.dialog {
//!     println!("{}: {}", turn.role.as_str(), turn.content);
//! }
//! assert_eq!(example.id, "world-train-1-1");
//! assert!((3..=6).contains(&example.ground_truth.len()));
//!
//! // The best list, for one who knows the user's taste and for one who only read the conversation.
//! let best = world.oracle_ranking(&split.tastes[&example.id], &example.seen, 10);
//! let knowable = world.oracle_ranking(&world.shown_taste(example), &example.seen, 10);
//! println!("{} comes first; from the words alone: {}", world.name(best[0]), world.name(knowable[0]));
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | [`World`] | the films, the law of choice, the best rankings |
//! | [`Feature`], [`Taste`] | what films have and users like: genres, themes, eras |
//! | [`World::generate`] | conversations, and the tastes behind them |
//! | [`WorldTeacher`] | a black box that recommends as a large language model does, errors included |
//! | [`WorldJudge`] | one who rates films for a conversation, with noise |
//!
//! Mean scores over a thousand and more conversations (the tests assert bands around them):
//!
//! | ranking | NDCG@10 | Recall@10 |
//! |---|---|---|
//! | best possible: by the true taste | .64 | .65 |
//! | by what the conversation shows of it | .52 | .55 |
//! | demonstrations: the teacher's answers after Remap-Reflect-Adjust | .31 | .35 |
//! | the teacher's answers, without what is off the catalog or seen | .20 | .21 |
//! | by popularity | .08 | .10 |

mod dialog;
mod features;
mod films;
mod generate;
mod judge;
mod reading;
mod seeded;
mod taste;
mod teacher;
mod world;

pub use features::{Feature, Kind};
pub use films::Film;
pub use generate::{Split, WorldConfig};
pub use judge::WorldJudge;
pub use taste::Taste;
pub use teacher::WorldTeacher;
pub use world::World;
