//! Answers as JSON.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// The field `response_format`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchema>,
}

#[derive(Debug, Clone, Deserialize)]
struct JsonSchema {
    schema: Option<Value>,
}

/// What an item may be shown as.
pub(crate) const FIELDS: [&str; 6] = ["id", "title", "year", "score", "rank", "name"];

/// The JSON of a list: an object with one list of items.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonList {
    list: String,
    /// Items are their names, as `Heat (1995)`, or objects with these fields.
    fields: Option<Vec<&'static str>>,
}

impl Default for JsonList {
    fn default() -> Self {
        Self {
            list: "items".into(),
            fields: Some(FIELDS[..4].to_vec()),
        }
    }
}

impl ResponseFormat {
    /// How the list is written; nothing where it is text.
    pub(crate) fn list(format: Option<Self>) -> Result<Option<JsonList>, Refusal> {
        let Some(format) = format else {
            return Ok(None);
        };
        match (format.kind.as_str(), format.json_schema) {
            ("text", _) => Ok(None),
            ("json_object", _) => Ok(Some(JsonList::default())),
            ("json_schema", Some(JsonSchema { schema: None })) => Ok(Some(JsonList::default())),
            (
                "json_schema",
                Some(JsonSchema {
                    schema: Some(schema),
                }),
            ) => of_schema(&schema).map(Some),
            _ => Err(Refusal::field(
                "response_format",
                "expected a `type` of text, json_object or json_schema, the last with `json_schema`",
            )),
        }
    }
}

/// A schema of an object with one list, of texts or of objects with known fields.
fn of_schema(schema: &Value) -> Result<JsonList, Refusal> {
    let field = "response_format.json_schema.schema";
    let known = FIELDS.join(", ");
    let refuse = || {
        let expected = format!(
            "expected an object with one property, a list of texts or of objects with some of {known}"
        );
        Refusal::field(field, expected)
    };
    // References, as pydantic writes them, lead to definitions beside the schema.
    let follow = |value: &'_ Value| -> Value {
        let name = value["$ref"]
            .as_str()
            .and_then(|path| path.rsplit('/').next());
        match name {
            Some(name) => match &schema["$defs"][name] {
                Value::Null => schema["definitions"][name].clone(),
                found => found.clone(),
            },
            None => value.clone(),
        }
    };
    let root = follow(schema);
    let properties = root["properties"].as_object().ok_or_else(refuse)?;
    let [(list, property)] = properties.iter().collect::<Vec<_>>()[..] else {
        return Err(refuse());
    };
    let property = follow(property);
    let items = follow(&property["items"]);
    if property["type"] != "array" {
        return Err(refuse());
    }
    if items["type"] == "string" {
        return Ok(JsonList {
            list: list.clone(),
            fields: None,
        });
    }
    let asked = items["properties"].as_object().ok_or_else(refuse)?;
    let is_known = |name: &String| FIELDS.iter().copied().find(|field| field == name);
    let fields: Option<Vec<&'static str>> = asked.keys().map(is_known).collect();
    Ok(JsonList {
        list: list.clone(),
        fields: Some(
            fields
                .filter(|fields| !fields.is_empty())
                .ok_or_else(refuse)?,
        ),
    })
}

impl JsonList {
    pub(crate) fn opening(&self) -> String {
        format!("{{{}:[", Value::from(self.list.as_str()))
    }

    /// An item that has all of [`FIELDS`].
    pub(crate) fn item(&self, item: &Value) -> String {
        match &self.fields {
            None => item["name"].to_string(),
            Some(fields) => {
                let fields = fields
                    .iter()
                    .map(|field| (field.to_string(), item[*field].clone()));
                Value::Object(fields.collect::<Map<_, _>>()).to_string()
            }
        }
    }

    pub(crate) const CLOSING: &'static str = "]}";
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(format: Value) -> Result<Option<JsonList>, Refusal> {
        ResponseFormat::list(Some(serde_json::from_value(format).unwrap()))
    }

    #[test]
    fn schemas_decide_names_and_fields() {
        let item = json!({ "id": 1, "title": "Heat", "year": 1995, "score": 0.5, "rank": 1, "name": "Heat (1995)" });
        let of = |schema: Value| {
            let format =
                json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
            list(format)
        };
        let films = json!({ "type": "object", "properties": { "films": { "type": "array", "items": {
            "type": "object", "properties": { "title": {}, "year": {} } } } } });
        let films = of(films).unwrap().unwrap();
        assert_eq!(films.opening(), "{\"films\":[");
        assert_eq!(films.item(&item), "{\"title\":\"Heat\",\"year\":1995}");
        let pydantic = json!({
            "$defs": { "Film": { "type": "object", "properties": { "title": { "type": "string" } } } },
            "type": "object", "properties": { "films": { "type": "array", "items": { "$ref": "#/$defs/Film" } } },
        });
        assert_eq!(
            of(pydantic).unwrap().unwrap().item(&item),
            "{\"title\":\"Heat\"}"
        );
        let names = json!({ "properties": { "names": { "type": "array", "items": { "type": "string" } } } });
        assert_eq!(of(names).unwrap().unwrap().item(&item), "\"Heat (1995)\"");
        for bad in [
            json!({}),
            json!({ "properties": { "a": { "type": "array" }, "b": {} } }),
            json!({ "properties": { "a": { "type": "array", "items": { "properties": { "director": {} } } } } }),
        ] {
            assert!(of(bad).is_err());
        }
        assert_eq!(list(json!({ "type": "text" })).unwrap(), None);
        assert!(list(json!({ "type": "xml" })).is_err());
    }
}
