//! Which records of a parked topic count.
//!
//! A record of a parked topic is no promise: a crash, or an acknowledgement that was lost, may leave more than one of a
//! delivery, or one of a delivery that went another way. The ledger decides.

use std::time::Duration;

use super::super::clock::now_ms;
use crate::{
    dedup::{DeliveryStatus, Ledger, LedgerError},
    kafka::ParkedHeaders,
};

/// What the ledger says of a record of a parked topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Standing {
    /// The delivery has no end yet.
    Parked,
    /// It has its end, or its event is read again.
    Ended,
    /// It is so old that the ledger may have forgotten its end.
    Forgotten,
}

/// Looks a record of a parked topic up. `committed` is where its source partition is committed: an event below has its
/// outcome, so a delivery of it that the ledger does not know of was parked, by a process whose ledger is lost, unless it
/// is old. Above, the event is read again.
pub(in crate::pipeline) fn standing(
    ledger: &Ledger,
    record: &ParkedHeaders<'_>,
    committed: Option<i64>,
) -> Result<Standing, LedgerError> {
    let head = &record.head;
    let status = match ledger.get(head.event_id) {
        Ok(known) => known.and_then(|known| {
            if known.has_ended_in(head.rule, head.agent, head.generation) {
                return Some(DeliveryStatus::Dead);
            }
            let mut deliveries = known.deliveries().iter();
            let found = deliveries.find(|found| *found.rule == *head.rule && *found.agent == *head.agent);
            // One of an earlier generation: the ledger has lost that it was redriven.
            found.filter(|found| found.generation == head.generation).map(|found| found.status)
        }),
        // It is a dead letter, as an event whose record cannot be read.
        Err(LedgerError::CorruptRecord { .. }) => return Ok(Standing::Parked),
        Err(error) => return Err(error),
    };
    Ok(match status {
        Some(DeliveryStatus::Parked) => Standing::Parked,
        Some(DeliveryStatus::Dead | DeliveryStatus::Delivered) => Standing::Ended,
        None | Some(DeliveryStatus::Planned | DeliveryStatus::Pending) => {
            let age = Duration::from_millis(now_ms().saturating_sub(head.parked_ms));
            if committed.is_none_or(|committed| record.offset >= committed) {
                Standing::Ended
            } else if age < ledger.window() / 2 {
                Standing::Parked
            } else {
                Standing::Forgotten
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dedup::{LedgerOptions, PlannedDelivery, Record},
        event::Generation,
        kafka::ParkedHead,
    };

    #[test]
    fn a_record_counts_when_the_ledger_says_so_or_has_lost_it_lately() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(folder.path(), &LedgerOptions::sample()).unwrap();
        let of = |generation: Generation, offset, parked_ms| ParkedHeaders {
            head: ParkedHead {
                event_id: "event",
                rule: "all",
                agent: "audit",
                generation,
                attempts: 0,
                failed_attempts: 0,
                first_attempt_ms: None,
                parked_ms,
            },
            topic: "events",
            partition: 0,
            offset,
            timestamp_ms: None,
            original: 0,
        };
        let record = |offset, parked_ms| of(Generation::FIRST, offset, parked_ms);
        let old = now_ms() - u64::try_from(ledger.window().as_millis()).unwrap() / 2 - 1;
        let look = |offset, parked_ms| standing(&ledger, &record(offset, parked_ms), Some(7)).unwrap();
        assert_eq!(look(7, now_ms()), Standing::Ended, "the event is read again");
        assert_eq!(look(6, now_ms()), Standing::Parked, "the ledger was lost");
        assert_eq!(look(6, old), Standing::Forgotten);
        assert_eq!(standing(&ledger, &record(6, now_ms()), None).unwrap(), Standing::Ended);

        let plan = [PlannedDelivery { rule: "all".into(), agent: "audit".into() }];
        let mut known = Record::new(1, now_ms(), &plan);
        known.finish("all", "audit", DeliveryStatus::Parked, 2);
        ledger.merge("event", &known).unwrap();
        assert_eq!(look(6, old), Standing::Parked, "one that the ledger knows does not grow old");
        let redriven = |number: u32| standing(&ledger, &of(number.into(), 6, now_ms()), Some(7)).unwrap();
        assert_eq!(redriven(1), Standing::Parked, "the ledger has lost that it was redriven");
        known.finish("all", "audit", DeliveryStatus::Dead, 3);
        ledger.merge("event", &known).unwrap();
        assert_eq!(look(6, now_ms()), Standing::Ended);
        assert_eq!(redriven(1), Standing::Parked, "the ledger has lost that it was redriven");

        let mut accepted = Record::new(1, now_ms(), &plan);
        accepted.finish("all", "audit", DeliveryStatus::Delivered, 3);
        known.raise("all", "audit", 1.into());
        known.finish("all", "audit", DeliveryStatus::Parked, 4);
        ledger.merge("event", &known).unwrap();
        assert_eq!((redriven(0), redriven(1)), (Standing::Ended, Standing::Parked));
        ledger.merge("event", &accepted).unwrap();
        assert_eq!(redriven(1), Standing::Ended, "it turns out to be accepted before it was redriven");
        let again = Generation { again: 1, number: 0 };
        let sent_again = || standing(&ledger, &of(again, 6, now_ms()), Some(7)).unwrap();
        assert_eq!(sent_again(), Standing::Parked, "the ledger has lost that it was sent again");
        accepted.raise("all", "audit", again);
        accepted.finish("all", "audit", DeliveryStatus::Delivered, 5);
        ledger.merge("event", &accepted).unwrap();
        assert_eq!((redriven(1), sent_again()), (Standing::Ended, Standing::Ended));
    }
}
