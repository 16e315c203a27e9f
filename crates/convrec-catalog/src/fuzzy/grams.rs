//! Finds the titles that share rare letters with a name, by an inverted index of trigrams.

/// a-z, 0-9 and the edge of a text.
const ALPHABET: usize = 37;
const EDGE: u8 = 36;

/// The most postings that are read for one name, rarest first. It bounds the time in large
/// catalogs, where common trigrams say little.
const MOST_POSTINGS: usize = 20_000;

/// Texts by their trigrams: flat lists, one for each trigram.
#[derive(Debug, Clone)]
pub(super) struct Grams {
    /// Where the list of each trigram begins; one more than trigrams.
    starts: Vec<u32>,
    /// The texts of each trigram, ascending.
    texts: Vec<u32>,
    /// The distinct trigrams of each text, 255 at most.
    sizes: Vec<u8>,
}

impl Grams {
    /// `text(n)` is the n-th of `count` texts: words of a-z and 0-9 with spaces, which do not
    /// count.
    pub(super) fn new<'a>(count: usize, text: impl Fn(usize) -> &'a str) -> Self {
        let mut grams = Vec::new();
        let mut sizes = Vec::with_capacity(count);
        let mut starts = vec![0_u32; ALPHABET.pow(3) + 1];
        for n in 0..count {
            trigrams(text(n), &mut grams);
            sizes.push(grams.len().min(255) as u8);
            grams
                .iter()
                .for_each(|&gram| starts[gram as usize + 1] += 1);
        }
        for gram in 0..ALPHABET.pow(3) {
            starts[gram + 1] += starts[gram];
        }
        let mut ends = starts.clone();
        let mut texts = vec![0; *starts.last().expect("there is one more than trigrams") as usize];
        for n in 0..count {
            trigrams(text(n), &mut grams);
            for &gram in &grams {
                let end = &mut ends[gram as usize];
                texts[*end as usize] = n as u32;
                *end += 1;
            }
        }
        Self {
            starts,
            texts,
            sizes,
        }
    }

    /// The `n` texts that are most similar to `text`, in no order. Similarity is the weight of the
    /// trigrams in common, divided by the root of their number in the text. Rare trigrams weigh
    /// more.
    pub(super) fn nearest(&self, text: &str, n: usize) -> Vec<u32> {
        let mut grams = Vec::new();
        trigrams(text, &mut grams);
        let postings = |gram: u16| {
            self.starts[gram as usize] as usize..self.starts[gram as usize + 1] as usize
        };
        grams.sort_unstable_by_key(|&gram| (postings(gram).len(), gram));
        let mut weights = vec![0.0_f32; self.sizes.len()];
        let mut touched: Vec<u32> = Vec::new();
        let mut left = MOST_POSTINGS;
        for gram in grams {
            let postings = postings(gram);
            let Some(after) = left.checked_sub(postings.len()) else {
                break;
            };
            left = after;
            let weight = (1.0 + self.sizes.len() as f32 / (1 + postings.len()) as f32).ln();
            for &text in &self.texts[postings] {
                if weights[text as usize] == 0.0 {
                    touched.push(text);
                }
                weights[text as usize] += weight;
            }
        }
        let score =
            |text: u32| weights[text as usize] / f32::from(self.sizes[text as usize]).sqrt();
        if n < touched.len() {
            touched
                .select_nth_unstable_by(n, |&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
            touched.truncate(n);
        }
        touched
    }
}

/// The distinct trigrams of a text without its spaces, an edge before and behind it.
fn trigrams(text: &str, grams: &mut Vec<u16>) {
    let code = |byte: u8| {
        if byte.is_ascii_digit() {
            byte - b'0' + 26
        } else {
            byte - b'a'
        }
    };
    let letters = text.bytes().filter(|&byte| byte != b' ').map(code);
    let (mut before, mut last) = (EDGE, EDGE);
    grams.clear();
    for letter in letters.chain([EDGE]) {
        let gram = (before as usize * ALPHABET + last as usize) * ALPHABET + letter as usize;
        grams.push(gram as u16);
        (before, last) = (last, letter);
    }
    grams.sort_unstable();
    grams.dedup();
}
