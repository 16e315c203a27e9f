//! `GET /v1/items`: the catalog, searched by name.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::state::State;

/// What is searched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    #[serde(default)]
    q: String,
    limit: Option<usize>,
}

const USUAL: usize = 10;
const MOST: usize = 100;
/// Characters of a search.
const LONGEST: usize = 200;

/// The items whose names are like a text, and the genres that there are.
pub(crate) async fn search(
    Shared(state): Shared<Arc<State>>,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(Search { q, limit }) = search.map_err(|e| Refusal::bad(e.body_text()))?;
    let limit = limit.unwrap_or(USUAL);
    if limit == 0 || limit > MOST {
        return Err(Refusal::field(
            "limit",
            format!("{limit}; expected 1 to {MOST}"),
        ));
    }
    if q.chars().count() > LONGEST {
        return Err(Refusal::field(
            "q",
            format!("expected at most {LONGEST} characters"),
        ));
    }
    let deployment = state.current();
    let shelf = deployment.shelf()?.clone();
    let answer = move || {
        let found = shelf.search(&q, limit);
        let item = |id: &convrec_core::ItemId| {
            let item = &shelf.task.catalog()[*id];
            json!({
                "id": id.0, "title": item.title, "year": item.year, "genres": item.genres,
                "name": item.item().to_string(),
            })
        };
        let items: Vec<Value> = found.iter().map(item).collect();
        let mut genres: Vec<(&str, usize)> = shelf.genres().collect();
        genres.sort_unstable_by_key(|(name, n)| (usize::MAX - n, *name));
        let genres = genres.iter().take(MOST);
        let genres: Vec<Value> = genres
            .map(|(name, n)| json!({ "name": name, "items": n }))
            .collect();
        Ok(json!({ "object": "list", "data": items, "genres": genres }))
    };
    Ok(Json(state.read(answer).await?))
}
