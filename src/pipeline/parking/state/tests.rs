//! The state machine in a model of everything around it. The oracle knows neither modes nor offsets.

mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::{AGENTS, KEYS, Status, World, agent};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn order_holds_and_nothing_is_lost_or_repeated_in_any_interleaving(
        actions in prop::collection::vec((0..40_u8, 0..240_usize, any::<bool>()), 1..400)
    ) {
        let mut world = World::new();
        world.some_too_large = true;
        for action in actions {
            world.act(action);
        }
        world.finish();
    }
}

#[test]
fn deliveries_that_arrive_without_a_pause_do_not_keep_an_agent_parked_for_ever() {
    let mut world = World::new();
    world.scan();
    world.up[0] = false;
    let step = |world: &mut World| {
        world.ledger.push([Status::Pending; AGENTS]);
        world.receive();
        for lane in 0..AGENTS * KEYS {
            world.step_live(lane, false);
            for _ in 0..3 {
                world.step_fed(lane, false);
            }
        }
        if let Some(range) = world.process.machine.begin_read(&agent(0), 9) {
            world.process.reads[0] = Some(range);
        }
        world.finish_read(0, 4);
        world.follow_breaker(0, true);
    };
    for _ in 0..300 {
        step(&mut world);
    }
    assert_eq!(world.process.machine.mode(&agent(0)), Mode::Park);
    assert!(world.topic.len() > 50, "{} parked", world.topic.len());
    world.up[0] = true;
    for _ in 0..2_000 {
        if world.process.machine.mode(&agent(0)) == Mode::Attempt {
            return world.finish();
        }
        step(&mut world);
    }
    panic!("still parked: {:?}", world.process.machine);
}

fn follow(machine: &mut PartitionParking, agent: &Arc<str>, breaker: (bool, bool)) -> bool {
    machine.breaker(agent, breaker, true, Instant::now())
}

#[test]
fn a_parked_delivery_that_does_not_end_holds_up_no_other() {
    let (name, start) = (agent(0), Instant::now());
    let mut machine = PartitionParking::new();
    machine.scanned([(name.clone(), Found { first: 0, last: 1, count: 2, oldest_ms: 1 })], 2, true);
    assert_eq!(machine.begin_read(&name, 9), Some(ReadRange { from: 0, until: 2, epoch: 0 }));
    machine.fed(&name, (0, 2), [(0, 1), (1, 1)]);
    machine.ended(&name, (0, 1));
    let mode = |machine: &mut PartitionParking, seconds| {
        machine.breaker(&name, (false, false), true, start + Duration::from_secs(seconds));
        machine.mode(&name)
    };
    assert_eq!(mode(&mut machine, 10), Mode::Hold);
    assert_eq!(mode(&mut machine, 11), Mode::Hold);
    assert_eq!(mode(&mut machine, 12), Mode::Park, "the one at 0 does not end");
    for (offset, seconds) in [(2, 20), (3, 30)] {
        let id = machine.begin_parking(&name).unwrap();
        machine.parked(id, offset, 5);
        assert_eq!(machine.begin_read(&name, 9), Some(ReadRange { from: offset, until: offset + 1, epoch: 0 }));
        machine.fed(&name, (0, offset + 1), [(offset, 5)]);
        machine.ended(&name, (0, offset));
        assert_eq!(mode(&mut machine, seconds), Mode::Park);
    }
    machine.ended(&name, (0, 0));
    assert_eq!(mode(&mut machine, 40), Mode::Attempt);
}

#[test]
fn with_parking_off_deliveries_wait_for_what_was_parked_before() {
    let (name, start) = (agent(0), Instant::now());
    let mut machine = PartitionParking::new();
    machine.scanned([(name.clone(), Found { first: 0, last: 0, count: 1, oldest_ms: 1 })], 1, false);
    assert_eq!((machine.mode(&name), machine.begin_parking(&name)), (Mode::Hold, None));
    assert!(machine.begin_read(&name, 9).is_some());
    machine.fed(&name, (0, 1), [(0, 1)]);
    assert!(!machine.breaker(&name, (true, false), false, start + Duration::from_secs(100)));
    assert_eq!(machine.mode(&name), Mode::Hold);
    machine.ended(&name, (0, 0));
    assert!(machine.breaker(&name, (false, false), false, start));
    assert_eq!(machine.mode(&name), Mode::Attempt);
}

#[test]
fn while_the_parked_topic_is_refused_nothing_is_parked_or_committed_and_nothing_waits() {
    let name = agent(0);
    let mut machine = PartitionParking::new();
    machine.refused();
    assert!(!follow(&mut machine, &name, (true, true)));
    assert_eq!((machine.mode(&name), machine.position()), (Mode::Attempt, Position::Unknown));
    assert!(!machine.is_held());
    machine.scanned([(name.clone(), Found { first: 4, last: 4, count: 1, oldest_ms: 1 })], 5, true);
    assert_eq!((machine.mode(&name), machine.position()), (Mode::Park, Position::Before(4)));

    // It is refused again while a delivery is being parked.
    let id = machine.begin_parking(&name).unwrap();
    machine.reset();
    machine.refused();
    assert!(machine.parked(id, 5, 1));
    assert_eq!((machine.mode(&name), machine.begin_parking(&name)), (Mode::Attempt, None));
    machine.scanned([(name.clone(), Found { first: 4, last: 4, count: 1, oldest_ms: 1 })], 5, true);
    assert_eq!(machine.begin_read(&name, 9), Some(ReadRange { from: 4, until: 6, epoch: 1 }));
}

#[test]
fn a_topic_that_was_created_again_is_scanned_and_what_was_of_the_former_one_does_not_count() {
    let name = agent(0);
    let mut machine = PartitionParking::new();
    machine.scanned([(name.clone(), Found { first: 3, last: 3, count: 1, oldest_ms: 1 })], 500, true);
    let read = machine.begin_read(&name, 9).unwrap();
    assert!(machine.fed(&name, (read.epoch, 500), [(3, 1)]));
    let ids = [(); 3].map(|()| machine.begin_parking(&name).unwrap());
    let [first, second, third] = ids;
    assert!(machine.parked(first, 500, 100));
    assert!(!machine.parked(second, 0, 100), "the scan finds it");
    assert_eq!((machine.mode(&name), machine.position()), (Mode::Hold, Position::Unknown));
    assert_eq!(machine.all_taken(), [(name.clone(), 1, false)], "it still takes its part of the budget");
    machine.scanned([(name.clone(), Found { first: 0, last: 0, count: 1, oldest_ms: 1 })], 1, true);
    assert_eq!(machine.all_taken(), [(name.clone(), 1, true)]);
    machine.ended(&name, (0, 3));
    assert_eq!(machine.taken(&name), 0);
    assert!(machine.parked(third, 1, 100));
    assert_eq!((machine.position(), machine.commit()), (Position::Before(0), Some(0)));
    assert_eq!(machine.begin_read(&name, 9), Some(ReadRange { from: 0, until: 2, epoch: 1 }));
    assert!(!machine.fed(&name, (0, 500), [(4, 1)]), "of the former log");
    assert!(machine.fed(&name, (1, 2), [(0, 1), (1, 1)]));
    machine.ended(&name, (0, 0));
    assert_eq!(machine.position(), Position::Before(0), "of the former log");
}

#[test]
fn where_nothing_was_ever_parked_nothing_is_committed() {
    let name = agent(0);
    let mut machine = PartitionParking::new();
    assert_eq!(machine.commit(), None);
    machine.scanned([], 0, true);
    assert_eq!(machine.commit(), None);
    follow(&mut machine, &name, (true, true));
    let id = machine.begin_parking(&name).unwrap();
    assert_eq!((machine.position(), machine.commit()), (Position::Before(0), None), "the topic need not exist");
    assert!(machine.parked(id, 0, 1));
    assert_eq!(machine.commit(), Some(0));
}

#[test]
fn a_commit_does_not_pass_what_is_being_parked() {
    let name = agent(0);
    let mut machine = PartitionParking::new();
    assert_eq!((machine.mode(&name), machine.position()), (Mode::Hold, Position::Unknown));
    machine.scanned([], 7, true);
    assert_eq!((machine.mode(&name), machine.position()), (Mode::Attempt, Position::Drained(7)));
    assert!(follow(&mut machine, &name, (true, true)));
    let (first, second) = (machine.begin_parking(&name).unwrap(), machine.begin_parking(&name).unwrap());
    machine.parked(second, 8, 100);
    assert_eq!(machine.position(), Position::Before(7), "the first may stand at 7");
    assert_eq!(machine.begin_read(&name, 9), None, "and the ledger does not call it parked yet");
    machine.parked(first, 7, 101);
    assert_eq!(machine.begin_read(&name, 9), Some(ReadRange { from: 7, until: 9, epoch: 0 }));
    assert_eq!(machine.begin_read(&name, 9), None, "one read at a time");
    assert_eq!(machine.taken(&name), 9, "it may bring as many");
    machine.fed(&name, (0, 9), [(7, 101), (8, 100)]);
    assert_eq!(machine.taken(&name), 2);
    machine.ended(&name, (0, 7));
    assert_eq!(machine.position(), Position::Before(8));
    assert_eq!(machine.backlog(&name), Backlog { count: 1, oldest_ms: Some(100) });
    assert!(!follow(&mut machine, &name, (true, false)), "the breaker is open: new deliveries are parked");
    assert!(follow(&mut machine, &name, (false, false)));
    assert_eq!(machine.mode(&name), Mode::Hold);
    machine.ended(&name, (0, 8));
    assert!(follow(&mut machine, &name, (false, false)));
    assert_eq!((machine.mode(&name), machine.position()), (Mode::Attempt, Position::Drained(9)));
}

#[test]
fn a_commit_does_not_pass_what_is_being_parked_for_another_agent() {
    let (slow, fast) = (agent(0), agent(1));
    let mut machine = PartitionParking::new();
    machine.scanned([], 7, true);
    follow(&mut machine, &slow, (true, true));
    follow(&mut machine, &fast, (true, true));
    let (first, second) = (machine.begin_parking(&slow).unwrap(), machine.begin_parking(&fast).unwrap());
    machine.parked(second, 8, 100);
    assert_eq!(machine.begin_read(&fast, 9), Some(ReadRange { from: 7, until: 9, epoch: 0 }));
    machine.fed(&fast, (0, 9), [(8, 100)]);
    machine.ended(&fast, (0, 8));
    assert_eq!(machine.position(), Position::Before(7), "the ledger may call the delivery at 7 parked already");
    machine.parked(first, 7, 101);
    assert_eq!(machine.position(), Position::Before(7));
    assert_eq!(machine.begin_read(&slow, 9), Some(ReadRange { from: 7, until: 8, epoch: 0 }));
}
