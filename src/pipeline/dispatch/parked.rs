//! The dispatcher's part in parking: it begins what the follower asks for, and queues what was read back.

use std::{mem, sync::Arc};

use super::{
    super::{
        event_state::Arrival,
        lanes::LaneKey,
        parking::{
            SourcePartition,
            feed::{Fed, FedEvent, dead_letter_unreadable, read},
            follow::{ParkingDone, Work},
            scan::scan,
            send::CommitHold,
        },
    },
    Dispatcher, Done,
};
use crate::{
    dedup::{Decision, Record},
    event::Origin,
};

impl Dispatcher {
    pub(super) fn parking_done(&mut self, done: ParkingDone) {
        match done {
            ParkingDone::Scanned { partition, scanned: Some(mut scanned) } => {
                if let Some(held) = CommitHold::on(&self.context, &partition, &scanned) {
                    self.begin(Work::Send { unsent: mem::take(&mut scanned.unsent), held });
                }
                self.context.parking.scanned(&partition, scanned);
                self.start_ready();
            }
            ParkingDone::Prepared { partition, existed: true } => partition.scan_anew(),
            ParkingDone::Read { partition, agent, read: Some(Ok(fed)), .. } => self.feed(&partition, &agent, fed),
            ParkingDone::Read { partition, agent, epoch, read: Some(Err(error)) } => {
                self.follower.read_failed(&agent, &error);
                if error.is_refused {
                    partition.lost_access(epoch);
                } else {
                    partition.read_failed(&agent, epoch);
                }
            }
            ParkingDone::Scanned { .. }
            | ParkingDone::Prepared { .. }
            | ParkingDone::Read { .. }
            | ParkingDone::Other => {}
        }
    }

    /// The deliveries of this very record that the ledger calls parked. They are made from here as well, because whether the
    /// parked topic still has them in the part that is to be read is not known: a former owner may have parked them after this
    /// process had looked. What was delivered from there meanwhile is not delivered again.
    pub(super) fn parked_from_here(arrival: &Arrival, known: &Record) -> Vec<(Arc<str>, Arc<str>)> {
        let Origin { topic, partition, offset } = &arrival.received.origin;
        let mut parked = known.parked();
        if !known.is_from(topic, *partition, *offset) {
            // Of a redrive, the record that asked for it is the one that was parked.
            parked.retain(|delivery| Self::asks_for(arrival, known, delivery));
        }
        parked
    }

    /// What to do with an event whose deliveries have all ended or are parked.
    pub(super) fn with_parked(arrival: &Arrival, known: Option<&Record>) -> Decision {
        match known {
            Some(known) if !Self::parked_from_here(arrival, known).is_empty() => Decision::Resume(known.clone()),
            _ => Decision::Duplicate,
        }
    }

    /// Follows the breakers, and reads back what there is room for.
    pub(super) fn follow(&mut self) {
        let is_idle = self.running == 0 && self.starts.is_empty();
        for work in self.follower.follow(&self.context, is_idle) {
            self.begin(work);
        }
        // A breaker may have opened, a partition be given up, parked or no longer held back.
        self.start_ready();
    }

    pub(super) fn begin(&mut self, work: Work) {
        let context = Arc::clone(&self.context);
        match work {
            Work::Scan { partition } => self.spawn(async move {
                let scanned = scan(&context, &partition).await?;
                Ok(Done::Parking(ParkingDone::Scanned { partition, scanned }))
            }),
            Work::Send { unsent, held } => self.spawn(async move {
                held.send(&context, unsent).await?;
                Ok(Done::Parking(ParkingDone::Other))
            }),
            Work::Prepare { partition } => self.spawn(async move {
                let existed = tokio::select! {
                    biased;
                    () = context.shutdown.cancelled() => false,
                    existed = context.parking.topics.prepare(&partition.topic, partition.number) => existed,
                };
                Ok(Done::Parking(ParkingDone::Prepared { partition, existed }))
            }),
            Work::Remove { topic, partition, before } => self.spawn(async move {
                tokio::select! {
                    biased;
                    () = context.shutdown.cancelled() => {}
                    () = context.parking.topics.remove_before(&topic, partition, before) => {}
                }
                Ok(Done::Parking(ParkingDone::Other))
            }),
            Work::Read { partition, agent, range, room, bytes } => self.spawn(async move {
                let (epoch, read) = (range.epoch, read(&context, &partition, &agent, range, (room, bytes)).await?);
                Ok(Done::Parking(ParkingDone::Read { partition, agent, epoch, read }))
            }),
        }
    }

    /// Queues what was read back, in the order of the parked topic.
    fn feed(&mut self, partition: &Arc<SourcePartition>, agent: &Arc<str>, fed: Fed) {
        let offsets = fed.deliveries.iter().map(|fed| (fed.offset, fed.parked_ms));
        if !partition.fed(agent, (fed.epoch, fed.next), offsets) {
            return;
        }
        for delivery in fed.deliveries {
            match delivery.event {
                FedEvent::Readable(state) => {
                    let key: Arc<str> = state.event.key().into();
                    let lane = LaneKey::new(&state.received.origin, &key, delivery.agent, true);
                    self.push(lane, (state, delivery.rule, Arc::clone(partition)));
                }
                FedEvent::Unreadable(unreadable) => {
                    let context = Arc::clone(&self.context);
                    self.spawn(async move {
                        dead_letter_unreadable(&context, *unreadable).await?;
                        Ok(Done::Parking(ParkingDone::Other))
                    });
                }
            }
        }
    }
}
