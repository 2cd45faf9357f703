//! A service that handles the ends of workflows itself: no agent, no routing folder, no other process.
//!
//! It needs a Kafka with the topic `workflow-events`: `cargo run --example handler -- localhost:9092`. An event comes again
//! until `record_order` returns `Ok`, in order for each workflow run; what it rejects, and what fails four times, goes to
//! `workflow-events.dlq`.

#![expect(clippy::print_stdout, reason = "it shows what it does")]

use std::{error::Error, sync::Arc, time::Duration};

use workflow_bridge::{
    bridge::{Bridge, HandlerError, HandlerOptions},
    event::{Event, EventType},
};

/// Stores what a workflow has made. `event.id()` is the same each time that an event comes again: with it, a database stores
/// nothing twice.
async fn record_order(event: Arc<Event>) -> Result<(), HandlerError> {
    let data = &event.document()["payload"]["data"];
    let Some(order) = data["order_id"].as_u64() else {
        // It will never have one: a dead letter at once.
        return Err(HandlerError::Reject("payload.data.order_id is no number".to_owned()));
    };
    if data["rows"].as_u64() == Some(0) {
        // No failure: the event comes again in a minute.
        return Err(HandlerError::Later(Duration::from_secs(60)));
    }
    // Any error becomes `HandlerError::Retry`: the event comes again after a moment.
    let note = serde_json::to_string(data)?;
    println!("event {}: order {order}: {note}", event.id());
    Ok(())
}

/// Tells somebody that a workflow has failed.
async fn notify(event: Arc<Event>) -> Result<(), HandlerError> {
    println!("{} failed, run {}", event.workflow_id(), event.workflow_run_id());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let brokers = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let options = HandlerOptions::default().timeout(Duration::from_secs(30)).concurrency(4);
    let bridge = Bridge::builder()
        .bootstrap_servers(brokers)
        .topic("workflow-events")
        .group_id("orders")
        .data_dir("data")
        .handle_with("record-order", EventType::Completed, options, record_order)
        .handle("notify", EventType::Failed, notify)
        .build()?;
    // Until Ctrl-C. Calls that are under way then have 8 s.
    bridge.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
