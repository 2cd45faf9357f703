use std::{collections::BTreeMap, ops::ControlFlow};

use super::{
    super::scan::{ScanError, TopicReader},
    *,
};

#[test]
fn a_scan_visits_what_stood_there_when_it_began_in_order_and_commits_nothing() {
    let broker = Broker::new(3);
    broker.publish(0, numbered(0..100));
    broker.publish(2, numbered(100..105));
    let mut scan = open(&broker);
    broker.publish(0, numbered(200..210));
    broker.publish(1, numbered(210..211));
    let mut seen: Vec<(i32, i64, String)> = vec![];
    let read = scan.read(&mut |_, record| {
        if let Some(record) = record {
            let value = String::from_utf8(record.value.unwrap().into()).unwrap();
            assert_eq!((record.topic, record.key, record.size().headers), ("events", Some(&b"key"[..]), 1));
            assert!(record.timestamp_ms.is_some());
            seen.push((record.partition, record.offset, value));
        }
        ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(ControlFlow::Continue(())));
    let progress = scan.progress();
    assert_eq!((progress.done, progress.all, progress.withheld), (105, 105, 0));
    let of = |partition: i32| seen.iter().filter(move |record| record.0 == partition);
    assert!(of(0).map(|record| record.1).eq(0..100) && of(2).map(|record| record.1).eq(0..5));
    assert_eq!(of(0).map(|record| record.2.clone()).collect::<Vec<_>>(), numbered(0..100).collect::<Vec<_>>());
    assert_eq!(of(1).count(), 0);
    assert_eq!(broker.committed(0), None);
}

#[test]
fn a_scan_ends_where_its_visitor_says_so_and_an_unknown_topic_is_named() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..50));
    let mut visited = 0;
    let read = open(&broker).read(&mut |_, record| {
        visited += usize::from(record.is_some());
        if visited == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((read, visited), (Ok(ControlFlow::Break(())), 7));

    let settings = KafkaSettings { topics: vec!["nobody-made-this".into()], ..broker.settings() };
    let error = TopicScan::open(&settings, 0).err();
    assert!(matches!(&error, Some(ScanError::NoTopic(topic)) if topic == "nobody-made-this"), "{error:?}");
}

#[test]
fn a_topic_that_may_not_be_read_fails_the_scan_at_once_and_says_so() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..5));
    let mut scan = open(&broker);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster.request_errors(RDKafkaApiKey::Fetch, &[refused; 100]);
    let mut silent = 0;
    let read = scan.read(&mut |_, record| {
        assert!(record.is_none(), "nothing may be read");
        silent += 1;
        if silent < 300 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let Err(ScanError::Failed { topic, reason, .. }) = read else { panic!("it waited: {read:?}") };
    assert!(topic == "events" && reason.contains("TopicAuthorizationFailed"), "{reason}");
}

#[test]
fn a_topic_is_read_again_from_another_range_by_the_same_reader() {
    let broker = Broker::new(2);
    broker.publish(0, numbered(0..10));
    broker.publish(1, numbered(10..12));
    drop(open(&broker));
    let reader = TopicReader::connect(&broker.settings(), "test").unwrap();
    let ranges = reader.ranges("events", None, None).unwrap();
    for skipped in [0, 7, 9] {
        let asked: Vec<_> =
            ranges.iter().map(|range| PartitionRange { from: skipped.min(range.end), ..*range }).collect();
        let (mut progress, mut seen) = (ScanProgress::of(&asked), 0);
        let read = reader.read("events", &asked, &mut progress, &mut |_, record| {
            seen += record.map_or(0, |_| 1);
            ControlFlow::Continue(())
        });
        assert_eq!(read, Ok(ControlFlow::Continue(())));
        let all = 10 - skipped + (2 - skipped).max(0);
        assert_eq!((progress.done, progress.all, seen), (all.unsigned_abs(), all.unsigned_abs(), all));
    }
}

/// A request that the broker does not answer in time is made again.
fn open(broker: &Broker) -> TopicScan {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TopicScan::open(&broker.settings(), 0) {
            Ok(scan) => return scan,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

#[test]
fn a_broker_that_does_not_answer_is_named_with_the_remedy() {
    let settings = KafkaSettings { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaSettings::default() };
    let reader = TopicReader::connect(&settings, "test").unwrap();
    let error = reader.reach("events").unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1/bootstrap") && error.contains("check bootstrap_servers"), "{error}");
}

#[test]
fn a_group_that_our_user_may_not_see_is_named_with_the_remedy() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..1));
    let reader = TopicReader::connect(&broker.settings(), "test").unwrap();
    let nothing = reader.committed("events", &[0]);
    assert_eq!((nothing.known, nothing.problem), (BTreeMap::from([(0, None)]), None));
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    broker.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[refused; 10]);
    let refused = reader.committed("events", &[0]);
    assert_eq!(refused.known, BTreeMap::new());
    let error = refused.problem.unwrap().to_string();
    for says in [&*format!("the group {}", broker.settings().group_id), "topic events", "grant it READ on the group"] {
        assert!(error.contains(says), "{error}");
    }
}
