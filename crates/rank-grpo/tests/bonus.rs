//! The entropy bonus as a tensor, with the gradients of both outputs of the policy.

use burn::tensor::{Device, Tensor};
use rank_grpo::{InputError, LossConfig, LossInputs, LossOutput, PolicyOutput, Segments, to_host};

fn inputs() -> LossInputs {
    let segments = Segments::ranks(&[0, 1, 1, 0, 1, -1], 2);
    let mask = vec![true, true, true, true, true, false];
    LossInputs::new([2, 3], mask, segments, vec![0.5, -1.0, -1.0, 1.0, 0.0, 0.0])
}

fn config(entropy_coef: f64) -> LossConfig {
    LossConfig {
        kl: None,
        entropy_coef,
        ..LossConfig::paper()
    }
}

#[test]
fn it_is_the_mean_entropy_with_its_gradient() {
    let device = Device::flex().autodiff();
    let tensor = |values| Tensor::<2>::from_floats(values, &device).require_grad();
    let log_probs = tensor([[-1.0, -0.5, -0.3], [-0.2, -0.9, 0.0]]);
    let entropies = tensor([[1.0, 0.6, 0.2], [0.4, 2.0, 9.0]]);
    let plain = config(0.0).check().unwrap();
    let plain = plain.forward(log_probs.clone(), &inputs()).unwrap();
    let output = PolicyOutput {
        log_probs: log_probs.clone(),
        entropies: Some(entropies.clone()),
    };
    let loss = config(0.1).check().unwrap();
    let with = loss.forward(output, &inputs()).unwrap();
    // Five tokens count, with or without a rank.
    let bonus = 0.1 * (1.0 + 0.6 + 0.2 + 0.4 + 2.0) / 5.0;
    let value = |output: &LossOutput| f64::from(output.loss.clone().into_scalar::<f32>());
    assert!((value(&plain) - value(&with) - bonus).abs() < 1e-6);
    assert!((with.metrics.entropy.unwrap() - 0.84).abs() < 1e-6);
    let gradients = with.loss.backward();
    let of_entropies = to_host(&entropies.grad(&gradients).unwrap()).unwrap();
    for (found, counts) in of_entropies.iter().zip([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]) {
        assert!((found + 0.02 * counts).abs() < 1e-7, "{of_entropies:?}");
    }
    let of_log_probs = |gradients| to_host(&log_probs.grad(&gradients).unwrap()).unwrap();
    assert_eq!(of_log_probs(gradients), of_log_probs(plain.loss.backward()));
}

#[test]
fn the_tokens_above_the_quantile_alone_have_it() {
    let with = LossConfig {
        top_entropy_quantile: 0.5,
        ..config(0.1)
    };
    let entropies = vec![1.0, 0.6, 0.2, 0.4, 2.0, 9.0]; // the threshold is the median, 0.6
    let inputs = LossInputs {
        entropies: Some(entropies),
        ..inputs()
    };
    let found = with.check().unwrap().evaluate(&[-1.0; 6], &inputs).unwrap();
    let share = -0.1 / 3.0;
    let expected = [share, share, 0.0, 0.0, share, 0.0];
    let gradient = found.entropy_gradient.unwrap();
    for (found, expected) in gradient.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{gradient:?}");
    }
}

/// Missing entropies are an error, as the loss would otherwise train without the bonus.
#[test]
fn a_bonus_without_entropies_is_refused() {
    let loss = config(0.1).check().unwrap();
    let missing = |error| {
        matches!(
            error,
            InputError::Missing {
                needed_by: "entropy_coef",
                ..
            }
        )
    };
    assert!(missing(loss.evaluate(&[-1.0; 6], &inputs()).unwrap_err()));
    let log_probs = Tensor::<2>::full([2, 3], -1.0, &Device::flex());
    assert!(missing(
        loss.forward(log_probs.clone(), &inputs()).unwrap_err()
    ));
    // Entropies of the rollout are constants and have no gradient.
    let inputs = LossInputs {
        entropies: Some(vec![1.0; 6]),
        ..inputs()
    };
    assert!(missing(
        loss.forward(log_probs.clone(), &inputs).unwrap_err()
    ));
    let output = PolicyOutput {
        log_probs: log_probs.clone(),
        entropies: Some(Tensor::full([3, 2], 1.0, &Device::flex())),
    };
    let error = loss.forward(output, &inputs).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`entropies` has the shape [3, 2]"),
        "{error}"
    );
    assert!(config(-0.1).check().is_err());
    assert!(loss.evaluate(&[-1.0; 6], &inputs).is_ok());
}
