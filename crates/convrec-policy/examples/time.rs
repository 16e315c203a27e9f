#![allow(missing_docs)]
use std::time::Instant;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use convrec_policy::*;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let (v, d, l, h, b, tp, tc) = (a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    let dev = Device::flex().autodiff();
    let cfg = ModelConfig::small(v, d, l, h);
    let mut p = Policy::new(&cfg, 1, &dev).unwrap();
    println!("params {}", p.num_params());
    let prompt: Vec<u32> = (0..tp as u32).map(|i| i * 7 % v as u32).collect();
    let comp: Vec<u32> = (0..tc as u32).map(|i| i * 11 % v as u32).collect();
    let mut opt = AdamWConfig::new().init();
    for _ in 0..4 {
        let t = Instant::now();
        let rows: Vec<Sequence> = (0..b).map(|_| Sequence { prompt: &prompt, completion: &comp }).collect();
        let lp = p.log_probs(&rows, 1.0).log_probs.mean().neg();
        let x: f32 = lp.clone().into_scalar();
        let tf = t.elapsed().as_secs_f64();
        let g = GradientsParams::from_grads(lp.backward(), &p);
        let tb = t.elapsed().as_secs_f64();
        p = opt.step(1e-3, p, g);
        let te = t.elapsed().as_secs_f64();
        println!("train {x:.3} tok/s {:.0} fwd {tf:.3} bwd {:.3} opt {:.3}", (b * (tp + tc)) as f64 / te, tb - tf, te - tb);
    }
    let q = p.valid();
    for g in [1, 8] {
        let prompts: Vec<&[u32]> = (0..64 / g).map(|_| &prompt[..]).collect();
        let t = Instant::now();
        let c = q.generate(&prompts, &Generation { sampling: Sampling::default(), group_size: g, max_new_tokens: tc, end_token: u32::MAX, max_rows: 64, seed: 1 });
        let n: usize = c.iter().flatten().map(|c| c.tokens.len()).sum();
        println!("decode G {g}: {:.0} tok/s, per step {:.2} ms", n as f64 / t.elapsed().as_secs_f64(), t.elapsed().as_secs_f64() * 1e3 / tc as f64);
        let rows: Vec<Sequence> = c.iter().flatten().take(8).map(|c| Sequence { prompt: &prompt, completion: &c.tokens }).collect();
        let t = Instant::now();
        let lp: Vec<f32> = q.log_probs(&rows, 1.0).log_probs.into_data().try_into_vec_as::<f32>().unwrap();
        println!("forward only tok/s {:.0}", (8 * (tp + tc)) as f64 / t.elapsed().as_secs_f64());
        let e = c.iter().flatten().take(8).flat_map(|c| &c.log_probs).zip(&lp).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("largest difference {e:.2e}");
    }
}
