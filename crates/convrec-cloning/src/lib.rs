//! Remap-Reflect-Adjust: from a black-box teacher to demonstrations inside the catalog
