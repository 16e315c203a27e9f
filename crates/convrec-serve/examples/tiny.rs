//! Serves a tiny untrained model over a few films, for tests of clients.
//!
//! ```sh
//! cargo run --release -p convrec-serve --example tiny -- [--rows 64] [--waiting 512]
//! ```
//!
//! It prints its address as the first line, and takes keys from the environment as `serve` does:
//! `CONVREC_API_KEYS` and `CONVREC_ADMIN_KEY`. Its lists are of no use to anybody: they only have
//! the form of lists. Each start gives the same ones.

mod support;

use std::error::Error;
use std::net::TcpListener;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::CatalogItem;
use convrec_serve::{EngineLimits, Server, ServerConfig, serve};
use support::flags::Flags;
use support::model::{Shape, untrained};

/// Titles that a page may stumble over are among them.
const FILMS: [(&str, i32, &[&str]); 16] = [
    ("Heat", 1995, &["Crime", "Drama"]),
    ("Up", 2009, &["Animation", "Comedy"]),
    ("Alien", 1979, &["Horror", "Science Fiction"]),
    ("Alien 3", 1992, &["Horror", "Science Fiction"]),
    ("Her", 2013, &["Drama", "Science Fiction"]),
    ("Amélie", 2001, &["Comedy", "Romance"]),
    ("Paprika", 2006, &["Animation", "Science Fiction"]),
    ("<img src=x onerror=alert(1)>", 2020, &["Comedy"]),
    ("Jaws", 1975, &["Horror"]),
    ("Fargo", 1996, &["Comedy", "Crime"]),
    ("Ran", 1985, &["Drama", "War"]),
    ("Das Boot", 1981, &["Drama", "War"]),
    ("Coco", 2017, &["Animation", "Comedy"]),
    ("Zodiac", 2007, &["Crime", "Drama"]),
    (
        "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb",
        1964,
        &["Comedy", "War"],
    ),
    ("Arrival", 2016, &["Drama", "Science Fiction"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read();
    let engine = EngineLimits::default();
    let engine = EngineLimits {
        rows: flags.value("rows", engine.rows),
        waiting: flags.value("waiting", engine.waiting),
        ..engine
    };
    let keys = |name: &str| -> Vec<String> {
        let keys = std::env::var(name).unwrap_or_default();
        let keys = keys.split(',').filter(|key| !key.is_empty());
        keys.map(String::from).collect()
    };
    let config = ServerConfig::new("tiny")
        .keys(keys("CONVREC_API_KEYS"))
        .admin_keys(keys("CONVREC_ADMIN_KEY"))
        .engine(engine);
    let films = FILMS.map(|(title, year, genres)| CatalogItem {
        title: title.into(),
        year: Some(year),
        genres: genres.iter().copied().map(String::from).collect(),
        metadata: String::new(),
    });
    let catalog = Catalog::new(films.to_vec())?;
    let device = Device::flex();
    let shape = Shape {
        vocab_size: 400,
        width: 32,
        layers: 2,
        heads: 2,
        n_ranks: 5,
        max_new_tokens: 200,
    };
    let model = untrained(&catalog, &device, &shape);
    let server = Server::new(model, Some(catalog), device, config)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    Ok(serve(listener, server)?)
}
