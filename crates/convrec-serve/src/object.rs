//! JSON that must be an object.

use std::ops::Deref;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// A value of an object. serde's derived code would take a list as well, its fields by position.
#[derive(Debug, Clone)]
pub(crate) struct Object<T>(pub(crate) T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(OfMap(deserializer)).map(Self)
    }
}

/// Asks for a map, whatever is asked of it.
struct OfMap<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for OfMap<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}
