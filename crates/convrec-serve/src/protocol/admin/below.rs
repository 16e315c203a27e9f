//! Where new weights and catalogs may lie.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
#[cfg(target_os = "linux")]
use convrec_core::files::open_at_once;

use crate::refusal::Refusal;
use crate::state::State;

/// A file or a folder below the one that may be loaded from. It is held open, so that what is
/// checked is what is read, whatever happens to its name.
pub(super) struct Below {
    asked: PathBuf,
    real: PathBuf,
    root: PathBuf,
    #[cfg(target_os = "linux")]
    held: File,
}

impl Below {
    /// Opens a path, which is relative to the folder that the server was started in.
    ///
    /// # Errors
    /// [`Refusal`] when it is not there, not below that folder, or neither a file nor a folder.
    pub(super) fn open(path: &Path, field: &str, state: &State) -> Result<Self, Refusal> {
        let refuse = |message: String| Refusal::new(StatusCode::FORBIDDEN, message);
        let Some(root) = &state.config.weights else {
            return Err(refuse(
                "nothing is loaded here; expected a server with a folder for weights (`--weights`)"
                    .into(),
            ));
        };
        let failed = |e: std::io::Error| Refusal::field(field, format!("{}: {e}", path.display()));
        let check = |data: std::fs::Metadata| match data.is_dir() || data.is_file() {
            true => Ok(()),
            false => {
                let problem = format!("{}: expected a file or a folder on disk", path.display());
                Err(Refusal::field(field, problem))
            }
        };
        check(std::fs::metadata(path).map_err(failed)?)?;
        #[cfg(target_os = "linux")]
        let (held, real) = {
            use std::os::fd::AsRawFd;
            let held = open_at_once(path, File::options().read(true)).map_err(failed)?;
            // It may be another one than was looked at.
            check(held.metadata().map_err(failed)?)?;
            let link = format!("/proc/self/fd/{}", held.as_raw_fd());
            let real = std::fs::read_link(link).map_err(failed)?;
            (held, real)
        };
        #[cfg(not(target_os = "linux"))]
        let real = path.canonicalize().map_err(failed)?;
        let root_real = root.canonicalize().map_err(failed)?;
        if !real.starts_with(&root_real) {
            let (path, root) = (path.display(), root.display());
            return Err(refuse(format!(
                "field `{field}`: {path}; expected something below {root}, as `--weights` says"
            )));
        }
        Ok(Self {
            root: root_real,
            asked: path.to_path_buf(),
            real,
            #[cfg(target_os = "linux")]
            held,
        })
    }

    /// Refuses a folder with links that lead out of the folder of weights.
    ///
    /// # Errors
    /// [`Refusal`] that names the file.
    pub(super) fn check_files(&self, field: &str) -> Result<(), Refusal> {
        let failed = |e: std::io::Error| Refusal::field(field, self.named(&e.to_string()));
        let asked = self.asked.display();
        for entry in std::fs::read_dir(self.path()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A link to nothing cannot be read either.
            let Ok(real) = entry.path().canonicalize() else {
                continue;
            };
            // Folders in a folder are not read.
            if !real.is_dir() && !real.starts_with(&self.root) {
                let (name, root) = (entry.file_name(), self.root.display());
                let problem = format!(
                    "field `{field}`: {asked}: the file {} is a link out of {root}; expected \
                     files below it, as `--weights` says",
                    name.display()
                );
                return Err(Refusal::new(StatusCode::FORBIDDEN, problem));
            }
        }
        Ok(())
    }

    /// The path that it is read from.
    #[cfg(target_os = "linux")]
    pub(super) fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.held.as_raw_fd()).into()
    }

    /// The path that it is read from.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn path(&self) -> PathBuf {
        self.real.clone()
    }

    /// An error with the name that the client knows.
    pub(super) fn named(&self, problem: &str) -> String {
        let read = self.path().display().to_string();
        problem
            .replace(&read, &self.asked.display().to_string())
            .replace(
                &self.real.display().to_string(),
                &self.asked.display().to_string(),
            )
    }
}
