//! The README and the docs as a new user takes them: every command in them is run here, or is a
//! target of the Makefile.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::kit::{BridgeSetup, LangGraph, kafka, process::Scratch};

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

/// The commands of a document, without comments.
fn commands(path: &str) -> Vec<String> {
    let text = read(path);
    let shell = ["bash", "sh", "console"].iter().flat_map(|language| blocks(&text, language)).collect::<String>();
    shell
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn every_command_in_the_documents_is_one_that_a_test_runs() {
    // What the tests of this file, and those named beside, run.
    let run: BTreeMap<&str, &str> = BTreeMap::from([
        ("workflow-bridge check --routing routing", "below"),
        ("KAFKA_BOOTSTRAP_SERVERS=localhost:9092 workflow-bridge run --routing routing", "below"),
        ("workflow-bridge publish events.jsonl", "below"),
        ("mv data data.bad", "ledger.rs"),
        ("workflow-bridge spool status", "spool.rs"),
        ("workflow-bridge spool drain", "spool.rs"),
        ("workflow-bridge run", "ledger.rs"),
        ("pip install -r ../../tests/langgraph/requirements.txt", "`make langgraph-venv`"),
        ("pip install target/wheels/workflow_events-*.whl", "`make python-venv`, with the wheel of the dev profile"),
        ("python -m workflow_events drain", "python/tests/test_drain_command.py"),
        ("python -m workflow_events drain --watch 30", "python/tests/test_drain_command.py, with less patience"),
        ("python -m workflow_events drain --watch 5", "python/tests/test_drain_command.py, with less patience"),
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
        ("langgraph dev --no-browser --port 8123 --n-jobs-per-worker 10", "the kit, on a free port"),
    ]);
    let makefile = read("Makefile");
    let mut documents = vec![
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "examples/langgraph-app/README.md",
        "examples/airflow/README.md",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for entry in fs::read_dir(docs).expect("docs/ can be listed") {
        documents.push(format!("docs/{}", entry.expect("docs/ can be listed").file_name().to_string_lossy()));
    }
    let mut seen = 0;
    for document in documents {
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
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md"), root.join("CONTRIBUTING.md")];
    for entry in fs::read_dir(root.join("docs")).expect("docs/ can be listed") {
        documents.push(entry.expect("docs/ can be listed").path());
    }
    let mut seen = 0;
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document can be read");
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || link.starts_with("http") {
                continue;
            }
            seen += 1;
            let target = document.parent().expect("a file has a folder").join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}

#[test]
fn the_first_rule_of_the_readme_runs_the_agent_once_for_the_event_of_the_readme() {
    let readme = read("README.md");
    let rule = blocks(&readme, "yaml").pop().expect("the README has a rule");
    let event = blocks(&readme, "json").pop().expect("the README has an event");
    let langgraph = LangGraph::start();
    let rule = rule.replace("http://127.0.0.1:2024", &langgraph.url());

    let folder = Scratch::new("readme");
    fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
    fs::write(folder.join("routing/first.yaml"), &rule).expect("a scratch folder can be written");
    // Beside the shipped rules, as in a clone.
    for shipped in ["agents.yaml", "rules.yaml"] {
        fs::write(folder.join("routing").join(shipped), read(&format!("routing/{shipped}")))
            .expect("it can be written");
    }
    fs::write(folder.join("events.jsonl"), &event).expect("a scratch folder can be written");
    let topic = kafka().topic("readme", 1);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"))
            .args(arguments)
            .current_dir(&*folder)
            .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
            .env("KAFKA_TOPIC", &topic)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["check", "--routing", "routing"]);
    run(&["publish", "events.jsonl"]);
    run(&["publish", "events.jsonl"]);
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing_file("first.yaml", &rule).start();
    kafka().wait_committed(bridge.group(), &topic, Duration::from_secs(60));
    bridge.stop();
    langgraph.wait_idle(Duration::from_secs(60));
    let executions = langgraph.executions();
    assert_eq!(executions.values().copied().collect::<Vec<_>>(), [1], "{executions:?}");
}
