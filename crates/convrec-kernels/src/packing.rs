//! Sequences of different lengths, end to end in one batch, some going on where another ended.

use std::ops::Range;

/// A packed batch: M tokens in segments of adjacent tokens, and the rule which tokens see which.
///
/// A token sees itself and the tokens before it in its own segment. Where its segment *branches*
/// from another one, it also sees all of that one. In a packing [both ways](Self::both_ways) it
/// sees all of its own segment. G completions of a prompt therefore need their prompt once:
///
/// ```
/// use convrec_kernels::Packing;
///
/// let mut packing = Packing::default();
/// let prompt = packing.add(3); // tokens 0, 1, 2
/// packing.branch(prompt, 2); // tokens 3, 4
/// packing.branch(prompt, 1); // token 5, which sees 0, 1, 2 and itself
/// packing.add(2); // tokens 6, 7, alone
/// assert_eq!(packing.tokens(), 8);
/// assert_eq!(packing.positions(), [0, 1, 2, 3, 4, 3, 0, 1]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packing {
    segments: Vec<Segment>,
    /// Whether tokens see what comes after them.
    both_ways: bool,
    /// The number of tokens that a token sees, itself included; none where it sees all.
    window: Option<usize>,
}

/// A segment of a [`Packing`], by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentId(usize);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) tokens: Range<usize>,
    /// The place of the segment that this one branches from.
    pub(crate) after: Option<usize>,
}

impl Packing {
    /// A packing without segments yet, in which a token also sees what comes after it, as in
    /// encoders (BERT).
    pub fn both_ways() -> Self {
        Self {
            both_ways: true,
            ..Self::default()
        }
    }

    /// B segments of T tokens each.
    pub fn rectangle(b: usize, t: usize) -> Self {
        let mut packing = Self::default();
        (0..b).for_each(|_| {
            packing.add(t);
        });
        packing
    }

    /// The same packing in which a token sees itself and the `tokens - 1` tokens of its sequence
    /// before it, as in blocks with a sliding window.
    ///
    /// # Panics
    /// When `tokens` is 0, or tokens see what comes after them.
    #[must_use]
    pub fn with_window(self, tokens: usize) -> Self {
        assert!(
            tokens > 0 && !self.both_ways,
            "a window holds a token at least, and only tokens before it"
        );
        Self {
            window: Some(tokens),
            ..self
        }
    }

    /// Adds a segment of `length` tokens that stands alone.
    pub fn add(&mut self, length: usize) -> SegmentId {
        self.push(length, None)
    }

    /// Adds a segment of `length` tokens that goes on where `trunk` ends.
    ///
    /// # Panics
    /// When the trunk is itself a branch, or of another packing.
    pub fn branch(&mut self, trunk: SegmentId, length: usize) -> SegmentId {
        assert!(
            self.segments[trunk.0].after.is_none(),
            "a branch cannot branch"
        );
        self.push(length, Some(trunk.0))
    }

    fn push(&mut self, length: usize, after: Option<usize>) -> SegmentId {
        let start = self.tokens();
        self.segments.push(Segment {
            tokens: start..start + length,
            after,
        });
        SegmentId(self.segments.len() - 1)
    }

    /// M, the tokens of all segments.
    pub fn tokens(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.tokens.end)
    }

    /// The tokens of a segment.
    pub fn range(&self, segment: SegmentId) -> Range<usize> {
        self.segments[segment.0].tokens.clone()
    }

    /// The number of tokens before each token in its sequence, `[M]`.
    pub fn positions(&self) -> Vec<usize> {
        let of = |segment: &Segment| {
            let first = self.before(segment).len();
            first..first + segment.tokens.len()
        };
        self.segments.iter().flat_map(of).collect()
    }

    pub(crate) fn is_both_ways(&self) -> bool {
        self.both_ways
    }

    pub(crate) fn window(&self) -> Option<usize> {
        self.window
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The tokens of the segment that this one branches from.
    pub(crate) fn before(&self, segment: &Segment) -> Range<usize> {
        segment
            .after
            .map_or(0..0, |trunk| self.segments[trunk].tokens.clone())
    }
}
