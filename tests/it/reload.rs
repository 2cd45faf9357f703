//! The routing folder is loaded while the bridge runs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, Kafka, PATIENCE, TestEvent, bridge::LONG_SESSION, event, http, kafka, poll, unique,
    when,
};

/// One rule with two agents: each of the three says which version of the folder it is of.
fn folder(agents: [&HttpAgent; 2], version: usize) -> [(&'static str, String); 2] {
    let [a, b] = agents.map(HttpAgent::url);
    let agent = |url| format!("{{http: {{url: '{url}/events', headers: {{x-version: v{version}}}}}, timeout: 60s}}");
    let body = format!("{{event_id: '{{{{ event.event_id }}}}', version: v{version}}}");
    let when = "{event_type: [WORKFLOW_COMPLETED]}";
    [
        ("agents.yaml", format!("agents:\n  a: {}\n  b: {}\n", agent(a), agent(b))),
        (
            "rules.yaml",
            format!(
                "rules:\n  - {{name: all, when: {when}, to: [a, b], body: {body}}}\n  - {{name: of-v{version}, when: {{event_type: \
                 [WORKFLOW_FAILED]}}, to: [a]}}\n"
            ),
        ),
    ]
}

/// Puts a version in force as Kubernetes does: the files are links through `..data`, which is replaced by one rename.
fn mount(routing: &Path, version: usize, files: &[(&'static str, String)]) {
    let of_version = format!("..v{version}");
    fs::create_dir_all(routing.join(&of_version)).expect("a scratch folder can be written");
    for (name, text) in files {
        fs::write(routing.join(&of_version).join(name), text).expect("a scratch folder can be written");
    }
    let _ = fs::remove_file(routing.join("..data_tmp"));
    symlink(&of_version, routing.join("..data_tmp")).expect("a link can be made");
    fs::rename(routing.join("..data_tmp"), routing.join("..data")).expect("a link can be renamed");
}

fn post(bridge: &Bridge, path: &str) -> Result<(u16, Value), String> {
    let (status, body) = http::post(&format!("{}{path}", bridge.admin()), &json!(null))?;
    Ok((status, serde_json::from_str(&body).unwrap_or_default()))
}

fn has_rule(bridge: &Bridge, name: &str) -> bool {
    bridge.status()["rules"].as_array().is_some_and(|rules| rules.iter().any(|rule| rule["rule"] == name))
}

/// Publishes until it is told to stop; returns the ids.
fn publish(kafka: &'static Kafka, topic: &str, stop: &Arc<AtomicBool>) -> thread::JoinHandle<Vec<String>> {
    let (topic, stop, prefix) = (topic.to_owned(), Arc::clone(stop), unique("load"));
    thread::spawn(move || {
        let mut published = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let first = published.len();
            let events: Vec<_> = (first..first + 50)
                .map(|n| event(&format!("{prefix}-{n:05}")).run(&format!("run-{}", n % 7)))
                .collect();
            kafka.produce_all(&topic, events.iter().map(TestEvent::record));
            published.extend(events.iter().map(|event| event.id().to_owned()));
        }
        published
    })
}

/// Every third is invalid. Each delivery shows the version of its rule in the body and of its agent in a header.
#[test]
fn a_hundred_reloads_under_load_lose_repeat_and_mix_nothing() {
    let agents = [HttpAgent::start(), HttpAgent::start()];
    let both = [&agents[0], &agents[1]];
    let topic = kafka().topic("reload", 2);
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config(&format!("{LONG_SESSION}routing_reload: 100ms\nlog_outcomes: failures\n"))
        .prepare();
    let routing = bridge.folder().join("routing");
    mount(&routing, 0, &folder(both, 0));
    for name in ["agents.yaml", "rules.yaml"] {
        symlink(format!("..data/{name}"), routing.join(name)).expect("a link can be made");
    }
    bridge.start_again();
    bridge.wait_ready(PATIENCE);
    let stop = Arc::new(AtomicBool::new(false));
    let load = publish(kafka(), &topic, &stop);

    for version in 1..=100 {
        let mut files = folder(both, version);
        let is_invalid = version % 3 == 0;
        if is_invalid {
            let wrong = format!("  - {{name: wrong, when: {{event_type: [x]}}, to: [missing-{version}]}}\n");
            files[1].1.push_str(&wrong);
        }
        mount(&routing, version, &files);
        // Most are asked for, which takes less time; the others are seen by the watch.
        if version % 10 != 1 {
            let expected = if is_invalid { 422 } else { 200 };
            poll(PATIENCE, "the reload is answered", || match post(&bridge, "/api/reload") {
                Ok((status, _)) if status == expected => Ok(()),
                other => Err(other),
            });
        }
        poll(PATIENCE, "the version is in force, or refused", || {
            let status = bridge.status();
            let refused = status["routing"]["refused"]["problems"][0].as_str().unwrap_or_default().to_owned();
            let is_done = if is_invalid {
                refused.contains(&format!("missing-{version}"))
            } else {
                refused.is_empty() && has_rule(&bridge, &format!("of-v{version}"))
            };
            when(is_done, format!("version {version}: {}", status["routing"]))
        });
    }
    stop.store(true, Ordering::SeqCst);
    let published = load.join().expect("the publisher ends");
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);

    let mut versions = Vec::new();
    for agent in both {
        let mut of_agent = BTreeMap::new();
        for request in agent.accepted() {
            let body = request.json()["version"].as_str().map(str::to_owned);
            assert_eq!(
                request.header("x-version").map(str::to_owned),
                body,
                "the rule and the agent are of one version"
            );
            let version = body.unwrap_or_default();
            let number: usize = version.trim_start_matches('v').parse().expect("a version");
            assert!(number == 0 || !number.is_multiple_of(3), "{version} was invalid");
            let before = of_agent.insert(request.event_id.clone(), version);
            assert_eq!(before, None, "{} was delivered twice", request.event_id);
        }
        versions.push(of_agent);
    }
    let ids: Vec<&String> = versions[0].keys().collect();
    let mut expected: Vec<&String> = published.iter().collect();
    expected.sort();
    assert_eq!(ids, expected, "each event once");
    assert_eq!(versions[0], versions[1], "both deliveries of an event are of the version that planned it");
    let metrics = bridge.metrics();
    assert_eq!(metrics.sum("events_total", &[("outcome", "delivered")]), published.len() as f64);
    assert!(metrics.sum("routing_loads_total", &[("result", "ok")]) >= 67.0);
    assert_eq!(metrics.sum("routing_refused", &[]), 0.0);
    bridge.stop();
}

#[test]
fn a_folder_with_a_mistake_changes_nothing_and_every_page_says_so() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("reload", 1);
    let rules = |name: &str| {
        format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: {name}, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        )
    };
    let config = format!("{LONG_SESSION}routing_reload: 100ms\n");
    let mut bridge = BridgeSetup::new(kafka(), &topic).config(&config).routing(&rules("first")).start();
    bridge.wait_ready(PATIENCE);
    let routing = bridge.folder().join("routing");
    // As an editor writes: a new file that takes the name of the old one.
    let save = |text: &str| {
        fs::write(routing.join(".rules.yaml.swp"), text).expect("a scratch folder can be written");
        fs::rename(routing.join(".rules.yaml.swp"), routing.join("rules.yaml")).expect("a file can be renamed");
    };
    save(&rules("first").replace("[audit]", "[adit]"));
    let note = poll(PATIENCE, "/readyz has a note", || {
        let (status, body) = bridge.ask("/readyz");
        assert_eq!(status, 200, "{body}");
        if body.contains("routing folder") { Ok(body) } else { Err(body) }
    });
    assert!(note.contains("rules.yaml:4") && note.contains("adit"), "{note}");
    let refused = &bridge.status()["routing"]["refused"];
    assert_eq!(refused["mistakes"], 1, "{refused}");
    assert_eq!(bridge.metric("routing_refused", &[]), 1.0);
    assert!(bridge.metric("routing_loads_total", &[("result", "error")]) >= 1.0);
    let message = "the routing folder was not loaded, and the rules before it stay in force: correct it";
    assert_eq!(bridge.logged(message).len(), 1, "{}", bridge.log().tail(20));
    let still = event(&unique("still"));
    kafka().produce(&topic, still.record());
    agent.wait_accepted(1, PATIENCE);

    // Renamed: the names are listed.
    save(&rules("second"));
    poll(PATIENCE, "the corrected folder is in force", || when(has_rule(&bridge, "second"), bridge.status()));
    assert_eq!(bridge.metric("routing_refused", &[]), 0.0);
    let (_, ready) = bridge.ask("/readyz");
    assert!(!ready.contains("routing folder"), "{ready}");
    let renamed = "renamed: what is open under the former name does not go over to the new one";
    let renamed = bridge.logged(renamed);
    assert!(renamed.len() == 1 && renamed[0]["to"] == "second", "{renamed:?}");
    bridge.stop();
}

#[test]
fn a_reload_is_asked_for_by_signal_and_by_post_and_refused_to_browsers() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("reload", 1);
    let rules = |name: &str| {
        format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}}}
rules:
  - {{name: {name}, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        )
    };
    let config = format!("{LONG_SESSION}routing_reload: off\n");
    let mut bridge = BridgeSetup::new(kafka(), &topic).config(&config).routing(&rules("first")).start();
    bridge.write_routing("rules.yaml", &rules("second"));
    let tried = poll(PATIENCE, "it is tried", || post(&bridge, "/api/reload?dry_run=true"));
    assert_eq!((tried.0, &tried.1["result"]), (200, &json!("would_load")), "{tried:?}");
    assert_eq!(
        tried.1["changes"]["rules"]["renamed"]["first"],
        json!([{"from": "first", "to": "second"}]),
        "{tried:?}"
    );
    assert!(has_rule(&bridge, "first"), "nothing was changed");

    let pid = Pid::from_raw(i32::try_from(bridge.pid()).expect("a pid is an i32")).expect("a pid is not 0");
    kill_process(pid, Signal::HUP).expect("the bridge runs");
    poll(PATIENCE, "the signal has reloaded", || when(has_rule(&bridge, "second"), bridge.status()["rules"].clone()));
    bridge.write_routing("rules.yaml", &rules("third"));
    let loaded = poll(PATIENCE, "it is loaded", || post(&bridge, "/api/reload"));
    assert_eq!((loaded.0, &loaded.1["result"], &loaded.1["rules"]), (200, &json!("loaded"), &json!(1)), "{loaded:?}");
    assert!(has_rule(&bridge, "third"));

    bridge.write_routing("rules.yaml", &rules("fourth"));
    for (name, value) in
        [("origin", "http://evil.example"), ("sec-fetch-site", "same-origin"), ("host", "evil.example")]
    {
        let refused = poll(PATIENCE, "it is answered", || {
            http::send(http::client().post(format!("{}/api/reload", bridge.admin())).header(name, value))
        });
        assert_eq!(refused.0, 403, "{name}: {refused:?}");
    }
    let got = poll(PATIENCE, "it is answered", || http::get(&format!("{}/api/reload", bridge.admin())));
    assert_eq!(got.0, 405, "{got:?}");
    assert!(has_rule(&bridge, "third"));
    bridge.stop();
}

#[test]
fn a_start_with_thousands_of_rules_shows_the_first_of_them_and_of_their_warnings() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("rules", 1);
    let rule = |n| {
        format!("  - {{name: rule-{n:04}, when: {{event_type: [WORKFLOW_COMPLETED], workflow_id: [w]}}, to: [a]}}\n")
    };
    let rules: String = (0..1_500).map(rule).collect();
    let routing = format!("agents:\n  a: {{http: {{url: '{}/events'}}}}\nrules:\n{rules}", agent.url());
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&routing).start();
    let status = bridge.status();
    let listed = status["rules"].as_array().expect("a list");
    assert_eq!((listed.len(), &listed[999]["rule"]), (1_000, &json!("rule-0999")));
    assert_eq!(status["rules_left_out"], 500);
    assert_eq!(bridge.logged("routing").len(), 20, "each rule but the first has the pattern of another one");
    let more = bridge.logged("the routing folder has more warnings: `workflow-bridge check` shows all");
    assert_eq!(more.iter().map(|line| line["more"].clone()).collect::<Vec<_>>(), [1_479]);
    bridge.stop();
}

/// Publishes 100 events a second for so long, and says how long each took to its agent: the median, the 99th percentile and the
/// longest, ms.
fn latencies(topic: &str, agent: &HttpAgent, time: Duration) -> (f64, f64, f64) {
    let (prefix, client) = (unique("latency"), kafka().client());
    let producer: ThreadedProducer<DefaultProducerContext> =
        client.clone().set("linger.ms", "0").create().expect("a producer can be made");
    let first = event(&unique("first")).json().to_string();
    producer.send(BaseRecord::<str, _>::to(topic).payload(&first)).expect("the queue has room");
    producer.flush(PATIENCE).expect("the producer is connected");
    let began = Instant::now();
    let mut published = BTreeMap::new();
    while began.elapsed() < time {
        let next = began + Duration::from_millis(10) * u32::try_from(published.len()).expect("few");
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let event = event(&format!("{prefix}-{:06}", published.len())).run(&format!("run-{}", published.len()));
        published.insert(event.id().to_owned(), Instant::now());
        let (key, value) = (event.key(), event.json().to_string());
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).expect("the queue has room");
    }
    let of_these = |agent: &HttpAgent| -> Vec<_> {
        agent.accepted().into_iter().filter(|request| request.event_id.starts_with(&prefix)).collect()
    };
    let accepted = poll(PATIENCE, "all are accepted", || {
        let accepted = of_these(agent);
        if accepted.len() == published.len() { Ok(accepted) } else { Err(accepted.len()) }
    });
    let mut took: Vec<f64> = accepted
        .iter()
        .filter_map(|request| {
            let since = *published.get(&request.event_id)?;
            Some((request.at.saturating_duration_since(since).as_secs_f64() * 10_000.0).round() / 10.0)
        })
        .collect();
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1])
}

/// `make measure-reloads`
#[test]
fn the_latency_of_others_while_a_large_folder_is_loaded() {
    if std::env::var_os("MEASURE_RELOADS").is_none() {
        return;
    }
    let agent = HttpAgent::start();
    let topic = kafka().topic("latency", 2);
    let count: usize = std::env::var("RULES").ok().and_then(|rules| rules.parse().ok()).unwrap_or(100_000);
    let rules = |version: usize| -> String {
        let head = format!(
            "agents:\n  a: {{http: {{url: '{}/events'}}}}\nrules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [a]}}\n",
            agent.url()
        );
        (1..count).fold(head, |mut text, n| {
            let rule = format!(
                "  - {{name: rule-{n}, when: {{event_type: [WORKFLOW_FAILED], workflow_id: [etl-{n}-v{version}, {{prefix: etl_{n}_}}]}}, \
                 to: [a], body: {{id: '{{{{ event_id }}}}', of: {n}}}}}\n"
            );
            text.push_str(&rule);
            text
        })
    };
    let config = format!("{LONG_SESSION}routing_reload: off\nlog_outcomes: failures\n");
    let mut bridge = BridgeSetup::new(kafka(), &topic).config(&config).routing(&rules(0)).start();
    bridge.wait_ready(PATIENCE);
    let time = Duration::from_secs(20);
    let _warm = latencies(&topic, &agent, time / 4);
    let before = latencies(&topic, &agent, time);
    let stop = AtomicBool::new(false);
    let (during, loads) = thread::scope(|scope| {
        let loads = scope.spawn(|| {
            let mut loads = 0;
            while !stop.load(Ordering::SeqCst) {
                bridge.write_routing("rules.yaml", &rules(loads + 1));
                let (status, body) = poll(PATIENCE, "it is loaded", || post(&bridge, "/api/reload"));
                assert_eq!(status, 200, "{body}");
                loads += 1;
            }
            loads
        });
        let during = latencies(&topic, &agent, time);
        stop.store(true, Ordering::SeqCst);
        (during, loads.join().expect("the reloads succeed"))
    });
    let after = latencies(&topic, &agent, time);
    let took = bridge.logged("routing folder loaded: its rules are in force").pop().map(|line| line["took_ms"].clone());
    println!("{count} rules, 100 events/s; ms from the publish to the agent (median, p99, longest):");
    println!("before {before:?}, during {loads} loads {during:?}, after {after:?}; the last load took {took:?} ms");
    println!("peak {} MiB", bridge.peak_rss_bytes() >> 20);
    bridge.stop();
}
