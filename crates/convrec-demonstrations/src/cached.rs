use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use convrec_core::append::{self, AppendFile, checksum};
use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Embedder, ServiceError};

/// Texts that are embedded before their rows are kept. A crash may lose this many.
const KEPT_TOGETHER: usize = 1024;
/// The largest header, in bytes.
const MAX_HEADER: u64 = 1 << 16;
/// Bytes of a text's hash and of a row's checksum.
const KEY: usize = 32;
const SUM: usize = 8;

type Key = [u8; KEY];

/// The reason why a file of embeddings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The file is in use or damaged, or the system refuses.
    #[error(transparent)]
    File(#[from] append::Error),
    /// The rows are those of another model.
    #[error(
        "{path} holds embeddings of `{found}`; expected `{expected}`: name another file for this \
         model"
    )]
    OtherModel {
        /// The file.
        path: std::path::PathBuf,
        /// The id of the model whose rows it holds.
        found: String,
        /// The id of the model that embeds.
        expected: String,
    },
}

/// An embedder that keeps the rows of texts in a file that only grows.
///
/// The file belongs to one model, by [`Embedder::id`]. It is a line of JSON with id and width, then
/// for each text its SHA-256, its row as little-endian f32, and a checksum. While it is open, no
/// other process can open it. A row is on the disk before it is returned, also where texts beside
/// it fail. Half a row at the end, from a process that was killed, is cut off.
///
/// ```
/// use convrec_demonstrations::{CachedEmbedder, Embedder, LexicalEmbedder};
///
/// let folder = tempfile::tempdir()?;
/// let texts = ["Heat (1995)".to_string(), "Alien (1979)".to_string()];
/// let embedder = LexicalEmbedder::fit(&texts, 64);
/// let cached = CachedEmbedder::open(folder.path().join("rows"), embedder.clone())?;
/// assert_eq!(cached.embed(&texts)?, embedder.embed(&texts)?);
/// assert_eq!(cached.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CachedEmbedder<E> {
    embedder: E,
    torn: u64,
    rows: Mutex<Rows>,
}

#[derive(Debug)]
struct Rows {
    file: AppendFile,
    id: String,
    /// The width of a row; 0 before the first.
    width: usize,
    /// The beginning of each text's row.
    places: HashMap<Key, u64>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The version of the format.
    embeddings: u32,
    id: String,
    width: usize,
}

fn header(id: &str, width: usize) -> Vec<u8> {
    let header = Header {
        embeddings: 1,
        id: id.into(),
        width,
    };
    let mut line = serde_json::to_vec(&header).expect("strings and numbers are JSON");
    line.push(b'\n');
    line
}

impl<E: Embedder> CachedEmbedder<E> {
    /// Opens the file for the rows of `embedder`, or creates it with the folders above it.
    ///
    /// # Errors
    /// [`CacheError::File`] when it is in use or damaged or the system refuses,
    /// [`CacheError::OtherModel`] when its rows are those of another model.
    pub fn open(path: impl AsRef<Path>, embedder: E) -> Result<Self, CacheError> {
        let file = AppendFile::open(path)?;
        let mut rows = Rows {
            file,
            id: embedder.id(),
            width: 0,
            places: HashMap::new(),
        };
        let end = rows.read()?;
        let torn = rows.file.len() - end;
        rows.file.cut(end)?;
        Ok(Self {
            embedder,
            torn,
            rows: Mutex::new(rows),
        })
    }

    /// The number of texts with rows.
    pub fn len(&self) -> usize {
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .places
            .len()
    }

    /// Whether no text has a row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes at the file's end that belonged to no whole row when it was opened. They
    /// are gone.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

impl<E: Embedder> Embedder for CachedEmbedder<E> {
    fn id(&self) -> String {
        self.embedder.id()
    }

    /// Asks the embedder only for texts without a row, each once, by [`Embedder::embed_parts`].
    /// Callers on several threads wait for each other.
    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        let keys: Vec<Key> = texts
            .iter()
            .map(|text| Sha256::digest(text).into())
            .collect();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = HashSet::new();
        let is_new =
            |&place: &usize| !rows.places.contains_key(&keys[place]) && asked.insert(keys[place]);
        let new: Vec<usize> = (0..texts.len()).filter(is_new).collect();
        let failed =
            |path: &Path, error: String| ServiceError::new(path.display().to_string(), error);
        for part in new.chunks(KEPT_TOGETHER) {
            let part_texts: Vec<String> = part.iter().map(|&place| texts[place].clone()).collect();
            let mut result = Ok(());
            for (places, embedded) in self.embedder.embed_parts(&part_texts) {
                let part_keys: Vec<Key> = places.iter().map(|&place| keys[part[place]]).collect();
                match embedded {
                    Ok(embedded) => {
                        rows.keep(&part_keys, &embedded)
                            .map_err(|error| failed(rows.file.path(), error))?;
                    }
                    Err(error) => result = result.and(Err(error)),
                }
            }
            result?;
        }
        if rows.width == 0 {
            // No text was ever embedded and there is none here, so the embedder gives the width.
            return self.embedder.embed(texts);
        }
        let mut out = Array2::zeros((texts.len(), rows.width));
        for (key, mut row) in keys.iter().zip(out.outer_iter_mut()) {
            let kept = rows
                .get(key)
                .map_err(|error| failed(rows.file.path(), error.to_string()))?;
            row.assign(&ArrayView1::from(&kept));
        }
        Ok(out)
    }
}

impl Rows {
    /// Reads the whole file, and returns the end of its last whole row.
    fn read(&mut self) -> Result<u64, CacheError> {
        let mut reader = self.file.reader()?;
        let refused = |error| self.file.refused("read", &error);
        let mut line = Vec::new();
        let mut end = reader
            .by_ref()
            .take(MAX_HEADER)
            .read_until(b'\n', &mut line)
            .map_err(refused)? as u64;
        let no_header = || {
            self.file
                .damaged("line 1", "not the first line of a file of embeddings")
        };
        if line.last() != Some(&b'\n') {
            // Only a part that could be half of our own header is cut off. A file that was named by
            // mistake is left as it is.
            let header = header(&self.id, 0);
            let (start, _) = header.split_at(header.len() - "0}\n".len());
            let rest = line
                .iter()
                .skip(start.len())
                .all(|byte| byte.is_ascii_digit() || *byte == b'}');
            let is_ours = rest
                && line
                    .iter()
                    .zip(start)
                    .all(|(found, expected)| found == expected);
            return if is_ours {
                Ok(0)
            } else {
                Err(no_header().into())
            };
        }
        let Header {
            embeddings: version,
            id,
            width,
        } = serde_json::from_slice(&line).map_err(|_| no_header())?;
        if id != self.id {
            let (path, expected) = (self.file.path().to_path_buf(), self.id.clone());
            return Err(CacheError::OtherModel {
                path,
                found: id,
                expected,
            });
        }
        if version != 1 || width == 0 || width as u64 > u64::from(u32::MAX) {
            return Err(no_header().into());
        }
        let mut record = vec![0; KEY + 4 * width + SUM];
        let mut places = HashMap::new();
        while self.file.len() - end >= record.len() as u64 {
            reader.read_exact(&mut record).map_err(refused)?;
            let (kept, sum) = record.split_at(KEY + 4 * width);
            if checksum(kept) != sum {
                let row = format!("row {} (from 1)", places.len() + 1);
                return Err(self.file.damaged(row, "the checksum does not fit").into());
            }
            places.insert(kept[..KEY].try_into().expect("a key was cut off"), end);
            end += record.len() as u64;
        }
        drop(reader);
        (self.width, self.places) = (width, places);
        Ok(end)
    }

    /// Appends rows, and the header before the first row.
    fn keep(&mut self, keys: &[Key], rows: &Array2<f32>) -> Result<(), String> {
        let (n, width) = rows.dim();
        if n != keys.len() || width == 0 || (self.width != 0 && width != self.width) {
            let expected = if self.width == 0 {
                "at least 1".into()
            } else {
                self.width.to_string()
            };
            return Err(format!(
                "embeddings of shape [{n}, {width}]; expected {} rows of {expected}",
                keys.len()
            ));
        }
        let mut bytes = Vec::new();
        if self.file.is_empty() {
            bytes = header(&self.id, width);
        }
        let mut places = Vec::with_capacity(n);
        for (key, row) in keys.iter().zip(rows.outer_iter()) {
            let start = bytes.len();
            bytes.extend(key);
            row.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
            bytes.extend(checksum(&bytes[start..]));
            places.push(start as u64);
        }
        let start = self
            .file
            .append(&bytes)
            .map_err(|error| error.to_string())?;
        self.width = width;
        self.places.extend(
            keys.iter()
                .zip(places)
                .map(|(key, place)| (*key, start + place)),
        );
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<Vec<f32>, append::Error> {
        let start = self.places[key];
        let record = self.file.read_at(start, KEY + 4 * self.width + SUM)?;
        let (kept, sum) = record.split_at(KEY + 4 * self.width);
        if checksum(kept) != sum || !kept.starts_with(key) {
            return Err(self
                .file
                .damaged(format!("byte {start}"), "another row than was there before"));
        }
        Ok(kept[KEY..]
            .as_chunks()
            .0
            .iter()
            .map(|&number| f32::from_le_bytes(number))
            .collect())
    }
}
