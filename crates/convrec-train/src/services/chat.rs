use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use convrec_policy::{Generation, GenerationDefaults, Policy, Sampling, WeightsError};
use convrec_services::{ChatAnswer, ChatModel, ChatRequest, Done, ServiceError};
use convrec_text::{ChatError, ChatTemplate, TextTokenizer, TokenizerError};

use super::{CHUNK, check_room, seeds};

/// A chat model that runs here: its template, its tokenizer and its weights.
///
/// The text of turns stays text: a special token that is spelled in a turn ends nothing. A
/// conversation that does not fit the model's positions together with its answer is refused. It is
/// not shortened, as that would change the question. Sampled answers depend on the seed and the
/// conversation alone, so that the same request always has the same answer.
#[derive(Debug)]
pub struct PolicyChat {
    name: String,
    policy: Policy,
    tokenizer: TextTokenizer,
    template: ChatTemplate,
    /// The token that ends a turn by the template.
    end: u32,
    /// All tokens that end an answer.
    ends: Vec<u32>,
    sampling: Sampling,
    seed: u64,
    rows: usize,
}

/// A chat model's folder could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatLoadError {
    /// The weights, their config or `generation_config.json`.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The tokenizer and the weights do not belong together.
    #[error(
        "{folder}: tokenizer.json has {tokens} tokens, the weights {known}; expected at most as \
         many: the tokenizer is of another model"
    )]
    Vocabulary {
        /// The folder.
        folder: String,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Tokens of the weights.
        known: usize,
    },
}

impl PolicyChat {
    /// The default number of answers side by side; [`with_rows`](Self::with_rows) changes it.
    pub const DEFAULT_ROWS: usize = 16;

    /// Reads a chat model's folder as it is published. It answers greedily.
    ///
    /// # Errors
    /// [`ChatLoadError`] when a file is missing or wrong. The error names it.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, ChatLoadError> {
        let folder = folder.as_ref();
        // Small files are read first, so that errors about them come early.
        let tokenizer = TextTokenizer::load(folder.join("tokenizer.json"))?;
        let template = ChatTemplate::load(folder)?;
        let end = template.end_of_turn(&tokenizer)?;
        let mut ends = GenerationDefaults::load_folder(folder)?.end_tokens;
        ends.push(end);
        let policy = Policy::load_folder(folder, device)?;
        let (tokens, known) = (tokenizer.vocab_size(), policy.config().vocab_size);
        if tokens > known {
            return Err(ChatLoadError::Vocabulary {
                folder: folder.display().to_string(),
                tokens,
                known,
            });
        }
        let name = folder
            .file_name()
            .unwrap_or(folder.as_os_str())
            .to_string_lossy()
            .into_owned();
        let (sampling, rows) = (Sampling::greedy(), Self::DEFAULT_ROWS);
        Ok(Self {
            name,
            policy: policy.valid(),
            tokenizer,
            template,
            end,
            ends,
            sampling,
            seed: 0,
            rows,
        })
    }

    /// Sets the sampling of answers.
    ///
    /// # Errors
    /// [`ConfigError`](convrec_policy::ConfigError) when a field of `sampling` is wrong.
    pub fn with_sampling(
        self,
        sampling: Sampling,
        seed: u64,
    ) -> Result<Self, convrec_policy::ConfigError> {
        sampling.check()?;
        Ok(Self {
            sampling,
            seed,
            ..self
        })
    }

    /// Sets the largest number of answers side by side, at least one. It bounds memory and changes
    /// no answer.
    pub fn with_rows(self, rows: usize) -> Self {
        Self {
            rows: rows.max(1),
            ..self
        }
    }

    fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, String> {
        if request.max_tokens == 0 {
            return Err("asked for an answer of 0 tokens; expected at least 1".into());
        }
        let prompt = self
            .template
            .encode(&self.tokenizer, &request.turns, true)
            .map_err(|e| e.to_string())?;
        if prompt.is_empty() {
            return Err("the chat template makes nothing of the conversation".into());
        }
        check_room(&self.policy, prompt.len(), request.max_tokens)?;
        Ok(prompt)
    }

    /// The answers to some prompts, each of at most so many tokens.
    fn write(&self, prompts: &[&[u32]], max_new_tokens: usize) -> Vec<ChatAnswer> {
        let (sampling, end_token, max_rows, seed) = (self.sampling, self.end, self.rows, self.seed);
        let generation = Generation {
            sampling,
            group_size: 1,
            max_new_tokens,
            end_token,
            max_rows,
            seed,
        };
        let found = self
            .policy
            .generate_seeded(prompts, &seeds(prompts, seed), &generation, None);
        let answer = |tokens: &[u32]| {
            let end = tokens.iter().position(|token| self.ends.contains(token));
            ChatAnswer {
                text: self
                    .tokenizer
                    .decode(&tokens[..end.unwrap_or(tokens.len())]),
                is_cut: end.is_none(),
            }
        };
        found.iter().map(|group| answer(&group[0].tokens)).collect()
    }

    fn answer_some(&self, requests: &[ChatRequest]) -> Vec<Result<ChatAnswer, ServiceError>> {
        let prompts: Vec<Result<Vec<u32>, String>> = requests
            .iter()
            .map(|request| self.prompt(request))
            .collect();
        // Answers of one length are written together.
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (n, _) in prompts
            .iter()
            .enumerate()
            .filter(|(_, prompt)| prompt.is_ok())
        {
            by_length.entry(requests[n].max_tokens).or_default().push(n);
        }
        let mut answers = vec![None; requests.len()];
        for (max_tokens, places) in by_length {
            let some: Vec<&[u32]> = places
                .iter()
                .flat_map(|n| &prompts[*n])
                .map(Vec::as_slice)
                .collect();
            for (n, text) in places.iter().zip(self.write(&some, max_tokens)) {
                answers[*n] = Some(text);
            }
        }
        let checked = prompts.into_iter().zip(answers);
        checked
            .map(|(prompt, text)| {
                prompt
                    .and_then(|_| text.ok_or_else(|| "no answer was written".into()))
                    .map_err(|e| ServiceError::new(&self.name, e))
            })
            .collect()
    }
}

impl ChatModel for PolicyChat {
    /// The folder's name and the sampling of answers.
    fn name(&self) -> String {
        match self.sampling == Sampling::greedy() {
            true => format!("{} (local, greedy)", self.name),
            false => format!(
                "{} (local, {:?}, seed {})",
                self.name, self.sampling, self.seed
            ),
        }
    }

    fn answer(
        &self,
        requests: &[ChatRequest],
        done: Done<'_>,
    ) -> Vec<Result<ChatAnswer, ServiceError>> {
        let answer = |requests: &[ChatRequest]| {
            let answers = self.answer_some(requests);
            done(requests.len());
            answers
        };
        requests.chunks(CHUNK).flat_map(answer).collect()
    }
}
