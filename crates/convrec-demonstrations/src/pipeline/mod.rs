mod answer;
mod config;
mod counter;
mod finish;
mod score;
mod scored;
mod shard;

use std::fmt;

use convrec_catalog::Catalog;
use convrec_config::ConfigError;
use ndarray::{Array2, ArrayView2};

use answer::Reader;
pub use answer::TeacherItem;
pub use config::PipelineConfig;
pub use scored::{Counts, Failure, PipelineOutput, Scored, Steps};
pub use shard::{Origin, OriginError, Shard, ShardError};

use crate::{AdjustError, Describer, Embedder, Judge, ServiceError, Teacher};

/// The services of a pipeline.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// The teacher, with whose answers the pipeline begins.
    pub teacher: &'a dyn Teacher,
    /// The embedder. It is not asked where Remap is off.
    pub embedder: &'a dyn Embedder,
    /// The judge. It is needed where Reflect is on.
    pub judge: Option<&'a dyn Judge>,
    /// The describer of items outside the catalog; `&()` where there is none.
    pub describer: &'a dyn Describer,
}

impl fmt::Debug for Services<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("embedder", &self.embedder.id())
            .field("judge", &self.judge.is_some())
            .finish_non_exhaustive()
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// The number of conversations done.
    pub done: usize,
    /// The number of all conversations.
    pub total: usize,
}

/// A stage of a run. A run does some thousand conversations at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The teacher answers.
    Teach,
    /// Remap and Reflect.
    Score,
}

/// The reason why a pipeline stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A field of the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No conversation was answered.
    #[error("none of {asked} conversations got an answer; sample `{id}`: {problem}")]
    Nothing {
        /// The number of conversations asked about.
        asked: usize,
        /// The first conversation's [`Example::id`](convrec_core::Example).
        id: String,
        /// The problem of that conversation.
        problem: String,
    },
    /// A service failed as a whole.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Adjust could not be fitted.
    #[error(transparent)]
    Adjust(#[from] AdjustError),
}

/// Remap-Reflect-Adjust over a set of conversations: [`Pipeline::run`], or step by step
///
/// 1. [`score`](Pipeline::score): the teacher's answers, Remap and Reflect;
/// 2. [`fit`](Pipeline::fit): Adjust, from those of the conversations that have ground truth;
/// 3. [`finish`](Pipeline::finish): demonstrations, of these or of other conversations.
///
/// The result is deterministic if the services are, for any number of threads. A conversation
/// without an answer is left out and [named](PipelineOutput::failures).
/// [`PipelineOutput::complete`] makes one an error.
pub struct Pipeline<'a> {
    config: PipelineConfig,
    catalog: &'a Catalog,
    services: Services<'a>,
    reader: Reader<'a>,
    /// Embeddings of the catalog `[C, D]`; none where Remap is off.
    items: Option<Array2<f32>>,
}

impl fmt::Debug for Pipeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("config", &self.config)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl<'a> Pipeline<'a> {
    /// Checks the configuration and embeds the catalog's texts.
    ///
    /// # Errors
    /// [`PipelineError::Config`] when a field is wrong or Reflect is on without a judge,
    /// [`PipelineError::Service`] when the catalog cannot be embedded.
    pub fn new(
        config: PipelineConfig,
        catalog: &'a Catalog,
        services: Services<'a>,
    ) -> Result<Self, PipelineError> {
        config.check()?;
        if config.reflect && services.judge.is_none() {
            let expected = "false, as there is no judge, or a judge";
            return Err(ConfigError::new("reflect", true, expected).into());
        }
        let reader = Reader::new(catalog, &config);
        let mut pipeline = Self {
            config,
            catalog,
            services,
            reader,
            items: None,
        };
        if config.remap {
            let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
            pipeline.items = Some(pipeline.embed(&texts)?);
        }
        Ok(pipeline)
    }

    /// The width D of the embeddings; 0 where Remap is off.
    fn width(&self) -> usize {
        self.items.as_ref().map_or(0, Array2::ncols)
    }

    /// The catalog's embeddings `[C, D]`.
    fn embeddings(&self) -> ArrayView2<'_, f32> {
        match &self.items {
            Some(items) => items.view(),
            None => ArrayView2::from_shape((self.catalog.len(), 0), &[])
                .expect("no rows need no numbers"),
        }
    }

    /// Embeds texts, and checks the rows.
    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        let rows = self.services.embedder.embed(texts)?;
        let width = self.items.as_ref().map_or(rows.ncols(), Array2::ncols);
        let bad = |problem: String| Err(ServiceError::new("embedder", problem));
        if rows.dim() != (texts.len(), width) || width == 0 {
            return bad(format!(
                "embeddings of shape {:?}; expected [{}, {width}], a row for each text",
                rows.dim(),
                texts.len()
            ));
        }
        for (row, text) in rows.outer_iter().zip(texts) {
            let length = row.dot(&row).sqrt();
            // Rounding stays far below this tolerance; an embedder that forgot to normalise does
            // not.
            if !(length == 0.0 || (length - 1.0).abs() < 1e-3) {
                return bad(format!(
                    "a row of length {length} for `{text}`; expected unit length"
                ));
            }
        }
        Ok(rows)
    }
}
