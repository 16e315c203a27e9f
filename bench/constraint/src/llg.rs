//! llguidance, with a grammar of the catalog.

use std::error::Error;
use std::sync::Arc;

use clap::ValueEnum;
use convrec_text::TextTokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::json;

use crate::measure::{Refuses, Times, built};
use crate::walks::{N, Paths, Walk, Walks};

/// What a catalog is written as.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One regular expression of the whole list.
    Regex,
    /// A Lark grammar with a terminal for a line.
    Lark,
    /// A JSON schema: an array of an enumeration.
    Json,
}

impl Form {
    fn grammar(self, names: &[String]) -> TopLevelGrammar {
        match self {
            Self::Regex => {
                let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
                TopLevelGrammar::from_regex(&format!("((?:{})\\n){{{N}}}", names.join("|")))
            }
            Self::Lark => {
                let names: Vec<String> = names.iter().map(|name| json!(name).to_string()).collect();
                let names = names.join("\n  | ");
                TopLevelGrammar::from_lark(format!(
                    "start: LINE{{{N}}}\nLINE: NAME \"\\n\"\nNAME: {names}\n"
                ))
            }
            Self::Json => TopLevelGrammar::from_json_schema(json!({
                "type": "array", "items": {"enum": names}, "minItems": N, "maxItems": N,
            })),
        }
    }

    fn tokens(self, walk: &Walk) -> &[u32] {
        match self {
            Self::Json => &walk.json_tokens,
            _ => &walk.tokens,
        }
    }

    fn text(self, walk: &Walk) -> &str {
        match self {
            Self::Json => &walk.json,
            _ => &walk.text,
        }
    }
}

pub fn run(paths: &Paths, form: Form) -> Result<(), Box<dyn Error>> {
    let (names, walks, tokenizer) = (paths.names()?, paths.walks()?, paths.tokenizer()?);
    let env: TokEnv = Arc::new(Tokens::new(tokenizer.clone(), &walks));
    let slices = match form {
        Form::Json => SlicedBiasComputer::json_slices(),
        _ => vec![],
    };
    let capabilities = InferenceCapabilities {
        ff_tokens: true,
        ..InferenceCapabilities::default()
    };
    let mut factory = ParserFactory::new(&env, capabilities, &slices)?;
    // The defaults guard a server against grammars of strangers; this one is large by design.
    let limits = factory.limits_mut();
    limits.max_items_in_row = 1 << 24;
    (limits.initial_lexer_fuel, limits.step_lexer_fuel) = (1 << 40, 1 << 40);
    (limits.step_max_items, limits.max_lexer_states) = (1 << 30, 1 << 30);
    limits.max_grammar_size = 1 << 30;
    limits.verbose_errors = false;
    factory.quiet();

    let (begun, before) = built(|| {
        let matcher = Matcher::new(factory.create_parser(form.grammar(&names)));
        match matcher.get_error() {
            Some(problem) => Err(problem.chars().take(300).collect::<String>().into()),
            None => Ok(matcher),
        }
    })?;

    let (mut times, mut passes) = (Times::default(), 0);
    for walk in &walks.walks {
        let tokens = form.tokens(walk);
        // What the lexer found out stays for the next list.
        let mut matcher = times.begin(|| -> Result<_, Box<dyn Error>> {
            let mut matcher = begun.clone();
            matcher.compute_mask_or_eos()?;
            Ok(matcher)
        })?;
        for (place, token) in tokens[..tokens.len() - 1].iter().enumerate() {
            let mask = times.step(|| {
                matcher.consume_token(*token)?;
                matcher.compute_mask_or_eos()
            })?;
            let next = tokens[place + 1];
            assert!(mask.is_allowed(next), "{} {place}", walk.text);
        }
        passes += forward_passes(begun.clone(), form.text(walk), &tokenizer)?;
    }
    let refuses = refuses(&begun, form, &walks, &tokenizer)?;
    times.print(walks.walks.len(), passes, before, &refuses);
    Ok(())
}

/// The tokens of a list that a model has to be asked for, when forced ones are not.
fn forward_passes(
    mut matcher: Matcher,
    text: &str,
    tokenizer: &TextTokenizer,
) -> Result<usize, Box<dyn Error>> {
    let (mut place, mut passes) = (0, 0);
    while place < text.len() {
        let forced = matcher.consume_ff_tokens();
        place += forced
            .iter()
            .map(|token| tokenizer.token_bytes(*token).len())
            .sum::<usize>();
        if place < text.len() {
            let token = tokenizer.encode(&text[place..])?[0];
            matcher.consume_token(token)?;
            place += tokenizer.token_bytes(token).len();
            passes += 1;
        }
    }
    // The end is forced.
    Ok(passes)
}

fn refuses(
    begun: &Matcher,
    form: Form,
    walks: &Walks,
    tokenizer: &TextTokenizer,
) -> Result<Refuses, Box<dyn Error>> {
    let text = form.text(&walks.walks[0]);
    // The first item twice: its line, or its string and a comma.
    let first = match form {
        Form::Json => &text[..text.find("\", ").ok_or("one item")? + 3],
        _ => &text[..=text.find('\n').ok_or("no line")?],
    };
    let mut matcher = begun.clone();
    let accepts = |matcher: &mut Matcher, text: &str| -> Result<bool, Box<dyn Error>> {
        let tokens = tokenizer.encode(text)?;
        Ok(matcher.try_consume_tokens(&tokens)? == tokens.len())
    };
    let seen = !accepts(&mut matcher, first)?;
    let short = !matcher.compute_mask_or_eos()?.is_allowed(walks.end);
    Ok(Refuses {
        seen,
        short,
        repeats: !accepts(&mut matcher, first.trim_start_matches('['))?,
    })
}

/// Escapes what has a meaning in regular expressions.
fn escaped(name: &str) -> String {
    let escape = |c: char| match c.is_ascii_punctuation() {
        true => format!("\\{c}"),
        false => c.to_string(),
    };
    name.chars().map(escape).collect()
}

/// Our tokenizer as llguidance wants one.
struct Tokens {
    trie: TokTrie,
    tokenizer: TextTokenizer,
}

impl Tokens {
    fn new(tokenizer: TextTokenizer, walks: &Walks) -> Self {
        // 0xff marks special tokens.
        let bytes = |id: usize| match tokenizer.token_bytes(id as u32) {
            [] => [&[0xff], format!("<{id}>").as_bytes()].concat(),
            bytes => bytes.to_vec(),
        };
        let words: Vec<Vec<u8>> = (0..walks.vocabulary).map(bytes).collect();
        let info = TokRxInfo::new(walks.vocabulary as u32, walks.end);
        Self {
            trie: TokTrie::from(&info, &words),
            tokenizer,
        }
    }
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let encode = |text: &str| self.tokenizer.encode(text).unwrap_or_default();
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }
}
