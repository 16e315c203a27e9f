//! Similarity search against brute force in f64.

use convrec_catalog::{Embeddings, EmbeddingsError};
use convrec_core::ItemId;
use ndarray::{Array2, arr1, arr2};
use proptest::prelude::*;

const WIDTH: usize = 37;

/// Unit rows in general position.
fn rows(most: usize) -> impl Strategy<Value = Array2<f32>> {
    prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, WIDTH), 1..most).prop_map(|rows| {
        let mut rows = Array2::from_shape_vec((rows.len(), WIDTH), rows.concat()).unwrap();
        for mut row in rows.outer_iter_mut() {
            row[0] += 2.0;
            let length = row.dot(&row).sqrt();
            row /= length;
        }
        rows
    })
}

/// Unit rows with four entries of ±1/2: cosines are exact in f32, and many are equal.
fn coarse_rows(most: usize) -> impl Strategy<Value = Array2<f32>> {
    let row = prop::collection::vec(prop::bool::ANY.prop_map(|plus| if plus { 0.5 } else { -0.5 }), 4);
    prop::collection::vec(row, 1..most).prop_map(|rows| Array2::from_shape_vec((rows.len(), 4), rows.concat()).unwrap())
}

/// All places with their cosines in f64, best first, the lower place first among equals.
fn brute_force(rows: &Array2<f32>, query: &[f32]) -> Vec<(usize, f64)> {
    let dot = |row: &[f32]| row.iter().zip(query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let mut all: Vec<(usize, f64)> = rows.outer_iter().map(|row| dot(row.as_slice().unwrap())).enumerate().collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
    all
}

proptest! {
    #[test]
    fn equal_to_brute_force_where_sums_are_exact(rows in coarse_rows(60), queries in coarse_rows(150), k in 0..70_usize) {
        let items = Embeddings::new(rows.clone()).unwrap();
        let batch = items.top_k_batch(queries.view(), k);
        prop_assert_eq!(batch.len(), queries.nrows());
        for (query, found) in queries.outer_iter().zip(batch) {
            let exact: Vec<(ItemId, f32)> = brute_force(&rows, query.as_slice().unwrap())
                .into_iter()
                .take(k)
                .map(|(place, cosine)| (ItemId(place as u32), cosine as f32))
                .collect();
            prop_assert_eq!(&found, &exact);
            prop_assert_eq!(items.top_k(query, k), exact);
        }
    }

    #[test]
    fn near_brute_force_in_general(rows in rows(80), queries in rows(70), k in 1..20_usize) {
        let items = Embeddings::new(rows.clone()).unwrap();
        let batch = items.top_k_batch(queries.view(), k);
        for (query, found) in queries.outer_iter().zip(&batch) {
            let exact = brute_force(&rows, query.as_slice().unwrap());
            for list in [found, &items.top_k(query, k)] {
                prop_assert_eq!(list.len(), k.min(rows.nrows()));
                for (rank, (id, cosine)) in list.iter().enumerate() {
                    let of_id = exact.iter().find(|(place, _)| *place == id.index()).unwrap().1;
                    prop_assert!((f64::from(*cosine) - of_id).abs() < 1e-5);
                    prop_assert!((exact[rank].1 - of_id).abs() < 1e-5, "rank {} is not {}", rank, id.index());
                }
            }
        }
    }
}

#[test]
fn rows_must_be_unit_vectors() {
    let message = |rows| Embeddings::new(rows).unwrap_err().to_string();
    assert!(message(arr2(&[[1.0, 0.0], [3.0, 4.0]])).starts_with("row 1 (from 0) of the embeddings has length 5;"));
    assert!(message(arr2(&[[f32::NAN, 1.0]])).contains("length NaN"));
    assert_eq!(Embeddings::new(Array2::zeros((0, 3))).unwrap_err(), EmbeddingsError::Empty { rows: 0, width: 3 });
    assert!(message(Array2::zeros((2, 0))).contains("shape [2, 0]"));
}

#[test]
#[should_panic]
fn a_query_of_another_width_is_a_mistake_of_the_caller() {
    Embeddings::new(arr2(&[[1.0, 0.0]])).unwrap().top_k(arr1(&[1.0]).view(), 1);
}
