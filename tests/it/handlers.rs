//! Handlers of a program on a real Kafka: once each, retries, order, a dependency that is down, restarts and kills.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use workflow_bridge::{
    bridge::{Bridge, Builder, HandlerError, HandlerOptions, RunError},
    event::{Event, EventType},
};

use crate::kit::{
    HttpAgent, PATIENCE, TestEvent, block_on, commands, event, events::events, free_port, http, kafka, poll,
    process::Scratch, runtime, unique, when,
};

mod killed;

/// The ids of the events that a handler was called for, in order.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn add(&self, event: &Event) {
        self.0.lock().expect("no handler panics here").push(event.id().to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no handler panics here").clone()
    }

    fn of(&self, id: &str) -> usize {
        self.all().iter().filter(|called| *called == id).count()
    }

    #[track_caller]
    fn wait(&self, count: usize) {
        poll(PATIENCE, "the handler was called so often", || when(self.all().len() >= count, self.all().len()));
    }
}

fn quick() -> HandlerOptions {
    HandlerOptions::default().backoff(Duration::from_millis(10), Duration::from_millis(100))
}

fn builder(topic: &str, group: &str, data: &Path) -> Builder {
    // A machine that stands still for some seconds costs no membership.
    Bridge::builder()
        .bootstrap_servers(kafka().bootstrap())
        .topic(topic)
        .group_id(group)
        .data_dir(data)
        .property("session.timeout.ms", "45000")
}

fn retry(reason: &str) -> Result<(), HandlerError> {
    Err(HandlerError::Retry(reason.to_owned()))
}

/// A bridge in this process.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    #[track_caller]
    fn start(builder: Builder) -> Self {
        let bridge = builder.build().expect("nothing is wrong with it");
        let (stop, stopped) = oneshot::channel();
        let task = runtime().spawn(bridge.run(async { drop(stopped.await) }));
        Self { stop, task }
    }

    #[track_caller]
    fn stop(self) {
        let _ = self.stop.send(());
        block_on(self.task).expect("it does not panic").expect("it ends well");
    }
}

fn once(events: &[TestEvent]) -> BTreeMap<String, usize> {
    events.iter().map(|event| (event.id().to_owned(), 1)).collect()
}

fn counted(calls: &Calls) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in calls.all() {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// `handle` of a handler that notes its calls.
fn noting(
    calls: &Calls,
) -> impl Fn(Arc<Event>) -> std::future::Ready<Result<(), HandlerError>> + Send + Sync + 'static {
    let calls = calls.clone();
    move |event| {
        calls.add(&event);
        std::future::ready(Ok(()))
    }
}

#[test]
fn each_handler_and_each_agent_gets_each_event_once_over_restarts_and_without_the_folder() {
    let agent = HttpAgent::start();
    let (topic, group, folder) = (kafka().topic("handlers", 4), unique("handlers"), Scratch::new("handlers"));
    let rules = format!(
        "agents:\n  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}\nrules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n",
        agent.url()
    );
    std::fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
    std::fs::write(folder.join("routing/rules.yaml"), rules).expect("a scratch folder can be written");
    let (first, second) = (Calls::default(), Calls::default());
    let data = |name: &str| folder.join(name);
    let start = |name: &str| {
        Running::start(
            builder(&topic, &group, &data(name))
                .routing_dir(folder.join("routing"))
                .handle("first", EventType::Completed, noting(&first))
                .handle("second", EventType::Completed, noting(&second)),
        )
    };
    let all = events("handlers", 300);
    let publish = || kafka().produce_all(&topic, all.iter().map(TestEvent::record));
    publish();
    let running = start("data");
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    // The same events again: the ledger knows them, and so does its topic when the folder is another one.
    for name in ["data", "other"] {
        publish();
        let running = start(name);
        kafka().wait_committed(&group, &topic, PATIENCE);
        running.stop();
    }
    assert_eq!((counted(&first), counted(&second)), (once(&all), once(&all)));
    assert_eq!(agent.accepted_by_event(), once(&all));
}

#[test]
fn what_a_handler_cannot_handle_is_a_dead_letter_with_its_calls() {
    let (topic, group, folder) = (kafka().topic("handlers-dead", 1), unique("handlers-dead"), Scratch::new("handlers"));
    let calls = Calls::default();
    let of_handler = calls.clone();
    let store = move |event: Arc<Event>| {
        of_handler.add(&event);
        async move {
            match event.document()["payload"]["data"]["do"].as_str() {
                Some("fail") => retry("disk full"),
                Some("panic") => panic!("no such order"),
                Some("reject") => Err(HandlerError::Reject("no order".to_owned())),
                _ => Ok(()),
            }
        }
    };
    let of = |what: &str| event(&unique(what)).data(json!({"do": what, "x": [1.0, 1e3]}));
    let bad = [of("fail"), of("panic"), of("reject")];
    let good = events("good", 5);
    let all = bad.iter().chain(&good);
    kafka().produce_all(&topic, all.map(TestEvent::record));
    let options = quick().max_retries(2);
    let running = Running::start(builder(&topic, &group, &folder.join("data")).handle_with(
        "store",
        EventType::Completed,
        options,
        store,
    ));
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();

    let letters = kafka().read_all(&format!("{topic}.dlq"));
    let found: BTreeMap<String, [Option<String>; 4]> = letters
        .iter()
        .map(|letter| {
            let headers = ["dlq-reason", "dlq-rule", "dlq-agent", "dlq-attempts"].map(|name| letter.header(name));
            (letter.header("dlq-event-id").unwrap_or_default(), headers)
        })
        .collect();
    let expected = |reason: &str, attempts: &str| {
        [reason, "WORKFLOW_COMPLETED", "store", attempts].map(|header| Some(header.to_owned()))
    };
    for (event, expected, text) in [
        (
            &bad[0],
            expected("max_attempts", "3"),
            "its handler failed 3 times, one more than max_retries; the last answer: disk full",
        ),
        (&bad[1], expected("max_attempts", "3"), "the handler panicked: no such order"),
        (&bad[2], expected("refused", "1"), "no order"),
    ] {
        assert_eq!(found.get(event.id()), Some(&expected), "{found:#?}");
        let letter = letters.iter().find(|letter| letter.header("dlq-event-id").as_deref() == Some(event.id()));
        let letter = letter.expect("it was found above");
        assert_eq!(letter.text(), event.json().to_string(), "byte for byte");
        assert_eq!(letter.key, event.record().key);
        assert!(
            letter.header("dlq-error").is_some_and(|error| error.contains(text)),
            "{:?}",
            letter.header("dlq-error")
        );
    }
    assert_eq!((letters.len(), calls.all().len()), (3, 3 + 3 + 1 + 5));
}

#[test]
fn a_later_call_comes_after_its_time_and_a_failure_counts_over_a_restart() {
    let (topic, group, folder) =
        (kafka().topic("handlers-later", 1), unique("handlers-later"), Scratch::new("handlers"));
    let (later, failing) = (Calls::default(), Calls::default());
    let start = |options: HandlerOptions| {
        let (of_later, of_failing) = (later.clone(), failing.clone());
        let builder = builder(&topic, &group, &folder.join("data"));
        let builder = builder.handle("later", EventType::Completed, move |event| {
            of_later.add(&event);
            let again = of_later.of(event.id()) < 6;
            async move { if again { Err(HandlerError::Later(Duration::from_millis(100))) } else { Ok(()) } }
        });
        Running::start(builder.handle_with("failing", EventType::Failed, options, move |event| {
            of_failing.add(&event);
            async { retry("down") }
        }))
    };
    let (waits, fails) = (event(&unique("later")), event(&unique("fails")).event_type("WORKFLOW_FAILED"));
    kafka().produce_all(&topic, [waits.record(), fails.record()]);
    // Two failures before the restart, and the wait for the third call is longer than this process lives.
    let slow = HandlerOptions::default().max_retries(3).backoff(Duration::from_millis(800), Duration::from_secs(60));
    let running = start(slow);
    failing.wait(2);
    later.wait(6);
    running.stop();
    let before = failing.all().len();
    assert!((2..4).contains(&before), "{before} calls");
    let running = start(quick().max_retries(3));
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    assert_eq!((later.of(waits.id()), failing.of(fails.id())), (6, 4));
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].header("dlq-attempts").as_deref(), Some("4"), "the calls of both processes");
}

#[test]
fn a_dependency_that_is_down_dead_letters_nothing_and_one_key_stays_in_order() {
    const KEYS: usize = 40;
    let (topic, group, folder) = (kafka().topic("handlers-down", 2), unique("handlers-down"), Scratch::new("handlers"));
    let (calls, handled) = (Calls::default(), Calls::default());
    let is_down = Arc::new(AtomicBool::new(true));
    let (of_calls, of_handled, down) = (calls.clone(), handled.clone(), Arc::clone(&is_down));
    let store = move |event: Arc<Event>| {
        of_calls.add(&event);
        let result = if down.load(Ordering::SeqCst) { retry("down") } else { Ok(()) };
        if result.is_ok() {
            of_handled.add(&event);
        }
        async { result }
    };
    let all: Vec<_> =
        events("down", 400).into_iter().enumerate().map(|(n, event)| event.run(&format!("run-{}", n % KEYS))).collect();
    kafka().produce_all(&topic, all.iter().map(TestEvent::record));
    let running = Running::start(builder(&topic, &group, &folder.join("data")).handle_with(
        "store",
        EventType::Completed,
        quick(),
        store,
    ));
    // Many times the four calls that end an event.
    calls.wait(200);
    assert_eq!(handled.all(), [""; 0]);
    is_down.store(false, Ordering::SeqCst);
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    assert_eq!(kafka().read_all(&format!("{topic}.dlq")), []);
    let handled = handled.all();
    assert_eq!(handled.len(), all.len());
    let place: BTreeMap<&str, usize> = handled.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    for key in 0..KEYS {
        let order: Vec<_> = all.iter().skip(key).step_by(KEYS).map(|event| place[event.id()]).collect();
        assert!(order.is_sorted(), "key {key}: {order:?}");
    }
}

#[test]
fn a_handler_that_outlives_the_drain_is_stopped_and_its_event_comes_again() {
    let (topic, group, folder) = (kafka().topic("handlers-stop", 1), unique("handlers-stop"), Scratch::new("handlers"));
    let calls = Calls::default();
    let of_handler = calls.clone();
    let endless = move |event: Arc<Event>| {
        of_handler.add(&event);
        std::future::pending()
    };
    kafka().produce(&topic, event(&unique("stop")).record());
    let data = folder.join("data");
    let running = Running::start(builder(&topic, &group, &data).setting("drain_timeout", "1s").handle(
        "store",
        EventType::Completed,
        endless,
    ));
    calls.wait(1);
    running.stop();
    // At once: the folder is free when the bridge has stopped.
    let running = Running::start(builder(&topic, &group, &data).handle("store", EventType::Completed, noting(&calls)));
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    let ids: BTreeSet<_> = calls.all().into_iter().collect();
    assert_eq!((ids.len(), calls.all().len()), (1, 2));
}

#[test]
fn a_bridge_whose_future_is_dropped_leaves_nothing_behind() {
    let (topic, folder) = (kafka().topic("handlers-dropped", 1), Scratch::new("handlers"));
    let (group, calls) = (unique("handlers-dropped"), Calls::default());
    // It is held by each call.
    let call = Arc::new(());
    let (of_handler, held) = (calls.clone(), Arc::downgrade(&call));
    let endless = move |event: Arc<Event>| {
        of_handler.add(&event);
        let call = Arc::clone(&call);
        async move {
            std::future::pending::<()>().await;
            drop(call);
            Ok(())
        }
    };
    kafka().produce(&topic, event(&unique("dropped")).record());
    let data = folder.join("data");
    let running = Running::start(builder(&topic, &group, &data).handle("store", EventType::Completed, endless));
    calls.wait(1);
    running.task.abort();
    poll(PATIENCE, "the call and the handler are dropped", || when(held.strong_count() == 0, held.strong_count()));
    poll(PATIENCE, "the folder is free", || {
        let bridge = builder(&topic, &group, &data).handle("store", EventType::Completed, noting(&calls)).build();
        let bridge = bridge.expect("nothing is wrong with it");
        block_on(bridge.run(std::future::ready(()))).map_err(|error| error.to_string())
    });
    let running = Running::start(builder(&topic, &group, &data).handle("store", EventType::Completed, noting(&calls)));
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    assert_eq!(calls.all().len(), 2);
}

#[test]
fn the_pages_of_a_program_show_its_handlers_and_not_its_metrics() {
    let (topic, folder) = (kafka().topic("handlers-pages", 1), Scratch::new("handlers"));
    let (addr, calls) = (format!("127.0.0.1:{}", free_port()), Calls::default());
    let builder = builder(&topic, &unique("handlers-pages"), &folder.join("data"));
    let running = Running::start(builder.admin_addr(&*addr).handle("store", EventType::Completed, noting(&calls)));
    let get = |path: &str| poll(PATIENCE, "the page is there", || http::get(&format!("http://{addr}{path}")));
    let (status, page) = get("/api/status");
    let page: Value = serde_json::from_str(&page).expect("it is JSON");
    let agent = &page["agents"][0];
    assert_eq!((status, &agent["agent"], &agent["url"]), (200, &"store".into(), &"handler:store".into()));
    assert_eq!(page["rules"][0], json!({"rule": "WORKFLOW_COMPLETED", "to": ["store"]}));
    assert!(page["routing"].is_null(), "{page}");
    assert_eq!(get("/metrics").0, 404);
    running.stop();
}

#[test]
fn a_routing_folder_that_takes_the_name_of_a_handler_is_refused_and_the_one_before_stays() {
    let agent = HttpAgent::start();
    let (topic, group) = (kafka().topic("handlers-reload", 1), unique("handlers-reload"));
    let folder = Scratch::new("handlers");
    let rules = |name: &str| {
        let url = agent.url();
        let to = format!("agents:\n  {name}: {{http: {{url: '{url}/events'}}, timeout: 60s}}\n");
        format!("{to}rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [{name}]}}\n")
    };
    let routing = folder.join("routing");
    let write = |name: &str| std::fs::write(routing.join("rules.yaml"), rules(name)).expect("it can be written");
    std::fs::create_dir(&routing).expect("a scratch folder can be written");
    write("audit");
    let (addr, calls) = (format!("127.0.0.1:{}", free_port()), Calls::default());
    let builder = builder(&topic, &group, &folder.join("data")).routing_dir(&routing).admin_addr(&*addr);
    let running = Running::start(builder.handle("store", EventType::Completed, noting(&calls)));
    let reload =
        || poll(PATIENCE, "the page is there", || http::post(&format!("http://{addr}/api/reload"), &json!({})));
    for (name, expected) in [("store", 422), ("second", 200)] {
        write(name);
        let (status, answer) = reload();
        assert_eq!(status, expected, "{answer}");
        assert_eq!(status == 422, answer.contains("handler `store`: an agent of the routing folder"), "{answer}");
    }
    let event = event(&unique("reload"));
    kafka().produce(&topic, event.record());
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    assert_eq!((calls.of(event.id()), agent.accepted().len()), (1, 1), "the handler and the new agent");
}

#[test]
fn a_dead_letter_of_a_handler_is_redriven_to_it_alone() {
    let topic = kafka().topic("handlers-redriven", 1);
    let (group, folder) = (unique("handlers-redriven"), Scratch::new("handlers"));
    let (store, other) = (Calls::default(), Calls::default());
    let is_fixed = Arc::new(AtomicBool::new(false));
    let (of_store, fixed) = (store.clone(), Arc::clone(&is_fixed));
    let builder = builder(&topic, &group, &folder.join("data"))
        .handle("other", EventType::Completed, noting(&other))
        .handle("store", EventType::Completed, move |event| {
            of_store.add(&event);
            let is_fixed = fixed.load(Ordering::SeqCst);
            async move { if is_fixed { Ok(()) } else { Err(HandlerError::Reject("no table".to_owned())) } }
        });
    let event = event(&unique("redriven"));
    kafka().produce(&topic, event.record());
    let running = Running::start(builder);
    kafka().wait_committed(&group, &topic, PATIENCE);
    is_fixed.store(true, Ordering::SeqCst);
    let rules = "agents:\n  any: {http: {url: 'http://127.0.0.1:1/'}}\nrules:\n  - {name: any, when: {event_type: [NONE]}, to: [any]}\n";
    let place = commands::folder_with(&[("routing/rules.yaml", rules)]);
    let redrive = ["dead-letters", "redrive", "--agent", "store", "--brokers", kafka().bootstrap(), "--topic", &topic];
    let redrive = [&redrive[..], &["--group", &group]].concat();
    let (code, stdout, stderr) = commands::until_kafka_answers("redrive", || commands::command(&place, &redrive));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    store.wait(2);
    kafka().wait_committed(&group, &topic, PATIENCE);
    running.stop();
    assert_eq!((store.of(event.id()), other.of(event.id())), (2, 1));
}
