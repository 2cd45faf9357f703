//! Ends of parked deliveries that a former process had not sent.

use super::{
    super::parking::unsent::MAX_BYTES,
    parking::{park, parked_record},
    *,
};
use crate::{
    dedup::{DeliveryStatus, PlannedDelivery, Record, Source},
    kafka::{LedgerAppender, LedgerTopicSettings},
};

const LONG: usize = 255;
/// With ids of this length more than are noted at once.
const EVENTS: usize = MAX_BYTES / LONG;

fn id(n: usize) -> String {
    format!("{n:0>LONG$}")
}

fn delivered() -> Record {
    let mut record = Record::new(1, 1, &[PlannedDelivery { rule: "all".into(), agent: "audit".into() }]);
    record.record_source(Source { topic: "events".into(), partition: 0, offset: 0 });
    record.finish("all", "audit", DeliveryStatus::Delivered, 2);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn more_ends_than_one_scan_keeps_are_all_sent_before_the_position_passes_them() {
    let agent = agent(SampleOptions::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let former = open(&folder.path().join("data"));
    for n in 0..EVENTS {
        former.merge(&id(n), &delivered()).unwrap();
    }
    drop(former);
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("routing/rules.yaml"), rules(agent.addr(), "")).unwrap();
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(3600) };
    let routing = Routing::load(&folder.path().join("routing"), &options).unwrap();
    let mut fixture = PipelineFixture::start_plan(folder, Arc::new(routing), (None, "parked"), |ledger, kafka| {
        let topic = LedgerTopicSettings { topic: "ledger".into(), window: Duration::from_secs(3_600) };
        Some(replicate(ledger, "test", LedgerAppender::connect(kafka, &topic).unwrap()).0)
    });

    let kafka = KafkaSettings {
        bootstrap_servers: fixture.broker.bootstrap_servers(),
        parked_topic: Some("parked".into()),
        ..KafkaSettings::default()
    };
    let topics = ParkedTopics::connect(&kafka).unwrap();
    let value = event("0", "run-0");
    for n in 0..EVENTS {
        let mut record = parked_record(&value);
        record.head.event_id = id(n).into();
        park(&topics, &record).await;
    }
    // With its first event the partition is known, and what is parked is looked up.
    fixture.publish("001", "run-1");
    let sent = |fixture: &PipelineFixture| {
        let written = |n: &usize| fixture.ledger.get(&id(*n)).unwrap().unwrap().written_ms().is_some();
        (0..EVENTS).filter(written).count()
    };
    let commits =
        |fixture: &PipelineFixture| fixture.pipeline.context.parking.commits().into_values().collect::<Vec<_>>();
    fixture
        .until("the position passes them", |fixture| {
            let (commits, sent) = (commits(fixture), sent(fixture));
            assert!(commits.is_empty() || sent == EVENTS, "{commits:?} after {sent}");
            !commits.is_empty()
        })
        .await;
    assert_eq!((sent(&fixture), commits(&fixture)), (EVENTS, vec![i64::try_from(EVENTS).unwrap()]));
    fixture.until("the event is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(agent.received().len(), 1, "none is made again");
}
