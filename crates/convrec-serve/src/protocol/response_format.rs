//! Answers as JSON.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::object::Object;
use crate::refusal::Refusal;

/// The field `response_format`.
#[derive(Debug, Clone, Deserialize)]
#[serde(expecting = "an object")]
pub(crate) struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<Object<JsonSchema>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(expecting = "an object")]
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
    /// The bounds of its length.
    pub(crate) at_least: usize,
    pub(crate) at_most: Option<usize>,
}

impl Default for JsonList {
    fn default() -> Self {
        Self {
            list: "items".into(),
            fields: Some(FIELDS[..4].to_vec()),
            at_least: 0,
            at_most: None,
        }
    }
}

impl ResponseFormat {
    /// How the list is written; nothing where it is text.
    pub(crate) fn list(format: Option<Object<Self>>) -> Result<Option<JsonList>, Refusal> {
        let Some(Object(format)) = format else {
            return Ok(None);
        };
        match (
            format.kind.as_str(),
            format.json_schema.map(|Object(it)| it),
        ) {
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

/// A schema of an object with one list, of texts or of objects with known fields. What it asks of
/// them beyond is refused, as it could not be kept.
fn of_schema(schema: &Value) -> Result<JsonList, Refusal> {
    let reader = Reader { schema };
    let root = reader.of_type(schema, "", "object", &["properties", "required", PLAIN])?;
    let properties = root["properties"].as_object().into_iter().flatten();
    let properties: Vec<(&String, &Value)> = properties.collect();
    let [(name, property)] = properties[..] else {
        return Err(refuse("", "expected an object with one property, a list"));
    };
    let place = format!(".properties.{name}");
    let known = ["items", "minItems", "maxItems", "uniqueItems"];
    let list = reader.of_type(property, &place, "array", &known)?;
    let bound = |bound: &str| list[bound].as_u64().map(|n| n as usize);
    let (at_least, at_most) = (bound("minItems").unwrap_or(0), bound("maxItems"));
    if at_most.is_some_and(|most| most == 0 || most < at_least) {
        return Err(refuse(
            &place,
            "`maxItems` leaves no list; expected at least 1 and `minItems`",
        ));
    }
    let place = format!("{place}.items");
    let fields = if reader.follow(&list["items"])["type"] == "string" {
        reader.of_type(&list["items"], &place, "string", &[])?;
        None
    } else {
        let known = ["properties", "required", PLAIN];
        let item = reader.of_type(&list["items"], &place, "object", &known)?;
        let mut fields = vec![];
        for (name, value) in item["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.properties.{name}");
            let field = FIELDS.into_iter().find(|field| field == name);
            let field = field
                .ok_or_else(|| refuse(&place, &format!("expected one of {}", FIELDS.join(", "))))?;
            reader.check_field(field, value, &place)?;
            fields.push(field);
        }
        if fields.is_empty() {
            let expected = format!("expected properties among {}", FIELDS.join(", "));
            return Err(refuse(&place, &expected));
        }
        Some(fields)
    };
    Ok(JsonList {
        list: name.to_string(),
        fields,
        at_least,
        at_most,
    })
}

/// A keyword that is met by whatever is written here: no other properties are.
const PLAIN: &str = "additionalProperties";

/// Keywords that ask for nothing.
const NOTES: [&str; 9] = [
    "title",
    "description",
    "default",
    "examples",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "$ref",
];

fn refuse(place: &str, problem: &str) -> Refusal {
    Refusal::field(
        &format!("response_format.json_schema.schema{place}"),
        problem,
    )
}

struct Reader<'a> {
    schema: &'a Value,
}

impl<'a> Reader<'a> {
    /// References, as pydantic writes them, lead to definitions beside the schema.
    fn follow(&self, value: &'a Value) -> &'a Value {
        let path = value["$ref"].as_str();
        let Some(name) = path.and_then(|path| path.rsplit('/').next()) else {
            return value;
        };
        match &self.schema["$defs"][name] {
            Value::Null => &self.schema["definitions"][name],
            found => found,
        }
    }

    /// A part of the schema that has this type, or says none, and asks for nothing beyond `known`.
    fn of_type(
        &self,
        value: &'a Value,
        place: &str,
        kind: &str,
        known: &[&str],
    ) -> Result<&'a Value, Refusal> {
        let value = self.follow(value);
        let Some(object) = value.as_object() else {
            return Err(refuse(place, &format!("expected a schema of an {kind}")));
        };
        if !(value["type"].is_null() || value["type"] == kind) {
            let problem = format!("{}; expected `{kind}`", value["type"]);
            return Err(refuse(&format!("{place}.type"), &problem));
        }
        let is_known = |key: &str| key == "type" || NOTES.contains(&key) || known.contains(&key);
        match object.keys().find(|key| !is_known(key)) {
            Some(key) => Err(refuse(
                &format!("{place}.{key}"),
                "is not done here; expected no such keyword",
            )),
            None => Ok(value),
        }
    }

    /// Whether a field of an item has a type that its values have.
    fn check_field(&self, field: &str, value: &'a Value, place: &str) -> Result<(), Refusal> {
        let types: &[&str] = match field {
            "id" | "rank" => &["integer", "number"],
            // Null where the catalog has none.
            "year" => &["integer", "number", "null"],
            "score" => &["number"],
            _ => &["string"],
        };
        let value = self.follow(value);
        let Some(object) = value.as_object() else {
            return Err(refuse(place, "expected a schema"));
        };
        let is_known = |key: &str| ["type", "anyOf"].contains(&key) || NOTES.contains(&key);
        if let Some(key) = object.keys().find(|key| !is_known(key)) {
            let problem = "is not done here; expected no such keyword";
            return Err(refuse(&format!("{place}.{key}"), problem));
        }
        let alone = std::slice::from_ref(value);
        let branches = value["anyOf"].as_array().map_or(alone, Vec::as_slice);
        let fits = |branch: &Value| match &branch["type"] {
            Value::Null => true,
            Value::Array(all) => all.iter().any(|kind| types.iter().any(|t| kind == t)),
            kind => types.iter().any(|t| kind == t),
        };
        match branches.iter().any(fits) {
            true => Ok(()),
            false => Err(refuse(place, &format!("expected the type `{}`", types[0]))),
        }
    }
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
        ResponseFormat::list(Some(Object(serde_json::from_value(format).unwrap())))
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
        let short = json!({ "properties": { "a": { "type": "array", "maxItems": 2, "items": { "type": "string" } } } });
        assert_eq!(of(short).unwrap().unwrap().at_most, Some(2));
        let year = json!({ "properties": { "a": { "type": "array", "items": { "type": "object", "properties": {
            "year": { "anyOf": [{ "type": "integer" }, { "type": "null" }] }, "title": { "type": ["string"] } } } } } });
        assert!(of(year).is_ok());
        let field = |name: &str, schema: Value| json!({ "properties": { "a": { "type": "array", "items": { "properties": { name: schema } } } } });
        for bad in [
            field("year", json!({ "type": "string" })),
            field("title", json!({ "type": "integer" })),
            field("title", json!({ "type": "string", "enum": ["Heat"] })),
            json!({ "properties": { "a": { "type": "array", "contains": {}, "items": { "type": "string" } } } }),
            json!({ "properties": { "a": { "type": "array", "maxItems": 0, "items": { "type": "string" } } } }),
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
