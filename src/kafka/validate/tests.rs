use std::time::Duration;

use super::*;
use crate::connection::Password;

fn settings() -> KafkaSettings {
    KafkaSettings::default()
}

fn mistakes(settings: &KafkaSettings) -> Vec<String> {
    settings.validate().iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_have_no_mistake() {
    assert_eq!(mistakes(&settings()), Vec::<String>::new());
}

#[test]
fn the_next_generation_group_protocol_has_no_mistake() {
    let mut settings = settings();
    settings.properties.insert("group.protocol".into(), "consumer".into());
    assert_eq!(mistakes(&settings), Vec::<String>::new());
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mut settings = settings();
    settings.bootstrap_servers = "one:9092,,two:9092".into();
    settings.topics = vec!["a b".into(), "events".into(), "events".into()];
    settings.group_id = " ".into();
    settings.budget.max_events = 0;
    settings.security.protocol = "TLS".into();
    settings.properties.insert("no.such.property".into(), "1".into());
    settings.properties.insert("session.timeout.ms".into(), "soon".into());
    settings.properties.insert("enable.auto.commit".into(), "true".into());
    let mistakes = mistakes(&settings).join("\n");
    for expected in [
        "bootstrap_servers: expected `host:port`",
        "topics[0]: expected 1 to 249 of letters",
        "topics[2]: `events` is listed twice",
        "group_id: expected a name",
        "budget.max_events: expected at least 1",
        "security.protocol: expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, found `TLS`",
        "properties.no.such.property: No such configuration property",
        "properties.session.timeout.ms: Invalid value",
        "properties.enable.auto.commit: the bridge owns this property",
    ] {
        assert!(mistakes.contains(expected), "expected `{expected}` in:\n{mistakes}");
    }
    assert_eq!(mistakes.lines().count(), 9, "{mistakes}");
}

#[test]
fn sasl_without_mechanism_user_and_password_is_three_mistakes() {
    let mut settings = settings();
    settings.security.protocol = "sasl_ssl".into();
    let found = mistakes(&settings);
    assert_eq!(found.len(), 3, "{found:?}");
    settings.security.sasl_mechanism = Some("scram-sha-512".into());
    settings.security.sasl_username = Some("alice".into());
    settings.security.sasl_password = Some(Password::new("wonder"));
    assert_eq!(mistakes(&settings), Vec::<String>::new());
    settings.security.sasl_mechanism = Some("GSSAPI".into());
    assert_eq!(mistakes(&settings).len(), 1);
}

#[test]
fn sasl_settings_with_a_protocol_that_ignores_them_are_a_mistake() {
    let mut settings = settings();
    settings.security.sasl_username = Some("alice".into());
    assert!(mistakes(&settings)[0].contains("does not authenticate"));
}

#[test]
fn a_tls_file_that_is_not_there_is_named() {
    let mut settings = settings();
    settings.security.protocol = "SSL".into();
    settings.security.ssl_cafile = Some("/no/such/ca.pem".into());
    settings.security.ssl_certfile = Some("/no/such/cert.pem".into());
    let found = mistakes(&settings).join("\n");
    assert!(found.contains("security.ssl_cafile: /no/such/ca.pem"), "{found}");
    assert!(found.contains("security.ssl_keyfile: a client certificate needs both"), "{found}");
}

#[test]
fn a_tls_file_that_only_looks_like_pem_is_refused_by_librdkafka_itself() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nno certificate").unwrap();
    let mut settings = settings();
    settings.security.protocol = "SSL".into();
    settings.security.ssl_cafile = Some(file.path().into());
    let found = mistakes(&settings).join("\n");
    assert!(found.contains("ssl.ca.location"), "{found}");
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let mut settings = settings();
    settings.properties.insert("session.timeout.ms".into(), "60000".into());
    settings.properties.insert("max.poll.interval.ms".into(), "30000".into());
    assert!(mistakes(&settings).join("\n").contains("max.poll.interval.ms"), "{:?}", mistakes(&settings));
    assert_eq!(settings.session_timeout(), Duration::from_secs(60));
}

#[test]
fn a_session_is_ten_seconds_and_longer_for_a_longer_drain_unless_it_is_set() {
    let seconds = |change: &dyn Fn(&mut KafkaSettings)| {
        let mut settings = settings();
        change(&mut settings);
        assert_eq!(mistakes(&settings), Vec::<String>::new());
        (settings.session_timeout().as_secs(), settings.release_timeout().as_millis())
    };
    assert_eq!(seconds(&|_| {}), (10, 8_000));
    assert_eq!(seconds(&|settings| settings.drain_timeout = Duration::from_secs(30)), (32, 30_000));
    assert_eq!(seconds(&|settings| settings.drain_timeout = Duration::from_secs(100)), (45, 100_000));
    assert_eq!(seconds(&|settings| settings.drain_timeout = Duration::from_millis(500)), (10, 500));
    let property = |name: &'static str, value: &'static str| {
        seconds(&|settings: &mut KafkaSettings| {
            settings.properties.insert(name.into(), value.into());
        })
    };
    assert_eq!(property("session.timeout.ms", "6000"), (6, 8_000));
    assert_eq!(property("group.protocol", "consumer"), (45, 8_000), "the brokers decide");
}

#[test]
fn a_record_must_fit_into_the_budget_and_an_event_into_a_record() {
    let mut settings = settings();
    settings.budget.max_bytes = 5_000_000;
    settings.budget.max_record_bytes = 5_000_000;
    assert_eq!(mistakes(&settings), Vec::<String>::new());
    settings.budget.max_record_bytes = 5_000_001;
    let found = mistakes(&settings);
    assert!(
        found[0].starts_with("budget.max_record_bytes: expected at most budget.max_bytes (5000000), found 5000001")
    );
    for too_small in [0, 1_023] {
        settings.budget.max_record_bytes = too_small;
        let found = mistakes(&settings);
        assert!(found[0].starts_with("budget.max_record_bytes: expected at least 1024"), "{found:?}");
    }
}

#[test]
fn a_dead_letter_topic_that_is_read_again_is_refused() {
    let mut settings = settings();
    settings.topics = vec!["events".into(), "events.dlq".into()];
    assert!(mistakes(&settings).join("\n").contains("would come back for ever"));
    settings.dead_letter_topic = Some("letters".into());
    assert_eq!(mistakes(&settings), Vec::<String>::new());
    assert_eq!(settings.dead_letter_topic("events"), "letters");
}

#[test]
fn each_topic_has_a_dead_letter_topic_with_the_suffix() {
    let mut settings = settings();
    settings.topics = vec!["a".into(), "b".into()];
    settings.dead_letter_suffix = "-dead.letters".into();
    assert_eq!(mistakes(&settings), Vec::<String>::new());
    assert_eq!(["a", "b"].map(|topic| settings.dead_letter_topic(topic)), ["a-dead.letters", "b-dead.letters"]);
    settings.dead_letter_suffix = "/dead".into();
    assert!(mistakes(&settings)[0].starts_with("dead_letter_suffix: expected 1 to 249"), "{:?}", mistakes(&settings));
    settings.dead_letter_suffix = String::new();
    let found = mistakes(&settings);
    assert!(found.len() == 1 && found[0].starts_with("dead_letter_suffix: expected at least one"), "{found:?}");
}

#[test]
fn without_dead_letters_no_topic_is_refused_for_their_names() {
    let mut settings = settings();
    settings.topics = vec!["a".into(), "a.dlq".into(), "x".repeat(200), format!("{}.dlq", "y".repeat(200))];
    settings.parked_topic = Some("p".into());
    assert_eq!(mistakes(&settings).len(), 1, "{:?}", mistakes(&settings));
    settings.writes_dead_letters = false;
    assert_eq!(mistakes(&settings), Vec::<String>::new());
    settings.dead_letter_suffix = String::new();
    settings.topics[2] = "x".repeat(247);
    assert_eq!(mistakes(&settings), Vec::<String>::new());
}

#[test]
fn no_secret_is_ever_shown() {
    let mut settings = settings();
    settings.security.protocol = "SASL_PLAINTEXT".into();
    settings.security.sasl_password = Some(Password::new("hunter2"));
    for name in ["ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
        settings.properties.insert(name.into(), "hunter2\0".into());
    }
    let shown = format!("{settings:?} {:?}", mistakes(&settings));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("properties.ssl.key.pem"), "{shown}");
}
