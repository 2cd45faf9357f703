//! `test` and `replay --diff`: what rules do with events, without a bridge.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    config::FromClientConfig as _,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{
    PATIENCE,
    commands::{command, folder_with, run, text},
    event, kafka,
    kafka::Record,
    poll,
    process::Process,
    unique, when,
};

/// The rule of docs/routing.md.
const RULES: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}}
rules:
  - name: failed-loads
    when: {event_type: [WORKFLOW_FAILED], workflow_id: [{prefix: load_}]}
    to: [audit]
    body: {workflow: '{{ workflow_id }}', error: \"{{ payload.data.error | default('not reported') }}\"}
";

const TESTS: &str = "tests:
  - name: a load that failed is audited
    event: {event_type: WORKFLOW_FAILED, workflow_id: load_orders, payload: {data: {error: no space left}}}
    expect: [{rule: failed-loads, to: [audit], body: {workflow: load_orders, error: no space left on device}}]
  - name: another workflow is not
    event: {event_type: WORKFLOW_FAILED, workflow_id: report}
    expect: []
";

/// Stderr without what a slow command says of its progress.
fn problems(output: &Output) -> String {
    let is_progress = |line: &str| {
        line.starts_with("workflow-bridge: ")
            && (line.contains(" records read, ") || line.trim_end().ends_with(" tests"))
    };
    text(&output.stderr).split_inclusive('\n').filter(|line| !is_progress(line)).collect()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", text(&output.stdout), text(&output.stderr)))
}

/// docs/routing.md shows this output.
#[test]
fn test_says_what_fails_and_what_is_not_tried() {
    let folder = folder_with(&[("routing/rules.yaml", RULES), ("routing/loads.test.yaml", TESTS)]);
    let output = run(&folder, &["test", "--junit", "results.xml"]);
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md")).expect("the page is there");
    let shown = problems(&output) + &text(&output.stdout);
    assert!(page.contains(&shown), "docs/routing.md shows another output than\n{shown}");
    let junit = fs::read_to_string(folder.join("results.xml")).expect("the results are there");
    for wanted in [
        "<testsuites name=\"workflow-bridge test\" tests=\"2\" failures=\"1\" errors=\"0\">",
        "<testsuite name=\"routing/loads.test.yaml\" tests=\"2\" failures=\"1\"",
        "<failure message=\"rule `failed-loads`, agent `audit`: its body differs",
        "+ &quot;no space left&quot;",
        "name=\"another workflow is not\"",
    ] {
        assert!(junit.contains(wanted), "no {wanted} in\n{junit}");
    }
    assert_eq!(text(&run(&folder, &["test", "-o", "junit"]).stdout).lines().count(), junit.lines().count());
    let found = json(&run(&folder, &["test", "-o", "json"]));
    let summary = serde_json::json!({"ok": false, "tests": 2, "failed": 1, "rules": 1, "rules_matched": 1, "conditions": 2, "conditions_tried": 1});
    assert_eq!(found["summary"], summary);
    assert_eq!(found["tests"][0]["failures"][0]["differences"][0]["path"], "error");

    // The bridge and `check` read no test as a rule.
    let checked = run(&folder, &["check", "-D", "warnings"]);
    assert_eq!(text(&checked.stdout), "ok: 1 file, 1 rule, 1 agent, 2 tests in routing\n", "{}", text(&checked.stderr));
    let right = TESTS.replace("no space left on device", "no space left");
    fs::write(folder.join("routing/loads.test.yaml"), right).expect("a scratch folder can be written");
    let output = run(&folder, &["test"]);
    assert_eq!((output.status.code(), problems(&output)), (Some(0), String::new()));
    // A rule that is gone is a mistake of the test, and the bridge starts all the same.
    fs::write(folder.join("other.yml"), TESTS.replace("[{rule: failed-loads,", "[{rule: failed-load,"))
        .expect("it can");
    let output = run(&folder, &["test", "other.yml"]);
    let place = "other.yml:4:21: error: test `a load that failed is audited`, expect: there is no rule \"failed-load\": did you mean `failed-loads`?";
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stdout));
    assert!(text(&output.stderr).starts_with(place), "{}", text(&output.stderr));
    fs::rename(folder.join("other.yml"), folder.join("routing/other.test.yml")).expect("it can be moved");
    let checked = run(&folder, &["check"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(text(&checked.stderr).contains("other.test.yml:4:21: warning: test"), "{}", text(&checked.stderr));

    let empty = folder_with(&[("routing/rules.yaml", RULES)]);
    let output = run(&empty, &["test"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("expected tests (*.test.yaml) in routing, found none"));
    for wrong in [
        &["test", "--sample", "5"][..],
        &["test", "--from-topic", "x.test.yaml"],
        &["test", "--scrub", "a..b"],
        &["replay", "--since", "1h"],
    ] {
        assert_eq!(run(&empty, wrong).status.code(), Some(64), "{wrong:?}");
    }
}

/// The folders of the repository, as a clone has them.
#[test]
fn the_shipped_tests_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (arguments, expected) in [
        (&["test"][..], "ok: 3 tests; 1 of 1 rule matched, 2 of 2 conditions tried\n"),
        (&["test", "--routing", "examples/routing"], "ok: 8 tests; 2 of 2 rules matched, 7 of 7 conditions tried\n"),
    ] {
        let output = run(root, arguments);
        assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("not so late")
}

/// A topic with events of three workflows over three partitions, old ones, records that are no events, and the mark of a
/// transaction at the end of a partition.
fn filled_topic() -> String {
    let topic = kafka().topic("replay", 3);
    let failed = |n: usize, workflow: &str| {
        let data = serde_json::json!({"error": "x", "customer": "Ada", "db_password": "hunter2"});
        event(&unique("replay")).workflow(workflow).run(&format!("r{n}")).event_type("WORKFLOW_FAILED").data(data)
    };
    let old = now_ms() - 48 * 3_600_000;
    let mut records: Vec<Record> = Vec::new();
    for n in 0..30 {
        // A partition begins with old ones.
        records.push(failed(n, "load_old").record().partition(0).timestamp_ms(old));
    }
    for n in 0..300 {
        records.push(event(&unique("replay")).workflow("other").run(&format!("r{n}")).record());
    }
    for n in 0..20 {
        records.push(failed(n, "load_orders").record());
        records.push(failed(n, "report").record());
    }
    records.extend([Record::new("no event"), Record::tombstone()]);
    kafka().produce_all(&topic, records);
    let mut config = kafka().client();
    let producer = BaseProducer::from_config(config.set("transactional.id", unique("replay"))).expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions begin");
    producer.begin_transaction().expect("a transaction begins");
    let last = failed(99, "load_last").json().to_string();
    producer
        .send(BaseRecord::<(), str>::to(&topic).partition(2).payload(&last))
        .map_err(|(error, _)| error)
        .expect("it is sent");
    producer.commit_transaction(PATIENCE).expect("it is committed");
    topic
}

#[test]
fn replay_counts_events_that_go_elsewhere_and_real_ones_become_tests() {
    let topic = filled_topic();
    let new = RULES.replace("prefix: load_", "wildcard: 're*t'").replace("failed-loads", "failed-reports");
    let folder = folder_with(&[("routing/rules.yaml", RULES), ("new/rules.yaml", &new)]);
    let group = unique("replay");
    let kafka_flags = ["--brokers", kafka().bootstrap(), "--topic", &topic, "--group", &group];
    let with = |arguments: &[&str]| run(&folder, &[arguments, &kafka_flags].concat());

    // A broker that stands still for longer than a request may take cannot be read: 69.
    let answered = |arguments: &[&str]| {
        poll(PATIENCE, "the topic is read", || {
            let output = with(arguments);
            if output.status.code() == Some(69) { Err(text(&output.stderr)) } else { Ok(output) }
        })
    };
    // A broker writes the mark of a transaction a moment after the commit was acknowledged: until then, the end is before it.
    let output = poll(PATIENCE, "the transaction is read", || {
        let output = answered(&["replay", "--diff", "--since", "24h", "--rules", "new", "--limit", "3", "-o", "json"]);
        if json(&output)["events"].as_u64() >= Some(341) { Ok(output) } else { Err(text(&output.stdout)) }
    });
    assert_eq!((output.status.code(), problems(&output)), (Some(0), String::new()));
    let found = json(&output);
    let counts = ["complete", "events", "changed", "unmatched", "poison", "withheld"].map(|name| found[name].clone());
    assert_eq!(Value::from(counts.to_vec()), serde_json::json!([true, 341, 41, 300, 2, 0]), "{found}");
    let deliveries = serde_json::json!([
        {"rule": "failed-loads", "agent": "audit", "only_old": 21, "only_new": 0, "both": 0},
        {"rule": "failed-reports", "agent": "audit", "only_old": 0, "only_new": 20, "both": 0},
    ]);
    assert_eq!(found["deliveries"], deliveries);
    assert_eq!(found["listed"].as_array().map(Vec::len), Some(3));
    let output = answered(&["replay", "--diff", "--since", "3d", "--rules", "routing", "--against", "new"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("371 events of") && shown.contains("71 elsewhere; 2 records are no events"), "{shown}");
    assert!(shown.contains("51 more go elsewhere: --limit lists more"), "{shown}");
    assert!(kafka().committed(&group, &topic).is_empty(), "nothing is committed");

    let output = answered(&[
        "test",
        "--from-topic",
        "--since",
        "24h",
        "--sample",
        "30",
        "--scrub",
        "payload.data.customer,payload.data.gone",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let written = text(&output.stdout);
    assert!(!written.contains("Ada") && !written.contains("hunter2"), "{written}");
    assert_eq!(written.matches("  - name: ").count(), 30, "{written}");
    assert_eq!(
        written.matches("{rule: \"failed-loads\", to: [\"audit\"]}").count(),
        15,
        "each kind has its share: {written}"
    );
    assert!(text(&output.stderr).contains("--scrub payload.data.gone: no event has a value there"));
    fs::write(folder.join("routing/real.test.yaml"), written).expect("a scratch folder can be written");
    let output = run(&folder, &["test"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = run(&folder, &["test", "--routing", "new", "routing/real.test.yaml"]);
    assert_eq!(output.status.code(), Some(78), "a rule is gone: {}", text(&output.stderr));

    let output = with(&["replay", "--diff", "--since", "24h", "--rules", "new", "--topic", "nobody-made-this"]);
    assert_eq!(output.status.code(), Some(64), "a flag stands there twice: {}", text(&output.stderr));
    let missing = ["--brokers", kafka().bootstrap(), "--topic", "nobody-made-this"];
    let output = run(&folder, &[&["replay", "--diff", "--since", "24h", "--rules", "new"][..], &missing].concat());
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
}

/// With so many rules that no index helps with, the events of the topic take much longer than the 2 s after which the command
/// says how far it is.
#[test]
fn what_was_read_by_then_is_shown_after_ctrl_c() {
    const EVENTS: usize = 20_000;
    let topic = kafka().topic("interrupted", 1);
    let value = event(&unique("interrupted")).data(serde_json::json!({"tag": "other"})).json().to_string();
    kafka().produce_all(&topic, (0..EVENTS).map(|_| Record::new(value.as_str())));
    // All of them are tried for each event: the index asks for a second field only where it has two alternatives at most.
    let more = (0..5_000).map(|n| {
        format!(
            "  - {{name: rule-{n}, when: {{event_type: [WORKFLOW_COMPLETED], payload: {{data: {{tag: [none-{n}, no-{n}, {{exists: false}}]}}}}}}, to: [audit]}}\n"
        )
    });
    let rules = RULES.to_owned() + &more.collect::<Vec<_>>().concat();
    let folder = folder_with(&[("routing/rules.yaml", &rules)]);
    let arguments = ["replay", "--diff", "--since", "24h", "--rules", "routing", "-o", "json", "--topic", &topic];
    let mut reading = command(&folder, &arguments);
    reading.env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap()).stdin(Stdio::null());
    let mut process = Process::spawn("replay", &reading, Arc::default());
    let is_progress = |line: &String| line.contains(" of 20000 records read, 0 go elsewhere");
    poll(PATIENCE, "it says how far it is", || {
        assert_eq!(process.exit_status(), None, "{}", process.log().tail(40));
        when(process.log().since(0).iter().any(is_progress), process.log().tail(5))
    });
    process.signal(Signal::INT);
    assert_eq!(process.wait_exit(PATIENCE).code(), Some(130), "{}", process.log().tail(40));
    let shown = process.log().since(0).join("\n");
    assert!(shown.contains("\"complete\": false"), "{shown}");
    assert!(!shown.contains("\"events\": 0,") && !shown.contains("\"events\": 20000,"), "{shown}");
}
