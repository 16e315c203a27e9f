//! Bounds on the cost of a tokenizer's regular expressions.
//!
//! They come from strangers. The `tokenizers` crate bounds only the steps of one search. At that
//! bound it silently goes on as if nothing more matched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fancy_regex::{Expr, Regex, RegexBuilder};
use serde_json::Value;

/// The longest expression, in bytes.
const LONGEST: usize = 1 << 14;
/// The largest product of the counts of nested repeats, as in `(a{9}){9}`.
const MOST_REPEATS: usize = 10_000;
/// The most steps back of one search.
const STEPS: usize = 100_000;
/// The time that all searches may take together. Each byte of text adds [`PATIENCE_A_BYTE`].
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_A_BYTE: Duration = Duration::from_micros(2);

/// Expressions of published tokenizers, whose cost is known: they are not watched.
const KNOWN: [&str; 8] = [
    // GPT-2
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    // Llama 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // Qwen2, Qwen3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // OLMo-2 and others write the same groups otherwise.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"[0-9][0-9][0-9]",
    r"\d",
    r" ",
];

/// Refuses expressions of a `tokenizer.json` that take much memory before any text is read.
pub(super) fn check(tokenizer: &Value) -> Result<(), String> {
    expressions(tokenizer).into_iter().try_for_each(|pattern| {
        let refused = |what: String| {
            let shown: String = pattern.chars().take(60).collect();
            format!("its regular expression `{shown}` {what}")
        };
        if pattern.len() > LONGEST {
            let problem = format!("has {} bytes; expected at most {LONGEST}", pattern.len());
            return Err(refused(problem));
        }
        let Ok(tree) = Expr::parse_tree(pattern) else {
            // The library says what is wrong with it.
            return Ok(());
        };
        match repeats(&tree.expr) {
            found if found > MOST_REPEATS => Err(refused(format!(
                "repeats a part of it {found} times or more; expected at most {MOST_REPEATS}"
            ))),
            _ => Ok(()),
        }
    })
}

/// The expressions in the parts of a tokenizer.
fn expressions(tokenizer: &Value) -> Vec<&str> {
    let mut found = vec![];
    for part in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        collect(&tokenizer[part], &mut found);
    }
    found
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(value["pattern"]["Regex"].as_str());
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// The largest number of copies of a part that nested repeats make.
fn repeats(expr: &Expr) -> usize {
    let most = |exprs: &[Expr]| exprs.iter().map(repeats).max().unwrap_or(1);
    match expr {
        Expr::Repeat { child, lo, hi, .. } => {
            let count = if *hi == usize::MAX { *lo } else { *hi };
            count.max(1).saturating_mul(repeats(child))
        }
        Expr::Concat(parts) | Expr::Alt(parts) => most(parts),
        Expr::Group(inner) | Expr::LookAround(inner, _) | Expr::AtomicGroup(inner) => {
            repeats(inner)
        }
        Expr::Conditional {
            condition,
            true_branch,
            false_branch,
        } => [condition, true_branch, false_branch]
            .map(|branch| repeats(branch))
            .into_iter()
            .max()
            .unwrap_or(1),
        _ => 1,
    }
}

/// Searches texts as the tokenizer is about to, with a bound on what that takes.
#[derive(Clone, Default)]
pub(super) struct Watch {
    patterns: Arc<[(String, Regex)]>,
    /// Nanoseconds that were searched, and bytes of text, so far.
    spent: Arc<[AtomicU64; 2]>,
}

impl Watch {
    /// Watches the expressions of these parts that are not [`KNOWN`].
    pub(super) fn of(parts: &[Value]) -> Result<Self, String> {
        let mut found = vec![];
        parts.iter().for_each(|part| collect(part, &mut found));
        found.retain(|pattern| !KNOWN.contains(pattern));
        let patterns = found.into_iter().map(|pattern| {
            let regex = RegexBuilder::new(pattern).backtrack_limit(STEPS).build();
            let regex = regex.map_err(|e| format!("its regular expression `{pattern}`: {e}"))?;
            Ok((pattern.to_string(), regex))
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_, String>>()?,
            spent: Arc::default(),
        })
    }

    /// Whether a text can be searched; the error names the expression.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        if self.patterns.is_empty() {
            return Ok(());
        }
        let [spent, bytes] = &*self.spent;
        let bytes = bytes.fetch_add(text.len() as u64, Ordering::Relaxed) + text.len() as u64;
        let patience = PATIENCE + PATIENCE_A_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
        for (pattern, regex) in self.patterns.iter() {
            let too_much = |what: &str| {
                Err(format!(
                    "the tokenizer's regular expression `{pattern}` {what} on a text of {} bytes; \
                     expected one as those of GPT-2, Llama 3 and Qwen: the tokenizer may be made \
                     to hang",
                    text.len()
                ))
            };
            let mut before = Instant::now();
            for found in regex.find_iter(text) {
                let now = Instant::now();
                let took = u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX);
                before = now;
                let total = spent.fetch_add(took, Ordering::Relaxed) + took;
                if found.is_err() {
                    return too_much("takes too many steps");
                }
                if u128::from(total) > patience.as_nanos() {
                    return too_much("takes too long");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(pattern: &str) -> Value {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        ]})
    }

    /// The engine finds some of these hopeless at once. The others are refused.
    #[test]
    fn searches_without_end_are_refused_soon() {
        let text = "a".repeat(20_000) + "!";
        let mut refused = vec![];
        for pattern in [
            r"(a+)+$(?!b)",
            r"((a+)+)\1$",
            r"(?=(a+)+$)x",
            r"(a|a)*(?=b)",
        ] {
            let started = Instant::now();
            let watch = Watch::of(&[part(pattern)]).unwrap();
            if let Err(error) = watch.check(&text) {
                assert!(error.contains(pattern), "{error}");
                refused.push(pattern);
            }
            assert!(started.elapsed().as_secs() < 60, "{pattern}");
        }
        assert!(refused.len() > 1, "{refused:?}");
    }

    #[test]
    fn honest_expressions_are_taken() {
        let text = "The Heat (1995), isn't it?\n\n  \u{65e5}\u{672c} 12345   ".repeat(2000)
            + &" ".repeat(200_000)
            + "x";
        for pattern in [r"\p{N}{1,3}|\s+(?!\S)|\s+", r"[^\s]+|\s+", r"(?:\r?\n)+"] {
            Watch::of(&[part(pattern)]).unwrap().check(&text).unwrap();
        }
        for pattern in KNOWN {
            assert!(Watch::of(&[part(pattern)]).unwrap().patterns.is_empty());
            assert!(Regex::new(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn expressions_that_fill_memory_are_refused_before_they_are_built() {
        let file = |pattern: &str| json!({ "pre_tokenizer": part(pattern) });
        for pattern in [
            r"(?:(?:a(?=b)){1000}){1000}",
            r"(?:(?:a{99}){99}){99}",
            r"a{20000}",
        ] {
            let error = check(&file(pattern)).unwrap_err();
            assert!(error.contains("repeats"), "{error}");
        }
        let error = check(&file(&"a".repeat(LONGEST + 1))).unwrap_err();
        assert!(error.contains("16385 bytes"), "{error}");
        assert!(check(&file(r"\p{N}{1,3}(a{10}){10}")).is_ok());
        assert!(check(&json!({})).is_ok() && check(&Value::Null).is_ok());
    }
}
