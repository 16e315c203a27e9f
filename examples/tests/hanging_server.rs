//! A trainer beside a server that hangs ends when it is told to, and loses nothing.

#![cfg(unix)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::model;
use convrec::core::{ItemId, jsonl};
use convrec::prelude::{Device, Example, Turn};
use convrec::serve::{Server, ServerConfig, Serving};

/// The variable that both sides read the key of the operator from, and the key.
const KEY: [&str; 2] = ["CONVREC_TEST_KEY", "of-a-test"];

const STEPS: &str = "3";

/// A folder with a model, a catalog and conversations.
fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    model(&Device::flex()).save(path("model")).unwrap();
    let films = "title,year\nHeat,1995\nUp,2009\nAlien,1979\nHer,2013\nRan,1985\n";
    std::fs::write(path("films.csv"), films).unwrap();
    let catalog = convrec::read_catalog(path("films.csv")).unwrap();
    let example = |n: u32| Example {
        id: format!("c-{n}"),
        dialog: vec![Turn::user("Something good?")],
        seen: vec![],
        ground_truth: vec![catalog[ItemId(n % 5)].item()],
    };
    let examples: Vec<Example> = (0..6).map(example).collect();
    jsonl::write_file(path("train.jsonl"), &examples).unwrap();
    std::fs::create_dir(path("weights")).unwrap();
    folder
}

fn serving(folder: &Path) -> Serving {
    let device = Device::flex();
    let catalog = convrec::read_catalog(folder.join("films.csv")).unwrap();
    let config = ServerConfig::new("policy")
        .admin_keys([KEY[1].to_string()])
        .weights(folder.join("weights"));
    let server = Server::new(model(&device), Some(catalog), device, config).unwrap();
    server
        .start(TcpListener::bind("127.0.0.1:0").unwrap())
        .unwrap()
}

/// Passes all on to a server until its weights shall change for the second time. From then on it
/// takes requests and answers none. Says when that is.
fn hanging_front(server: SocketAddr) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, hangs) = channel();
    let (reloads, hung) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (told, reloads, hung) = (told.clone(), reloads.clone(), hung.clone());
            std::thread::spawn(move || pass_on(client, server, &told, &reloads, &hung));
        }
    });
    (address, hangs)
}

fn pass_on(
    mut client: TcpStream,
    server: SocketAddr,
    told: &Sender<()>,
    reloads: &AtomicUsize,
    hung: &AtomicBool,
) -> Option<()> {
    let mut server = TcpStream::connect(server).ok()?;
    let (mut answers, mut back) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let mut bytes = [0; 65_536];
    loop {
        let n = client.read(&mut bytes).ok().filter(|n| *n > 0)?;
        // A request's first line comes in one piece with the rest of its head.
        if bytes[..n].starts_with(b"POST /admin/reload")
            && reloads.fetch_add(1, Ordering::SeqCst) == 1
        {
            hung.store(true, Ordering::SeqCst);
            told.send(()).ok()?;
        }
        if !hung.load(Ordering::SeqCst) {
            server.write_all(&bytes[..n]).ok()?;
        }
    }
}

fn trainer(folder: &Path, server: SocketAddr, flags: &[&str]) -> Child {
    let settings = format!(
        "weights = \"weights\"\nconstrained = true\n[[servers]]\nbase_url = \"http://{server}/v1\"\n\
         api_key_env = \"{}\"\n[completions]\nmodel = \"policy\"\nupdate = \"reload\"\n",
        KEY[0]
    );
    std::fs::write(folder.join("sampler.toml"), settings).unwrap();
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().unwrap().with_file_name("examples");
    let mut command = Command::new(examples.join("train_rank_grpo"));
    command
        .current_dir(folder)
        .args("--catalog films.csv --model model --conversations train.jsonl --out run".split(' '))
        .args("--sampler sampler.toml --prompts-per-step 2 --num-generations 2".split(' '))
        .args(["--max-steps", STEPS])
        .args(flags)
        .env(KEY[0], KEY[1])
        .stdout(Stdio::null());
    command.spawn().unwrap()
}

/// The exit code. A trainer that does not end is ended.
fn exit_code(mut trainer: Child) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(120) {
        if let Some(status) = trainer.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    trainer.kill().unwrap();
    panic!("the trainer did not end");
}

#[test]
fn a_trainer_beside_a_hanging_server_ends_with_a_checkpoint() {
    ends_with_a_checkpoint(&[]);
}

/// The weights change for the second time while the first step still learns.
#[test]
fn a_trainer_that_samples_ahead_ends_so_too() {
    ends_with_a_checkpoint(&["--one-step-off-policy"]);
}

fn ends_with_a_checkpoint(flags: &[&str]) {
    let folder = data();
    let serving = serving(folder.path());
    let (front, hangs) = hanging_front(serving.address());
    let mut running = trainer(folder.path(), front, flags);
    while hangs.recv_timeout(Duration::from_millis(200)).is_err() {
        let ended = running.try_wait().unwrap();
        assert!(ended.is_none(), "the trainer ended by itself: {ended:?}");
    }
    let told = Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    // There is more to do.
    assert_eq!(exit_code(running), Some(2));
    let checkpoints = || {
        let entries = std::fs::read_dir(folder.path().join("run")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter(|name| name.starts_with("checkpoint-"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(checkpoints(), ["checkpoint-000001"]);
    // It goes on from there with a server that answers.
    let flags = [flags, &["--resume"]].concat();
    let resumed = trainer(folder.path(), serving.address(), &flags);
    assert_eq!(exit_code(resumed), Some(0));
    assert_eq!(checkpoints().last().unwrap(), "checkpoint-000003");
    serving.stop().unwrap();
}
