use std::path::Path;
use std::sync::Arc;

use convrec_config::ConfigError;
use convrec_services::ServiceError;
use serde_json::{Map, Value, json};

use crate::canonical::canonical;
use crate::completions_response::{Asked, SampledCompletion};
use crate::completions_settings::CompletionsSettings;
use crate::dispatch::dispatch;
use crate::halt::{Failure, Halt};
use crate::server::{Question, Server};
use crate::settings::wrong;
use crate::usage::{Price, Tokens, Usage};
use crate::weights::filled;

/// A model behind `completions` on one or several servers: token ids in, token ids and
/// log-probabilities out. Trainers sample by it.
///
/// Each prompt is a request of its own and goes to a server that is free. A prompt that fails at
/// one server, retries included, goes to the others. There is no ledger: completions are drawn anew
/// each time.
///
/// ```no_run
/// use std::sync::{Arc, atomic::AtomicBool};
///
/// use convrec_llm::{CompletionsSettings, HttpCompletions, Prompt, Sampled, Server, ServerSettings};
///
/// let stop = Arc::<AtomicBool>::default();
/// let server = |host: &str| {
///     let base_url = format!("http://{host}:8000/v1");
///     Server::new(ServerSettings { base_url, concurrency: 64, ..ServerSettings::default() }, stop.clone()).map(Arc::new)
/// };
/// let settings = CompletionsSettings { model: "policy".into(), ..CompletionsSettings::default() };
/// let sampler = HttpCompletions::new(settings, vec![server("gpu-1")?, server("gpu-2")?])?;
///
/// sampler.update_weights("weights/step-000001", 1)?;
/// let sampled = Sampled { n: 8, temperature: 1.0, max_tokens: 256, end_token: 2, seed: 7 };
/// for group in sampler.complete(&[Prompt::new(&[1, 15, 7])], &sampled) {
///     println!("{:?}", group?[0].tokens);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HttpCompletions {
    settings: CompletionsSettings,
    servers: Vec<Arc<Server>>,
}

/// A prompt as token ids, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt<'a> {
    /// The tokens. No server may add to them.
    pub tokens: &'a [u32],
    /// Further fields of this request's body, such as `seen` for `serve`.
    pub extra_body: Map<String, Value>,
}

impl<'a> Prompt<'a> {
    /// A prompt of tokens without further fields.
    pub fn new(tokens: &'a [u32]) -> Self {
        Self {
            tokens,
            extra_body: Map::new(),
        }
    }
}

/// The sampling of each prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// The number n of completions of each prompt.
    pub n: usize,
    /// The temperature, above 0. The servers must report log-probabilities under `softmax(logits /
    /// temperature)`. vLLM does so at 1, and with `--logprobs-mode processed_logprobs` at others.
    pub temperature: f32,
    /// The number of tokens after which a completion is cut.
    pub max_tokens: usize,
    /// The token that ends a completion and is part of it.
    pub end_token: u32,
    /// The seed. Each prompt gets one of its own, made of this one and its place.
    pub seed: u64,
}

impl HttpCompletions {
    /// The model that `settings` name, on these servers.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is wrong.
    pub fn new(
        settings: CompletionsSettings,
        servers: Vec<Arc<Server>>,
    ) -> Result<Self, ConfigError> {
        settings.check()?;
        let wrong = |problem: String| Err(wrong("completions.servers", problem));
        if servers.is_empty() {
            return wrong("none; expected at least one".into());
        }
        for (place, server) in servers.iter().enumerate() {
            server.check_price("completions", &settings.price)?;
            if servers[..place]
                .iter()
                .any(|other| other.address() == server.address())
            {
                return wrong(format!("{} twice; expected each once", server.address()));
            }
        }
        Ok(Self { settings, servers })
    }

    /// The usage of its servers so far, added up.
    pub fn usage(&self) -> Usage {
        self.servers.iter().map(|server| server.usage()).sum()
    }

    /// Samples n completions of each prompt, in the order of the prompts. Completions depend on
    /// prompt and seed, not on the order in which servers answer.
    ///
    /// # Errors
    /// [`ServiceError`] for each prompt that no server completed. It names the problem of each
    /// server.
    pub fn complete(
        &self,
        prompts: &[Prompt<'_>],
        sampled: &Sampled,
    ) -> Vec<Result<Vec<SampledCompletion>, ServiceError>> {
        let workers: Vec<usize> = self
            .servers
            .iter()
            .map(|server| server.concurrency())
            .collect();
        let groups = dispatch(&workers, prompts.len(), |server, place| {
            let (server, prompt) = (&self.servers[server], &prompts[place]);
            let seed = seed(sampled.seed, place);
            if !self.settings.separate {
                return self.ask(server, prompt, seed, sampled);
            }
            let one = Sampled { n: 1, ..*sampled };
            let each = (0..sampled.n as u64).map(|g| self.ask(server, prompt, seed + g, &one));
            each.collect::<Result<Vec<_>, _>>()
                .map(|each| each.concat())
        });
        groups
            .into_iter()
            .map(|group| group.map_err(|failures| self.explain(failures)))
            .collect()
    }

    /// Tells every server to load the weights in `folder`, and waits until all have.
    ///
    /// A server that does not load them gets no more requests, as it would go on sampling from old
    /// weights. The result holds the reason of each such server. The step fills the place `{step}`
    /// of [`WeightUpdate::Calls`](crate::WeightUpdate::Calls).
    ///
    /// # Errors
    /// [`ServiceError`] when no server is left.
    pub fn update_weights(
        &self,
        folder: impl AsRef<Path>,
        step: usize,
    ) -> Result<Vec<ServiceError>, ServiceError> {
        let path = self.at_servers(folder.as_ref());
        let values = [
            ("{path}", path.as_str()),
            ("{model}", &self.settings.model),
            ("{step}", &step.to_string()),
        ];
        let calls = self.settings.update.calls(&self.settings.model);
        let calls = calls
            .iter()
            .map(|call| (call.path.as_str(), canonical(&filled(&call.body, &values))));
        let calls: Vec<(&str, Vec<u8>)> = calls.collect();
        let all = self.servers.len();
        let told = dispatch(&[all], all, |_, place| {
            let server = &self.servers[place];
            calls
                .iter()
                .try_for_each(|(path, body)| tell(server, path, body))
                .map_err(|failure| (place, failure))
        });
        let failures = told
            .into_iter()
            .filter_map(Result::err)
            .flatten()
            .map(|(_, failure)| failure);
        self.without_stale(failures.collect())
    }

    /// Takes out the servers that did not load the weights, and names them. It is an error when
    /// none is left.
    fn without_stale(
        &self,
        failures: Vec<(usize, Failure)>,
    ) -> Result<Vec<ServiceError>, ServiceError> {
        if failures.len() == self.servers.len() {
            return Err(self.explain(failures));
        }
        let stale = failures.into_iter().map(|(place, failure)| {
            let halt = match &failure {
                Failure::Failed(problem) => Halt::Stale(problem.clone()),
                Failure::Halted(halt) => halt.clone(),
            };
            self.servers[place].halt(halt);
            self.explain(vec![(place, failure)])
        });
        Ok(stale.collect())
    }

    fn ask(
        &self,
        server: &Server,
        prompt: &Prompt<'_>,
        seed: u64,
        sampled: &Sampled,
    ) -> Result<Vec<SampledCompletion>, Failure> {
        let body = canonical(&self.body(prompt, seed, sampled));
        let most = Tokens {
            input: prompt.tokens.len() as u64,
            output: (sampled.n * sampled.max_tokens) as u64,
        };
        let question = Question {
            endpoint: "completions",
            body: &body,
            most,
            price: &self.settings.price,
            is_kept: false,
        };
        let asked = Asked {
            prompt: prompt.tokens,
            n: sampled.n,
            end_token: sampled.end_token,
        };
        server.ask(question, |bytes| asked.read(bytes))
    }

    fn body(&self, prompt: &Prompt<'_>, seed: u64, sampled: &Sampled) -> Value {
        let mut body = json!({
            "model": self.settings.model,
            "prompt": prompt.tokens,
            "n": sampled.n,
            "temperature": sampled.temperature,
            "max_tokens": sampled.max_tokens,
            "seed": seed,
            "logprobs": 1,
            "stop_token_ids": [sampled.end_token],
            // The whole distribution, whatever the server's defaults: llama.cpp cuts its tail, vLLM
            // does as the model's `generation_config.json` says. -1 is no limit for all of them.
            "top_k": -1,
            "top_p": 1.0,
            "min_p": 0.0,
            // The server reads the one of the two fields that it knows.
            "return_token_ids": true,
            "return_tokens_as_token_ids": true,
        });
        for (name, value) in self.settings.extra_body.iter().chain(&prompt.extra_body) {
            body[name] = value.clone();
        }
        body
    }

    /// The folder as the servers see it; they may have been started elsewhere, so the whole path.
    fn at_servers(&self, folder: &Path) -> String {
        let path = match (&self.settings.weights_at_servers, folder.file_name()) {
            (Some(root), Some(name)) => Path::new(root).join(name),
            _ => std::path::absolute(folder).unwrap_or_else(|_| folder.into()),
        };
        path.to_string_lossy().into_owned()
    }

    fn explain(&self, failures: Vec<(usize, Failure)>) -> ServiceError {
        let problem = |(place, failure): (usize, Failure)| match failure {
            Failure::Failed(problem) => (self.servers[place].address(), problem),
            Failure::Halted(halt) => (self.servers[place].address(), halt.to_string()),
        };
        let problems: Vec<(&str, String)> = failures.into_iter().map(problem).collect();
        match problems.as_slice() {
            [(address, problem)] => {
                ServiceError::new(format!("{} at {address}", self.settings.model), problem)
            }
            problems => {
                let each = problems
                    .iter()
                    .map(|(address, problem)| format!("{address}: {problem}"));
                ServiceError::new(&self.settings.model, each.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// Posts one call to a server. A reply with status 200 may still report a failure in its JSON, as
/// SGLang's does.
fn tell(server: &Server, path: &str, body: &[u8]) -> Result<(), Failure> {
    let question = Question {
        endpoint: path,
        body,
        most: Tokens::default(),
        price: &Price::default(),
        is_kept: false,
    };
    server.ask(question, |bytes| {
        let json: Option<Value> = serde_json::from_slice(bytes).ok();
        match json.filter(|json| json.get("success") == Some(&Value::Bool(false))) {
            Some(_) => Err("field `success`: false; expected true".to_string().into()),
            None => Ok(((), Tokens::default())),
        }
    })
}

/// The seed of the prompt at `place`. Seeds of prompts are far apart, as vLLM gives completion i of
/// a request the seed plus i. The number is small enough for JSON to keep it exact.
fn seed(seed: u64, place: usize) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    let mut x = seed.wrapping_add((place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) >> 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_seed_and_place() {
        let seeds: std::collections::BTreeSet<u64> = (0..100)
            .flat_map(|s| (0..100).map(move |place| seed(s, place)))
            .collect();
        assert_eq!(seeds.len(), 10_000);
        assert!(seeds.iter().all(|seed| *seed < 1 << 52));
        assert!(
            seeds
                .iter()
                .zip(seeds.iter().skip(1))
                .all(|(a, b)| b - a > 1000)
        );
    }
}
