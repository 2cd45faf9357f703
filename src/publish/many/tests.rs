use super::*;
use crate::publish::{
    Budget,
    spool::{Spool, SpoolSettings},
    tests::{PATIENCE, broker, record, spooling},
};

#[test]
fn without_acknowledgements_nothing_leaves_the_spool() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    let spooled = publisher.publish_record(record(&publisher, "e-1"), Duration::ZERO).unwrap_err();
    assert_eq!(spooled.kind(), "spooled");
    let careless = Publisher::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .acks("0")
        .spool(publisher.spool().cloned())
        .build()
        .unwrap();
    let ack = careless.publish_record(record(&careless, "e-2"), PATIENCE).unwrap();
    assert_eq!(ack.offset, -1, "nobody says");
    let drained = careless.drain(Budget::ALL).unwrap();
    assert_eq!((drained.published, drained.left), (0, 1));
    assert!(drained.error.unwrap().contains("acks=0"));
    assert_eq!(publisher.drain(Budget::ALL).unwrap().published, 1, "another client empties it");

    // Nor does a report that comes late take a file out.
    let mut late = careless.begin(Duration::from_secs(60));
    careless.add(&mut late, vec![record(&careless, "e-3")]);
    let batch = Arc::clone(&late.batch);
    batch.settle(after(PATIENCE));
    let kept = Batch::new();
    let index = kept.add();
    assert!(kept.wait(Instant::now())[index].is_none());
    let spool = careless.spool().unwrap();
    let path = spool.put(&record(&careless, "e-4"), "elsewhere:9092", "late").unwrap();
    assert!(kept.spooled(index, path.clone(), spool).is_none());
    kept.answer(index, Ok(Ack { partition: 0, offset: -1 }));
    assert!(path.exists());
    assert!(careless.finish(late)[0].is_ok());
}

#[test]
fn a_wait_that_shall_not_go_on_ends_with_the_event_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Publisher::builder()
        .bootstrap_servers("127.0.0.1:1")
        .spool(Spool::new(SpoolSettings::new(dir.path().join("spool"))))
        .build()
        .unwrap();
    let began = Instant::now();
    let mut asked = 0;
    let mut many = nowhere.begin(Duration::from_secs(3600));
    nowhere.add(&mut many, vec![record(&nowhere, "e-1"), record(&nowhere, "e-2")]);
    let answers = nowhere.finish_while(many, &mut || {
        asked += 1;
        asked < 3
    });
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, ["spooled", "spooled"]);
    assert!(nowhere.connect_while(Duration::from_secs(3600), &mut || false).is_err());
    let drained = nowhere.drain_while(Budget::ALL, &mut || false).unwrap();
    assert_eq!((drained.published, drained.left), (0, 2));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn an_answer_that_came_in_time_counts_however_late_it_is_asked_for() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    publisher.connect(PATIENCE).unwrap();
    let mut many = publisher.begin(PATIENCE);
    publisher.add(&mut many, vec![record(&publisher, "e-1")]);
    many.batch.settle(many.until);
    broker.broker_down(1).unwrap();
    many.until = Instant::now();
    publisher.add(&mut many, vec![record(&publisher, "e-2")]);
    let answers = publisher.finish(many);
    assert!(answers[0].is_ok(), "{:?}", answers[0]);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), "not_acknowledged", "its deadline had passed");
}
