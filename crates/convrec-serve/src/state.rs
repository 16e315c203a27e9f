//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use convrec_policy::{Request, SubmitError, Written};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, Semaphore};

use crate::config::ServerConfig;
use crate::deployment::{Deployment, Shelf};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::worker::Event;

/// A step that takes longer means that the model does not go on.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    /// None where requests are not logged.
    pub(crate) log: Option<Log>,
    pub(crate) device: Device,
    current: RwLock<Arc<Deployment>>,
    /// One reload at a time.
    pub(crate) reloading: Mutex<()>,
    /// Threads that read conversations and tokens.
    pub(crate) readers: Arc<Semaphore>,
    draining: AtomicBool,
    /// Told when a model has died.
    pub(crate) died: Arc<Notify>,
    pub(crate) has_died: Arc<AtomicBool>,
}

impl State {
    pub(crate) fn new(
        config: ServerConfig,
        metrics: Metrics,
        log: Option<Log>,
        device: Device,
        first: Deployment,
        died: Arc<Notify>,
        has_died: Arc<AtomicBool>,
    ) -> Self {
        let readers = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
        metrics.version.set(1);
        Self {
            config,
            metrics,
            log,
            device,
            current: RwLock::new(first.into()),
            reloading: Mutex::default(),
            readers: Semaphore::new(readers).into(),
            draining: AtomicBool::new(false),
            died,
            has_died,
        }
    }

    /// What is in use now.
    pub(crate) fn current(&self) -> Arc<Deployment> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on requests get this; those under way keep theirs.
    pub(crate) fn replace(&self, deployment: Deployment) {
        let version = i64::try_from(deployment.version).unwrap_or(i64::MAX);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = deployment.into();
        self.metrics.version.set(version);
        self.metrics.reloads.inc();
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Why the model does not work, where it does not.
    pub(crate) fn illness(&self) -> Option<&'static str> {
        let current = self.current();
        if self.has_died.load(Ordering::SeqCst) || !current.worker.is_alive() {
            return Some("the model stopped working");
        }
        let stuck = current.worker.pulse().is_stuck(STUCK);
        stuck.then_some("the model has not gone on for a minute")
    }

    /// Runs what takes a while away from the threads that serve connections.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.readers.clone().acquire_owned();
        let permit = tokio::time::timeout(self.config.limits.request_time, permit).await;
        let permit = permit
            .map_err(|_| Refusal::late())?
            .map_err(|_| Refusal::dead())?;
        // The work goes on where the client has gone, and so keeps its permit.
        let held = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(held)
            .await
            .map_err(|_| Refusal::dead())?
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.config.limits.request_time
    }
}

impl Deployment {
    /// The catalog, where there is one.
    pub(crate) fn shelf(&self) -> Result<&Arc<Shelf>, Refusal> {
        self.shelf.as_ref().ok_or_else(|| {
            Refusal::bad(
                "this server has no catalog to recommend from; expected one with a catalog",
            )
        })
    }

    /// The completions of all parts.
    pub(crate) async fn write(
        &self,
        parts: Vec<Request<'static>>,
    ) -> Result<Vec<Vec<Written>>, Refusal> {
        let n = parts.len();
        let events = self.worker.send(parts, false);
        collect(events, n).await
    }
}

async fn collect(
    mut events: UnboundedReceiver<Event>,
    parts: usize,
) -> Result<Vec<Vec<Written>>, Refusal> {
    let mut found: Vec<Vec<Written>> = vec![vec![]; parts];
    let mut left = parts;
    while left > 0 {
        match events.recv().await {
            Some(Event::Done { part, written }) => {
                found[part] = written;
                left -= 1;
            }
            Some(Event::Progress { .. }) => {}
            Some(Event::Refused(problem)) => return Err(refused(&problem)),
            Some(Event::Expired) => return Err(Refusal::late()),
            None => return Err(Refusal::dead()),
        }
    }
    Ok(found)
}

/// Why an engine takes no request, as an answer.
pub(crate) fn refused(problem: &SubmitError) -> Refusal {
    match problem {
        SubmitError::Full { .. } => Refusal::busy(problem.to_string()),
        SubmitError::Tokens { .. } => Refusal::field("max_tokens", problem),
        SubmitError::Rows { .. } => Refusal::field("n", problem),
        SubmitError::Token { .. } | SubmitError::Empty(_) => Refusal::field("prompt", problem),
        _ => Refusal::bad(problem.to_string()),
    }
}
