//! Records that Kafka did not take: into the spool or its quarantine, and the error that says so.

use std::path::PathBuf;

use super::{
    Kept, PublishError, Record,
    failure::Failure,
    lifecycle::Keep,
    spool::{Spool, SpoolError},
};

/// A record that Kafka did not take, why, and where it goes.
pub(super) type Refused<'a> = (&'a Record, &'a Failure, Keep);

/// Keeps one record.
pub(super) fn keep(refused: Refused<'_>, spool: Option<&Spool>, servers: &str) -> PublishError {
    let (record, failure, keep) = refused;
    let Some(spool) = spool else { return not_kept(record, failure) };
    match keep {
        Keep::InSpool => spooled(record, failure, spool.put(record, servers, &failure.reason)),
        Keep::InQuarantine => {
            let kept = spool.keep_refused(record, servers, &failure.reason);
            too_large(record, kept.map_or_else(|error| Kept::Nowhere(error.to_string()), Kept::In))
        }
    }
}

/// Keeps many, in the same order.
pub(super) fn keep_all(refused: &[Refused<'_>], spool: Option<&Spool>, servers: &str) -> Vec<PublishError> {
    let Some(spool) = spool else {
        return refused.iter().map(|(record, failure, _)| not_kept(record, failure)).collect();
    };
    let to_put = refused.iter().filter(|(.., keep)| *keep == Keep::InSpool);
    let to_put: Vec<_> = to_put.map(|(record, failure, _)| (*record, &*failure.reason)).collect();
    let mut put = spool.put_many(&to_put, servers).into_iter();
    let error = |refused: &Refused<'_>| match *refused {
        (record, failure, Keep::InSpool) => {
            let put = put.next().unwrap_or_else(|| spool.put(record, servers, &failure.reason));
            spooled(record, failure, put)
        }
        refused => keep(refused, Some(spool), servers),
    };
    refused.iter().map(error).collect()
}

fn spooled(record: &Record, failure: &Failure, put: Result<PathBuf, SpoolError>) -> PublishError {
    let (event_id, topic, reason) = (record.event_id.to_string(), record.topic.to_string(), failure.reason.clone());
    match put {
        Ok(path) => PublishError::Spooled { event_id, topic, path, reason },
        Err(error) => PublishError::Lost { event_id, topic, reason, spool: error.to_string(), event: text(record) },
    }
}

/// The error for a record that no spool is asked to keep.
pub(super) fn not_kept(record: &Record, failure: &Failure) -> PublishError {
    if failure.is_too_large() {
        return too_large(record, Kept::ByCaller);
    }
    PublishError::NotAcknowledged {
        event_id: record.event_id.to_string(),
        topic: record.topic.to_string(),
        reason: failure.reason.clone(),
        of_topic: failure.is_of_topic(),
        event: text(record),
    }
}

fn too_large(record: &Record, kept: Kept) -> PublishError {
    PublishError::TooLarge {
        event_id: record.event_id.to_string(),
        topic: record.topic.to_string(),
        bytes: record.value.len(),
        kept,
        event: text(record),
    }
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(&record.value).into_owned()
}
