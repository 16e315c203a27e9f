//! Accepting connections, no more of them than there is room for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::ServiceExt;

use super::stall::Patient;
use crate::config::Limits;
use crate::metrics::Metrics;

/// After a failure to accept, as when there are too many open files.
const BREATHER: Duration = Duration::from_millis(20);

/// Headers of one request.
const HEADERS: usize = 64;

/// The open connections.
pub(crate) struct Connections {
    most: usize,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    closed: Notify,
    metrics: Metrics,
}

struct Connection {
    /// Requests under way.
    busy: AtomicUsize,
    /// When the last one ended, or the connection began.
    idle_since: Mutex<Instant>,
    close: Notify,
}

impl Connections {
    pub(crate) fn new(most: usize, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
            closed: Notify::new(),
            metrics,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. The connection that has been idle longest makes it; where all are busy, the
    /// first to end does.
    async fn room(&self) {
        loop {
            let closed = self.closed.notified();
            let oldest = {
                let open = self.open();
                if open.len() < self.most {
                    return;
                }
                let idle = open.values().filter(|c| c.busy.load(Ordering::SeqCst) == 0);
                let since = |c: &&Arc<Connection>| {
                    *c.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
                };
                idle.min_by_key(since).cloned()
            };
            if let Some(connection) = oldest {
                self.metrics.evicted.inc();
                connection.close.notify_one();
            }
            // A connection that became busy in between does not close.
            let _ = tokio::time::timeout(BREATHER, closed).await;
        }
    }

    fn enter(&self, number: u64) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            busy: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            close: Notify::new(),
        });
        self.open().insert(number, connection.clone());
        self.metrics.connections.inc();
        connection
    }

    fn leave(&self, number: u64) {
        self.open().remove(&number);
        self.metrics.connections.dec();
        self.closed.notify_waiters();
    }
}

/// Serves connections until `end` is there, then lets requests under way finish for a while.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    limits: Limits,
    end: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let mut number = 0;
    tokio::pin!(end);
    loop {
        let accepted = async {
            connections.room().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = &mut end => break,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(BREATHER).await;
            continue;
        };
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        number += 1;
        let connection = connections.enter(number);
        let router = router.clone().layer(axum::Extension(ConnectInfo(from)));
        let served = answer(stream, router, &connection, &limits, &graceful);
        let connections = connections.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = served => {}
                () = connection.evicted() => {}
            }
            connections.leave(number);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.shutdown_time, graceful.shutdown()).await;
}

/// Answers the requests of a connection.
fn answer(
    stream: TcpStream,
    router: Router,
    connection: &Arc<Connection>,
    limits: &Limits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + 'static {
    let of = connection.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, busy) = (router.clone(), Busy::new(&of));
        async move {
            let request: Request = request.map(Body::new);
            let response = router.oneshot(request).await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Guarded { body, _busy: busy }))
        }
    });
    let io = TokioIo::new(Patient::new(stream, limits.stall_time));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes.max(8192))
        .max_headers(HEADERS)
        .serve_connection(io, service);
    let served = graceful.watch(served);
    async move {
        // A client that breaks the protocol or leaves ends its connection, and nothing else.
        let _ = served.await;
    }
}

impl Connection {
    /// Waits until the connection shall make room while nothing is under way.
    async fn evicted(&self) {
        loop {
            self.close.notified().await;
            if self.busy.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
    }
}

/// A request under way.
struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::SeqCst);
        Self(connection.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self
            .0
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body whose request is under way until all of it is gone.
struct Guarded {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
