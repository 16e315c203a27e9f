#![allow(missing_docs)]
use burn::tensor::{Device, Distribution, Int, Tensor};
use convrec_kernels as k;
use std::time::Instant;
#[cfg(feature = "mi")]
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let v: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (v[11].parse::<f64>().unwrap() + v[12].parse::<f64>().unwrap()) / 100.0
}
fn time<T>(name: &str, mut f: impl FnMut() -> T) -> f64 {
    f();
    let (t, c) = (Instant::now(), cpu());
    let mut n = 0;
    let mut best = f64::MAX;
    while t.elapsed().as_secs_f64() < 1.0 {
        let t1 = Instant::now();
        std::hint::black_box(f());
        best = best.min(t1.elapsed().as_secs_f64());
        n += 1;
    }
    let (w, c) = (t.elapsed().as_secs_f64() / n as f64, (cpu() - c) / n as f64);
    println!("{name:44} mean {:9.3} ms best {:9.3} ms cpu {:9.3} ms", w * 1e3, best * 1e3, c * 1e3);
    best
}
fn r<const N: usize>(s: [usize; N], d: &Device) -> Tensor<N> {
    Tensor::random(s, Distribution::Normal(0.0, 1.0), d)
}
fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let p = Device::flex();
    let a = Device::flex().autodiff();
    for (d, h, v, b, t) in [(256usize, 4usize, 8192usize, 16usize, 200usize), (128, 2, 2000, 32, 100)] {
        let m = b * t;
        let f = (d * 8 / 3usize).next_multiple_of(16);
        macro_rules! go {
            ($name:expr, $fused:expr, $comp:expr) => {
                if filter.split(',').any(|f| $name.contains(f)) {
                    let x = time(&format!("{} d{d} fused", $name), || $fused);
                    let y = time(&format!("{} d{d} composed", $name), || $comp);
                    println!("   ratio {:.2}", y / x);
                }
            };
        }
        for (n, kk) in [(d, d), (f, d), (d, f)] {
            let (x, w) = (r([m, kk], &p), r([n, kk], &p));
            go!(
                format!("linear forward {m}x{n}x{kk}"),
                k::linear(x.clone(), w.clone()),
                k::composed::linear(x.clone(), w.clone())
            );
            let (xa, wa) =
                (Tensor::<2>::from_inner(x.clone()).require_grad(), Tensor::<2>::from_inner(w.clone()).require_grad());
            let g = Tensor::<2>::from_inner(r([m, n], &p));
            go!(
                format!("linear train {m}x{n}x{kk}"),
                (k::linear(xa.clone(), wa.clone()) * g.clone()).sum().backward(),
                (k::composed::linear(xa.clone(), wa.clone()) * g.clone()).sum().backward()
            );
            for rows in [1usize, 4, 8, 16, 32, 64] {
                let x = r([rows, kk], &p);
                go!(
                    format!("linear decode {rows}x{n}x{kk}"),
                    k::linear(x.clone(), w.clone()),
                    k::composed::linear(x.clone(), w.clone())
                );
            }
        }
        let (x, w) = (r([m, d], &p), r([d], &p));
        go!(
            "rms_norm forward",
            k::rms_norm(x.clone(), w.clone(), 1e-6),
            k::composed::rms_norm(x.clone(), w.clone(), 1e-6)
        );
        let (x1, w1) = (r([64, 1, d], &p), r([d], &p));
        go!(
            "rms_norm decode 64",
            k::rms_norm(x1.clone(), w1.clone(), 1e-6),
            k::composed::rms_norm(x1.clone(), w1.clone(), 1e-6)
        );
        let (xa, wa) = (Tensor::<2>::from_inner(x).require_grad(), Tensor::<1>::from_inner(w).require_grad());
        let g = Tensor::<2>::from_inner(r([m, d], &p));
        go!(
            "rms_norm train",
            (k::rms_norm(xa.clone(), wa.clone(), 1e-6) * g.clone()).sum().backward(),
            (k::composed::rms_norm(xa.clone(), wa.clone(), 1e-6) * g.clone()).sum().backward()
        );
        let (x, u) = (r([m, f], &p), r([m, f], &p));
        go!("swiglu forward", k::swiglu(x.clone(), u.clone()), k::composed::swiglu(x.clone(), u.clone()));
        let (x1, u1) = (r([64, f], &p), r([64, f], &p));
        go!("swiglu decode 64", k::swiglu(x1.clone(), u1.clone()), k::composed::swiglu(x1.clone(), u1.clone()));
        let (xa, wa) = (Tensor::<2>::from_inner(x).require_grad(), Tensor::<2>::from_inner(u).require_grad());
        let g = Tensor::<2>::from_inner(r([m, f], &p));
        go!(
            "swiglu train",
            (k::swiglu(xa.clone(), wa.clone()) * g.clone()).sum().backward(),
            (k::composed::swiglu(xa.clone(), wa.clone()) * g.clone()).sum().backward()
        );
        let leaf = r([b, t, h, d / h], &a).require_grad();
        let q = leaf.clone().swap_dims(1, 2);
        go!(
            "attention train",
            {
                let q = leaf.clone().swap_dims(1, 2);
                (k::causal_attention(q.clone(), q.clone(), q.clone()) * q.clone()).sum().backward()
            },
            {
                let q = leaf.clone().swap_dims(1, 2);
                (k::composed::causal_attention(q.clone(), q.clone(), q.clone()) * q.clone()).sum().backward()
            }
        );
        let qp = q.clone().inner();
        go!(
            "attention forward",
            k::causal_attention(qp.clone(), qp.clone(), qp.clone()),
            k::composed::causal_attention(qp.clone(), qp.clone(), qp.clone())
        );
        let (hid, w) =
            (Tensor::<2>::from_inner(r([m, d], &p).mul_scalar(0.05)).require_grad(), r([v, d], &a).require_grad());
        let t1 = Tensor::<1, Int>::from_data((0..m).map(|n| (n * 37 % v) as i64).collect::<Vec<_>>().as_slice(), &a);
        go!(
            "head train",
            k::token_log_probs(hid.clone(), w.clone(), t1.clone(), 1.0).0.sum().backward(),
            k::composed::token_log_probs(hid.clone(), w.clone(), t1.clone(), 1.0).0.sum().backward()
        );
        let (hp, wp, tp) = (hid.clone().inner(), w.clone().inner(), t1.clone().inner());
        go!(
            "head forward",
            k::token_log_probs(hp.clone(), wp.clone(), tp.clone(), 1.0).0,
            k::composed::token_log_probs(hp.clone(), wp.clone(), tp.clone(), 1.0).0
        );
        let ids = t1.clone().reshape([b, t]);
        go!("embedding train", burn::tensor::module::embedding(w.clone(), ids.clone()).sum().backward(), 0);
        for (pr, g) in [(8usize, 8usize), (1, 8), (1, 1)] {
            let rows = pr * g;
            let lengths = vec![t; pr];
            let (pk, pv) = (r([pr, t, h, d / h], &p).swap_dims(1, 2), r([pr, t, h, d / h], &p).swap_dims(1, 2));
            let (ok, ov) = (r([rows, h, 100, d / h], &p), r([rows, h, 100, d / h], &p));
            let q = r([rows, h, 1, d / h], &p);
            let c = k::DecodeCache {
                prompt_k: pk,
                prompt_v: pv,
                prompt_lengths: &lengths,
                own_k: ok,
                own_v: ov,
                filled: 50,
            };
            go!(
                format!("decode attention {rows} rows"),
                k::decode_attention(q.clone(), c.clone()),
                k::composed::decode_attention(q.clone(), c.clone())
            );
        }
    }
}
