use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use convrec_config::ConfigError;
use convrec_services::{ChatAnswer, ChatModel, ChatRequest, Done, ServiceError};

use crate::RequestKey;
use crate::canonical::canonical;
use crate::completion::{Completion, End, body};
use crate::halt::{Failure, Halt};
use crate::ledger::{Ledger, Record};
use crate::model_settings::ChatSettings;
use crate::server::{Question, Server};
use crate::unasked::Unasked;
use crate::usage::{Spend, Tokens, Usage};

/// A chat model behind `chat/completions`, with a ledger of its answers.
///
/// A request whose answer is in the ledger is not sent, and equal requests are sent once. Every
/// answer is in the ledger, on the disk, before it is returned.
#[derive(Debug)]
pub struct HttpChat {
    settings: ChatSettings,
    server: Arc<Server>,
    ledger: Arc<Ledger>,
    from_ledger: AtomicU64,
    cut: AtomicU64,
    filtered: AtomicU64,
}

impl HttpChat {
    /// The model that `settings` name, on `server`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is wrong.
    pub fn new(
        settings: ChatSettings,
        server: Arc<Server>,
        ledger: Arc<Ledger>,
    ) -> Result<Self, ConfigError> {
        settings.check()?;
        server.check_price("chat", &settings.price)?;
        Ok(Self {
            settings,
            server,
            ledger,
            from_ledger: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
        })
    }

    /// The usage of its server so far, with the answers that this model found in the ledger. It may
    /// be called while the model answers.
    pub fn usage(&self) -> Usage {
        Usage {
            from_ledger: self.from_ledger.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
            filtered: self.filtered.load(Ordering::Relaxed),
            ..self.server.usage()
        }
    }

    fn answer_one(&self, key: RequestKey, request: &ChatRequest) -> Result<ChatAnswer, Failure> {
        match self.ledger.get(&key) {
            Ok(None) => (),
            Ok(Some(record)) => {
                self.from_ledger.fetch_add(1, Ordering::Relaxed);
                self.count_end(&record);
                return Ok(answer_of(record));
            }
            Err(error) => return Err(Failure::Failed(error.to_string())),
        }
        let body = canonical(&body(&self.settings, request));
        let most = most(&body, request);
        let question = Question {
            endpoint: "chat/completions",
            body: &body,
            most,
            price: &self.settings.price,
            is_kept: true,
        };
        let completion = self.server.ask(question, |bytes| {
            let completion = Completion::read(bytes, body.len())?;
            let tokens = completion.tokens;
            Ok((completion, tokens))
        })?;
        let record = self.record(key, completion);
        let answer = answer_of(record.clone());
        self.count_end(&record);
        // An answer that cannot be kept is not used. The next run would pay for it again and might
        // get another answer.
        self.ledger
            .keep([record])
            .map_err(|error| self.server.halt(Halt::Unkept(error.to_string())))?;
        Ok(answer)
    }

    fn count_end(&self, record: &Record) {
        let count = match End::of(record.finish.as_deref()) {
            None => return,
            Some(End::Cut) => &self.cut,
            Some(End::Filtered) => &self.filtered,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, key: RequestKey, completion: Completion) -> Record {
        let Completion {
            text,
            finish,
            tokens,
        } = completion;
        let (text, finish) = (
            self.server.without_key(text),
            finish.map(|finish| self.server.without_key(finish)),
        );
        Record {
            key,
            model: self.settings.model.clone(),
            time: now(),
            tokens,
            finish,
            text,
        }
    }
}

/// The answer that a record holds.
pub(crate) fn answer_of(record: Record) -> ChatAnswer {
    ChatAnswer {
        is_cut: End::of(record.finish.as_deref()) == Some(End::Cut),
        text: record.text,
    }
}

/// The most tokens of a request: one for each three bytes of its body, and an answer of full
/// length.
fn most(body: &[u8], request: &ChatRequest) -> Tokens {
    Tokens {
        input: Tokens::in_text(body.len()),
        output: request.max_tokens as u64,
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

impl ChatModel for HttpChat {
    fn name(&self) -> String {
        format!("{} at {}", self.settings.model, self.server.address())
    }

    fn answer(
        &self,
        requests: &[ChatRequest],
        done: Done<'_>,
    ) -> Vec<Result<ChatAnswer, ServiceError>> {
        // Bodies are made again when they are sent: all of them at once might not fit into memory.
        let distinct = Distinct::of(
            requests
                .iter()
                .map(|request| RequestKey::of(&body(&self.settings, request))),
        );
        let answers = self.server.side_by_side(distinct.groups.len(), |index| {
            let (key, places) = &distinct.groups[index];
            let answer = self.answer_one(*key, &requests[places[0]]);
            done(places.len());
            answer
        });

        let mut unasked = Unasked::default();
        for ((_, places), answer) in distinct.groups.iter().zip(&answers) {
            if let Err(Failure::Halted(_)) = answer {
                let request = &requests[places[0]];
                unasked.add(Spend::new(
                    most(&canonical(&body(&self.settings, request)), request),
                    &self.settings.price,
                ));
            }
        }
        let name = self.name();
        let explain = |failure| match failure {
            Failure::Failed(problem) => ServiceError::new(&name, problem),
            Failure::Halted(halt) => {
                let ledger = self.ledger.path().display();
                let problem = format!(
                    "{}; answers that are in {ledger} cost nothing",
                    unasked.explain(&halt)
                );
                ServiceError::new(&name, problem)
            }
        };
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| answer.map_err(explain))
            .collect();
        distinct
            .group_of
            .into_iter()
            .map(|group| answers[group].clone())
            .collect()
    }
}

/// Requests with the equal ones put together.
struct Distinct {
    /// Each key with the places of its requests, in the order of the first.
    groups: Vec<(RequestKey, Vec<usize>)>,
    /// The group of each request.
    group_of: Vec<usize>,
}

impl Distinct {
    fn of(keys: impl Iterator<Item = RequestKey>) -> Self {
        let (mut groups, mut known) = (Vec::<(RequestKey, Vec<usize>)>::new(), HashMap::new());
        let group_of = keys.enumerate().map(|(place, key)| {
            let group = *known.entry(key).or_insert(groups.len());
            if group == groups.len() {
                groups.push((key, Vec::new()));
            }
            groups[group].1.push(place);
            group
        });
        let group_of = group_of.collect();
        Self { groups, group_of }
    }
}
