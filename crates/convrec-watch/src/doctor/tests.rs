//! Each check is provoked, and is silent on a run that learns as it should.

use serde_json::{Value, json};

use super::*;

/// A number that looks random, between -1 and 1.
fn noise(step: usize) -> f64 {
    ((step * 7919 + 13) % 101) as f64 / 50.0 - 1.0
}

/// A step of a run that learns: reward and KL rise, entropy falls a little, all is noisy.
fn healthy(step: usize) -> Record {
    let done = step as f64 / 300.0;
    let record = json!({
        "step": step,
        "loss": 0.01 * noise(step),
        "kl": 1e-4 + 0.05 * done,
        "learning_rate": 1e-5,
        "grad_norm": 0.2 + 0.1 * noise(step),
        "entropy": 1.1 - 0.5 * done + 0.1 * noise(step),
        "completions/mean_length": 80.0 + 10.0 * noise(step),
        "items": 10.0 + noise(step),
        "completions/clipped_ratio": 0.02 + 0.02 * noise(step),
        "in_catalog": 0.97 + 0.02 * noise(step),
        "popularity": 30.0 + 10.0 * noise(step),
        "reward": 0.3 + 0.3 * done + 0.1 * noise(step),
        (SAMPLER): 1e-6,
    });
    let Value::Object(mut record) = record else {
        unreachable!()
    };
    if step.is_multiple_of(25) {
        record.insert(
            "eval_NDCG@10".into(),
            json!(0.10 + 0.02 * done + 0.005 * noise(step)),
        );
        record.insert(
            "eval_Recall@10".into(),
            json!(0.20 + 0.02 * done + 0.005 * noise(step)),
        );
    }
    record
}

/// The findings in 300 steps that are `changed` from a healthy run's.
fn found(changed: impl Fn(usize, &mut Record)) -> Vec<Diagnosis> {
    let records: Vec<Record> = (1..=300)
        .map(|step| {
            let mut record = healthy(step);
            changed(step, &mut record);
            record
        })
        .collect();
    Doctor::examine(DoctorConfig::default(), &records).unwrap()
}

/// The only finding where a field moves from step 150 on and reaches `last` at step 300.
fn drifting(field: &str, last: f64) -> Diagnosis {
    let mut found = found(|step, record| {
        if step > 150 {
            let value = record[field].as_f64().unwrap();
            record[field] = json!(value + (last - value) * (step - 150) as f64 / 150.0);
        }
    });
    assert_eq!(found.len(), 1, "{found:?}");
    let diagnosis = found.remove(0);
    assert!(
        (160..=300).contains(&diagnosis.last) && diagnosis.first < diagnosis.last,
        "{diagnosis:?}"
    );
    let text = diagnosis.to_string();
    assert!(
        text.contains(field)
            && text.contains("What to do")
            && text.contains(diagnosis.check.name()),
        "{text}"
    );
    diagnosis
}

#[test]
fn a_run_that_learns_is_healthy() {
    assert_eq!(found(|_, _| ()), []);
}

#[test]
fn single_steps_are_not_unhealthy() {
    let found = found(|step, record| {
        if step % 40 == 0 {
            for (field, value) in [
                ("grad_norm", 900.0),
                ("kl", 1e4),
                ("entropy", 9.0),
                ("in_catalog", 0.0),
            ] {
                record[field] = json!(value);
            }
            record["loss"] = Value::Null;
        }
    });
    assert_eq!(found, []);
}

#[test]
fn what_drifts_is_found() {
    for (field, last, check) in [
        ("entropy", 0.0, Check::EntropyLow),
        ("entropy", 8.0, Check::EntropyHigh),
        ("completions/mean_length", 20.0, Check::LengthLow),
        ("completions/mean_length", 300.0, Check::LengthHigh),
        ("items", 2.0, Check::LengthLow),
        ("items", 40.0, Check::LengthHigh),
        ("completions/clipped_ratio", 0.9, Check::MissingEos),
        ("in_catalog", 0.4, Check::OffCatalog),
        ("popularity", 120.0, Check::PopularityDrift),
        ("popularity", 5.0, Check::PopularityDrift),
        ("kl", 20.0, Check::KlHigh),
        (SAMPLER, 0.5, Check::SamplerMismatch),
    ] {
        assert_eq!(drifting(field, last).check, check, "{field} to {last}");
    }
}

#[test]
fn a_single_step_with_samples_of_another_policy_is_found() {
    let once = |difference: f64| {
        found(move |step, record| {
            if step == 150 {
                record[SAMPLER] = json!(difference);
            }
        })
    };
    assert_eq!(once(0.4), []);
    let apart = once(0.7);
    assert_eq!(
        (apart.len(), apart[0].check, apart[0].first, apart[0].last),
        (1, Check::SamplerMismatch, 150, 150)
    );
}

#[test]
fn weights_that_do_not_move_are_found() {
    let flat = found(|_, record| record["kl"] = json!(2e-8));
    assert_eq!(
        (flat[0].check, flat[0].first, flat[0].last),
        (Check::StalledWeights, 1, 100)
    );
    let zero = found(|_, record| record["grad_norm"] = json!(0.0));
    assert_eq!((zero[0].check, zero[0].last), (Check::StalledWeights, 100));
    assert!(zero[0].seen.contains("grad_norm"));
    // Without a KL penalty none is logged; without a learning rate nothing should move.
    assert_eq!(found(|_, record| drop(record.remove("kl"))), []);
    let still = |_, record: &mut Record| {
        record["kl"] = json!(0.0);
        record["learning_rate"] = json!(0.0);
    };
    assert_eq!(found(still), []);
}

#[test]
fn a_loss_that_is_no_number_is_found() {
    let nan = found(|step, record| {
        if step >= 70 {
            record["loss"] = json!(f64::NAN);
        }
    });
    assert_eq!(
        (nan[0].check, nan[0].first, nan[0].last),
        (Check::LossNotANumber, 70, 71)
    );
    assert_eq!(found(|_, record| drop(record.remove("loss"))), []);
}

#[test]
fn a_gradient_that_explodes_is_found() {
    let found = found(|step, record| {
        let norm = record["grad_norm"].as_f64().unwrap();
        record["grad_norm"] = json!(norm * 1.3f64.powi(step.saturating_sub(100) as i32));
    });
    assert_eq!(found[0].check, Check::GradientSpike, "{found:?}");
    assert!((105..140).contains(&found[0].last), "{found:?}");
}

#[test]
fn a_reward_that_is_hacked_is_found() {
    let falls = |step: usize, record: &mut Record| {
        for measure in ["eval_NDCG@10", "eval_Recall@10"]
            .iter()
            .filter(|_| step.is_multiple_of(25))
        {
            record[*measure] = json!(0.1 - 0.0002 * step as f64);
        }
    };
    let hacked = found(falls);
    assert_eq!((hacked.len(), hacked[0].check), (1, Check::RewardHacked));
    assert!(
        hacked[0].seen.contains("reward") && hacked[0].seen.contains("eval_NDCG@10"),
        "{hacked:?}"
    );
    let one = found(|step, record| {
        if step.is_multiple_of(25) {
            record["eval_Recall@10"] = json!(0.1 - 0.0002 * step as f64);
        }
    });
    assert_eq!(one, [], "one measure of two");
    let no_better = found(|step, record| {
        falls(step, record);
        record["reward"] = json!(0.3 + 0.1 * noise(step));
    });
    assert_eq!(no_better, [], "both fall: another check, if any");
}

#[test]
fn a_check_can_be_left_out() {
    let config: DoctorConfig =
        serde_json::from_value(json!({ "off": ["stalled_weights"] })).unwrap();
    let records: Vec<Record> = (1..=300)
        .map(|step| {
            let mut record = healthy(step);
            record["kl"] = json!(0.0);
            record
        })
        .collect();
    assert_eq!(
        Doctor::examine(DoctorConfig::default(), &records).unwrap()[0].check,
        Check::StalledWeights
    );
    assert_eq!(Doctor::examine(config, &records).unwrap(), []);
}

#[test]
fn names_in_settings_are_names_in_diagnoses() {
    for (check, ..) in DRIFTS {
        assert_eq!(serde_json::to_value(check).unwrap(), check.name());
    }
    for check in [
        Check::StalledWeights,
        Check::KlHigh,
        Check::SamplerMismatch,
        Check::LossNotANumber,
        Check::RewardHacked,
    ] {
        assert_eq!(serde_json::to_value(check).unwrap(), check.name());
    }
}

#[test]
fn the_state_is_a_function_of_the_records() {
    let mut once = Doctor::new(DoctorConfig::default()).unwrap();
    (1..=200).for_each(|step| once.check(&healthy(step)).unwrap());
    // As a resumed run has them: from the text of the log.
    let mut again = Doctor::new(DoctorConfig::default()).unwrap();
    for step in 1..=200 {
        let line = serde_json::to_string(&healthy(step)).unwrap();
        again.check(&serde_json::from_str(&line).unwrap()).unwrap();
    }
    assert_eq!(once, again);
}

#[test]
fn settings_are_checked() {
    let error = Doctor::new(DoctorConfig {
        entropy_low: 2.0,
        ..DoctorConfig::default()
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "config, field `doctor.entropy_low`: found 2.0, expected a share between 0 and 1"
    );
    assert!(serde_json::from_value::<DoctorConfig>(json!({ "windw": 3 })).is_err());
}

#[test]
fn numbers_are_short() {
    let shown = [0.0123456, 1.0, 123456.7, 2e-9, 0.0].map(short);
    assert_eq!(shown, ["0.01235", "1.000", "123457", "2.000e-9", "0"]);
}
