//! Trains and evaluates variants, each in a folder of its own that is named by a hash of all its
//! inputs. Existing results are used again, also by other experiments.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use convrec::device;
use convrec_cli::steps::steps;
use convrec_core::files::{read_text, write_atomic};
use convrec_core::hash::sha256;
use convrec_demonstrations::{PipelineConfig, PipelineOutput};
use convrec_policy::{Policy, SaveOptions};
use convrec_train::{RlConfig, RunOptions, Task, TrainError, WatchConfig, checkpoint};
use convrec_watch::{Check, DoctorConfig, TimedStep, log};
use convrec_world::World;
use quickstart::{Ground, N, reinforce, sft, supervise};
use serde::Serialize;
use serde_json::{Value, json};

use crate::outcome::{Done, Made, Outcome};
use crate::variants::{Rl, Variant};

const SETTINGS: &str = "config.json";
const EVALUATION: &str = "evaluation.json";
const DEMONSTRATIONS: &str = "demonstrations.json";
const POLICY: &str = "policy";

/// The sizes of training and test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Training conversations.
    pub conversations: usize,
    /// Conversations to test on.
    pub test: usize,
    /// Updates of supervised fine-tuning.
    pub sft_steps: usize,
}

/// The place where the variants of one seed are made.
pub struct Lab<'a> {
    world: &'a World,
    sizes: Sizes,
    seed: u64,
    folder: &'a Path,
    ground: OnceCell<Ground>,
}

impl<'a> Lab<'a> {
    /// Keeps variants below `folder`.
    pub fn new(world: &'a World, sizes: Sizes, seed: u64, folder: &'a Path) -> Self {
        Self {
            world,
            sizes,
            seed,
            folder,
            ground: OnceCell::new(),
        }
    }

    /// The seed's conversations, which are made when they are first needed.
    pub fn ground(&self) -> Result<&Ground, Box<dyn Error>> {
        if self.ground.get().is_none() {
            let made = Ground::new(
                self.world,
                self.seed,
                self.sizes.conversations,
                self.sizes.test,
            )?;
            return Ok(self.ground.get_or_init(|| made));
        }
        Ok(self.ground.get().expect("it is there"))
    }

    /// The results of a variant, if it is finished.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub fn finished(&self, variant: &Variant) -> Result<Option<Done>, Box<dyn Error>> {
        let folder = self.folder_of(variant);
        if !folder.join(EVALUATION).exists() {
            return Ok(None);
        }
        let log = if log::exists(&folder)? {
            log::read(&folder)?
        } else {
            vec![]
        };
        let seconds = TimedStep::read(&folder)?
            .iter()
            .map(|step| step.timing.seconds)
            .sum();
        let imitated = self
            .folder_of(&Variant {
                rl: None,
                ..variant.clone()
            })
            .join(DEMONSTRATIONS);
        let made = if imitated.exists() {
            Some(read(&imitated)?)
        } else {
            None
        };
        Ok(Some(Done {
            outcome: read(&folder.join(EVALUATION))?,
            folder,
            log,
            seconds,
            made,
        }))
    }

    /// Trains and evaluates a variant as far as that was not done before, and returns its results.
    ///
    /// # Errors
    /// When files cannot be written or read, or supervised fine-tuning diverges.
    pub fn run(&self, variant: &Variant) -> Result<Done, Box<dyn Error>> {
        if let Some(done) = self.finished(variant)? {
            return Ok(done);
        }
        let (policy, stopped) = self.policy(variant)?;
        let [constrained, unconstrained] = self.ground()?.evaluate(&policy);
        let outcome = Outcome {
            constrained: (&constrained).into(),
            unconstrained: (&unconstrained).into(),
            stopped,
        };
        write(&self.folder_of(variant).join(EVALUATION), &outcome)?;
        Ok(self.finished(variant)?.expect("it has just been written"))
    }

    /// The policy of a variant, and the reason where its training was stopped.
    fn policy(&self, variant: &Variant) -> Result<(Policy, Option<String>), Box<dyn Error>> {
        let (folder, ground) = (self.folder_of(variant), self.ground()?);
        let kept = folder.join(POLICY);
        // Weights come last into the folder, and whole.
        if kept.join("model.safetensors").exists() {
            return Ok((Policy::load_folder(kept, &device()?.autodiff())?, None));
        }
        write(&folder.join(SETTINGS), &self.settings(variant))?;
        let trained = match (&variant.cloning, &variant.rl) {
            (None, None) => return Ok((ground.untrained()?, None)),
            (Some(cloning), None) => self.imitate(*cloning, &folder)?,
            (_, Some(rl)) => {
                let (start, _) = self.policy(&Variant {
                    rl: None,
                    ..variant.clone()
                })?;
                match self.reinforce(variant, rl, start.clone(), &folder)? {
                    Ok(trained) => trained,
                    Err(why) => return Ok((newest(&folder)?.unwrap_or(start), Some(why))),
                }
            }
        };
        trained.save_folder(&kept, &SaveOptions::default())?;
        for (_, checkpoint) in checkpoint::list(&folder)? {
            fs::remove_dir_all(&checkpoint)
                .map_err(|e| format!("cannot remove {}: {e}", checkpoint.display()))?;
        }
        Ok((trained, None))
    }

    fn imitate(&self, cloning: PipelineConfig, folder: &Path) -> Result<Policy, Box<dyn Error>> {
        let ground = self.ground()?;
        let output = ground.clone_teacher(cloning)?;
        write(&folder.join(DEMONSTRATIONS), &made(ground, &output))?;
        let (config, pairs) = (sft(self.sizes.sft_steps, self.seed), ground.pairs(&output)?);
        Ok(supervise(
            ground.untrained()?,
            &ground.constrained,
            &pairs,
            &config,
            &kept_in(folder, 300),
        )?
        .0)
    }

    /// The trained policy, or the reason why training was stopped.
    fn reinforce(
        &self,
        variant: &Variant,
        rl: &Rl,
        start: Policy,
        folder: &Path,
    ) -> Result<Result<Policy, String>, Box<dyn Error>> {
        let ground = self.ground()?;
        let unconstrained: Task;
        let task = if rl.unconstrained {
            unconstrained = ground
                .unconstrained
                .clone()
                .with_segmentation(rl.segmentation);
            &unconstrained
        } else {
            &ground.constrained
        };
        let config = RlConfig {
            seed: self.seed,
            ..rl.config.clone()
        };
        match reinforce(
            &variant.name,
            start,
            task,
            &ground.train,
            &config,
            &kept_in(folder, 10),
        ) {
            Ok((policy, _)) => Ok(Ok(policy)),
            Err(error @ (TrainError::Diverged { .. } | TrainError::Unhealthy(_))) => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// All inputs of a variant except this program.
    fn settings(&self, variant: &Variant) -> Value {
        let Sizes {
            conversations,
            test,
            sft_steps,
        } = self.sizes;
        let sft = variant
            .cloning
            .map(|cloning| json!({ "cloning": cloning, "config": sft(sft_steps, self.seed) }));
        let mut rl = json!(variant.rl);
        if variant.rl.is_some() {
            rl["config"]["seed"] = self.seed.into();
        }
        json!({ "seed": self.seed, "conversations": conversations, "test": test, "sft": sft, "rl": rl })
    }

    fn folder_of(&self, variant: &Variant) -> PathBuf {
        let settings = self.settings(variant);
        let kind = match &variant.rl {
            None if variant.cloning.is_none() => "untrained".to_string(),
            None => "sft".to_string(),
            Some(rl) => {
                let ratio = json!(rl.config.loss.importance_sampling_level);
                let start = if variant.cloning.is_none() {
                    "zero-"
                } else {
                    ""
                };
                format!(
                    "{start}rl-{}-mu{}",
                    ratio.as_str().unwrap_or("ratio"),
                    rl.config.num_iterations
                )
            }
        };
        let hash = sha256(settings.to_string().as_bytes());
        self.folder
            .join(format!("seed-{}", self.seed))
            .join(format!("{kind}-{}", &hash[..10]))
    }
}

/// The options of a run that goes on in its folder, with a checkpoint every so many steps.
pub fn kept_in(folder: &Path, checkpoint_every: usize) -> RunOptions {
    // Only an unstable run ends early, as the compared runs shall train equally long.
    let off = [
        Check::StalledWeights,
        Check::PopularityDrift,
        Check::OffCatalog,
        Check::LengthLow,
        Check::LengthHigh,
    ];
    let doctor = DoctorConfig {
        off: BTreeSet::from(off),
        ..DoctorConfig::default()
    };
    let watch = WatchConfig {
        doctor,
        ..WatchConfig::default()
    };
    let (folder, resume) = (Some(folder.into()), true);
    RunOptions {
        folder,
        resume,
        checkpoint_every,
        watch,
        keep_checkpoints: 1,
        ..RunOptions::default()
    }
}

/// The policy of the newest checkpoint.
fn newest(folder: &Path) -> Result<Option<Policy>, Box<dyn Error>> {
    let newest = checkpoint::list(folder)?.pop();
    newest
        .map(|(_, path)| Ok(Policy::load_folder(path, &device()?.autodiff())?))
        .transpose()
}

/// The quality of the demonstrations, for the conversations that they were made for.
fn made(ground: &Ground, output: &PipelineOutput) -> Made {
    let steps = steps(
        output,
        ground.unconstrained.catalog(),
        &ground.split.train,
        N,
    );
    let last = steps.last().expect("there are four");
    let items = last.lists.iter().map(Vec::len).sum::<usize>() as f64 / last.lists.len() as f64;
    Made::of(output.demonstrations.len(), items, &last.judged)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Box<dyn Error>> {
    let bad = |e| {
        format!(
            "{}: {e}; remove its folder, and the variant is made anew",
            path.display()
        )
    };
    Ok(serde_json::from_str(&read_text(path)?).map_err(bad)?)
}

fn write(path: &Path, content: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string(content)?;
    Ok(write_atomic(path, |out| writeln!(out, "{text}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variants::{OURS, ablations, algorithms, named};

    #[test]
    fn arms_are_shared_where_all_is_the_same() {
        let folder = |sft_steps, seed, variant: &Variant| {
            let sizes = Sizes {
                conversations: 10,
                test: 5,
                sft_steps,
            };
            Lab::new(World::embedded(), sizes, seed, Path::new("out")).folder_of(variant)
        };
        let (algorithms, ablations) = (algorithms(2).variants, ablations(2).variants);
        let find = |variants: &[Variant], name: &str| {
            variants
                .iter()
                .find(|variant| variant.name == name)
                .unwrap()
                .clone()
        };
        let ours = find(&ablations, OURS);
        assert_eq!(
            folder(3, 1, &ours),
            folder(3, 1, &find(&algorithms, &named("Rank-GRPO exp_inf", 2)))
        );
        assert_ne!(folder(3, 1, &ours), folder(3, 2, &ours));
        assert_ne!(folder(3, 1, &ours), folder(4, 1, &ours));
        let all: BTreeSet<PathBuf> = algorithms
            .iter()
            .chain(&ablations)
            .map(|variant| folder(3, 1, variant))
            .collect();
        assert_eq!(
            all.len(),
            algorithms.len() + ablations.len() - 2,
            "SFT and Rank-GRPO are in both"
        );
    }
}
