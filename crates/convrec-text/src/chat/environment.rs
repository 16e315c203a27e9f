//! The engine, with the additions of `transformers` to Jinja.

use chrono::NaiveDate;
use chrono::format::{Item, StrftimeItems};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::json::tojson;
use super::methods::method;
use super::operators::{BOUNDED, PERCENT, bounded, remainder, rewrite};
use super::source::prepare;

/// The name of the only template.
pub(super) const NAME: &str = "chat";
/// The largest number of steps of a rendering. They also pay for what it writes and keeps,
/// [`BYTES_A_STEP`](super::methods::BYTES_A_STEP) bytes each: 256 MiB at most.
pub(super) const FUEL: u64 = 4 << 20;
/// The largest depth of recursive macros and loops, about.
const RECURSION: usize = 200;
/// The date of prompts where none is set. Templates of Llama 3 fall back on it as well.
pub(super) const DATE: NaiveDate = match NaiveDate::from_ymd_opt(2024, 7, 26) {
    Some(date) => date,
    None => NaiveDate::MIN,
};

/// The message that a template raised by `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax.clone());
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    // In Python's engine texts and mappings also have a length and indices.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Map | ValueKind::Seq | ValueKind::String
        )
    });
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            let error = Error::new(ErrorKind::InvalidOperation, message.clone());
            Err(error.with_source(Raised(message)))
        },
    );
    environment.add_function(BOUNDED, bounded);
    environment.add_function(PERCENT, remainder);
    // They add up lists without a bound, and `jinja2` has none of them.
    environment.remove_filter("chain");
    environment.remove_filter("zip");
    environment.add_filter("sum", sum);
    set_date(&mut environment, DATE);
    let source = rewrite(&prepare(source), &syntax);
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

/// `values | sum(attribute, start)` of numbers. Lists are not added up.
fn sum(
    state: &State,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let start = match start {
        Some(start) => start,
        None => options
            .get::<Option<Value>>("start")?
            .unwrap_or_else(|| 0.into()),
    };
    if !start.is_number() {
        let problem = "sum: expected a number as `start`";
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    minijinja::filters::sum(state, values, attribute, Some(start), options)
}

/// Fixes what `strftime_now` formats: this day at midnight.
pub(super) fn set_date(environment: &mut Environment<'_>, date: NaiveDate) {
    let time = date.and_time(chrono::NaiveTime::MIN);
    environment.add_function("strftime_now", move |format: String| {
        let items: Vec<Item<'_>> = StrftimeItems::new(&format).collect();
        if items.contains(&Item::Error) {
            let problem = format!("strftime_now: unknown date format {format:?}");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        let mut text = String::new();
        let shown = std::fmt::write(
            &mut text,
            format_args!("{}", time.format_with_items(items.iter())),
        );
        // The format may ask for a time zone, for instance.
        let failed = |_| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now: a date has no {format:?}"),
            )
        };
        shown.map(|()| text).map_err(failed)
    });
}
