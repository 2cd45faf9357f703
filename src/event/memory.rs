//! The memory of a JSON document: estimated from its text before it is parsed, and from the tree
//! afterwards.
//!
//! Owns the model of the allocations behind a `serde_json::Value`. Invariant: the estimate from the
//! text is at least the one from the tree, and the estimate from the text allocates nothing.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// One element of a list.
const SLOT: usize = size_of::<Value>();
/// One field of an object: its hash, its name and its value.
const ENTRY: usize = size_of::<usize>() + size_of::<String>() + SLOT;
/// The most memory for one byte of JSON: nested lists, where `[` and `]` make a list of capacity four.
pub(super) const MAX_PER_BYTE: usize = 160;

/// A block of memory, rounded as the allocator does.
pub(super) const fn block(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let whole = (bytes + 8).next_multiple_of(16);
    if whole < 32 { 32 } else { whole }
}

/// The elements of a list, with its spare capacity.
fn list(len: usize) -> usize {
    if len == 0 { 0 } else { block(len.next_power_of_two().max(4) * SLOT) }
}

/// The fields of an object and their hash table, with its spare capacity.
fn object(len: usize) -> usize {
    let buckets = match len {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        more => (more * 8 / 7 + 1).next_power_of_two(),
    };
    let room = if buckets < 8 { buckets - 1 } else { buckets / 8 * 7 };
    block(room * ENTRY) + block(buckets * (size_of::<usize>() + 1) + 16)
}

/// The memory of a document, in bytes.
pub(super) fn document_bytes(document: &Value) -> usize {
    fn heap_bytes(value: &Value) -> usize {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => block(text.len()),
            Value::Array(items) => list(items.len()) + items.iter().map(heap_bytes).sum::<usize>(),
            Value::Object(fields) => {
                let inside = fields.iter().map(|(name, value)| block(name.len()) + heap_bytes(value));
                object(fields.len()) + inside.sum::<usize>()
            }
        }
    }
    SLOT + heap_bytes(document)
}

/// Why a text was refused.
pub(super) enum CheckError {
    /// It would take more than the limit.
    TooLarge,
    /// It is not JSON.
    NotJson(serde_json::Error),
}

/// Whether a JSON text takes at most `limit` bytes as a document. Builds no document.
pub(super) fn check(text: &[u8], limit: usize) -> Result<(), CheckError> {
    if text.len().saturating_mul(MAX_PER_BYTE) <= limit {
        return Ok(());
    }
    let meter = Meter { used: Cell::new(SLOT), limit };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let measured = reader.deserialize_any(&meter).and_then(|()| reader.end());
    if meter.used.get() > limit {
        return Err(CheckError::TooLarge);
    }
    measured.map_err(CheckError::NotJson)
}

/// Visits a value and adds up the memory that it would take.
struct Meter {
    used: Cell<usize>,
    limit: usize,
}

impl Meter {
    fn add<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let used = self.used.get().saturating_add(bytes);
        self.used.set(used);
        if used > self.limit { Err(E::custom("too large")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for &Meter {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Meter {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.add(block(text.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut len = 0;
        while items.next_element_seed(self)?.is_some() {
            self.add(list(len + 1) - list(len))?;
            len += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut len = 0;
        while fields.next_key_seed(self)?.is_some() {
            self.add(object(len + 1) - object(len))?;
            fields.next_value_seed(self)?;
            len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The estimate from the text.
    fn measured(text: &str) -> usize {
        let meter = Meter { used: Cell::new(SLOT), limit: usize::MAX };
        serde_json::Deserializer::from_str(text).deserialize_any(&meter).unwrap();
        meter.used.get()
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 200, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
                prop::collection::vec((".{0,6}", inner), 0..12)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_estimate_from_the_text_is_that_from_the_tree(document in any_json()) {
            let text = document.to_string();
            prop_assert_eq!(measured(&text), document_bytes(&document));
            prop_assert!(document_bytes(&document) <= SLOT + MAX_PER_BYTE * text.len(), "{}", text);
        }
    }

    #[test]
    fn no_byte_takes_more_memory_than_max_per_byte() {
        let deep = format!("{}0{}", "[".repeat(126), "]".repeat(126));
        for text in [
            "[0,0,0,0,0]".to_owned(),
            format!("[{}0]", "0,".repeat(65_536)),
            format!("[{}0]", "[0],".repeat(65_536)),
            format!("[{}0]", "[[0]],".repeat(65_536)),
            format!("[{}0]", "{\"\":0},".repeat(65_536)),
            format!("[{}0]", "\"a\",".repeat(65_536)),
            format!("[{}0]", format!("{deep},").repeat(1_024)),
            deep,
        ] {
            assert!(measured(&text) <= MAX_PER_BYTE * text.len(), "{} of {}", measured(&text), text.len());
        }
    }

    #[test]
    fn a_large_text_is_refused_before_its_end_and_a_syntax_error_is_that_of_the_parser() {
        let zeros = format!("[{}", "0,".repeat(100_000));
        assert!(matches!(check(zeros.as_bytes(), 1 << 20), Err(CheckError::TooLarge)));
        let Err(CheckError::NotJson(error)) = check(zeros.as_bytes(), 16 << 20) else { panic!("expected an error") };
        let parsed = serde_json::from_str::<Value>(&zeros).unwrap_err();
        assert_eq!(error.to_string(), parsed.to_string());
        assert!(check(json!({"a": [1, 2]}).to_string().as_bytes(), 4_096).is_ok());
    }
}
