//! A producer whose broker does not answer.

use std::{net::TcpListener, time::Duration};

use super::*;

const PATIENCE: Duration = Duration::from_millis(100);

fn outgoing() -> Outgoing<'static> {
    Outgoing { topic: "events", partition: Some(0), key: None, value: Some(b"{}"), headers: OwnedHeaders::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_gets_no_answer_is_replaced_once_in_a_while_and_taken_apart() {
    // It accepts connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings =
        KafkaSettings { bootstrap_servers: silent.local_addr().unwrap().to_string(), ..KafkaSettings::default() };
    let sender = Sender::start("tests", &settings, &Arc::new(Reporter::new("tests")), PATIENCE).unwrap();
    let running = |sender: &Sender| Arc::downgrade(&sender.current.lock().running.shared);
    let first = running(&sender);

    let sent = sender.send(outgoing()).await;
    assert_eq!(sent, Err(RdError::MessageProduction(Code::MessageTimedOut)));
    let second = running(&sender);
    assert!(!first.ptr_eq(&second), "it is replaced");
    assert!(sender.send(outgoing()).await.is_err());
    assert!(second.ptr_eq(&running(&sender)), "the new one has time to get an answer");

    let deadline = Instant::now() + Duration::from_secs(60);
    while first.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the first has {} owners", first.strong_count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(sender);
    assert_eq!(second.strong_count(), 0, "the last is gone when its sender is");
}
