//! What holds for any bytes in the ledger and in its topic: each function fails by a panic.

use super::{codec, entry, header::Header, record::Record};

/// A record: decoding never panics, and what it yields is written in about as many bytes, and read again as it is.
pub(crate) fn records(input: &[u8]) {
    let Ok(record) = codec::decode(input) else { return };
    let written = codec::encode(&record);
    assert!(written.len() <= 3 * input.len() + 32, "{} bytes were written as {}", input.len(), written.len());
    assert_eq!(codec::decode(&written), Ok(record), "a record is not read as it was written");
}

/// A value of the ledger topic.
pub(crate) fn entries(input: &[u8]) {
    let Ok(found) = entry::decode_entry(input) else { return };
    let written = entry::encode_entry(found.owner, found.writer, &found.record);
    assert_eq!(entry::decode_entry(&written), Ok(found), "an entry is not read as it was written");
}

/// The header of the store.
pub(crate) fn headers(input: &[u8]) {
    let Ok((header, _)) = Header::decode(input) else { return };
    let again = Header::decode(&header.encode()).map(|(header, _)| header);
    assert_eq!(again, Ok(header), "a header is not read as it was written");
}

/// Three records, each after its length in one byte: merging them is a join, and what is merged can be written.
pub(crate) fn merges(input: &[u8]) {
    let mut rest = input;
    let mut next = || {
        let (length, after) = rest.split_first()?;
        let (record, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        codec::decode(record).ok()
    };
    let (Some(a), Some(b), Some(c)) = (next(), next(), next()) else { return };
    let join = |one: &Record, other: &Record| {
        let mut joined = one.clone();
        let changed = joined.merge(other);
        assert_eq!(changed, joined != *one, "merge tells whether it changed the record");
        joined
    };
    assert_eq!(join(&a, &a), a, "merging is idempotent");
    assert_eq!(join(&a, &b), join(&b, &a), "merging is commutative");
    let all = join(&join(&a, &b), &c);
    assert_eq!(all, join(&a, &join(&b, &c)), "merging is associative");
    assert_eq!(join(&all, &b), all, "a merged record adds nothing the second time");
    assert_eq!(codec::decode(&codec::encode(&all)), Ok(all), "a merged record is not read as it was written");
}
