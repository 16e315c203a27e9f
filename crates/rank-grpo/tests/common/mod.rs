//! What the tests share: the device, golden cases as inputs, and two independent ways to compute a loss.

#![allow(dead_code, reason = "each test uses a part")]

pub mod composed;
pub mod dual;
pub mod oracle;

use burn::tensor::{Device, Tensor, TensorData};
use rank_grpo::{Loss, LossConfig, LossInputs};

/// `CONVREC_DEVICE`: flex (the default), or wgpu or cuda where this crate's feature of that name is on.
pub fn device() -> Device {
    match std::env::var("CONVREC_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::Cpu),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Device::cuda(0),
        Ok(other) => panic!("CONVREC_DEVICE={other}: not one of flex, wgpu, cuda, or its feature is off"),
    }
}

#[derive(Clone, Debug)]
/// A case's log-probabilities and everything else.
pub struct Case {
    pub id: String,
    pub config: LossConfig,
    pub log_probs: Vec<f64>,
    pub inputs: LossInputs,
}

impl Case {
    pub fn loss(&self) -> Loss {
        self.config.clone().check().unwrap_or_else(|e| panic!("{}: {e}", self.id))
    }
}

pub fn tensor(values: &[f64], shape: [usize; 2], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Loss and gradient of a tensor function of the log-probabilities, by burn's autodiff in f32.
pub fn differentiate(log_probs: &[f64], shape: [usize; 2], f: impl Fn(Tensor<2>) -> Tensor<1>) -> (f64, Vec<f64>) {
    let leaf = tensor(log_probs, shape, &device().autodiff()).require_grad();
    let loss = f(leaf.clone());
    let value = loss.clone().into_scalar::<f32>() as f64;
    let gradient = leaf.grad(&loss.backward()).expect("the leaf is on the tape");
    (value, gradient.try_into_vec_as::<f64>().unwrap())
}

/// By the crate's tensor function.
pub fn forward(case: &Case) -> (f64, Vec<f64>) {
    let loss = case.loss();
    differentiate(&case.log_probs, case.inputs.shape, |x| loss.forward(x, &case.inputs).unwrap().loss)
}

pub fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// Every entry within `tolerance`, absolute.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        // Not `>`: NaN must fail.
        assert!((a - b).abs() <= tolerance, "{what}, entry {i}: {a} is not {b} (tolerance {tolerance:e})");
    }
}
