//! TREC files: what is read is judged and written back the same, all else is an error that names
//! the line.
#![no_main]

use convrec_metrics::Measure;
use convrec_metrics::trec::{Qrels, Run};
use libfuzzer_sys::fuzz_target;

fn names_the_file(error: &str) -> bool {
    error.split([' ', ',', ':']).any(|word| word == "f")
}

fuzz_target!(|data: &[u8]| {
    // The part before a NUL is the run, the part behind it the judgements.
    let at = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (run, qrels) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let run = match Run::read(run, "f") {
        Ok(run) => run,
        Err(error) => return assert!(names_the_file(&error.to_string()), "{error}"),
    };
    let mut text = Vec::new();
    run.write(&mut text).unwrap();
    if !text.is_empty() {
        let again = Run::read(&text[..], "f").unwrap();
        assert!(run.queries().eq(again.queries()));
        for query in run.queries() {
            assert!(run.ranking(query).eq(again.ranking(query)));
        }
    }
    let qrels = match Qrels::read(qrels, "f") {
        Ok(qrels) => qrels,
        Err(error) => return assert!(names_the_file(&error.to_string()), "{error}"),
    };
    for list in qrels.judge(&run) {
        for measure in [
            Measure::Mrr(10),
            Measure::Ndcg(10),
            Measure::Recall(3),
            Measure::Map(5),
        ] {
            let value = measure.of(&list);
            assert!((0.0..=1.0 + 1e-9).contains(&value), "{value}");
        }
    }
    let mut text = Vec::new();
    qrels.write(&mut text).unwrap();
    if !text.is_empty() {
        assert!(
            qrels
                .queries()
                .eq(Qrels::read(&text[..], "f").unwrap().queries())
        );
    }
});
