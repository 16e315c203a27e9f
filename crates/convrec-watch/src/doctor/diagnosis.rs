use serde::{Deserialize, Serialize};

/// A check of a [`Doctor`](super::Doctor).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// The KL stays near 0, or the gradient is exactly 0, although the learning rate is not.
    StalledWeights,
    /// The KL runs away.
    KlHigh,
    /// The entropy collapses.
    EntropyLow,
    /// The entropy runs away.
    EntropyHigh,
    /// Lists become shorter.
    LengthLow,
    /// Lists become longer.
    LengthHigh,
    /// Completions no longer end.
    MissingEos,
    /// Lists leave the catalog.
    OffCatalog,
    /// The listed items become much more, or much less, popular.
    PopularityDrift,
    /// The sampler is not the policy that is trained.
    SamplerMismatch,
    /// The loss is not a number.
    LossNotANumber,
    /// The gradient explodes.
    GradientSpike,
    /// The reward rises while the measures of the evaluations fall.
    RewardHacked,
}

impl Check {
    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::StalledWeights => "stalled_weights",
            Self::KlHigh => "kl_high",
            Self::EntropyLow => "entropy_low",
            Self::EntropyHigh => "entropy_high",
            Self::LengthLow => "length_low",
            Self::LengthHigh => "length_high",
            Self::MissingEos => "missing_eos",
            Self::OffCatalog => "off_catalog",
            Self::PopularityDrift => "popularity_drift",
            Self::SamplerMismatch => "sampler_mismatch",
            Self::LossNotANumber => "loss_not_a_number",
            Self::GradientSpike => "gradient_spike",
            Self::RewardHacked => "reward_hacked",
        }
    }

    /// The usual meaning of the finding, as a phrase.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::StalledWeights => {
                "the weights do not move: the learning rate is too small for their precision (a \
                 bf16 weight of 1 does not notice a change below 0.004), the weights are frozen, \
                 or no group has a difference in its rewards"
            }
            Self::KlHigh => {
                "the policy has left the model that it started from, and with it most of what that \
                 knew; the learning rate is too high, or the KL penalty too weak"
            }
            Self::EntropyLow => {
                "the policy writes one and the same list: the groups have no differences left to \
                 learn from"
            }
            Self::EntropyHigh => {
                "the policy is becoming noise; the learning rate is too high, or what is bad is \
                 unlikely enough already and is pushed down ever further"
            }
            Self::LengthLow => {
                "the policy finds it pays to say less; the reward does not miss what is left out"
            }
            Self::LengthHigh => {
                "the policy finds it pays to say more; the reward does not mind what is too much"
            }
            Self::MissingEos => {
                "the policy no longer writes its end token: cut completions are rewarded, or their \
                 end is never learned"
            }
            Self::OffCatalog => {
                "the policy invents items or misspells their names: it forgets what behaviour \
                 cloning taught it"
            }
            Self::PopularityDrift => {
                "the policy answers with what many like, not with what was asked for (or the \
                 reverse)"
            }
            Self::SamplerMismatch => {
                "ratios compare two different models: sampler and trainer differ in weights, \
                 temperature, prompt, mask or precision"
            }
            Self::LossNotANumber => {
                "an overflow, or a division by nothing; weights that were updated with it are lost"
            }
            Self::GradientSpike => {
                "the updates are about to destroy the policy: too high a learning rate, or a bad \
                 batch"
            }
            Self::RewardHacked => {
                "the policy learns what the reward pays for, not what is wanted; or it learns its \
                 training samples by heart"
            }
        }
    }

    /// The advice, as a phrase.
    pub fn advice(self) -> &'static str {
        match self {
            Self::StalledWeights => {
                "keep the weights in f32 (bf16 for products only), raise the learning rate, and \
                 look at `frac_reward_zero_std`"
            }
            Self::KlHigh => {
                "go back to an earlier checkpoint; lower the learning rate or raise the KL penalty"
            }
            Self::EntropyLow => {
                "go back to an earlier checkpoint; raise the temperature or the upper clip, lower \
                 the learning rate, or add a KL penalty"
            }
            Self::EntropyHigh => {
                "go back to an earlier checkpoint; lower the learning rate, or add a KL penalty"
            }
            Self::LengthLow | Self::LengthHigh => {
                "look at the completions; reward the exact length (`shaping`), or constrain the \
                 lists"
            }
            Self::MissingEos => {
                "look at the completions; raise `max_new_tokens` if they are cut too early, else \
                 leave cut ones out (`mask_truncated_completions`) or constrain the lists"
            }
            Self::OffCatalog => {
                "constrain the lists, lower the learning rate, or clone longer first"
            }
            Self::PopularityDrift => {
                "compare the lists of different prompts; add a KL penalty, or a reward that \
                 popular items do not win"
            }
            Self::SamplerMismatch => {
                "compare both sides' settings; sample with the trainer's own weights, in the same \
                 precision and on the same device"
            }
            Self::LossNotANumber => {
                "go back to the last checkpoint before; lower the learning rate, try without bf16"
            }
            Self::GradientSpike => {
                "go back to an earlier checkpoint; lower `optimizer.max_grad_norm` or the learning \
                 rate, or warm up longer"
            }
            Self::RewardHacked => {
                "go back to the checkpoint of the best evaluation; read the completions, and mend \
                 the reward or stop there"
            }
        }
    }
}

/// A finding about a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "steps {first} to {last}: {seen}. What it usually means: {}. What to do: {}. To go on all the \
     same, leave the check out: `off = [\"{}\"]`", check.meaning(), check.advice(), check.name()
)]
pub struct Diagnosis {
    /// The check that failed.
    pub check: Check,
    /// The first step over which it was seen.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// The figures that were seen, as a phrase.
    pub seen: String,
}
