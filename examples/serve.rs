//! Serves a model over HTTP: lists for conversations, completions for a trainer that samples
//! elsewhere, and a page to talk to.

use std::net::TcpListener;
use std::path::PathBuf;

use clap::Parser;
use convrec::device;
use convrec::prelude::Model;
use convrec::serve::{EngineLimits, Server, ServerConfig, serve};
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{Outcome, exit, say};

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
    /// Let recommended lists be unconstrained. Without this flag only different unseen catalog
    /// items can be written.
    #[arg(long, requires = "catalog")]
    unconstrained: bool,
    #[command(flatten)]
    data: DataOptions,
    /// Load new weights and catalogs on request, from below this folder.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: String,
    /// The name of the model for clients. The default is the folder's name.
    #[arg(long)]
    name: Option<String>,
    /// Names that the server is reached by, beside addresses and localhost.
    #[arg(long)]
    host: Vec<String>,
    /// Other pages that may ask, as https://films.example.
    #[arg(long)]
    origin: Vec<String>,
    /// The most completions that are written side by side, which bounds memory with --tokens.
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
    let read = |path| options.data.catalog(path, TwinRule::Merge);
    let catalog = options.catalog.as_deref().map(read).transpose()?;
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
        .keep_twins(options.data.keep_twins);
    if let Some(folder) = options.weights {
        config = config.weights(folder);
    }
    let server = Server::new(model, catalog, device, config)?;
    let listener = TcpListener::bind(&options.listen);
    let listener = listener.map_err(|e| format!("cannot listen at {}: {e}", options.listen))?;
    say(format_args!("{name} at http://{}/", listener.local_addr()?));
    Ok(serve(listener, server)?)
}
