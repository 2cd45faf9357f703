//! What may be parked, for all that this process knows: more than what is counted.

use std::sync::Arc;

use super::Parking;
use crate::kafka::OwnedPartition;

impl Parking {
    /// Whether each of these assignments is one whose parked deliveries are looked up, or were.
    pub(in crate::pipeline) fn knows(&self, owned: &[OwnedPartition]) -> bool {
        let partitions = self.partitions.lock();
        owned.iter().all(|owned| {
            let known = partitions.get(&(Arc::clone(&owned.topic), owned.number));
            known.is_some_and(|known| Arc::ptr_eq(&known.ownership, &owned.ownership))
        })
    }

    /// When the oldest parked delivery of all was parked, ms since 1970. The ledger must know what happened since: a
    /// record of the parked topic is skipped only because the ledger says that its delivery has ended. `None` while that
    /// is not known.
    pub(in crate::pipeline) fn oldest_ms(&self) -> Option<u64> {
        let mut oldest = u64::MAX;
        for partition in self.partitions() {
            let state = partition.state.lock();
            if state.is_held() {
                return None;
            }
            oldest = state.oldest_ms().unwrap_or(u64::MAX).min(oldest);
        }
        Some(oldest)
    }

    pub(in crate::pipeline) fn may_have_parked(&self, agent: &str) -> bool {
        // First: it notes those that were given up.
        let partitions = self.partitions();
        self.lost.lock().may_have(agent)
            || partitions.iter().any(|partition| {
                let state = partition.state.lock();
                state.is_held() || state.is_known(agent)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Found, ParkedTopics, SourcePartition, scan::Scanned, unsent::Unsent},
        *,
    };
    use crate::{
        event::Origin,
        kafka::{
            KafkaSettings, Ownership,
            testing::{give_up, owned},
        },
    };

    const FOUND: Found = Found { first: 0, last: 1, count: 1, oldest_ms: 1 };

    fn assigned(parking: &Parking, number: i32) -> (Arc<SourcePartition>, Arc<Ownership>) {
        let ownership = owned();
        let origin = Origin { topic: "events".into(), partition: number, offset: 0 };
        (parking.partition(&origin, &ownership).0, ownership)
    }

    fn scan(parking: &Parking, partition: &SourcePartition, found: Vec<(Arc<str>, Found)>) {
        parking.scanned(
            partition,
            Scanned {
                found: found.into_iter().collect(),
                end: 2,
                exists: true,
                names: parking.names(),
                unsent: Unsent::default(),
            },
        );
    }

    #[test]
    fn what_is_parked_is_remembered_until_the_next_scan_says_otherwise() {
        let topics = ParkedTopics::connect(&KafkaSettings::default()).unwrap();
        let parking = Parking::new(topics, ["audit".into(), "other".into()], None, (1_000, 400));
        let of = |agent: &str| parking.may_have_parked(agent);
        assert!(!of("audit"), "nothing was ever assigned");
        let now_owned = |ownership: &Arc<Ownership>| {
            parking.knows(&[OwnedPartition { topic: "events".into(), number: 0, ownership: Arc::clone(ownership) }])
        };
        assert!(!now_owned(&owned()), "before the first look");
        let (first, ownership) = assigned(&parking, 0);
        assert!(now_owned(&ownership) && !now_owned(&owned()), "another assignment is looked up again");
        assert!(of("audit") && of("other"), "it is not known yet");
        scan(&parking, &first, vec![("audit".into(), FOUND)]);
        assert!(of("audit") && !of("other"));
        parking.add_agents(["back".into()]);
        assert!(of("audit") && !of("other"), "no line of agents that are gone");
        give_up(&ownership);
        assert!(of("audit") && !of("other"), "it may come back");
        let (first, ownership) = assigned(&parking, 0);
        assert!(of("audit") && of("other"));
        give_up(&ownership);
        assert!(of("audit") && of("other"), "given up before it was known");
        drop(first);
        let (second, _ownership) = assigned(&parking, 1);
        scan(&parking, &second, Vec::new());
        assert!(!of("audit") && !of("other"));
    }
}
