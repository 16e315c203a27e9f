//! Text of unknown origin, made fit for a message.

/// The largest number of characters that messages show of a text.
const SHOWN: usize = 60;

/// The beginning of `text` on one line, without control characters. A cut text ends in `...`.
///
/// Messages show foreign text so: escape sequences in it never reach a terminal.
///
/// ```
/// use convrec_core::shown;
///
/// assert_eq!(shown("Heat\u{1b}[31m"), "Heat [31m");
/// assert_eq!(shown(&"a".repeat(99)).len(), 63);
/// ```
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}
