//! The routing folder, watched: when it has changed, its rules are loaded aside and put in force as a whole.
//!
//! Owns a thread of low priority, which looks at the folder and compiles it, so that a large folder delays no delivery. Invariants: a
//! folder is loaded only when two successive looks saw the same, and what is compiled is what was seen; a folder with a mistake changes
//! nothing but what the pages, the metrics and the log say; rules that were replaced are freed here, because those of a large
//! folder take as long as hundreds of deliveries.

mod former;
mod looks;
mod report;

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tracing::{error, warn};

pub(super) use self::report::Outcome;
use self::{
    former::Former,
    looks::{Looks, Verdict},
    report::Report,
};
use super::rules::{self, Environment};
use crate::{
    config::Config,
    handlers::Handlers,
    pipeline::RulesHandle,
    plan::Plan,
    routing::{Changes, Fingerprint, Routing, Snapshot, Stamp},
    sync::Mutex,
};

/// Between the two looks of a reload that somebody asked for, unless the folder is looked at more often.
const SETTLE: Duration = Duration::from_millis(500);
/// How long such a reload waits for two looks that agree.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// The files are read after this time although the system says that nobody wrote them: its clock, or a network drive, may be wrong.
const READ_EVERY: Duration = Duration::from_secs(60);
/// How long the ledger is searched for deliveries that a change concerns.
const COUNT_FOR: Duration = Duration::from_secs(2);
/// Reloads that may wait for one that is under way.
const MAX_WAITING: usize = 16;
/// How often former rules are looked at that somebody still used.
const FREE_EVERY: Duration = Duration::from_secs(5);
/// Below the threads that deliver.
const NICENESS: i32 = 10;

/// What is watched, and how.
pub(super) struct Watched {
    folder: PathBuf,
    /// How often it is looked at; only when somebody asks when absent.
    every: Option<Duration>,
    window: Duration,
    environment: Environment,
    /// What plans deliveries beside the folder.
    handlers: Arc<Handlers>,
}

impl Watched {
    pub(super) fn new(config: &Config, environment: &Environment, handlers: Arc<Handlers>) -> Self {
        Self {
            folder: config.routing_dir.clone(),
            every: config.routing_reload,
            window: config.dedup_window,
            environment: Arc::clone(environment),
            handlers,
        }
    }
}

/// What somebody asked for.
enum Asked {
    /// Load the folder, although it may be as it was.
    Reload,
    /// Say what that would change.
    Try,
}

struct Request {
    asked: Asked,
    answer: Option<mpsc::SyncSender<Outcome>>,
}

/// The running watch. It ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Reloader {
    requests: mpsc::SyncSender<Request>,
    rules: RulesHandle,
    report: Arc<Mutex<Report>>,
}

impl Reloader {
    /// Starts the thread. `routing` is what is in force, and was made of what `fingerprint` is of.
    pub(super) fn start(
        watched: Watched,
        rules: RulesHandle,
        (routing, fingerprint): (Arc<Routing>, Fingerprint),
    ) -> Self {
        let report = Arc::new(Mutex::new(Report::new(&watched.folder, (&routing, fingerprint))));
        let (requests, asked) = mpsc::sync_channel(MAX_WAITING);
        let worker = Worker {
            stamp: None,
            read_at: Instant::now(),
            looks: Looks::new(fingerprint),
            watched,
            rules: rules.clone(),
            routing,
            former: Former::new(),
            report: Arc::clone(&report),
        };
        let started = thread::Builder::new().name("routing".into()).spawn(move || worker.run(&asked));
        if let Err(error) = started {
            error!(%error, "the routing folder is not watched: its thread cannot be started");
        }
        Self { requests, rules, report }
    }

    /// Loads the folder, or says what that would change; blocks until it is done. `None` when too many wait for it.
    pub(super) fn reload(&self, is_trial: bool) -> Option<Outcome> {
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = if is_trial { Asked::Try } else { Asked::Reload };
        self.requests.try_send(Request { asked, answer: Some(answer) }).ok()?;
        answered.recv().ok()
    }

    /// Loads the folder soon. When too many reloads wait, the last of them sees the same.
    pub(super) fn reload_soon(&self) {
        let _ = self.requests.try_send(Request { asked: Asked::Reload, answer: None });
    }

    /// What `/readyz` says of the folder.
    pub(super) fn note(&self) -> Option<String> {
        self.report.lock().note()
    }

    /// What the status says of it.
    pub(super) fn json(&self) -> Value {
        let former = self.rules.former();
        self.report.lock().json(former)
    }
}

struct Worker {
    watched: Watched,
    rules: RulesHandle,
    routing: Arc<Routing>,
    former: Former<Routing>,
    looks: Looks<Fingerprint>,
    /// As of before the last time that the files were read.
    stamp: Option<Stamp>,
    read_at: Instant,
    report: Arc<Mutex<Report>>,
}

impl Worker {
    fn run(mut self, requests: &mpsc::Receiver<Request>) {
        if let Err(error) = rustix::process::nice(NICENESS) {
            warn!(%error, "the routing folder is compiled at the priority of deliveries");
        }
        let mut looked = Instant::now();
        loop {
            let to_free = self.former.free().then_some(FREE_EVERY);
            let to_look = self.watched.every.map(|every| every.saturating_sub(looked.elapsed()));
            let next = match to_look.into_iter().chain(to_free).min() {
                Some(wait) => requests.recv_timeout(wait),
                None => requests.recv().map_err(Into::into),
            };
            match next {
                Ok(Request { asked, answer }) => {
                    let outcome = self.asked(&asked);
                    if let Some(answer) = answer {
                        // Whoever asked may be gone.
                        let _ = answer.try_send(outcome);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if self.watched.every.is_some_and(|every| looked.elapsed() >= every) {
                        self.look();
                        looked = Instant::now();
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One look at the folder.
    fn look(&mut self) {
        let stamp = Stamp::read(&self.watched.folder);
        let now = Instant::now();
        let is_unwritten = stamp.is_some() && stamp == self.stamp;
        if is_unwritten && !self.looks.is_open(now) && now.duration_since(self.read_at) < READ_EVERY {
            return;
        }
        // As of before the files are read: what is written meanwhile is seen by the next look.
        (self.stamp, self.read_at) = (stamp, now);
        let snapshot = Snapshot::read(&self.watched.folder);
        match self.looks.see(snapshot.fingerprint(), now) {
            Verdict::Same | Verdict::Changing => {}
            Verdict::Restored => self.report.lock().restored(),
            Verdict::Load => drop(self.load(snapshot)),
        }
    }

    /// Looks until two looks agree, and does what was asked.
    fn asked(&mut self, asked: &Asked) -> Outcome {
        let until = Instant::now() + SETTLE_WITHIN;
        let settle = self.watched.every.map_or(SETTLE, |every| every.min(SETTLE));
        let mut last = Snapshot::read(&self.watched.folder).fingerprint();
        loop {
            thread::sleep(settle);
            let snapshot = Snapshot::read(&self.watched.folder);
            if snapshot.fingerprint() == last {
                return match asked {
                    Asked::Reload => self.load(snapshot),
                    Asked::Try => self.tried(snapshot),
                };
            }
            if Instant::now() >= until {
                return Outcome::Changing;
            }
            last = snapshot.fingerprint();
        }
    }

    fn compile(&self, snapshot: Snapshot) -> Result<Routing, Vec<String>> {
        let options = rules::load_options(self.watched.window, &self.watched.environment);
        // A defect must not end the watch unseen; the bridge delivers by the rules that it has.
        let compiled = catch_unwind(AssertUnwindSafe(|| Routing::compile(snapshot, &options)));
        let defect = "loading it panicked: this is a defect of the bridge, please report it with the log";
        let compiled = compiled.map_err(|_| vec![defect.to_owned()])?;
        compiled.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// Compiles what was read and puts it in force.
    fn load(&mut self, snapshot: Snapshot) -> Outcome {
        let (fingerprint, began) = (snapshot.fingerprint(), Instant::now());
        let refused = match self.compile(snapshot) {
            Ok(routing) => match self.put_in_force(Arc::new(routing), fingerprint, began) {
                Ok(outcome) => return outcome,
                Err(problem) => vec![problem],
            },
            Err(problems) => problems,
        };
        self.looks.refused(fingerprint, Instant::now());
        self.report.lock().refused(refused)
    }

    fn put_in_force(
        &mut self,
        routing: Arc<Routing>,
        fingerprint: Fingerprint,
        began: Instant,
    ) -> Result<Outcome, String> {
        let changes = Changes::between(&self.routing, &routing);
        let open = self.rules.open_deliveries(&changes.gone, COUNT_FOR).map_err(|error| error.to_string())?;
        if self.is_in_force(&routing, fingerprint) {
            self.looks.loaded(fingerprint);
            return Ok(self.report.lock().loaded((&self.routing, fingerprint), (changes, open), began.elapsed()));
        }
        match self.rules.replace(self.plan(&routing)?) {
            None => return Err("the bridge stops".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(())) => {}
        }
        self.looks.loaded(fingerprint);
        let outcome = self.report.lock().loaded((&routing, fingerprint), (changes, open), began.elapsed());
        self.former.push(mem::replace(&mut self.routing, routing));
        Ok(outcome)
    }

    /// What plans deliveries with this folder.
    fn plan(&self, routing: &Arc<Routing>) -> Result<Arc<dyn Plan>, String> {
        let problems = |problems: Vec<String>| problems.join("; ");
        self.watched.handlers.beside(Some(Arc::<Routing>::clone(routing))).map_err(problems)
    }

    /// Whether nothing is to be replaced: the files are those that were loaded, and so is what they refer to.
    fn is_in_force(&self, routing: &Routing, fingerprint: Fingerprint) -> bool {
        self.looks.is_in_force(fingerprint) && self.routing.agents().eq(routing.agents())
    }

    /// Says what a reload would change.
    fn tried(&self, snapshot: Snapshot) -> Outcome {
        let fingerprint = snapshot.fingerprint();
        let routing = match self.compile(snapshot) {
            Ok(routing) => Arc::new(routing),
            Err(problems) => return Outcome::refused(problems),
        };
        let plan = match self.plan(&routing) {
            Ok(plan) => plan,
            Err(problem) => return Outcome::refused(vec![problem]),
        };
        if !self.is_in_force(&routing, fingerprint)
            && let Some(Err(error)) = self.rules.check(&*plan)
        {
            return Outcome::refused(vec![error.to_string()]);
        }
        let changes = Changes::between(&self.routing, &routing);
        match self.rules.open_deliveries(&changes.gone, COUNT_FOR) {
            Ok(open) => Outcome::tried((&routing, fingerprint), (changes, open)),
            Err(error) => Outcome::refused(vec![error.to_string()]),
        }
    }
}
