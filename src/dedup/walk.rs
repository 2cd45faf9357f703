//! Looks at every record, a few at a time.

use super::{
    codec,
    error::LedgerError,
    keys::{RECORD_KEY, RECORDS_END},
    ledger::Ledger,
    record::Record,
};

/// Where the next step continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordCursor(Vec<u8>);

impl Ledger {
    /// Calls `each` with up to `max` records after the cursor (`None`: from the start) and returns where the next step
    /// continues; `None` after the last record. Records that cannot be decoded are passed over. What is written meanwhile may be
    /// seen or not.
    pub(crate) fn read_step(
        &self,
        cursor: Option<RecordCursor>,
        max: usize,
        each: &mut dyn FnMut(&Record),
    ) -> Result<Option<RecordCursor>, LedgerError> {
        let after = cursor.map_or_else(|| vec![RECORD_KEY], |cursor| cursor.0);
        let mut last = None;
        let scanned = self.store().attempt("look at records", |store| {
            store.scan(&after, RECORDS_END, max, &mut |key, value| {
                last = Some(key.to_vec());
                if let Ok(record) = codec::decode(value) {
                    each(&record);
                }
            })
        })?;
        Ok(if scanned < max { None } else { last.map(RecordCursor) })
    }
}
