use super::{
    super::{
        client,
        questions::Questions,
        report::{Reporter, ReportingContext},
    },
    *,
};
use rdkafka::{config::FromClientConfigAndContext as _, error::RDKafkaErrorCode as Code};

struct Asking {
    consumer: BaseConsumer<ReportingContext>,
    reporter: Arc<Reporter>,
}

impl Asking {
    fn new(settings: &KafkaSettings) -> Self {
        let reporter = Arc::new(Reporter::new("test"));
        let context = ReportingContext(Arc::clone(&reporter));
        let consumer = BaseConsumer::from_config_and_context(&client::scanner(settings), context).unwrap();
        Self { consumer, reporter }
    }

    /// Whether there is an answer within a minute, and after how long it is known.
    fn is_answered(&self) -> (bool, Duration) {
        let began = Instant::now();
        let questions = Questions { consumer: &self.consumer, reporter: &self.reporter };
        let answer = questions.metadata(Some("events"), began + PATIENCE, &|| false);
        (answer.is_ok(), began.elapsed())
    }
}

#[test]
fn a_broker_that_refuses_is_no_reason_not_to_wait_for_another_one() {
    let broker = Broker::new(1);
    // The first question is too short for it.
    broker.cluster.broker_round_trip_time(1, Duration::from_millis(150)).unwrap();
    let asking = Asking::new(&broker.settings());
    asking.reporter.report(Code::Authentication, "other:9092/bootstrap: SASL authentication error");
    assert!(asking.is_answered().0);

    let nobody = KafkaSettings { bootstrap_servers: "127.0.0.1:1".into(), ..broker.settings() };
    let asking = Asking::new(&nobody);
    asking.reporter.report(Code::Authentication, "other:9092/bootstrap: SASL authentication error");
    let (is_answered, after) = asking.is_answered();
    assert!(!is_answered && after >= Duration::from_secs(1) && after < PATIENCE / 2, "{after:?}");
}

#[test]
fn metadata_that_takes_seconds_is_waited_for() {
    let broker = Broker::new(1);
    broker.cluster.broker_round_trip_time(1, Duration::from_millis(2_300)).unwrap();
    let (is_answered, after) = Asking::new(&broker.settings()).is_answered();
    println!("after {after:?}");
    assert!(is_answered, "{after:?}");
}
