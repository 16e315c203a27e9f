//! Similarity search against brute force in f64.

use convrec_catalog::{Embeddings, EmbeddingsError};
use convrec_core::ItemId;
use ndarray::{Array2, Axis, arr1, arr2};
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
    let row = prop::collection::vec(
        prop::bool::ANY.prop_map(|plus| if plus { 0.5 } else { -0.5 }),
        4,
    );
    prop::collection::vec(row, 1..most)
        .prop_map(|rows| Array2::from_shape_vec((rows.len(), 4), rows.concat()).unwrap())
}

/// All places with their cosines in f64, best first, the lower place first among equals.
fn brute_force(rows: &Array2<f32>, query: &[f32]) -> Vec<(usize, f64)> {
    let dot = |row: &[f32]| {
        row.iter()
            .zip(query)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum::<f64>()
    };
    let mut all: Vec<(usize, f64)> = rows
        .outer_iter()
        .map(|row| dot(row.as_slice().unwrap()))
        .enumerate()
        .collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
    all
}

proptest! {
    #[test]
    fn equal_to_brute_force_where_sums_are_exact(
        rows in coarse_rows(60),
        queries in coarse_rows(150),
        k in 0..70_usize,
    ) {
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
                    let of_id = exact
                        .iter()
                        .find(|(place, _)| *place == id.index())
                        .unwrap()
                        .1;
                    prop_assert!((f64::from(*cosine) - of_id).abs() < 1e-5);
                    prop_assert!(
                        (exact[rank].1 - of_id).abs() < 1e-5,
                        "rank {} is not \
                        {}",
                        rank,
                        id.index()
                    );
                }
            }
        }
    }
}

#[test]
fn rows_must_be_unit_vectors() {
    let message = |rows| Embeddings::new(rows).unwrap_err().to_string();
    assert!(
        message(arr2(&[[1.0, 0.0], [3.0, 4.0]]))
            .starts_with("row 1 (from 0) of the embeddings has length 5;")
    );
    assert!(message(arr2(&[[f32::NAN, 1.0]])).contains("length NaN"));
    assert!(matches!(
        Embeddings::new(Array2::zeros((0, 3))),
        Err(EmbeddingsError::Empty { rows: 0, width: 3 })
    ));
    assert!(message(Array2::zeros((2, 0))).contains("shape [2, 0]"));
}

/// Writes the rows in blocks of 3, and opens them.
fn mapped(rows: &Array2<f32>) -> Embeddings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.safetensors");
    let blocks = rows
        .axis_chunks_iter(Axis(0), 3)
        .map(|block| block.to_owned());
    Embeddings::write(&path, [rows.nrows(), rows.ncols()], blocks).unwrap();
    Embeddings::open(&path).unwrap()
}

proptest! {
    #[test]
    fn a_file_holds_what_was_written(
        rows in coarse_rows(60),
        queries in coarse_rows(9),
        k in 0..70_usize,
    ) {
        let (owned, mapped) = (Embeddings::new(rows.clone()).unwrap(), mapped(&rows));
        prop_assert_eq!(mapped.rows(), rows);
        prop_assert_eq!(
            mapped.top_k_batch(queries.view(), k),
            owned.top_k_batch(queries.view(), k)
        );
    }
}

/// Blocks of items are searched one by one. Nothing is lost across their borders, and ties go to
/// the lower id.
#[test]
fn blocks_of_items_are_merged() {
    const COUNT: usize = 20_000;
    let row = |n: usize| {
        if n % 5_000 == 4_999 {
            [1.0, 0.0]
        } else {
            [0.6, 0.8]
        }
    };
    let rows = Array2::from_shape_vec((COUNT, 2), (0..COUNT).flat_map(row).collect()).unwrap();
    let items = Embeddings::new(rows).unwrap();
    let query = arr2(&[[1.0, 0.0]]);
    let expected: Vec<(ItemId, f32)> = [4_999, 9_999, 14_999, 19_999]
        .map(|id| (ItemId(id), 1.0))
        .into_iter()
        .chain([0, 1].map(|id| (ItemId(id), 0.6)))
        .collect();
    assert_eq!(items.top_k(query.row(0), 6), expected);
    assert_eq!(items.top_k_batch(query.view(), 6), [expected]);
    assert_eq!(items.top_k(query.row(0), COUNT + 1).len(), COUNT);
}

#[test]
fn bad_files_are_refused_and_former_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.safetensors");
    let good = arr2(&[[1.0, 0.0], [0.0, 1.0]]);
    Embeddings::write(&path, [2, 2], [good.clone()]).unwrap();
    let refused = |shape, blocks: Vec<Array2<f32>>| {
        Embeddings::write(&path, shape, blocks)
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused([3, 2], vec![good.clone()])
            .starts_with("2 rows came; expected embeddings of shape [3, 2]")
    );
    assert!(refused([1, 2], vec![good.clone()]).contains("2 rows came, or more"));
    assert!(refused([2, 3], vec![good.clone()]).contains("rows of 2"));
    assert!(
        refused([4, 2], vec![good.clone(), good.clone() * 2.0])
            .starts_with("row 2 (from 0) of the embeddings has length 2")
    );
    assert!(refused([0, 2], vec![]).contains("shape [0, 2]"));
    assert_eq!(Embeddings::open(&path).unwrap().rows(), good);

    let bytes = std::fs::read(&path).unwrap();
    let changed = |bytes: &[u8]| {
        let path = folder.path().join("changed.safetensors");
        std::fs::write(&path, bytes).unwrap();
        Embeddings::open(&path).unwrap_err().to_string()
    };
    let length = bytes.len();
    assert!(changed(&bytes[..length - 1]).contains("is no safetensors file"));
    assert!(changed(b"").contains("changed.safetensors"));
    assert!(
        changed(&[&bytes[..length - 4], &2.0_f32.to_le_bytes()].concat())
            .contains("row 1 (from 0)")
    );
    let text = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
    };
    assert!(changed(&text("embeddings", "somethings")).contains("has no matrix `embeddings`"));
    assert!(changed(&text("F32", "I32")).contains("is of I32; expected F32"));
    assert!(changed(&text("[2,2]", "[4]  ")).contains("has shape [4]"));
    assert!(
        Embeddings::open(folder.path().join("none"))
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
}

#[test]
#[should_panic]
fn a_query_of_another_width_is_a_mistake_of_the_caller() {
    Embeddings::new(arr2(&[[1.0, 0.0]]))
        .unwrap()
        .top_k(arr1(&[1.0]).view(), 1);
}
