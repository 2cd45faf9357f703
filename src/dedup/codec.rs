//! A record as bytes, and back: compact, and safe against any bytes.
//!
//! One version byte, then LEB128 varints and length-prefixed names:
//! `1, digest (8, big endian), first_seen, count, count * (rule, agent, generation, flags, attempts,
//! first_attempt?, tried?)`; the flags' low two bits are the status, bit 2 says that a first attempt
//! follows, bit 3 that the attempts made follow, which they do when they differ from `attempts`.

use std::sync::Arc;

use super::record::{Delivery, Record, Status};

const VERSION: u8 = 1;
const STATUS: u8 = 0b011;
const HAS_FIRST_ATTEMPT: u8 = 0b100;
const HAS_TRIED: u8 = 0b1000;
/// The fewest bytes that a delivery takes: bounds what a corrupt count can reserve.
const MIN_DELIVERY_BYTES: usize = 5;

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the record does.
    #[error("expected more bytes at position {at}, found the end")]
    Truncated {
        /// Where they end.
        at: usize,
    },
    /// The record is followed by something.
    #[error("expected the end at position {at}, found {extra} more bytes")]
    Trailing {
        /// Where the record ends.
        at: usize,
        /// How many bytes follow.
        extra: usize,
    },
    /// Another version of the record's format.
    #[error("expected record format {VERSION}, found {found}")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// A field that has an impossible value.
    #[error("expected {expected} at position {at}")]
    Invalid {
        /// What would be right.
        expected: &'static str,
        /// Where the field begins.
        at: usize,
    },
}

impl DecodeError {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::Trailing { .. } => "trailing",
            Self::Version { .. } => "version",
            Self::Invalid { .. } => "invalid",
        }
    }
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + record.deliveries().len() * 48);
    out.push(VERSION);
    out.extend_from_slice(&record.digest().to_be_bytes());
    put_varint(&mut out, record.first_seen_ms());
    put_varint(&mut out, record.deliveries().len() as u64);
    for delivery in record.deliveries() {
        put_text(&mut out, &delivery.rule);
        put_text(&mut out, &delivery.agent);
        put_varint(&mut out, u64::from(delivery.generation));
        let status = match delivery.status {
            Status::Pending => 0,
            Status::Delivered => 1,
            Status::Dead => 2,
        };
        let first = if delivery.first_attempt_ms.is_some() { HAS_FIRST_ATTEMPT } else { 0 };
        let tried = if delivery.tried == delivery.attempts { 0 } else { HAS_TRIED };
        out.push(status | first | tried);
        put_varint(&mut out, u64::from(delivery.attempts));
        if let Some(first) = delivery.first_attempt_ms {
            put_varint(&mut out, first);
        }
        if delivery.tried != delivery.attempts {
            put_varint(&mut out, u64::from(delivery.tried));
        }
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let version = reader.byte()?;
    if version != VERSION {
        return Err(DecodeError::Version { found: version });
    }
    let digest = reader.fixed()?;
    let first_seen_ms = reader.varint()?;
    let at = reader.at;
    let count = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if count > reader.left() / MIN_DELIVERY_BYTES {
        return Err(DecodeError::Invalid { expected: "no more deliveries than the record has room for", at });
    }
    let mut deliveries = Vec::with_capacity(count);
    for _ in 0..count {
        deliveries.push(delivery(&mut reader)?);
    }
    reader.end()?;
    Ok(Record::from_parts(digest, first_seen_ms, deliveries))
}

fn delivery(reader: &mut Reader<'_>) -> Result<Delivery, DecodeError> {
    let rule: Arc<str> = reader.text()?.into();
    let agent: Arc<str> = reader.text()?.into();
    let generation = reader.narrow()?;
    let at = reader.at;
    let flags = reader.byte()?;
    let status = match flags & STATUS {
        0 => Status::Pending,
        1 => Status::Delivered,
        2 => Status::Dead,
        _ => return Err(DecodeError::Invalid { expected: "a delivery's status", at }),
    };
    if flags & !(STATUS | HAS_FIRST_ATTEMPT | HAS_TRIED) != 0 {
        return Err(DecodeError::Invalid { expected: "a delivery's flags", at });
    }
    let attempts = reader.narrow()?;
    let first_attempt_ms = if flags & HAS_FIRST_ATTEMPT == 0 { None } else { Some(reader.varint()?) };
    let at = reader.at;
    let tried = if flags & HAS_TRIED == 0 { attempts } else { reader.narrow()? };
    if flags & HAS_TRIED != 0 && tried == attempts {
        return Err(DecodeError::Invalid { expected: "attempts made that differ from those that count", at });
    }
    Ok(Delivery { rule, agent, generation, status, attempts, tried, first_attempt_ms })
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

/// Takes fields from the front of some bytes; never past their end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
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

    fn fixed(&mut self) -> Result<u64, DecodeError> {
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

    fn narrow(&mut self) -> Result<u32, DecodeError> {
        let at = self.at;
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Invalid { expected: "a number of at most 32 bits", at })
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
