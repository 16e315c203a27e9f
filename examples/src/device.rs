//! The device to run on; the only place that names backends.

use burn::tensor::Device;

/// The device that `CONVREC_DEVICE` names: `flex` (the CPU, default), `wgpu` or `cuda`, where compiled in.
///
/// # Errors
/// When the name is unknown or its feature is not compiled in.
pub fn device() -> Result<Device, String> {
    let name = std::env::var("CONVREC_DEVICE").unwrap_or_else(|_| "flex".into());
    match name.as_str() {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        _ => Err(format!(
            "CONVREC_DEVICE={name}: expected flex, wgpu or cuda; all but flex must be compiled in, as by \
             `cargo run -p convrec-examples --features cuda ...`"
        )),
    }
}
