//! The reference's reading of a list, quirks included. It is for parity alone. Everything else uses
//! [`ListFormat`](crate::ListFormat).

use std::borrow::Cow;

use convrec_core::Item;

use crate::whitespace::{digit, is_digit, is_white, trim};

const MARKS: [char; 4] = ['*', '_', '-', '#'];
const NUMBER_MARKS: [char; 6] = ['.', ')', '、', '-', '—', '–'];

/// The character in place of a whole pair of parentheses with all inside. A line holds no line feed
/// of its own.
const HIDDEN: char = '\n';

/// The items that the public Python code of the paper finds in `text`: at most one a line, each
/// with a year.
///
/// List marks, emphasis and one pair of ASCII quotes are removed from each line. Its first
/// ` (YYYY)` is the year, and the text before it is the title, which then loses every parenthesised
/// piece. Known quirks are kept:
///
/// | quirk | text | is read as |
/// |---|---|---|
/// | P1: a list number needs white space after it | `1.Heat (1995)` | title `1.Heat` |
/// | P2: pieces in parentheses go | `(500) Days of Summer (2009)` | title `Days of Summer` |
/// | P2: even when nothing remains | `(foo) (1999)` | an empty title |
/// | P3: anything may stand before the title | `Sure! Heat (1995)` | title `Sure! Heat` |
/// | P4: marks at the ends of titles go | `#Alive (2020)` | title `Alive` |
/// | P4: and numbers with a mark | `12 - Angry Men (1957)` | title `Angry Men` |
/// | P5: typographic quotes stay | `“Heat” (1995)` | title `“Heat”` |
/// | P6: digits of every script; U+001C..=U+001F are white space | `Heat (１９９５)` | year 1995 |
///
/// This never fails. It takes time linear in the text, times the number of *different* nesting
/// depths of parentheses in a title. That number is 1 or 2 in practice, and at most the square root
/// of the title's length.
///
/// ```
/// use convrec_core::Item;
/// use convrec_text::parse::parse_reference;
///
/// let items = parse_reference("Sure!\n\n1. **Heat** (1995) - a classic\n2.Alien (1979)");
/// assert_eq!(items, [Item::new("Heat", 1995), Item::new("2.Alien", 1979)]);
/// ```
pub fn parse_reference(text: &str) -> Vec<Item> {
    text.split('\n').filter_map(item).collect()
}

fn item(line: &str) -> Option<Item> {
    // Most lines that name no item end here.
    line.find('(')?;
    let line = collapse(line);
    let (title, year) = split_year(unquote(unformat(&line)))?;
    Some(Item::new(clean_title(title), year))
}

/// Every run of white space becomes one space; none is left at the ends. From here on, white space
/// is the space.
fn collapse(line: &str) -> Cow<'_, str> {
    let line = trim(line);
    if is_collapsed(line) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match is_white(c) {
            false => out.push(c),
            true if !out.ends_with(' ') => out.push(' '),
            true => {}
        }
    }
    Cow::Owned(out)
}

/// Whether each run of white space is one space. It is never wrongly true, and looks at bytes, not
/// characters.
fn is_collapsed(line: &str) -> bool {
    let bytes = line.as_bytes();
    let is_printable_ascii = bytes
        .iter()
        .fold(true, |so_far, byte| so_far & (b' '..=b'~').contains(byte));
    let is_single = bytes.windows(2).fold(true, |so_far, pair| {
        so_far & ((pair[0] != b' ') | (pair[1] != b' '))
    });
    is_printable_ascii && is_single
}

/// The shortest title that is followed by ` (YYYY)`, and that year.
fn split_year(line: &str) -> Option<(&str, i32)> {
    line.match_indices('(').find_map(|(at, _)| {
        let title = line[..at]
            .strip_suffix(' ')
            .filter(|title| !title.is_empty())?;
        let mut rest = line[at + 1..].chars();
        let year = (0..4).try_fold(0, |year, _| Some(year * 10 + digit(rest.next()?)? as i32))?;
        (rest.next() == Some(')')).then_some((title, year))
    })
}

/// The line without marks at the ends and list marks in front, repeated until nothing changes.
fn unformat(mut line: &str) -> &str {
    // Most lines, and nearly all titles, end here.
    if line.starts_with(char::is_alphabetic)
        && line.ends_with(|c: char| c.is_alphanumeric() || c == ')')
    {
        return line;
    }
    loop {
        let before = line.len();
        line = line.trim_start_matches(MARKS).trim_matches(' ');
        line = line.trim_end_matches(MARKS).trim_matches(' ');
        line = match after_list_mark(line) {
            Some(rest) => rest.trim_matches(' '),
            // A number that is no list mark now never becomes one, so only the end can still
            // change. Without this rule a long number before many marks would be read again for
            // each of them.
            None if line.starts_with(is_digit) => {
                return line.trim_end_matches(|c| c == ' ' || MARKS.contains(&c));
            }
            None => line,
        };
        line = line.trim_start_matches('#').trim_start_matches(' ');
        if line.len() == before {
            return line;
        }
    }
}

fn after_list_mark(line: &str) -> Option<&str> {
    let rest = match line.trim_start_matches(MARKS) {
        rest if rest.len() < line.len() => rest,
        _ => match line.trim_start_matches(is_digit) {
            rest if rest.len() < line.len() => {
                rest.trim_start_matches(' ').strip_prefix(NUMBER_MARKS)?
            }
            _ => return None,
        },
    };
    rest.starts_with(' ').then(|| rest.trim_start_matches(' '))
}

fn unquote(line: &str) -> &str {
    let quoted = ['"', '\'']
        .iter()
        .any(|&quote| line.starts_with(quote) && line.ends_with(quote));
    // A line of a single quote becomes empty.
    if quoted {
        line.get(1..line.len() - 1).unwrap_or("")
    } else {
        line
    }
}

/// The reference's passes over a title: each deletes the innermost parentheses, then frees the
/// ends.
///
/// Done literally that is quadratic in the nesting depth. But nothing inside a pair can be seen
/// from the ends until the pair is deleted. Outermost pairs are therefore hidden behind one
/// character, and pass `d` removes those of depth `d`.
fn clean_title(title: &str) -> String {
    let (mut text, mut depths) = hide_parentheses(title);
    let mut passes_done = 0;
    loop {
        let next = depths.iter().min().copied();
        let quiet_passes = next.map_or(usize::MAX, |depth| depth - 1 - passes_done);
        let kept = free_ends(&text, quiet_passes);
        let Some(depth) = next else {
            return kept.to_string();
        };
        let mut shorter = without_hidden(kept, &mut depths, depth);
        shorter = unquote(unformat(shorter.trim_matches(' '))).to_string();
        (text, passes_done) = (Cow::Owned(shorter), depth);
    }
}

/// The text with its ends freed in up to `passes` passes, fewer where nothing changes. Each takes
/// off one pair of quotes.
fn free_ends(text: &str, passes: usize) -> &str {
    let mut kept = text;
    for _ in 0..passes {
        let shorter = unquote(unformat(kept.trim_matches(' ')));
        if shorter.len() == kept.len() {
            break;
        }
        kept = shorter;
    }
    kept
}

/// `title` with each outermost pair of parentheses as [`HIDDEN`], and the depth of each: 1 without
/// parentheses inside.
fn hide_parentheses(title: &str) -> (Cow<'_, str>, Vec<usize>) {
    if !title.contains('(') || !title.contains(')') {
        return (Cow::Borrowed(title), Vec::new());
    }
    struct Open {
        at: usize,
        hidden_before: usize,
        depth_inside: usize,
    }
    let (mut out, mut depths, mut stack) = (
        String::with_capacity(title.len()),
        Vec::new(),
        Vec::<Open>::new(),
    );
    for c in title.chars() {
        match c {
            '(' => {
                stack.push(Open {
                    at: out.len(),
                    hidden_before: depths.len(),
                    depth_inside: 0,
                });
                out.push(c);
            }
            ')' if !stack.is_empty() => {
                let open = stack.pop().expect("the guard saw one");
                let depth = open.depth_inside + 1;
                out.truncate(open.at);
                depths.truncate(open.hidden_before);
                out.push(HIDDEN);
                depths.push(depth);
                if let Some(around) = stack.last_mut() {
                    around.depth_inside = around.depth_inside.max(depth);
                }
            }
            _ => out.push(c),
        }
    }
    (Cow::Owned(out), depths)
}

/// `text` without its hidden pairs of this depth; spaces that meet become one.
fn without_hidden(text: &str, depths: &mut Vec<usize>, depth: usize) -> String {
    let mut pieces = text.split(HIDDEN);
    let mut out = pieces.next().unwrap_or("").to_string();
    for (piece, &hidden) in pieces.zip(depths.iter()) {
        if hidden != depth {
            out.push(HIDDEN);
            out.push_str(piece);
        } else if out.ends_with(' ') {
            out.push_str(piece.trim_start_matches(' '));
        } else {
            out.push_str(piece);
        }
    }
    depths.retain(|&hidden| hidden != depth);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The reference's passes, done literally.
    fn clean_title_slowly(title: &str) -> String {
        let mut text = title.to_string();
        loop {
            let mut shorter = String::new();
            let mut rest = text.trim_matches(' ');
            // Delete every innermost pair: from a `(`, to a `)`, with none of both between.
            while let Some(open) = rest.find('(') {
                match rest[open + 1..].find(['(', ')']) {
                    Some(next) if rest[open + 1 + next..].starts_with(')') => {
                        shorter.push_str(&rest[..open]);
                        rest = &rest[open + next + 2..];
                    }
                    _ => {
                        shorter.push_str(&rest[..=open]);
                        rest = &rest[open + 1..];
                    }
                }
            }
            shorter.push_str(rest);
            let shorter = unquote(unformat(&collapse(&shorter))).to_string();
            if shorter == text {
                return text;
            }
            text = shorter;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn hidden_parentheses_give_what_literal_passes_give(pieces in prop::collection::vec(
            prop::sample::select(vec![
                "(", ")", "()", "((a))", "(((1) b))", " ", " -", "1. ", "1.", "a", "\"", "'", "* ", "#",
            ]), 0..12,
        )) {
            let title = pieces.concat();
            prop_assert_eq!(clean_title(&collapse(&title)), clean_title_slowly(&collapse(&title)));
        }

        #[test]
        fn any_text_is_read(text in any::<String>(), nasty in r#"[( )"'1.*\n-]{0,60}"#) {
            parse_reference(&text);
            parse_reference(&nasty);
        }
    }

    #[test]
    fn hostile_lines_take_linear_time() {
        let size = 1 << 19;
        let deep = format!("{}{}", "(".repeat(size), ")".repeat(size));
        let staircase: String = (1..700)
            .map(|n| format!("{}{}a", "(".repeat(n), ")".repeat(n)))
            .collect();
        let texts = [
            deep.clone(),
            format!("{} {deep}", "1".repeat(size)),
            format!("{staircase}{}", "b".repeat(size)),
            "(".repeat(2 * size),
            ")".repeat(2 * size),
            "()".repeat(size),
            " (".repeat(size),
            "\"".repeat(2 * size),
            "'\"".repeat(size / 2) + &"\"'".repeat(size / 2),
            "1. ".repeat(size),
            format!("{}{}", "1".repeat(size), " -".repeat(size / 2)),
            format!("{deep}{}", " -".repeat(size / 2)),
            " (199".repeat(size / 2),
        ];
        for text in texts {
            let start = std::time::Instant::now();
            parse_reference(&format!("{text} (1999)"));
            let seconds = start.elapsed().as_secs_f64();
            // A quadratic reading of a megabyte takes minutes.
            assert!(seconds < 3.0, "{seconds} s for {}...", &text[..20]);
        }
    }
}
