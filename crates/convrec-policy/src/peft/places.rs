//! The modules of a policy that have an adapter, by PEFT's rules for names.

use fancy_regex::Regex;
use serde_json::Value;

use super::config::PeftConfig;
use crate::config::ConfigError;
use crate::fields::Fields;
use crate::lora::Size;
use crate::lora_config::Projection;

/// A regular expression that is matched at the start of a name, as Python's `re.match` does.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    field: String,
}

impl Pattern {
    pub(super) fn new(fields: &Fields, field: &str, text: &str) -> Result<Self, ConfigError> {
        let bad = |e| {
            let problem = format!("{text:?} is no regular expression that is understood: {e}");
            fields.error(field, problem)
        };
        let regex = Regex::new(&format!("^(?:{text})")).map_err(|e| bad(e.to_string()))?;
        let field = field.to_string();
        Ok(Self { regex, field })
    }

    fn matches(&self, name: &str) -> Result<bool, ConfigError> {
        // The engine gives up on an expression that takes too many steps.
        self.regex.is_match(name).map_err(|e| self.failed(e))
    }

    /// The number that the first group holds.
    fn number(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let groups = self.regex.captures(name).map_err(|e| self.failed(e))?;
        let number = groups.and_then(|groups| groups.get(1)?.as_str().parse().ok());
        Ok(number)
    }

    fn failed(&self, e: fancy_regex::Error) -> ConfigError {
        ConfigError::new(&self.field, format!("the regular expression gives up: {e}"))
    }
}

/// Modules by name.
#[derive(Debug)]
pub(super) enum Names {
    /// `all-linear`: all projections of all blocks.
    AllLinear,
    /// The modules whose whole name the expression matches.
    Matching(Pattern),
    /// The modules with these names, or whose names end in them.
    Listed(Vec<String>),
}

impl Names {
    pub(super) fn read(fields: &Fields, field: &str, value: &Value) -> Result<Self, ConfigError> {
        match value.as_str() {
            Some("all-linear") => Ok(Self::AllLinear),
            Some(text) => {
                let whole = format!(r"(?:{text})\z");
                Ok(Self::Matching(Pattern::new(fields, field, &whole)?))
            }
            None => {
                let expected = "names of modules, a regular expression or \"all-linear\"";
                Ok(Self::Listed(fields.must(field, expected)?))
            }
        }
    }

    fn has(&self, name: &str, is_head: bool) -> Result<bool, ConfigError> {
        match self {
            Self::AllLinear => Ok(!is_head),
            Self::Matching(pattern) => pattern.matches(name),
            Self::Listed(names) => Ok(names.iter().any(|known| ends_with(name, known))),
        }
    }
}

/// Whether the name is this one, or ends in it behind a dot.
fn ends_with(name: &str, known: &str) -> bool {
    let rest = name.strip_suffix(known);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The name of a projection in the model, as PEFT sees it.
pub(super) fn module(layer: usize, projection: Projection) -> String {
    use Projection::{KProj, OProj, QProj, QkvProj, VProj};
    let part = match projection {
        QProj | KProj | VProj | OProj | QkvProj => "self_attn",
        _ => "mlp",
    };
    format!("model.layers.{layer}.{part}.{}", projection.name())
}

impl PeftConfig {
    /// The rank and alpha of each adapter, by block and projection.
    pub(super) fn places(
        &self,
        layers: usize,
        projections: &[Projection],
    ) -> Result<Vec<(usize, Projection, Size)>, ConfigError> {
        self.refuse_others(projections)?;
        let mut places = vec![];
        for layer in 0..layers {
            for projection in projections {
                let name = module(layer, *projection);
                if self.has(&name)? {
                    let rank = pick(&self.ranks, &name)?.unwrap_or(self.rank);
                    let alpha = pick(&self.alphas, &name)?.unwrap_or(self.alpha);
                    places.push((layer, *projection, Size { rank, alpha }));
                }
            }
        }
        if places.is_empty() {
            let problem = "no projection of the model has such a name";
            return Err(ConfigError::new("target_modules", problem));
        }
        Ok(places)
    }

    fn has(&self, name: &str) -> Result<bool, ConfigError> {
        if let Some(excluded) = &self.exclude
            && excluded.has(name, false)?
        {
            return Ok(false);
        }
        if !self.targets.has(name, false)? {
            return Ok(false);
        }
        let Some(layers) = &self.layers else {
            return Ok(true);
        };
        if self.layer_patterns.is_empty() {
            let number = name.split('.').find_map(|part| part.parse().ok());
            return Ok(number.is_some_and(|number: usize| layers.contains(&number)));
        }
        for pattern in &self.layer_patterns {
            if let Some(number) = pattern.number(name)? {
                return Ok(layers.contains(&number));
            }
        }
        Ok(false)
    }

    /// Refuses modules other than projections, and listed names that fit no module.
    fn refuse_others(&self, projections: &[Projection]) -> Result<(), ConfigError> {
        let bad = |name: &str| {
            let known: Vec<&str> = projections.iter().map(|known| known.name()).collect();
            let expected = format!("expected some of {}", known.join(", "));
            let problem = format!("{name:?} is not supported in this model; {expected}");
            Err(ConfigError::new("target_modules", problem))
        };
        for name in ["lm_head", "model.embed_tokens"] {
            let excluded = match &self.exclude {
                Some(excluded) => excluded.has(name, true)?,
                None => false,
            };
            if !excluded && self.targets.has(name, true)? {
                return bad(name);
            }
        }
        let Names::Listed(names) = &self.targets else {
            return Ok(());
        };
        let fits = |name: &str| {
            let last = name.rsplit('.').next().unwrap_or(name);
            projections
                .iter()
                .any(|projection| projection.name() == last)
        };
        names
            .iter()
            .find(|name| !fits(name))
            .map_or(Ok(()), |name| bad(name))
    }
}

/// The value of the patterns for a module, if there is one.
fn pick<T: Copy + PartialEq>(
    patterns: &[(Pattern, T)],
    name: &str,
) -> Result<Option<T>, ConfigError> {
    let mut found = None;
    for (pattern, value) in patterns {
        if pattern.matches(name)? {
            if found.is_some_and(|found| found != *value) {
                let problem = format!("several patterns fit {name} and say different things");
                return Err(ConfigError::new(&pattern.field, problem));
            }
            found = Some(*value);
        }
    }
    Ok(found)
}
