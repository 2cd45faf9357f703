use super::*;

async fn nothing(_: Arc<Event>) -> Result<(), HandlerError> {
    Ok(())
}

fn complete() -> Builder {
    Bridge::builder().group_id("orders").data_dir("data").handle("store", EventType::Completed, nothing)
}

#[track_caller]
fn assert_problems(builder: Builder, expected: &[&str]) {
    let error = builder.build().err().expect("a mistake");
    assert_eq!(error.problems().len(), expected.len(), "{error}");
    for (problem, expected) in error.problems().iter().zip(expected) {
        assert!(problem.contains(expected), "expected `{expected}` in:\n{error}");
    }
}

#[test]
fn what_is_needed_is_named_and_the_rest_has_defaults() {
    let missing = ["`kafka.group_id` is not set", "`data_dir` is not set", "no handler and no `routing_dir`"];
    assert_problems(Bridge::builder(), &missing);
    let bridge = complete().build().unwrap();
    assert_eq!(bridge.config.kafka.bootstrap_servers, "localhost:9092");
    assert!(!bridge.program.has_pages && bridge.program.recorder.is_none() && bridge.program.routing.is_none());
    assert_eq!(bridge.config.ledger_topic.as_deref(), Some("orders-ledger"));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let builder = complete()
        .setting("drain_timeout", "soon")
        .setting("drain_timeuot", "8s")
        .setting("kafka.security.protocol", "SSL")
        .routing_dir("/nowhere")
        .handle("store", EventType::Failed, nothing)
        .handle("", EventType::Failed, nothing);
    assert_problems(
        builder,
        &[
            "`drain_timeuot`: expected the path of a setting",
            "`kafka.security.protocol`: expected the path",
            "`drain_timeout`: expected a duration",
            "handler `store`: two have this name",
            "the name of a handler is empty",
        ],
    );
    assert_problems(complete().routing_dir("/nowhere"), &["/nowhere"]);
    assert_problems(
        complete().setting("log_format", "json"),
        &["`log_format`: logs are events of the `tracing` crate"],
    );
    let unused = "`routing_reload` is set and `routing_dir` is not";
    assert_problems(complete().setting("routing_reload", "1s"), &[unused]);
    assert_problems(complete().property("ssl.key.password", "hunter2\0"), &["`kafka.properties.ssl.key.password`"]);
}

#[test]
fn settings_and_security_reach_the_bridge_and_no_password_a_message() {
    let security = Security {
        protocol: "SASL_SSL".into(),
        sasl_mechanism: Some("PLAIN".into()),
        sasl_username: Some("me".into()),
        sasl_password: Some(crate::connection::Password::new("hunter2")),
        ..Security::default()
    };
    let bridge = complete().security(security).setting("kafka.budget.max_events", "50").build().unwrap();
    assert_eq!((bridge.config.kafka.budget.max_events, &*bridge.config.kafka.security.protocol), (50, "SASL_SSL"));
    let refused = complete().property("client.rack", "hunter2\0").property("no.such.property", "hunter2");
    let error = refused.build().err().expect("a mistake").to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_handler_has_no_name_of_an_agent_of_the_routing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "agents:\n  store: {http: {url: 'http://127.0.0.1:1/'}}\nrules:\n  - {name: all, when: {event_type: [WORKFLOW_FAILED]}, to: [store]}\n";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    assert_problems(complete().routing_dir(folder.path()), &["handler `store`: an agent of the routing folder"]);
    let alone = Bridge::builder().group_id("orders").data_dir("data").routing_dir(folder.path()).build().unwrap();
    assert!(alone.program.routing.is_some());
}

#[tokio::test]
async fn a_bridge_can_run_in_a_task_of_its_own() {
    fn is_send<T: Send>(_: &T) {}
    let folder = tempfile::tempdir().unwrap();
    let bridge = complete().data_dir(folder.path()).bootstrap_servers("127.0.0.1:1").build().unwrap();
    let running = bridge.run(std::future::ready(()));
    is_send(&running);
    running.await.unwrap();
    // The folder is free: the ledger is closed when `run` returns.
    let again = complete().data_dir(folder.path()).bootstrap_servers("127.0.0.1:1").build().unwrap();
    again.run(std::future::ready(())).await.unwrap();
}
