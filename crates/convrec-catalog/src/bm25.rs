use std::collections::{HashMap, HashSet};

use crate::normalise;

/// The saturation of repeated words; the usual choice.
const K1: f32 = 1.2;
/// The length normalisation; the usual choice.
const B: f32 = 0.75;

/// English function words and the small talk of conversations, for [`Bm25::new`].
///
/// Without them a conversation finds the plots that are told in its filler words: "have you seen
/// any good ones".
#[rustfmt::skip]
pub const ENGLISH_STOP_WORDS: &[&str] = &[
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do", "does", "don't",
    "for", "from", "good", "great", "has", "have", "he", "hello", "her", "hi", "his", "how", "i", "i'm", "if", "im", "in",
    "is", "it", "it's", "its", "just", "like", "me", "my", "no", "not", "of", "on", "one", "or", "really", "see", "seen",
    "she", "should", "so", "some", "that", "that's", "the", "their", "them", "there", "they", "this", "to", "was",
    "watch", "we", "were", "what", "when", "where", "which", "who", "will", "with", "would", "yes", "you", "your",
];

/// Text search by BM25: the classic baseline that finds items by the words of a conversation.
///
/// The score of a text d for a query q is
///
/// ```text
/// sum over the words w of q of  idf(w) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean |d|))
/// idf(w) = ln(1 + (n - df + 0.5) / (df + 0.5))
/// ```
///
/// with tf how often d holds w, df the number of texts that do, n the number of texts, |d| the
/// words in d, k1 = 1.2 and b = 0.75. A word counts as often as the query holds it. The idf is
/// Lucene's, which is never negative.
///
/// **Words** are runs of letters, digits and apostrophes of the [normalised](crate::normalise())
/// text, without stop words. Letters and digits are Unicode's. `'` and `’` are one, and none is at
/// the end of a word. There is no stemming.
///
/// ```
/// use convrec_catalog::{Bm25, ENGLISH_STOP_WORDS, top_k};
/// use convrec_core::ItemId;
///
/// let texts = [
///     "Heat (1995), a thief and a detective",
///     "Alien (1979), a crew meets an alien",
///     "Jaws (1975), a shark",
/// ];
/// let search = Bm25::new(texts, ENGLISH_STOP_WORDS);
/// let scores = search.scores("Something like ALIEN, with an alien? Or with a shark");
/// let best: Vec<ItemId> = top_k(&scores, 2).into_iter().map(|(id, _)| id).collect();
/// assert_eq!(best, [ItemId(1), ItemId(2)]);
/// ```
///
/// Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
#[derive(Debug, Clone)]
pub struct Bm25 {
    n_texts: usize,
    /// For each word the texts that hold it, in order, and its part of their scores.
    postings: HashMap<String, Vec<(u32, f32)>>,
}

impl Bm25 {
    /// Indexes `texts`; the place of a text is its id. Words of `stop_words` are left out, in texts
    /// and queries.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, stop_words: &[&str]) -> Self {
        let stop_words: HashSet<&str> = stop_words.iter().copied().collect();
        let mut postings: HashMap<String, Vec<(u32, f32)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (id, text) in texts.into_iter().enumerate() {
            let mut length = 0.0_f32;
            let normalised = normalise(text.as_ref());
            for word in words(&normalised).filter(|word| !stop_words.contains(word.as_str())) {
                length += 1.0;
                let holders = postings.entry(word).or_default();
                match holders.last_mut() {
                    Some((last, tf)) if *last == id as u32 => *tf += 1.0,
                    _ => holders.push((id as u32, 1.0)),
                }
            }
            lengths.push(length);
        }
        let mean = lengths.iter().sum::<f32>() / lengths.len().max(1) as f32;
        for holders in postings.values_mut() {
            let idf = idf(lengths.len(), holders.len());
            for (id, weight) in holders {
                let tf = *weight;
                *weight = idf * tf * (K1 + 1.0)
                    / (tf + K1 * (1.0 - B + B * lengths[*id as usize] / mean));
            }
        }
        Self {
            n_texts: lengths.len(),
            postings,
        }
    }

    /// The score of every text for `query`, by id; 0 for texts that share no word with it.
    ///
    /// [`top_k`](crate::top_k) gives the best ones.
    pub fn scores(&self, query: &str) -> Vec<f32> {
        let mut scores = vec![0.0; self.n_texts];
        for word in words(&normalise(query)) {
            for &(id, weight) in self.postings.get(&word).into_iter().flatten() {
                scores[id as usize] += weight;
            }
        }
        scores
    }
}

fn idf(n_texts: usize, n_holding: usize) -> f32 {
    let (n, df) = (n_texts as f64, n_holding as f64);
    (1.0 + (n - df + 0.5) / (df + 0.5)).ln() as f32
}

/// The words of a normalised text.
fn words(normalised: &str) -> impl Iterator<Item = String> {
    let is_apostrophe = |c: char| c == '\'' || c == '’';
    normalised
        .split(move |c: char| !c.is_alphanumeric() && !is_apostrophe(c))
        .map(move |word| word.trim_matches(is_apostrophe).replace('’', "'"))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_keep_inner_apostrophes_and_all_scripts() {
        let found: Vec<String> = words(&normalise(
            "'Don’t' look—Амели, 12-year-old's \"STRAẞE\" '' 七人の侍",
        ))
        .collect();
        assert_eq!(
            found,
            [
                "don't",
                "look",
                "амели",
                "12",
                "year",
                "old's",
                "strasse",
                "七人の侍"
            ]
        );
    }

    #[test]
    fn nothing_to_find() {
        assert!(Bm25::new([""; 0], &[]).scores("heat").is_empty());
        assert_eq!(
            Bm25::new(["", "the"], &["the"]).scores("the heat"),
            [0.0, 0.0]
        );
    }

    proptest! {
        /// The definition, written out in f64 over a vocabulary of five words; `e` is a stop word.
        #[test]
        fn equals_the_formula(
            texts in prop::collection::vec(prop::collection::vec(0_usize..5, 0..8), 1..12),
            query in prop::collection::vec(0_usize..5, 0..6),
        ) {
            let word = |w: &usize| ["a", "b", "c", "d", "e"][*w];
            let write = |ws: &Vec<usize>| ws.iter().map(word).collect::<Vec<_>>().join(" ");
            let scores = Bm25::new(texts.iter().map(write), &["e"]).scores(&write(&query));
            let lengths: Vec<f64> = texts.iter().map(|t| t.iter().filter(|w| **w < 4).count() as f64).collect();
            let n = texts.len() as f64;
            let mean = lengths.iter().sum::<f64>() / n;
            for (text, (&length, &score)) in texts.iter().zip(lengths.iter().zip(&scores)) {
                let mut expected = 0.0;
                for w in query.iter().filter(|w| **w < 4 && text.contains(w)) {
                    let df = texts.iter().filter(|t| t.contains(w)).count() as f64;
                    let tf = text.iter().filter(|v| *v == w).count() as f64;
                    let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
                    expected += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean));
                }
                prop_assert!((f64::from(score) - expected).abs() < 1e-5 * (1.0 + expected), "{} {}", score, expected);
            }
        }
    }
}
