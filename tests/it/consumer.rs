//! What the consumer makes of a log that changes under it, and of a cluster that it cannot fully reach.

mod reach;

use std::{collections::BTreeSet, fs, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use serde_json::Value;

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, Kafka, TestEvent,
    bridge::{LONG_SESSION, field},
    broker::{kafka_tool, try_kafka_tool},
    event, kafka, poll, unique, when,
};

const SOON: Duration = Duration::from_secs(120);

/// The time-out is longer than a machine stands still: no request is repeated because its answer was late.
fn bridge(kafka: &Kafka, topic: &str, agent: &HttpAgent) -> BridgeSetup {
    BridgeSetup::new(kafka, topic).routing(&format!(
        "agents:\n  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}\n\
         rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n",
        agent.url()
    ))
}

fn events(prefix: &str, count: usize) -> Vec<TestEvent> {
    let prefix = unique(prefix);
    (0..count).map(|n| event(&format!("{prefix}-{n:03}"))).collect()
}

/// Publishes to a partition; the ids.
fn publish(topic: &str, partition: i32, prefix: &str, count: usize) -> BTreeSet<String> {
    let events = events(prefix, count);
    kafka().produce_all(topic, events.iter().map(|event| event.record().partition(partition)));
    events.iter().map(|event| event.id().to_owned()).collect()
}

fn accepted(agent: &HttpAgent) -> BTreeSet<String> {
    agent.accepted_by_event().into_keys().collect()
}

#[track_caller]
fn wait_for(agent: &HttpAgent, ids: &BTreeSet<String>) {
    poll(SOON, "the agent has accepted them all", || {
        let missing: Vec<_> = ids.difference(&accepted(agent)).cloned().collect();
        when(missing.is_empty(), format!("{} missing, the first is {:?}", missing.len(), missing.first()))
    });
}

/// The notes of `/readyz`, with its status.
fn readiness(bridge: &Bridge) -> (u16, String) {
    let (status, body) = bridge.ask("/readyz");
    let body: Value = serde_json::from_str(&body).expect("/readyz is JSON");
    (status, body["notes"].to_string())
}

/// How often the log says that an error with this name is over. Others come and go on a machine that stands still.
fn resolved(bridge: &Bridge, error: &str) -> usize {
    let lines = bridge.logged("Kafka client error resolved");
    lines.iter().filter(|line| field(line, "error").is_some_and(|text| text.contains(error))).count()
}

/// Whether the group's offsets could not be had in time at an assignment. Then reading goes on without what the last
/// commit says of the log, and the bridge says so.
fn offsets_came_late(bridge: &Bridge) -> bool {
    bridge.logged("Kafka client error").iter().any(|line| field(line, "error") == Some("CommittedOffsets"))
}

#[test]
fn a_partition_that_cannot_be_read_is_stuck_in_plain_sight_and_both_remedies_work() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("stuck", 2);
    let mut ids = publish(&topic, 0, "stuck", 2);
    // A few KB on the wire, and more than the client may unpack.
    for _ in 0..2 {
        let producer: ThreadedProducer<_> = kafka()
            .client()
            .set("compression.type", "zstd")
            .set("message.max.bytes", "20000000")
            .create()
            .expect("a producer can be made");
        let value = vec![b'x'; 5_000_000];
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(0).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("it is queued");
        producer.flush(SOON).expect("the broker takes it");
        ids.extend(publish(&topic, 0, "stuck", 1));
    }
    ids.extend(publish(&topic, 1, "stuck", 3));
    let low = "kafka:
  properties: {receive.message.max.bytes: 2000000, fetch.max.bytes: 1000000, session.timeout.ms: '45000'}
";
    let mut bridge = bridge(kafka(), &topic, &agent).config(low).start();
    agent.wait_accepted(5, SOON);
    let stuck = [("topic", topic.as_str()), ("partition", "0")];
    poll(SOON, "the partition is shown as stuck", || {
        let seen = bridge.metric("partition_stuck", &stuck);
        when(seen == 1.0, seen)
    });
    assert_eq!(bridge.metric("partition_stuck", &[("topic", &topic), ("partition", "1")]), 0.0);
    let notes = poll(SOON, "the other partition is served", || match readiness(&bridge) {
        (200, notes) => Ok(notes),
        seen => Err(seen),
    });
    assert!(notes.contains(&format!("partition {topic}/0 is stuck at offset 2")), "{notes}");
    assert!(notes.contains("receive.message.max.bytes") && notes.contains("skip the offset"), "{notes}");
    let shown = bridge.status();
    assert_eq!(shown["consumer"]["assigned"][0]["stuck"]["offset"], 2, "{shown}");
    assert!(shown["consumer"]["last_error"].to_string().contains("BadCompression"), "{shown}");
    // Except for the first one, if it was not repeated for some seconds because the loop stood still.
    assert!(resolved(&bridge, "BadCompression") <= 1, "that watermarks are answered is no recovery");

    // What docs/kafka.md shows for seeing what is skipped.
    let arguments = "--partition 0 --offset 2 --max-messages 2 --formatter-property print.offset=true \
                     --formatter-property print.key=true --formatter-property print.value=false";
    let mut words = vec!["--bootstrap-server", kafka().bootstrap(), "--topic", &topic];
    words.extend(arguments.split_whitespace());
    let said = kafka_tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &words);
    assert!(said.contains("Offset:2\tnull") && said.contains("Offset:3\t"), "{said}");

    // One remedy: the command that the log names.
    bridge.stop();
    let said = bridge.logged("partition is stuck: nothing behind this offset is read");
    let skip = field(&said[0], "skip").expect("the log names the command").replace("...", kafka().bootstrap());
    let mut words = skip.split(' ').filter(|word| !word.is_empty());
    assert_eq!(words.next(), Some("kafka-consumer-groups.sh"));
    let words: Vec<_> = words.collect();
    // It does nothing while the group has a member, and one that could not leave is one for the rest of its session.
    poll(SOON, "the offset is skipped", || {
        let said = try_kafka_tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &words);
        when(kafka().committed(bridge.group(), &topic).get(&0) == Some(&3), said)
    });

    // The other one: the property.
    fs::write(bridge.folder().join("bridge.yaml"), LONG_SESSION).expect("a scratch folder can be written");
    bridge.start_again();
    wait_for(&agent, &ids);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    poll(SOON, "nothing is stuck", || {
        let (_, notes) = readiness(&bridge);
        when(bridge.metric("partition_stuck", &[]) == 0.0 && notes == "[]", notes)
    });
    bridge.stop();
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    let offsets: BTreeSet<_> = letters.iter().filter_map(|letter| letter.header("dlq-offset")).collect();
    assert_eq!(offsets, BTreeSet::from(["4".to_owned()]), "the second large record was read, the first was skipped");
}

#[test]
fn a_topic_created_again_with_more_records_is_read_from_its_start_while_the_bridge_runs() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("again", 1);
    let mut bridge = bridge(kafka(), &topic, &agent).start();
    let old = publish(&topic, 0, "old", 20);
    wait_for(&agent, &old);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    kafka().recreate_topic(&topic, 1);
    let new = publish(&topic, 0, "new", 50);
    wait_for(&agent, &new);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    assert!(agent.accepted_by_event().values().all(|count| *count == 1), "{:?}", agent.accepted_by_event());
    poll(SOON, "the metrics say that all is done", || {
        let lag = bridge.metric("consumer_lag_records", &[("topic", &topic)]);
        when(lag == 0.0, lag)
    });
    assert_eq!(bridge.metric("records_lost_total", &[]), 0.0);
    bridge.stop();
}

#[test]
fn a_topic_created_again_while_the_bridge_was_stopped_is_read_from_its_start_though_its_offset_was_kept() {
    // Where the group's offsets cannot be had in time, the log is not recognised, and another try is made.
    let said = (0..3).any(|_| created_again_while_stopped_is_read_from_its_start());
    assert!(said, "the broker never gave the group's offsets in time");
}

/// `false` when the broker did not give the group's offsets in time, so that nothing can be said.
fn created_again_while_stopped_is_read_from_its_start() -> bool {
    let agent = HttpAgent::start();
    let topic = kafka().topic("stopped", 1);
    let mut bridge = bridge(kafka(), &topic, &agent).start();
    let old = publish(&topic, 0, "old", 20);
    wait_for(&agent, &old);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    bridge.stop();
    let consumer: BaseConsumer =
        kafka().client().set("group.id", bridge.group()).create().expect("a consumer can be made");
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&topic, 0);
    let kept = consumer.committed_offsets(asked, SOON).expect("the coordinator answers");
    assert_eq!(kept.elements()[0].offset(), Offset::Offset(20));
    assert!(kept.elements()[0].metadata().starts_with("workflow-bridge/1 "), "{kept:?}");
    kafka().recreate_topic(&topic, 1);
    let new = publish(&topic, 0, "new", 50);
    // Kafka 4 forgets the group's offsets with the topic; others, and copies of offsets, do not. It does so a moment
    // later, and would forget the new one as well.
    poll(SOON, "the offset is forgotten", || {
        let committed = kafka().committed(bridge.group(), &topic);
        when(committed.is_empty(), committed)
    });
    let mut again = TopicPartitionList::new();
    let mut entry = again.add_partition(&topic, 0);
    entry.set_offset(Offset::Offset(20)).expect("a plain offset");
    entry.set_metadata(kept.elements()[0].metadata());
    poll(SOON, "the offset is committed again", || {
        consumer.commit(&again, CommitMode::Sync).map_err(|error| error.to_string())
    });
    bridge.start_again();
    let recognised = poll(SOON, "the agent has accepted them all", || {
        let (missing, late) = (new.difference(&accepted(&agent)).count(), offsets_came_late(&bridge));
        when(missing == 0 || late, missing).map(|()| !late)
    });
    if !recognised {
        return false;
    }
    kafka().wait_committed(bridge.group(), &topic, SOON);
    assert!(agent.accepted_by_event().values().all(|count| *count == 1), "{:?}", agent.accepted_by_event());
    bridge.stop();
    // Not at each look: the bridge looks every two seconds.
    let lines = bridge.logged("the topic was deleted and created again, or lost records that were read").len();
    assert!((1..=3).contains(&lines), "{lines} lines");
    true
}

#[test]
fn a_partition_that_is_added_is_read_from_its_start_even_with_latest() {
    // Where the group's offsets cannot be had in time, everything is read: that is documented, and another try is made.
    let said = (0..3).any(|_| added_partition_is_read_from_its_start());
    assert!(said, "the broker never gave the group's offsets in time");
}

/// `false` when the broker did not give the group's offsets in time, so that nothing can be said.
fn added_partition_is_read_from_its_start() -> bool {
    let agent = HttpAgent::start();
    let topic = kafka().topic("added", 1);
    let old = publish(&topic, 0, "old", 5);
    let config = "kafka: {auto_offset_reset: latest, properties: {session.timeout.ms: '45000'}}\n";
    let mut bridge = bridge(kafka(), &topic, &agent).config(config).start();
    bridge.wait_ready(SOON);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    bridge.stop();
    kafka().add_partitions(&topic, 2);
    let added = publish(&topic, 1, "added", 5);
    bridge.start_again();
    wait_for(&agent, &added);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    bridge.stop();
    if offsets_came_late(&bridge) {
        return false;
    }
    assert_eq!(accepted(&agent).intersection(&old).count(), 0, "`latest` leaves what was there before the group");
    true
}

/// One transaction of these events.
fn transact(topic: &str, events: &[TestEvent], commit: bool) {
    let producer: ThreadedProducer<_> =
        kafka().client().set("transactional.id", unique("transaction")).create().expect("a producer can be made");
    producer.init_transactions(SOON).expect("the coordinator answers");
    producer.begin_transaction().expect("a transaction begins");
    for event in events {
        let record = event.record();
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(0).key(key.as_slice()).payload(value.as_slice());
        producer.send(record).map_err(|(error, _)| error).expect("it is queued");
    }
    producer.flush(SOON).expect("the broker takes the records");
    let ended = if commit { producer.commit_transaction(SOON) } else { producer.abort_transaction(SOON) };
    ended.expect("the transaction ends");
}

#[test]
fn marks_of_transactions_and_what_they_aborted_are_neither_lag_nor_loss() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("transactions", 1);
    let mut bridge = bridge(kafka(), &topic, &agent).start();
    bridge.wait_ready(SOON);
    transact(&topic, &events("aborted", 8), false);
    // Nothing was received, and the group is at the end.
    kafka().wait_committed(bridge.group(), &topic, SOON);
    let committed = events("committed", 3);
    transact(&topic, &committed, true);
    wait_for(&agent, &committed.iter().map(|event| event.id().to_owned()).collect());
    kafka().wait_committed(bridge.group(), &topic, SOON);
    transact(&topic, &events("aborted", 8), false);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    let end = kafka().watermarks(&topic)[&0].1;
    assert_eq!(end, 8 + 1 + 3 + 1 + 8 + 1);
    poll(SOON, "the metrics show no lag", || {
        let metrics = bridge.metrics();
        let seen = (metrics.sum("consumer_lag_records", &[]), metrics.sum("unread_records", &[]));
        when(seen == (0.0, 0.0), seen)
    });
    bridge.stop();
    kafka().delete_records(&topic, 0, end);
    bridge.start_again();
    bridge.wait_ready(SOON);
    poll(SOON, "the watermarks were looked at", || {
        let status = bridge.status();
        let seen = &status["consumer"]["assigned"][0]["high_watermark"];
        when(*seen == end, seen.clone())
    });
    assert_eq!(bridge.metric("records_lost_total", &[]), 0.0);
    assert_eq!(agent.count(), 3);
    bridge.stop();
}
