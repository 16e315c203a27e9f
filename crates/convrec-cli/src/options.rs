//! Groups of flags. A flag sets its field in a [`Layer`] over the config file.

use std::path::PathBuf;

use clap::Args;
use convrec_config::{ConfigError, Layer, Layers};
use convrec_policy::Projection;
use convrec_train::Dtype;

use crate::data::DataOptions;

/// The flags of every training run.
#[derive(Debug, Args)]
pub struct TrainingOptions {
    /// The catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    pub catalog: Option<PathBuf>,
    /// A model to start from: its folder, the folder of a PEFT adapter, or a name on the hub
    /// (`org/name`, with the feature `hub`).
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// A retriever, as `fit_retriever` writes it. Lists hold what it finds and nothing else, and
    /// its scores are added to what the policy says. The model keeps it.
    #[arg(long, conflicts_with = "unconstrained")]
    pub retriever: Option<PathBuf>,
    /// Conversations to evaluate on while training.
    #[arg(long)]
    pub validation: Option<PathBuf>,
    /// The most validation samples that are used, evenly spread. [default: 300]
    #[arg(long, value_parser = at_least_one)]
    pub validation_samples: Option<usize>,
    /// The folder of the run: its log, completions and checkpoints, and at the end the model.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Go on from the newest checkpoint in the folder. Begin where there is none.
    #[arg(long)]
    pub resume: bool,
    /// Let the policy write unconstrained lists. Without this flag only lists of N different,
    /// unseen catalog items can be written.
    #[arg(long)]
    pub unconstrained: bool,
    /// What becomes of rows that cannot be used, and of likely twins.
    #[command(flatten)]
    pub data: DataOptions,
    /// A TOML file with settings, as --print-config writes it. It may leave settings out, and flags
    /// win over it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Print all settings as TOML and do nothing else.
    #[arg(long)]
    pub print_config: bool,
    /// Load everything, take three steps in memory, and print the tokens, time and memory of the
    /// run.
    #[arg(long, conflicts_with = "print_config")]
    pub dry_run: bool,
    /// Show the run on the full screen; q leaves the view.
    #[cfg(feature = "tui")]
    #[arg(long)]
    pub view: bool,
    /// Write event files for TensorBoard into the folder.
    #[arg(long)]
    pub tensorboard: bool,
    /// Stop after this many steps, with a checkpoint. --resume goes on.
    #[arg(long, value_parser = at_least_one)]
    pub stop_after: Option<usize>,
    /// The number of steps: updates of SFT, batches of rollouts of RL.
    #[arg(long)]
    pub max_steps: Option<usize>,
    /// The largest learning rate.
    #[arg(long, allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,
    /// The seed of new weights, of the order of the data, and of samples.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Train a low-rank adapter of this rank, and leave the weights as they are. The trained model
    /// has the adapter merged; the adapter alone is in its folder `adapter`.
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// The alpha of the adapter, whose scale is alpha / rank.
    #[arg(long, allow_negative_numbers = true)]
    pub lora_alpha: Option<f64>,
    /// The projections with an adapter: some of
    /// q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj.
    #[arg(long, value_delimiter = ',')]
    pub lora_targets: Option<Vec<Projection>>,
    /// The number of steps between evaluations; 0 never evaluates. [default: 100]
    #[arg(long)]
    pub evaluate_every: Option<usize>,
    /// The number of steps between checkpoints; 0 writes only the last. [default: 100]
    #[arg(long)]
    pub checkpoint_every: Option<usize>,
    /// The type of the numbers in the saved model: f32, f16 or bf16. [default: that of the model
    /// that was read, f32 for a new one]
    #[arg(long)]
    pub dtype: Option<Dtype>,
}

impl TrainingOptions {
    /// The layer of these flags. A program adds its own.
    #[must_use]
    pub fn flags(&self) -> Layer {
        let mut flags = Layer::flags();
        flags.set("files.catalog", self.catalog.as_ref());
        flags.set("files.model", self.model.as_ref());
        flags.set("files.retriever", self.retriever.as_ref());
        flags.set("files.validation", self.validation.as_ref());
        flags.set("files.validation_samples", self.validation_samples);
        flags.set("files.unconstrained", given(self.unconstrained));
        flags.set("files.skip_bad", given(self.data.skip_bad));
        flags.set("files.merge_twins", self.data.twins());
        flags.set("files.dtype", self.dtype);
        flags.set("run.folder", self.out.as_ref());
        flags.set("run.resume", given(self.resume));
        flags.set("run.watch.tensorboard", given(self.tensorboard));
        flags.set("run.stop_after", self.stop_after);
        flags.set("run.evaluate_every", self.evaluate_every);
        flags.set("run.checkpoint_every", self.checkpoint_every);
        flags.set("max_steps", self.max_steps);
        flags.set("optimizer.learning_rate", self.learning_rate);
        flags.set("seed", self.seed);
        flags.set("lora.rank", self.lora_rank);
        flags.set("lora.alpha", self.lora_alpha);
        flags.set("lora.targets", self.lora_targets.as_ref());
        flags
    }

    /// The config file, where one is named, and the flags of the program over it.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or is no TOML.
    pub fn layers(&self, flags: Layer) -> Result<Layers, ConfigError> {
        let file = self.config.as_deref().map(Layer::read).transpose()?;
        Ok(Layers::new(file.into_iter().chain([flags])))
    }
}

/// A switch sets its field where it is given, and leaves it to the file where it is not.
fn given(switch: bool) -> Option<bool> {
    switch.then_some(true)
}

/// The flags that shape a new decoder: the table `[decoder]` of a config file.
#[derive(Debug, Default, PartialEq, Args)]
pub struct DecoderOptions {
    /// The number of tokens in the vocabulary of a new decoder. [default: 8192]
    #[arg(long)]
    pub vocabulary: Option<usize>,
    /// Make each line of the catalog one token.
    #[arg(long)]
    pub title_tokens: bool,
    /// Write each item of the catalog as some codes, which like items share: a million items need
    /// some hundred tokens.
    #[arg(long)]
    pub semantic_ids: bool,
    /// The codes of an item, without those that tell items of equal codes apart. [default: 3]
    #[arg(long)]
    pub semantic_levels: Option<usize>,
    /// The most codes at each level. [default: 256]
    #[arg(long)]
    pub semantic_codes: Option<usize>,
    /// Learn the codes from embeddings: a safetensors file with the f32 matrix `embeddings`, a row
    /// of length 1 for each item of the catalog. Without it they are learned from what is listed
    /// together and from the catalog's words.
    #[arg(long)]
    pub item_embeddings: Option<PathBuf>,
    /// Begin with a recommender in the policy. The embeddings of the titles begin as vectors of
    /// items that are listed together, and the first block looks them up. It needs --title-tokens.
    #[arg(long)]
    pub item_vectors: bool,
    /// The most tokens of the dialog that a prompt holds; the last ones are kept. [default: 64]
    #[arg(long)]
    pub dialog_tokens: Option<usize>,
    /// The width of the decoder. [default: 256]
    #[arg(long)]
    pub width: Option<usize>,
    /// The number of blocks of the decoder. [default: 4]
    #[arg(long)]
    pub layers: Option<usize>,
    /// The number of attention heads. [default: 4]
    #[arg(long)]
    pub heads: Option<usize>,
}

impl DecoderOptions {
    /// Adds these flags to a layer.
    pub fn set(&self, flags: &mut Layer) {
        flags.set("decoder.vocabulary", self.vocabulary);
        flags.set("decoder.title_tokens", given(self.title_tokens));
        flags.set("decoder.semantic_ids", given(self.semantic_ids));
        flags.set("decoder.semantic_levels", self.semantic_levels);
        flags.set("decoder.semantic_codes", self.semantic_codes);
        flags.set("files.item_embeddings", self.item_embeddings.as_ref());
        flags.set("decoder.item_vectors", given(self.item_vectors));
        flags.set("decoder.dialog_tokens", self.dialog_tokens);
        flags.set("decoder.width", self.width);
        flags.set("decoder.layers", self.layers);
        flags.set("decoder.heads", self.heads);
    }
}

/// Parses a count that may not be 0.
///
/// # Errors
/// A text with the expected value, when the count is 0 or no number.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a whole number from 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use convrec_train::{Algorithm, Decoder, Files, SftSettings};

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        training: TrainingOptions,
        #[command(flatten)]
        decoder: DecoderOptions,
    }

    fn layers(flags: &[&str], file: &str) -> Layers {
        let options = Alone::parse_from([&["train"], flags].concat());
        let mut layer = options.training.flags();
        options.decoder.set(&mut layer);
        let file = Layer::parse(file, "run.toml".as_ref()).unwrap();
        Layers::new([file, layer])
    }

    #[test]
    fn flags_win_over_the_file_and_the_rest_keeps_its_default() {
        let flags = [
            "--seed",
            "9",
            "--out",
            "runs/x",
            "--width",
            "32",
            "--title-tokens",
        ];
        let file = "seed = 1\nbatch_size = 4\n[run]\nevaluate_every = 7\n[decoder]\nlayers = 3";
        let settings = SftSettings::resolve(layers(&flags, file), Some(40)).unwrap();
        let config = &settings.training.config;
        assert_eq!((config.seed, config.batch_size), (9, 4));
        let decoder = Decoder {
            title_tokens: true,
            width: 32,
            layers: 3,
            ..Decoder::default()
        };
        assert_eq!(settings.training.decoder, Some(decoder));
        let run = &settings.run;
        assert_eq!((run.evaluate_every, run.checkpoint_every), (7, 100));
        assert_eq!(settings.folder().unwrap().to_str(), Some("runs/x"));
    }

    #[test]
    fn steps_follow_from_the_data_unless_they_are_set() {
        let steps = |flags: &[&str], file: &str, n| {
            let settings = SftSettings::resolve(layers(flags, file), n).unwrap();
            settings.training.config.max_steps
        };
        assert_eq!(steps(&[], "", Some(28)), 35); // 20 epochs of 28 in batches of 16
        assert_eq!(steps(&[], "", Some(8777)), 3000);
        assert_eq!(steps(&[], "", Some(2)), 20);
        assert_eq!(steps(&["--model", "m"], "", Some(1600)), 300);
        assert_eq!(steps(&[], "num_train_epochs = 40", Some(28)), 70);
        assert_eq!(steps(&["--max-steps", "7"], "max_steps = 9", Some(28)), 7);
        let settings = SftSettings::resolve(layers(&[], ""), None).unwrap();
        let printed = settings.printed().unwrap();
        assert!(
            printed.starts_with("# max_steps follows from the demonstrations"),
            "{printed}"
        );
        assert!(!printed.contains("\nmax_steps = "), "{printed}");
        let settings = SftSettings::resolve(layers(&[], ""), Some(28)).unwrap();
        assert!(
            settings
                .training
                .steps_rule
                .unwrap()
                .contains("35: 20 epochs of 28")
        );
    }

    #[test]
    fn errors_name_the_file_or_none() {
        let error = |flags: &[&str], file: &str| {
            SftSettings::resolve(layers(flags, file), None)
                .unwrap_err()
                .to_string()
        };
        let unknown = error(&[], "stepz = 1");
        assert!(unknown.starts_with("run.toml, field `stepz`: unknown field"));
        // Tables and fields that are read apart are as good.
        for other in [
            "`batch_size`",
            "`[files]`",
            "`[run]`",
            "`[decoder]`",
            "`num_train_epochs`",
        ] {
            assert!(unknown.contains(other), "{unknown}");
        }
        assert!(error(&[], "[files]\ncatalogue = \"x\"").contains("`files.catalogue`"));
        let doctor = "[run.watch.doctor]\nwindow = 1";
        assert!(
            error(&[], doctor).starts_with("run.toml, field `run.watch.doctor.window`: found 1")
        );
        assert!(error(&["--max-steps", "0"], "").starts_with("config, field `max_steps`: found 0"));
        assert!(error(&["--width", "8", "--model", "m"], "").contains("`decoder`: expected none"));
        assert!(error(&[], "files.blocklist = \"x\"").contains("does not read it"));
        assert!(error(&["--item-vectors"], "").contains("`decoder.item_vectors`"));
        let both = error(&["--semantic-ids", "--title-tokens"], "");
        assert!(
            both.contains("`decoder.semantic_ids`") && both.contains("not both"),
            "{both}"
        );
        let alone = error(&["--item-embeddings", "x"], "");
        assert!(
            alone.contains("found x, expected `semantic_ids = true`"),
            "{alone}"
        );
    }

    #[test]
    fn files_are_known_before_the_rest_and_algorithms_by_name() {
        let files = Files::resolve(&layers(&["--catalog", "a"], "files.catalog = \"b\"")).unwrap();
        assert_eq!(files.catalog.unwrap().to_str(), Some("a"));
        assert_eq!("gspo".parse(), Ok(Algorithm::Gspo));
    }
}
