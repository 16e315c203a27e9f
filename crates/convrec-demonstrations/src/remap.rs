use std::collections::HashSet;
use std::hash::Hash;

use convrec_core::ItemId;
use ndarray::{ArrayView1, ArrayView2};

/// An item that a teacher named in its answer to one conversation.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a, A> {
    /// The weight of its place in the list, see [`rank_weights`].
    pub weight: f64,
    /// The embedding of its text, of unit length. Shape `[D]`.
    pub embedding: ArrayView1<'a, A>,
    /// The catalog item that it is, where it is one.
    pub exact: Option<ItemId>,
}

/// The teacher's vote p for each place of its list: 1/sqrt(k) at rank k = 1, 2, and so on. It is
/// `None` where an item is repeated, as the item keeps its best rank. The ranks behind a repetition
/// do not move up.
pub fn rank_weights<K: Eq + Hash>(list: &[K]) -> Vec<Option<f64>> {
    let mut named = HashSet::new();
    list.iter()
        .enumerate()
        .map(|(index, key)| named.insert(key).then(|| 1.0 / ((index + 1) as f64).sqrt()))
        .collect()
}

/// The query of a conversation: sum of p_u e_u + lambda e_conv, over the items that its teacher
/// named.
///
/// Cosines of unit vectors are linear in either vector. Remap's p' S_item + lambda s_conv is
/// therefore the product of the catalog's embeddings with this one vector. Only the items of this
/// list are touched, never a |C_T| x |C| matrix.
///
/// # Shapes
/// `conversation` and the result `[D]`.
///
/// # Panics
/// When an embedding has another width than the conversation's.
pub fn remap_query<A: Copy + Into<f64>>(
    list: &[Named<'_, A>],
    conversation: ArrayView1<'_, A>,
    lambda: f64,
) -> Vec<f64> {
    let mut query: Vec<f64> = conversation.iter().map(|&x| lambda * x.into()).collect(); // [D]
    for named in list {
        assert_eq!(
            named.embedding.len(),
            query.len(),
            "a named item's embedding has another width than the conversation's"
        );
        query
            .iter_mut()
            .zip(named.embedding)
            .for_each(|(q, &x)| *q += named.weight * x.into());
    }
    query
}

/// Remap: the score of each item of the catalog by the teacher's list (paper, "Remap").
///
/// s_remap = p' (S_item + I_ic) + lambda s_conv. p are the weights of the named items. S_item and
/// s_conv are the cosines of the named items and of the conversation with the catalog's items. I_ic
/// marks the exact matches. This function does one conversation in f64.
/// [`Pipeline`](crate::Pipeline) multiplies the [queries](remap_query) of many at once, in f32.
///
/// # Shapes
/// `catalog` `[C, D]` and `conversation` `[D]` of unit rows; result `[C]`.
///
/// # Panics
/// When the shapes do not agree or an exact match is not in the catalog.
pub fn remap<A: Copy + Into<f64>>(
    list: &[Named<'_, A>],
    catalog: ArrayView2<'_, A>,
    conversation: ArrayView1<'_, A>,
    lambda: f64,
) -> Vec<f64> {
    let query = remap_query(list, conversation, lambda); // [D]
    assert_eq!(
        catalog.ncols(),
        query.len(),
        "the catalog's embeddings have another width than the conversation's"
    );
    let mut scores: Vec<f64> = catalog.outer_iter().map(|row| dot(row, &query)).collect(); // [C]
    for (item, weight) in list
        .iter()
        .filter_map(|named| Some((named.exact?, named.weight)))
    {
        scores[item.index()] += weight;
    }
    scores
}

fn dot<A: Copy + Into<f64>>(row: ArrayView1<'_, A>, query: &[f64]) -> f64 {
    const LANES: usize = 8;
    let Some(row) = row.to_slice() else {
        return row.iter().zip(query).map(|(&x, q)| x.into() * q).sum();
    };
    // Several sums side by side let the compiler use vector registers. One sum would fix the order
    // of additions.
    let mut sums = [0.0; LANES];
    let (head, tail) = (row.chunks_exact(LANES), query.chunks_exact(LANES));
    let rest: f64 = head
        .remainder()
        .iter()
        .zip(tail.remainder())
        .map(|(&x, q)| x.into() * q)
        .sum();
    for (x, q) in head.zip(tail) {
        for lane in 0..LANES {
            sums[lane] += x[lane].into() * q[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::RngExt;

    use super::*;
    use crate::stable;

    /// The formula with its matrices. The rows of items that were not named are NaN and must not be
    /// read.
    #[test]
    fn equals_the_formula_and_reads_named_rows_only() {
        let mut rng = stable::rng(1, "remap");
        let (u, c, d) = (30, 50, 19);
        let mut teacher = Array2::from_elem((u, d), f64::NAN);
        let catalog = Array2::from_shape_simple_fn((c, d), || rng.random_range(-1.0..1.0));
        let conversation = Array2::from_shape_simple_fn((1, d), || rng.random_range(-1.0..1.0));
        let keys = [4, 9, 4, 17];
        for u in keys {
            teacher
                .row_mut(u)
                .mapv_inplace(|_| rng.random_range(-1.0..1.0));
        }
        let exact = |u: usize| (u == 9).then_some(ItemId(33));
        let named = keys
            .iter()
            .zip(rank_weights(&keys))
            .filter_map(|(&u, weight)| {
                Some(Named {
                    weight: weight?,
                    embedding: teacher.row(u),
                    exact: exact(u),
                })
            });
        let scores = remap(
            &named.collect::<Vec<_>>(),
            catalog.view(),
            conversation.row(0),
            0.7,
        );

        let p = [(4, 1.0), (9, 1.0 / 2.0_f64.sqrt()), (17, 0.5)];
        for (v, score) in scores.iter().enumerate() {
            let similar = |row: ArrayView1<f64>| row.dot(&catalog.row(v));
            let votes = p.map(|(u, p)| {
                p * (similar(teacher.row(u)) + f64::from(exact(u) == Some(ItemId(v as u32))))
            });
            let expected = votes.iter().sum::<f64>() + 0.7 * similar(conversation.row(0));
            assert!(
                (score - expected).abs() < 1e-12,
                "{v}: {score}, expected {expected}"
            );
        }
    }
}
