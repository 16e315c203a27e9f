//! Texts that end an answer.

use serde::Deserialize;

use crate::refusal::Refusal;

/// The field `stop`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of at most 4 texts")]
pub(crate) enum Stop {
    One(String),
    Several(Vec<String>),
}

/// The largest number of texts, and of bytes of one.
const MOST: usize = 4;
const LONGEST: usize = 1000;

impl Stop {
    pub(crate) fn texts(stop: Option<Self>) -> Result<Vec<String>, Refusal> {
        let texts = match stop {
            None => vec![],
            Some(Self::One(text)) => vec![text],
            Some(Self::Several(texts)) => texts,
        };
        let is_fine = |text: &String| !text.is_empty() && text.len() <= LONGEST;
        match texts.len() <= MOST && texts.iter().all(is_fine) {
            true => Ok(texts),
            false => {
                let problem = format!("expected at most {MOST} texts of 1 to {LONGEST} bytes");
                Err(Refusal::field("stop", problem))
            }
        }
    }
}

/// Where the first stop text begins in what was written from `from` on or reaches into it.
pub(crate) fn find(text: &str, from: usize, stops: &[String]) -> Option<usize> {
    let places = stops.iter().filter_map(|stop| {
        let mut start = from.saturating_sub(stop.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        text[start..].find(stop.as_str()).map(|place| start + place)
    });
    places.min()
}

/// Whether a completion of these tokens ends with a stop text, token by token.
pub(crate) struct Watch<F> {
    stops: Vec<Vec<u8>>,
    bytes_of: F,
    /// The last bytes, of which a stop text may be made.
    tail: Vec<u8>,
    longest: usize,
}

impl<F: Fn(u32) -> Vec<u8>> Watch<F> {
    pub(crate) fn new(stops: &[String], bytes_of: F) -> Self {
        Self {
            stops: stops.iter().map(|stop| stop.as_bytes().to_vec()).collect(),
            bytes_of,
            tail: vec![],
            longest: stops.iter().map(String::len).max().unwrap_or(0),
        }
    }

    pub(crate) fn ends(&mut self, token: u32) -> bool {
        self.tail.extend((self.bytes_of)(token));
        let holds = |stop: &Vec<u8>| self.tail.windows(stop.len()).any(|part| part == stop);
        let ends = self.stops.iter().any(holds);
        let keep = self.longest.saturating_sub(1);
        if self.tail.len() > keep {
            self.tail.drain(..self.tail.len() - keep);
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_text_is_found_across_pieces() {
        let stops = ["\n3.".to_string(), "é!".to_string()];
        assert_eq!(find("1. a\n2. b\n3. c", 9, &stops), Some(9));
        assert_eq!(find("aé!", 3, &stops), Some(1));
        assert_eq!(find("1. a", 0, &stops), None);
        let mut watch = Watch::new(&stops, |token| vec![token as u8]);
        let ends: Vec<bool> = b"a\n\n3."
            .iter()
            .map(|byte| watch.ends(u32::from(*byte)))
            .collect();
        assert_eq!(ends, [false, false, false, false, true]);
    }

    #[test]
    fn nonsense_is_refused() {
        for stop in [Stop::One(String::new()), Stop::Several(vec!["x".into(); 5])] {
            assert!(Stop::texts(Some(stop)).is_err());
        }
        assert!(Stop::texts(None).unwrap().is_empty());
    }
}
