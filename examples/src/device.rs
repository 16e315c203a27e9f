//! The device to run on; the only place that names backends.

use burn::tensor::Device;

/// The first of the [`devices`].
///
/// # Errors
/// As there.
pub fn device() -> Result<Device, String> {
    Ok(devices()?.swap_remove(0))
}

/// The devices that `CONVREC_DEVICE` names: `flex` (the CPU, default), `wgpu` or `cuda`, where
/// compiled in; several of a host as in `cuda:0,1,2`.
///
/// # Errors
/// When the name is unknown or its feature is not compiled in, or a number is none.
pub fn devices() -> Result<Vec<Device>, String> {
    let named = std::env::var("CONVREC_DEVICE").unwrap_or_else(|_| "flex".into());
    let (name, numbers) = named.split_once(':').unwrap_or((&named, "0"));
    let number = |text: &str| {
        text.trim()
            .parse()
            .map_err(|_| format!("CONVREC_DEVICE={named}: expected numbers, as in `cuda:0,1`"))
    };
    numbers
        .split(',')
        .map(|text| of_kind(name, number(text)?))
        .collect()
}

#[allow(
    unused_variables,
    reason = "the CPU is one device, whatever its number"
)]
fn of_kind(name: &str, number: usize) -> Result<Device, String> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" if number == 0 => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(number))),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(number)),
        _ => Err(format!(
            "CONVREC_DEVICE={name}: expected flex, wgpu or cuda; all but flex must be compiled in, as by \
             `cargo run -p convrec-examples --features cuda ...`"
        )),
    }
}
