//! What is said of the routing folder: the answer to a reload, the pages, the metrics, the log.
//!
//! Its invariant: what is kept and shown is bounded, however many mistakes a folder has.

use std::{path::Path, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::{
    pipeline::{OpenDeliveries, now_ms},
    routing::{Changes, Fingerprint, NameChanges, Routing},
    telemetry,
};

/// The most mistakes, warnings and names that are shown.
const MAX_SHOWN: usize = 20;
/// The longest text of a mistake that is shown, in characters.
const MAX_CHARS: usize = 500;

/// What is in force, and what was refused since.
#[derive(Debug, Clone)]
pub(in crate::bridge) struct Report {
    folder: String,
    fingerprint: Fingerprint,
    rules: usize,
    agents: usize,
    loaded_ms: u64,
    refused: Option<Refused>,
}

/// A folder that was not put in force.
#[derive(Debug, Clone)]
struct Refused {
    /// Since when there are mistakes.
    since_ms: u64,
    mistakes: Mistakes,
}

/// The first mistakes, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) struct Mistakes {
    count: usize,
    first: Vec<String>,
}

/// How a reload ended.
#[derive(Debug)]
pub(in crate::bridge) enum Outcome {
    /// The folder is in force.
    Loaded(Value),
    /// It has mistakes, and what was in force still is.
    Refused(Mistakes),
    /// Somebody kept writing it.
    Changing,
    /// What a reload would change.
    Tried(Value),
}

impl Outcome {
    pub(super) fn refused(mistakes: Vec<String>) -> Self {
        Self::Refused(Mistakes::new(mistakes))
    }

    pub(super) fn tried(
        (routing, fingerprint): (&Routing, Fingerprint),
        (changes, open): (Changes, OpenDeliveries),
    ) -> Self {
        Self::Tried(described("would_load", (routing, fingerprint), (&changes, open)))
    }

    /// As JSON.
    pub(in crate::bridge) fn json(&self) -> Value {
        match self {
            Self::Loaded(value) | Self::Tried(value) => value.clone(),
            Self::Refused(mistakes) => {
                json!({"result": "refused", "mistakes": mistakes.count, "problems": mistakes.first})
            }
            Self::Changing => json!({
                "result": "changing",
                "problems": ["the routing folder kept changing for 10 s: ask again when it is written"],
            }),
        }
    }
}

impl Mistakes {
    fn new(all: Vec<String>) -> Self {
        let count = all.len();
        let cut = |text: String| match text.char_indices().nth(MAX_CHARS) {
            Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
            None => text,
        };
        Self { count, first: all.into_iter().take(MAX_SHOWN).map(cut).collect() }
    }
}

impl Report {
    /// The folder was loaded at the start.
    pub(super) fn new(folder: &Path, (routing, fingerprint): (&Routing, Fingerprint)) -> Self {
        let report = Self {
            folder: folder.display().to_string(),
            fingerprint,
            rules: routing.rules().count(),
            agents: routing.agents().count(),
            loaded_ms: now_ms(),
            refused: None,
        };
        report.set_metrics();
        report
    }

    fn set_metrics(&self) {
        gauge!(telemetry::RULES_LOADED).set(self.rules as f64);
        gauge!(telemetry::ROUTING_LOADED).set(self.loaded_ms as f64 / 1_000.0);
        gauge!(telemetry::ROUTING_REFUSED).set(f64::from(u8::from(self.refused.is_some())));
    }

    /// Other rules are in force.
    pub(super) fn loaded(
        &mut self,
        (routing, fingerprint): (&Arc<Routing>, Fingerprint),
        (changes, open): (Changes, OpenDeliveries),
        took: Duration,
    ) -> Outcome {
        (self.fingerprint, self.loaded_ms, self.refused) = (fingerprint, now_ms(), None);
        (self.rules, self.agents) = (routing.rules().count(), routing.agents().count());
        self.set_metrics();
        counter!(telemetry::ROUTING_LOADS, "result" => "ok").increment(1);
        for warning in routing.warnings().iter().take(MAX_SHOWN) {
            warn!(%warning, "routing");
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        info!(
            rules = self.rules,
            agents = self.agents,
            fingerprint = %fingerprint,
            took_ms,
            "routing folder loaded: its rules are in force"
        );
        log(&changes, open);
        Outcome::Loaded(described("loaded", (routing, fingerprint), (&changes, open)))
    }

    /// The folder has these mistakes.
    pub(super) fn refused(&mut self, mistakes: Vec<String>) -> Outcome {
        let mistakes = Mistakes::new(mistakes);
        counter!(telemetry::ROUTING_LOADS, "result" => "error").increment(1);
        if self.refused.as_ref().is_none_or(|before| before.mistakes != mistakes) {
            error!(
                folder = self.folder,
                mistakes = mistakes.count,
                "the routing folder was not loaded, and the rules before it stay in force: correct it"
            );
            for problem in &mistakes.first {
                error!(problem, "routing");
            }
        }
        let since_ms = self.refused.as_ref().map_or_else(now_ms, |before| before.since_ms);
        self.refused = Some(Refused { since_ms, mistakes: mistakes.clone() });
        self.set_metrics();
        Outcome::Refused(mistakes)
    }

    /// The folder is again what is in force.
    pub(super) fn restored(&mut self) {
        self.refused = None;
        self.set_metrics();
        info!(fingerprint = %self.fingerprint, "the routing folder is again what is in force");
    }

    /// What `/readyz` says of it.
    pub(in crate::bridge) fn note(&self) -> Option<String> {
        let Refused { since_ms, mistakes } = self.refused.as_ref()?;
        let first = mistakes.first.first().map_or("", String::as_str);
        let more = mistakes.count.saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        Some(format!(
            "the routing folder cannot be loaded since {}, the rules of {} stay in force: {first}{more}",
            time(*since_ms),
            time(self.loaded_ms),
        ))
    }

    /// The part of the status. `former`: see [`RulesHandle::former`](crate::pipeline::RulesHandle::former).
    pub(in crate::bridge) fn json(&self, former: usize) -> Value {
        json!({
            "folder": self.folder,
            "loaded": time(self.loaded_ms),
            "fingerprint": self.fingerprint.to_string(),
            "rules": self.rules,
            "agents": self.agents,
            "former_in_use": former,
            "refused": self.refused.as_ref().map(|refused| json!({
                "since": time(refused.since_ms),
                "mistakes": refused.mistakes.count,
                "problems": refused.mistakes.first,
            })),
        })
    }
}

/// Logs the names that are others: they are part of the identity of deliveries.
fn log(changes: &Changes, open: OpenDeliveries) {
    for (what, names) in [("rule", &changes.rules), ("agent", &changes.agents)] {
        for (from, to) in names.renamed.iter().take(MAX_SHOWN) {
            warn!(what, %from, %to, "renamed: what is open under the former name does not go over to the new one");
        }
        for name in names.removed.iter().take(MAX_SHOWN) {
            warn!(what, %name, "removed");
        }
    }
    for (rule, agent) in changes.dropped.iter().take(MAX_SHOWN) {
        warn!(%rule, %agent, "the rule does not send to the agent any more");
    }
    if open.total() > 0 {
        warn!(
            parked = open.parked,
            partial = open.partial,
            attempted = open.attempted,
            is_partial_count = open.is_partial_count,
            "deliveries are open that no rule asks for any more: those that are parked end as dead letters (plan_gone)"
        );
    }
}

fn described(
    result: &str,
    (routing, fingerprint): (&Routing, Fingerprint),
    (changes, open): (&Changes, OpenDeliveries),
) -> Value {
    let dropped = changes.dropped.iter().take(MAX_SHOWN);
    json!({
        "result": result,
        "fingerprint": fingerprint.to_string(),
        "rules": routing.rules().count(),
        "agents": routing.agents().count(),
        "warnings": routing.warnings().len(),
        "changes": {
            "rules": names(&changes.rules),
            "agents": names(&changes.agents),
            "dropped": {
                "count": changes.dropped.len(),
                "first": dropped.map(|(rule, agent)| json!({"rule": &**rule, "agent": &**agent})).collect::<Vec<_>>(),
            },
        },
        "open_deliveries": {
            "parked": open.parked,
            "partial": open.partial,
            "attempted": open.attempted,
            "is_partial_count": open.is_partial_count,
        },
    })
}

/// The first names of each kind, and how many there are.
fn names(changes: &NameChanges) -> Value {
    let first = |names: &[Arc<str>]| -> Value {
        json!({"count": names.len(), "first": names.iter().take(MAX_SHOWN).map(|name| &**name).collect::<Vec<_>>()})
    };
    let renamed = changes.renamed.iter().take(MAX_SHOWN);
    json!({
        "renamed": {
            "count": changes.renamed.len(),
            "first": renamed.map(|(from, to)| json!({"from": &**from, "to": &**to})).collect::<Vec<_>>(),
        },
        "removed": first(&changes.removed),
        "added": first(&changes.added),
    })
}

/// RFC 3339 in UTC, to the second.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms / 1_000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.map_or_else(|| format!("{ms} ms after 1970"), |time| time.to_string())
}
