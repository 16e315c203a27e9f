//! The devices to run on. This is the only place of the examples that names backends.

use burn::tensor::Device;
use convrec_cli::device::{Backend, DeviceError};

/// The backends that were compiled in; the first one is the default.
const BACKENDS: &[Backend] = &[
    #[cfg(feature = "flex")]
    Backend {
        name: "flex",
        device: |_| Device::flex(), // the CPU is one device, whatever its number
    },
    #[cfg(feature = "wgpu")]
    Backend {
        name: "wgpu",
        device: |number| match number {
            0 => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
            _ => Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(number)),
        },
    },
    #[cfg(feature = "cuda")]
    Backend {
        name: "cuda",
        device: |number| Device::cuda(number),
    },
];

/// The first of the [`devices`].
///
/// # Errors
/// As there.
pub fn device() -> Result<Device, DeviceError> {
    Ok(devices()?.swap_remove(0))
}

/// The devices that `CONVREC_DEVICE` names: `flex` (the CPU, the default), `wgpu` or `cuda` where
/// they are compiled in, several of a host as in `cuda:0,1,2`.
///
/// # Errors
/// [`DeviceError`] when the name is unknown or its feature is not compiled in.
pub fn devices() -> Result<Vec<Device>, DeviceError> {
    convrec_cli::device::devices(BACKENDS)
}
