//! A server from its start to its end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_policy::Policy;
use convrec_train::{Language, Model};
use tokio::sync::Notify;

use crate::config::ServerConfig;
use crate::deployment::{Deployment, Shelf};
use crate::error::ServeError;
use crate::http::connections::Connections;
use crate::http::{connections, descriptors, router::router};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::state::State;
use crate::worker::Worker;

/// A model with a catalog, ready to serve.
///
/// ```no_run
/// use std::net::TcpListener;
///
/// use convrec_catalog::Catalog;
/// use convrec_serve::{Server, ServerConfig};
/// use convrec_train::Model;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let device = burn::tensor::Device::flex();
/// let model = Model::load("runs/rank-grpo", &device)?;
/// let catalog = Catalog::read("films.jsonl")?;
/// let server = Server::new(model, Some(catalog), device, ServerConfig::new("films"))?;
/// // Until SIGTERM or Ctrl-C; requests under way are answered first.
/// convrec_serve::serve(TcpListener::bind("127.0.0.1:8000")?, server)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
}

impl Server {
    /// A server of a model. Without a catalog there are only unconstrained completions. New weights
    /// are loaded to `device`.
    ///
    /// # Errors
    /// [`ServeError::Model`] when the model and the catalog do not go together,
    /// [`ServeError::Limit`] when the engine's limits leave no room for a list, [`ServeError::Io`]
    /// when a thread cannot be started.
    pub fn new(
        model: Model,
        catalog: Option<Catalog>,
        device: Device,
        config: ServerConfig,
    ) -> Result<Self, ServeError> {
        let Model { policy, language } = model;
        let shelf = catalog
            .map(|catalog| Shelf::new(catalog, &language, &config))
            .transpose()?
            .map(Arc::new);
        check_room(&config, &language, shelf.as_deref())?;
        let metrics = Metrics::new();
        let (died, has_died) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let worker = start_worker(&policy, &config, &metrics, &died, &has_died)
            .map_err(ServeError::io("start the thread of the model"))?;
        let first = Deployment::new(1, language, shelf, worker.into())?;
        let start_log = || Log::start(std::io::stderr(), metrics.unlogged.clone());
        let log = config.log.then(start_log).transpose();
        let log = log.map_err(ServeError::io("start the thread of the log"))?;
        let state = State::new(config, metrics, log, device, first, died, has_died);
        Ok(Self {
            state: state.into(),
        })
    }

    /// Serves on threads of its own.
    ///
    /// # Errors
    /// [`ServeError::Io`] when the listener cannot be used or there are no threads.
    pub fn start(self, listener: TcpListener) -> Result<Serving, ServeError> {
        let address = listener
            .local_addr()
            .map_err(ServeError::io("tell the address"))?;
        listener
            .set_nonblocking(true)
            .map_err(ServeError::io("use the listener"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("convrec-http")
            .enable_all()
            .build()
            .map_err(ServeError::io("start threads"))?;
        let end = Arc::new(Notify::new());
        let (state, ends) = (self.state, end.clone());
        let run = move || {
            let result = runtime.block_on(run(listener, state, ends));
            // Work that nobody waits for any more is left behind.
            runtime.shutdown_background();
            result
        };
        let thread = std::thread::Builder::new()
            .name("convrec-serve".into())
            .spawn(run)
            .map_err(ServeError::io("start threads"))?;
        Ok(Serving {
            address,
            end,
            thread,
        })
    }
}

/// A server at work.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    end: Arc<Notify>,
    thread: JoinHandle<Result<(), ServeError>>,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for as long as it works.
    ///
    /// # Errors
    /// [`ServeError::Died`] when the model stopped working.
    pub fn wait(self) -> Result<(), ServeError> {
        self.thread.join().unwrap_or(Err(ServeError::Died))
    }

    /// Ends it once what is under way has been answered, or the time for that is over.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn stop(self) -> Result<(), ServeError> {
        self.end.notify_one();
        self.wait()
    }
}

/// Serves until the process is told to end, by SIGTERM or Ctrl-C. Then nothing new is taken on, and
/// requests under way are answered. A second signal ends it at once.
///
/// # Errors
/// As [`Server::start`] and [`Serving::wait`].
pub fn serve(listener: TcpListener, server: Server) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::io("wait for signals"))?;
    // From here on a signal is not the death of the process.
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new().map_err(ServeError::io("wait for signals"))?
    };
    let serving = server.start(listener)?;
    let end = serving.end.clone();
    let watch = move || {
        runtime.block_on(async {
            signals.next().await;
            end.notify_one();
            signals.next().await;
            std::process::exit(130);
        });
    };
    std::thread::Builder::new()
        .name("convrec-signals".into())
        .spawn(watch)
        .map_err(ServeError::io("wait for signals"))?;
    serving.wait()
}

/// Signals that end a server.
struct Signals {
    #[cfg(unix)]
    interrupted: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminated: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                interrupted: signal(SignalKind::interrupt())?,
                terminated: signal(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await.unwrap_or_default();
    }
}

/// Whether the smallest request has room: a prompt of one token, and a list where there is a
/// catalog.
fn check_room(
    config: &ServerConfig,
    language: &Language,
    shelf: Option<&Shelf>,
) -> Result<(), ServeError> {
    let list = |shelf: &Shelf| {
        let longest = shelf.task.longest_list();
        longest.unwrap_or(language.format.max_new_tokens)
    };
    let least = 1 + shelf.map_or(1, list);
    let (rows, tokens) = (config.engine.rows, config.engine.tokens);
    if rows == 0 {
        let problem = "0; expected at least 1 completion".into();
        return Err(ServeError::Limit {
            limit: "rows",
            problem,
        });
    }
    if tokens < least {
        let problem = format!(
            "{tokens}; expected at least {least}, for a list of this catalog and its prompt, and \
             better some thousands"
        );
        return Err(ServeError::Limit {
            limit: "tokens",
            problem,
        });
    }
    Ok(())
}

/// Starts the thread of a model, whose death is told.
pub(crate) fn start_worker(
    policy: &Policy,
    config: &ServerConfig,
    metrics: &Metrics,
    died: &Arc<Notify>,
    has_died: &Arc<AtomicBool>,
) -> std::io::Result<Worker> {
    let (died, has_died) = (died.clone(), has_died.clone());
    let died = move || {
        has_died.store(true, Ordering::SeqCst);
        died.notify_one();
    };
    let (limits, dtype) = (config.engine, config.weights_dtype);
    Worker::start(policy, limits, dtype, metrics.clone(), died)
}

async fn run(listener: TcpListener, state: Arc<State>, end: Arc<Notify>) -> Result<(), ServeError> {
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(ServeError::io("use the listener"))?;
    let limits = state.config.limits;
    let most = descriptors::connections(limits.connections);
    let open = Connections::new(most, state.metrics.clone());
    let ends = async {
        tokio::select! {
            () = end.notified() => {}
            () = state.died.notified() => {}
        }
        state.drain();
    };
    connections::serve(listener, router(state.clone()), open, limits, ends).await;
    if let Some(log) = &state.log {
        log.finish();
    }
    match state.has_died.load(Ordering::SeqCst) {
        true => Err(ServeError::Died),
        false => Ok(()),
    }
}
