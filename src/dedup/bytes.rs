//! The bytes of the ledger: how numbers, texts, times and ids are written, and read from arbitrary bytes.
//!
//! Numbers are LEB128 varints, texts are length-prefixed. Reading never goes past the end and never panics.

use std::sync::Arc;

use uuid::Uuid;

/// In the place of an id's length: a UUID follows as 16 bytes. Ids are shorter.
const UUID: u8 = 0x7f;

/// Bytes that are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes end before the record does.
    #[error("expected more bytes at position {at}, found the end")]
    Truncated {
        /// Where they end.
        at: usize,
    },
    /// More bytes follow the record.
    #[error("expected the end at position {at}, found {extra} more bytes")]
    Trailing {
        /// Where the record ends.
        at: usize,
        /// How many bytes follow.
        extra: usize,
    },
    /// Another version of the record's format.
    #[error("expected record format 1 to 3, found {found}")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// Another version of the ledger topic's values.
    #[error("expected version 1 of a ledger topic's value, found {found}")]
    EntryVersion {
        /// The version that was found.
        found: u8,
    },
    /// A field has an impossible value.
    #[error("expected {expected} at position {at}")]
    Invalid {
        /// What would be right.
        expected: &'static str,
        /// Where the field begins.
        at: usize,
    },
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes a time as its distance from another one, in either direction: both are close to each other.
pub(super) fn put_time(out: &mut Vec<u8>, base: u64, time: u64) {
    let distance = time.wrapping_sub(base);
    let is_before = distance >> 63;
    put_varint(out, (distance << 1) ^ 0_u64.wrapping_sub(is_before));
}

/// Writes an id. A UUID in its usual form takes 17 bytes instead of 37.
pub(super) fn put_id(out: &mut Vec<u8>, id: &str) {
    match Uuid::try_parse(id) {
        Ok(uuid) if *uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *id => {
            out.push(UUID);
            out.extend_from_slice(uuid.as_bytes());
        }
        _ => put_text(out, id),
    }
}

/// Reads fields from the front of some bytes, never past their end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The position of the next field.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(DecodeError::Truncated { at: self.bytes.len() })?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn fixed(&mut self) -> Result<u64, DecodeError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_be_bytes(bytes))
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let at = self.at;
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Invalid { expected: "a number of at most 64 bits", at })
    }

    pub(super) fn narrow(&mut self) -> Result<u32, DecodeError> {
        let at = self.at;
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Invalid { expected: "a number of at most 32 bits", at })
    }

    /// A time that was written with [`put_time`].
    pub(super) fn time(&mut self, base: u64) -> Result<u64, DecodeError> {
        let zigzag = self.varint()?;
        Ok(base.wrapping_add((zigzag >> 1) ^ 0_u64.wrapping_sub(zigzag & 1)))
    }

    /// An id that was written with [`put_id`].
    pub(super) fn id(&mut self, max_bytes: usize) -> Result<Arc<str>, DecodeError> {
        let at = self.at;
        if self.bytes.get(at) == Some(&UUID) {
            let mut uuid = [0; 16];
            uuid.copy_from_slice(&self.take(17)?[1..]);
            return Ok(Uuid::from_bytes(uuid).to_string().into());
        }
        self.short_text(max_bytes)
    }

    /// A text with a limit.
    pub(super) fn short_text(&mut self, max_bytes: usize) -> Result<Arc<str>, DecodeError> {
        let at = self.at;
        let text = self.text()?;
        if text.len() > max_bytes {
            return Err(DecodeError::Invalid { expected: "a shorter text", at });
        }
        Ok(text.into())
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let at = self.at;
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Invalid { expected: "a name in UTF-8", at })
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { at: self.at, extra }),
        }
    }
}
