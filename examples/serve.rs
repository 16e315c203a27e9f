//! Serves a model over HTTP: lists for conversations, completions for a trainer that samples
//! elsewhere, and a page to talk to.

use std::path::PathBuf;

use clap::Parser;
use convrec::device;
use convrec::prelude::Model;
use convrec::serve::{Server, serve};
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{Outcome, ServeOptions, exit, say};

/// Serves a model: a page at /, OpenAI's protocol at /v1, recommendations at /v1/recommend.
///
/// Keys come from the environment, several with commas between them: CONVREC_API_KEYS for clients,
/// CONVREC_ADMIN_KEY for who loads new weights. SIGTERM and Ctrl-C end it once requests are
/// answered.
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
    #[command(flatten)]
    serving: ServeOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let serving = &options.serving;
    let config = serving.config(&options.model)?;
    let device = device()?;
    let model = Model::load(&options.model, &device)?;
    let read = |path| options.data.catalog(path, TwinRule::Merge);
    let catalog = options.catalog.as_deref().map(read).transpose()?;
    let config = config
        .unconstrained(options.unconstrained)
        .keep_twins(options.data.keep_twins);
    let server = Server::new(model, catalog, device, config)?;
    let listener = serving.bind()?;
    let (name, address) = (serving.name(&options.model), listener.local_addr()?);
    say(format_args!("{name} at http://{address}/"));
    Ok(serve(listener, server)?)
}
