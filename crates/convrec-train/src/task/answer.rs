//! What a completion says.

use convrec_catalog::relevance;
use convrec_core::{Item, ItemId};
use convrec_text::segments;
use convrec_text::whole_lines;

use super::constraint::ENOUGH;
use super::{Sample, Task};

/// What a completion says, from one parse: the items that earn rewards and the tokens that are held
/// to account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The items named, by rank.
    pub names: Vec<Item>,
    /// The same as catalog items; `None` where a name is not in the catalog.
    pub items: Vec<Option<ItemId>>,
    /// Lines that are neither items nor blank. The last line of an answer that was cut is one of
    /// them where it is not whole ([`whole_lines`]).
    pub unparsed_lines: usize,
    /// The rank of every token.
    pub segments: segments::TokenRanks,
}

impl Task {
    /// Reads a completion for `sample`. A constrained one is walked again, which gives its items
    /// and ranks as they were chosen; others are [`read`](Self::read) as text.
    ///
    /// # Panics
    /// When the task is constrained and the completion is not.
    pub fn answer(&self, sample: &Sample, completion: &[u32]) -> Answer {
        let Some(cursor) = self.cursor(sample.open()) else {
            return self.read(completion);
        };
        let mut cursor = cursor.expect(ENOUGH);
        let mut ranks = Vec::with_capacity(completion.len());
        for token in completion {
            let rank = cursor.items().len();
            ranks.push(if rank == cursor.n_ranks() {
                segments::END
            } else {
                rank as i32
            });
            cursor.push(*token);
        }
        let (text, ended) = segments::until_end(completion, self.prompter.end());
        let items = cursor.items();
        let names: Vec<Item> = items.iter().map(|id| self.catalog[*id].item()).collect();
        let text = match self.prompter.has_semantic_ids() {
            // Codes are no text.
            true => self.prompter.list().render(&names),
            false => {
                let text = &text[..text.len() - usize::from(ended)];
                self.prompter.tokenizer().decode(text)
            }
        };
        Answer {
            text,
            names,
            items: items.iter().copied().map(Some).collect(),
            unparsed_lines: 0,
            segments: segments::TokenRanks {
                ranks,
                items: items.len(),
                ended,
            },
        }
    }

    /// Reads a completion. Never fails: what a policy writes is data.
    ///
    /// A name is a catalog item when title and year are exactly the item's: what is judged is what
    /// would be shown.
    pub fn read(&self, completion: &[u32]) -> Answer {
        let (tokens, ended) = segments::until_end(completion, self.prompter.end());
        let tokenizer = self.prompter.tokenizer();
        // A token that ends turns may be no special token, and would be text.
        let text = tokenizer.decode(&tokens[..tokens.len() - usize::from(ended)]);
        let in_catalog = |item: &Item| self.catalog.find(item).is_some();
        // A half line names nothing, whatever it reads as.
        let whole = match ended {
            true => text.as_str(),
            false => whole_lines(&text),
        };
        let half_lines = usize::from(whole.len() < text.len());
        let parsed = self.prompter.list().parse_known(whole, in_catalog);
        let bytes = tokens.iter().map(|&token| tokenizer.token_bytes(token));
        let segments = self.segmentation.segment(&parsed, bytes, ended);
        let items = parsed.items().map(|item| self.catalog.find(item)).collect();
        let names = parsed.items().cloned().collect();
        Answer {
            names,
            items,
            unparsed_lines: parsed.unparsed.len() + half_lines,
            segments,
            text,
        }
    }

    /// Returns rel_k for the N ranks of an answer to `sample`: [`relevance`] of the list, cut or
    /// filled up to N.
    #[must_use]
    pub fn relevance(&self, answer: &Answer, sample: &Sample) -> Vec<bool> {
        relevance(&self.by_rank(answer), &sample.ground_truth, &sample.seen)
    }

    /// The items of an answer, cut or filled up to N.
    pub(crate) fn by_rank(&self, answer: &Answer) -> Vec<Option<ItemId>> {
        let mut items = answer.items.clone();
        items.resize(self.n_ranks, None);
        items
    }
}
