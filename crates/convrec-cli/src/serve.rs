//! The flags of a server.

use std::ffi::OsString;
use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use convrec_serve::{EngineLimits, PackedType, ServerConfig};

/// The largest `--rows`.
const MOST_ROWS: usize = 1 << 16;

/// The largest `--tokens` and `--prefix-tokens`. The keys and values of so many take terabytes.
const MOST_TOKENS: usize = 1 << 30;

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
    /// The config of a server of the model in a folder. Keys come from the environment, several
    /// with commas between them: `CONVREC_API_KEYS` for clients, `CONVREC_ADMIN_KEY` for operators.
    ///
    /// # Errors
    /// When a flag or a variable means nothing that can be served; the error names it.
    pub fn config(&self, model: &Path) -> Result<ServerConfig, String> {
        self.check()?;
        if self.name(model).trim().is_empty() {
            return Err("--name: empty; expected the name of the model for clients".into());
        }
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
            .keys(keys(
                "CONVREC_API_KEYS",
                std::env::var_os("CONVREC_API_KEYS"),
            )?)
            .admin_keys(keys(
                "CONVREC_ADMIN_KEY",
                std::env::var_os("CONVREC_ADMIN_KEY"),
            )?)
            .hosts(self.host.clone())
            .origins(self.origin.clone())
            .weights_dtype(dtype)
            .engine(engine)
            .log(self.log);
        Ok(match &self.weights {
            Some(folder) => config.weights(folder),
            None => config,
        })
    }

    fn check(&self) -> Result<(), String> {
        for (flag, value, most) in [
            ("--rows", self.rows, MOST_ROWS),
            ("--tokens", self.tokens, MOST_TOKENS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{flag} {value}: expected 1 to {most}"));
            }
        }
        if self.prefix_tokens > MOST_TOKENS {
            let found = self.prefix_tokens;
            return Err(format!(
                "--prefix-tokens {found}: expected at most {MOST_TOKENS}"
            ));
        }
        if let Some(folder) = self.weights.as_ref().filter(|folder| !folder.is_dir()) {
            let folder = folder.display();
            return Err(format!(
                "--weights {folder}: no folder; expected one that new weights and catalogs lie below"
            ));
        }
        if let Some(host) = self.host.iter().find(|host| !is_name(host)) {
            return Err(format!(
                "--host {host:?}: expected a name alone, as films.example, without `http://`, port \
                 or path"
            ));
        }
        match self.origin.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err(format!(
                "--origin {origin:?}: expected a scheme and a name, as https://films.example, \
                 without a path; each origin is listed by itself"
            )),
            None => Ok(()),
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

/// A name of a host. Letters beyond ASCII stand there as `xn--` has them.
fn is_name(host: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !host.is_empty() && host.chars().all(is_plain)
}

/// What browsers send in `Origin`: a scheme, a name or an address, and a port where there is one.
fn is_origin(origin: &str) -> bool {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_place = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    origin.split_once("://").is_some_and(|(scheme, place)| {
        let parts = [scheme, place];
        parts.iter().all(|part| !part.is_empty())
            && scheme.chars().all(is_scheme)
            && place.chars().all(is_place)
    })
}

/// The keys of a variable. Where it is not set there are none.
fn keys(variable: &str, value: Option<OsString>) -> Result<Vec<String>, String> {
    let Some(value) = value else {
        return Ok(vec![]);
    };
    let value = value
        .into_string()
        .map_err(|_| format!("{variable} is not UTF-8; expected keys with commas between them"))?;
    let keys = value.split(',').map(str::trim);
    let keys: Vec<String> = keys
        .filter(|key| !key.is_empty())
        .map(String::from)
        .collect();
    match keys.is_empty() {
        true => Err(format!(
            "{variable} is set, but holds no key; expected keys with commas between them, or unset it \
             for a server without them"
        )),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        serving: ServeOptions,
    }

    fn config(flags: &[&str]) -> Result<ServerConfig, String> {
        let program = Program::try_parse_from([&["serve"], flags].concat()).unwrap();
        program.serving.config(Path::new("runs/films"))
    }

    #[test]
    fn flags_that_serve_nothing_are_named() {
        for (flag, value) in [
            ("--rows", "0"),
            ("--rows", "99999999999"),
            ("--tokens", "0"),
            ("--prefix-tokens", "99999999999999"),
            ("--weights", "Cargo.toml"),
            ("--weights", "no/such/folder"),
            ("--host", "http://films.example"),
            ("--host", "films.example:80"),
            ("--host", ""),
            ("--origin", "films.example"),
            ("--origin", "*"),
            ("--origin", "https://films.example/"),
            ("--origin", "https://*.films.example"),
            ("--name", ""),
        ] {
            let problem = config(&[flag, value]).unwrap_err();
            assert!(
                problem.starts_with(flag) && problem.contains("expected"),
                "{flag} {value:?}: {problem}"
            );
        }
        config(&["--host", "films.example", "--host", "xn--bcher-kva.example"]).unwrap();
        config(&[
            "--origin",
            "https://films.example",
            "--origin",
            "http://[::1]:8080",
        ])
        .unwrap();
        config(&["--weights", ".", "--rows", "1", "--prefix-tokens", "0"]).unwrap();
    }

    #[test]
    fn a_variable_without_a_key_opens_no_door() {
        let read = |value: &str| keys("CONVREC_API_KEYS", Some(value.into()));
        assert_eq!(keys("CONVREC_API_KEYS", None), Ok(vec![]));
        assert_eq!(read(" one, two,"), Ok(vec!["one".into(), "two".into()]));
        for empty in ["", ",", " , "] {
            let problem = read(empty).unwrap_err();
            assert!(problem.contains("CONVREC_API_KEYS is set, but holds no key"));
        }
    }
}
