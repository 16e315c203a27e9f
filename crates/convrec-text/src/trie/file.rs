//! Tries in files: flat little-endian words, mapped into memory. `docs/trie-file.md` specifies
//! them. `python/convrec_constraint` reads them too: a change of the layout needs another
//! [`VERSION`].
//!
//! ```text
//! magic [8 bytes] | version [u32] | ranks with lines of their own [u32] | source [80 bytes]
//! | nodes of each rank [u32] | arrays of each rank [u32] | SHA-256 of all before it [32 bytes]
//! ```

use std::path::Path;

use convrec_core::{Item, files};
use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::arrays::{self, Arrays};
use super::lines::Lines;
use super::source::Source;
use super::{ListFormat, ListTrie, TextTokenizer, TrieError, check_count, ranks_apart};

const MAGIC: &[u8; 8] = b"listtrie";
const VERSION: u32 = 1;
/// The bytes before the numbers of nodes.
const HEADER: usize = 16 + Source::BYTES;
const CHECKSUM: usize = 32;

impl ListTrie {
    /// Keeps the trie in a file, which is replaced whole. Whoever has the former file open still
    /// has it.
    ///
    /// # Errors
    /// [`TrieError::File`] when the file cannot be written; the former file is then still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TrieError> {
        let numbers = [VERSION, self.arrays().ranks() as u32].map(u32::to_le_bytes);
        let mut bytes = [
            MAGIC.as_slice(),
            numbers.as_flattened(),
            &self.source().to_bytes(),
        ]
        .concat();
        let words = self
            .arrays()
            .nodes()
            .chain(self.arrays().words().iter().copied());
        bytes.extend(words.flat_map(u32::to_le_bytes));
        bytes.extend(Sha256::digest(&bytes));
        Ok(files::write_atomic(path, |out| out.write_all(&bytes))?)
    }

    /// The trie that [`new`](Self::new) would make of the same, from the file in which it was
    /// [saved](Self::save). The file is mapped into memory, shared by all processes that have
    /// it open, and checked from end to end.
    ///
    /// The file must not be written to while it is open. [`save`](Self::save) does not: it puts
    /// another file in its place.
    ///
    /// # Errors
    /// [`TrieError::File`] when the file cannot be read, [`TrieError::Damaged`] when it is damaged,
    /// [`TrieError::Differs`] when its trie was made from something else, and
    /// [`TrieError::NoRanks`], [`TrieError::TooFew`] and [`TrieError::Tokenizer`] where no trie can
    /// be made at all.
    pub fn open(
        path: impl AsRef<Path>,
        tokenizer: &TextTokenizer,
        format: ListFormat,
        end: u32,
        items: &[Item],
        n_ranks: usize,
    ) -> Result<Self, TrieError> {
        check_count(items.len(), n_ranks)?;
        let source = Source::new(tokenizer, format, end, items, n_ranks)?;
        let ranks = ranks_apart(format, n_ranks);
        let vocab_size = Some(tokenizer.vocab_size());
        Self::open_source(path.as_ref(), source, ranks, items.len(), vocab_size)
    }

    /// The file's trie, which must have this source.
    pub(super) fn open_source(
        path: &Path,
        source: Source,
        ranks: usize,
        n_items: usize,
        vocab_size: Option<usize>,
    ) -> Result<Self, TrieError> {
        let named = || path.display().to_string();
        let failed = |e| files::Error::new("read", path, e);
        // Pipes and devices are refused before they are opened.
        let file = files::open_regular(path, u64::MAX)?.into_inner();
        // SAFETY: what is mapped must not change. Files are replaced, not written to, by `save`,
        // and the documentation asks the same of everyone else; every access is checked
        // against the bounds of the mapping all the same.
        let bytes = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let damaged = |problem: String| TrieError::Damaged {
            file: named(),
            problem,
        };
        let header = header(&bytes).map_err(damaged)?;
        if let Some(problem) = source.differences(header.source) {
            return Err(TrieError::Differs {
                file: named(),
                problem,
            });
        }
        if header.ranks != ranks {
            return Err(damaged(format!(
                "arrays of {} ranks; expected {ranks} for its list style",
                header.ranks
            )));
        }
        let (nodes, start) = nodes(&bytes, header.ranks, n_items).map_err(damaged)?;
        let arrays = Arrays::mapped(bytes, start, &nodes, n_items);
        for rank in 0..nodes.len() {
            check(&arrays.lines(rank), vocab_size)
                .map_err(|problem| damaged(format!("arrays of rank {}: {problem}", rank + 1)))?;
        }
        Ok(Self::of(arrays, source))
    }
}

struct Header<'a> {
    ranks: usize,
    source: &'a [u8; Source::BYTES],
}

/// Checks that the file is one of ours, and whole.
fn header(bytes: &[u8]) -> Result<Header<'_>, String> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err("is no token trie; expected a file of `ListTrie::save`".into());
    };
    let short = || format!("is cut off after {} bytes", bytes.len());
    let (version, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(format!(
            "is a token trie of version {version}; expected version {VERSION}"
        ));
    }
    let (ranks, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (source, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (_, checksum) = rest.split_last_chunk::<CHECKSUM>().ok_or_else(short)?;
    if Sha256::digest(&bytes[..bytes.len() - CHECKSUM])[..] != checksum[..] {
        return Err("the checksum is wrong: some bytes are missing or others".into());
    }
    Ok(Header {
        ranks: u32::from_le_bytes(*ranks) as usize,
        source,
    })
}

/// The number of nodes of each rank, and the byte where the arrays begin.
fn nodes(bytes: &[u8], ranks: usize, n_items: usize) -> Result<(Vec<u32>, usize), String> {
    let body = &bytes[HEADER..bytes.len() - CHECKSUM];
    let (numbers, _) = body.as_chunks::<4>();
    let numbers = numbers
        .get(..ranks)
        .ok_or(format!("{ranks} ranks, more than its bytes"))?;
    let nodes: Vec<u32> = numbers
        .iter()
        .map(|number| u32::from_le_bytes(*number))
        .collect();
    if nodes.contains(&0) {
        return Err("a rank has no nodes".into());
    }
    let words = nodes
        .iter()
        .map(|nodes| arrays::words((*nodes).into(), n_items as u64))
        .sum::<u64>();
    if 4 * (ranks as u64 + words) != body.len() as u64 {
        return Err(format!(
            "{} bytes of arrays; expected {}",
            body.len(),
            4 * (ranks as u64 + words)
        ));
    }
    Ok((nodes, HEADER + 4 * ranks))
}

/// Checks all that walking relies on, so that no file can lead a cursor out of the arrays.
fn check(lines: &Lines<'_>, vocab_size: Option<usize>) -> Result<(), &'static str> {
    let require = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
    let edges = lines.tokens.len();
    require(
        lines.first[0] == 0 && lines.first[edges + 1] as usize == edges,
        "the edges are not all the nodes'",
    )?;
    require(lines.first.is_sorted(), "the edges are not in order")?;
    let later = |(node, first): (usize, &u32)| *first as usize >= node;
    require(
        lines.first[..=edges].iter().enumerate().all(later),
        "a node comes before its parent",
    )?;
    let is_token = |token: &u32| vocab_size.is_none_or(|size| (*token as usize) < size);
    require(
        lines.tokens.iter().all(is_token),
        "a token is not the tokenizer's",
    )?;

    let n_items = lines.items.len();
    let is_place =
        |(item, place): (usize, &u32)| lines.items.get(*place as usize) == Some(&(item as u32));
    require(
        lines.place_of.iter().enumerate().all(is_place),
        "the order of the items is none",
    )?;

    require(
        lines.places[0] == 0,
        "the root is not the beginning of all lines",
    )?;
    let mut ends = vec![0; edges + 1];
    ends[0] = n_items as u32;
    for node in 0..=edges {
        let places = lines.places[node]..ends[node];
        let children = lines.first[node] as usize + 1..lines.first[node + 1] as usize + 1;
        if children.is_empty() {
            require(places.len() == 1, "several lines end at one node, or none")?;
            continue;
        }
        let tokens = &lines.tokens[children.start - 1..children.end - 1];
        require(
            tokens.is_sorted_by(|a, b| a < b),
            "the tokens of a node are not ascending",
        )?;
        let firsts = &lines.places[children.clone()];
        require(
            firsts[0] == places.start,
            "the first child does not begin with its parent's lines",
        )?;
        let ascending = firsts.is_sorted_by(|a, b| a < b) && firsts[firsts.len() - 1] < places.end;
        require(ascending, "children do not share out their parent's lines")?;
        ends[children.start..children.end - 1].copy_from_slice(&firsts[1..]);
        ends[children.end - 1] = places.end;
    }
    Ok(())
}
