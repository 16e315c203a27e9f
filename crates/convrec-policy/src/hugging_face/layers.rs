//! Differences between blocks: sliding windows and blocks without rotary positions.

use crate::config::{ConfigError, Family, SlidingWindow};
use crate::fields::{COUNT, Fields};

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// The blocks without rotary positions. The file marks those that have them by 1.
pub(super) fn read_no_rope(
    fields: &Fields,
    family: Family,
    layers: usize,
) -> Result<Vec<usize>, ConfigError> {
    if family != Family::SmolLm3 {
        return Ok(vec![]);
    }
    if let Some(marks) = fields.maybe::<Vec<u8>>("no_rope_layers", "a list of 0 and 1")? {
        if marks.len() != layers {
            let problem = format!(
                "{} entries; expected num_hidden_layers = {layers}",
                marks.len()
            );
            return Err(fields.error("no_rope_layers", problem));
        }
        return Ok(places(&marks, |mark| *mark == 0));
    }
    let every = fields.maybe("no_rope_layer_interval", COUNT)?.unwrap_or(4);
    match every {
        0 => Err(fields.error("no_rope_layer_interval", "0; expected at least 1")),
        every => Ok((1..=layers / every).map(|n| n * every - 1).collect()),
    }
}

fn places<T>(values: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    let wanted = values.iter().enumerate().filter(|(_, value)| wanted(value));
    wanted.map(|(place, _)| place).collect()
}

/// The blocks with a sliding window, and its length.
pub(super) fn read_window(
    fields: &Fields,
    family: Family,
    default: Option<usize>,
    layers: usize,
    no_rope_layers: &[usize],
) -> Result<Option<SlidingWindow>, ConfigError> {
    const EXPECTED: &str = "a whole number or null";
    // An absent field is the family's default, null is none.
    let tokens: Option<usize> = match fields.map.contains_key("sliding_window") {
        true => fields.maybe("sliding_window", EXPECTED)?,
        false => default,
    };
    let used = fields.flag("use_sliding_window")?;
    let tokens = match family {
        Family::Mistral | Family::Phi3 | Family::Gemma3 => tokens,
        Family::Qwen2 | Family::Qwen3 | Family::SmolLm3 => tokens.filter(|_| used == Some(true)),
        Family::Llama | Family::Olmo2 | Family::Gemma => {
            if used == Some(true) && tokens.is_some() {
                return fields.unsupported("use_sliding_window", true, "false");
            }
            None
        }
    };
    let types: Option<Vec<String>> = fields.maybe("layer_types", "a list of texts")?;
    let sliding = match &types {
        Some(types) => {
            if types.len() != layers {
                let problem = format!(
                    "{} entries; expected num_hidden_layers = {layers}",
                    types.len()
                );
                return Err(fields.error("layer_types", problem));
            }
            if let Some(other) = types.iter().find(|kind| *kind != FULL && *kind != SLIDING) {
                return fields.unsupported("layer_types", other, &format!("{FULL} or {SLIDING}"));
            }
            places(types, |kind| kind == SLIDING)
        }
        None => by_rule(fields, family, layers, no_rope_layers)?,
    };
    let Some(tokens) = tokens else {
        if types.is_some() && !sliding.is_empty() {
            let expected = format!("{FULL} everywhere, as there is no sliding window");
            return fields.unsupported("layer_types", SLIDING, &expected);
        }
        return Ok(None);
    };
    // These two have a window everywhere, whatever the file says of single blocks.
    let everywhere = matches!(family, Family::Mistral | Family::Phi3);
    if everywhere && sliding.len() != layers {
        let expected = format!("{SLIDING} everywhere, or no sliding_window");
        return fields.unsupported("layer_types", FULL, &expected);
    }
    Ok((!sliding.is_empty()).then_some(SlidingWindow {
        tokens,
        layers: sliding,
        rope_theta: None,
    }))
}

/// The blocks with a window where the file has no `layer_types`.
fn by_rule(
    fields: &Fields,
    family: Family,
    layers: usize,
    no_rope_layers: &[usize],
) -> Result<Vec<usize>, ConfigError> {
    let count = |field, default| Ok(fields.maybe(field, COUNT)?.unwrap_or(default));
    Ok(match family {
        Family::Mistral | Family::Phi3 => (0..layers).collect(),
        Family::Qwen2 | Family::Qwen3 => (count("max_window_layers", 28)?..layers).collect(),
        Family::SmolLm3 => no_rope_layers.to_vec(),
        Family::Gemma3 => match count("sliding_window_pattern", 6)? {
            0 => return Err(fields.error("sliding_window_pattern", "0; expected at least 1")),
            every => (0..layers)
                .filter(|layer| (layer + 1) % every != 0)
                .collect(),
        },
        Family::Llama | Family::Olmo2 | Family::Gemma => vec![],
    })
}
