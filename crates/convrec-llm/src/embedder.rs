use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use convrec_config::ConfigError;
use convrec_services::{EmbeddedPart, Embedder, ServiceError};
use ndarray::{Array2, ArrayView1};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::canonical;
use crate::completion::counted;
use crate::halt::Failure;
use crate::model_settings::EmbedderSettings;
use crate::response;
use crate::server::{Question, Server};
use crate::unasked::Unasked;
use crate::usage::{Spend, Tokens};

/// An embedding model behind `embeddings`.
///
/// Texts go out in batches, and rows come back at unit length. A blank text is not sent and has a
/// row of zeros. [`embed`](Embedder::embed) fails as a whole where one batch fails. Nothing is kept
/// here: the `CachedEmbedder` of `convrec-demonstrations` keeps rows of any embedder, also of the
/// batches beside one that failed ([`embed_parts`](Embedder::embed_parts)).
#[derive(Debug)]
pub struct HttpEmbedder {
    settings: EmbedderSettings,
    server: Arc<Server>,
}

impl HttpEmbedder {
    /// The model that `settings` name, on `server`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is wrong.
    pub fn new(settings: EmbedderSettings, server: Arc<Server>) -> Result<Self, ConfigError> {
        settings.check()?;
        server.check_price("embeddings", &settings.price)?;
        Ok(Self { settings, server })
    }

    fn body(&self, texts: &[&str]) -> Vec<u8> {
        let encoding = if self.settings.base64 {
            "base64"
        } else {
            "float"
        };
        let mut body =
            json!({ "model": self.settings.model, "input": texts, "encoding_format": encoding });
        for (name, value) in &self.settings.extra_body {
            body[name] = value.clone();
        }
        canonical(&body)
    }

    fn embed_batch(&self, texts: &[&str]) -> Result<Array2<f32>, Failure> {
        let body = self.body(texts);
        let most = Tokens {
            input: Tokens::in_text(body.len()),
            output: 0,
        };
        let question = Question {
            endpoint: "embeddings",
            body: &body,
            most,
            price: &self.settings.price,
            is_kept: true,
        };
        self.server.ask(question, |bytes| {
            let response: Response = response::parse(bytes)?;
            let input = counted(&response.usage, "prompt_tokens").unwrap_or(most.input);
            Ok((
                rows(response.data, texts.len(), self.settings.width)?,
                Tokens { input, output: 0 },
            ))
        })
    }
}

#[derive(Deserialize)]
struct Response {
    data: Vec<Row>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Row {
    index: usize,
    embedding: Numbers,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    List(Vec<f32>),
    /// Little-endian f32, in base64.
    Base64(String),
}

impl Numbers {
    fn read(self) -> Result<Vec<f32>, String> {
        match self {
            Self::List(numbers) => Ok(numbers),
            Self::Base64(text) => {
                let bytes = BASE64_STANDARD
                    .decode(text)
                    .map_err(|e| format!("an embedding that is no base64 ({e})"))?;
                match bytes.as_chunks() {
                    (numbers, []) => Ok(numbers
                        .iter()
                        .map(|&number| f32::from_le_bytes(number))
                        .collect()),
                    _ => Err(format!(
                        "an embedding of {} bytes; expected 4 for each number",
                        bytes.len()
                    )),
                }
            }
        }
    }
}

/// The rows by their `index`, each at unit length: `[n, width]`.
fn rows(data: Vec<Row>, n: usize, width: usize) -> Result<Array2<f32>, String> {
    if data.len() != n {
        return Err(format!("{} embeddings for {n} texts", data.len()));
    }
    let mut rows = Array2::zeros((n, width));
    let mut filled = vec![false; n];
    for Row { index, embedding } in data {
        let numbers = embedding.read()?;
        if numbers.len() != width {
            return Err(format!(
                "an embedding of {} numbers; expected {width}, as `embedder.width` says",
                numbers.len()
            ));
        }
        if index >= n || std::mem::replace(&mut filled[index], true) {
            return Err(format!("index {index} twice or beyond the {n} texts"));
        }
        // The sum is in f64, as the squares of large f32 are no f32.
        let length = numbers
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        if !(length.is_finite() && length > 0.0) {
            return Err(format!("an embedding of length {length}"));
        }
        let unit: Vec<f32> = numbers
            .iter()
            .map(|&x| (f64::from(x) / length) as f32)
            .collect();
        rows.row_mut(index).assign(&ArrayView1::from(&unit));
    }
    Ok(rows)
}

impl Embedder for HttpEmbedder {
    /// Model, width and extra fields; not the address, so that a server may move.
    fn id(&self) -> String {
        let EmbedderSettings {
            model,
            width,
            extra_body,
            ..
        } = &self.settings;
        let extra =
            String::from_utf8_lossy(&canonical(&Value::Object(extra_body.clone()))).into_owned();
        format!("http {model} {width} {extra}")
    }

    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        let mut all = Array2::zeros((texts.len(), self.settings.width));
        for (places, rows) in self.embed_parts(texts) {
            places
                .iter()
                .zip(rows?.outer_iter())
                .for_each(|(&place, row)| all.row_mut(place).assign(&row));
        }
        Ok(all)
    }

    /// The blank texts, and a part for each batch.
    fn embed_parts(&self, texts: &[String]) -> Vec<EmbeddedPart> {
        let (blank, asked): (Vec<usize>, Vec<usize>) =
            (0..texts.len()).partition(|&place| texts[place].trim().is_empty());
        let batches: Vec<&[usize]> = asked.chunks(self.settings.batch).collect();
        let text_of = |batch: &[usize]| {
            batch
                .iter()
                .map(|&place| texts[place].as_str())
                .collect::<Vec<_>>()
        };
        let results = self.server.side_by_side(batches.len(), |index| {
            self.embed_batch(&text_of(batches[index]))
        });

        let mut unasked = Unasked::default();
        for (batch, _) in batches
            .iter()
            .zip(&results)
            .filter(|(_, result)| matches!(result, Err(Failure::Halted(_))))
        {
            let input = Tokens::in_text(self.body(&text_of(batch)).len());
            unasked.add(Spend::new(
                Tokens { input, output: 0 },
                &self.settings.price,
            ));
        }
        let explain = |failure| {
            let problem = match failure {
                Failure::Failed(problem) => problem,
                Failure::Halted(halt) => unasked.explain(&halt),
            };
            ServiceError::new(
                format!("{} at {}", self.settings.model, self.server.address()),
                problem,
            )
        };
        let zeros = Array2::zeros((blank.len(), self.settings.width));
        let parts = batches
            .iter()
            .zip(results)
            .map(|(batch, result)| (batch.to_vec(), result.map_err(explain)));
        std::iter::once((blank, Ok(zeros)))
            .filter(|(places, _)| !places.is_empty())
            .chain(parts)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value, n: usize) -> Result<Vec<f32>, String> {
        rows(serde_json::from_value(json).unwrap(), n, 2)
            .map(|rows| rows.into_raw_vec_and_offset().0)
    }

    #[test]
    fn rows_are_ordered_checked_and_of_unit_length() {
        let bytes: Vec<u8> = [3.0f32, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let in_base64 = BASE64_STANDARD.encode(&bytes);
        let data = json!([{ "index": 1, "embedding": in_base64 }, { "index": 0, "embedding": [0.0, -2e30] }]);
        assert_eq!(read(data, 2), Ok(vec![0.0, -1.0, 0.6, 0.8]));
        let row =
            |index: usize, embedding: Value| json!({ "index": index, "embedding": embedding });
        for (data, n, part) in [
            (
                json!([row(0, json!([1, 0]))]),
                2,
                "1 embeddings for 2 texts",
            ),
            (
                json!([row(0, json!([1, 0])), row(0, json!([1, 0]))]),
                2,
                "index 0 twice",
            ),
            (json!([row(1, json!([1, 0]))]), 1, "beyond the 1 texts"),
            (json!([row(0, json!([1]))]), 1, "1 numbers; expected 2"),
            (json!([row(0, json!([0, 0]))]), 1, "length 0"),
            (json!([row(0, json!("AAAA"))]), 1, "3 bytes"),
            (json!([row(0, json!("!"))]), 1, "no base64"),
        ] {
            let error = read(data, n).unwrap_err();
            assert!(error.contains(part), "{error} does not say {part}");
        }
    }
}
