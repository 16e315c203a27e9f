use serde_json::{Map, Value};

/// One line of the log: names to numbers and lists of numbers, in TRL's names where TRL has one.
/// Nothing in it depends on the time or the machine, so that the logs of equal runs are equal.
pub type Record = Map<String, Value>;

/// The number of that name, where there is one and it is finite. JSON has no other numbers; they
/// are `null` in a record.
pub fn number(record: &Record, name: &str) -> Option<f64> {
    record.get(name)?.as_f64()
}

/// The step after which the record was made, from 1.
pub fn step(record: &Record) -> Option<usize> {
    let step = record.get("step")?;
    // Other programs write whole numbers as `100.0`.
    step.as_u64()
        .or_else(|| step.as_f64().map(|step| step as u64))
        .map(|step| step as usize)
}
