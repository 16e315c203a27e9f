use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use convrec_config::ConfigError;
use ureq::http::StatusCode;

use crate::dispatch::dispatch;
use crate::halt::{Failure, Halt};
use crate::meter::Meter;
use crate::rate_limiter::RateLimiter;
use crate::response::{Problem, Unusable, shorten};
use crate::secret::ApiKey;
use crate::settings::{ServerSettings, wrong};
use crate::usage::{Price, Spend, Tokens, Usage};

/// The shortest time between two warnings, however many requests fail.
const QUIET: Duration = Duration::from_secs(10);

/// The longest time for which a stop may go unnoticed by a thread that waits.
const NAP: Duration = Duration::from_millis(20);

/// A server that speaks the OpenAI protocol. Its settings limit requests in rate, time and cost.
///
/// The models on one server share its connections, its rate limit and its budget. A reason to ask
/// nothing more (the budget, a stop, a server that answers nobody, a full disk) holds for all of
/// them and for good. Retries are warned of through the crate `log`, once in ten seconds at most.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    agent: ureq::Agent,
    key: Option<ApiKey>,
    rate_limiter: RateLimiter,
    meter: Meter,
    stop: Arc<AtomicBool>,
    course: Mutex<Course>,
}

#[derive(Debug, Default)]
struct Course {
    halt: Option<Halt>,
    /// The last reason why the server did not answer, and the number of times in a row.
    repeated: (Option<String>, usize),
    warned: Option<Instant>,
}

/// A request that is made out.
struct Call {
    agent: ureq::Agent,
    url: String,
    bearer: Option<String>,
    body: Vec<u8>,
    limit: u64,
}

impl Call {
    /// The body of a successful answer.
    fn send(self) -> Result<Vec<u8>, Problem> {
        let mut call = self.agent.post(self.url).content_type("application/json");
        if let Some(bearer) = self.bearer {
            call = call.header("authorization", bearer);
        }
        let sent = call.send(&self.body[..]);
        let mut response = sent.map_err(|e| Problem::transport(&e))?;
        let body = response
            .body_mut()
            .with_config()
            .limit(self.limit)
            .read_to_vec();
        if response.status().is_success() {
            return body.map_err(|e| Problem::transport(&e));
        }
        Err(Problem::status(
            response.status(),
            response.headers(),
            &body.unwrap_or_default(),
        ))
    }
}

/// One request to an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The path below the server's address or, where it begins with a slash, below its host.
    pub endpoint: &'a str,
    pub body: &'a [u8],
    /// The most tokens that it may take.
    pub most: Tokens,
    pub price: &'a Price,
    /// Whether its answer is waited for after a stop, as it will be paid for.
    pub is_kept: bool,
}

impl Server {
    /// Checks the settings and reads the key from the environment. When `stop` becomes true,
    /// nothing more is sent.
    ///
    /// A server without TLS that is sent no key is warned of once, through the crate `log`.
    ///
    /// # Errors
    /// [`ConfigError`] for a field that is wrong, and for an `https` address without a key: the
    /// error names the environment variable that is not set.
    pub fn new(settings: ServerSettings, stop: Arc<AtomicBool>) -> Result<Self, ConfigError> {
        settings.check()?;
        let key = ApiKey::from_env(&settings.api_key_env)?;
        settings.check_key(key.is_some())?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are reported and not followed, as they might carry the key to someone else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs_f64(settings.connect_timeout)))
            .timeout_global(Some(Duration::from_secs_f64(settings.timeout)))
            .max_idle_connections(settings.concurrency)
            .max_idle_connections_per_host(settings.concurrency)
            .user_agent(concat!("convrec-llm/", env!("CARGO_PKG_VERSION")))
            .build();
        let (rate_limiter, meter) = (RateLimiter::new(&settings), Meter::new(settings.budget));
        let agent = ureq::Agent::new_with_config(config);
        if key.is_none() && !settings.api_key_env.is_empty() {
            log::warn!(
                "{}: no key is sent, as {} is not set",
                settings.base_url,
                settings.api_key_env
            );
        }
        Ok(Self {
            settings,
            agent,
            key,
            rate_limiter,
            meter,
            stop,
            course: Mutex::default(),
        })
    }

    /// The requests and the spending so far.
    pub fn usage(&self) -> Usage {
        self.meter.usage()
    }

    /// Its address, without a slash at the end.
    pub(crate) fn address(&self) -> &str {
        self.settings.base_url.trim_end_matches('/')
    }

    fn url(&self, endpoint: &str) -> String {
        let address = self.address();
        if !endpoint.starts_with('/') {
            return format!("{address}/{endpoint}");
        }
        let host = address.find("://").map_or(0, |at| at + 3);
        let end = address[host..]
            .find('/')
            .map_or(address.len(), |at| host + at);
        format!("{}{endpoint}", &address[..end])
    }

    /// Without a price, a limit on cost would limit nothing.
    pub(crate) fn check_price(&self, section: &str, price: &Price) -> Result<(), ConfigError> {
        if self.settings.budget.max_cost.is_some() && price.input == 0.0 && price.output == 0.0 {
            let problem =
                "not set; expected what tokens cost, as `server.budget.max_cost` is a limit on it";
            return Err(wrong(format!("{section}.price"), problem));
        }
        Ok(())
    }

    /// A text from the server without the key, which some servers repeat.
    pub(crate) fn without_key(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.hide_in(text),
            None => text,
        }
    }

    /// Nothing more is sent because of `halt`, if not for an earlier reason.
    pub(crate) fn halt(&self, halt: Halt) -> Halt {
        self.course().halt.get_or_insert(halt).clone()
    }

    /// Asks until `read` accepts an answer, or until another try has no chance.
    pub(crate) fn ask<T>(
        &self,
        question: Question<'_>,
        read: impl Fn(&[u8]) -> Result<(T, Tokens), Unusable>,
    ) -> Result<T, Failure> {
        let mut delays = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(Duration::from_secs_f64(self.settings.first_delay))
            .with_max_delay(Duration::from_secs_f64(self.settings.max_delay))
            .with_max_times(self.settings.max_retries)
            .build();
        let longest = Duration::from_secs_f64(self.settings.max_retry_after);
        let mut tries = 1;
        let problem = loop {
            let problem = match self.try_once(question, tries > 1, &read)? {
                Ok(answer) => {
                    self.course().repeated.1 = 0;
                    return Ok(answer);
                }
                Err(problem) => problem,
            };
            match delays.next().filter(|_| problem.passing) {
                Some(delay) => {
                    let delay = delay.max(problem.after.min(longest));
                    self.warn(problem, delay);
                    self.sleep(delay)?;
                }
                None => break problem,
            }
            tries += 1;
        };
        Err(self.failed(problem, tries))
    }

    fn try_once<T>(
        &self,
        question: Question<'_>,
        again: bool,
        read: impl Fn(&[u8]) -> Result<(T, Tokens), Unusable>,
    ) -> Result<Result<T, Problem>, Halt> {
        self.rate_limiter
            .wait(question.most.total(), |time| self.sleep(time))?;
        let most = Spend::new(question.most, question.price);
        self.meter
            .reserve(most, again, || self.halted())
            .map_err(|halt| match halt {
                Halt::Stopped => halt,
                halt => self.halt(halt),
            })?;
        let sent = match question.is_kept {
            true => Ok(self.call(question).send()),
            false => self.send_until_stopped(question),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(halt) => {
                self.meter.settle(most, most, false);
                return Err(halt);
            }
        };
        let answer = sent
            .map_err(|problem| self.with_hint(problem))
            .and_then(|bytes| read(&bytes).map_err(|e| Problem::unusable(e, &bytes)));
        let actual = match &answer {
            Ok((_, tokens)) => Spend::new(*tokens, question.price),
            Err(problem) if problem.billed => most,
            Err(_) => Spend::default(),
        };
        self.meter.settle(most, actual, answer.is_ok());
        Ok(answer.map(|(answer, _)| answer))
    }

    fn call(&self, question: Question<'_>) -> Call {
        Call {
            agent: self.agent.clone(),
            url: self.url(question.endpoint),
            bearer: self.key.as_ref().map(ApiKey::bearer),
            body: question.body.to_vec(),
            limit: self.settings.max_answer_bytes,
        }
    }

    /// Sends on a thread of its own, which is left behind at a stop.
    fn send_until_stopped(&self, question: Question<'_>) -> Result<Result<Vec<u8>, Problem>, Halt> {
        let call = self.call(question);
        let (told, answer) = std::sync::mpsc::channel();
        // After a stop nobody listens.
        std::thread::spawn(move || told.send(call.send()).unwrap_or_default());
        loop {
            match answer.recv_timeout(NAP) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    return Err(Halt::Stopped);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the thread of a request ended without an answer")
                }
            }
        }
    }

    /// The problem, with what may help where no key was sent.
    fn with_hint(&self, mut problem: Problem) -> Problem {
        let unauthorized = StatusCode::UNAUTHORIZED.to_string();
        if problem.kind == Some(unauthorized) && self.key.is_none() {
            problem.text += match self.settings.api_key_env.as_str() {
                "" => "; no key was sent, as `api_key_env` names no variable".into(),
                variable => format!("; no key was sent, as {variable} is not set"),
            }
            .as_str();
        }
        problem
    }

    fn warn(&self, problem: Problem, delay: Duration) {
        let warned = &mut self.course().warned;
        if warned.is_none_or(|time| time.elapsed() >= QUIET) {
            *warned = Some(Instant::now());
            let problem = self.explained(&problem);
            log::warn!(
                "{}: {problem}; asking again in {:.1} s",
                self.address(),
                delay.as_secs_f64()
            );
        }
    }

    /// The failure, with the server's message where that may be shown.
    fn explained(&self, Problem { text, reply, .. }: &Problem) -> String {
        let shown = self.settings.show_replies || self.key.is_none();
        let text = match (reply.is_empty(), shown) {
            (true, _) => text.clone(),
            (false, true) => format!("{text}; the server said: {reply}"),
            (false, false) => {
                format!("{text}; `server.show_replies = true` shows what the server said")
            }
        };
        shorten(&self.without_key(text))
    }

    fn failed(&self, problem: Problem, tries: usize) -> Failure {
        let text = self.explained(&problem);
        let mut course = self.course();
        let row = match &problem.kind {
            None => 0,
            kind if course.repeated.0 == *kind => course.repeated.1 + 1,
            Some(_) => 1,
        };
        course.repeated = (problem.kind, row);
        if row >= self.settings.give_up_after {
            course.halt.get_or_insert(Halt::Repeated(row, text.clone()));
        }
        Failure::Failed(if tries > 1 {
            format!("no answer in {tries} tries; the last: {text}")
        } else {
            text
        })
    }

    fn halted(&self) -> Option<Halt> {
        if self.stop.load(Ordering::Relaxed) {
            Some(Halt::Stopped)
        } else {
            self.course().halt.clone()
        }
    }

    /// Sleeps, unless nothing more is to be asked.
    fn sleep(&self, time: Duration) -> Result<(), Halt> {
        let start = Instant::now();
        loop {
            if let Some(halt) = self.halted() {
                return Err(halt);
            }
            match time
                .checked_sub(start.elapsed())
                .filter(|left| !left.is_zero())
            {
                Some(left) => std::thread::sleep(left.min(NAP)),
                None => return Ok(()),
            }
        }
    }

    /// Requests that may be under way at once.
    pub(crate) fn concurrency(&self) -> usize {
        self.settings.concurrency
    }

    /// Does `n` pieces of work, as many at a time as requests may be under way. The results are in
    /// their order.
    pub(crate) fn side_by_side<T: Send>(
        &self,
        n: usize,
        work: impl Fn(usize) -> T + Sync,
    ) -> Vec<T> {
        let done = dispatch(&[self.concurrency()], n, |_, index| {
            Ok::<T, Infallible>(work(index))
        });
        done.into_iter()
            .map(|result| result.unwrap_or_else(|_| unreachable!("no piece fails")))
            .collect()
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_key() {
        let settings = ServerSettings {
            base_url: "http://localhost/v1".into(),
            ..ServerSettings::default()
        };
        let mut server = Server::new(settings, Arc::default()).unwrap();
        server.key = Some(crate::secret::tests::key("sk-secret-0123"));
        let text = format!("{server:?} {server:#?}");
        assert!(
            text.contains("ApiKey(..)") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn endpoints_are_below_the_address_or_the_host() {
        for (base_url, below, of_host) in [
            ("http://a:1/v1/", "http://a:1/v1/x", "http://a:1/x/y"),
            ("https://b", "https://b/x", "https://b/x/y"),
        ] {
            let settings = ServerSettings {
                base_url: base_url.into(),
                api_key_env: String::new(),
                ..ServerSettings::default()
            };
            let server = Server::new(settings, Arc::default()).unwrap();
            assert_eq!(
                (server.url("x").as_str(), server.url("/x/y").as_str()),
                (below, of_host)
            );
        }
    }
}
