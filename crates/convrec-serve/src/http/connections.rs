//! Accepting connections, no more of them than there is room for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::ServiceExt;

use super::phase::Progress;
use super::stall::Patient;
use crate::config::Limits;
use crate::metrics::Metrics;

/// After a failure to accept, as when there are too many open files.
const BREATHER: Duration = Duration::from_millis(20);

/// Bytes beyond the limit on headers that are still read.
const MARGIN: usize = 16 << 10;

/// Headers of one request.
const HEADERS: usize = 64;

/// The open connections.
pub(crate) struct Connections {
    most: usize,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    closed: Notify,
    /// Whether somebody waits for room. Answers then end their connections.
    crowded: AtomicBool,
    metrics: Metrics,
}

struct Connection {
    progress: Arc<Progress>,
    close: Notify,
}

impl Connections {
    pub(crate) fn new(most: usize, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
            closed: Notify::new(),
            crowded: AtomicBool::new(false),
            metrics,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. The connection that has been idle longest makes it, then the slowest
    /// request; where answers are under way on all, the first to end does.
    async fn room(&self) {
        loop {
            let closed = self.closed.notified();
            let first = {
                let open = self.open();
                let is_full = open.len() >= self.most;
                self.crowded.store(is_full, Ordering::SeqCst);
                if !is_full {
                    return;
                }
                let known = open.values();
                let free = known.filter_map(|c| Some((c.progress.dispensable()?, c)));
                free.min_by_key(|(rank, _)| *rank).map(|(_, c)| c.clone())
            };
            if let Some(connection) = first {
                connection.close.notify_one();
            }
            // A connection that became busy in between does not close.
            let _ = tokio::time::timeout(BREATHER, closed).await;
        }
    }

    fn enter(&self, number: u64) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            progress: Arc::new(Progress::new()),
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
            let accepted = listener.accept().await?;
            connections.room().await;
            Ok::<_, std::io::Error>(accepted)
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
        let served = answer(
            stream,
            router,
            &connection,
            &connections,
            &limits,
            &graceful,
        );
        let connections = connections.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = served => {}
                () = connection.evicted() => {
                    connections.metrics.evicted.inc();
                }
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
    connections: &Arc<Connections>,
    limits: &Limits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + 'static {
    let (progress, connections) = (connection.progress.clone(), connections.clone());
    let io = Patient::new(stream, limits.stall_time, progress.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, connections) = (router.clone(), connections.clone());
        progress.has_head();
        let busy = Busy(progress.clone());
        let request: Request = request.map(|body| Body::new(Arriving::new(body, &progress)));
        async move {
            let mut response = router.oneshot(request).await?;
            if connections.crowded.load(Ordering::SeqCst) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| Guarded { body, _busy: busy }))
        }
    });
    let io = TokioIo::new(io);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        // The limit itself is checked by the guard, whose refusal has a body.
        .max_buf_size(limits.header_bytes.max(8192) + MARGIN)
        .max_headers(HEADERS)
        .serve_connection(io, service);
    let served = graceful.watch(served);
    async move {
        // A client that breaks the protocol or leaves ends its connection, and nothing else.
        let _ = served.await;
    }
}

impl Connection {
    /// Waits until the connection shall make room while no answer is under way.
    async fn evicted(&self) {
        loop {
            self.close.notified().await;
            if self.progress.dispensable().is_some() {
                return;
            }
        }
    }
}

/// A request under way.
struct Busy(Arc<Progress>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.is_answered();
    }
}

/// The body of a request, which may come slowly.
struct Arriving {
    body: Incoming,
    progress: Arc<Progress>,
}

impl Arriving {
    fn new(body: Incoming, progress: &Arc<Progress>) -> Self {
        if body.is_end_stream() {
            progress.has_body();
        }
        Self {
            body,
            progress: progress.clone(),
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.progress.has_body();
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if self.body.is_end_stream() || matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.progress.has_body();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
