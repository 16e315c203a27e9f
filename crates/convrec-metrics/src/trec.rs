//! The files of the TREC community. Other tools can score our lists with them, and we can score
//! theirs.
//!
//! A *qrels* file holds judgements, a *run* file one system's ranked lists. A line looks like this:
//!
//! ```text
//! query  0   document  relevance                  redial-test-1-4 0  r680 1
//! query  Q0  document  rank  score  tag           redial-test-1-4 Q0 r680 1 50 bm25
//! ```
//!
//! Conventions are those of `trec_eval`:
//! - Documents are ranked by falling score, and among equal scores by falling name. Scores are
//!   32-bit floats, `-inf` included, and the rank column is not read.
//! - **Every** query of the qrels counts: one without a line in the run scores 0. A query that has
//!   only lines in the run does not count.
//! - A relevance above 0 is relevant. Gains are binary here, so NDCG is that of `trec_eval` only
//!   where no relevance is above 1.
//!
//! ```
//! use convrec_metrics::{Measure, trec::{Qrels, Run}};
//!
//! let qrels = Qrels::read("q1 0 a 1\nq1 0 b 0\nq2 0 c 1\n".as_bytes(), "qrels.txt")?;
//! let mut run = Run::new("mine")?;
//! run.add("q1", ["b", "a"])?;
//!
//! let lists = qrels.judge(&run);
//! let values: Vec<f64> = lists.iter().map(|list| Measure::Mrr(10).of(list)).collect();
//! assert_eq!(values, [0.5, 0.0]); // q1, and q2 for which nothing was returned
//!
//! let mut file = Vec::new();
//! run.write(&mut file)?;
//! assert_eq!(file, b"q1 Q0 b 1 2 mine\nq1 Q0 a 2 1 mine\n");
//!
//! let error = Run::read("q1 Q0 a 1 high mine\n".as_bytes(), "my.run").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "my.run, line 1, field `score`: found `high`, expected a number, or `-inf`; mend the line or remove it"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod lines;
mod qrels;
mod run;

pub use error::Error;
pub use qrels::Qrels;
pub use run::Run;
