//! What became of an event that is not in Kafka, and what to do about it.

use std::{path::PathBuf, time::Duration};

use crate::connection::SettingError;

/// The broker has the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The partition that it was written to.
    pub partition: i32,
    /// Its offset there; -1 with `acks=0`, where the broker confirms nothing.
    pub offset: i64,
}

impl Ack {
    /// Whether a broker confirmed it: with `acks=0` none does.
    pub fn is_heard(&self) -> bool {
        self.offset >= 0
    }
}

/// An event that the broker did not acknowledge, or a client that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The settings have mistakes; all of them are listed.
    #[error("the publish client's settings are wrong: {}", join(.0))]
    Settings(Vec<SettingError>),
    /// No broker was found in time.
    #[error("no broker at {servers} answered within {within:?}: {reason}: {advice}")]
    NoBroker {
        /// The addresses that were tried.
        servers: String,
        /// How long.
        within: Duration,
        /// What librdkafka says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// Not in Kafka yet, but safe on disk: it is published once Kafka is back.
    #[error("event {event_id} was not acknowledged by topic {topic} and waits in the spool, in {}: {reason}", path.display())]
    Spooled {
        /// The event.
        event_id: String,
        /// The topic.
        topic: String,
        /// The file that holds it.
        path: PathBuf,
        /// Why it is not in Kafka, and what to do.
        reason: String,
    },
    /// Neither Kafka nor the spool took it: only the caller has it.
    #[error(
        "event {event_id} is LOST unless it is published again: topic {topic} did not acknowledge it ({reason}), and the spool did not take it ({spool})"
    )]
    Lost {
        /// The event.
        event_id: String,
        /// The topic.
        topic: String,
        /// Why it is not in Kafka.
        reason: String,
        /// Why it is not in the spool.
        spool: String,
        /// The event itself, in JSON, so that it can be kept somewhere.
        event: String,
    },
    /// It was not acknowledged, and there is no spool; it may or may not be in the topic.
    #[error("event {event_id} was not acknowledged by topic {topic}: {reason}")]
    NotAcknowledged {
        /// The event.
        event_id: String,
        /// The topic.
        topic: String,
        /// What librdkafka says, and what to do.
        reason: String,
        /// Whether the topic alone is at fault: other topics may take events.
        of_topic: bool,
        /// The event itself, in JSON.
        event: String,
    },
    /// Kafka will never accept it as it is.
    #[error(
        "event {event_id} is too large for topic {topic} ({bytes} bytes): raise the topic's max.message.bytes, or put a reference into the payload{}",
        where_kept(kept)
    )]
    TooLarge {
        /// The event.
        event_id: String,
        /// The topic.
        topic: String,
        /// The size of its value.
        bytes: usize,
        /// Who has it now.
        kept: Kept,
        /// The event itself, in JSON.
        event: String,
    },
    /// Not everything was acknowledged in time. It stays in flight.
    #[error("{pending} events are not acknowledged after {within:?}: {reason}")]
    FlushTimedOut {
        /// How many.
        pending: usize,
        /// How long the wait was.
        within: Duration,
        /// What librdkafka says, and what to do.
        reason: String,
    },
    /// The client was closed before.
    #[error("the publish client is closed: make a new one")]
    Closed,
}

/// Where an event is that its topic will never accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file of the spool's quarantine.
    In(PathBuf),
    /// Only the caller has it: there is no spool, or it came from there.
    ByCaller,
    /// Only the caller has it: the quarantine did not take it, for this reason.
    Nowhere(String),
}

impl PublishError {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::NoBroker { .. } => "no_broker",
            Self::Spooled { .. } => "spooled",
            Self::Lost { .. } => "lost",
            Self::NotAcknowledged { .. } => "not_acknowledged",
            Self::TooLarge { .. } => "too_large",
            Self::FlushTimedOut { .. } => "flush_timed_out",
            Self::Closed => "closed",
        }
    }
}

fn where_kept(kept: &Kept) -> String {
    match kept {
        Kept::In(path) => format!(
            ". It is kept in {}: once the topic takes it, move it to the spool's folder, which is the one above",
            path.display()
        ),
        Kept::Nowhere(error) => format!(". It is kept nowhere: {error}"),
        Kept::ByCaller => String::new(),
    }
}

fn join(errors: &[SettingError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
