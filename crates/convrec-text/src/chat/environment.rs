//! The engine, with the additions of `transformers` to Jinja.

use chrono::NaiveDate;
use chrono::format::{Item, StrftimeItems};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::json::tojson;
use super::methods::method;
use super::source::prepare;

/// The name of the only template.
pub(super) const NAME: &str = "chat";
/// The largest number of steps of a rendering. Long strings take a step for each byte.
pub(super) const FUEL: u64 = 20_000_000;
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
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
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
    set_date(&mut environment, DATE);
    environment.add_template_owned(NAME, prepare(source))?;
    Ok(environment)
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
