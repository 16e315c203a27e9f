use super::*;

/// The gradient that candle carries back to the logits is that of the loss, by differences.
#[test]
fn gradients_reach_the_logits() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let config = LossConfig {
        kl: None,
        ..LossConfig::paper()
    }
    .check()?;
    let lists = [[0, 5, 2], [1, 1, 7]];
    let segments = Segments::ranks(&[0, 1, 2, 0, 1, 2], RANKS);
    let advantages = [1.0, -0.5, 2.0, -1.0, 0.5, 0.25];
    let inputs = LossSlices {
        old_log_probs: Some(&[-2.0, -2.1, -2.2, -1.9, -2.0, -2.1]),
        ..LossSlices::new([2, RANKS], &[true; 6], &segments, &advantages)
    };
    let start: Vec<f64> = (0..RANKS * ITEMS)
        .map(|n| (n * 7 % 5) as f64 / 10.0)
        .collect();
    let evaluate = |logits: Vec<f64>| -> Result<(f64, Vec<f64>)> {
        let logits = Var::from_vec(logits, (RANKS, ITEMS), &Device::Cpu)?;
        let (value, scalar) = loss(&log_probs(&logits, &lists)?, &config, &inputs)?;
        let gradients = scalar.backward()?;
        let gradient = gradients
            .get(&logits)
            .expect("the loss is a function of the logits");
        Ok((value, gradient.flatten_all()?.to_vec1()?))
    };
    let (_, gradient) = evaluate(start.clone())?;
    assert!(gradient.iter().any(|x| x.abs() > 1e-2));
    for place in 0..start.len() {
        let at = |step: f64| {
            let mut logits = start.clone();
            logits[place] += step;
            evaluate(logits).map(|(value, _)| value)
        };
        let slope = (at(1e-5)? - at(-1e-5)?) / 2e-5;
        assert!(
            (slope - gradient[place]).abs() < 1e-8,
            "{place}: {slope} {}",
            gradient[place]
        );
    }
    Ok(())
}
