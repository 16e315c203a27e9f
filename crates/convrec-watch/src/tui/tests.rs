use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::json;

use super::*;
use crate::{DoctorConfig, Journal, ListedItem, Timing, WatchConfig};

fn record(step: usize, entropy: f64) -> Record {
    let reward = step as f64 / 100.0;
    let record = json!({ "step": step, "reward": reward, "entropy": entropy, "rank_relevance": [0.42, 0.17] });
    record.as_object().unwrap().clone()
}

fn completion(step: usize, id: &str) -> CompletionRecord {
    let item = |name: &str, hit| ListedItem {
        name: name.into(),
        in_catalog: true,
        hit,
    };
    let items = vec![item("Heat (1995)", true), item("Alien (1979)", false)];
    CompletionRecord {
        step,
        id: id.into(),
        items,
        rewards: vec![1.0, 0.0],
        ended: true,
        ..CompletionRecord::default()
    }
}

/// A run of 60 of 100 steps.
fn write(folder: &Path, entropy: &dyn Fn(usize) -> f64) {
    let config = WatchConfig {
        completions_every: 10,
        ..WatchConfig::default()
    };
    let mut journal = Journal::open(Some(folder.into()), 0, config).unwrap();
    for step in 1..=60 {
        let completions = [completion(step, "dialog-1"), completion(step, "dialog-2")];
        let timing = Timing {
            seconds: 2.0,
            rollout_seconds: 1.0,
            tokens: 500,
        };
        let record = record(step, entropy(step));
        let view = StepView {
            record: &record,
            completions: &completions,
            timing,
            total_steps: 100,
        };
        if journal.step(&view).is_err() {
            return;
        }
    }
}

fn board() -> Board {
    Board::new("a run", DoctorConfig::default()).unwrap()
}

fn screen(board: &Board, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, board)).unwrap();
    terminal
}

fn text(terminal: &Terminal<TestBackend>) -> String {
    terminal.backend().to_string()
}

fn press(board: &mut Board, code: KeyCode) -> Wish {
    board.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn a_run_is_on_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &|_| 1.1);
    let mut board = board();
    let mut feed = Feed::new(folder.path());
    feed.pass_on(&mut board).unwrap();
    let terminal = screen(&board, 120, 40);
    let shown = text(&terminal);
    let expected = [
        "a run   step 60 of 100   250 tokens/s   sampling 50%   0:01:20 left",
        "doctor: nothing wrong",
        "reward",
        "0.6000",
        "relevant at rank",
        "42",
        "17",
        "step 60, dialog-1",
        "1* Heat (1995)  1.000",
        "2  Alien (1979)  0",
    ];
    expected
        .iter()
        .for_each(|part| assert!(shown.contains(part), "{part} in\n{shown}"));
    let hit = terminal
        .backend()
        .buffer()
        .content()
        .iter()
        .find(|cell| cell.symbol() == "H")
        .unwrap();
    assert_eq!(hit.fg, Color::Green);
    // A second call brings nothing new and nothing twice.
    feed.pass_on(&mut board).unwrap();
    assert_eq!(board.curves["reward"].len(), 60);
}

#[test]
fn an_ill_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &|step| if step > 30 { 0.001 } else { 1.1 });
    let mut board = board();
    Feed::new(folder.path()).pass_on(&mut board).unwrap();
    let shown = text(&screen(&board, 120, 40));
    assert!(
        shown.contains("entropy_low: steps 22 to 41") && !shown.contains("nothing wrong"),
        "{shown}"
    );
}

#[test]
fn a_run_that_is_deleted_and_begins_anew_leaves_nothing_of_the_former() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    write(&run, &|_| 1.1);
    let mut board = board();
    let mut feed = Feed::new(&run);
    feed.pass_on(&mut board).unwrap();
    assert_eq!((board.step, board.total), (60, 100));
    std::fs::remove_dir_all(&run).unwrap();
    feed.pass_on(&mut board).unwrap();
    assert_eq!(
        (board.step, board.curves.len(), board.completions.len()),
        (0, 0, 0)
    );
    assert!(text(&screen(&board, 120, 40)).contains("waiting for the first step"));
    assert_eq!(board.summary(), "");
    write(&run, &|_| 0.9);
    for _ in 0..2 {
        feed.pass_on(&mut board).unwrap();
        assert_eq!(board.curves["entropy"].len(), 60);
    }
    assert_eq!(board.pace.tokens_per_second(), Some(250.0));
    assert!(text(&screen(&board, 120, 40)).contains("step 60, dialog-1"));
}

#[test]
fn the_last_figures_stay_in_the_terminal() {
    let mut board = board();
    (1..=60).for_each(|step| board.record(&record(step, if step > 30 { 0.001 } else { 1.1 })));
    let summary = board.summary();
    let expected = [
        "a run: step 60\n",
        "  reward   0.6000\n",
        "  entropy_low: steps ",
    ];
    expected
        .iter()
        .for_each(|part| assert!(summary.contains(part), "{part} in\n{summary}"));
}

#[test]
fn curves_have_a_legend_and_ticks_that_differ() {
    let mut board = board();
    for step in 1..=40 {
        let record = json!({ "step": step, "kl": 1e-7 * f64::from(step) });
        board.record(record.as_object().unwrap());
    }
    let shown = text(&screen(&board, 120, 40));
    for part in [
        "each step",
        "mean of 3 steps",
        "1.00e-7",
        "2.05e-6",
        "4.00e-6",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let mut constant = self::board();
    (1..=9).for_each(|step| {
        let record = json!({ "step": step, "kl": 2.0 });
        constant.record(record.as_object().unwrap());
    });
    let shown = text(&screen(&constant, 120, 40));
    for part in ["│3│", "│2│⠉", "│1│"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
}

#[test]
fn what_cannot_be_read_is_on_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log.jsonl"), "{\"step\": 1}\n<\n").unwrap();
    let mut board = board();
    let error = Feed::new(folder.path()).pass_on(&mut board).unwrap_err();
    board.problem(Some(error.to_string()));
    assert!(text(&screen(&board, 160, 40)).contains("log.jsonl, line 2"));
}

#[test]
fn keys_change_the_curve_and_the_list() {
    let mut board = board();
    for code in [KeyCode::Tab, KeyCode::Char(' '), KeyCode::Left] {
        assert_eq!(press(&mut board, code), Wish::Stay, "on an empty board");
    }
    (1..=3).for_each(|step| board.record(&record(step, 1.0)));
    board.completions(&[completion(3, "dialog-1"), completion(3, "dialog-2")]);
    assert_eq!(board.curve, "reward");
    press(&mut board, KeyCode::Tab);
    assert_eq!(board.curve, "entropy");
    press(&mut board, KeyCode::Right);
    assert_eq!(board.curve, "reward");
    press(&mut board, KeyCode::Up);
    assert_eq!(board.curve, "entropy");
    press(&mut board, KeyCode::Char(' '));
    assert!(text(&screen(&board, 120, 40)).contains("dialog-2"));
    assert_eq!(press(&mut board, KeyCode::Char('q')), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(board.key(interrupt), Wish::Interrupt);
}

#[test]
fn any_terminal_is_large_enough() {
    let mut board = board();
    for (width, height) in [(1, 1), (10, 3), (46, 12), (300, 90)] {
        screen(&board, width, height);
        board.record(&record(board.step + 1, f64::NAN));
        board.completions(&[completion(1, "x")]);
        screen(&board, width, height);
    }
}

#[test]
fn steps_of_the_same_process_are_heard() {
    let (steps, heard) = mpsc::channel();
    let mut screen = Screen {
        steps: Some(steps),
        thread: None,
    };
    let timing = Timing {
        seconds: 1.0,
        rollout_seconds: 0.5,
        tokens: 10,
    };
    let record = record(1, 1.0);
    screen.observe(&StepView {
        record: &record,
        completions: &[completion(1, "x")],
        timing,
        total_steps: 9,
    });
    let mut board = board();
    assert!(hear(&heard, &mut board));
    assert_eq!(
        (board.step, board.total, board.completions.len()),
        (1, 9, 1)
    );
    drop(screen);
    assert!(!hear(&heard, &mut board), "the run has ended");
}
