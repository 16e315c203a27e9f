//! Lists of a policy behind a retriever: what is served is what the library recommends.

use burn::tensor::Device;
use convrec_core::{Example, Item, ItemId, Turn};
use convrec_retrieve::Fitted;
use convrec_serve::Server;
use convrec_train::Model;
use serde_json::json;

use crate::common::*;

const TEXT: &str = "I like Heat (1995)";

/// Who likes Heat likes Her or Up.
fn fitted() -> Fitted {
    let example = |n: usize| {
        let liked = if n.is_multiple_of(4) {
            ("Up", 2009)
        } else {
            ("Her", 2013)
        };
        Example {
            id: format!("d{n}-1"),
            dialog: vec![Turn::user(TEXT)],
            seen: vec![Item::new("Heat", 1995)],
            ground_truth: vec![Item::new(liked.0, liked.1)],
        }
    };
    let examples: Vec<Example> = (0..40).map(example).collect();
    let mut fitted = Fitted::fit(&catalog(), &examples).unwrap();
    fitted.weight = 1e3;
    fitted
}

fn model() -> Model {
    let mut language = language();
    language.retriever = Some(fitted().into());
    let policy = policy(3);
    Model { policy, language }
}

#[test]
fn a_retrievers_scores_are_part_of_what_is_served() {
    let server = Server::new(model(), Some(catalog()), Device::flex(), config()).unwrap();
    let serving = server
        .start(std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .unwrap();
    let model = model();
    let recommender = model.recommender(catalog()).unwrap();
    let turns = [Turn::user(TEXT)];
    let expected = recommender.recommend(&turns, &[ItemId(0)], 2).unwrap();
    let expected: Vec<u32> = expected.iter().map(|best| best.id.0).collect();
    let example = Example {
        id: "d-1".into(),
        dialog: turns.to_vec(),
        seen: vec![Item::new("Heat", 1995)],
        ground_truth: vec![],
    };
    let task = model.language.task(catalog()).unwrap();
    let found = task.sample(&example).unwrap().candidates.unwrap();
    let ranked: Vec<u32> = found.items().iter().map(|id| id.0).collect();
    assert_eq!(expected, ranked[..2], "the retriever decides");
    let [best, second] = [expected[0], expected[1]].map(u64::from);
    let ask = |more: serde_json::Value| -> Vec<u64> {
        let mut body = json!({ "messages": [{ "role": "user", "content": TEXT }] });
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let answer = post(&serving, "/v1/recommend", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer = answer.json();
        let items = answer["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ask(json!({})), [best, second]);
    assert_eq!(ask(json!({ "num_beams": 3 })), [best, second]);
    assert_eq!(ask(json!({ "exclude": [best] }))[0], second);
    let only = json!({ "only": [3, second, best] });
    assert_eq!(ask(only), [best, second]);
    serving.stop().unwrap();
}
