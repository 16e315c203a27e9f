//! Answers that come piece by piece, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::refusal::Refusal;
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

/// What `pieces` makes of each event of the model. Where the model died, the last piece says so.
pub(super) fn response(
    events: UnboundedReceiver<Event>,
    first: Vec<Sent>,
    mut pieces: impl FnMut(Option<Event>) -> Vec<Sent> + Send + 'static,
) -> Response {
    let ends = stream::once(async { None });
    let events = received(events).map(Some).chain(ends);
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
