use std::path::{Path, PathBuf};

use convrec_core::files;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The way to tell servers to load new weights: a kind of server, or its calls one by one.
///
/// ```
/// use convrec_llm::CompletionsSettings;
///
/// for update in [
///     r#""vllm""#,
///     r#"{ calls = [{ path = "/load", body = { folder = "{path}" } }] }"#,
/// ] {
///     toml::from_str::<CompletionsSettings>(&format!(
///         "model = \"policy\"\nupdate = {update}"
///     ))?
///     .check()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightUpdate {
    /// `/admin/reload` with `{"path": "{path}"}`, as `serve` knows it; it needs the server's key
    /// for operators.
    #[default]
    Reload,
    /// vLLM with whole models. `/collective_rpc` calls `reload_weights` of its workers, and
    /// `/reset_prefix_cache` empties the cache of prompts under the old weights. It needs
    /// `VLLM_SERVER_DEV_MODE=1` and a release of vLLM that takes the folder as an argument.
    Vllm,
    /// vLLM with adapters. `/v1/load_lora_adapter` replaces the adapter of the same name. vLLM must
    /// run with `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`, and be recent enough
    /// for `load_inplace`.
    VllmLora,
    /// SGLang. `/update_weights_from_disk` also empties its cache.
    Sglang,
    /// Any other server. These calls are made one after the other.
    Calls(Vec<UpdateCall>),
}

/// One POST to each server. In the strings of `body`, `{path}` becomes the folder, `{model}` the
/// model's name and `{step}` the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateCall {
    /// The path from the host on, with a slash before it.
    pub path: String,
    /// The JSON of the body. Default: `{}`.
    #[serde(default = "nothing")]
    pub body: Value,
}

fn nothing() -> Value {
    json!({})
}

impl WeightUpdate {
    pub(crate) fn calls(&self, model: &str) -> Vec<UpdateCall> {
        let call = |path: &str, body| UpdateCall {
            path: path.into(),
            body,
        };
        match self {
            Self::Reload => vec![call("/admin/reload", json!({ "path": "{path}" }))],
            Self::Vllm => {
                let body =
                    json!({ "method": "reload_weights", "kwargs": { "weights_path": "{path}" } });
                vec![
                    call("/collective_rpc", body),
                    call("/reset_prefix_cache", nothing()),
                ]
            }
            Self::VllmLora => {
                let body =
                    json!({ "lora_name": model, "lora_path": "{path}", "load_inplace": true });
                vec![call("/v1/load_lora_adapter", body)]
            }
            Self::Sglang => vec![call(
                "/update_weights_from_disk",
                json!({ "model_path": "{path}" }),
            )],
            Self::Calls(calls) => calls.clone(),
        }
    }
}

/// The JSON with each `{name}` in its strings replaced.
pub(crate) fn filled(template: &Value, values: &[(&str, &str)]) -> Value {
    match template {
        Value::String(text) => {
            Value::String(values.iter().fold(text.clone(), |text, (name, value)| {
                text.replace(name, value)
            }))
        }
        Value::Array(parts) => parts.iter().map(|part| filled(part, values)).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), filled(value, values)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Folders of weights that servers load: `step-000123` and so on below one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFolders(PathBuf);

impl WeightFolders {
    /// Folders below `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The folder of the weights of a step.
    pub fn of_step(&self, step: usize) -> PathBuf {
        self.0.join(format!("step-{step:06}"))
    }

    /// Removes the folders of all other steps. Nothing else is touched. Call it once no server
    /// needs them any more.
    ///
    /// # Errors
    /// [`files::Error`] when the folder cannot be read or the folder of a step cannot be removed.
    pub fn keep_only(&self, step: usize) -> Result<(), files::Error> {
        let failed = |error| files::Error::new("read", &self.0, error);
        for entry in std::fs::read_dir(&self.0).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path != self.of_step(step) && is_of_step(&path) {
                std::fs::remove_dir_all(&path)
                    .map_err(|error| files::Error::new("remove", &path, error))?;
            }
        }
        Ok(())
    }
}

fn is_of_step(path: &Path) -> bool {
    let number = path
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix("step-"));
    path.is_dir()
        && number.is_some_and(|number| {
            number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_at_every_depth() {
        let values = [("{path}", "/w/{x}"), ("{step}", "7")];
        let found = filled(
            &json!({ "a": ["{path}/y", 1, { "b": "{step}-{step}" }], "{path}": null }),
            &values,
        );
        assert_eq!(
            found,
            json!({ "a": ["/w/{x}/y", 1, { "b": "7-7" }], "{path}": null })
        );
    }

    #[test]
    fn only_folders_of_steps_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let folders = WeightFolders::new(root.path());
        for name in [
            "step-000001",
            "step-000002",
            "step-1234567",
            "step-best",
            "notes",
        ] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("step-000009"), "a file").unwrap();
        folders.keep_only(2).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["notes", "step-000002", "step-000009", "step-best"]);
        assert_eq!(folders.of_step(2), root.path().join("step-000002"));
    }
}
