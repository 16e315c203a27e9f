//! Settings in layers: defaults, a TOML file, flags. The upper layer wins, field by field.
//!
//! A program collects its user's settings in a [`Layers`]. It asks that for single fields where a
//! default depends on them. Then it resolves the whole **once** into an ordinary struct. The struct
//! is all that the rest of the program sees.
//!
//! ```
//! use convrec_config::{Layer, Layers};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Settings {
//!     steps: usize,
//!     learning_rate: f64,
//!     kl: Option<Kl>,
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Kl {
//!     beta: f64,
//! }
//! # impl Default for Kl { fn default() -> Self { Kl { beta: 0.1 } } }
//! # impl Default for Settings {
//! #     fn default() -> Self { Settings { steps: 100, learning_rate: 1e-3, kl: Some(Kl::default()) } }
//! # }
//!
//! let mut flags = Layer::flags();
//! flags.set("steps", Some(3)); // `--steps 3`
//! flags.set("learning_rate", None::<f64>); // not given
//! let file = Layer::parse("steps = 50\nkl = false", "run.toml".as_ref())?;
//! let layers = Layers::new([file, flags]);
//!
//! assert!(layers.has("steps") && !layers.has("learning_rate"));
//! let settings: Settings = layers.resolve(Settings::default())?;
//! assert_eq!(settings, Settings { steps: 3, learning_rate: 1e-3, kl: None });
//!
//! let file = Layer::parse("[kl]\nbetta = 1.0", "run.toml".as_ref())?;
//! let error = Layers::new([file]).resolve(Settings::default()).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "run.toml, field `kl.betta`: unknown field `betta`, expected `beta`"
//! );
//! # Ok::<(), convrec_config::ConfigError>(())
//! ```
//!
//! # Rules of merging
//!
//! - A table is merged field by field, so a file may set one field of a nested table.
//! - A choice replaces another one: `{ cispo = ... }` over `{ ppo = ... }` is not merged.
//!   [`Layers::maps`] names the tables of one entry that are maps and no choices.
//! - `false` for an optional table turns it off, as TOML has no null. [`to_toml`] writes it so.

mod error;
mod layer;
mod layers;
mod print;

pub use error::{ConfigError, Rule, check};
pub use layer::Layer;
pub use layers::{Layers, read};
pub use print::to_toml;
