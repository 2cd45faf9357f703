//! `check --connect` against a real Kafka: what is there, what is missing, what our user may not do.

use std::process::Output;

use serde_json::Value;

use crate::kit::{self, Broker, HttpAgent, Kafka, PATIENCE, broker::kafka_tool, commands, kafka, poll, unique};

/// What a check says of each target, by the first words that name it; asked again while the machine is too slow for an
/// answer within the time-outs.
fn verdicts(kafka: &Kafka, flags: &[&str], routing: &str, is_expected: impl Fn(&Value) -> bool) -> (Output, Value) {
    let folder = commands::folder_with(&[("routing/rules.yaml", routing)]);
    poll(PATIENCE, "the check says what is expected", || {
        let arguments = [&["check", "--connect", "-o", "json", "--brokers", kafka.bootstrap()], flags].concat();
        let output = commands::run(&folder, &arguments);
        let found: Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
        if is_expected(&found) { Ok((output, found)) } else { Err(found) }
    })
}

fn answer<'v>(found: &'v Value, target: &str) -> &'v Value {
    let answers = found["connections"].as_array().expect("there are answers");
    answers.iter().find(|answer| answer["target"] == target).unwrap_or_else(|| panic!("no {target} in {found:#}"))
}

fn rules(url: &str) -> String {
    format!(
        "agents:
  audit: {{http: {{url: '{url}'}}}}
  away: {{langgraph: {{url: 'http://127.0.0.1:9', assistant: analyst, api_key: {{file: key}}}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit, away]}}
"
    )
}

#[test]
fn check_connect_says_what_is_there_and_what_is_not_and_changes_nothing() {
    let (kafka, agent) = (kafka(), HttpAgent::start());
    let (topic, group) = (kafka.topic("connect", 3), unique("connect"));
    let ledger = format!("{group}-ledger");
    kafka.create_topic(&format!("{topic}.dlq"), 1, &[("max.message.bytes", "1000")]);
    kafka.create_topic(&ledger, 1, &[("retention.ms", "60000")]);
    let routing = rules(&agent.url()).replace(", api_key: {file: key}", "");
    let flags = ["--topic", &*topic, "--group", &*group];
    let parked = format!("{group}-parked-{topic}");
    let expected = [
        (format!("topic {topic}"), "ok"),
        (format!("dead-letter topic {topic}.dlq"), "warning"),
        (format!("parked topic {parked}"), "ok"),
        (format!("ledger topic {ledger}"), "warning"),
        (format!("group {group}"), "ok"),
        ("agent audit".to_owned(), "ok"),
    ];
    let all = |found: &Value| expected.iter().all(|(target, verdict)| answer(found, target)["verdict"] == *verdict);
    let (output, found) = verdicts(kafka, &flags, &routing, all);
    assert_eq!(output.status.code(), Some(69), "{found:#}");
    assert!(
        answer(&found, &format!("topic {topic}"))["found"].as_str().is_some_and(|found| found.contains("3 partitions")),
        "{found:#}"
    );
    for (target, remedy) in [
        (format!("dead-letter topic {topic}.dlq"), "max.message.bytes="),
        (format!("ledger topic {ledger}"), "retention.ms="),
    ] {
        let answer = answer(&found, &target);
        assert!(answer["remedy"].as_str().is_some_and(|text| text.contains(remedy)), "{answer}");
    }
    let away = answer(&found, "agent away");
    assert_eq!(away["verdict"], "error", "{away}");
    assert!(!kafka.topic_exists(&parked), "nothing is created");
    assert_eq!(kafka.watermarks(&ledger)[&0], (0, 0), "nothing is written");
    assert_eq!(agent.count(), 0, "nothing is sent");
}

#[test]
fn check_connect_says_what_our_user_may_not_and_that_a_topic_is_missing() {
    // Everybody is the user ANONYMOUS, the broker too. What has no list is allowed.
    let broker = Broker::start_with(&[
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ]);
    let (topic, group, agent) = (unique("events"), unique("group"), HttpAgent::start());
    broker.create_topic(&topic, 1, &[]);
    let letters = format!("{topic}.dlq");
    let acl = |arguments: &[&str]| {
        let command = [&["--bootstrap-server", broker.bootstrap(), "--add", "--force"], arguments].concat();
        kafka_tool("org.apache.kafka.tools.AclCommand", &command);
    };
    let (all, mine) = (["--allow-principal", "User:*"], ["--deny-principal", "User:ANONYMOUS"]);
    acl(&[&all[..], &["--operation", "All", "--cluster", "--topic", &letters, "--topic", &topic, "--group", &group]]
        .concat());
    acl(&[&mine[..], &["--operation", "Create", "--cluster", "--topic", &letters]].concat());
    acl(&[&mine[..], &["--operation", "Read", "--topic", &topic]].concat());
    acl(&[&mine[..], &["--operation", "Describe", "--group", &group]].concat());
    let missing = unique("missing");
    let topics = format!("{topic},{missing}");
    let routing = rules(&agent.url()).replace(", api_key: {file: key}", "");
    let errors = |found: &Value| {
        [
            (format!("topic {topic}"), "grant our user READ"),
            (format!("topic {missing}"), "check kafka.topics"),
            (format!("dead-letter topic {letters}"), "grant our user CREATE"),
            (format!("group {group}"), "grant our user READ on the group"),
        ]
        .iter()
        .all(|(target, remedy)| {
            let answer = answer(found, target);
            answer["verdict"] == "error" && answer["remedy"].as_str().is_some_and(|text| text.contains(remedy))
        })
    };
    let (output, _) = verdicts(&broker, &["--topic", &topics, "--group", &group], &routing, errors);
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn check_connect_ends_where_nobody_listens_and_names_the_cause() {
    let folder = commands::folder_with(&[
        ("routing/rules.yaml", &rules("http://127.0.0.1:9/hooks/hunter2")),
        ("key", "hunter2\n"),
    ]);
    let port = kit::free_port();
    // On a slow machine the client may give up before it has tried to connect.
    let (stdout, stderr) = poll(PATIENCE, "it tries to connect", || {
        let output = commands::run(&folder, &["check", "--connect", "--brokers", &format!("127.0.0.1:{port}")]);
        let said = (commands::text(&output.stdout), commands::text(&output.stderr));
        assert_eq!(output.status.code(), Some(69), "{said:?}");
        if said.1.contains("Connection refused") { Ok(said) } else { Err(said) }
    });
    for expected in [
        &format!("error: kafka 127.0.0.1:{port}: no broker answers: "),
        "error: agent audit: http://127.0.0.1:9 cannot be reached",
        "error: agent away: http://127.0.0.1:9 cannot be reached",
        "in routing; 3 targets asked",
    ] {
        assert!(stderr.contains(expected), "no {expected} in\n{stderr}");
    }
    assert!(!format!("{stdout}{stderr}").contains("hunter2"), "{stdout}{stderr}");
}
