use std::borrow::Cow;

/// The text as it may be shown in a terminal or on a page: control characters, escape sequences
/// among them, and marks that turn the direction of a line become U+FFFD.
///
/// Line feeds and tabs stay. What models, servers and files say is shown by it.
///
/// ```
/// use convrec_core::printable;
///
/// assert_eq!(printable("Heat (1995)\n"), "Heat (1995)\n");
/// assert_eq!(printable("\u{1b}[2JHeat\u{202e}"), "\u{fffd}[2JHeat\u{fffd}");
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
