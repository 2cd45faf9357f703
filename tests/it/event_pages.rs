//! `/api/events/ID` while an event is on its way, and after its partition moved.

use std::time::Duration;

use serde_json::Value;

use crate::kit::{Bridge, BridgeSetup, HttpAgent, Reply, bridge::LONG_SESSION, event, kafka, poll, unique, when};

const SOON: Duration = Duration::from_secs(120);

/// The page of an event, and its HTTP status.
fn page(bridge: &Bridge, event_id: &str) -> (u16, Value) {
    let (status, body) = bridge.ask(&format!("/api/events/{event_id}"));
    (status, serde_json::from_str(&body).expect("it is JSON"))
}

/// The state, and the status of each delivery by its agent.
fn states(page: &Value) -> (String, Vec<(String, String)>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let deliveries = page["deliveries"].as_array().into_iter().flatten();
    let mut deliveries: Vec<_> =
        deliveries.map(|delivery| (text(&delivery["agent"]), text(&delivery["status"]))).collect();
    deliveries.sort();
    (text(&page["state"]), deliveries)
}

#[track_caller]
fn until(bridge: &Bridge, event_id: &str, state: &str, deliveries: &[(&str, &str)]) {
    let deliveries = deliveries.iter().map(|(agent, status)| ((*agent).to_owned(), (*status).to_owned())).collect();
    let expected = (state.to_owned(), deliveries);
    poll(SOON, &format!("the page says {state}"), || {
        let (status, page) = page(bridge, event_id);
        when(status == 200 && states(&page) == expected, page)
    });
}

#[test]
fn the_page_of_an_event_follows_it_to_its_outcome() {
    let (works, hangs, down) = (HttpAgent::start(), HttpAgent::start(), HttpAgent::start());
    hangs.reply(Reply::Hang);
    down.reply(Reply::Status(503));
    let topic = kafka().topic("pages", 1);
    let rules = format!(
        "agents:
  works: {{http: {{url: '{}/events'}}}}
  hangs: {{http: {{url: '{}/events'}}, timeout: 300s}}
  down: {{http: {{url: '{}/events'}}, retry: {{initial: 50ms, max: 300ms}}}}
rules:
  - {{name: one, when: {{event_type: [WORKFLOW_STARTED]}}, to: [hangs]}}
  - {{name: two, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [works, hangs]}}
  - {{name: three, when: {{event_type: [WORKFLOW_FAILED]}}, to: [down]}}
",
        works.url(),
        hangs.url(),
        down.url()
    );
    let bridge =
        BridgeSetup::new(kafka(), &topic).config(&format!("{LONG_SESSION}park_after: 1s\n")).routing(&rules).start();
    let (received, partial, parked) = (unique("received"), unique("partial"), unique("parked"));
    kafka().produce(&topic, event(&received).event_type("WORKFLOW_STARTED").run("1").record());
    kafka().produce(&topic, event(&partial).event_type("WORKFLOW_COMPLETED").run("2").record());
    kafka().produce(&topic, event(&parked).event_type("WORKFLOW_FAILED").run("3").record());

    until(&bridge, &received, "received", &[]);
    until(&bridge, &partial, "partial", &[("hangs", "pending"), ("works", "delivered")]);
    until(&bridge, &parked, "parked", &[("down", "parked")]);
    down.reply(Reply::Status(200));
    until(&bridge, &parked, "delivered", &[("down", "delivered")]);
    assert_eq!(works.sent_by_event().len(), 1);
}

#[test]
fn a_replica_that_gave_a_partition_up_sends_to_the_one_that_owns_it() {
    let agent = HttpAgent::start();
    agent.reply(Reply::Status(503));
    let topic = kafka().topic("pages-move", 2);
    let rules = format!(
        "agents:
  audit: {{http: {{url: '{}/events'}}, retry: {{initial: 50ms, max: 300ms}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
        agent.url()
    );
    let group = unique("pages");
    let setup = || {
        let config = format!("{LONG_SESSION}park_after: off\n");
        BridgeSetup::new(kafka(), &topic).group(&group).config(&config).routing(&rules)
    };
    let first = setup().start();
    let events = [unique("moves-0"), unique("moves-1")];
    for (partition, id) in (0..).zip(&events) {
        kafka().produce(&topic, event(id).run(id).record().partition(partition));
    }
    for id in &events {
        until(&first, id, "pending", &[("audit", "pending")]);
    }
    let second = setup().start();
    let moved = poll(SOON, "one of the partitions has moved", || {
        let pages: Vec<_> = events.iter().map(|id| page(&first, id).1).collect();
        let moved =
            |page: &&Value| page["note"].as_str().is_some_and(|note| note.contains("belongs to another replica"));
        let found: Vec<_> = pages.iter().filter(moved).collect();
        match &found[..] {
            [one] => Ok(one["event_id"].as_str().unwrap_or_default().to_owned()),
            _ => Err(pages.clone()),
        }
    });
    // What was known of it went with it.
    until(&second, &moved, "pending", &[("audit", "pending")]);
    agent.reply(Reply::Status(200));
    for id in &events {
        let owner = if *id == moved { &second } else { &first };
        until(owner, id, "delivered", &[("audit", "delivered")]);
    }
}
