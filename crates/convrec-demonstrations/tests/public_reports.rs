//! A teacher on a server whose answers have the shapes that people reported (case 70).
#![cfg(feature = "llm")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{catalog, example};
use convrec_catalog::Catalog;
use convrec_config::{Layer, Layers};
use convrec_core::CatalogItem;
use convrec_demonstrations::chat::{ChatTeacher, Prompts};
use convrec_demonstrations::scripted::Scorers;
use convrec_demonstrations::services::{HandedIn, OpenServer, OpenServices, ServiceSettings};
use convrec_demonstrations::{
    ChatAnswer, ChatModel, ChatRequest, Done, LexicalEmbedder, Pipeline, PipelineConfig,
    ReplayTeacher, ServiceError, Services,
};
use convrec_text::Years;

/// A list whose first item is the relevant one.
const LIST: &str = r"1. Ronin (1998)\n2. Alien (1979)";

/// An answer with this JSON as its message.
fn message(json: &str) -> String {
    format!(r#"{{"choices": [{{"message": {json}, "finish_reason": "stop"}}]}}"#)
}

/// An answer with this text.
fn text(text: &str) -> String {
    message(&format!(r#"{{"role": "assistant", "content": "{text}"}}"#))
}

/// An answer with this end.
fn ended(finish: &str) -> String {
    text(LIST).replace("\"stop\"", finish)
}

/// Each shape with the bytes that the server sends, and a part of the error; `None` where the list
/// is read.
fn shapes() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let fine = |name, body: String| (name, body.into_bytes(), None);
    let bad = |name, body: String, part| (name, body.into_bytes(), Some(part));
    let usage = |usage: &str| text(LIST).replacen('{', &format!("{{\"usage\": {usage}, "), 1);
    vec![
        fine("plain", text(LIST)),
        fine(
            "think",
            text(&format!(r"<think>\n1. Up (2009)\n</think>\n\n{LIST}")),
        ),
        bad("think_open", text(r"<think>\n1. Up (2009)"), "empty"),
        fine(
            "reasoning",
            message(&format!(
                r#"{{"reasoning_content": "1. Up (2009)", "content": "{LIST}"}}"#
            )),
        ),
        bad(
            "reasoning_only",
            message(r#"{"reasoning_content": "1. Up (2009)", "content": ""}"#)
                .replace("\"stop\"", "\"length\""),
            "the tokens were used up by reasoning",
        ),
        fine(
            "parts",
            message(&format!(
                r#"{{"content": [{{"type": "thinking", "thinking": "1. Up (2009)"}}, {{"type": "text", "text": "{LIST}"}}]}}"#
            )),
        ),
        fine("bom", format!("\u{feff}{}", text(LIST))),
        fine(
            "surrogate",
            text(&format!(r"\ud83d {LIST} \ude00")).replace(r"\ud83d 1", r"\ud83d\n1"),
        ),
        fine("nan", ended("\"stop\", \"logprobs\": NaN")),
        fine("length", ended("\"length\"")),
        fine("filter", ended("\"content_filter\"")),
        fine("finishnull", ended("null")),
        fine("usagenull", usage("null")),
        fine(
            "floatusage",
            usage(r#"{"prompt_tokens": 5.5, "completion_tokens": 2e0}"#),
        ),
        fine("keepalive", format!("\n\n  {}\n", text(LIST))),
        bad("empty", text(""), "an empty message"),
        bad(
            "toolcall",
            message(r#"{"content": null, "tool_calls": [{}]}"#),
            "an empty message",
        ),
        bad(
            "errorbody",
            r#"{"error": {"message": "no such model"}}"#.into(),
            "no such model",
        ),
        bad(
            "errorcode_int",
            r#"{"error": {"code": 500, "message": "out of order"}}"#.into(),
            "out of order",
        ),
        bad(
            "errordetail",
            r#"{"detail": "Not Found"}"#.into(),
            "another shape",
        ),
        bad(
            "errorarray",
            r#"[{"error": {"message": "quota"}}]"#.into(),
            "another shape",
        ),
        bad(
            "text",
            format!(r#"{{"choices": [{{"text": "{LIST}", "finish_reason": "stop"}}]}}"#),
            "another shape",
        ),
        bad(
            "ollama",
            format!(r#"{{"message": {{"role": "assistant", "content": "{LIST}"}}, "done": true}}"#),
            "another shape",
        ),
        bad("trailgarbage", text(LIST) + "xyz", "no JSON"),
        fine("trail", text(LIST) + "\n\n"),
        fine("nousage", text(LIST)),
        bad(
            "refusal",
            message(r#"{"content": null, "refusal": "I would rather not."}"#),
            "empty",
        ),
        // The byte that is no UTF-8 stands in talk before the list.
        (
            "latin1",
            text(&format!(r"Voil@:\n{LIST}"))
                .into_bytes()
                .into_iter()
                .map(|byte| if byte == b'@' { 0xe0 } else { byte })
                .collect(),
            Some("UTF-8"),
        ),
        bad("html", "<html>502</html>".into(), "no JSON"),
        bad("sse", "data: {\"choices\": []}\n\n".into(), "no JSON"),
    ]
}

/// Answers every request by the first part of its path.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if input.read_line(&mut head)? == 0 {
                return Ok(());
            }
            let line = head[start..].trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        input.read_exact(&mut vec![0; length])?;
        let name = head.split('/').nth(1).unwrap_or_default();
        let shapes = shapes();
        let (_, body, _) = shapes.iter().find(|(shape, ..)| *shape == name).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        out.write_all(&[head.as_bytes(), body].concat())?;
    }
}

#[test]
fn a_teacher_is_read_whatever_the_shape_of_its_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| serve(stream.unwrap()));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog();
    let scorers = Scorers::new(&catalog, &[]);
    for (name, _, expected) in shapes() {
        let toml = format!(
            "ledger = '{}'\n[server]\nbase_url = \"http://{address}/{name}/v1\"\nmax_retries = 1\n\
             first_delay = 0.01\nshow_replies = true\n[chat]\nmodel = \"m\"\n[judge]\nkind = \
             \"scripted\"",
            folder.path().join(name).display()
        );
        let file = Layer::parse(&toml, "services.toml".as_ref()).unwrap();
        let settings = ServiceSettings::resolve(&Layers::new([file])).unwrap();
        let server = OpenServer::open(&settings, Default::default())
            .unwrap()
            .unwrap();
        let handed_in = HandedIn {
            server: Some(&server),
            ..HandedIn::default()
        };
        let open = OpenServices::open(&settings, &catalog, &scorers, handed_in).unwrap();
        let config = PipelineConfig {
            n: 2,
            reflect: false,
            adjust: false,
            ..Default::default()
        };
        let pipeline = Pipeline::new(config, &catalog, open.services()).unwrap();
        let made = pipeline.run(&[example("d-1")], &|_| ());
        match (made, expected) {
            (Ok(made), None) => {
                let list: Vec<String> = made.steps[0]
                    .teacher
                    .iter()
                    .map(|named| named.item.to_string())
                    .collect();
                assert_eq!(list, ["Ronin (1998)", "Alien (1979)"], "{name}");
            }
            // A text of reasoning alone is an answer that names nothing.
            (Ok(made), Some("empty")) => assert!(made.steps[0].teacher.is_empty(), "{name}"),
            (Ok(_), Some(_)) => panic!("{name}: an answer where there is none"),
            (Err(error), expected) => {
                let (error, part) = (error.to_string(), expected.unwrap_or("an answer"));
                assert!(error.contains(part), "{name}: {error}");
            }
        }
        let usage = server.usage();
        let ends = (u64::from(name == "length"), u64::from(name == "filter"));
        assert_eq!((usage.cut, usage.filtered), ends, "{name}");
    }
}

/// A list that was cut at the limit of tokens: its last line counts where it is whole.
#[test]
fn the_half_line_of_a_cut_answer_names_nothing() {
    let items = ["The Godfather", "The Godfather Part II", "Up"].map(|title| CatalogItem {
        title: title.into(),
        year: None,
        genres: vec![],
        metadata: String::new(),
    });
    let catalog = Catalog::new(items.to_vec()).unwrap();
    let read = |raw: &str, finish: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let line = serde_json::json!({"id": "d-1", "raw": raw, "finish_reason": finish});
        std::fs::write(&path, format!("{line}\n")).unwrap();
        let teacher = ReplayTeacher::read(&path).unwrap();
        teacher.answer("d-1").unwrap().to_string()
    };
    let cut = "1. Up\n2. The Godfather";
    assert_eq!(read(cut, "length"), "1. Up\n");
    assert_eq!(read(cut, "stop"), cut);
    let whole = "1. Up\n2. Heat (1995)";
    assert_eq!(read(whole, "length"), whole);

    /// A model that is cut behind so many letters.
    struct Cut(&'static str);
    impl ChatModel for Cut {
        fn name(&self) -> String {
            "cut".into()
        }
        fn answer(
            &self,
            requests: &[ChatRequest],
            done: Done<'_>,
        ) -> Vec<Result<ChatAnswer, ServiceError>> {
            done(requests.len());
            let answer = || ChatAnswer {
                text: self.0.into(),
                is_cut: true,
            };
            requests.iter().map(|_| Ok(answer())).collect()
        }
    }
    let teacher = ChatTeacher::new(Cut(cut), &Prompts::default()).unwrap();
    let config = PipelineConfig {
        n: 2,
        years: Years::Optional,
        remap: false,
        reflect: false,
        adjust: false,
        ..PipelineConfig::default()
    };
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let services = Services {
        teacher: &teacher,
        embedder: &LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH),
        judge: None,
        describer: &(),
    };
    let made = Pipeline::new(config, &catalog, services).unwrap();
    let made = made.run(&[example("d-1")], &|_| ()).unwrap();
    let named: Vec<String> = made.steps[0]
        .teacher
        .iter()
        .map(|named| named.item.to_string())
        .collect();
    assert_eq!(named, ["Up"]);
}

#[test]
fn a_key_that_is_not_set_is_named_before_anything_is_asked() {
    let toml = "[server]\nbase_url = \"https://localhost:1/v1\"\napi_key_env = \
                \"CONVREC_NO_SUCH_KEY\"\n[chat]\nmodel = \"m\"";
    let file = Layer::parse(toml, "services.toml".as_ref()).unwrap();
    let settings = ServiceSettings::resolve(&Layers::new([file])).unwrap();
    let error = OpenServer::open(&settings, Default::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("environment variable CONVREC_NO_SUCH_KEY is not set"),
        "{error}"
    );
}
