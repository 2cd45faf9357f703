use std::time::Instant;

use super::*;
use crate::dedup::{Ledger, LedgerOptions};

const PATIENCE: Duration = Duration::from_secs(60);

fn handler(name: &str, event_type: &str) -> Handler {
    Handler { name: name.into(), event_type: event_type.into(), options: HandlerOptions::default() }
}

fn settings(state: &std::path::Path) -> Settings {
    Settings {
        // Nobody is there.
        bootstrap_servers: "127.0.0.1:1".into(),
        group_id: "orders".into(),
        topics: vec!["orders".into()],
        state_home: Some(state.to_str().unwrap().into()),
        ..Settings::default()
    }
}

#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ended(consumer: &Consumer) -> bool {
    consumer.has_ended().unwrap()
}

#[test]
fn mistakes_of_handlers_are_reported_with_those_of_settings() {
    let handlers = vec![handler("store", "OrderPlaced"), handler("store", "OrderPlaced"), handler("", "x")];
    let mistakes =
        Consumer::new(handlers, &Settings { data_dir: Some("data".into()), ..Settings::default() }).unwrap_err();
    let names: Vec<_> = mistakes.iter().map(|mistake| &*mistake.setting).collect();
    assert_eq!(names, ["topics", "group_id", "handlers", "handlers"], "{mistakes:?}");
    let none = Consumer::new(Vec::new(), &Settings::default()).unwrap_err();
    assert!(none.iter().any(|mistake| mistake.setting == "handlers"), "{none:?}");
}

#[test]
fn two_of_one_service_have_a_folder_each_and_one_that_ended_leaves_its_own_to_the_next() {
    let state = tempfile::tempdir().unwrap();
    let start = || {
        let consumer = Consumer::new(vec![handler("store", "OrderPlaced")], &settings(state.path())).unwrap();
        consumer.start().unwrap();
        consumer
    };
    let folders = || {
        let mut found: Vec<_> = walk(&state.path().join("workflow-events/consumers/orders"));
        found.sort();
        found
    };
    let (first, second) = (start(), start());
    until("both ledgers are there", || folders() == ["0", "1"]);
    for consumer in [&first, &second] {
        consumer.stop(Duration::from_secs(1)).unwrap();
        until("it has ended", || ended(consumer));
        assert_eq!(consumer.error().unwrap(), None);
        assert!(!consumer.is_assigned().unwrap());
        assert!(matches!(consumer.start(), Err(ConsumerError::Used)));
    }
    let third = start();
    third.stop(Duration::ZERO).unwrap();
    until("it has ended", || ended(&third));
    assert_eq!((folders(), third.error().unwrap()), (vec!["0".to_owned(), "1".to_owned()], None));
}

/// The folders that have a ledger.
fn walk(group: &std::path::Path) -> Vec<String> {
    let inner = |path: std::path::PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    inner(group.to_owned())
        .flat_map(|cluster| inner(cluster.path()))
        .filter(|slot| slot.path().join("ledger.txt").is_file())
        .map(|slot| slot.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn an_end_of_its_own_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letters.txt"), "mine").unwrap();
    let chosen = Settings { data_dir: Some(folder.path().into()), ..settings(folder.path()) };
    let consumer = Consumer::new(vec![handler("store", "OrderPlaced")], &chosen).unwrap();
    consumer.start().unwrap();
    until("it has ended", || ended(&consumer));
    let (part, message) = consumer.error().unwrap().unwrap();
    assert!(part == "ledger" && message.contains("`letters.txt`"), "{part}: {message}");
}

#[test]
fn one_that_is_stopped_before_its_start_has_ended() {
    let state = tempfile::tempdir().unwrap();
    let consumer = Consumer::new(vec![handler("store", "OrderPlaced")], &settings(state.path())).unwrap();
    assert!(!ended(&consumer));
    consumer.stop(Duration::ZERO).unwrap();
    assert!(ended(&consumer) && matches!(consumer.start(), Err(ConsumerError::Used)));
}

#[test]
fn one_whose_start_failed_has_ended() {
    let state = tempfile::tempdir().unwrap();
    let consumer = Consumer::new(vec![handler("store", "OrderPlaced")], &settings(state.path())).unwrap();
    std::fs::remove_dir_all(state.path().join("workflow-events")).unwrap_or_default();
    std::fs::write(state.path().join("workflow-events"), "a file").unwrap();
    assert!(matches!(consumer.start(), Err(ConsumerError::Data { .. })));
    assert!(ended(&consumer));
    assert_eq!(consumer.error().unwrap(), None);
}

#[test]
fn a_ledger_that_is_still_open_is_passed_for_the_next_folder() {
    let state = tempfile::tempdir().unwrap();
    let consumer = || Consumer::new(vec![handler("store", "OrderPlaced")], &settings(state.path())).unwrap();
    let root = slot::root(&state.path().join("workflow-events/consumers"), "orders", "127.0.0.1:1");
    let options = LedgerOptions {
        group: "orders".into(),
        window: Duration::from_secs(60),
        cache_bytes: 16 << 20,
        flush_delay: Duration::from_millis(1),
        replace_damaged: true,
    };
    // As one that was left behind: its ledger is open, and its slot is free.
    let (ledger, _) = Ledger::open(&root.join("0"), &options).unwrap();
    let second = consumer();
    second.start().unwrap();
    until("it has another folder", || root.join("1/ledger.txt").is_file() || ended(&second));
    assert_eq!(second.error().unwrap(), None);
    second.stop(Duration::ZERO).unwrap();
    until("it has ended", || ended(&second));
    assert_eq!(second.error().unwrap(), None);
    drop(ledger);
}

#[test]
fn settings_show_no_property() {
    let folder = tempfile::tempdir().unwrap();
    let secret = ("ssl.key.password".to_owned(), "hunter2".to_owned());
    let settings = Settings { properties: [secret].into(), ..settings(folder.path()) };
    let shown = format!("{settings:?}");
    assert!(shown.contains("ssl.key.password") && !shown.contains("hunter2"), "{shown}");
}
