//! The thread that holds a model: it drives an engine, and takes on requests between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use burn::module::Module;
use convrec_kernels::PackedType;
use convrec_policy::{
    Engine, EngineLimits, ModelConfig, Outcome, Policy, Request, SubmitError, Ticket, Written,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::metrics::Metrics;
use crate::pulse::Pulse;

/// Requests that are answered or given up together.
struct Job {
    parts: Vec<Request<'static>>,
    /// Whether the tokens are told as they come.
    streamed: bool,
    reply: UnboundedSender<Event>,
}

/// What becomes of a job.
#[derive(Debug)]
pub(crate) enum Event {
    /// A part of it is not taken, so nothing is.
    Refused(SubmitError),
    /// A completion of a part goes on.
    Progress {
        part: usize,
        writer: usize,
        tokens: Vec<u32>,
        log_probs: Vec<f32>,
    },
    /// A part is there.
    Done { part: usize, written: Vec<Written> },
    /// It took too long.
    Expired,
}

/// Where jobs are sent. The thread ends when this is gone and all is answered.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Sender<Job>,
    alive: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    shape: ModelConfig,
}

impl Worker {
    /// Starts the thread. `died` is called if it ends by a panic.
    pub(crate) fn start(
        policy: &Policy,
        limits: EngineLimits,
        weights_dtype: Option<PackedType>,
        metrics: Metrics,
        died: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = channel();
        let (alive, pulse) = (Arc::new(AtomicBool::new(true)), Arc::new(Pulse::new()));
        let shape = policy.config().clone();
        let policy = weights_dtype.map_or_else(|| policy.valid(), |kind| policy.packed(kind));
        let (lives, beats) = (alive.clone(), pulse.clone());
        let body = move || {
            let work = || run(&policy, limits, &receiver, &metrics, &beats);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            lives.store(false, Ordering::SeqCst);
            if ended.is_err() {
                died();
            }
        };
        std::thread::Builder::new()
            .name("convrec-model".into())
            .spawn(body)?;
        Ok(Self {
            jobs,
            alive,
            pulse,
            shape,
        })
    }

    /// Sends a job. Where the receiver of its events is dropped, the job is given up. There are no
    /// events where the thread has died.
    pub(crate) fn send(
        &self,
        parts: Vec<Request<'static>>,
        streamed: bool,
    ) -> UnboundedReceiver<Event> {
        let (reply, events) = unbounded_channel();
        let job = Job {
            parts,
            streamed,
            reply,
        };
        // Where it fails, the reply is dropped, and the receiver sees the end.
        self.jobs.send(job).unwrap_or_default();
        events
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The shape of the model.
    pub(crate) fn shape(&self) -> &ModelConfig {
        &self.shape
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }
}

/// A job under way.
struct UnderWay {
    reply: UnboundedSender<Event>,
    streamed: bool,
    /// The parts that are not there yet, with the tokens of each writer that were told.
    parts: Vec<(usize, Ticket, Vec<usize>)>,
}

fn run(
    policy: &Policy,
    limits: EngineLimits,
    receiver: &Receiver<Job>,
    metrics: &Metrics,
    pulse: &Pulse,
) {
    let mut engine = Engine::new(policy, limits);
    let mut jobs: Vec<UnderWay> = vec![];
    let mut prefixes = engine.prefixes();
    loop {
        let first = match engine.is_idle() {
            true => {
                pulse.rest();
                metrics.load(engine.load());
                match receiver.recv() {
                    Ok(job) => Some(job),
                    Err(_) => return,
                }
            }
            false => None,
        };
        for job in first.into_iter().chain(receiver.try_iter()) {
            jobs.extend(begin(&mut engine, job));
        }
        jobs.retain(|job| {
            let gone = job.reply.is_closed();
            if gone {
                metrics.cancelled.inc();
                for (_, ticket, _) in &job.parts {
                    engine.cancel(*ticket);
                }
            }
            !gone
        });
        if engine.is_idle() {
            continue;
        }
        pulse.beat();
        let started = Instant::now();
        engine.step();
        metrics.step(started.elapsed(), engine.load());
        let before = std::mem::replace(&mut prefixes, engine.prefixes());
        if prefixes != before {
            metrics.prefixes(prefixes, before);
        }
        for job in jobs.iter_mut().filter(|job| job.streamed) {
            tell(&engine, job);
        }
        for (ticket, outcome) in engine.take_finished() {
            finish(&mut engine, &mut jobs, ticket, outcome, metrics);
        }
    }
}

/// Hands a job to the engine.
fn begin(engine: &mut Engine<'_>, job: Job) -> Option<UnderWay> {
    let writers: Vec<usize> = job.parts.iter().map(|part| part.writers.len()).collect();
    let tickets = match engine.submit_all(job.parts) {
        Ok(tickets) => tickets,
        Err(problem) => {
            // Who asked may be gone.
            job.reply.send(Event::Refused(problem)).unwrap_or_default();
            return None;
        }
    };
    let parts = tickets.into_iter().zip(writers).enumerate();
    let parts = parts
        .map(|(part, (ticket, writers))| (part, ticket, vec![0; writers]))
        .collect();
    Some(UnderWay {
        reply: job.reply,
        streamed: job.streamed,
        parts,
    })
}

/// Tells what was written since the last time.
fn tell(engine: &Engine<'_>, job: &mut UnderWay) {
    for (part, ticket, told) in &mut job.parts {
        for (writer, told) in told.iter_mut().enumerate() {
            let (tokens, log_probs) = engine.written(*ticket, writer);
            if tokens.len() > *told {
                let progress = Event::Progress {
                    part: *part,
                    writer,
                    tokens: tokens[*told..].to_vec(),
                    log_probs: log_probs[*told..].to_vec(),
                };
                *told = tokens.len();
                job.reply.send(progress).unwrap_or_default();
            }
        }
    }
}

fn finish(
    engine: &mut Engine<'_>,
    jobs: &mut Vec<UnderWay>,
    ticket: Ticket,
    outcome: Outcome,
    metrics: &Metrics,
) {
    let has_it = |job: &UnderWay| job.parts.iter().position(|part| part.1 == ticket);
    let found = jobs
        .iter()
        .enumerate()
        .find_map(|(n, job)| Some((n, has_it(job)?)));
    let Some((n, place)) = found else {
        return;
    };
    let (part, _, _) = jobs[n].parts.remove(place);
    match outcome {
        Outcome::Done(written) => {
            metrics.written(&written);
            let done = Event::Done { part, written };
            jobs[n].reply.send(done).unwrap_or_default();
            if jobs[n].parts.is_empty() {
                jobs.remove(n);
            }
        }
        Outcome::Expired => {
            let job = jobs.remove(n);
            for (_, ticket, _) in &job.parts {
                engine.cancel(*ticket);
            }
            job.reply.send(Event::Expired).unwrap_or_default();
        }
    }
}
