//! A small embedded world: a film catalog and a seeded generator of conversations whose best possible score is known
