//! Rotary positions: their base, their scaling, and the part of a head that they turn.

use serde_json::Map;

use crate::config::{ConfigError, Family, Llama3Scaling};
use crate::fields::{Fields, NUMBER};

pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: Option<Llama3Scaling>,
    pub(super) part: f64,
    /// The base in blocks with a sliding window, where it may differ.
    pub(super) sliding_theta: Option<f64>,
}

/// The kinds of blocks that Gemma 3 has rotary settings for.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
const LLAMA3: [&str; 4] = [
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
];

/// As in transformers, `rope_scaling` goes before `rope_parameters`, and a base inside goes before
/// the one beside.
pub(super) fn read(fields: &Fields, family: Family, default: f64) -> Result<Rope, ConfigError> {
    let empty = Map::new();
    let none = Fields {
        map: &empty,
        of: "rope_parameters",
    };
    let (old, new) = (
        fields.object("rope_scaling")?,
        fields.object("rope_parameters")?,
    );
    if family == Family::Gemma3 {
        return read_gemma3(fields, old, new.unwrap_or(none), default);
    }
    let rope = old.or(new).unwrap_or(none);
    if let Some(kind) = KINDS.into_iter().find(|kind| rope.value(kind).is_some()) {
        let expected = "the same rotary positions in every block";
        return rope.unsupported(kind, "a setting of some blocks", expected);
    }
    let mut part = 1.0;
    for at in [fields, &rope] {
        let found = at.number("partial_rotary_factor")?;
        if let Some(found) = found.filter(|found| *found != 1.0) {
            if family != Family::Phi3 {
                return at.unsupported("partial_rotary_factor", found, "1");
            }
            part = found;
        }
    }
    let beside = fields.number("rope_theta")?;
    Ok(Rope {
        theta: rope.number("rope_theta")?.or(beside).unwrap_or(default),
        scaling: read_scaling(&rope)?,
        part,
        sliding_theta: None,
    })
}

/// Two settings: one for the blocks with a sliding window, one for the others.
fn read_gemma3(
    fields: &Fields,
    old: Option<Fields>,
    new: Fields,
    default: f64,
) -> Result<Rope, ConfigError> {
    let empty = Map::new();
    let of_kind = |kind| {
        let none = Fields {
            map: &empty,
            of: kind,
        };
        Ok::<_, ConfigError>(new.object(kind)?.unwrap_or(none))
    };
    let [full, sliding] = [of_kind(KINDS[0])?, of_kind(KINDS[1])?];
    if read_scaling(&sliding)?.is_some() {
        return sliding.unsupported("rope_type", "llama3", "default");
    }
    let theta = |inside: Fields, beside: &str, default| {
        let beside = fields.number(beside)?;
        Ok::<_, ConfigError>(inside.number("rope_theta")?.or(beside).unwrap_or(default))
    };
    Ok(Rope {
        theta: theta(full, "rope_theta", default)?,
        scaling: read_scaling(&old.unwrap_or(full))?,
        part: 1.0,
        sliding_theta: Some(theta(sliding, "rope_local_base_freq", 10_000.0)?),
    })
}

fn read_scaling(rope: &Fields) -> Result<Option<Llama3Scaling>, ConfigError> {
    let (name, kind) = match rope.maybe::<String>("rope_type", "a text")? {
        Some(kind) => ("rope_type", kind),
        None => (
            "type",
            rope.maybe("type", "a text")?
                .unwrap_or_else(|| "default".into()),
        ),
    };
    let scaling = match kind.as_str() {
        "default" => None,
        "llama3" => Some(Llama3Scaling {
            factor: rope.must(LLAMA3[0], NUMBER)?,
            low_freq_factor: rope.must(LLAMA3[1], NUMBER)?,
            high_freq_factor: rope.must(LLAMA3[2], NUMBER)?,
            original_max_position_embeddings: rope.count(LLAMA3[3])?,
        }),
        other => return rope.unsupported(name, format!("{other:?}"), "default or llama3"),
    };
    // A setting of another kind of positions, such as `mrope_section`, must not be lost silently.
    let known = |field: &str| {
        let plain = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        plain.contains(&field) || KINDS.contains(&field) || LLAMA3.contains(&field)
    };
    match rope
        .map
        .iter()
        .find(|(field, value)| !value.is_null() && !known(field))
    {
        Some((field, value)) => rope.unsupported(field, value, "no such field"),
        None => Ok(scaling),
    }
}
