use std::time::Duration;

use futures_util::FutureExt;

use super::{super::parking::Parking, *};
use crate::{
    event::Origin,
    kafka::{
        KafkaSettings, Ownership, ParkedTopics,
        testing::{give_up, owned},
    },
    pipeline::{breaker::AttemptResult, limiter::testing::limiter},
};

/// Partitions of a topic, and the endpoints of an agent.
struct World {
    parking: Parking,
    queue: StartQueue<u32>,
    endpoint: Arc<AgentLimiter>,
}

impl World {
    fn new() -> Self {
        let topics = ParkedTopics::connect(&KafkaSettings::default()).unwrap();
        let parking = Parking::new(topics, [], None, (1_000, 1 << 20));
        Self { parking, queue: StartQueue::default(), endpoint: Arc::new(limiter(8, None)) }
    }

    /// A partition whose parked topic is not known yet.
    fn held(&self, number: i32) -> (Arc<SourcePartition>, Arc<Ownership>) {
        let ownership = owned();
        let origin = Origin { topic: "events".into(), partition: number, offset: 0 };
        (self.parking.partition(&origin, &ownership).0, ownership)
    }

    /// A partition whose deliveries are attempted.
    fn free(&self, number: i32) -> (Arc<SourcePartition>, Arc<Ownership>) {
        let (partition, ownership) = self.held(number);
        release(&partition);
        (partition, ownership)
    }

    fn admit(&mut self, delivery: u32, partition: &Arc<SourcePartition>) -> Option<StartSlot> {
        self.admit_as(false, delivery, partition)
    }

    fn admit_as(&mut self, is_fed: bool, delivery: u32, partition: &Arc<SourcePartition>) -> Option<StartSlot> {
        let place = Place { limiter: Arc::clone(&self.endpoint), partition: Arc::clone(partition), is_fed };
        self.queue.admit(delivery, Some(place)).map(|(_, slot)| slot)
    }

    /// Admits deliveries until one does not begin, with it: how many began.
    fn fill(&mut self, partition: &Arc<SourcePartition>) -> Vec<StartSlot> {
        (0..1_000).map_while(|delivery| self.admit(delivery, partition)).collect()
    }

    fn ready(&mut self) -> (Vec<u32>, Vec<StartSlot>) {
        self.queue.ready().into_iter().unzip()
    }
}

/// Nothing is parked of the partition.
fn release(partition: &SourcePartition) {
    partition.scanned([], (0, true), true);
}

/// Deliveries to the agent are parked from now on.
fn park(partition: &SourcePartition) {
    partition.follow_breaker(&"a".into(), (true, true), true);
}

#[tokio::test]
async fn so_many_begin_and_the_next_when_half_of_them_have_their_permit_in_the_order_of_arrival() {
    let mut world = World::new();
    let (first, second) = (world.free(0).0, world.free(1).0);
    let mut begun: Vec<StartSlot> = Vec::new();
    for delivery in 0..400 {
        // In runs, as a fetch gives them.
        let partition = if delivery / 7 % 2 == 0 { &first } else { &second };
        let slot = world.admit(delivery, partition);
        assert_eq!(slot.is_some(), delivery < 128, "{delivery}");
        begun.extend(slot);
    }
    let room = world.queue.room();
    assert!(world.ready().0.is_empty());
    let mut expected = 128;
    while !begun.is_empty() {
        // A permit, and the end of its delivery, count once.
        begun[..begun.len() - 65].iter().for_each(StartSlot::release);
        begun.drain(..begun.len() - 65);
        assert!(room.notified().now_or_never().is_none(), "65 wait");
        begun.remove(0);
        assert!(room.notified().now_or_never().is_some(), "64 wait");
        let (ready, slots) = world.ready();
        let until = (expected + 64).min(400);
        assert_eq!(ready, (expected..until).collect::<Vec<_>>());
        expected = until;
        begun.extend(slots);
        if expected == 400 {
            break;
        }
    }
    begun.clear();
    assert!(world.ready().0.is_empty());
}

#[test]
fn a_partition_that_is_held_back_keeps_no_other_from_beginning() {
    let mut world = World::new();
    let (held, free) = (world.held(0).0, world.free(1).0);
    assert!(world.admit(1, &held).is_none() && world.admit(2, &held).is_none());
    let slot = world.admit(3, &free);
    assert!(slot.is_some(), "at once");
    assert!(world.ready().0.is_empty());
    let mut slots = world.fill(&free);
    assert_eq!(slots.len(), 127);
    drop(slots.drain(..10));
    assert_eq!(world.ready().0, [127], "it passes those of the other partition");
    release(&held);
    assert_eq!(world.ready().0, [1, 2]);
}

#[test]
fn what_is_parked_begins_at_once_and_takes_no_room() {
    let mut world = World::new();
    let (free, parked) = (world.free(0).0, world.free(1).0);
    let _slots = world.fill(&free);
    assert!(world.admit(1_001, &parked).is_none());
    park(&parked);
    let at_once = world.admit(1_002, &parked).expect("it begins");
    assert!(!at_once.counts());
    let (ready, slots) = world.ready();
    assert_eq!((ready, slots[0].counts()), (vec![1_001], false));
    assert!(world.admit_as(true, 1_003, &parked).is_none(), "what is read back is attempted");
}

#[test]
fn what_was_read_back_has_its_turn_among_the_others() {
    let mut world = World::new();
    let (first, second) = (world.free(0).0, world.free(1).0);
    park(&first);
    let slots = world.fill(&second);
    for delivery in 1_000..1_010 {
        assert!(world.admit_as(true, delivery, &first).is_none());
        assert!(world.admit(2_000 + delivery, &second).is_none());
    }
    drop(slots);
    let expected: Vec<u32> = (1_000..1_010).flat_map(|delivery| [delivery, 2_000 + delivery]).collect();
    assert_eq!(world.ready().0[1..], expected);
}

#[test]
fn what_is_given_up_begins_at_once_and_takes_no_room() {
    let mut world = World::new();
    let (kept, (lost, ownership)) = (world.free(0).0, world.free(1));
    let slots = world.fill(&kept);
    assert_eq!(slots.len(), 128);
    assert!(world.admit(1_001, &lost).is_none() && world.admit(1_002, &lost).is_none());
    give_up(&ownership);
    assert!(world.admit(1_003, &lost).is_some(), "the next one of its lane");
    let (ready, ended) = world.ready();
    assert_eq!(ready, [1_001, 1_002]);
    assert!(!ended[0].counts());
    drop((ended, slots));
    assert_eq!(world.ready().0, [128], "what waited before it has room again");
}

#[test]
fn while_the_breaker_is_open_all_begin() {
    let mut world = World::new();
    let partition = world.free(0).0;
    let _slots = world.fill(&partition);
    assert!(world.ready().0.is_empty());
    let spec = world.endpoint.spec();
    world.endpoint.report(&spec, &AttemptResult::Permanent, Some(Duration::from_secs(60)), "401");
    assert_eq!(world.ready().0, [128]);
    assert!(world.admit(1_000, &partition).is_some());
}

#[test]
fn one_that_goes_to_another_endpoint_takes_no_room_of_its_former_one() {
    let mut world = World::new();
    let partition = world.free(0).0;
    let slots = world.fill(&partition);
    for slot in &slots {
        slot.release_elsewhere(&world.endpoint);
    }
    assert!(world.ready().0.is_empty(), "it waits where it was admitted");
    let other = limiter(8, None);
    for slot in &slots {
        slot.release_elsewhere(&other);
    }
    assert_eq!(world.ready().0, [128]);
}

#[test]
fn what_waits_counts_as_a_delivery_of_its_endpoint_and_idle_endpoints_are_forgotten() {
    let mut world = World::new();
    let partition = world.free(0).0;
    let slots = world.fill(&partition);
    assert_eq!((slots.len(), world.endpoint.deliveries()), (128, 1));
    drop(slots);
    assert_eq!(world.ready().0, [128]);
    assert_eq!(world.endpoint.deliveries(), 0);
    for _ in 0..10 {
        world.endpoint = Arc::new(limiter(8, None));
        assert!(world.admit(1, &partition).is_some());
    }
    assert_eq!(world.queue.endpoints.len(), 1);
}
