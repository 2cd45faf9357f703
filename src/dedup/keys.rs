//! The keys of the store: the header, the records, how far each partition of the ledger topic was read, and what that topic
//! lost.

/// The header's key sorts before every record's.
pub(super) const HEADER_KEY: &[u8] = &[0];
/// The first byte of a record's key; the event's id follows.
pub(super) const RECORD_KEY: u8 = 1;
/// Sorts after every record's key. It has the name of the ledger topic that the positions belong to.
pub(super) const TOPIC_KEY: &[u8] = &[2];
/// Where the records end.
pub(super) const RECORDS_END: &[u8] = TOPIC_KEY;
/// Sorts after every position's key.
pub(super) const POSITIONS_END: &[u8] = &[3];

/// Sorts before every loss's key.
pub(super) const LOSS_KEY: &[u8] = POSITIONS_END;
/// Sorts after every loss's key.
pub(super) const LOSSES_END: &[u8] = &[4];

pub(super) fn record_key(event_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + event_id.len());
    key.push(RECORD_KEY);
    key.extend_from_slice(event_id.as_bytes());
    key
}

/// The key of the position in a partition of the ledger topic.
pub(super) fn position_key(partition: i32) -> Vec<u8> {
    [TOPIC_KEY, &partition.to_be_bytes()].concat()
}

/// The key of a loss in a partition of the ledger topic; in all of them, for `None`.
pub(super) fn loss_key(partition: Option<i32>) -> Vec<u8> {
    match partition {
        Some(partition) => [LOSS_KEY, &partition.to_be_bytes()].concat(),
        None => [LOSS_KEY, &[0]].concat(),
    }
}
