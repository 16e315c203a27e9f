//! `POST /admin/reload`: new weights and another catalog, while requests go on.

mod below;
mod fits;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Request as HttpRequest, State as Shared};
use axum::http::StatusCode;
use convrec_catalog::Catalog;
use convrec_core::CatalogItem;
use convrec_policy::{ModelConfig, Policy, WeightsError};
use serde::Deserialize;
use serde_json::{Value, json};

use self::below::Below;
use crate::deployment::{Deployment, Shelf};
use crate::http::body;
use crate::refusal::Refusal;
use crate::server::start_worker;
use crate::state::State;

/// What shall change. What is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asking {
    /// A model folder with weights of the same shape.
    path: Option<PathBuf>,
    /// A catalog file of JSON lines.
    catalog: Option<PathBuf>,
    /// Items that are added behind the others.
    #[serde(default)]
    add: Vec<CatalogItem>,
    /// Names of items that are removed; later items move up.
    #[serde(default)]
    remove: Vec<String>,
}

/// Loads what is asked for, and uses it from then on. Where anything is wrong, nothing changes.
pub(crate) async fn reload(
    Shared(state): Shared<Arc<State>>,
    http: HttpRequest,
) -> Result<Json<Value>, Refusal> {
    let asking: Asking = body::json(http, &state.config.limits).await?;
    // On a thread of its own: reading weights takes long, and is not given up half way.
    let (told, answer) = tokio::sync::oneshot::channel();
    let started = std::thread::Builder::new()
        .name("convrec-reload".into())
        .spawn(move || {
            let _one_at_a_time = state
                .reloading
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Who asked may be gone.
            told.send(asking.load(&state)).unwrap_or_default();
        });
    started.map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string()))?;
    answer.await.map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "loading failed; see what the server printed",
        )
    })?
}

impl Asking {
    fn load(self, state: &State) -> Result<Json<Value>, Refusal> {
        if self.path.is_none() && self.is_of_weights_alone() {
            let problem = "nothing is asked for; expected `path`, `catalog`, `add` or `remove`";
            return Err(Refusal::bad(problem));
        }
        let before = state.current();
        let shelf = self.shelf(state, &before)?;
        let worker =
            match &self.path {
                None => before.worker.clone(),
                Some(path) => {
                    let policy = weights(path, state, &before)?;
                    let started = start_worker(
                        &policy,
                        &state.config,
                        &state.metrics,
                        &state.died,
                        &state.has_died,
                    );
                    Arc::new(started.map_err(|e| {
                        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string())
                    })?)
                }
            };
        let version = before.version + 1;
        let items = shelf.as_ref().map(|shelf| shelf.task.catalog().len());
        let after = Deployment::new(version, before.language.clone(), shelf, worker);
        state.replace(after.map_err(|e| Refusal::bad(e.to_string()))?);
        Ok(Json(
            json!({ "success": true, "version": version, "items": items, "path": self.path }),
        ))
    }

    fn is_of_weights_alone(&self) -> bool {
        self.catalog.is_none() && self.add.is_empty() && self.remove.is_empty()
    }

    fn shelf(&self, state: &State, before: &Deployment) -> Result<Option<Arc<Shelf>>, Refusal> {
        if self.is_of_weights_alone() {
            return Ok(before.shelf.clone());
        }
        let items: Vec<CatalogItem> = match (&self.catalog, &before.shelf) {
            (Some(path), _) => {
                let opened = Below::open(path, "catalog", state)?;
                let catalog = Catalog::read(opened.path());
                catalog
                    .map_err(|e| Refusal::field("catalog", opened.named(&e.to_string())))?
                    .iter()
                    .map(|(_, item)| item.clone())
                    .collect()
            }
            (None, Some(shelf)) => shelf.catalog.iter().map(|(_, item)| item.clone()).collect(),
            (None, None) => vec![],
        };
        let mut items = items;
        if !self.remove.is_empty() {
            let catalog = Catalog::new(items.clone()).map_err(|e| Refusal::field("remove", e))?;
            let mut removed = vec![false; items.len()];
            for name in &self.remove {
                let ids = catalog
                    .named(name)
                    .map_err(|e| Refusal::field("remove", e))?;
                ids.iter().for_each(|id| removed[id.index()] = true);
            }
            let mut removed = removed.into_iter();
            items.retain(|_| !removed.next().unwrap_or(false));
        }
        items.extend_from_slice(&self.add);
        let catalog = Catalog::new(items).map_err(|e| Refusal::field("catalog", e))?;
        let shelf = Shelf::new(catalog, &before.language, &state.config);
        Ok(Some(Arc::new(
            shelf.map_err(|e| Refusal::field("catalog", e))?,
        )))
    }
}

fn weights(path: &Path, state: &State, before: &Deployment) -> Result<Policy, Refusal> {
    let opened = Below::open(path, "path", state)?;
    opened.check_files("path")?;
    let folder = opened.path();
    let failed = |e: WeightsError| Refusal::field("path", opened.named(&e.to_string()));
    let unfit = |problem: String| Refusal::field("path", opened.named(&problem));
    // First what is read in no time.
    if ModelConfig::load_folder(&folder).map_err(failed)? != *before.shape() {
        let folder = path.display();
        return Err(Refusal::field(
            "path",
            format!("{folder} has a model of another shape; expected the one that is served"),
        ));
    }
    fits::language(&folder, &before.language).map_err(unfit)?;
    let policy = Policy::load_folder(&folder, &state.device).map_err(failed)?;
    fits::numbers(&folder, &policy).map_err(unfit)?;
    Ok(policy)
}
