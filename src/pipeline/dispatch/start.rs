//! The dispatcher's part in starting deliveries: it queues them in their lanes, and begins them in tasks when it is their turn.

use std::sync::Arc;

use super::{
    super::{
        deliver::deliver,
        event_state::{Arrival, EventState},
        lanes::{LaneKey, Queued},
        parking::{SourcePartition, follow::Work},
        start_queue::{Place, StartSlot},
    },
    Dispatcher, Done,
};
use crate::{
    dedup::{PlannedDelivery, Record},
    kafka::Acks,
};

impl Dispatcher {
    /// Queues what remains of an event in its lanes.
    pub(super) fn enqueue(
        &mut self,
        arrival: Arrival,
        record: Record,
        plan: &[PlannedDelivery],
        merged: u64,
        acks: Acks,
    ) {
        let mut remaining = record.remaining(plan);
        remaining.extend(Self::parked_from_here(&arrival, &record));
        let state = Arc::new(EventState::new(arrival, record, remaining.len(), merged, acks));
        self.queue(&state, remaining);
    }

    /// Queues deliveries of an event that was just read in their lanes: (rule, agent).
    pub(super) fn queue(&mut self, state: &Arc<EventState>, deliveries: Vec<(Arc<str>, Arc<str>)>) {
        let key: Arc<str> = state.event.key().into();
        let (partition, is_new) = self.context.parking.partition(&state.received.origin, state.ownership());
        if is_new {
            self.begin(Work::Scan { partition: Arc::clone(&partition) });
        }
        for (rule, agent) in deliveries {
            let lane = LaneKey::new(&state.received.origin, &key, agent, false);
            self.push(lane, (Arc::clone(state), rule, Arc::clone(&partition)));
        }
    }

    /// Queues a delivery of a rule in its lane, and starts it when it is the first.
    pub(super) fn push(
        &mut self,
        lane: LaneKey,
        (state, rule, partition): (Arc<EventState>, Arc<str>, Arc<SourcePartition>),
    ) {
        let pending = self.context.rules.pending(&lane.agent).map(Arc::new);
        let queued = Queued { state, rule, partition, pending };
        if let Some(first) = self.lanes.push(lane.clone(), queued) {
            self.start(lane, first);
        }
    }

    /// The delivery is the first of its lane: it begins now, or when few others wait for a permit of its endpoint.
    pub(super) fn start(&mut self, lane: LaneKey, queued: Queued) {
        let place = self.place_of(&lane, &queued);
        if let Some(begun) = self.starts.admit((lane, queued), place) {
            self.begin_delivery(begun);
        }
    }

    /// Begins the deliveries that may begin by now.
    pub(super) fn start_ready(&mut self) {
        for begun in self.starts.ready() {
            self.begin_delivery(begun);
        }
    }

    fn begin_delivery(&mut self, ((lane, queued), slot): ((LaneKey, Queued), StartSlot)) {
        let Queued { state, rule, partition, pending } = queued;
        let context = Arc::clone(&self.context);
        self.spawn(async move {
            let parkable = (!state.is_fed()).then_some(&partition);
            let end = deliver(&context, &state, (&rule, &lane.agent), parkable, slot).await?;
            drop(pending);
            Ok(Done::Delivery { lane, state, end })
        });
    }

    /// Where a delivery waits to begin: at the endpoint that it would be made at now. Nowhere, if there is none.
    fn place_of(&self, lane: &LaneKey, queued: &Queued) -> Option<Place> {
        let Queued { state, rule, partition, .. } = queued;
        let sent_to = state.sent_to(rule, &lane.agent);
        let planned = self.context.rules.planned(&state.version, (rule, &lane.agent), sent_to).ok()?;
        let (limiter, partition) = (Arc::clone(&planned.runtime.limiter), Arc::clone(partition));
        Some(Place { limiter, partition, is_fed: state.is_fed() })
    }
}
