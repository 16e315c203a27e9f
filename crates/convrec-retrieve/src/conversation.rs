use convrec_core::{Example, Role};
use itertools::Itertools;

/// Characters of a conversation that are compared with items: more than encoders read.
const LONGEST: usize = 8000;

/// The text by which a conversation is compared with items: what user and assistant said, a line
/// each, the latest turn first, as models that read so many tokens only cut the end.
#[must_use]
pub fn conversation_text(example: &Example) -> String {
    let said = example
        .dialog
        .iter()
        .rev()
        .filter(|turn| turn.role != Role::System);
    let text = said.map(|turn| turn.content.as_str()).join("\n");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text[..end].to_string(),
        None => text,
    }
}
