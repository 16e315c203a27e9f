//! Bodies of requests: what a conversation, a format and stop texts are read as keeps to the
//! limits, or is refused in few words that name the field.
//!
//! The readers are compiled from their sources: their crate brings burn, which has no part in them.
#![no_main]
#![allow(dead_code, unreachable_pub)]

#[path = "../../crates/convrec-serve/src"]
mod serve {
    pub mod object;
    pub mod refusal;

    #[path = "protocol"]
    pub mod protocol {
        pub mod messages;
        pub mod response_format;
        pub mod stop;
    }
}

/// The fields of the crate's limits that these sources name; its file brings burn.
mod config {
    pub struct Limits {
        pub turns: usize,
        pub characters: usize,
    }
}

use convrec_core::Role;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::{Value, json};
use serve::protocol::messages::{self, Message};
use serve::protocol::response_format::{JsonList, ResponseFormat};
use serve::protocol::stop::{self, Stop, Watch};
// The sources name them from the root of their crate.
use serve::object::{self, Object};
use serve::refusal;

#[derive(Deserialize)]
struct Body {
    messages: Option<Vec<Object<Message>>>,
    response_format: Option<Object<ResponseFormat>>,
    stop: Option<Stop>,
    /// What the model wrote.
    written: Option<String>,
}

const LIMITS: config::Limits = config::Limits {
    turns: 8,
    characters: 500,
};

fuzz_target!(|data: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Body>(data) else {
        return;
    };
    if let Some(Ok(turns)) = body.messages.map(|all| said(messages::turns(all, &LIMITS))) {
        assert_eq!(turns.last().map(|turn| turn.role), Some(Role::User));
        assert!(turns.len() <= LIMITS.turns);
        let characters: usize = turns.iter().map(|turn| turn.content.chars().count()).sum();
        assert!(characters <= LIMITS.characters, "{characters}");
    }
    if let Ok(Some(list)) = said(ResponseFormat::list(body.response_format)) {
        is_json(&list);
    }
    if let Ok(stops) = said(Stop::texts(body.stop)) {
        ends_where_it_should(&stops, &body.written.unwrap_or_default());
    }
});

/// Clients get few words, whatever they sent.
fn said<T>(read: Result<T, refusal::Refusal>) -> Result<T, ()> {
    read.map_err(|refusal| {
        let body = refusal.body();
        let message = body["error"]["message"].as_str().unwrap();
        assert!((11..2010).contains(&message.chars().count()), "{message}");
    })
}

fn is_json(list: &JsonList) {
    let item = json!({ "id": 1, "title": "\"\u{0}é", "year": null, "score": 0.5, "rank": 1, "name": "\"" });
    let text = format!(
        "{}{},{}{}",
        list.opening(),
        list.item(&item),
        list.item(&item),
        JsonList::CLOSING
    );
    let read: Value = serde_json::from_str(&text).expect("what is written is JSON");
    let lists: Vec<&Value> = read.as_object().unwrap().values().collect();
    assert!(lists.len() == 1 && lists[0].as_array().unwrap().len() == 2);
}

/// The quick searches agree with the obvious one.
fn ends_where_it_should(stops: &[String], text: &str) {
    let first = stops
        .iter()
        .filter_map(|stop| text.find(stop.as_str()))
        .min();
    assert_eq!(stop::find(text, 0, stops), first);
    let mut watch = Watch::new(stops, |token| vec![token as u8]);
    let ends = text.bytes().position(|byte| watch.ends(u32::from(byte)));
    let ending = (0..=text.len()).find(|end| {
        stops
            .iter()
            .any(|stop| text.as_bytes()[..*end].ends_with(stop.as_bytes()))
    });
    assert_eq!(ends.map(|place| place + 1), ending);
}
