//! Answers that come piece by piece, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::refusal::Refusal;
use crate::state::refused;
use crate::worker::Event;

/// A comment is sent where nothing else has been for so long, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The end of a stream in OpenAI's protocol.
pub(super) fn done() -> Sent {
    Sent::default().data("[DONE]")
}

pub(super) fn data(value: &Value) -> Sent {
    Sent::default().data(value.to_string())
}

pub(super) fn failed(refusal: &Refusal) -> Sent {
    data(&refusal.body())
}

/// The events of a job that was taken on.
pub(super) struct Begun {
    first: Option<Event>,
    rest: UnboundedReceiver<Event>,
}

impl Begun {
    /// The next event; none where the model died.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        match self.first.take() {
            Some(event) => Some(event),
            None => self.rest.recv().await,
        }
    }
}

/// Waits until a job is taken on, so that a refusal has a status of its own. A job that waits in
/// the queue for long counts as taken on: the head of its answer is sent, and comments follow.
///
/// # Errors
/// [`Refusal`] when the job is refused, or is over before anything was written.
pub(super) async fn begun(mut events: UnboundedReceiver<Event>) -> Result<Begun, Refusal> {
    let first = match tokio::time::timeout(KEEP_ALIVE, events.recv()).await {
        Err(_) => None,
        Ok(Some(Event::Refused(problem))) => return Err(refused(&problem)),
        Ok(Some(Event::Expired)) => return Err(Refusal::late()),
        Ok(None) => return Err(Refusal::dead()),
        Ok(first) => first,
    };
    Ok(Begun {
        first,
        rest: events,
    })
}

/// What `pieces` makes of each event of the model. Where the model died, the last piece says so.
pub(super) fn response(
    events: Begun,
    first: Vec<Sent>,
    mut pieces: impl FnMut(Option<Event>) -> Vec<Sent> + Send + 'static,
) -> Response {
    let ends = stream::once(async { None });
    let events = stream::iter(events.first).chain(received(events.rest));
    let events = events.map(Some).chain(ends);
    let pieces = events.flat_map(move |event| stream::iter(pieces(event)));
    sent(stream::iter(first).chain(pieces))
}

/// Pieces that are made elsewhere. Where the answer is given up, their sender is closed.
pub(super) fn forwarded(pieces: UnboundedReceiver<Sent>, first: Vec<Sent>) -> Response {
    sent(stream::iter(first).chain(received(pieces)))
}

fn received<T: Send + 'static>(
    mut receiver: UnboundedReceiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::poll_fn(move |context| receiver.poll_recv(context))
}

fn sent(pieces: impl Stream<Item = Sent> + Send + 'static) -> Response {
    let mut response = Sse::new(pieces.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    // Proxies that gather answers (nginx) let this one through.
    let through = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", through);
    response
}
