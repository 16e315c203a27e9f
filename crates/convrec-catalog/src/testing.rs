//! Small catalogs for unit tests.

use convrec_core::CatalogItem;

use crate::Catalog;

pub fn named(title: &str, year: Option<i32>) -> CatalogItem {
    CatalogItem {
        title: title.into(),
        year,
        genres: vec![],
        metadata: String::new(),
    }
}

pub fn catalog(names: &[(&str, Option<i32>)]) -> Catalog {
    Catalog::new(
        names
            .iter()
            .map(|&(title, year)| named(title, year))
            .collect(),
    )
    .unwrap()
}
