//! The whole pipeline from raw answers to demonstrations, on a small made-up catalog with known
//! outcomes.

use std::collections::HashSet;

use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, Item, ItemId, Turn};
use convrec_demonstrations::scripted::{
    CooccurrenceScorer, Mistakes, PopularityScorer, Scorer, ScriptedJudge, ScriptedTeacher,
    SimilarityScorer, WordScorer,
};
use convrec_demonstrations::{
    Answer, Describer, Embedder, Judge, LexicalEmbedder, Pipeline, PipelineConfig, PipelineOutput,
    Ratings, ReplayTeacher, Scored, ServiceError, Services, Steps, Teacher,
};
use convrec_metrics::{JudgedList, Measure};
use ndarray::Array2;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TOPICS: [&str; 6] = [
    "robot",
    "wedding",
    "submarine",
    "ghost",
    "cowboy",
    "orchestra",
];
const PER_TOPIC: usize = 10;

fn catalog() -> Catalog {
    let adjectives = [
        "Red", "Last", "Silent", "Golden", "Broken", "Distant", "Lucky", "Empty", "Hidden",
        "Burning",
    ];
    let item = |topic: &str, i: usize| CatalogItem {
        title: format!("{} {topic}", adjectives[i]),
        year: Some(1980 + i as i32),
        genres: vec![],
        metadata: format!("a {topic} story"),
    };
    Catalog::new(
        TOPICS
            .iter()
            .flat_map(|topic| (0..PER_TOPIC).map(move |i| item(topic, i)))
            .collect(),
    )
    .unwrap()
}

/// Conversations about one topic each. Ground truth is drawn from the topic, its later items far
/// more often.
fn examples(catalog: &Catalog, n: usize, seed: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let places: Vec<usize> = (0..PER_TOPIC).collect();
    (0..n)
        .map(|i| {
            let topic = rng.random_range(0..TOPICS.len());
            let mut item = || {
                let place = places
                    .choose_weighted(&mut rng, |&place| 2.0_f64.powi(place as i32))
                    .unwrap();
                catalog[ItemId((topic * PER_TOPIC + place) as u32)].item()
            };
            let (right, seen) = (item(), item());
            let dialog = vec![
                Turn::user("Hi!"),
                Turn::assistant("What do you like?"),
                Turn::user("a story, please"),
            ];
            let seen = if seen == right { vec![] } else { vec![seen] };
            Example {
                id: format!("made{seed}-{i}-{topic}"),
                dialog,
                seen,
                ground_truth: vec![right],
            }
        })
        .collect()
}

fn topic_of(example: &Example) -> usize {
    example.id.rsplit('-').next().unwrap().parse().unwrap()
}

/// A teacher that knows the topic, but few titles. It names one item of the topic (rather an
/// earlier one), one of another topic, and two that do not exist.
struct ForgetfulTeacher<'a>(&'a Catalog);

impl Teacher for ForgetfulTeacher<'_> {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        assert_eq!(n, 10);
        let mut rng = ChaCha8Rng::seed_from_u64(
            example
                .id
                .bytes()
                .map(u64::from)
                .fold(7, |h, b| h * 31 % 1_000_003 + b),
        );
        let topic = topic_of(example);
        let any =
            |topic: usize, place: usize| self.0[ItemId((topic * PER_TOPIC + place) as u32)].item();
        let known = any(topic, rng.random_range(0..PER_TOPIC));
        let other = any((topic + 1) % TOPICS.len(), rng.random_range(0..PER_TOPIC));
        let subject = TOPICS[topic];
        Ok(format!(
            "Sure!\n1. Their {subject} (1999)\n2. {other}\n3. {known}\n4. Our {subject} \
             (2003)\nEnjoy!"
        ))
    }
}

/// A judge that knows the relevant items, and mostly rates them well.
struct HonestJudge;

impl Judge for HonestJudge {
    fn rate(
        &self,
        example: &Example,
        candidates: &[&CatalogItem],
    ) -> Result<Ratings, ServiceError> {
        let lucid = example.id.bytes().map(usize::from).sum::<usize>() % 2 == 0;
        let rate = |item: &&CatalogItem| match example.ground_truth.contains(&item.item()) {
            true => Some(if lucid { 1 } else { 0 }),
            false => (item.year.unwrap() % 2 == 0).then_some(0),
        };
        Ok(candidates.iter().map(rate).collect())
    }
}

struct Synopses;

impl Describer for Synopses {
    fn describe(&self, item: &Item) -> Result<Option<String>, ServiceError> {
        Ok(item
            .title
            .split(' ')
            .nth(1)
            .map(|subject| format!("a {subject} story")))
    }
}

fn config() -> PipelineConfig {
    PipelineConfig {
        n: 10,
        n_reflect: 30,
        ..PipelineConfig::default()
    }
}

fn embedder(catalog: &Catalog) -> LexicalEmbedder {
    LexicalEmbedder::fit(
        &catalog
            .iter()
            .map(|(_, item)| item.text())
            .collect::<Vec<_>>(),
        256,
    )
}

fn ndcg(
    catalog: &Catalog,
    examples: &[Example],
    steps: &[Steps],
    list: impl Fn(&Steps) -> Vec<Option<ItemId>>,
) -> f64 {
    let judge = |(example, steps): (&Example, &Steps)| {
        let right = example
            .ground_truth
            .iter()
            .map(|item| catalog.find(item))
            .collect::<HashSet<_>>();
        Measure::Ndcg(10).of(&JudgedList::from_ids(&list(steps), &right))
    };
    examples.iter().zip(steps).map(judge).sum::<f64>() / examples.len() as f64
}

fn ids(list: &[ItemId]) -> Vec<Option<ItemId>> {
    list.iter().copied().map(Some).collect()
}

fn ndcg_of_steps(catalog: &Catalog, examples: &[Example], output: &PipelineOutput) -> [f64; 4] {
    let of =
        |list: &dyn Fn(&Steps) -> Vec<Option<ItemId>>| ndcg(catalog, examples, &output.steps, list);
    [
        of(&|s| s.teacher.iter().map(|named| named.id).collect()),
        of(&|s| ids(&s.remap)),
        of(&|s| ids(&s.reflect)),
        of(&|s| ids(&s.adjust)),
    ]
}

#[test]
fn each_step_makes_the_lists_better() {
    let catalog = catalog();
    let (teacher, embedder) = (ForgetfulTeacher(&catalog), embedder(&catalog));
    let services = Services {
        teacher: &teacher,
        embedder: &embedder,
        judge: Some(&HonestJudge),
        describer: &Synopses,
    };
    let pipeline = Pipeline::new(config(), &catalog, services).unwrap();
    let train = examples(&catalog, 400, 1);
    let output = pipeline.run(&train, &|_| ()).unwrap();
    let found = ndcg_of_steps(&catalog, &train, &output);
    println!(
        "NDCG@10 of teacher, remap, reflect, adjust: {found:.4?}; {:?}",
        output.fit.as_ref().unwrap().report
    );
    assert!(
        found.windows(2).all(|pair| pair[1] > pair[0] + 0.02),
        "{found:?}"
    );

    // It also holds for conversations that were not fitted to.
    let others = examples(&catalog, 200, 2);
    let scored = pipeline.score(&others, &|_| ()).unwrap();
    let finished = pipeline.finish(&scored, output.fit.as_ref().map(|fit| &fit.adjust));
    let found = ndcg_of_steps(&catalog, &others, &finished);
    assert!(
        found.windows(2).all(|pair| pair[1] > pair[0] + 0.02),
        "{found:?}"
    );

    for (demonstration, steps) in output.demonstrations.iter().zip(&output.steps) {
        assert_eq!(demonstration.list.len(), 10);
        assert_eq!(
            demonstration
                .list
                .iter()
                .map(|item| catalog.find(item).unwrap())
                .collect::<Vec<_>>(),
            steps.adjust
        );
        assert!(
            demonstration
                .list
                .iter()
                .all(|item| !demonstration.example.seen.contains(item))
        );
        assert_eq!(steps.teacher.len(), 4, "talk is no item");
        assert_eq!(
            steps
                .teacher
                .iter()
                .filter(|named| named.id.is_some())
                .count(),
            2
        );
    }
}

#[test]
fn threads_and_company_change_nothing() {
    let catalog = catalog();
    let (teacher, embedder) = (ForgetfulTeacher(&catalog), embedder(&catalog));
    let services = Services {
        teacher: &teacher,
        embedder: &embedder,
        judge: Some(&HonestJudge),
        describer: &Synopses,
    };
    let pipeline = Pipeline::new(config(), &catalog, services).unwrap();
    let examples = examples(&catalog, 60, 3);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| pipeline.run(&examples, &|_| ()).unwrap())
    };
    let (one, four) = (on(1), on(4));
    let one_fit = one.fit.clone().unwrap();
    assert_eq!(
        (one.demonstrations, one.steps, one.fit),
        (four.demonstrations, four.steps, four.fit)
    );
    // A conversation's scores come from its own list only, not from lists of other conversations.
    let all = pipeline.score(&examples, &|_| ()).unwrap();
    let alone = pipeline.score(&examples[7..8], &|_| ()).unwrap();
    let adjust = one_fit.adjust;
    let lists = |scored: &Scored<'_>, row: usize| {
        pipeline
            .finish(scored, Some(&adjust))
            .steps
            .swap_remove(row)
    };
    assert_eq!(
        lists(&all, 7),
        Steps {
            example: 7,
            ..lists(&alone, 0)
        }
    );
}

#[test]
fn steps_can_be_switched_off() {
    let catalog = catalog();
    let (teacher, embedder) = (ForgetfulTeacher(&catalog), embedder(&catalog));
    let services = Services {
        teacher: &teacher,
        embedder: &embedder,
        judge: Some(&HonestJudge),
        describer: &Synopses,
    };
    let examples = examples(&catalog, 100, 4);
    let run = |config| {
        Pipeline::new(config, &catalog, services)
            .unwrap()
            .run(&examples, &|_| ())
            .unwrap()
    };

    let bare = PipelineConfig {
        remap: false,
        reflect: false,
        adjust: false,
        ..config()
    };
    for (steps, example) in run(bare).steps.iter().zip(&examples) {
        let named: Vec<ItemId> = steps.teacher.iter().filter_map(|named| named.id).collect();
        let unseen = named
            .into_iter()
            .filter(|&item| !example.seen.contains(&catalog[item].item()))
            .collect::<Vec<_>>();
        assert_eq!(
            steps.adjust, unseen,
            "without any step the list is the teacher's"
        );
        assert_eq!(
            (&steps.remap, &steps.reflect),
            (&steps.adjust, &steps.adjust)
        );
    }
    for steps in run(PipelineConfig {
        remap: false,
        ..config()
    })
    .steps
    {
        assert!(
            steps.adjust.len() <= 2 && steps.adjust.iter().all(|item| steps.remap.contains(item))
        );
    }
    assert!(
        run(PipelineConfig {
            reflect: false,
            ..config()
        })
        .steps
        .iter()
        .all(|steps| steps.reflect == steps.remap)
    );
    assert!(
        run(PipelineConfig {
            adjust: false,
            ..config()
        })
        .steps
        .iter()
        .all(|steps| steps.adjust == steps.reflect)
    );
}

#[test]
fn scripted_services_make_a_pipeline_of_their_own() {
    let catalog = catalog();
    let train = examples(&catalog, 200, 5);
    let (scorer, embedder) = (
        CooccurrenceScorer::new(&catalog, &train),
        embedder(&catalog),
    );
    let teacher = ScriptedTeacher {
        catalog: &catalog,
        scorer: &scorer,
        mistakes: Mistakes::default(),
        seed: 1,
    };
    let judge = ScriptedJudge {
        catalog: &catalog,
        scorer: &scorer,
        noise: 0.1,
        seed: 2,
    };
    let services = Services {
        teacher: &teacher,
        embedder: &embedder,
        judge: Some(&judge),
        describer: &(),
    };
    let output = Pipeline::new(config(), &catalog, services)
        .unwrap()
        .run(&train, &|_| ())
        .unwrap();
    assert_eq!(output.demonstrations.len(), train.len());
    assert!(
        output
            .steps
            .iter()
            .flat_map(|steps| &steps.teacher)
            .any(|named| named.id.is_none()),
        "no mistakes"
    );

    let rate = |judge: &dyn Judge| {
        judge
            .rate(&train[0], &[&catalog[ItemId(3)], &catalog[ItemId(40)]])
            .unwrap()
    };
    assert_eq!(rate(&judge), rate(&judge));
    assert_eq!(
        teacher.recommend(&train[0], 10),
        teacher.recommend(&train[0], 10)
    );
}

/// Leaving a dialog out while scoring is the same as never having counted it.
#[test]
fn a_training_sample_does_not_know_its_own_dialog() {
    let catalog = catalog();
    let mut train = examples(&catalog, 60, 6);
    // A dialog has three samples.
    train
        .iter_mut()
        .enumerate()
        .for_each(|(i, example)| example.id = format!("dialog{}-{i}", i / 3));
    let scorer = CooccurrenceScorer::new(&catalog, &train);
    for example in &train {
        let others: Vec<Example> = train
            .iter()
            .filter(|e| e.dialog_id() != example.dialog_id())
            .cloned()
            .collect();
        assert_eq!(
            scorer.scores(example),
            CooccurrenceScorer::new(&catalog, &others).scores(example)
        );
    }
    // All conversations say these words, so that none is left out with a dialog.
    train.iter_mut().enumerate().for_each(|(i, example)| {
        example.dialog = vec![Turn::user(format!("good {}", ["fun", "sad"][i % 2]))]
    });
    let scorer = WordScorer::new(&catalog, &train);
    for example in &train {
        let others: Vec<Example> = train
            .iter()
            .filter(|e| e.dialog_id() != example.dialog_id())
            .cloned()
            .collect();
        let expected = WordScorer::new(&catalog, &others).scores(example);
        for (found, expected) in scorer.scores(example).iter().zip(expected) {
            assert!(
                (found - expected).abs() <= 1e-5 * expected,
                "{found}, expected {expected}"
            );
        }
    }
}

/// Words lead to the items that were relevant beside them, and a seen item to those with a similar
/// text.
#[test]
fn words_and_texts_lead_to_items() {
    let catalog = catalog();
    let example = |i: usize, said: &str, right: u32| Example {
        id: format!("dialog{i}-1"),
        dialog: vec![Turn::user(said)],
        seen: vec![],
        ground_truth: vec![catalog[ItemId(right)].item()],
    };
    let train: Vec<Example> = (0..40)
        .map(|i| {
            if i % 2 == 0 {
                example(i, "Something scary!", 3)
            } else {
                example(i, "a romance", 7)
            }
        })
        .collect();
    let best = |scorer: &dyn Scorer, example: &Example| {
        let scores = scorer.scores(example);
        (0..catalog.len())
            .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
            .unwrap()
    };
    let words = WordScorer::new(&catalog, &train);
    assert_eq!(best(&words, &example(99, "is it SCARY", 0)), 3);
    assert_eq!(best(&words, &example(99, "romance, please", 0)), 7);
    let scores = words.scores(&example(99, "anything unsaid", 0));
    assert!((scores[3] - scores[7]).abs() < 1e-6 && scores[3] > scores[5] && scores[5] > 0.0);

    let alike = SimilarityScorer::new(&catalog);
    for place in [0, 4, 9] {
        let seen = Example {
            seen: vec![catalog[ItemId(place)].item()],
            ..example(99, "", 0)
        };
        assert_eq!(best(&alike, &seen), place as usize);
    }
    let unseen = example(99, "", 0);
    assert!(alike.scores(&unseen).iter().all(|score| *score == 0.0));
    let cooccurrence = CooccurrenceScorer::new(&catalog, &train);
    assert_eq!(
        best(&cooccurrence, &unseen),
        best(&PopularityScorer::new(&catalog, &train), &unseen)
    );
    assert!(
        cooccurrence
            .alone()
            .scores(&unseen)
            .iter()
            .all(|score| *score == 0.0)
    );
}

#[test]
fn what_is_wrong_is_named() {
    let catalog = catalog();
    let (teacher, embedder) = (ForgetfulTeacher(&catalog), embedder(&catalog));
    let services = Services {
        teacher: &teacher,
        embedder: &embedder,
        judge: None,
        describer: &(),
    };
    let new = |config, services| {
        Pipeline::new(config, &catalog, services)
            .err()
            .unwrap()
            .to_string()
    };
    let no_judge = PipelineConfig {
        reflect: false,
        ..config()
    };
    assert_eq!(
        new(config(), services),
        "config, field `reflect`: found true, expected false, as there is no judge, or a judge"
    );
    assert_eq!(
        new(PipelineConfig { n: 0, ..no_judge }, services),
        "config, field `n`: found 0, expected at least 1"
    );
    let nan = PipelineConfig {
        gamma: f64::NAN,
        ..no_judge
    };
    assert_eq!(
        new(nan, services),
        "config, field `gamma`: found nothing, or no finite number, expected a number of 0 or more"
    );
    let mut bad_fit = no_judge;
    bad_fit.fit.reg = -1.0;
    assert_eq!(
        new(bad_fit, services),
        "config, field `fit.reg`: found -1.0, expected a number above 0"
    );
    let long = new(
        no_judge,
        Services {
            embedder: &LongRows,
            ..services
        },
    );
    assert!(
        long.starts_with("embedder: a row of length 2 for `Red robot (1980), a robot story`"),
        "{long}"
    );

    let examples = examples(&catalog, 5, 7);
    let answers = examples[..2]
        .iter()
        .map(|e| Answer {
            id: e.id.clone(),
            raw: "Heat (1995)".into(),
        })
        .collect();
    let replay = ReplayTeacher::new("answers.jsonl", answers).unwrap();
    let error = |config, services| {
        Pipeline::new(config, &catalog, services)
            .unwrap()
            .run(&examples, &|_| ())
            .unwrap_err()
            .to_string()
    };
    let id = &examples[2].id;
    let bare = PipelineConfig {
        adjust: false,
        ..no_judge
    };
    let part = Pipeline::new(
        bare,
        &catalog,
        Services {
            teacher: &replay,
            ..services
        },
    )
    .unwrap();
    let part = part.run(&examples, &|_| ()).unwrap();
    assert_eq!(
        part.steps
            .iter()
            .map(|steps| steps.example)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(
        (
            part.demonstrations.len(),
            part.failures.len(),
            part.counts.failed
        ),
        (2, 3, 3)
    );
    let expected = format!("sample `{id}`: answers.jsonl: no answer to sample `{id}`");
    assert!(
        part.complete()
            .unwrap_err()
            .to_string()
            .starts_with(&expected)
    );
    let judged = error(
        config(),
        Services {
            judge: Some(&HarshJudge),
            ..services
        },
    );
    let expected = format!(
        "none of 5 conversations got an answer; sample `{}`: judge: a rating of -3; ",
        examples[0].id
    );
    assert!(judged.starts_with(&expected), "{judged}");
    let twice = vec![
        Answer {
            id: "a-1".into(),
            raw: String::new()
        };
        2
    ];
    assert!(
        ReplayTeacher::new("answers.jsonl", twice)
            .unwrap_err()
            .to_string()
            .contains("two answers to sample `a-1`")
    );
}

struct LongRows;

impl Embedder for LongRows {
    fn id(&self) -> String {
        "long rows".into()
    }

    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        Ok(Array2::ones((texts.len(), 4)))
    }
}

struct HarshJudge;

impl Judge for HarshJudge {
    fn rate(&self, _: &Example, candidates: &[&CatalogItem]) -> Result<Ratings, ServiceError> {
        Ok(vec![Some(-3); candidates.len()])
    }
}

#[test]
fn configurations_are_read_from_files() {
    let read = |text: &str| serde_json::from_str::<PipelineConfig>(text);
    assert_eq!(read("{}").unwrap(), PipelineConfig::default());
    let config = read(r#"{"gamma": 0.25, "reflect": false, "fit": {"reduction": "sum"}}"#).unwrap();
    assert_eq!(
        (config.gamma, config.reflect, config.fit.reg),
        (0.25, false, 0.01)
    );
    assert!(
        read(r#"{"gama": 0.25}"#)
            .unwrap_err()
            .to_string()
            .contains("unknown field `gama`")
    );
}
