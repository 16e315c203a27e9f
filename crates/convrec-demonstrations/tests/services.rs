//! The services of a settings file, and answers of servers in the shapes of public reports.

mod common;

use common::{catalog, example};
use convrec_config::{Layer, Layers};
use convrec_core::Example;
use convrec_demonstrations::scripted::Scorers;
use convrec_demonstrations::services::{
    HandedIn, JudgeKind, OpenServices, ServiceSettings, TeacherKind,
};
use convrec_demonstrations::{ServiceError, Teacher};

fn settings(toml: &str, flags: &[(&str, &str)]) -> Result<ServiceSettings, String> {
    let mut layer = Layer::flags();
    flags
        .iter()
        .for_each(|(field, value)| layer.set(field, Some(value)));
    let file = Layer::parse(toml, "services.toml".as_ref()).unwrap();
    ServiceSettings::resolve(&Layers::new([file, layer])).map_err(|e| e.to_string())
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let defaults = settings("", &[]).unwrap();
    assert_eq!(defaults, ServiceSettings::default());
    assert_eq!(
        (defaults.teacher_kind(), defaults.judge_kind()),
        (TeacherKind::Noisy, JudgeKind::Scripted)
    );
    let file = "seed = 3\n[teacher]\nkind = \"heuristic\"\n[prompts]\nkind = \"books\"";
    let found = settings(
        file,
        &[("teacher.answers", "a.jsonl"), ("teacher.kind", "answers")],
    )
    .unwrap();
    assert_eq!(
        (
            found.seed,
            found.teacher_kind(),
            found.prompts.kind.as_str()
        ),
        (3, TeacherKind::Answers, "books")
    );
    assert_eq!(found.files(), [std::path::Path::new("a.jsonl")]);
}

#[test]
fn a_wrong_setting_is_named_with_its_file() {
    for (toml, expected) in [
        (
            "[teacher]\nkind = \"oracle\"",
            "services.toml, field `teacher.kind`: unknown variant `oracle`, expected one of",
        ),
        (
            "[techer]",
            "services.toml, field `techer`: unknown field `techer`",
        ),
        (
            "[teacher]\nkind = \"answers\"",
            "services.toml, field `teacher.answers`: expected a file of answers",
        ),
        (
            "[judge]\nkind = \"server\"",
            "field `chat`: expected a table `[chat]` with a `model`, as `judge.kind` is `server`",
        ),
        (
            "[describer]\ntexts = \"t.jsonl\"",
            "services.toml, field `describer.server`: expected true, as `describer.texts` are \
             given",
        ),
        (
            "[embedder]\nkind = \"encoder\"",
            "services.toml, field `embedder.folder`: expected the folder of a sentence encoder",
        ),
        (
            "[teacher.mistakes]\ninvented = 2.0",
            "services.toml, field `teacher.mistakes.invented`: found 2; expected a chance in 0..=1",
        ),
    ] {
        let error = settings(toml, &[]).unwrap_err();
        assert!(
            error.contains(expected),
            "{error}\ndoes not say\n{expected}"
        );
    }
}

struct Fixed;

impl Teacher for Fixed {
    fn recommend(&self, _: &Example, _: usize) -> Result<String, ServiceError> {
        Ok("1. Ronin (1998)".into())
    }
}

#[test]
fn a_policy_is_handed_in() {
    let (catalog, settings) = (
        catalog(),
        settings("[teacher]\nkind = \"policy\"", &[]).unwrap(),
    );
    let scorers = Scorers::new(&catalog, &[]);
    let error = OpenServices::open(&settings, &catalog, &scorers, HandedIn::default());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("field `teacher.kind`: found `policy`, expected another kind"),
        "{error}"
    );
    let handed_in = HandedIn {
        teacher: Some(("mine".into(), Box::new(Fixed))),
        ..HandedIn::default()
    };
    let open = OpenServices::open(&settings, &catalog, &scorers, handed_in).unwrap();
    assert!(open.names().contains(&("teacher", "mine".to_string())));
    let answer = open.services().teacher.recommend(&example("d-1"), 1);
    assert_eq!(answer.as_deref(), Ok("1. Ronin (1998)"));
}

#[test]
fn only_conversations_with_recorded_answers_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    std::fs::write(&path, "{\"id\": \"d-2\", \"raw\": \"1. Ronin (1998)\"}\n").unwrap();
    let settings = settings("", &[("teacher.answers", path.to_str().unwrap())]).unwrap();
    let catalog = catalog();
    let scorers = Scorers::new(&catalog, &[]);
    let open = OpenServices::open(&settings, &catalog, &scorers, HandedIn::default()).unwrap();
    let mut examples = vec![example("d-1"), example("d-2")];
    open.keep_answered(&mut examples).unwrap();
    assert_eq!(examples, [example("d-2")]);
    let error = open
        .keep_answered(&mut vec![example("d-3")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("no `id` of the 1 answers"), "{error}");
}
