//! What a server is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

use convrec_kernels::PackedType;
use convrec_policy::EngineLimits;

/// How a [`Server`](crate::Server) serves. It begins with what is safe on one's own machine.
///
/// ```
/// use convrec_serve::{Limits, ServerConfig};
///
/// let config = ServerConfig::new("films")
///     .keys(["a key of a client".to_string()])
///     .admin_keys(["the key of the operator".to_string()])
///     .hosts(["films.example".to_string()])
///     .weights("runs/weights")
///     .limits(Limits { turns: 50, ..Limits::default() });
/// ```
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) admin_keys: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) weights: Option<PathBuf>,
    pub(crate) unconstrained: bool,
    pub(crate) keep_twins: bool,
    pub(crate) log: bool,
    pub(crate) weights_dtype: Option<PackedType>,
    pub(crate) engine: EngineLimits,
    pub(crate) limits: Limits,
}

impl ServerConfig {
    /// A server of a model that clients call `name`: without keys, for names of this machine, with
    /// the limits that are the default.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            keys: vec![],
            admin_keys: vec![],
            hosts: vec![],
            origins: vec![],
            weights: None,
            unconstrained: false,
            keep_twins: false,
            log: false,
            weights_dtype: None,
            engine: EngineLimits::default(),
            limits: Limits::default(),
        }
    }

    /// Bearer keys of clients. Without any, whoever reaches the server may ask.
    #[must_use]
    pub fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys = keys.into_iter().collect();
        self
    }

    /// Bearer keys of operators, who may reload weights and catalogs, and ask. Without any, nothing
    /// can be reloaded.
    #[must_use]
    pub fn admin_keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.admin_keys = keys.into_iter().collect();
        self
    }

    /// Names that the server is reached by, as `films.example`, without a port. Addresses and
    /// `localhost` are always right. Any other name in a `Host` header is refused, which keeps
    /// hostile pages away from a server on one's own machine (DNS rebinding).
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts = hosts.into_iter().collect();
        self
    }

    /// Origins of other web pages that may ask, as `https://films.example` (CORS).
    #[must_use]
    pub fn origins(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.origins = origins.into_iter().collect();
        self
    }

    /// The folder that new weights and catalogs must lie below. Without it none are loaded.
    #[must_use]
    pub fn weights(mut self, folder: impl Into<PathBuf>) -> Self {
        self.weights = Some(folder.into());
        self
    }

    /// Lets lists be whatever the policy writes.
    #[must_use]
    pub fn unconstrained(mut self, on: bool) -> Self {
        self.unconstrained = on;
        self
    }

    /// Treats items of the catalog that are most likely one as different items.
    #[must_use]
    pub fn keep_twins(mut self, on: bool) -> Self {
        self.keep_twins = on;
        self
    }

    /// Writes a line of JSON to standard error for each request, without its contents.
    #[must_use]
    pub fn log(mut self, on: bool) -> Self {
        self.log = on;
        self
    }

    /// Holds the model's matrices in bf16 or int8, which takes less memory; `None` holds them in
    /// f32. Lists are those of f32 in most cases, not in all.
    #[must_use]
    pub fn weights_dtype(mut self, kind: Option<PackedType>) -> Self {
        self.weights_dtype = kind;
        self
    }

    /// How much is written side by side.
    #[must_use]
    pub fn engine(mut self, limits: EngineLimits) -> Self {
        self.engine = limits;
        self
    }

    /// What one request and one client may cost.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// What requests and connections may cost at most. What goes beyond is refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. When there are more, the one that has been idle longest is closed. It
    /// is lowered to what the system's limit on open files leaves.
    pub connections: usize,
    /// Bytes of a request's line and headers together.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Turns of a conversation.
    pub turns: usize,
    /// Characters of a conversation, or of prompts that are texts.
    pub characters: usize,
    /// Items that a request names.
    pub items: usize,
    /// Quotas of a request.
    pub quotas: usize,
    /// Completions that a request asks for.
    pub completions: usize,
    /// Time for a request's headers, and for which a connection may be idle.
    pub header_time: Duration,
    /// Time for a request's body.
    pub body_time: Duration,
    /// Time for which a client may take nothing of its answer.
    pub stall_time: Duration,
    /// Time for an answer.
    pub request_time: Duration,
    /// Time for requests under way when the server ends.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    /// 1024 connections, 32 KiB of headers, 4 MiB of body, 500 turns, 200,000 characters, 10,000
    /// items, 32 quotas, 4096 completions; 30 s for headers, 15 s for a body, 30 s without
    /// progress, 120 s for an answer, 30 s to end.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connections: 1024,
            header_bytes: 32 << 10,
            body_bytes: 4 << 20,
            turns: 500,
            characters: 200_000,
            items: 10_000,
            quotas: 32,
            completions: 4096,
            header_time: seconds(30),
            body_time: seconds(15),
            stall_time: seconds(30),
            request_time: seconds(120),
            shutdown_time: seconds(30),
        }
    }
}
