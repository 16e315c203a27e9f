//! A safetensors file, taken apart and put together again.

#![allow(dead_code, reason = "each test uses a part")]

use convrec_policy::Policy;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

pub struct File(pub Vec<Tensor>);

impl File {
    pub fn of(policy: &Policy) -> Self {
        Self::read(&policy.to_safetensors().unwrap())
    }

    pub fn read(bytes: &[u8]) -> Self {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let tensor = |(name, view): (String, TensorView<'_>)| Tensor {
            name,
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        };
        Self(file.tensors().into_iter().map(tensor).collect())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let views = self.0.iter().map(|tensor| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data);
            (&tensor.name, view.unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    pub fn get(&mut self, name: &str) -> &mut Tensor {
        self.0
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .unwrap()
    }

    pub fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize], data: Vec<u8>) {
        self.0.push(Tensor {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            data,
        });
    }

    pub fn rename(mut self, to: impl Fn(&str) -> String) -> Self {
        for tensor in &mut self.0 {
            tensor.name = to(&tensor.name);
        }
        self
    }

    pub fn widened(mut self) -> Self {
        for tensor in &mut self.0 {
            tensor.dtype = Dtype::F64;
            let numbers = tensor.data.chunks_exact(4);
            let wide = numbers.map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())));
            tensor.data = wide.flat_map(f64::to_le_bytes).collect();
        }
        self
    }
}
