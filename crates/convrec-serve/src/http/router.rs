//! Which endpoint answers at which path.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use super::guard;
use crate::page;
use crate::protocol::{admin, chat, completions, items, models, recommend};
use crate::refusal::Refusal;
use crate::state::State;

pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/app.js", get(page::script))
        .route("/style.css", get(page::style))
        .route("/favicon.svg", get(page::icon))
        .route("/health", get(models::health))
        .route("/ready", get(models::ready))
        .route("/metrics", get(models::metrics))
        .route("/v1/models", get(models::all))
        .route("/v1/models/{id}", get(models::one))
        .route("/v1/items", get(items::search))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/recommend", post(recommend::answer))
        .route("/admin/reload", post(admin::reload))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), guard::guard))
        .with_state(state)
}

async fn unknown(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(100).collect();
    let message = format!("{} {path} is not known here", request.method());
    Refusal::new(StatusCode::NOT_FOUND, message)
}

async fn wrong_method(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(100).collect();
    let message = format!("{} is not done at {path}", request.method());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
}
