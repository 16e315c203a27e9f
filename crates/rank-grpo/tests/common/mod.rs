//! Helpers of the tests: the device, golden cases as inputs, and two independent ways to compute a
//! loss.

#![allow(dead_code, reason = "each test uses a part")]

#[cfg(feature = "burn")]
pub mod composed;
pub mod dual;
pub mod oracle;

#[cfg(feature = "burn")]
use burn::tensor::{DType, Device, Tensor, TensorData};
use rank_grpo::{Loss, LossConfig, LossInputs};

#[cfg(feature = "burn")]
/// `CONVREC_DEVICE`: flex (the default), or wgpu or cuda where this crate's feature of that name is
/// on.
pub fn device() -> Device {
    match std::env::var("CONVREC_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::Cpu),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Device::cuda(0),
        Ok(other) => {
            panic!("CONVREC_DEVICE={other}: not one of flex, wgpu, cuda, or its feature is off")
        }
    }
}

/// A case: log-probabilities, inputs and configuration.
#[derive(Clone, Debug)]
pub struct Case {
    pub id: String,
    pub config: LossConfig,
    pub log_probs: Vec<f64>,
    pub inputs: LossInputs,
}

impl Case {
    pub fn loss(&self) -> Loss {
        self.config
            .clone()
            .check()
            .unwrap_or_else(|e| panic!("{}: {e}", self.id))
    }
}

#[cfg(feature = "burn")]
pub fn tensor(values: &[f64], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), shape),
        (device, DType::F32),
    )
}

#[cfg(feature = "burn")]
/// The type in which the device computes [`composed`], f64 where there is one, with its tolerance.
pub fn oracle_precision() -> (DType, f64) {
    match std::env::var("CONVREC_DEVICE").as_deref() {
        Err(_) | Ok("flex") => (DType::F64, 1e-10),
        Ok(_) => (DType::F32, 1e-4),
    }
}

#[cfg(feature = "burn")]
/// Loss and gradient of a tensor function, by burn's autodiff.
pub fn differentiate(at: Tensor<2>, f: impl Fn(Tensor<2>) -> Tensor<1>) -> (f64, Vec<f64>) {
    let leaf = at.require_grad();
    let loss = f(leaf.clone());
    let value = loss.clone().try_into_vec_as::<f64>().unwrap()[0];
    let gradient = leaf
        .grad(&loss.backward())
        .expect("the leaf is on the tape");
    (value, gradient.try_into_vec_as::<f64>().unwrap())
}

#[cfg(feature = "burn")]
/// Loss and gradient by the crate's tensor function.
pub fn forward(case: &Case) -> (f64, Vec<f64>) {
    let loss = case.loss();
    let at = tensor(&case.log_probs, case.inputs.shape, &device().autodiff());
    let entropies = case.inputs.entropies.as_ref();
    let entropies = entropies.map(|h| tensor(h, case.inputs.shape, &device().autodiff()));
    differentiate(at, |log_probs| {
        let entropies = entropies.clone();
        let output = rank_grpo::PolicyOutput {
            log_probs,
            entropies,
        };
        loss.forward(output, &case.inputs).unwrap().loss
    })
}

#[cfg(feature = "burn")]
/// Loss and gradient by [`composed`].
pub fn autodiff(case: &Case) -> (f64, Vec<f64>) {
    let at = TensorData::new(case.log_probs.clone(), case.inputs.shape);
    let at = Tensor::from_data(at, (&device().autodiff(), oracle_precision().0));
    differentiate(at, |x| composed::loss(&case.config, &case.inputs, x))
}

/// Loss and gradient without burn, by the crate's host function, in the element type of a tensor.
#[cfg(not(feature = "burn"))]
pub fn forward(case: &Case) -> (f64, Vec<f64>) {
    let narrow = |x: f64| f64::from(x as f32);
    let found = case.loss().evaluate(&case.log_probs, &case.inputs).unwrap();
    (
        narrow(found.loss),
        found.gradient.into_iter().map(narrow).collect(),
    )
}

/// Loss and gradient without burn, by [`oracle`].
#[cfg(not(feature = "burn"))]
pub fn autodiff(case: &Case) -> (f64, Vec<f64>) {
    oracle::gradient(case)
}

#[cfg(not(feature = "burn"))]
pub fn oracle_precision() -> ((), f64) {
    ((), 1e-10)
}

pub fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// Asserts that every entry is within `tolerance`, absolute.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        // The comparison is not `>`, as NaN must fail.
        assert!(
            (a - b).abs() <= tolerance,
            "{what}, entry {i}: {a} is not {b} (tolerance {tolerance:e})"
        );
    }
}
