//! Settings from a TOML file.

pub use convrec_config::read;

/// Replaces `field` where a flag was given.
pub fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}
