//! The merged parts of a run equal the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, Turn};
use convrec_demonstrations::scripted::{Bm25Scorer, Mistakes, ScriptedJudge, ScriptedTeacher};
use convrec_demonstrations::{
    Embedder, LexicalEmbedder, Origin, Pipeline, PipelineConfig, Scored, ServiceError, Services,
    Shard, Teacher,
};

/// A service that does not answer every fifth conversation.
struct Moody<T>(T);

impl<T: Teacher> Teacher for Moody<T> {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        match example.id.ends_with("-3") {
            true => Err(ServiceError::new("moody", "not today")),
            false => self.0.recommend(example, n),
        }
    }
}

fn catalog() -> Catalog {
    let item = |i: i32| {
        let metadata = format!("plot {} {} {}", i % 7, i % 11, i % 3);
        CatalogItem {
            title: format!("Film {i}"),
            year: Some(1950 + i),
            genres: vec![],
            metadata,
        }
    };
    Catalog::new((0..60).map(item).collect()).unwrap()
}

fn examples(catalog: &Catalog) -> Vec<Example> {
    let example = |i: usize| Example {
        id: format!("d{i}-{}", i % 5),
        dialog: vec![Turn::user(format!("a plot {} or {}", i % 7, i % 11))],
        seen: vec![catalog[convrec_core::ItemId(i as u32 % 60)].item()],
        ground_truth: vec![catalog[convrec_core::ItemId((i as u32 * 7 + 1) % 60)].item()],
    };
    (0..23).map(example).collect()
}

fn origin(teacher: &str) -> Origin {
    let config = PipelineConfig {
        n: 5,
        n_reflect: 20,
        ..PipelineConfig::default()
    };
    Origin {
        config,
        inputs: BTreeMap::from([("teacher".into(), teacher.into())]),
    }
}

/// Runs `look` on a pipeline whose services are scripted.
fn with_pipeline<T>(catalog: &Catalog, look: impl FnOnce(&Pipeline<'_>) -> T) -> T {
    let scorer = Bm25Scorer::new(catalog);
    let teacher = Moody(ScriptedTeacher {
        catalog,
        scorer: &scorer,
        mistakes: Mistakes::default(),
        seed: 1,
    });
    let judge = ScriptedJudge {
        catalog,
        scorer: &scorer,
        noise: 0.3,
        seed: 2,
    };
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let embedder = LexicalEmbedder::fit(&texts, 128);
    assert!(embedder.id().starts_with("lexical-128-"));
    let services = Services {
        teacher: &teacher,
        embedder: &embedder,
        judge: Some(&judge),
        describer: &(),
    };
    look(&Pipeline::new(origin("").config, catalog, services).unwrap())
}

/// Scores the conversations in `of` parts, each in a folder of its own.
fn write_parts(root: &Path, of: usize, origin: &Origin) -> Vec<PathBuf> {
    let catalog = catalog();
    let examples = examples(&catalog);
    with_pipeline(&catalog, |pipeline| {
        let write = |part: usize| {
            let shard: Shard = format!("{part}/{of}").parse().unwrap();
            let folder = root.join(format!("part-{part}"));
            let scored = pipeline
                .score(&examples[shard.range(examples.len())], &|_| ())
                .unwrap();
            scored.write(&folder, shard, origin).unwrap();
            folder
        };
        (1..=of).map(write).collect()
    })
}

#[test]
fn parts_make_the_whole() {
    let catalog = catalog();
    let examples = examples(&catalog);
    with_pipeline(&catalog, |pipeline| {
        let whole = pipeline.run(&examples, &|_| ()).unwrap();
        assert_eq!((whole.failures.len(), whole.demonstrations.len()), (4, 19));
        for of in [1, 2, 4] {
            let root = tempfile::tempdir().unwrap();
            let mut folders = write_parts(root.path(), of, &origin("a"));
            folders.reverse();
            let (merged, from) = Scored::merge(&folders).unwrap();
            assert_eq!(from, origin("a"));
            assert_eq!(merged.examples(), examples);
            let fit = pipeline.fit(&merged, &|_| ()).unwrap();
            let finished = pipeline.finish(&merged, Some(&fit.adjust));
            assert_eq!(Some(&fit), whole.fit.as_ref());
            assert_eq!(
                (&finished.steps, &finished.demonstrations),
                (&whole.steps, &whole.demonstrations)
            );
            assert_eq!(
                (&finished.failures, finished.counts),
                (&whole.failures, whole.counts)
            );
        }
    });
}

#[test]
fn what_does_not_fit_together_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folders = write_parts(root.path(), 3, &origin("a"));
    let error = |folders: &[PathBuf]| Scored::merge(folders).unwrap_err().to_string();
    assert_eq!(
        error(&folders[..2]),
        "part 3/3 is missing; score it, or name its folder too"
    );
    assert_eq!(error(&[]), "no parts; name their folders");
    let twice = [&folders[..], &folders[1..2]].concat();
    assert!(
        error(&twice).contains("are both part 2/3; leave one out"),
        "{}",
        error(&twice)
    );

    let others = tempfile::tempdir().unwrap();
    let others = write_parts(others.path(), 3, &origin("b"));
    let mixed = [folders[0].clone(), others[1].clone(), folders[2].clone()];
    assert!(
        error(&mixed).contains("differ in origin.inputs.teacher: \"a\" and \"b\""),
        "{}",
        error(&mixed)
    );
    let four = tempfile::tempdir().unwrap();
    let four = write_parts(four.path(), 4, &origin("a"));
    assert!(error(&[folders[0].clone(), four[1].clone()]).contains("differ in parts: 3 and 4"));

    let rows = folders[1].join("rows.jsonl");
    let text = std::fs::read_to_string(&rows).unwrap();
    std::fs::write(&rows, text.replacen("Film 8", "Film 9", 1)).unwrap();
    assert!(
        error(&folders).contains("rows.jsonl: not the file that was written"),
        "{}",
        error(&folders)
    );
    std::fs::remove_file(folders[1].join("shard.json")).unwrap();
    assert!(error(&folders).contains("cannot read") && error(&folders).contains("shard.json"));
}

#[test]
fn ranges_cover_everything_once() {
    for (n, of) in [(0, 3), (1, 3), (10, 3), (96_000, 7), (5, 5)] {
        let ranges: Vec<_> = (1..=of)
            .map(|part| format!("{part}/{of}").parse::<Shard>().unwrap().range(n))
            .collect();
        assert_eq!(
            ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>(),
            (0..n).collect::<Vec<_>>()
        );
        let sizes = ranges.iter().map(ExactSizeIterator::len);
        assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
    }
    for text in ["0/3", "4/3", "2", "a/b", "1/0", "1/2/3", "-1/2"] {
        assert!(text.parse::<Shard>().is_err(), "{text}");
    }
}

/// Fewer conversations than parts leave some parts empty.
#[test]
fn an_empty_part_is_a_part() {
    let catalog = catalog();
    let two = &examples(&catalog)[..2];
    with_pipeline(&catalog, |pipeline| {
        let root = tempfile::tempdir().unwrap();
        let write = |part: usize| {
            let shard: Shard = format!("{part}/3").parse().unwrap();
            let folder = root.path().join(part.to_string());
            let scored = pipeline.score(&two[shard.range(2)], &|_| ()).unwrap();
            scored.write(&folder, shard, &origin("a")).unwrap();
            folder
        };
        let (merged, _) = Scored::merge(&[write(1), write(2), write(3)]).unwrap();
        let whole = pipeline.score(two, &|_| ()).unwrap();
        assert_eq!(merged.examples(), two);
        assert_eq!(
            pipeline.finish(&merged, None).steps,
            pipeline.finish(&whole, None).steps
        );
    });
}
