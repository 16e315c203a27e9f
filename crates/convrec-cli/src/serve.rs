//! The flags of a server.

use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use convrec_serve::{EngineLimits, PackedType, ServerConfig};

/// How a server serves.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ServeOptions {
    /// Load new weights and catalogs on request, from below this folder.
    #[arg(long)]
    pub weights: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub listen: String,
    /// The name of the model for clients. The default is the folder's name.
    #[arg(long)]
    pub name: Option<String>,
    /// Names that the server is reached by, beside addresses and localhost.
    #[arg(long)]
    pub host: Vec<String>,
    /// Other pages that may ask, as https://films.example.
    #[arg(long)]
    pub origin: Vec<String>,
    /// The most completions that are written side by side, which bounds memory with --tokens.
    #[arg(long, default_value_t = EngineLimits::default().rows)]
    pub rows: usize,
    /// Tokens of prompts and completions under way at most.
    #[arg(long, default_value_t = EngineLimits::default().tokens)]
    pub tokens: usize,
    /// Tokens of earlier prompts that are kept, so that prompts which begin alike are read once; 0
    /// keeps none.
    #[arg(long, default_value_t = EngineLimits::default().prefix)]
    pub prefix_tokens: usize,
    /// The type of the weights in memory. bf16 and int8 take less, and change some lists.
    #[arg(long, default_value_t)]
    pub weights_dtype: ServedType,
    /// Write a line for each request to standard error, without its contents.
    #[arg(long)]
    pub log: bool,
}

/// The type of a server's weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ServedType {
    /// As they are trained.
    #[default]
    F32,
    /// Half the memory.
    Bf16,
    /// A quarter, with a factor for each row.
    Int8,
}

impl fmt::Display for ServedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

impl ServeOptions {
    /// The config of a server of the model in a folder. Keys come from the environment, several with
    /// commas between them: `CONVREC_API_KEYS` for clients, `CONVREC_ADMIN_KEY` for operators.
    #[must_use]
    pub fn config(&self, model: &Path) -> ServerConfig {
        let engine = EngineLimits {
            rows: self.rows,
            tokens: self.tokens,
            prefix: self.prefix_tokens,
            ..EngineLimits::default()
        };
        let dtype = match self.weights_dtype {
            ServedType::F32 => None,
            ServedType::Bf16 => Some(PackedType::Bf16),
            ServedType::Int8 => Some(PackedType::Int8),
        };
        let config = ServerConfig::new(self.name(model))
            .keys(keys("CONVREC_API_KEYS"))
            .admin_keys(keys("CONVREC_ADMIN_KEY"))
            .hosts(self.host.clone())
            .origins(self.origin.clone())
            .weights_dtype(dtype)
            .engine(engine)
            .log(self.log);
        match &self.weights {
            Some(folder) => config.weights(folder),
            None => config,
        }
    }

    /// What clients call the model.
    #[must_use]
    pub fn name(&self, model: &Path) -> String {
        let folder = model.file_name().unwrap_or(model.as_os_str());
        let name = self.name.clone();
        name.unwrap_or_else(|| folder.to_string_lossy().into_owned())
    }

    /// Listens at the address.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn bind(&self) -> Result<TcpListener, String> {
        let listener = TcpListener::bind(&self.listen);
        listener.map_err(|e| format!("cannot listen at {}: {e}", self.listen))
    }
}

fn keys(variable: &str) -> Vec<String> {
    let keys = std::env::var(variable).unwrap_or_default();
    let keys = keys.split(',').map(str::trim);
    keys.filter(|key| !key.is_empty())
        .map(String::from)
        .collect()
}
