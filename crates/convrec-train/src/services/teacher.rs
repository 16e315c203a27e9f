use burn::module::Module;
use convrec_core::Example;
use convrec_policy::{Constraint, Generation, Policy};
use convrec_services::{Done, ServiceError, Teacher};
use convrec_text::whole_lines;

use super::{CHUNK, check_room, sample, seeds};
use crate::evaluate::Decoding;
use crate::task::{Sample, Task};

/// A policy as teacher. Its answer is the list that it writes for its [`Task`], constrained to the
/// catalog or unconstrained.
///
/// It writes lists of the task's N items, as it was trained to. Asked for fewer items it writes the
/// same list, and the first ones count. Sampled lists depend on the seed and the prompt alone, not
/// on other requests.
#[derive(Debug)]
pub struct PolicyTeacher {
    name: String,
    policy: Policy,
    task: Task,
    decoding: Decoding,
}

impl PolicyTeacher {
    /// `name` is for errors: the folder that the policy came from.
    pub fn new(name: impl Into<String>, policy: &Policy, task: Task, decoding: Decoding) -> Self {
        Self {
            name: name.into(),
            policy: policy.valid(),
            task,
            decoding,
        }
    }

    /// The sample of a conversation, if there is room for its list.
    fn ask(&self, example: &Example, n: usize) -> Result<Sample, ServiceError> {
        let refuse = |problem: String| ServiceError::new(&self.name, problem);
        let most = self.task.n_ranks();
        if n > most {
            return Err(refuse(format!(
                "asked for {n} items, but the policy writes lists of {most}; ask for at most {most}"
            )));
        }
        let sample = sample(&self.task, example).map_err(|e| refuse(e.to_string()))?;
        check_room(&self.policy, sample.prompt.len(), self.longest()).map_err(refuse)?;
        Ok(sample)
    }

    /// Tokens of the longest list.
    fn longest(&self) -> usize {
        self.task
            .longest_list()
            .unwrap_or(self.decoding.max_new_tokens)
    }

    /// One list for each sample, as text.
    fn write<'t>(&'t self, samples: &[&Sample]) -> Vec<String> {
        let prompts: Vec<&[u32]> = samples
            .iter()
            .map(|sample| sample.prompt.as_slice())
            .collect();
        let generation = Generation {
            sampling: self.decoding.sampling,
            group_size: 1,
            max_new_tokens: self.longest(),
            end_token: self.task.prompter().end(),
            max_rows: self.decoding.max_rows,
            seed: self.decoding.seed,
        };
        let constrain = |p: usize| {
            self.task
                .constraint(samples[p])
                .expect("the task is constrained")
        };
        let begin = self
            .task
            .is_constrained()
            .then_some(&constrain as &dyn Fn(usize) -> Box<dyn Constraint + 't>);
        let seeds = seeds(&prompts, generation.seed);
        let found = self
            .policy
            .generate_seeded(&prompts, &seeds, &generation, begin);
        found
            .iter()
            .zip(samples)
            .map(|(group, sample)| {
                let answer = self.task.answer(sample, &group[0].tokens);
                match answer.segments.ended || self.task.is_constrained() {
                    true => answer.text,
                    false => {
                        let (text, id) = (whole_lines(&answer.text), &sample.id);
                        log::warn!(
                            "{}: the list for `{id}` was cut at the limit of tokens; a last line \
                             that is not whole names no item",
                            self.name
                        );
                        text.to_string()
                    }
                }
            })
            .collect()
    }
}

impl Teacher for PolicyTeacher {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        self.recommend_all(&[example], n, &|_| ()).remove(0)
    }

    fn recommend_all(
        &self,
        examples: &[&Example],
        n: usize,
        done: Done<'_>,
    ) -> Vec<Result<String, ServiceError>> {
        let answer = |examples: &[&Example]| {
            let samples: Vec<Result<Sample, ServiceError>> = examples
                .iter()
                .map(|example| self.ask(example, n))
                .collect();
            let good: Vec<&Sample> = samples.iter().flatten().collect();
            let mut texts = self.write(&good).into_iter();
            done(examples.len());
            let text = |sample: Result<Sample, ServiceError>| {
                sample.map(|_| texts.next().expect("a list for each good sample"))
            };
            samples.into_iter().map(text).collect::<Vec<_>>()
        };
        examples.chunks(CHUNK).flat_map(answer).collect()
    }
}
