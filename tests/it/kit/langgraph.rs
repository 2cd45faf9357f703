//! A real `langgraph dev` server with examples/langgraph-app, which counts its own executions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    free_port, http, poll, prepared,
    process::{Log, Process, Scratch},
};

/// A LangGraph server with state of its own.
pub struct LangGraph {
    port: u16,
    folder: Scratch,
    process: Process,
}

impl LangGraph {
    /// One server for all tests that leave it alone. Event ids need to be unique.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<LangGraph> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A fresh server: no threads, no runs, no executions.
    pub fn start() -> Self {
        let folder = Scratch::new("langgraph");
        copy(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/langgraph-app"), &folder.join("app"));
        let port = free_port();
        let process = run(&folder, port, Arc::new(Log::default()));
        Self { port, folder, process }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often the graphs ran for each event, counted by the graphs themselves.
    pub fn executions(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for execution in self.executed() {
            *counts.entry(execution["event_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        counts
    }

    /// The executions whose event id starts with this: for a server that tests share.
    pub fn executions_of(&self, prefix: &str) -> BTreeMap<String, usize> {
        self.executions().into_iter().filter(|(event_id, _)| event_id.starts_with(prefix)).collect()
    }

    /// Each execution as the graph wrote it: `event_id`, `graph`, `thread_id`, `run_id`.
    pub fn executed(&self) -> Vec<Value> {
        let text = fs::read_to_string(executions_file(&self.folder)).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("the graph writes JSON lines"))
            .collect()
    }

    /// Waits until no run is pending or running, as far as the server says.
    #[track_caller]
    pub fn wait_idle(&self, deadline: Duration) {
        poll(deadline, "no thread of the server is busy", || {
            let search = serde_json::json!({"status": "busy", "limit": 1});
            match http::post(&format!("{}/threads/search", self.url()), &search)? {
                (200, body) if body.trim() == "[]" => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        });
    }

    /// SIGKILL to the whole group. Runs of the last 10 s are lost: `langgraph dev` flushes no sooner.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, with the state that it had flushed.
    pub fn start_again(&mut self) {
        assert!(self.process.exit_status().is_some(), "the server still runs");
        self.process = run(&self.folder, self.port, Arc::clone(self.process.log()));
    }

    /// SIGTERM, and waits: the state is flushed.
    pub fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_exit(Duration::from_secs(30));
    }
}

fn executions_file(folder: &Path) -> PathBuf {
    folder.join("executions.jsonl")
}

fn run(folder: &Scratch, port: u16, log: Arc<Log>) -> Process {
    let langgraph = prepared("langgraph-venv/bin/langgraph");
    assert!(
        langgraph.is_file(),
        "the LangGraph server is not in {}: run `make test-setup` (it needs Python 3.11 or newer with venv), or `make test`",
        langgraph.display()
    );
    let mut command = Command::new(langgraph);
    command
        .args(["dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--n-jobs-per-worker", "10", "--port"])
        .arg(port.to_string())
        .current_dir(folder.join("app"))
        .env("EXECUTIONS_FILE", executions_file(folder))
        .env("LANGGRAPH_CLI_NO_ANALYTICS", "1")
        .env("LANGGRAPH_NO_VERSION_CHECK", "true")
        .env("LANGSMITH_TRACING", "false")
        .env("LANGCHAIN_TRACING_V2", "false")
        .env("PYTHONUNBUFFERED", "1")
        .env_remove("LANGSMITH_API_KEY")
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH");
    let mut process = Process::spawn("the LangGraph server", &command, log);
    let url = format!("http://127.0.0.1:{port}/ok");
    poll(Duration::from_secs(90), "the LangGraph server answers on its own port", || {
        if let Some(status) = process.exit_status() {
            panic!("the LangGraph server ended ({status}):\n{}", process.log().tail(60));
        }
        // `langgraph dev` takes another port when this one is taken, so the listener must be ours.
        match http::get(&url) {
            Ok((200, _)) if process.listens_on(port) => Ok(()),
            Ok((200, _)) => Err("another process listens on the port".to_owned()),
            Ok((status, _)) => Err(format!("status {status}")),
            Err(_) => Err("no answer".to_owned()),
        }
    });
    process
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a scratch folder can be written");
    for entry in fs::read_dir(from).expect("examples/langgraph-app is there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a file has a name"))).expect("a file can be copied");
        }
    }
}
