//! What the admin pages show: health, readiness and the status.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    event_page, events_page,
    reload::{Outcome, Reloader},
    spool::SpoolStatus,
};
use crate::{
    admin::{EventPage, EventsQuery, Probe, ReloadPage, View},
    dedup::Ledger,
    kafka::{AppenderStatus, ConsumerStatus, ConsumerView, LedgerAppender, LedgerProgress, PartitionStatus},
    pipeline::{AgentStatus, BreakerState, FormerEndpointStatus, KnownEvents, LONGEST_ENDPOINT_WAIT},
    plan::Plan,
    words::counted,
};

/// How long the consumer loop may take between two polls before the process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// How long the ledger topic may take to acknowledge a record.
const LATE_ACK: Duration = Duration::from_secs(5);

/// The most rules that the status lists: a folder may have a hundred times as many, and the answer is made in memory.
const MAX_RULES: usize = 1_000;

/// See the module.
pub(super) struct Overview {
    pub(super) consumer: ConsumerView,
    pub(super) events: KnownEvents,
    pub(super) agents: Box<dyn Fn() -> Vec<AgentStatus> + Send + Sync>,
    pub(super) former_endpoints: Box<dyn Fn() -> Vec<FormerEndpointStatus> + Send + Sync>,
    pub(super) ledger: Ledger,
    /// `None` when the ledger topic is off.
    pub(super) appender: Option<LedgerAppender>,
    /// The rules in force.
    pub(super) plan: Box<dyn Fn() -> Arc<dyn Plan> + Send + Sync>,
    /// `None` without a routing folder.
    pub(super) reloader: Option<Reloader>,
    pub(super) group: String,
    pub(super) spool: Option<Box<dyn Fn() -> SpoolStatus + Send + Sync>>,
}

impl Overview {
    fn agents_with_open_breaker(&self) -> impl Iterator<Item = AgentStatus> {
        (self.agents)().into_iter().filter(|agent| agent.breaker != BreakerState::Closed)
    }
}

impl View for Overview {
    fn health(&self) -> Probe {
        let since = self.consumer.status().last_poll.elapsed();
        let ok = since < STUCK_AFTER;
        let notes = if ok { Vec::new() } else { vec![format!("the consumer loop has not polled for {since:?}")] };
        Probe { ok, notes }
    }

    fn readiness(&self) -> Probe {
        let ConsumerStatus {
            assigned,
            last_error,
            reachable,
            lease_awaited_since,
            ledger_error,
            joining,
            in_reserve,
            ..
        } = self.consumer.status();
        let mut notes = Vec::new();
        let problem = match (reachable, assigned.is_empty()) {
            (false, _) => Some("no broker answers"),
            // Whether there is an error, such as a topic that does not exist, decides.
            (true, true) if in_reserve && last_error.is_none() => {
                notes.push("in reserve: the group has no partition for this replica".to_owned());
                None
            }
            (true, true) => Some("no partition is assigned"),
            (true, false) => None,
        };
        match (problem, last_error) {
            (Some(problem), Some(error)) => notes.push(format!("{problem}: {error}")),
            (Some(problem), None) => notes.push(problem.to_owned()),
            (None, Some(error)) => notes.push(format!("Kafka client error: {error}")),
            (None, None) => {}
        }
        notes.extend(joining.filter(|_| assigned.is_empty()).map(|session| {
            let (seconds, setting) = (session.length.as_secs(), session.setting);
            format!(
                "the group may wait for a former member that ended without leaving, at most {seconds} s ({setting})"
            )
        }));
        notes.extend(lease_awaited_since.map(|since| {
            format!("waiting for the group's answer since {since:.0}, deliveries start again when it answers")
        }));
        notes.extend(self.appender.as_ref().and_then(|appender| append_note(&appender.status())));
        notes.extend(ledger_error.map(|error| format!("ledger topic: {error}")));
        notes.extend(assigned.iter().filter_map(ledger_note));
        notes.extend(assigned.iter().filter_map(stuck_note));
        notes.extend(self.reloader.as_ref().and_then(Reloader::note));
        notes.extend(self.agents_with_open_breaker().map(|agent| {
            let failure = agent.last_failure.unwrap_or_default();
            let parked = match agent.parked_deliveries {
                0 => String::new(),
                parked => format!(", {parked} are parked"),
            };
            format!(
                "the breaker of agent {} is open, {} deliveries wait{parked}: {failure}",
                agent.agent, agent.pending_deliveries
            )
        }));
        notes.extend((self.agents)().iter().filter_map(long_calls_note));
        notes.extend((self.former_endpoints)().iter().filter_map(former_endpoint_note));
        Probe { ok: problem.is_none(), notes }
    }

    fn reload(&self, is_trial: bool) -> ReloadPage {
        let Some(reloader) = &self.reloader else {
            let problem = "this bridge has handlers and no routing folder: there is nothing to load";
            return ReloadPage::Unavailable(json!({"result": "unavailable", "problems": [problem]}));
        };
        let Some(outcome) = reloader.reload(is_trial) else {
            let problem = "the routing folder is not watched, or too many reloads wait: see the log, or ask again";
            return ReloadPage::Unavailable(json!({"result": "unavailable", "problems": [problem]}));
        };
        match outcome {
            Outcome::Loaded(_) | Outcome::Tried(_) => ReloadPage::Done(outcome.json()),
            Outcome::Refused(_) => ReloadPage::Refused(outcome.json()),
            Outcome::Changing => ReloadPage::Unavailable(outcome.json()),
        }
    }

    fn event(&self, event_id: &str) -> EventPage {
        event_page::page(&self.events, &self.consumer.status(), event_id)
    }

    fn events(&self, query: &EventsQuery) -> Result<Value, String> {
        events_page::page(&self.events, &self.consumer.status(), query)
    }

    fn status(&self) -> Value {
        let plan = (self.plan)();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "group": self.group,
            "consumer": consumer_status(&self.consumer.status()),
            "agents": (self.agents)(),
            "former_endpoints": (self.former_endpoints)(),
            "spool": self.spool.as_ref().map(|spool| spool()),
            "ledger": {
                "records": self.ledger.len(),
                "unacknowledged": self.appender.as_ref().map(|appender| appender.status().unacknowledged),
                "append_error": self.appender.as_ref().and_then(|appender| appender.status().error),
            },
            "routing": self.reloader.as_ref().map(Reloader::json),
            "rules": plan.rules().take(MAX_RULES).map(|(rule, agents)| json!({
                "rule": &**rule,
                "to": agents.iter().map(|agent| &**agent).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "rules_left_out": plan.rules().skip(MAX_RULES).count(),
        })
    }
}

/// Offsets wait for the ledger topic.
fn append_note(status: &AppenderStatus) -> Option<String> {
    let waited = status.waiting_since.map(|since| since.elapsed()).filter(|waited| *waited >= LATE_ACK)?;
    let (records, seconds) = (status.unacknowledged, waited.as_secs());
    let error = status.error.as_deref().unwrap_or("no broker has answered yet");
    let wait = if records == 1 { "waits" } else { "wait" };
    Some(format!(
        "{} {wait} for the ledger topic, none was acknowledged for {seconds} s, and their offsets are not committed: {error}",
        counted(records, "record")
    ))
}

fn long_calls_note(agent: &AgentStatus) -> Option<String> {
    let AgentStatus { agent, long_calls, .. } = agent;
    (*long_calls > 0).then(|| {
        format!(
            "calls of handler {agent} that take longer than 5 minutes: {long_calls}; if they hang, set a `timeout` for it"
        )
    })
}

fn former_endpoint_note(endpoint: &FormerEndpointStatus) -> Option<String> {
    let FormerEndpointStatus { agent, url, breaker, deliveries, last_failure, .. } = endpoint;
    let failure = last_failure.as_deref().unwrap_or_default();
    let Some(url) = url else {
        let minutes = LONGEST_ENDPOINT_WAIT.as_secs() / 60;
        return Some(format!(
            "{} to agent {agent} may have arrived at an endpoint that no loaded routing folder has, and will be dead-lettered after \
             {minutes} minutes, or `give_up_after` if that is less, unless a folder with that URL or `server:` is loaded",
            counted(*deliveries, "delivery")
        ));
    };
    (*breaker != BreakerState::Closed).then(|| {
        let (deliveries, wait) = (counted(*deliveries, "delivery"), if *deliveries == 1 { "waits" } else { "wait" });
        format!(
            "the breaker of {url} is open, which agent {agent} had before: {deliveries} {wait} there, which may have arrived, or \
             whose agent is gone: {failure}"
        )
    })
}

fn ledger_note(partition: &PartitionStatus) -> Option<String> {
    let LedgerProgress { read, total, problem } = partition.ledger.as_ref()?;
    let name = format!("partition {}/{}", partition.topic, partition.partition);
    Some(match (problem, total) {
        (Some(problem), _) => format!("{name} waits for the ledger topic: {problem}"),
        (None, Some(total)) => format!("{name} reads the ledger topic: {read} of {total} records"),
        (None, None) => format!("{name} waits for the end of the ledger topic"),
    })
}

fn stuck_note(partition: &PartitionStatus) -> Option<String> {
    let stuck = partition.stuck.as_ref()?;
    Some(format!(
        "partition {}/{} is stuck at offset {} for {} s, its end is {}: {}: raise receive.message.max.bytes under \
         kafka.properties, or skip the offset (docs/kafka.md, \"A stuck partition\")",
        partition.topic,
        partition.partition,
        stuck.offset,
        stuck.seconds,
        partition.high_watermark.unwrap_or_default(),
        stuck.reason,
    ))
}

fn consumer_status(status: &ConsumerStatus) -> Value {
    let partitions: Vec<Value> = status
        .assigned
        .iter()
        .map(|partition| {
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "committed": partition.committed,
                "position": partition.position,
                "high_watermark": partition.high_watermark,
                "lag": partition.lag,
                "unread": partition.unread,
                "span": partition.span,
                "capped": partition.capped,
                "ledger": partition.ledger.as_ref().map(|ledger| json!({
                    "read": ledger.read,
                    "total": ledger.total,
                    "problem": ledger.problem,
                })),
                "stuck": partition.stuck.as_ref().map(|stuck| json!({
                    "offset": stuck.offset,
                    "seconds": stuck.seconds,
                    "reason": stuck.reason,
                })),
            })
        })
        .collect();
    json!({
        "cluster_id": status.cluster_id,
        "assigned": partitions,
        "paused": status.paused,
        "last_poll_ms_ago": status.last_poll.elapsed().as_millis(),
        "last_error": status.last_error,
        "reachable": status.reachable,
        "ledger_error": status.ledger_error,
        "in_flight_events": status.in_flight_events,
        "in_flight_bytes": status.in_flight_bytes,
        "lease_awaited_since": status.lease_awaited_since.map(|since| since.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_delivery_waits_and_two_wait() {
        let note = |url: Option<&str>, deliveries| {
            let endpoint = FormerEndpointStatus {
                agent: "audit".into(),
                url: url.map(Into::into),
                breaker: BreakerState::Open,
                next_attempt_in_ms: None,
                deliveries,
                last_failure: Some("refused".into()),
            };
            former_endpoint_note(&endpoint).unwrap()
        };
        assert!(note(Some("http://h/"), 1).contains(": 1 delivery waits there,"));
        assert!(note(Some("http://h/"), 2).contains(": 2 deliveries wait there,"));
        let missing = note(None, 1);
        assert!(
            missing.starts_with("1 delivery to agent audit may have arrived") && missing.contains("after 15 minutes")
        );
    }
}
