use std::collections::HashMap;

use convrec_catalog::normalise;
use convrec_text::strip_reasoning;
use serde_json::{Map, Value};

/// The names that models use for a candidate's number and its rating.
const NUMBER_FIELDS: [&str; 5] = ["id", "number", "index", "candidate", "item"];
const RATING_FIELDS: [&str; 3] = ["rating", "score", "value"];

/// The ratings of numbered candidates in a judge's answer, in the candidates' order; `None` where
/// one was not rated.
///
/// Answers are read leniently, as models keep no form. A line may be `7: -1`, `7. Heat (1995): -1`,
/// `**7** - -1 (too violent)`, `Heat (1995): +2` or `| 7 | -1 |`. The whole answer may be a JSON
/// object (`{"7": -1}`), a JSON list of ratings or one of objects (`[{"id": 7, "rating": -1}]`).
///
/// A line's first number is the candidate, unless the line begins with a candidate's name. The
/// rating is a number behind that which lies in -2..=2 and stands alone. A number right behind a
/// colon, a bar or `=` comes first, then the last one behind such a mark, then the last one. Of two
/// ratings of one candidate the first counts. Reasoning, as in `<think>...</think>`, is no part of
/// an answer. Reading never fails.
///
/// ```
/// use convrec_demonstrations::chat::read_ratings;
///
/// let names =
///     ["Heat (1995)", "2001: A Space Odyssey (1968)", "Up (2009)"].map(String::from);
/// assert_eq!(
///     read_ratings(
///         "Sure!\n1: 2\n2. 2001: A Space Odyssey (1968) - rating: -1\n",
///         &names
///     ),
///     [Some(2), Some(-1), None]
/// );
/// assert_eq!(
///     read_ratings("<think>1: -2</think>1: 2", &names),
///     [Some(2), None, None]
/// );
/// assert_eq!(
///     read_ratings("Up (2009): +1\n1: 9", &names),
///     [None, None, Some(1)]
/// );
/// assert_eq!(
///     read_ratings("```json\n{\"1\": 0, \"3\": -2}\n```", &names),
///     [Some(0), None, Some(-2)]
/// );
/// ```
#[must_use]
pub fn read_ratings(answer: &str, names: &[String]) -> Vec<Option<i8>> {
    let answer = &*strip_reasoning(answer);
    if let Some(ratings) = read_json(answer, names.len()) {
        return ratings;
    }
    let places: HashMap<String, usize> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (normalise(name), place))
        .collect();
    let mut ratings = vec![None; names.len()];
    for line in answer.lines() {
        if let Some((place, rating)) = read_line(line, names, &places) {
            ratings[place] = ratings[place].or(Some(rating));
        }
    }
    ratings
}

/// The candidate that a line rates, and the rating.
fn read_line(line: &str, names: &[String], places: &HashMap<String, usize>) -> Option<(usize, i8)> {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || "*-#|_>\"'`•–".contains(c));
    // A name is tried first, as it may begin with a number.
    if let Some((place, rest)) = strip_name(line, places) {
        return Some((place, find_rating(rest)?));
    }
    let digits = line.chars().take_while(char::is_ascii_digit).count();
    let place = line[..digits]
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
        .filter(|&place| place < names.len())?;
    let rest = &line[digits..];
    let title = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
    // Models renumber candidates, so the name decides.
    if let Some((place, rest)) = strip_name(title, places) {
        return Some((place, find_rating(rest)?));
    }
    let rest = strip_prefix_ignoring_case(title, &names[place]).unwrap_or(rest);
    Some((place, find_rating(rest)?))
}

/// The candidate that the text begins with, up to a colon, a bar or a dash, and the text behind it.
fn strip_name<'a>(line: &'a str, places: &HashMap<String, usize>) -> Option<(usize, &'a str)> {
    let ends = line
        .char_indices()
        .filter(|(_, c)| ":|=–—*\t".contains(*c))
        .map(|(at, _)| at);
    let dashes = line.match_indices(" - ").map(|(at, _)| at);
    ends.chain(dashes)
        .find_map(|end| Some((*places.get(&normalise(&line[..end]))?, &line[end..])))
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    (normalise(head) == normalise(prefix)).then(|| &text[prefix.len()..])
}

/// The rating in the text behind a candidate: a number in -2..=2 that stands alone, not part of a
/// word, a year or a decimal. A remark may hold such numbers too, so marks count more than the
/// place.
fn find_rating(text: &str) -> Option<i8> {
    let chars: Vec<char> = text.replace(['−', '‒'], "-").chars().collect();
    let alone = |c: Option<&char>| c.is_none_or(|c| !c.is_alphanumeric() && *c != '.' && *c != ',');
    let rating = |at: usize| -> Option<(usize, i8)> {
        let digit = chars[at].to_digit(10).filter(|&digit| digit <= 2)?;
        let sign = at.checked_sub(1).map(|before| chars[before]);
        let (before, negative) = match sign {
            Some('-') => (at.checked_sub(2), true),
            Some('+') => (at.checked_sub(2), false),
            _ => (at.checked_sub(1), false),
        };
        let behind = chars.get(at + 1);
        let ends_sentence =
            behind == Some(&'.') && chars.get(at + 2).is_none_or(|c| !c.is_alphanumeric());
        let free = alone(before.map(|at| &chars[at]))
            && (alone(behind) || ends_sentence || behind == Some(&','));
        let start = before.map_or(0, |before| before + 1);
        free.then_some((
            start,
            if negative {
                -(digit as i8)
            } else {
                digit as i8
            },
        ))
    };
    let all: Vec<(usize, i8)> = (0..chars.len()).filter_map(rating).collect();
    let is_marked = |(start, _): &&(usize, i8)| {
        let before = chars[..*start]
            .iter()
            .rev()
            .find(|c| !c.is_whitespace() && **c != '*');
        before.is_some_and(|c| ":=|".contains(*c))
    };
    let at_once = |(start, _): &&(usize, i8)| !chars[..*start].iter().any(|c| c.is_alphanumeric());
    let marked = || all.iter().filter(is_marked);
    marked()
        .find(at_once)
        .or(marked().next_back())
        .or(all.last())
        .map(|(_, rating)| *rating)
}

/// The ratings of an answer in JSON: a list with a rating for each candidate, a list of objects
/// with number and rating, or an object of ratings by number.
fn read_json(answer: &str, n: usize) -> Option<Vec<Option<i8>>> {
    let within = |open: char, close: char| answer.get(answer.find(open)?..=answer.rfind(close)?);
    let rating = |value: &Value| {
        value
            .as_i64()
            .filter(|r| (-2..=2).contains(r))
            .map(|r| r as i8)
    };
    let mut ratings = vec![None; n];
    let mut rate = |number: &str, value: &Value| {
        let place = number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        if let Some(place) = place.and_then(|place| ratings.get_mut(place)) {
            *place = place.or(rating(value));
        }
    };
    if let Some(list) =
        within('[', ']').and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok())
    {
        if list.len() == n && list.iter().any(|value| rating(value).is_some()) {
            return Some(list.iter().map(rating).collect());
        }
        for object in &list {
            let field = |names: &[&str]| names.iter().find_map(|name| object.get(name));
            if let (Some(number), Some(value)) = (field(&NUMBER_FIELDS), field(&RATING_FIELDS)) {
                rate(number.to_string().trim_matches('"'), value);
            }
        }
    }
    if let Some(object) =
        within('{', '}').and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok())
    {
        object
            .iter()
            .for_each(|(number, value)| rate(number, value));
    }
    Some(ratings).filter(|ratings| ratings.iter().any(Option::is_some))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(answer: &str) -> Vec<Option<i8>> {
        let names = [
            "Heat (1995)",
            "2001: A Space Odyssey (1968)",
            "Up (2009)",
            "Spider-Man - Home (2017)",
            "300 (2006)",
        ];
        read_ratings(answer, &names.map(String::from))
    }

    #[test]
    fn every_habit_of_models() {
        let all = [Some(2), Some(-1), Some(0), Some(1), Some(-2)];
        for answer in [
            "1: 2\n2: -1\n3: 0\n4: 1\n5: -2",
            "1. 2\n2. -1\n3. 0\n4. +1\n5. -2",
            "Here you go:\n\n1) Heat (1995): 2\n2) 2001: A Space Odyssey (1968): −1\n3) Up (2009): \
             0\n4) Spider-Man - Home (2017): 1\n5) 300 (2006): -2\n\nEnjoy!",
            "- **1**: 2\n- **2**: -1\n- **3**: 0\n- **4**: 1\n- **5**: -2",
            "| 1 | 2 |\n| 2 | -1 |\n| 3 | 0 |\n| 4 | 1 |\n| 5 | -2 |",
            "Heat (1995): 2\n2001: A Space Odyssey (1968): -1\nUP (2009) - 0\nSpider-Man - Home \
             (2017): 1\n300 (2006): -2",
            "1: 2 (a perfect fit)\n2: -1.\n3: 0, as it is for children\n4: 1\n5: -2 - too violent",
            "1: 2, as part 1 was\n2: -1, part 2 is better\n3: 0 (of 2)\n4: **1** (plot: 2)\n5: \
             plot: 1, overall = -2, not 2",
            "1 | 2 | 1\n2 = -1 out of 2\n3. Up (2009): 0, unlike 2\n4: 1/2\n| 5 | 300 (2006) | -2 \
             | at most 1 |",
            "[2, -1, 0, 1, -2]",
            "[{\"id\": 1, \"rating\": 2}, {\"id\": 2, \"rating\": -1}, {\"id\": 3, \"rating\": 0}, \
             {\"id\": 4, \"rating\": 1}, {\"id\": 5, \"rating\": -2}]",
            "{\"ratings\": [{\"number\": \"5\", \"score\": -2}, {\"number\": 4, \"score\": 1}, \
             {\"number\": 3, \"score\": 0}, {\"number\": 2, \"score\": -1}, {\"number\": 1, \
             \"score\": 2}]}",
            "{\"1\": 2, \"2\": -1, \"3\": 0, \"4\": 1, \"5\": -2}",
        ] {
            assert_eq!(read(answer), all, "{answer}");
        }
    }

    #[test]
    fn what_is_no_rating_is_none() {
        assert_eq!(read("1: 3\n2: -7\n3: great\n4: 1.5\n5:"), [None; 5]);
        assert_eq!(read("0: 1\n6: 1\n99999999999999999999: 1\n: 1"), [None; 5]);
        assert_eq!(read("1: 2\n1: -2"), [Some(2), None, None, None, None]);
        assert_eq!(
            read("1. Up (2009): 2"),
            [None, None, Some(2), None, None],
            "a name counts for more than a number"
        );
        assert_eq!(read("I cannot help with that."), [None; 5]);
        assert_eq!(read("[1, 2]"), [None; 5]);
        assert_eq!(
            read("[{\"id\": 6, \"rating\": 1}, {\"id\": 2, \"rating\": 3}, {\"id\": 1}, 7, {}]"),
            [None; 5]
        );
        assert_eq!(
            read("Scale: [\"bad\", \"b\", \"c\", \"d\", \"good\"]\n2: 1"),
            [None, Some(1), None, None, None]
        );
        assert_eq!(
            read_ratings("[{\"id\": 1, \"rating\": 2}]", &["Up (2009)".into()]),
            [Some(2)]
        );
        assert_eq!(read("3. Up (2009)"), [None; 5]);
        assert_eq!(read_ratings("1: 2", &[]), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read(answer in "(?s)[0-9:. \n{}\\[\\]|+–−-]{0,60}|.{0,40}") {
            let ratings = read(&answer);
            prop_assert!(ratings.len() == 5 && ratings.iter().flatten().all(|r| (-2..=2).contains(r)));
        }

        #[test]
        fn what_is_written_is_read_back(ratings in prop::collection::vec(prop::option::of(-2_i8..=2), 1..40), named in any::<bool>()) {
            let names: Vec<String> = (0..ratings.len()).map(|i| format!("Film {i} \
                ({})", 1950 + i)).collect();
            let line = |(i, rating): (usize, &Option<i8>)| {
                let name = if named { format!(" {}", names[i]) } else { String::new() };
                rating.map(|rating| format!("{}.{name}: {rating}\n", i + 1))
            };
            let answer: String = ratings.iter().enumerate().filter_map(line).collect();
            prop_assert_eq!(read_ratings(&answer, &names), ratings);
        }
    }
}
