//! The services of a pipeline from one settings file.
//!
//! A program resolves [`ServiceSettings`] from a TOML file and its flags, and [`OpenServices`]
//! makes a teacher, a judge, an embedder and a describer of them. Servers need the feature `llm`,
//! sentence encoders the feature `embed`. A policy is [handed in](HandedIn), as this crate knows
//! none.
//!
//! ```
//! use convrec_catalog::Catalog;
//! use convrec_core::{CatalogItem, jsonl};
//! use convrec_demonstrations::scripted::Scorers;
//! use convrec_demonstrations::services::{HandedIn, OpenServices, ServiceSettings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let films = r#"{"title": "Heat", "year": 1995, "metadata": "bank robbers"}"#;
//! let catalog = Catalog::new(jsonl::read::<CatalogItem>(films.as_bytes(), "films.jsonl")?)?;
//! let scorers = Scorers::new(&catalog, &[]);
//! let settings = ServiceSettings::default(); // or ServiceSettings::read("services.toml")
//! let open = OpenServices::open(&settings, &catalog, &scorers, HandedIn::default())?;
//! assert_eq!(
//!     open.names()[1],
//!     ("teacher", "scripted, noisy, seed 1".to_string())
//! );
//! # Ok(())
//! # }
//! ```

mod open;
#[cfg(feature = "llm")]
mod server;
mod settings;

#[cfg(feature = "llm")]
pub use convrec_llm::Usage;
pub use open::{HandedIn, OpenError, OpenServices};
#[cfg(feature = "llm")]
pub use server::{Finished, OpenServer};
#[cfg(feature = "llm")]
pub use settings::BatchSettings;
pub use settings::{
    DescriberSettings, EmbedderChoice, EmbedderKind, JudgeKind, JudgeSettings, ServiceSettings,
    TeacherKind, TeacherSettings,
};
