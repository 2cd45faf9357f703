//! A real server with the graph of examples/langgraph-app, which counts its own executions: `langgraph dev`,
//! LangGraph.js or aegra.

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
    PATIENCE, free_port, http, poll,
    postgres::Postgres,
    prepared,
    process::{Log, Process, Scratch},
};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// `langgraph dev`, in memory.
    Dev,
    /// LangGraph.js's `langgraphjs dev`, in memory, with the graph of tests/langgraph-js.
    Js,
    /// `aegra serve`, with a PostgreSQL of its own.
    Aegra,
}

/// A LangGraph server with state of its own.
pub struct LangGraph {
    flavor: Flavor,
    port: u16,
    folder: Scratch,
    process: Process,
    database: Option<Postgres>,
}

impl LangGraph {
    /// One server for all tests that leave it alone. Event ids need to be unique.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<LangGraph> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A fresh server: no threads, no runs, no executions.
    pub fn start() -> Self {
        Self::start_flavor(Flavor::Dev)
    }

    /// The same of this kind.
    pub fn start_flavor(flavor: Flavor) -> Self {
        Self::start_in(flavor, prepare(flavor))
    }

    /// The same with tests/langgraph/again.py as its `analyst`: see [`execute_again`](Self::execute_again).
    pub fn start_that_executes_again(flavor: Flavor) -> Self {
        let folder = prepare(flavor);
        let (app, again) = (folder.join("app"), "tests/langgraph/again.py");
        fs::copy(repository(again), app.join("again.py")).expect("a file can be copied");
        fs::create_dir(folder.join(AGAIN_RUNS)).expect("a scratch folder can be written");
        let config = fs::read_to_string(app.join("langgraph.json")).expect("the app has its configuration");
        let changed = config.replace("./analyst.py:graph", "./again.py:graph");
        assert_ne!(config, changed, "the app has no analyst");
        fs::write(app.join("langgraph.json"), changed).expect("a scratch folder can be written");
        Self::start_in(flavor, folder)
    }

    fn start_in(flavor: Flavor, folder: Scratch) -> Self {
        let database = (flavor == Flavor::Aegra).then(Postgres::start);
        let port = free_port();
        let process = run(flavor, &folder, port, database.as_ref(), Arc::new(Log::default()));
        Self { flavor, port, folder, process, database }
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

    /// How many runs the server has for each event that its claim threads name.
    pub fn runs(&self) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for (metadata, listed) in self.runs_by_claim() {
            *runs.entry(metadata["event_id"].as_str().unwrap_or_default().to_owned()).or_default() += listed.len();
        }
        runs
    }

    /// Each claim thread that names an event: its metadata (`event_id`, `rule`, `agent`), and its runs as the server
    /// lists them.
    pub fn runs_by_claim(&self) -> Vec<(Value, Vec<Value>)> {
        let ask = |path: &str, body: Option<&Value>| -> Vec<Value> {
            let url = format!("{}{path}", self.url());
            let answer = poll(PATIENCE, "the server answers", || {
                body.map_or_else(|| http::get(&url), |body| http::post(&url, body))
            });
            match answer {
                (200, body) => serde_json::from_str(&body).expect("the server answers a list"),
                other => panic!("{path}: {other:?}"),
            }
        };
        let mut claims = Vec::new();
        for offset in (0..).step_by(100) {
            let threads = ask("/threads/search", Some(&serde_json::json!({"limit": 100, "offset": offset})));
            for thread in &threads {
                let (id, metadata) = (thread["thread_id"].as_str().unwrap_or_default(), &thread["metadata"]);
                // The threads of later rounds name no event, and hold no run.
                if metadata["event_id"].is_string() {
                    claims.push((metadata.clone(), ask(&format!("/threads/{id}/runs?limit=100"), None)));
                }
            }
            if threads.is_empty() {
                break;
            }
        }
        claims
    }

    /// SIGKILL to the whole group. Runs of the last 10 s are lost: `langgraph dev` flushes no sooner.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, with the state that it had flushed.
    pub fn start_again(&mut self) {
        assert!(self.process.exit_status().is_some(), "the server still runs");
        let log = Arc::clone(self.process.log());
        self.process = run(self.flavor, &self.folder, self.port, self.database.as_ref(), log);
    }

    /// From now on the server executes this share of the runs twice, in percent.
    pub fn execute_again(&self, percent: u8) {
        let (next, file) = (self.folder.join("again.next"), self.folder.join(AGAIN_PERCENT));
        fs::write(&next, percent.to_string()).expect("a scratch folder can be written");
        fs::rename(next, file).expect("a scratch folder can be written");
    }

    /// SIGTERM, and waits: the state is flushed.
    pub fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_exit(PATIENCE);
    }
}

const AGAIN_PERCENT: &str = "again.percent";
const AGAIN_RUNS: &str = "again";

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder with the app of this kind.
fn prepare(flavor: Flavor) -> Scratch {
    let folder = Scratch::new("langgraph");
    let app = if flavor == Flavor::Js { "tests/langgraph-js" } else { "examples/langgraph-app" };
    copy(&repository(app), &folder.join("app"));
    folder
}

fn executions_file(folder: &Path) -> PathBuf {
    folder.join("executions.jsonl")
}

/// The program that serves this kind, where `make` put it.
fn program(flavor: Flavor) -> PathBuf {
    let (path, make) = match flavor {
        Flavor::Dev => ("langgraph-venv/bin/langgraph", "test-setup` (it needs Python 3.11 or newer with venv"),
        Flavor::Js => ("langgraph-js/node_modules/.bin/langgraphjs", "test-langgraph-js` (it needs Node.js 20"),
        Flavor::Aegra => ("aegra-venv/bin/aegra", "test-aegra` (it needs Python 3.12 and PostgreSQL"),
    };
    let program = prepared(path);
    assert!(program.is_file(), "the server is not in {}: run `make {make})", program.display());
    program
}

fn run(flavor: Flavor, folder: &Scratch, port: u16, database: Option<&Postgres>, log: Arc<Log>) -> Process {
    let app = folder.join("app");
    let mut command = Command::new(program(flavor));
    match flavor {
        Flavor::Dev | Flavor::Js => {
            command.args(["dev", "--no-browser", "--host", "127.0.0.1", "--n-jobs-per-worker", "10"]);
            if flavor == Flavor::Dev {
                command.arg("--no-reload");
            } else {
                // Its graph imports @langchain/langgraph from beside itself.
                let modules = app.join("node_modules");
                if !modules.exists() {
                    std::os::unix::fs::symlink(prepared("langgraph-js/node_modules"), modules)
                        .expect("a scratch folder can be written");
                }
            }
        }
        Flavor::Aegra => {
            let url = database.map(Postgres::url).expect("aegra has a database");
            command.args(["serve", "--host", "127.0.0.1"]);
            command.env("DATABASE_URL", url).env("AEGRA_CONFIG", "langgraph.json").env("PYTHONPATH", ".");
            command.env("LOG_LEVEL", "WARNING");
        }
    }
    command
        .arg("--port")
        .arg(port.to_string())
        .current_dir(app)
        .env("EXECUTIONS_FILE", executions_file(folder))
        .env("AGAIN_PERCENT", folder.join(AGAIN_PERCENT))
        .env("AGAIN_RUNS", folder.join(AGAIN_RUNS))
        .env("LANGGRAPH_CLI_NO_ANALYTICS", "1")
        .env("LANGGRAPH_NO_VERSION_CHECK", "true")
        .env("LANGSMITH_TRACING", "false")
        .env("LANGCHAIN_TRACING_V2", "false")
        .env("PYTHONUNBUFFERED", "1")
        .env_remove("LANGSMITH_API_KEY")
        .env_remove("VIRTUAL_ENV");
    if flavor != Flavor::Aegra {
        command.env_remove("PYTHONPATH");
    }
    let probe = if flavor == Flavor::Aegra { "health" } else { "ok" };
    let mut process = Process::spawn("the LangGraph server", &command, log);
    let url = format!("http://127.0.0.1:{port}/{probe}");
    poll(Duration::from_secs(300), "the LangGraph server answers on its own port", || {
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
