//! A warning says that the client waits for a server. The test has a binary of its own, as a
//! process has one logger.

mod common;

use std::sync::Mutex;

use common::{Reply, TestServer, ask, echoed, model, new_ledger, quick, requests};

struct Kept(Mutex<Vec<String>>);

impl log::Log for Kept {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("convrec_llm")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

#[test]
fn what_is_asked_again_is_warned_of_once_for_all() {
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let server = TestServer::start(|seen| {
        if seen.before == 0 {
            Reply::status(503)
        } else {
            echoed(seen)
        }
    });
    let (_folder, ledger) = new_ledger();
    let answers = ask(&model(quick(&server), &ledger), &requests(20));
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.requests(), 40);
    let kept = KEPT.0.lock().unwrap();
    let [no_key, warning] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    let expected = format!(
        "{}: no key is sent, as CONVREC_TEST_NO_KEY is not set",
        server.base_url
    );
    assert_eq!(no_key, &expected);
    assert!(
        warning.contains(&server.base_url) && warning.contains("503"),
        "{warning}"
    );
    assert!(warning.contains("asking again in"), "{warning}");
}
