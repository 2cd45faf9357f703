//! The one entry of the ledger that is no event: whose ledger it is.

use super::codec::{DecodeError, Reader, put_text};

/// Says that a store is a ledger at all.
const MAGIC: &[u8; 8] = b"wbledger";

/// The format of the whole ledger: keys, header and records.
pub(super) const FORMAT: u8 = 1;

/// Whose ledger it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The consumer group whose committed offsets the records go with.
    pub group: String,
    /// The Kafka cluster, once its broker has said which it is.
    pub cluster: Option<String>,
}

/// What a header's bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not this project's.
    NotALedger,
    /// A ledger in a format of another version.
    Format(u8),
    /// A ledger of this version, damaged.
    Damaged(DecodeError),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(FORMAT);
        put_text(&mut out, &self.group);
        if let Some(cluster) = &self.cluster {
            put_text(&mut out, cluster);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(HeaderError::NotALedger)?;
        match rest.split_first() {
            Some((&FORMAT, body)) => Self::body(body).map_err(HeaderError::Damaged),
            Some((&other, _)) => Err(HeaderError::Format(other)),
            None => Err(HeaderError::Damaged(DecodeError::Truncated { at: bytes.len() })),
        }
    }

    fn body(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let group = reader.text()?.to_owned();
        let cluster = if reader.end().is_ok() { None } else { Some(reader.text()?.to_owned()) };
        reader.end()?;
        Ok(Self { group, cluster })
    }
}
