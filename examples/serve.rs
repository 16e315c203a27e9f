//! Serves a model over HTTP: lists for conversations, completions for a trainer that samples
//! elsewhere, and a page to talk to.

use std::net::TcpListener;
use std::path::PathBuf;

use clap::Parser;
use convrec::device;
use convrec_cli::data::read_catalog;
use convrec_cli::{Outcome, exit};
use convrec_serve::{EngineLimits, Server, ServerConfig, serve};
use convrec_train::Model;

/// Serves a model: a page at /, OpenAI's protocol at /v1, recommendations at /v1/recommend.
///
/// Keys come from the environment, several with commas between them: CONVREC_API_KEYS for clients,
/// CONVREC_ADMIN_KEY for who loads new weights. SIGTERM and Ctrl-C end it once requests are answered.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years. Without it there are only
    /// unconstrained completions.
    #[arg(long)]
    catalog: Option<PathBuf>,
    /// Let recommended lists be whatever the policy writes.
    #[arg(long, requires = "catalog")]
    unconstrained: bool,
    /// Treat items of the catalog that are most likely one as different items.
    #[arg(long, requires = "catalog")]
    keep_twins: bool,
    /// Load new weights and catalogs on request, from below this folder.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: String,
    /// What clients call the model; the folder's name where it is left out.
    #[arg(long)]
    name: Option<String>,
    /// Names that the server is reached by, beside addresses and localhost.
    #[arg(long)]
    host: Vec<String>,
    /// Other pages that may ask, as https://films.example.
    #[arg(long)]
    origin: Vec<String>,
    /// Completions that are written side by side; bounds memory with --tokens.
    #[arg(long, default_value_t = EngineLimits::default().rows)]
    rows: usize,
    /// Tokens of prompts and completions under way at most.
    #[arg(long, default_value_t = EngineLimits::default().tokens)]
    tokens: usize,
    /// Write a line for each request to standard error, without its contents.
    #[arg(long)]
    log: bool,
}

fn main() -> std::process::ExitCode {
    exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let device = device()?;
    let model = Model::load(&options.model, &device)?;
    let catalog = options.catalog.as_deref().map(read_catalog).transpose()?;
    let folder = options
        .model
        .file_name()
        .unwrap_or(options.model.as_os_str());
    let name = options
        .name
        .unwrap_or_else(|| folder.to_string_lossy().into_owned());
    let engine = EngineLimits {
        rows: options.rows,
        tokens: options.tokens,
        ..EngineLimits::default()
    };
    let keys = |name: &str| -> Vec<String> {
        let keys = std::env::var(name).unwrap_or_default();
        keys.split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(String::from)
            .collect()
    };
    let mut config = ServerConfig::new(&name)
        .keys(keys("CONVREC_API_KEYS"))
        .admin_keys(keys("CONVREC_ADMIN_KEY"))
        .hosts(options.host)
        .origins(options.origin)
        .engine(engine)
        .log(options.log)
        .unconstrained(options.unconstrained)
        .keep_twins(options.keep_twins);
    if let Some(folder) = options.weights {
        config = config.weights(folder);
    }
    let server = Server::new(model, catalog, device, config)?;
    let listener = TcpListener::bind(&options.listen)
        .map_err(|e| format!("cannot listen at {}: {e}", options.listen))?;
    println!("{name} at http://{}/", listener.local_addr()?);
    Ok(serve(listener, server)?)
}
