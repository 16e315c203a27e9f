//! The one thread that holds the weights: it samples what waits together, and loads new weights in
//! between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use burn::module::Module;
use burn::tensor::Device;
use convrec_core::ItemId;
use convrec_policy::{Completion, Generation, ModelConfig, Policy, Sampling};
use convrec_train::evaluate::{Evaluated, evaluate};
use convrec_train::{Sample, Task};

use super::{Refusal, Served, bad_field};

/// How completions are drawn; requests with equal settings are drawn together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub sampling: Sampling,
    /// Completions of each prompt.
    pub n: usize,
    pub max_tokens: usize,
    pub end_token: u32,
    /// Whether lists cannot leave the catalog.
    pub constrained: bool,
}

/// Prompts of one request.
pub(super) struct Draw {
    pub settings: Settings,
    pub prompts: Vec<Vec<u32>>,
    /// Items that no constrained list holds.
    pub seen: Vec<ItemId>,
    /// Of the first prompt; each further one has the next.
    pub seed: u64,
}

enum Work {
    Draw(Draw, Sender<Vec<Vec<Completion>>>),
    Recommend(Sample, Sender<Evaluated>),
    Reload(PathBuf, Sender<Result<(), Refusal>>),
}

/// Where work is sent; each call waits for its answer.
#[derive(Clone)]
pub(super) struct Engine(Sender<Work>);

impl Engine {
    /// Starts the thread. It ends when all that send to it are gone.
    pub fn start(policy: Policy, served: Arc<Served>, device: Device) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            Worker {
                policy: policy.valid(),
                served,
                device,
            }
            .run(&receiver)
        });
        Self(sender)
    }

    /// The completions of each prompt.
    pub fn draw(&self, draw: Draw) -> Result<Vec<Vec<Completion>>, Refusal> {
        self.ask(|answer| Work::Draw(draw, answer))
    }

    /// The most likely list.
    pub fn recommend(&self, sample: Sample) -> Result<Evaluated, Refusal> {
        self.ask(|answer| Work::Recommend(sample, answer))
    }

    /// Uses the weights in a folder from now on.
    pub fn reload(&self, folder: PathBuf) -> Result<(), Refusal> {
        self.ask(|answer| Work::Reload(folder, answer))?
    }

    fn ask<T>(&self, work: impl FnOnce(Sender<T>) -> Work) -> Result<T, Refusal> {
        let gone = |_| Refusal {
            status: 500,
            message: "the model stopped working; see what the server printed".into(),
        };
        let (sender, receiver) = channel();
        self.0.send(work(sender)).map_err(|e| gone(e.to_string()))?;
        receiver.recv().map_err(|e| gone(e.to_string()))
    }
}

struct Worker {
    policy: Policy,
    served: Arc<Served>,
    device: Device,
}

impl Worker {
    fn run(mut self, work: &Receiver<Work>) {
        while let Ok(first) = work.recv() {
            let (mut draws, mut reloads) = (Vec::new(), Vec::new());
            for work in std::iter::once(first).chain(work.try_iter()) {
                match work {
                    Work::Draw(draw, answer) => draws.push((draw, answer)),
                    Work::Recommend(sample, answer) => {
                        answer.send(self.recommend(sample)).unwrap_or_default()
                    }
                    Work::Reload(folder, answer) => reloads.push((folder, answer)),
                }
            }
            while let Some((first, _)) = draws.first() {
                let settings = first.settings;
                let (now, later) = draws
                    .into_iter()
                    .partition(|(draw, _)| draw.settings == settings);
                self.draw(settings, now);
                draws = later;
            }
            // Nobody who sent work before was told of new weights yet.
            for (folder, answer) in reloads {
                answer.send(self.reload(&folder)).unwrap_or_default();
            }
        }
    }

    /// Draws for requests of one kind. Who asked may be gone by then.
    fn draw(&self, settings: Settings, draws: Vec<(Draw, Sender<Vec<Vec<Completion>>>)>) {
        let Settings {
            sampling,
            n: group_size,
            max_tokens: max_new_tokens,
            end_token,
            constrained,
        } = settings;
        let max_rows = self.served.max_rows;
        let generation = Generation {
            sampling,
            group_size,
            max_new_tokens,
            end_token,
            max_rows,
            seed: 0,
        };
        let (mut samples, mut seeds) = (Vec::new(), Vec::new());
        for (draw, _) in &draws {
            for (place, prompt) in draw.prompts.iter().enumerate() {
                let (id, prompt, seen) = (String::new(), prompt.clone(), draw.seen.clone());
                samples.push(Sample {
                    id,
                    prompt,
                    seen,
                    ground_truth: vec![],
                    candidates: None,
                });
                seeds.push(draw.seed.wrapping_add(place as u64));
            }
        }
        let prompts: Vec<&[u32]> = samples
            .iter()
            .map(|sample| sample.prompt.as_slice())
            .collect();
        let begin = |p: usize| {
            self.task()
                .constraint(&samples[p])
                .expect("requests were checked to be constrained")
        };
        let groups = match constrained {
            true => self
                .policy
                .generate_seeded(&prompts, &seeds, &generation, Some(&begin)),
            false => self
                .policy
                .generate_seeded(&prompts, &seeds, &generation, None),
        };
        let mut groups = groups.into_iter();
        for (draw, answer) in draws {
            answer
                .send(groups.by_ref().take(draw.prompts.len()).collect())
                .unwrap_or_default();
        }
    }

    fn recommend(&self, sample: Sample) -> Evaluated {
        let decoding = self.served.language.format.greedy();
        evaluate(&self.policy, self.task(), &[sample], &decoding)
            .samples
            .remove(0)
    }

    fn task(&self) -> &Task {
        self.served
            .task
            .as_ref()
            .expect("requests that need a catalog are refused without one")
    }

    fn reload(&mut self, folder: &Path) -> Result<(), Refusal> {
        let failed = |e: convrec_policy::WeightsError| bad_field("path", e);
        // First what is read in no time.
        let config = ModelConfig::load_folder(folder).map_err(failed)?;
        if config != self.served.config {
            let folder = folder.display();
            return Err(bad_field(
                "path",
                format!("{folder} has a model of another shape; expected the one that is served"),
            ));
        }
        self.policy = Policy::load_folder(folder, &self.device)
            .map_err(failed)?
            .valid();
        Ok(())
    }
}
