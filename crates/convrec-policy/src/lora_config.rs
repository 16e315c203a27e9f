//! The projections that have an adapter, and its size.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// A projection of a block, in the names of Hugging Face checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Projection {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// The output of the attention.
    OProj,
    /// The gate of the MLP.
    GateProj,
    /// The projection that the gate acts on.
    UpProj,
    /// The output of the MLP.
    DownProj,
    /// Queries, keys and values in one matrix, as Phi-3 has them.
    QkvProj,
    /// The gate of the MLP and the projection that it acts on in one matrix, as Phi-3 has them.
    GateUpProj,
}

impl Projection {
    /// Those of a Llama block, in the order of the file.
    pub const ALL: [Self; 7] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
    ];

    /// The name in files: `q_proj`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
            Self::QkvProj => "qkv_proj",
            Self::GateUpProj => "gate_up_proj",
        }
    }
}

impl std::str::FromStr for Projection {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .chain([Self::QkvProj, Self::GateUpProj])
            .find(|projection| projection.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                ConfigError::new(
                    "targets",
                    format!("{name:?} is not supported; expected some of {known}"),
                )
            })
    }
}

/// The shape of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// r, the inner width of the two matrices.
    pub rank: usize,
    /// The scale of the adapter is `alpha / rank`.
    pub alpha: f64,
    /// The projections that have an adapter.
    pub targets: Vec<Projection>,
    /// Whether the scale is `alpha / sqrt(rank)` instead, so that large ranks learn as fast
    /// (rsLoRA, [arXiv 2312.03732]).
    ///
    /// [arXiv 2312.03732]: https://arxiv.org/abs/2312.03732
    pub rank_stabilized: bool,
}

impl Default for LoraConfig {
    /// Rank 16 with a scale of 2, on all projections.
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            targets: Projection::ALL.to_vec(),
            rank_stabilized: false,
        }
    }
}

impl LoraConfig {
    /// Checks that the fields are in range.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: String| Err(ConfigError::new(field, problem));
        if self.rank == 0 {
            return bad("rank", "0; expected at least 1".into());
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return bad(
                "alpha",
                format!("{}; expected a positive number", self.alpha),
            );
        }
        if self.targets.is_empty() {
            return bad(
                "targets",
                "none; expected at least one projection, as q_proj".into(),
            );
        }
        Ok(())
    }

    /// s, the number that the product of the two matrices is multiplied by.
    #[must_use]
    pub fn scale(&self) -> f64 {
        scale(self.alpha, self.rank, self.rank_stabilized)
    }
}

pub(crate) fn scale(alpha: f64, rank: usize, stabilized: bool) -> f64 {
    let rank = rank as f64;
    alpha / if stabilized { rank.sqrt() } else { rank }
}
