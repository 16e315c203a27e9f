//! Text of unknown origin, made fit for a message.

use std::borrow::Cow;

/// The largest number of characters that messages show of a text.
const SHOWN: usize = 60;

/// The beginning of `text` on one line, without control characters. A cut text ends in `...`.
///
/// Messages show foreign text this way, so its escape sequences never reach a terminal.
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

/// The text with unsafe characters replaced, to show in a terminal or on a page. Control
/// characters, escape sequences among them, and marks that turn the direction of a line become
/// U+FFFD.
///
/// Line feeds and tabs stay. Programs show the text of models, servers and files this way.
///
/// ```
/// use convrec_core::printable;
///
/// assert_eq!(printable("Heat (1995)\n"), "Heat (1995)\n");
/// assert_eq!(
///     printable("\u{1b}[2JHeat\u{202e}"),
///     "\u{fffd}[2JHeat\u{fffd}"
/// );
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(harmful) {
        text.replace(harmful, "\u{fffd}").into()
    } else {
        text.into()
    }
}
