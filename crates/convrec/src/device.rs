//! The devices that a program runs on. No other library names a backend.

use burn::tensor::Device;

/// The environment variable that names the devices.
pub const VARIABLE: &str = "CONVREC_DEVICE";

/// A backend that is compiled in, and its device of a number.
type Backend = (&'static str, fn(usize) -> Device);

/// The backends that are compiled in. The first one is the default.
const BACKENDS: &[Backend] = &[
    // The CPU is one device, whatever its number.
    #[cfg(feature = "cpu")]
    ("flex", |_| Device::flex()),
    #[cfg(feature = "wgpu")]
    ("wgpu", |number| match number {
        0 => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        _ => Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(number)),
    }),
    #[cfg(feature = "cuda")]
    ("cuda", |number| Device::cuda(number)),
];

/// `CONVREC_DEVICE` names no devices of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CONVREC_DEVICE={found}: expected {expected}")]
pub struct DeviceError {
    /// The value of the variable.
    pub found: String,
    /// What is expected.
    pub expected: String,
}

/// The first of the [`devices`].
///
/// # Errors
/// As [`devices`].
pub fn device() -> Result<Device, DeviceError> {
    Ok(devices()?.swap_remove(0))
}

/// The devices that `CONVREC_DEVICE` names: `flex` (the CPU), `wgpu` or `cuda`, or several of a
/// host as in `cuda:0,1,2`. Where it is not set, it is the first backend that is compiled in.
///
/// # Errors
/// [`DeviceError`] when a backend is unknown or not compiled in, or a number is no number.
pub fn devices() -> Result<Vec<Device>, DeviceError> {
    let default = BACKENDS.first().map_or("", |(name, _)| name);
    let named = std::env::var(VARIABLE).unwrap_or_else(|_| default.into());
    named_devices(&named)
}

fn named_devices(named: &str) -> Result<Vec<Device>, DeviceError> {
    let wrong = |expected: String| DeviceError {
        found: named.into(),
        expected,
    };
    let (name, numbers) = named.split_once(':').unwrap_or((named, "0"));
    let (_, device) = BACKENDS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| {
            let known: Vec<&str> = BACKENDS.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            wrong(format!(
                "one of: {known}; others need a feature, as in `--features cuda`"
            ))
        })?;
    let number = |text: &str| {
        let number = text.trim().parse().ok();
        number.ok_or_else(|| wrong("numbers after the colon, as in `cuda:0,1`".into()))
    };
    numbers
        .split(',')
        .map(|text| Ok(device(number(text)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_numbers_are_refused() {
        let error = |named: &str| named_devices(named).unwrap_err().to_string();
        assert!(error("tpu").starts_with("CONVREC_DEVICE=tpu: expected one of: flex"));
        assert!(error("flex:x").contains("expected numbers after the colon"));
        assert_eq!(named_devices("flex:0,1").unwrap().len(), 2);
    }
}
