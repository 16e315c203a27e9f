//! `GET /v1/models`, `GET /v1/models/{id}`, `/health`, `/ready` and `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::params::no_model;
use crate::refusal::Refusal;
use crate::state::State;

/// All models, of which there is one.
pub(crate) async fn all(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [model(&state)] }))
}

/// The model.
pub(crate) async fn one(
    Shared(state): Shared<Arc<State>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path(id) = id.map_err(|e| Refusal::bad(e.body_text()))?;
    match id == state.config.name {
        true => Ok(Json(model(&state))),
        false => Err(no_model(&id, &state.config.name)),
    }
}

fn model(state: &State) -> Value {
    let current = state.current();
    let catalog = current.shelf.as_ref().map(|shelf| {
        let task = &shelf.task;
        let distinct = task.catalog().len() - task.catalog().aliases().len();
        json!({ "items": distinct, "list": task.n_ranks(), "constrained": task.is_constrained() })
    });
    json!({
        "id": state.config.name, "object": "model", "created": 0, "owned_by": "convrec",
        "max_model_len": current.shape().max_position_embeddings,
        "version": current.version, "catalog": catalog,
    })
}

/// Whether the process works: who asks may start it again where it does not.
pub(crate) async fn health(Shared(state): Shared<Arc<State>>) -> Response {
    match state.illness() {
        None => Json(json!({ "status": "ok" })).into_response(),
        Some(illness) => unwell(illness),
    }
}

/// Whether requests should be sent here.
pub(crate) async fn ready(Shared(state): Shared<Arc<State>>) -> Response {
    match (state.illness(), state.is_draining()) {
        (Some(illness), _) => unwell(illness),
        (None, true) => unwell("the server is about to end"),
        (None, false) => {
            Json(json!({ "status": "ok", "version": state.current().version })).into_response()
        }
    }
}

fn unwell(problem: &str) -> Response {
    let body = Json(json!({ "status": "failed", "problem": problem }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// Counters in Prometheus's format.
pub(crate) async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.text()).into_response()
}
