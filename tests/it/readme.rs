//! The README and the docs as a new user takes them: every command in them is run here, or is a
//! target of the Makefile.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::kit::{
    PATIENCE, free_port, http, poll,
    process::{Process, Scratch},
    when,
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            found.push(
                lines
                    .by_ref()
                    .take_while(|line| line.trim() != "```")
                    .fold(String::new(), |text, line| text + line + "\n"),
            );
        }
    }
    found
}

/// The commands of a document, without comments; a command of several lines is one.
fn commands(path: &str) -> Vec<String> {
    let text = read(path);
    let shell = ["bash", "sh", "console"].iter().flat_map(|language| blocks(&text, language)).collect::<String>();
    shell
        .replace(" \\\n  ", " ")
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn every_command_in_the_documents_is_one_that_a_test_runs() {
    // What the tests of this file, and those named beside, run.
    let run: BTreeMap<&str, &str> = BTreeMap::from([
        ("target/debug/workflow-bridge check", "below"),
        ("target/debug/workflow-bridge run", "below"),
        ("target/debug/workflow-bridge publish examples/events.jsonl", "below"),
        (
            r#"curl -s http://127.0.0.1:2024/threads/search -H 'content-type: application/json' -d '{"limit": 1}'"#,
            "below",
        ),
        ("workflow-bridge schema routing > routing/routing.schema.json", "cli.rs"),
        ("workflow-bridge schema bridge > bridge.schema.json", "cli.rs"),
        ("workflow-bridge schema test > routing/test.schema.json", "cli.rs"),
        (
            "workflow-bridge test --from-topic --since 24h --sample 200 --scrub payload.data.customer > routing/real.test.yaml",
            "rule_tests.rs, with a smaller sample",
        ),
        ("workflow-bridge replay --diff --since 24h --rules new-rules", "rule_tests.rs"),
        (
            "workflow-bridge replay --deliver --since 24h --rule late-loads --dry-run",
            "replay_deliver.rs, with another rule",
        ),
        (
            "workflow-bridge replay --deliver --since 24h --rule late-loads --yes --rate 50",
            "replay_deliver.rs, with another rule and rate",
        ),
        (
            "workflow-bridge replay --deliver --since 24h --rule late-loads --again 1 --dry-run",
            "replay_deliver.rs, with another rule and without --dry-run",
        ),
        (
            "workflow-bridge replay --deliver --since 24h --rule late-loads --again 1 --yes",
            "replay_deliver.rs, with another rule",
        ),
        ("mv data data.bad", "ledger.rs"),
        ("curl -X POST 'http://127.0.0.1:9464/api/reload?dry_run=true'", "reload.rs, with another client"),
        ("workflow-bridge check --routing routing.new --against routing", "check_output.rs"),
        ("workflow-bridge spool status", "spool.rs"),
        ("workflow-bridge spool drain", "spool.rs"),
        ("workflow-bridge run", "ledger.rs"),
        ("pip install -r ../../tests/langgraph/requirements.txt", "`make langgraph-venv`"),
        ("pip install target/wheels/workflow_events-*.whl", "`make python-venv`, with the wheel of the dev profile"),
        ("python -m workflow_events drain", "python/tests/test_drain_command.py"),
        ("python -m workflow_events drain --watch 30", "python/tests/test_drain_command.py, with less patience"),
        ("python -m workflow_events drain --watch 5", "python/tests/test_drain_command.py, with less patience"),
        (
            "python -m workflow_runner check --runner-config examples/runner/runner.yaml",
            "python/tests/runner/test_runner_docs.py",
        ),
        (
            "python -m workflow_runner run --runner-config examples/runner/runner.yaml --schedule acme-orders",
            "python/tests/runner/test_runner_docs.py",
        ),
        (
            "python -m workflow_runner start orchestrated --runner-config examples/runner/runner.yaml",
            "python/tests/airflow/test_runner_start_on_airflow.py",
        ),
        ("export KAFKA_BOOTSTRAP_SERVERS=localhost:9092", "every test of python/tests/airflow, on a free port"),
        ("export ENVIRONMENT=dev", "python/tests/airflow/test_examples_on_airflow.py, with staging"),
        (
            "export AIRFLOW__CORE__DAGS_FOLDER=$PWD/examples/airflow/dags",
            "python/tests/airflow/real_airflow.py, a copy of them",
        ),
        ("airflow db migrate", "python/tests/airflow/real_airflow.py"),
        ("airflow dags test my_first_events 2025-01-01", "python/tests/airflow/test_docs_on_airflow.py"),
        ("airflow dags test example_etl_dag 2025-01-01", "python/tests/airflow/test_examples_on_airflow.py"),
        ("export WORKFLOW_EVENTS_LISTENER=1", "python/tests/airflow/test_scheduler_on_airflow.py"),
        (
            "export WORKFLOW_EVENTS_LISTENER_DAGS='etl_*,billing'",
            "python/tests/airflow/test_scheduler_on_airflow.py, with its own DAGs",
        ),
        ("workflow-bridge dead-letters list", "dead_letters.rs"),
        ("workflow-bridge dead-letters show --letter 0@17", "dead_letters.rs, with a letter that is there"),
        ("workflow-bridge dead-letters redrive --agent audit --dry-run", "dead_letters.rs"),
        ("workflow-bridge dead-letters redrive --agent audit --rate 50", "dead_letters.rs"),
        ("workflow-bridge dead-letters redrive --letter 0@17 --edit", "dead_letters.rs, with an editor of its own"),
        ("workflow-bridge dead-letters discard --reason tombstone", "dead_letters.rs"),
        ("langgraph dev --no-browser --n-jobs-per-worker 10", "the kit, on a free port"),
        (
            "kafka-consumer-groups.sh --bootstrap-server localhost:9092 --group workflow-bridge --topic workflow-events:0 \
             --reset-offsets --to-offset 43 --execute",
            "consumer.rs, as the log names it",
        ),
        (
            "kafka-console-consumer.sh --bootstrap-server localhost:9092 --topic workflow-events --partition 0 --offset 42 \
             --max-messages 10 --formatter-property print.offset=true --formatter-property print.key=true \
             --formatter-property print.value=false",
            "consumer.rs, on a topic of its own",
        ),
    ]);
    let makefile = read("Makefile");
    let mut seen = 0;
    for document in documents() {
        for command in commands(&document) {
            seen += 1;
            match command.strip_prefix("make ") {
                Some(target) => assert!(
                    makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
                    "{document}: the Makefile has no target {target}"
                ),
                None => assert!(run.contains_key(command.as_str()), "{document}: no test runs `{command}`"),
            }
        }
    }
    assert!(seen >= 10, "only {seen} commands were found: the reader of the documents is broken");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for name in documents() {
        let text = read(&name);
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            if link.starts_with("http") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root.join(&name),
                file => root.join(&name).parent().expect("a file has a folder").join(file),
            };
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !anchor.is_empty() {
                let target = fs::read_to_string(&target).expect("a document can be read");
                assert!(anchors(&target).any(|found| found == anchor), "{name}: {link}: there is no such heading");
            }
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}

/// The pages for people, by their path from the root.
fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<String> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "examples/langgraph-app/README.md",
        "examples/airflow/README.md",
    ]
    .map(str::to_owned)
    .into();
    for folder in ["docs", "docs/decisions"] {
        for entry in fs::read_dir(root.join(folder)).expect("docs/ can be listed") {
            let name = entry.expect("docs/ can be listed").file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

/// The fenced blocks between two headings, in their order: language and text.
fn section(text: &str, heading: &str) -> Vec<(String, String)> {
    let body = text.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("there is no {heading}"));
    let body = body.split("\n## ").next().unwrap_or_default();
    let parts: Vec<&str> = body.split("```").collect();
    parts
        .iter()
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap_or_else(|| panic!("{block} has no language")))
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

/// A folder like a clone after `make demo`: its Makefile, its examples, what it built. Its routing folder is empty.
fn clone() -> Scratch {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Scratch::new("readme");
    fs::create_dir_all(folder.join("target/debug")).expect("a scratch folder can be written");
    fs::create_dir_all(folder.join("examples/langgraph-app")).expect("a scratch folder can be written");
    fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
    for (file, link) in [
        (env!("CARGO_BIN_EXE_workflow-bridge").into(), "target/debug/workflow-bridge"),
        (root.join("target/it"), "target/it"),
        (root.join("tests"), "tests"),
        (root.join("Cargo.toml"), "Cargo.toml"),
        (root.join("Makefile"), "Makefile"),
    ] {
        std::os::unix::fs::symlink(file, folder.join(link)).expect("a scratch folder can be written");
    }
    fs::copy(root.join("examples/events.jsonl"), folder.join("examples/events.jsonl")).expect("it can be copied");
    // A copy: the server keeps its state beside the app.
    for entry in fs::read_dir(root.join("examples/langgraph-app")).expect("the app is there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_file() {
            let name = path.file_name().expect("a file has a name");
            fs::copy(&path, folder.join("examples/langgraph-app").join(name)).expect("it can be copied");
        }
    }
    folder
}

/// A free port before another one, which `make kafka` takes for the controller.
fn free_pair() -> u16 {
    loop {
        let port = free_port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return port;
        }
    }
}

/// Does what the page says, block by block. Only the ports are others, given by the environment, as 9092, 2024 and 9464
/// may be taken here.
#[test]
fn the_first_rule_of_the_readme_runs_the_agent_once() {
    let folder = clone();
    let (kafka, agent, admin) = (free_pair(), free_port(), free_port());
    let executions = folder.join("executions.jsonl");
    let started = Instant::now();
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["KAFKA_", "BRIDGE_", "WORKFLOW_EVENTS_", "MAKE", "MFLAGS", "VIRTUAL_ENV"]
                .iter()
                .any(|p| name.starts_with(p))
            {
                command.env_remove(&name);
            }
        }
        command
            .args(["-euc", &script.replace(":2024/", &format!(":{agent}/"))])
            .current_dir(&*folder)
            .env("TRY_KAFKA_PORT", kafka.to_string())
            .env("TRY_AGENT_PORT", agent.to_string())
            .env("KAFKA_BOOTSTRAP_SERVERS", format!("127.0.0.1:{kafka}"))
            .env("LANGGRAPH_URL", format!("http://127.0.0.1:{agent}"))
            .env("BRIDGE_ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .env("EXECUTIONS_FILE", &executions);
        command
    };
    let run = |script: &str| {
        // A broker that stands still for the five seconds of a publish cannot be reached: 69.
        let output = poll(PATIENCE, script, || {
            let output = shell(script).stdin(Stdio::null()).output().expect("bash starts");
            if output.status.code() == Some(69) { Err(output) } else { Ok(output) }
        });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let mut services: Vec<Process> = Vec::new();
    let mut publish = None;
    for (language, text) in section(&read("README.md"), "## A first rule") {
        match language.as_str() {
            "yaml" => {
                assert_eq!(text, read("routing/first.yaml"), "the page and the shipped rule differ");
                fs::write(folder.join("routing/first.yaml"), text).expect("a scratch folder can be written");
            }
            "json" => assert_eq!(text, read("examples/events.jsonl"), "the page and the shipped event differ"),
            "bash" => {
                let (before, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
                let ready = match last {
                    "make kafka" => format!("127.0.0.1:{kafka}"),
                    "make agent" => format!("http://127.0.0.1:{agent}/ok"),
                    "target/debug/workflow-bridge run" => format!("http://127.0.0.1:{admin}/healthz"),
                    _ => {
                        run(&text);
                        publish = Some(text);
                        continue;
                    }
                };
                if !before.is_empty() {
                    run(before);
                }
                let service = Process::spawn(last, &shell(last), Arc::default());
                services.push(service);
                let service = services.last_mut().expect("it was pushed");
                poll(Duration::from_secs(240), last, || {
                    assert!(service.exit_status().is_none(), "{last} ended:\n{}", service.log().tail(40));
                    let answers = if ready.starts_with("http") {
                        matches!(http::get(&ready), Ok((200, _)))
                    } else {
                        TcpStream::connect(&ready).is_ok()
                    };
                    when(answers, service.log().tail(1))
                });
            }
            other => panic!("the section has a block of {other}"),
        }
    }
    let ran = || fs::read_to_string(&executions).unwrap_or_default().lines().count();
    poll(2 * PATIENCE, "the agent runs", || when(ran() == 1, ran()));
    println!("from `make kafka` to the agent's run: {:.0} s", started.elapsed().as_secs_f64());

    // As the page says: published again, it is a duplicate, and the state of the thread tells of the event.
    let publish = publish.expect("the section publishes the event");
    let summary = "etl_orders (scheduled__2026-01-31) completed";
    poll(PATIENCE, "the thread shows what the agent made of the event", || {
        let shown = run(&publish);
        when(shown.contains(summary), shown)
    });
    poll(PATIENCE, "the second copy is a duplicate", || {
        let metrics = http::get(&format!("http://127.0.0.1:{admin}/metrics"));
        let seen = metrics.as_ref().is_ok_and(|(_, text)| {
            text.lines().any(|line| line.contains("outcome=\"duplicate\"") && !line.ends_with(" 0"))
        });
        when(seen, ())
    });
    assert_eq!(ran(), 1, "the agent ran again");
}

/// Whoever mounts `routing/` as it is shipped sends to the agent that the page or compose has started, and to nothing else.
#[test]
fn the_shipped_routing_folder_is_the_first_rule_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = fs::read_dir(root.join("routing"))
        .expect("the folder is there")
        .map(|entry| entry.expect("a folder can be listed").file_name())
        .collect();
    names.sort();
    // The bridge does not read the tests.
    assert_eq!(names, ["first.test.yaml", "first.yaml"]);
    let compose = read("docker-compose.yml");
    assert!(compose.contains("LANGGRAPH_URL: http://langgraph:2024") && compose.contains("127.0.0.1:2024:2024"));
    for file in
        ["README.md", "docker-compose.yml", "examples/langgraph-app/Dockerfile", "examples/langgraph-app/README.md"]
    {
        assert!(!read(file).contains("8123"), "{file}: the example app has one port everywhere");
    }
}
