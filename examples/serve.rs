//! Serves a model over HTTP: completions for a trainer that samples elsewhere, and recommendations.

use std::path::PathBuf;

use clap::Parser;
use convrec::device;
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{Outcome, exit};
use convrec_serve::{Served, serve};
use convrec_train::Model;

/// Serves a model in the OpenAI protocol.
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
    /// Load new weights on request, from folders below this one. Without it none are loaded.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// The address to listen on. There are no keys: whoever reaches this address may ask.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: String,
    /// The name of the model for clients. The default is the folder's name.
    #[arg(long)]
    name: Option<String>,
    /// The most completions that are sampled side by side, which bounds memory.
    #[arg(long, default_value_t = 256)]
    rows: usize,
    /// Requests under way at once; others wait.
    #[arg(long, default_value_t = 64)]
    threads: usize,
}

fn main() -> std::process::ExitCode {
    exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let device = device()?;
    let Model { policy, language } = Model::load(&options.model, &device)?;
    let task = options
        .catalog
        .map(|path| -> Result<_, Box<dyn std::error::Error>> {
            let catalog = options.data.catalog(&path, TwinRule::Merge)?;
            Ok(language.task_for(catalog, options.unconstrained)?)
        })
        .transpose()?;
    let folder = || {
        options
            .model
            .file_name()
            .unwrap_or(options.model.as_os_str())
            .to_string_lossy()
            .into_owned()
    };
    let served = Served {
        name: options.name.unwrap_or_else(folder),
        end_token: language.end()?,
        language,
        config: policy.config().clone(),
        task,
        weights: options.weights,
        max_rows: options.rows,
    };
    let name = served.name.clone();
    let serving = serve(policy, served, device, &options.listen, options.threads)?;
    println!("{name} at http://{}/v1", serving.address());
    serving.wait();
    Ok(())
}
