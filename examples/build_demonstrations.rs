//! Makes demonstrations by Remap-Reflect-Adjust. Conversations and a teacher's answers go in, and
//! lists from the catalog come out.
//!
//! The teacher is a model on a server (`--services`) or a file of answers (`--answers`). Where
//! neither is given, it is a script that ranks by co-occurrence and BM25 and makes mistakes.

use std::time::Instant;

use clap::Parser;
use convrec::core::printable;
use convrec::demonstrations::scripted::Scorers;
use convrec::demonstrations::services::{OpenServer, OpenServices};
use convrec::demonstrations::{Origin, Pipeline};
use convrec::train::data::survey;
use convrec_cli::data::TwinRule;
use convrec_cli::demonstrations::{DemonstrationOptions, Output, adjust, write_part};
use convrec_cli::services::{handed_in, open_server};
use convrec_cli::{Outcome, exit, say};

/// Makes demonstrations by Remap-Reflect-Adjust.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    demonstrations: DemonstrationOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse().demonstrations))
}

fn run(options: &DemonstrationOptions) -> Outcome {
    let started = Instant::now();
    let settings = options.services.settings()?;
    options.check_files(&settings)?;
    let config = options.config()?;
    let server = open_server(&settings)?;
    let server = server.as_ref();
    let catalog = options.data.catalog(&options.catalog, TwinRule::Keep)?;
    let catalog = options.described(&settings, server, catalog)?;
    let mut examples = options.data.conversations(&options.conversations)?;
    say(format_args!(
        "conversations: {}",
        survey(&catalog, &examples)
    ));

    // Scripted services learn from the conversations; the others are opened as the settings say.
    let scorers = Scorers::new(&catalog, &examples);
    let handed_in = handed_in(&settings, server, &catalog, &convrec::device()?)?;
    let services = OpenServices::open(&settings, &catalog, &scorers, handed_in)?;
    for (role, name) in services.names() {
        say(format_args!("{role}: {}", printable(name)));
    }
    let all = examples.len();
    services.keep_answered(&mut examples)?;
    if examples.len() < all {
        say(format_args!(
            "{} of {all} conversations have an answer",
            examples.len()
        ));
    }
    options.augment(&mut examples, &catalog, settings.seed);
    options.check_ground_truth(&config, &catalog, &examples)?;

    let origin = Origin::new(config, &catalog, &examples, services.names());
    let pipeline = Pipeline::new(config, &catalog, services.services())?;
    let scored = options.scored(&pipeline, &examples, server, &origin)?;
    if let Some(shard) = options.shard {
        return write_part(&options.out, shard, &scored, &origin, server);
    }
    let output = adjust(&pipeline, &scored)?;
    let made = Output {
        options,
        described: settings.describer.server,
        catalog: &catalog,
        origin: &origin,
        scored: &scored,
        output: &output,
        usage: server.map(OpenServer::usage),
    };
    made.write(started.elapsed())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_sound() {
        super::Options::command().debug_assert();
    }
}
