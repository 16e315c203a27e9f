//! The tokens of all lines of a rank.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use convrec_core::Item;

use crate::list::ListFormat;
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// Fewer lines are not worth a thread.
const LEAST: usize = 2048;

/// The tokens of each item's line, in order, on as many threads as there are processors. The error
/// is that of the first line with one.
pub(super) fn encode_lines(
    tokenizer: &TextTokenizer,
    format: ListFormat,
    rank: usize,
    items: &[Item],
) -> Result<Vec<Vec<u32>>, TokenizerError> {
    let encode = |items: &[Item]| {
        let line = |item| tokenizer.encode_exactly(&format.line(rank, item));
        items.iter().map(line).collect::<Result<Vec<_>, _>>()
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(threads).max(LEAST);
    thread::scope(|scope| {
        let (first, others) = items.split_at(share.min(items.len()));
        let others = others.chunks(share);
        let others: Vec<_> = others
            .map(|part| scope.spawn(move || encode(part)))
            .collect();
        let mut lines = encode(first)?;
        for part in others {
            lines.extend(part.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(lines)
    })
}
