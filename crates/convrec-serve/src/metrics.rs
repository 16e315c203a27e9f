//! What `/metrics` shows, in Prometheus's format.

use std::time::Duration;

use convrec_policy::{Load, PrefixUse, Written};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;

/// Counters that every part of the server shares.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// By path and status.
    requests: Family<Labels, Counter>,
    /// By path, in seconds.
    times: Family<Labels, Histogram>,
    /// Seconds to the first item or token of a streamed answer.
    pub(crate) first: Histogram,
    steps: Histogram,
    waiting: Gauge,
    running: Gauge,
    rows: Gauge,
    cache: Gauge,
    tokens: Counter,
    pub(crate) lists: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) connections: Gauge,
    pub(crate) evicted: Counter,
    pub(crate) unlogged: Counter,
    pub(crate) reloads: Counter,
    pub(crate) version: Gauge,
    prefix_hits: Counter,
    prefix_misses: Counter,
    prefix_reused: Counter,
    prefix_tokens: Gauge,
    prefix_bytes: Gauge,
    registry: std::sync::Arc<Registry>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("convrec");
        let mut metrics = Self {
            requests: Family::default(),
            times: Family::new_with_constructor(seconds),
            first: seconds(),
            steps: seconds(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            rows: Gauge::default(),
            cache: Gauge::default(),
            tokens: Counter::default(),
            lists: Counter::default(),
            cancelled: Counter::default(),
            connections: Gauge::default(),
            evicted: Counter::default(),
            unlogged: Counter::default(),
            reloads: Counter::default(),
            version: Gauge::default(),
            prefix_hits: Counter::default(),
            prefix_misses: Counter::default(),
            prefix_reused: Counter::default(),
            prefix_tokens: Gauge::default(),
            prefix_bytes: Gauge::default(),
            registry: std::sync::Arc::default(),
        };
        let m = metrics.clone();
        registry.register("requests", "Answers by path and status", m.requests);
        let unit = Unit::Seconds;
        registry.register_with_unit("request", "Time of answers", unit.clone(), m.times);
        let help = "Time to the first item of a stream";
        registry.register_with_unit("first_item", help, unit.clone(), m.first);
        registry.register_with_unit("step", "Time of a step of the batch", unit, m.steps);
        registry.register("queue", "Requests that wait for room", m.waiting);
        registry.register("batch_requests", "Requests under way", m.running);
        registry.register("batch_completions", "Completions under way", m.rows);
        let help = "Tokens that requests under way may come to";
        registry.register("promised_tokens", help, m.cache);
        registry.register("tokens", "Tokens written", m.tokens);
        registry.register("lists", "Lists written", m.lists);
        let help = "Requests whose client left before the answer";
        registry.register("cancelled", help, m.cancelled);
        registry.register("connections", "Connections open", m.connections);
        let help = "Idle or slow connections closed to make room";
        registry.register("evicted_connections", help, m.evicted);
        let help = "Lines of the log that were left out, as nobody read it";
        registry.register("unlogged_requests", help, m.unlogged);
        registry.register("reloads", "New weights or catalogs", m.reloads);
        let help = "Number of the weights and catalog in use";
        registry.register("version", help, m.version);
        let help = "Requests whose prompt began as an earlier one did";
        registry.register("prefix_hits", help, m.prefix_hits);
        let help = "Requests whose prompt was read as a whole";
        registry.register("prefix_misses", help, m.prefix_misses);
        let help = "Prompt tokens that were not computed again";
        registry.register("prefix_reused_tokens", help, m.prefix_reused);
        let help = "Tokens of earlier prompts that are kept";
        registry.register("prefix_tokens", help, m.prefix_tokens);
        let help = "Memory that is set aside for earlier prompts";
        registry.register_with_unit("prefix", help, Unit::Bytes, m.prefix_bytes);
        metrics.registry = registry.into();
        metrics
    }

    pub(crate) fn load(&self, load: Load) {
        set(&self.waiting, load.waiting);
        set(&self.running, load.running);
        set(&self.rows, load.rows);
        set(&self.cache, load.tokens);
    }

    /// What an engine keeps of prompts now, and before.
    pub(crate) fn prefixes(&self, now: PrefixUse, before: PrefixUse) {
        self.prefix_hits.inc_by(now.hits - before.hits);
        self.prefix_misses.inc_by(now.misses - before.misses);
        self.prefix_reused.inc_by(now.reused - before.reused);
        set(&self.prefix_tokens, now.tokens);
        set(&self.prefix_bytes, now.bytes);
    }

    pub(crate) fn step(&self, time: Duration, load: Load) {
        self.steps.observe(time.as_secs_f64());
        self.load(load);
    }

    pub(crate) fn written(&self, written: &[Written]) {
        let tokens = written.iter().map(|w| w.completion.tokens.len() as u64);
        self.tokens.inc_by(tokens.sum());
    }

    /// `path` is a route of the server, not what a client wrote.
    pub(crate) fn answered(&self, path: &str, status: u16, time: Duration) {
        let path = ("path", path.to_string());
        let labels = vec![path.clone(), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        let times = self.times.get_or_create(&vec![path]);
        times.observe(time.as_secs_f64());
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}
