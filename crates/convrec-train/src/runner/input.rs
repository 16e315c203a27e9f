//! What training programs read.

use convrec_catalog::Catalog;
use convrec_core::{Demonstration, Example, Item};

/// What supervised fine-tuning reads.
#[derive(Debug, Clone)]
pub struct SftData {
    /// The catalog.
    pub catalog: Catalog,
    /// What is imitated.
    pub demonstrations: Vec<Demonstration>,
    /// What the policy is evaluated on while it trains; may be empty.
    pub validation: Vec<Example>,
}

/// What reinforcement learning reads.
#[derive(Debug, Clone)]
pub struct RlData {
    /// The catalog.
    pub catalog: Catalog,
    /// The conversations that are trained on.
    pub conversations: Vec<Example>,
    /// What the policy is evaluated on while it trains; may be empty.
    pub validation: Vec<Example>,
    /// Items that should not be recommended; may be empty.
    pub blocklist: Vec<Item>,
}
