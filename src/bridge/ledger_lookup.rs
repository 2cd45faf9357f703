//! What the ledger topic knows of some events, for a command on any machine.
//!
//! Its records are merged as the ledger merges them, so the answer is what a replica would know that had read the same part
//! of the topic. What it keeps is bounded by the events that are asked for. It reads no topic and opens no ledger.

use std::collections::BTreeMap;

use serde_json::Value;

use super::event_page::record_page;
use crate::{
    dedup::{Record, decode_entry, later_format, ledger_owner},
    routing::Routing,
};

/// See the module.
pub(crate) struct LedgerLookup {
    owner: u64,
    records: BTreeMap<String, Option<Record>>,
    has_later: bool,
}

impl LedgerLookup {
    /// Looks for these events in the ledger of a consumer group.
    pub(crate) fn new(group: &str, event_ids: impl IntoIterator<Item = String>) -> Self {
        Self {
            owner: ledger_owner(group),
            records: event_ids.into_iter().map(|id| (id, None)).collect(),
            has_later: false,
        }
    }

    /// Takes a record of the ledger topic.
    pub(crate) fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let slot = key.and_then(|key| self.records.get_mut(std::str::from_utf8(key).ok()?));
        let Some((slot, value)) = slot.zip(value) else { return };
        match (slot, decode_entry(value)) {
            (_, Ok(entry)) if entry.owner != self.owner => {}
            (Some(known), Ok(entry)) => {
                known.merge(&entry.record);
            }
            (slot, Ok(entry)) => *slot = Some(entry.record),
            (_, Err(_)) => self.has_later |= later_format(value, self.owner).is_some(),
        }
    }

    /// Whether a record was of a format that this version cannot read.
    pub(crate) fn has_later(&self) -> bool {
        self.has_later
    }

    /// What is known of an event, as `/api/events/ID` says it. The rules tell the address of a run.
    pub(crate) fn page(&self, event_id: &str, routing: Option<&Routing>) -> Option<Value> {
        let record = self.records.get(event_id)?.as_ref()?;
        Some(record_page(event_id, record, &|agent, thread, run| routing?.agent(agent)?.endpoint.run_url(thread, run)))
    }

    /// Whether the ledger's event of this id is another one than that with this digest.
    pub(crate) fn is_another(&self, event_id: &str, digest: u64) -> bool {
        self.records.get(event_id).and_then(Option::as_ref).is_some_and(|record| record.digest() != digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::{DeliveryStatus, PlannedDelivery, encode_entry};

    fn record(digest: u64, ended: Option<DeliveryStatus>) -> Record {
        let plan = PlannedDelivery { rule: "all".into(), agent: "audit".into() };
        let mut record = Record::new(digest, 1_000, &[plan]);
        if let Some(status) = ended {
            record.finish("all", "audit", status, 2_000);
        }
        record
    }

    #[test]
    fn records_of_the_group_are_merged_in_any_order_and_others_are_ignored() {
        let ends = [Some(DeliveryStatus::Delivered), Some(DeliveryStatus::Parked), None];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 1]] {
            let mut lookup = LedgerLookup::new("g", ["e".to_owned(), "unseen".to_owned()]);
            for at in order {
                let value = encode_entry(ledger_owner("g"), 1, &record(7, ends[at]));
                lookup.take(Some(b"e"), Some(&value));
                lookup.take(Some(b"not asked for"), Some(&value));
            }
            let foreign = encode_entry(ledger_owner("h"), 1, &record(7, ends[0]));
            for (key, value) in [
                (Some(&b"unseen"[..]), Some(&foreign[..])),
                (Some(b"unseen"), Some(b"rubbish")),
                (Some(b"unseen"), None),
                (Some(b"\xff"), Some(b"")),
                (None, None),
            ] {
                lookup.take(key, value);
            }
            let page = lookup.page("e", None).unwrap();
            assert_eq!((&page["state"], &page["deliveries"][0]["status"]), (&"delivered".into(), &"delivered".into()));
            assert_eq!(page["first_seen"], "1970-01-01T00:00:01Z");
            assert_eq!(lookup.page("unseen", None), None);
            assert_eq!([7, 8].map(|digest| lookup.is_another("e", digest)), [false, true]);
            assert!(!lookup.is_another("unseen", 7));
        }
    }
}
