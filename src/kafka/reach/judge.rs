//! What the answers of the cluster mean. Pure.

use std::time::Duration;

use rdkafka::error::{KafkaError as RdError, KafkaResult};

use super::{
    super::{
        dead_letters::ROOM_FOR_HEADERS,
        ledger_topic::{Finding, check_config},
        questions::is_denied,
        settings::{KafkaSettings, OffsetReset},
    },
    ask::{Config, Topic},
};
use crate::{
    connection::{Security, reason},
    probe::Probed,
    words,
};

/// `3 brokers (a:9092, ...), SASL_SSL`.
pub(super) fn brokers(names: &[String], security: &Security) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let list = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} ({list}{more}), {}", words::counted(names.len(), "broker"), security.protocol())
}

pub(super) fn reset(settings: &KafkaSettings) -> &'static str {
    match settings.auto_offset_reset {
        OffsetReset::Earliest => "the oldest record",
        OffsetReset::Latest => "the end",
    }
}

/// A question that was refused, or has no answer.
pub(super) fn refused(target: &str, error: &RdError, remedy: &str) -> Probed {
    if is_denied(error) {
        Probed::error(target, reason(error), remedy)
    } else {
        let remedy = "no clear answer: try again, and see the brokers' logs";
        Probed::warning(target, reason(error), remedy)
    }
}

pub(super) fn source(
    name: &str,
    topic: &KafkaResult<Topic>,
    reading: Option<&KafkaResult<()>>,
    max_bytes: Option<u64>,
    max_record_bytes: u64,
) -> Probed {
    let target = format!("topic {name}");
    let (partitions, leaderless) = match topic {
        Ok(Topic::Present { partitions, leaderless }) => (*partitions, *leaderless),
        Ok(Topic::Absent) => {
            let remedy = format!(
                "check kafka.topics, or create it (kafka-topics.sh --create --topic {name}); the bridge waits for it"
            );
            return Probed::error(target, "it does not exist, or our user may not see it", remedy);
        }
        Err(error) => return refused(&target, error, "grant our user READ and DESCRIBE on it"),
    };
    if let Some(Err(error)) = reading {
        return refused(&target, error, "grant our user READ on it");
    }
    let found = format!("{}, our user may read it", counted(partitions));
    if leaderless > 0 {
        return no_leader(&target, partitions, leaderless);
    }
    if let Some(bytes) = max_bytes.filter(|bytes| *bytes > max_record_bytes) {
        let remedy = "raise kafka.budget.max_record_bytes, or lower the topic's limit";
        let found = format!(
            "{found}; it takes records of {bytes} bytes, and those over kafka.budget.max_record_bytes ({max_record_bytes}) \
             become dead letters"
        );
        return Probed::warning(target, found, remedy);
    }
    Probed::ok(target, found)
}

fn no_leader(target: &str, partitions: i32, leaderless: usize) -> Probed {
    let found = format!("{leaderless} of {} have no leader", counted(partitions));
    Probed::error(target, found, "start the brokers that hold them")
}

/// `1 partition`, `3 partitions`.
fn counted(partitions: i32) -> String {
    words::counted(i64::from(partitions), "partition")
}

/// A topic that does not exist, and that the bridge creates.
pub(super) fn creation(target: &str, tried: &Result<(), RdError>) -> Probed {
    match tried {
        Ok(()) => Probed::ok(target, "it does not exist yet; our user may create it"),
        Err(error) if is_denied(error) => Probed::error(
            target,
            format!("it does not exist, and our user may not create it ({})", reason(error)),
            "grant our user CREATE on it, or create it",
        ),
        Err(error) => Probed::warning(
            target,
            format!("it does not exist, and whether it can be created is not clear ({})", reason(error)),
            "create it, or see the brokers' logs",
        ),
    }
}

const WRITES: &str = "whether our user may write was not tried";

pub(super) fn dead_letters(
    target: &str,
    topic: KafkaResult<Topic>,
    config: Result<Config, RdError>,
    source_bytes: Option<u64>,
) -> Probed {
    let remedy = "grant our user WRITE and DESCRIBE on it";
    let partitions = match topic {
        Ok(Topic::Present { partitions, leaderless: 0 }) => partitions,
        Ok(Topic::Present { partitions, leaderless }) => return no_leader(target, partitions, leaderless),
        Ok(Topic::Absent) => return creation(target, &Ok(())),
        Err(error) => return refused(target, &error, remedy),
    };
    let bytes = match config {
        Ok(config) => config.number("max.message.bytes"),
        Err(error) => return not_described(target, &error),
    };
    let needed = source_bytes.map(|bytes| bytes.saturating_add(ROOM_FOR_HEADERS));
    match (bytes, needed) {
        (Some(bytes), Some(needed)) if bytes < needed => {
            let found = format!(
                "its max.message.bytes is {bytes}; the largest dead letters, with their headers, need {needed}, and lose their \
                 value without it"
            );
            Probed::warning(target, found, format!("set max.message.bytes={needed} on it"))
        }
        _ => Probed::ok(target, format!("{}; {WRITES}", counted(partitions))),
    }
}

pub(super) fn parked(target: &str, topic: KafkaResult<Topic>, config: Result<Config, RdError>, needed: i32) -> Probed {
    let partitions = match topic {
        Ok(Topic::Present { partitions, leaderless: 0 }) => partitions,
        Ok(Topic::Present { partitions, leaderless }) => return no_leader(target, partitions, leaderless),
        Ok(Topic::Absent) => return creation(target, &Ok(())),
        Err(error) => return refused(target, &error, "grant our user READ, WRITE and DESCRIBE on it"),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => return not_described(target, &error),
    };
    if let Some(policy) = config.get("cleanup.policy").filter(|policy| policy.contains("compact")) {
        let found = format!("its cleanup.policy is {policy}, which would remove parked deliveries");
        return Probed::error(target, found, "set cleanup.policy=delete on it");
    }
    for setting in ["retention.ms", "retention.bytes"] {
        if let Some(value) = config.get(setting).filter(|value| value != "-1") {
            let found = format!("its {setting} is {value}: parked deliveries may be removed before they are made");
            return Probed::warning(target, found, format!("set {setting}=-1 on it"));
        }
    }
    if partitions < needed {
        let found = format!("{}, and its source topic has {needed}", counted(partitions));
        return Probed::warning(target, found, "the bridge adds them with ALTER on it; or add them");
    }
    Probed::ok(target, format!("{}; {WRITES}", counted(partitions)))
}

pub(super) fn ledger(
    target: &str,
    (partitions, leaderless): (i32, usize),
    needed: i32,
    reading: KafkaResult<()>,
    config: Result<Config, RdError>,
    window: Duration,
) -> Probed {
    if leaderless > 0 {
        return no_leader(target, partitions, leaderless);
    }
    if let Err(error) = reading {
        return refused(target, &error, "grant our user READ, WRITE and DESCRIBE on it");
    }
    let config = match config {
        Ok(config) => config,
        Err(error) => return not_described(target, &error),
    };
    let findings = check_config(|name| config.get(name), window);
    let worst = findings.into_iter().map(|finding| match finding {
        Finding::Refused { reason, advice } => Probed::error(target, reason, advice),
        Finding::Warning { reason, set } => Probed::warning(target, reason, format!("set {set} on it")),
    });
    if let Some(worst) = worst.max_by_key(|probed| probed.verdict) {
        return worst;
    }
    if partitions < needed {
        let found = format!("{}, and a source topic has {needed}", counted(partitions));
        return Probed::warning(target, found, "the bridge adds them with ALTER on it; or add them");
    }
    Probed::ok(
        target,
        format!("{}, our user may read it, its retention covers the dedup window; {WRITES}", counted(partitions)),
    )
}

fn not_described(target: &str, error: &RdError) -> Probed {
    let found = format!("it exists; its configuration cannot be read ({})", reason(error));
    Probed::warning(target, found, "grant our user DESCRIBE_CONFIGS on it, or check its configuration by hand")
}
