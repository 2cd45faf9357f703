//! The ledger topic on a real broker: its creation and its growth, what it refuses, reading it from nothing, and what
//! becomes of it while it is used.

use std::{
    collections::BTreeSet,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use workflow_bridge::testing::{LedgerReplica, ReadRecords};

use crate::kit::{
    Broker, Cluster, Kafka, Record, block_on,
    broker::{accept_records, kafka_tool, refuse_records},
    cluster::BROKERS,
    kafka, poll, unique, when,
};

const SOON: Duration = Duration::from_secs(120);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Of a replica that nothing happens to: it keeps its partitions although the machine stands still.
const SESSION: Duration = Duration::from_secs(45);
/// How long a start that is refused is waited for. Each of its checks gives up after 5 s.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

struct Topics {
    source: String,
    ledger: String,
    group: String,
}

fn topics(kafka: &Kafka, partitions: i32) -> Topics {
    let group = unique("replicas");
    Topics { source: kafka.topic("source", partitions), ledger: format!("{group}-ledger"), group }
}

impl Topics {
    fn start(&self, kafka: &Kafka, store: &Arc<ReadRecords>) -> LedgerReplica {
        self.start_with(kafka, store, SESSION)
    }

    fn start_with(&self, kafka: &Kafka, store: &Arc<ReadRecords>, session: Duration) -> LedgerReplica {
        LedgerReplica::start(kafka.bootstrap(), &self.group, &self.source, &self.ledger, WEEK, store, session)
            .expect("the settings are right")
    }

    /// The error with which a start ends. By design it goes on when the broker stood still during a check: then another
    /// one is made.
    #[track_caller]
    fn refused(&self, kafka: &Kafka) -> String {
        let error = (0..5).find_map(|_| {
            let replica = self.start(kafka, &Arc::default());
            block_on(async { tokio::time::timeout(REFUSED_WITHIN, replica.failed()).await }).ok()
        });
        error.expect("it ends")
    }

    /// One record in each partition of the source topic.
    fn publish(&self, kafka: &Kafka, partitions: i32) {
        kafka.produce_all(&self.source, (0..partitions).map(|n| Record::new("event").partition(n)));
    }
}

#[track_caller]
fn until_received(replica: &LedgerReplica, count: usize) {
    poll(SOON, "the source topic is read", || {
        let received = replica.received();
        when(received == count, (received, replica.waiting()))
    });
}

#[track_caller]
fn until_read(replica: &LedgerReplica, count: u64) {
    poll(SOON, "the ledger topic is read", || {
        let found = replica.read().records();
        when(found == count, (found, replica.waiting()))
    });
}

fn entries(partition: i32, count: usize, bytes: usize) -> impl Iterator<Item = Record> {
    (0..count).map(move |n| {
        let value = format!("{n:0bytes$}");
        Record::new(value).key(format!("event-{n}")).partition(partition)
    })
}

fn append(replica: &LedgerReplica, partition: i32, count: usize) {
    for n in 0..count {
        block_on(replica.append(partition, &format!("event-{n}"), format!("record {n}").as_bytes()));
    }
    replica.flush(partition, Instant::now() + SOON).expect("the broker acknowledges");
}

fn described(kafka: &Kafka, topic: &str) -> String {
    kafka_tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", kafka.bootstrap(), "--describe", "--topic", topic],
    )
}

#[test]
fn the_topic_is_created_for_the_window_and_a_second_replica_reads_what_the_first_wrote() {
    let kafka = kafka();
    let topics = topics(kafka, 3);
    topics.publish(kafka, 3);
    let first_store = Arc::default();
    let first = topics.start(kafka, &first_store);
    until_received(&first, 3);
    let said = described(kafka, &topics.ledger);
    for expected in [
        "PartitionCount: 3",
        "cleanup.policy=delete",
        "retention.ms=691200000",
        "segment.ms=43200000",
        "max.message.bytes=2097152",
    ] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
    append(&first, 2, 1_000);
    until_read(&first, 1_000);
    first.close().expect("it leaves the group");

    topics.publish(kafka, 3);
    let store = Arc::default();
    let second = topics.start(kafka, &store);
    until_received(&second, 3);
    assert_eq!(second.read().records(), 1_000, "before the first record of partition 2");
    // As a request of a dead process that arrives late.
    kafka.produce_all(&topics.ledger, entries(2, 5, 20));
    until_read(&second, 1_005);
    second.close().expect("it leaves the group");

    topics.publish(kafka, 3);
    let again = topics.start(kafka, &store);
    until_received(&again, 3);
    assert_eq!(again.read().records(), 1_005, "nothing is read twice");
    again.close().expect("it leaves the group");
}

#[test]
fn a_topic_that_cannot_hold_the_ledger_ends_the_start_with_the_remedy() {
    let kafka = kafka();
    for (setting, value, remedy) in [
        ("cleanup.policy", "compact", "set cleanup.policy=delete"),
        ("max.message.bytes", "100000", "set max.message.bytes=2097152"),
    ] {
        let topics = topics(kafka, 1);
        kafka.create_topic(&topics.ledger, 1, &[(setting, value)]);
        let error = topics.refused(kafka);
        for expected in [&*topics.ledger, setting, value, remedy, "dedup.ledger_topic"] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}

#[test]
fn a_topic_that_our_user_may_not_create_or_write_ends_the_start_with_what_to_grant() {
    // Everybody is the user ANONYMOUS, the broker too. What has no list is allowed.
    let broker = Broker::start_with(&[
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ]);
    let topics = topics(&broker, 1);
    let other = Topics { ledger: unique("ledger"), source: topics.source.clone(), group: unique("replicas") };
    broker.create_topic(&other.ledger, 1, &[]);
    let acl = |arguments: &[&str]| {
        let mut all = vec!["--bootstrap-server", broker.bootstrap(), "--add", "--force"];
        all.extend(arguments);
        kafka_tool("org.apache.kafka.tools.AclCommand", &all)
    };
    let resources = [
        ("Create", vec!["--cluster"]),
        ("Create", vec!["--topic", &*topics.ledger]),
        ("Write", vec!["--topic", &*other.ledger]),
    ];
    for (denied, resource) in resources {
        acl(&[&["--allow-principal", "User:*", "--operation", "All"][..], &resource].concat());
        acl(&[&["--deny-principal", "User:ANONYMOUS", "--operation", denied][..], &resource].concat());
    }
    // The last list first: when the broker goes by it, it goes by the others too. A topic that was created before that
    // could not be refused any more.
    let error = other.refused(&broker);
    for expected in ["cannot be written", "grant our user WRITE", "dedup.ledger_topic"] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = topics.refused(&broker);
    for expected in ["grant our user CREATE", "kafka-topics.sh --create", "dedup.ledger_topic"] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn partitions_that_are_added_to_the_source_topic_are_read_after_the_ledger_topic_has_them_too() {
    let kafka = kafka();
    let topics = topics(kafka, 1);
    topics.publish(kafka, 1);
    let replica = topics.start(kafka, &Arc::default());
    until_received(&replica, 1);
    kafka.add_partitions(&topics.source, 4);
    topics.publish(kafka, 4);
    until_received(&replica, 5);
    assert_eq!(kafka.watermarks(&topics.ledger).len(), 4);
    append(&replica, 3, 10);
    until_read(&replica, 10);
    replica.close().expect("it leaves the group");
}

#[test]
fn a_topic_that_is_deleted_while_it_is_used_is_created_again_and_read_from_its_beginning() {
    let kafka = kafka();
    let topics = topics(kafka, 2);
    topics.publish(kafka, 2);
    let replica = topics.start(kafka, &Arc::default());
    until_received(&replica, 2);
    append(&replica, 1, 100);
    until_read(&replica, 100);
    let delete = ["--bootstrap-server", kafka.bootstrap(), "--delete", "--topic", &topics.ledger];
    kafka_tool("org.apache.kafka.tools.TopicCommand", &delete);
    // Until the broker has done it, it takes records for the old topic.
    poll(SOON, "the old topic is gone", || {
        let ends = kafka.watermarks(&topics.ledger);
        when(ends.get(&1).is_none_or(|(_, high)| *high < 100), ends)
    });
    append(&replica, 1, 10);
    poll(SOON, "the new topic is read", || {
        let following = replica.following();
        let found = following.iter().find(|(partition, _)| *partition == 1).copied();
        when(found == Some((1, 10)), (found, replica.read().records()))
    });
    replica.close().expect("it leaves the group");
}

/// The new topic's leaders count their epochs from zero again, which a client takes for news that are out of date.
#[test]
fn a_topic_whose_leaders_had_moved_is_written_and_read_after_it_was_created_again() {
    const PARTITIONS: i32 = 6;
    let cluster = Cluster::start(0);
    let kafka = cluster.kafka();
    let topics = topics(kafka, PARTITIONS);
    topics.publish(kafka, PARTITIONS);
    let replica = topics.start(kafka, &Arc::default());
    until_received(&replica, 6);
    for broker in 0..BROKERS {
        cluster.stop(broker);
        (0..PARTITIONS).for_each(|partition| append(&replica, partition, 5));
        cluster.start_again(broker);
    }
    assert!(kafka.delete_topic(&topics.ledger), "there is one");
    (0..PARTITIONS).for_each(|partition| append(&replica, partition, 10));
    poll(SOON, "the new topic is read", || {
        let following: BTreeSet<_> = replica.following().into_iter().collect();
        let all: BTreeSet<_> = (0..PARTITIONS).map(|partition| (partition, 10)).collect();
        // What was sent while the topic was deleted may be in neither.
        when(following == all, following)
    });
    replica.close().expect("it leaves the group");
}

#[test]
fn a_topic_that_was_truncated_is_read_from_what_is_left() {
    let kafka = kafka();
    let topics = topics(kafka, 2);
    topics.publish(kafka, 2);
    let store = Arc::default();
    let replica = topics.start(kafka, &store);
    until_received(&replica, 2);
    append(&replica, 1, 100);
    until_read(&replica, 100);
    replica.close().expect("it leaves the group");
    kafka.produce_all(&topics.ledger, entries(1, 100, 20));
    kafka.delete_records(&topics.ledger, 1, 150);
    topics.publish(kafka, 2);
    let replica = topics.start(kafka, &store);
    until_received(&replica, 2);
    assert_eq!(replica.read().records(), 150, "50 of the 100 that came meanwhile are left");
    // All of them have left: there is nothing to wait for.
    replica.close().expect("it leaves the group");
    kafka.delete_records(&topics.ledger, 1, 200);
    topics.publish(kafka, 2);
    let replica = topics.start(kafka, &store);
    until_received(&replica, 2);
    replica.close().expect("it leaves the group");
}

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_no_record_and_keeps_nobody_waiting() {
    let mut broker = Broker::start();
    let kafka = Kafka::at(broker.bootstrap());
    let topics = topics(&kafka, 1);
    topics.publish(&kafka, 1);
    let replica = topics.start_with(&kafka, &Arc::default(), Duration::from_secs(6));
    until_received(&replica, 1);
    append(&replica, 0, 1_000);
    // What is not committed comes again after the outage.
    kafka.wait_committed(&topics.group, &topics.source, SOON);
    broker.kill();
    for n in 0..500 {
        block_on(replica.append(0, &format!("late-{n}"), b"record"));
    }
    assert!(replica.flush(0, Instant::now() + Duration::from_secs(1)).is_err(), "nobody acknowledges");
    broker.start_again();
    replica.flush(0, Instant::now() + SOON).expect("the broker acknowledges");
    poll(SOON, "everything is read", || {
        let found = replica.read().records();
        when(found >= 1_500, found)
    });
    topics.publish(&kafka, 1);
    until_received(&replica, 2);
    replica.close().expect("it leaves the group");
}

#[test]
fn an_offset_is_committed_only_after_the_outcome_is_in_the_ledger_topic() {
    let mut broker = Broker::start();
    let kafka = Kafka::at(broker.bootstrap());
    let topics = topics(&kafka, 1);
    topics.publish(&kafka, 1);
    let replica = topics.start(&kafka, &Arc::default());
    until_received(&replica, 1);
    kafka.produce_all(&topics.source, (0..200).map(|n| Record::new("event").key(format!("event-{n}"))));
    kafka.wait_committed(&topics.group, &topics.source, SOON);
    // One that was read again has its outcome twice.
    let outcomes = || {
        let records = kafka.read_all(&topics.ledger).into_iter();
        records.filter(|record| record.text() == "outcome").map(|record| record.key).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(outcomes(), 200);

    refuse_records(&kafka, &topics.ledger);
    kafka.produce_all(&topics.source, (0..50).map(|n| Record::new("event").key(format!("late-{n}"))));
    until_received(&replica, 251);
    assert!(replica.flush(0, Instant::now() + Duration::from_secs(3)).is_err(), "they are refused");
    assert_eq!(kafka.committed(&topics.group, &topics.source).get(&0), Some(&201));
    accept_records(&kafka, &topics.ledger);
    kafka.wait_committed(&topics.group, &topics.source, SOON);
    assert_eq!(outcomes(), 250);
    broker.kill();
}

/// Prints how long that takes and the memory of the process, which other tests share. `LEDGER_RECORDS` sets their number.
#[test]
fn many_records_are_read_before_the_first_event() {
    let records = std::env::var("LEDGER_RECORDS").ok().and_then(|count| count.parse().ok()).unwrap_or(300_000);
    let kafka = kafka();
    let topics = topics(kafka, 1);
    kafka.create_topic(&topics.ledger, 1, &[]);
    topics.publish(kafka, 1);
    kafka.produce_all(&topics.ledger, entries(0, records, 200));
    let before = resident_kib();
    let started = Instant::now();
    let replica = topics.start(kafka, &Arc::default());
    let mut most = before;
    poll(SOON, "the first event", || {
        most = most.max(resident_kib());
        when(replica.received() == 1, replica.waiting())
    });
    let took = started.elapsed();
    assert_eq!(replica.read().records(), records as u64);
    println!("{records} records read in {took:?} from the start; resident memory {before} -> at most {most} KiB");
    replica.close().expect("it leaves the group");
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}
