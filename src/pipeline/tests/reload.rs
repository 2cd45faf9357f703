//! Other rules are put in force while the pipeline runs.

use super::{
    parking::{park, parked_by_another, parked_record},
    *,
};
use crate::dedup::{DeliveryStatus, PlannedDelivery, Record};

mod arrived;
mod late;

impl PipelineFixture {
    fn load(&self, rules: &str) -> Arc<Routing> {
        let folder = self.folder.path().join("routing");
        std::fs::write(folder.join("rules.yaml"), rules).unwrap();
        let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(3600) };
        Arc::new(Routing::load(&folder, &options).unwrap())
    }

    pub(super) fn reload(&self, rules: &str) {
        self.pipeline.rules().replace(self.load(rules)).expect("the pipeline runs").unwrap();
    }

    fn failed_attempts(&self, id: &str) -> u32 {
        self.ledger.get(id).unwrap().map_or(0, |record| record.failed_attempts("all", "audit"))
    }

    fn dead_letters(&self) -> Vec<String> {
        self.outcomes
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| seen.outcome == Outcome::DeadLettered)
            .filter_map(|seen| seen.event_id.clone())
            .collect()
    }
}

fn ids(agent: &SampleAgent) -> Vec<String> {
    agent.executions().into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_deliveries_go_to_the_new_address_and_one_that_may_have_arrived_stays_with_its_own() {
    let former = agent(SampleOptions { refuse_first: 25, ..SampleOptions::default() }).await;
    let present = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(former.addr(), ""));
    fixture.publish("old", "run-1");
    fixture.until("its answer was ambiguous", |fixture| fixture.failed_attempts("old") >= 1).await;
    fixture.reload(&rules(present.addr(), ""));
    fixture.publish("new", "run-2");
    fixture.publish("behind", "run-1");
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == 3).await;
    assert_eq!((ids(&former), ids(&present)), (vec!["old".to_owned()], vec!["behind".to_owned(), "new".to_owned()]));
    // Order per key holds over the two addresses.
    let outcomes: Vec<_> = fixture.outcomes.lock().unwrap().iter().filter_map(|seen| seen.event_id.clone()).collect();
    let at = |id: &str| outcomes.iter().position(|seen| seen == id).unwrap();
    assert!(at("old") < at("behind"), "{outcomes:?}");
}

/// Nobody listens at the wrong address, so nothing can have arrived there.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_wrong_address_goes_to_the_right_one() {
    let gone = agent(SampleOptions::default()).await;
    let nowhere = gone.addr();
    gone.stop().await.unwrap();
    let present = agent(SampleOptions::default()).await;
    // Without the reload the deliveries would wait for longer than the test.
    let wrong = rules(nowhere, "").replace("initial: 5ms, max: 20ms", "initial: 1h, max: 1h");
    let mut fixture = PipelineFixture::start(&wrong);
    for n in 0..20 {
        fixture.publish(&format!("{n:02}"), &format!("run-{}", n % 4));
    }
    let is_open = |fixture: &PipelineFixture| fixture.pipeline.agents()[0].breaker != BreakerState::Closed;
    fixture.until("the breaker is open", is_open).await;
    fixture.reload(&rules(present.addr(), ""));
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == 20).await;
    assert_eq!(present.received().len(), 20, "each once");
    assert_eq!(fixture.pipeline.agents()[0].breaker, BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_stays_open_over_a_reload_that_leaves_the_endpoint_as_it_is() {
    let agent = agent(SampleOptions { api_key: Some("right".into()), ..SampleOptions::default() }).await;
    // After the first failure the next probe is an hour away.
    let first = rules(agent.addr(), "").replace("initial: 5ms, max: 20ms", "initial: 1h, max: 1h");
    let mut fixture = PipelineFixture::start(&first);
    fixture.publish("first", "run");
    let is_open = |fixture: &PipelineFixture| fixture.pipeline.agents()[0].breaker == BreakerState::Open;
    fixture.until("the breaker is open", is_open).await;
    let requests = agent.requests().len();
    fixture.reload(&first.replace("timeout: 10m", "timeout: 9m, concurrency: 3, rate: 100/s"));
    let status = fixture.pipeline.agents().remove(0);
    assert_eq!((status.breaker, status.pending_deliveries), (BreakerState::Open, 1), "{status:?}");
    assert!(status.last_failure.is_some_and(|failure| failure.contains("401")));
    assert_eq!(agent.requests().len(), requests);
    // With another header the next probe may succeed.
    let keyed = first.replace("/events'}", "/events', headers: {x-team: data}}");
    fixture.reload(&keyed);
    fixture.until("it is attempted at once", |_| agent.requests().len() > requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_removed_rule_go_on_and_no_new_ones_begin() {
    let agent = agent(SampleOptions { refuse_first: 5, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    fixture.publish("old", "run");
    fixture.until("it was attempted", |fixture| fixture.failed_attempts("old") >= 1).await;
    fixture.reload(&rules(agent.addr(), "").replace("name: all", "name: other").replace("COMPLETED", "FAILED"));
    fixture.publish("new", "run");
    fixture.until("both have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Delivered), fixture.count(Outcome::Unmatched)), (1, 1));
    assert_eq!(ids(&agent), ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_plan_whose_rule_is_gone_is_a_dead_letter_when_its_event_is_read_again() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    let plan = ["all", "done"].map(|rule| PlannedDelivery { rule: rule.into(), agent: "audit".into() });
    let mut partial = Record::new(replicated::digest_of("old", "run").await, 1, &plan);
    partial.finish("done", "audit", DeliveryStatus::Delivered, 2);
    fixture.ledger.merge("old", &partial).unwrap();
    let after = rules(agent.addr(), "").replace("name: all", "name: renamed");
    let gone = [("all".into(), "audit".into())].into();
    let open = fixture.pipeline.rules().open_deliveries(&gone, DEADLINE).unwrap();
    assert_eq!(open, OpenDeliveries { partial: 1, ..OpenDeliveries::default() });
    fixture.reload(&after);
    fixture.publish("old", "run");
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.dead_letters(), agent.received().len()), (vec!["old".to_owned()], 0));
}

/// Each version may take much memory, and a delivery may wait for a day.
#[tokio::test(flavor = "multi_thread")]
async fn at_most_four_former_versions_are_kept_and_what_waits_under_others_moves_at_its_endpoint() {
    let bodies: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let seen = Arc::clone(&bodies);
    let former = answers::agent_that(move |asked| {
        seen.lock().unwrap().push(asked.json());
        answers::status(503)
    })
    .await;
    let present = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(former, ""));
    let version = |n: u32| {
        let body = format!("body: {{event_id: '{{{{ event_id }}}}', version: {n}}}, to: [audit]}}");
        rules(former, "").replace("to: [audit]}", &body)
    };
    for n in 0..7 {
        let id = format!("{n}");
        fixture.publish(&id, &id);
        fixture.until("it was attempted", |fixture| fixture.failed_attempts(&id) >= 1).await;
        fixture.reload(&version(n));
        assert!(fixture.pipeline.rules().former() <= 4);
    }
    let has_moved = |body: &serde_json::Value| body["event_id"] == "0" && body["version"].as_u64() >= Some(4);
    fixture.until("the first has moved", |_| bodies.lock().unwrap().iter().any(has_moved)).await;
    // All of them may have arrived: none goes to another address, however many versions there are.
    for n in 7..12 {
        fixture.reload(&version(n).replace(&former.to_string(), &present.addr().to_string()));
    }
    fixture.publish("new", "new");
    fixture.until("a new event is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    let asked = bodies.lock().unwrap().len();
    fixture.until("the others are still tried", |_| bodies.lock().unwrap().len() > asked + 10).await;
    assert_eq!(ids(&present), ["new"]);
}

/// The agent of this address works from now on.
async fn repair(fixture: &mut PipelineFixture, agent: SampleAgent) -> SampleAgent {
    let address = agent.addr();
    drop(agent);
    loop {
        fixture.until("the former agent has left its port", |_| std::net::TcpListener::bind(address).is_ok()).await;
        if let Ok(agent) = SampleAgent::start(address, SampleOptions::default()).await {
            return agent;
        }
    }
}

impl PipelineFixture {
    async fn until_attempted(&mut self, id: &str) {
        let attempts = |fixture: &Self| -> u32 {
            let record = fixture.ledger.get(id).unwrap();
            record.map_or(0, |record| ["all", "other"].map(|rule| record.failed_attempts(rule, "audit")).iter().sum())
        };
        self.until("it was attempted", |fixture| attempts(fixture) >= 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_under_a_name_that_is_gone_outlives_any_number_of_reloads() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let address = agent.addr();
    let mut fixture = PipelineFixture::start(&rules(address, ""));
    let version = |n: u32| {
        let renamed = rules(address, "").replace("name: all", "name: other");
        renamed.replace("to: [audit]}", &format!("body: {{version: {n}}}, to: [audit]}}"))
    };
    for n in 0..8 {
        let id = format!("{n}");
        fixture.publish(&id, &id);
        fixture.until_attempted(&id).await;
        fixture.reload(&version(n));
    }
    let _agent = repair(&mut fixture, agent).await;
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::Delivered), 8, "none is a dead letter");
}

/// Two events of one key that were received under rules without a body, and six more, each under rules with another one. The rules
/// of the first two are withdrawn. `body` has `N` for the number of the rules.
async fn withdrawn(agent: &SampleAgent, body: &str) -> PipelineFixture {
    let address = agent.addr();
    let mut fixture = PipelineFixture::start(&rules(address, ""));
    fixture.publish("first", "run");
    fixture.until_attempted("first").await;
    fixture.publish("behind", "run");
    for n in 0..6 {
        let id = format!("{n}");
        let body = format!("body: {}, to: [audit]}}", body.replace('N', &id));
        fixture.reload(&rules(address, "").replace("to: [audit]}", &body));
        fixture.publish(&id, &id);
        fixture.until_attempted(&id).await;
    }
    assert!(fixture.pipeline.rules().former() <= 4, "the rules of the first two are withdrawn");
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_had_its_turn_outlives_the_withdrawal_of_its_rules_and_the_removal_of_its_rule() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = withdrawn(&agent, "{version: N}").await;
    fixture.reload(&rules(agent.addr(), "").replace("name: all", "name: other"));
    let _agent = repair(&mut fixture, agent).await;
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::Delivered), 8, "none is a dead letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_versions_that_something_waits_under_are_refused_until_their_names_are_there_again() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let address = agent.addr();
    let named = |name: &str| rules(address, "").replace("name: all", &format!("name: {name}"));
    let mut fixture = PipelineFixture::start(&named("rule-0"));
    let mut put_in_force = Vec::new();
    for n in 0..=20 {
        let id = format!("{n}");
        fixture.publish(&id, &id);
        fixture.until("it waits", |fixture| fixture.ledger.get(&id).unwrap().is_some()).await;
        let routing = fixture.load(&named(&format!("rule-{}", n + 1)));
        put_in_force.push(fixture.pipeline.rules().replace(routing).expect("the pipeline runs").is_ok());
    }
    let refused = put_in_force.iter().position(|is_in_force| !is_in_force);
    assert_eq!(refused, Some(16), "sixteen are kept: {put_in_force:?}");
    assert!(put_in_force[16..].iter().all(|is_in_force| !is_in_force));
    let newcomer = named("last").replace("audit", "newcomer");
    assert!(fixture.pipeline.rules().replace(fixture.load(&newcomer)).expect("the pipeline runs").is_err());
    assert_ne!(fixture.pipeline.context.parking.line("newcomer"), "newcomer", "what is refused adds no agent");
    let all: Vec<_> = (0..=16).map(|n| named(&format!("rule-{n}"))).collect();
    let rule = |text: &str| text.split("rules:").nth(1).unwrap().trim_end().to_owned();
    let together = format!(
        "{}rules:{}\n",
        all[0].split("rules:").next().unwrap(),
        all.iter().map(|text| rule(text)).collect::<String>()
    );
    fixture.reload(&together);
    assert!(fixture.pipeline.rules().former() <= 4, "the others are withdrawn");
    let _agent = repair(&mut fixture, agent).await;
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::DeadLettered), 0);
}

/// What planned them was forgotten when their events had their outcome.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_delivered_or_dead_lettered_by_the_rules_in_force() {
    let down = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let up = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(down.addr(), ""), Some(Duration::from_millis(300)));
    for n in 0..200 {
        fixture.publish(&format!("{n:03}"), &format!("run-{n}"));
    }
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::Parked), 200);
    // Those that were read back before, 64 at most, and may have arrived go on where they are.
    fixture.reload(&rules(up.addr(), ""));
    fixture.until("others are delivered at the new address", |_| up.received().len() >= 136).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_under_a_name_that_is_gone_is_counted_and_ends_as_dead_letters() {
    let down = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::parking(&rules(down.addr(), ""), Some(Duration::from_millis(300)));
    for n in 0..200 {
        fixture.publish(&format!("{n:03}"), &format!("run-{n}"));
    }
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    let pair = [("all".into(), "audit".into())].into();
    let open = fixture.pipeline.rules().open_deliveries(&pair, DEADLINE).unwrap();
    assert_eq!(open, OpenDeliveries { parked: 200, ..OpenDeliveries::default() });
    fixture.reload(&rules(down.addr(), "").replace("audit", "auditor").replace("name: all", "name: other"));
    let dead = |fixture: &PipelineFixture| {
        let record = |n: u32| fixture.ledger.get(&format!("{n:03}")).unwrap().unwrap();
        (0..200).filter(|n| record(*n).any_dead()).count()
    };
    // Those that were read back before, 64 at most, go on.
    fixture.until("the others are dead letters", |fixture| dead(fixture) >= 136).await;
}

/// A former process parked it, and this one started without the agent.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_added_gets_what_was_parked_under_its_name() {
    let agent = agent(SampleOptions::default()).await;
    let known = rules(agent.addr(), "");
    let mut fixture = PipelineFixture::parking(&known.replace("audit", "other"), Some(Duration::from_millis(300)));
    fixture.ledger.merge("000", &parked_by_another(0).await).unwrap();
    let kafka = KafkaSettings {
        bootstrap_servers: fixture.broker.bootstrap_servers(),
        parked_topic: Some("parked".into()),
        ..KafkaSettings::default()
    };
    park(&ParkedTopics::connect(&kafka).unwrap(), &parked_record(&event("000", "run-0"))).await;
    fixture.reload(&known);
    // With its first event the partition is known, and what is parked is looked up.
    fixture.publish("001", "run-1");
    fixture.until("both are delivered", |_| agent.received().len() == 2).await;
    assert_eq!(fixture.pipeline.agents().iter().map(|agent| &*agent.agent).collect::<Vec<_>>(), ["audit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_refuses_what_a_reload_would_refuse_and_changes_nothing() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let named = |n: u32| rules(agent.addr(), "").replace("name: all", &format!("name: rule-{n}"));
    let mut fixture = PipelineFixture::start(&named(0));
    let mut reloads = 0;
    loop {
        // Each former version has a rule that no later one has, and a delivery that waits for it.
        let id = format!("{reloads}");
        fixture.publish(&id, &id);
        let is_attempted = |fixture: &PipelineFixture| {
            fixture.ledger.get(&id).unwrap().is_some_and(|record| record.deliveries()[0].failed_attempts > 0)
        };
        fixture.until("it was attempted", is_attempted).await;
        let next = fixture.load(&named(reloads + 1));
        let rules = fixture.pipeline.rules();
        let former = rules.former();
        let tried = rules.check(&*next).unwrap().map_err(|error| error.to_string());
        assert_eq!(rules.former(), former);
        let loaded = rules.replace(next).unwrap().map_err(|error| error.to_string());
        assert_eq!(tried, loaded);
        if loaded.is_err() {
            break;
        }
        reloads += 1;
    }
    assert_eq!(reloads, 16);
}
