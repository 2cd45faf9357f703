//! The header: the one entry of the ledger that is not a record. It says which consumer group and
//! which Kafka cluster the ledger belongs to.

use super::bytes::{DecodeError, Reader, put_text};

/// Marks a store as a ledger.
const MAGIC: &[u8; 8] = b"wbledger";

/// The format of the whole ledger: keys, header and records. There may be records of earlier formats in it, which are read as
/// before and written in this one, and those of format 4, which a bridge of before cannot read one by one.
pub(super) const FORMAT: u8 = 3;
/// The first format. A ledger of an earlier format is upgraded in place.
pub(super) const FORMAT_1: u8 = 1;

/// The owner of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The consumer group whose committed offsets belong to the records.
    pub group: String,
    /// The Kafka cluster, once a broker has named it.
    pub cluster: Option<String>,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not a ledger of this project.
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

    /// The header, and the format that it says the ledger has.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, u8), HeaderError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(HeaderError::NotALedger)?;
        match rest.split_first() {
            Some((&format @ FORMAT_1..=FORMAT, body)) => {
                Self::body(body).map(|header| (header, format)).map_err(HeaderError::Damaged)
            }
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
