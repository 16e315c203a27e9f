//! The members of the family that a run may start from.

use std::fmt;
use std::str::FromStr;

use rank_grpo::{LengthShaping, LossConfig};

use crate::reward::Reward;
use crate::rl::RlConfig;

/// The member of the family that a run starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// Rewards, advantages and ratios per rank.
    #[default]
    RankGrpo,
    /// The DCG of the list as its reward, ratios per token.
    Grpo,
    /// The DCG of the list as its reward, one ratio per list.
    Gspo,
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "rank-grpo" => Ok(Self::RankGrpo),
            "grpo" => Ok(Self::Grpo),
            "gspo" => Ok(Self::Gspo),
            _ => Err("expected rank-grpo, grpo or gspo".into()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RankGrpo => "rank-grpo",
            Self::Grpo => "grpo",
            Self::Gspo => "gspo",
        })
    }
}

impl Algorithm {
    /// The settings that a config file changes.
    #[must_use]
    pub fn defaults(self) -> RlConfig {
        let list = |loss| RlConfig {
            loss,
            reward: Reward::Dcg,
            shaping: LengthShaping::OFF,
            ..RlConfig::default()
        };
        match self {
            Self::RankGrpo => RlConfig::default(),
            Self::Grpo => list(LossConfig::grpo()),
            Self::Gspo => list(LossConfig::gspo()),
        }
    }
}
