//! The devices that a program runs on. This crate names no backend: the program does.

use burn::tensor::Device;

/// The environment variable that names the devices.
pub const VARIABLE: &str = "CONVREC_DEVICE";

/// A backend that a program was built with.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// Its name in `CONVREC_DEVICE`.
    pub name: &'static str,
    /// Its device of this number.
    pub device: fn(usize) -> Device,
}

/// `CONVREC_DEVICE` names no devices of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CONVREC_DEVICE={found}: expected {expected}")]
pub struct DeviceError {
    /// The value of the variable.
    pub found: String,
    /// What is expected.
    pub expected: String,
}

/// The devices that `CONVREC_DEVICE` names, as in `cuda` or `cuda:0,1,2`. Where it is not set, it is
/// the first device of the first backend.
///
/// # Errors
/// [`DeviceError`] when the backend is none of `backends`, or a number is no number.
pub fn devices(backends: &[Backend]) -> Result<Vec<Device>, DeviceError> {
    match std::env::var(VARIABLE) {
        Ok(named) => named_devices(&named, backends),
        Err(_) => named_devices(
            backends.first().map_or("", |backend| backend.name),
            backends,
        ),
    }
}

fn named_devices(named: &str, backends: &[Backend]) -> Result<Vec<Device>, DeviceError> {
    let wrong = |expected: String| DeviceError {
        found: named.into(),
        expected,
    };
    let (name, numbers) = named.split_once(':').unwrap_or((named, "0"));
    let backend = backends
        .iter()
        .find(|backend| backend.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = backends.iter().map(|backend| backend.name).collect();
            let others = "others are compiled in by a feature of their name, as `--features cuda`";
            wrong(format!("one of {}; {others}", known.join(", ")))
        })?;
    let number = |text: &str| {
        let number = text.trim().parse().ok();
        number.ok_or_else(|| wrong("numbers after the colon, as in `cuda:0,1`".into()))
    };
    numbers
        .split(',')
        .map(|text| Ok((backend.device)(number(text)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_numbers_are_refused() {
        let backends = [Backend {
            name: "cpu",
            device: |_| Device::default(),
        }];
        let error = |named: &str| named_devices(named, &backends).unwrap_err().to_string();
        assert!(error("tpu").contains("CONVREC_DEVICE=tpu: expected one of cpu"));
        assert!(error("cpu:x").contains("expected numbers after the colon"));
    }
}
