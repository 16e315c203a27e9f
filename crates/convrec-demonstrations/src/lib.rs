//! Remap-Reflect-Adjust turns the answers of a black-box teacher into demonstrations inside the
//! catalog.
//!
//! A small policy learns to recommend by imitating a large model. But the large model does not know
//! the catalog. It names items that are not in it, that do not exist or that have another year, and
//! it favours popular ones. Three steps turn its raw answer into a ranked list of catalog items.
//! Each step is a score for every item. The items with the best last score are the demonstration.
//!
//! | step | rule | score |
//! |---|---|---|
//! | [`remap`] | each named item votes, by its rank, for similar catalog items; so does the conversation | s_remap = p' (S_item + I_ic) + lambda s_conv |
//! | [`reflect`] | a judge rates the best candidates from -2 to 2 | s_reflect = s_remap + gamma r |
//! | [`Adjust`] | a factor and a shift for each item, [fitted](fit) to the ground truth of training | s_final = w * s_reflect + b |
//!
//! Each step is a function by itself. [`Pipeline`] runs them over many conversations, and any step
//! can be switched off. Four traits stand between the pipeline and its services, so that a model on
//! a server, recorded answers and a script are the same to it: [`Teacher`], [`Judge`],
//! [`Embedder`], [`Describer`]. The module [`services`] makes all four from one settings file.
//!
//! ```
//! use convrec_catalog::Catalog;
//! use convrec_demonstrations::{Answer, LexicalEmbedder, Pipeline, PipelineConfig, ReplayTeacher, Services};
//! use convrec_core::{Example, jsonl};
//!
//! let catalog = r#"
//!     {"title": "Heat", "year": 1995, "metadata": "a detective hunts a gang of bank robbers"}
//!     {"title": "Alien", "year": 1979, "metadata": "a spaceship crew meets a monster"}
//!     {"title": "Inside Man", "year": 2006, "metadata": "a detective talks to bank robbers"}"#;
//! let catalog = Catalog::new(jsonl::read(catalog.as_bytes(), "catalog.jsonl")?)?;
//! let conversation = r#"{"id": "c-1", "dialog": [{"role": "user", "content": "Bank robbers, but not Heat!"}],
//!     "seen": [["Heat", 1995]], "ground_truth": []}"#;
//! let examples: Vec<Example> = jsonl::read(conversation.replace('\n', " ").as_bytes(), "conversations.jsonl")?;
//!
//! // What a large model said: the first film does not exist, the second has another year in the catalog.
//! let raw = "Sure! You might like:\n1. The Bank Robbers (2004)\n2. Inside Man (2005)\n3. Alien (1979)";
//! let teacher = ReplayTeacher::new("answers", vec![Answer { id: "c-1".into(), raw: raw.into() }])?;
//!
//! let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
//! let embedder = LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH);
//! let services = Services { teacher: &teacher, embedder: &embedder, judge: None, describer: &() };
//! let config = PipelineConfig { n: 2, reflect: false, adjust: false, ..PipelineConfig::default() };
//!
//! let output = Pipeline::new(config, &catalog, services)?.run(&examples, &|_| ())?;
//! let list: Vec<String> = output.demonstrations[0].list.iter().map(|item| item.to_string()).collect();
//! assert_eq!(list, ["Inside Man (2006)", "Alien (1979)"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A model on a server, or one of your own, is a [`ChatModel`]. The module [`chat`] makes a
//! teacher, a judge and a describer of it. [`CachedEmbedder`] keeps embeddings in a file. A
//! pipeline can also go step by step: [`Pipeline::score`] asks and remaps, [`Pipeline::fit`] learns
//! Adjust, and [`Pipeline::finish`] makes the lists of these conversations or of others. Scored
//! conversations can be written as a part of a run ([`Scored::write`], [`Shard`]) and put together
//! elsewhere ([`Scored::merge`]). A conversation without an answer is left out and named
//! ([`PipelineOutput::failures`]).
//!
//! Where no large model is at hand, [`scripted`] has teachers that rank by co-occurrence, words or
//! popularity and then make mistakes as a language model does. The result is deterministic for any
//! number of threads. Scores are f32, and Adjust is fitted in f64.
//!
//! # Features
//!
//! - `llm`: chat models and embedding models of servers as services (`convrec-llm`).
//! - `embed`: sentence encoders as services (`convrec-embed`, which brings burn).
//!
//! Source: Zhu et al., "Rank-GRPO: Training LLM-based Conversational Recommender Systems with
//! Reinforcement Learning", arXiv 2510.20150, section on Remap-Reflect-Adjust.

mod adjust;
pub mod augment;
mod cached;
pub mod chat;
mod conversation;
mod demonstration;
mod lexical;
mod pipeline;
mod reflect;
mod remap;
mod replay;
mod score;
pub mod scripted;
pub mod services;
mod stable;

pub use adjust::{
    Adjust, AdjustConfig, AdjustError, Fit, FitReport, FitStep, Objective, Reduction, fit,
};
pub use cached::{CacheError, CachedEmbedder};
pub(crate) use conversation::seen_ids;
pub(crate) use convrec_retrieve::conversation_text;
pub use convrec_services::{
    Candidates, ChatAnswer, ChatModel, ChatRequest, Describer, Done, EmbeddedPart, Embedder, Judge,
    Ratings, ServiceError, Teacher, ratings_by_order,
};
pub use demonstration::demonstration;
pub use lexical::LexicalEmbedder;
pub use pipeline::{
    Counts, Failure, Origin, OriginError, Pipeline, PipelineConfig, PipelineError, PipelineOutput,
    Progress, Scored, Services, Shard, ShardError, Stage, Steps, TeacherItem,
};
pub use reflect::reflect;
pub use remap::{Named, rank_weights, remap, remap_query};
pub use replay::{Answer, ReplayError, ReplayTeacher};
pub use score::{FactoredScores, ScoreRows};
