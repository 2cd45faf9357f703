use super::*;
use crate::publish::{
    Budget, Publisher,
    spool::{Spool, SpoolSettings},
    tests::{PATIENCE, broker, record, spooling},
};

#[test]
fn without_acknowledgements_nothing_leaves_the_spool() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    let spooled = publisher.publish_record(record(&publisher, "e-1"), Duration::ZERO).unwrap_err();
    assert_eq!(spooled.kind(), "spooled");
    let unacknowledged = Publisher::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .acks("0")
        .spool(publisher.spool().cloned())
        .build()
        .unwrap();
    let ack = unacknowledged.publish_record(record(&unacknowledged, "e-2"), PATIENCE).unwrap();
    assert_eq!(ack.offset, -1, "nobody says");
    let drained = unacknowledged.drain(Budget::ALL, Interrupt::never()).unwrap();
    assert_eq!((drained.published, drained.left), (0, 1));
    assert!(drained.error.unwrap().contains("acks=0"));
    assert_eq!(publisher.drain(Budget::ALL, Interrupt::never()).unwrap().published, 1, "another client empties it");

    // Nor does a late report withdraw a file.
    let mut late = unacknowledged.begin(Duration::from_secs(60));
    unacknowledged.add(&mut late, vec![record(&unacknowledged, "e-3")]);
    let slots = Arc::clone(&late.slots);
    slots.wait(after(PATIENCE));
    let kept = DeliverySlots::default();
    let index = kept.add();
    assert_eq!(kept.collect(Instant::now())[index], Action::Keep(Keep::InSpool, None));
    let spool = unacknowledged.spool().unwrap();
    let path = spool.put(&record(&unacknowledged, "e-4"), "elsewhere:9092", "late").unwrap();
    assert!(kept.spooled(index, path.clone(), spool).is_none());
    kept.report(index, Ok(Ack { partition: 0, offset: -1 }));
    assert!(path.exists());
    assert!(unacknowledged.finish(late, Interrupt::never())[0].is_ok());
}

#[test]
fn an_interrupted_wait_ends_with_the_event_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Publisher::builder()
        .bootstrap_servers("127.0.0.1:1")
        .spool(Spool::new(SpoolSettings::new(dir.path().join("spool"))))
        .build()
        .unwrap();
    let mut asked = 0;
    let mut batch = nowhere.begin(Duration::from_secs(3600));
    nowhere.add(&mut batch, vec![record(&nowhere, "e-1"), record(&nowhere, "e-2")]);
    let answers = nowhere.finish(
        batch,
        Interrupt::when(&mut || {
            asked += 1;
            asked >= 3
        }),
    );
    for error in answers.iter().map(|answer| answer.as_ref().unwrap_err()) {
        assert_eq!(error.kind(), "spooled", "{error}");
        assert!(error.to_string().contains("the call was interrupted"), "{error}");
    }
    let began = Instant::now();
    assert!(nowhere.connect(Duration::from_secs(3600), Interrupt::when(&mut || true)).is_err());
    assert!(began.elapsed() < Duration::from_secs(1800), "{:?}", began.elapsed());
    let drained = nowhere.drain(Budget::ALL, Interrupt::when(&mut || true)).unwrap();
    assert_eq!((drained.published, drained.left), (0, 2));
    assert!(drained.error.as_ref().is_some_and(|error| error.contains("the call was interrupted")), "{drained:?}");
}

#[test]
fn an_answer_that_came_in_time_counts_however_late_it_is_asked_for() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    publisher.connect(PATIENCE, Interrupt::never()).unwrap();
    let mut batch = publisher.begin(PATIENCE);
    publisher.add(&mut batch, vec![record(&publisher, "e-1")]);
    batch.slots.wait(batch.until);
    broker.broker_down(1).unwrap();
    batch.until = Instant::now();
    publisher.add(&mut batch, vec![record(&publisher, "e-2")]);
    let answers = publisher.finish(batch, Interrupt::never());
    assert!(answers[0].is_ok(), "{:?}", answers[0]);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), "not_acknowledged", "its deadline had passed");
}
