//! A value of the ledger topic: one record, who it belongs to and who wrote it.
//!
//! `1, owner (8, big endian), writer (8, big endian), record`. The bytes of a topic are arbitrary: reading them
//! never panics, and takes at most a small multiple of their size.

use uuid::Uuid;

use super::{
    bytes::{DecodeError, Reader},
    codec,
    record::Record,
};

const VERSION: u8 = 1;
/// The largest value that is read.
const MAX_BYTES: usize = 1 << 20;
/// The version, the owner and the writer.
const HEAD_BYTES: usize = 17;

/// A value of the ledger topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Whose ledger it is: [`ledger_owner`].
    pub owner: u64,
    /// The process that wrote it: random for each start.
    pub writer: u64,
    /// What it knew of the event.
    pub record: Record,
}

/// The owner of a ledger: one number for a consumer group. The cluster is not part of it, so that a topic which was
/// mirrored to another cluster is of use there.
pub(crate) fn ledger_owner(group: &str) -> u64 {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, group.as_bytes()).as_u64_pair().0
}

/// The writer of a value, without decoding the rest.
pub(crate) fn entry_writer(bytes: &[u8]) -> Option<u64> {
    let (version, rest) = bytes.split_first()?;
    let writer = rest.get(8..16)?.first_chunk()?;
    (*version == VERSION).then(|| u64::from_be_bytes(*writer))
}

/// The record's format in a value of this owner that a later version of the bridge wrote.
pub(crate) fn later_format(bytes: &[u8], owner: u64) -> Option<u8> {
    let (head, record) = bytes.split_at_checked(HEAD_BYTES)?;
    let is_own = head[0] == VERSION && head[1..9] == owner.to_be_bytes();
    record.first().copied().filter(|format| is_own && *format > codec::LATEST)
}

pub(crate) fn encode_entry(owner: u64, writer: u64, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + 64 + record.deliveries().len() * 96);
    out.push(VERSION);
    out.extend_from_slice(&owner.to_be_bytes());
    out.extend_from_slice(&writer.to_be_bytes());
    codec::put_record(&mut out, record);
    out
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::Invalid { expected: "the end after at most 1 MiB", at: MAX_BYTES });
    }
    let mut reader = Reader::new(bytes);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(DecodeError::EntryVersion { found: version });
    }
    let (owner, writer) = (reader.fixed()?, reader.fixed()?);
    let record = codec::decode(&bytes[reader.at()..])?;
    Ok(Entry { owner, writer, record })
}
