//! Encodes and decodes records: compact, and safe against arbitrary bytes.
//!
//! Formats 3 and 4 have a version byte, then the fields of `bytes`:
//! `3 or 4, digest (8, big endian), first_seen, flags, (topic, partition, offset)?, written?, count,
//! count * (rule, agent, generation, flags, failed_attempts, attempts?, first_attempt?, ended?,
//! (thread, run)?, (class, status, at)?)`. The flags of the record say whether the source and `written`
//! follow, and whether the last delivery is followed by one `sent_to` for each (8 bytes, big endian, 0 for none), and then by one
//! `again` for each: few records have any. One that has an `again` is of format 4, so that a bridge that does not know it stops
//! at it instead of passing it; any other is of format 3. Those of a delivery are the status (bits 0 to 2), and what follows (one bit each); `attempts`
//! follows if it differs from `failed_attempts`. Times are relative to `first_seen`. A run that has no
//! id has an empty one, and a failure without an HTTP status has 0.
//!
//! Format 2, without `sent_to`, and format 1, without source, `written`, ends, runs and failures too, are read from ledgers of before.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    bytes::{DecodeError, Reader, put_id, put_text, put_time, put_varint},
    detail::{FailureRecord, MAX_CLASS_BYTES, MAX_ID_BYTES, RunRecord, Source},
    record::{DeliveryRecord, DeliveryStatus, Record},
};
use crate::event::Generation;

/// The latest format that is read.
pub(super) const LATEST: u8 = FORMAT_4;
/// With `again`.
const FORMAT_4: u8 = 4;
const FORMAT_3: u8 = 3;
const FORMAT_2: u8 = 2;
const FORMAT_1: u8 = 1;

const HAS_SOURCE: u8 = 1;
const HAS_WRITTEN: u8 = 1 << 1;
const HAS_SENT_TO: u8 = 1 << 2;
const HAS_AGAIN: u8 = 1 << 3;

/// The flags that a record of each format may have.
const FLAGS_OF_FORMAT_2: u8 = HAS_SOURCE | HAS_WRITTEN;
const FLAGS_OF_FORMAT_3: u8 = FLAGS_OF_FORMAT_2 | HAS_SENT_TO;
const FLAGS_OF_FORMAT_4: u8 = FLAGS_OF_FORMAT_3 | HAS_AGAIN;

const STATUS: u8 = 0b111;
const HAS_ATTEMPTS: u8 = 1 << 3;
const HAS_FIRST_ATTEMPT: u8 = 1 << 4;
const HAS_ENDED: u8 = 1 << 5;
const HAS_RUN: u8 = 1 << 6;
const HAS_FAILURE: u8 = 1 << 7;

const STATUSES: [DeliveryStatus; 5] = [
    DeliveryStatus::Planned,
    DeliveryStatus::Pending,
    DeliveryStatus::Parked,
    DeliveryStatus::Dead,
    DeliveryStatus::Delivered,
];

/// The smallest size of a delivery. Bounds the memory that a corrupt count can reserve.
const MIN_DELIVERY_BYTES: usize = 5;

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + record.deliveries.len() * 96);
    put_record(&mut out, record);
    out
}

pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) {
    let has_sent_to = record.deliveries.iter().any(|delivery| delivery.sent_to.is_some());
    let has_again = record.deliveries.iter().any(|delivery| delivery.generation.again > 0);
    out.push(if has_again { FORMAT_4 } else { FORMAT_3 });
    out.extend_from_slice(&record.digest.to_be_bytes());
    put_varint(out, record.first_seen_ms);
    out.push(
        flag(record.source.is_some(), HAS_SOURCE)
            | flag(record.written_ms.is_some(), HAS_WRITTEN)
            | flag(has_sent_to, HAS_SENT_TO)
            | flag(has_again, HAS_AGAIN),
    );
    if let Some(Source { topic, partition, offset }) = &record.source {
        put_text(out, topic);
        put_varint(out, u64::from(partition.cast_unsigned()));
        put_varint(out, offset.cast_unsigned());
    }
    if let Some(written) = record.written_ms {
        put_time(out, record.first_seen_ms, written);
    }
    put_varint(out, record.deliveries.len() as u64);
    for delivery in &record.deliveries {
        put_delivery(out, record.first_seen_ms, delivery);
    }
    for delivery in record.deliveries.iter().filter(|_| has_sent_to) {
        out.extend_from_slice(&delivery.sent_to.map_or(0, NonZeroU64::get).to_be_bytes());
    }
    for delivery in record.deliveries.iter().filter(|_| has_again) {
        put_varint(out, u64::from(delivery.generation.again));
    }
}

fn put_delivery(out: &mut Vec<u8>, first_seen_ms: u64, delivery: &DeliveryRecord) {
    put_text(out, &delivery.rule);
    put_text(out, &delivery.agent);
    put_varint(out, u64::from(delivery.generation.number));
    out.push(
        delivery.status as u8
            | flag(delivery.attempts != delivery.failed_attempts, HAS_ATTEMPTS)
            | flag(delivery.first_attempt_ms.is_some(), HAS_FIRST_ATTEMPT)
            | flag(delivery.ended_ms.is_some(), HAS_ENDED)
            | flag(delivery.run.is_some(), HAS_RUN)
            | flag(delivery.last_failure.is_some(), HAS_FAILURE),
    );
    put_varint(out, u64::from(delivery.failed_attempts));
    if delivery.attempts != delivery.failed_attempts {
        put_varint(out, u64::from(delivery.attempts));
    }
    for time in [delivery.first_attempt_ms, delivery.ended_ms].into_iter().flatten() {
        put_time(out, first_seen_ms, time);
    }
    if let Some(run) = &delivery.run {
        put_id(out, &run.thread);
        put_id(out, run.run.as_deref().unwrap_or_default());
    }
    if let Some(failure) = &delivery.last_failure {
        put_text(out, &failure.class);
        put_varint(out, failure.status.map_or(0, |status| u64::from(status) + 1));
        put_time(out, first_seen_ms, failure.at_ms);
    }
}

fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(bytes);
    let record = match reader.byte()? {
        FORMAT_4 => record(&mut reader, FLAGS_OF_FORMAT_4)?,
        FORMAT_3 => record(&mut reader, FLAGS_OF_FORMAT_3)?,
        FORMAT_2 => record(&mut reader, FLAGS_OF_FORMAT_2)?,
        FORMAT_1 => record_of_format_1(&mut reader)?,
        found => return Err(DecodeError::Version { found }),
    };
    reader.end()?;
    Ok(record)
}

fn record(reader: &mut Reader<'_>, known_flags: u8) -> Result<Record, DecodeError> {
    let digest = reader.fixed()?;
    let first_seen_ms = reader.varint()?;
    let at = reader.at();
    let flags = reader.byte()?;
    if flags & !known_flags != 0 {
        return Err(DecodeError::Invalid { expected: "a record's flags", at });
    }
    let source = optional(flags & HAS_SOURCE, || {
        let topic = reader.text()?.into();
        let (partition, offset) = (reader.narrow()?.cast_signed(), reader.varint()?.cast_signed());
        Ok(Source { topic, partition, offset })
    })?;
    let written_ms = optional(flags & HAS_WRITTEN, || reader.time(first_seen_ms))?;
    let deliveries = deliveries(reader, flags, |reader| delivery(reader, first_seen_ms))?;
    Ok(Record { digest, first_seen_ms, source, written_ms, deliveries })
}

fn delivery(reader: &mut Reader<'_>, first_seen_ms: u64) -> Result<DeliveryRecord, DecodeError> {
    let (rule, agent) = (reader.text()?.into(), reader.text()?.into());
    let generation = Generation::from(reader.narrow()?);
    let at = reader.at();
    let flags = reader.byte()?;
    let status = STATUSES.get(usize::from(flags & STATUS)).copied();
    let status = status.ok_or(DecodeError::Invalid { expected: "a delivery's status", at })?;
    let failed_attempts = reader.narrow()?;
    let attempts = attempts(reader, flags & HAS_ATTEMPTS, failed_attempts)?;
    let first_attempt_ms = optional(flags & HAS_FIRST_ATTEMPT, || reader.time(first_seen_ms))?;
    let ended_ms = optional(flags & HAS_ENDED, || reader.time(first_seen_ms))?;
    let run = optional(flags & HAS_RUN, || {
        let (thread, run) = (reader.id(MAX_ID_BYTES)?, reader.id(MAX_ID_BYTES)?);
        Ok(Box::new(RunRecord { thread, run: Some(run).filter(|run| !run.is_empty()) }))
    })?;
    let last_failure = optional(flags & HAS_FAILURE, || {
        let class = reader.short_text(MAX_CLASS_BYTES)?;
        let at = reader.at();
        let status = reader.narrow()?.checked_sub(1).map(u16::try_from).transpose();
        let status = status.map_err(|_| DecodeError::Invalid { expected: "a status of at most 16 bits", at })?;
        Ok(Box::new(FailureRecord { at_ms: reader.time(first_seen_ms)?, class, status }))
    })?;
    Ok(DeliveryRecord {
        rule,
        agent,
        generation,
        status,
        failed_attempts,
        attempts,
        first_attempt_ms,
        ended_ms,
        sent_to: None,
        run,
        last_failure,
    })
}

/// The fields after the version: digest, `first_seen`, count, and for each delivery rule, agent, generation, flags,
/// `failed_attempts`, `first_attempt`? and attempts?. Bits 0 and 1 of the flags are the status.
fn record_of_format_1(reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
    const FIRST_ATTEMPT: u8 = 0b100;
    const ATTEMPTS: u8 = 0b1000;
    let digest = reader.fixed()?;
    let first_seen_ms = reader.varint()?;
    let mut deliveries = deliveries(reader, 0, |reader| {
        let (rule, agent): (Arc<str>, Arc<str>) = (reader.text()?.into(), reader.text()?.into());
        let generation = Generation::from(reader.narrow()?);
        let at = reader.at();
        let flags = reader.byte()?;
        let status = match flags & !(FIRST_ATTEMPT | ATTEMPTS) {
            0 => DeliveryStatus::Planned,
            1 => DeliveryStatus::Delivered,
            2 => DeliveryStatus::Dead,
            _ => return Err(DecodeError::Invalid { expected: "a delivery's status and flags", at }),
        };
        let failed_attempts = reader.narrow()?;
        let first_attempt_ms = optional(flags & FIRST_ATTEMPT, || reader.varint())?;
        let attempts = attempts(reader, flags & ATTEMPTS, failed_attempts)?;
        let planned = DeliveryRecord::planned(rule, agent);
        Ok(DeliveryRecord { generation, status, failed_attempts, attempts, first_attempt_ms, ..planned })
    })?;
    // It had one word for both: the plan is frozen once a delivery has ended.
    if deliveries.iter().any(|delivery| delivery.status.is_final()) {
        for delivery in &mut deliveries {
            delivery.status = delivery.status.max(DeliveryStatus::Pending);
        }
    }
    Ok(Record { digest, first_seen_ms, source: None, written_ms: None, deliveries })
}

/// More than the records of several replicas and of former rules have together, each of them with at most `MAX_DELIVERIES`.
const MOST_DELIVERIES: usize = 20_000;

/// The count and the deliveries, with what the record's flags say that follows them, sorted: those of format 1 were in the order of the plan.
fn deliveries(
    reader: &mut Reader<'_>,
    flags: u8,
    read: impl Fn(&mut Reader<'_>) -> Result<DeliveryRecord, DecodeError>,
) -> Result<Vec<DeliveryRecord>, DecodeError> {
    let at = reader.at();
    let count = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if count > reader.left() / MIN_DELIVERY_BYTES {
        return Err(DecodeError::Invalid { expected: "no more deliveries than the record has room for", at });
    }
    if count > MOST_DELIVERIES {
        return Err(DecodeError::Invalid { expected: "at most 20,000 deliveries", at });
    }
    let mut deliveries = Vec::with_capacity(count);
    for _ in 0..count {
        deliveries.push(read(reader)?);
    }
    let has = |flag: u8| flags & flag != 0;
    for delivery in deliveries.iter_mut().filter(|_| has(HAS_SENT_TO)) {
        delivery.sent_to = NonZeroU64::new(reader.fixed()?);
    }
    if has(HAS_SENT_TO) && deliveries.iter().all(|delivery| delivery.sent_to.is_none()) {
        return Err(DecodeError::Invalid { expected: "an endpoint that may have a delivery", at });
    }
    for delivery in deliveries.iter_mut().filter(|_| has(HAS_AGAIN)) {
        let at = reader.at();
        let again = u16::try_from(reader.narrow()?);
        delivery.generation.again = again.map_err(|_| DecodeError::Invalid { expected: "at most 65535 again", at })?;
    }
    if has(HAS_AGAIN) && deliveries.iter().all(|delivery| delivery.generation.again == 0) {
        return Err(DecodeError::Invalid { expected: "a delivery that was sent again", at });
    }
    let order = |a: &DeliveryRecord, b: &DeliveryRecord| a.key().cmp(&b.key()).then(b.generation.cmp(&a.generation));
    deliveries.sort_by(order);
    if deliveries.windows(2).any(|pair| order(&pair[0], &pair[1]).is_eq()) {
        return Err(DecodeError::Invalid { expected: "no delivery twice", at });
    }
    // A version that did not know redrives keeps both generations of one that it merged.
    deliveries.dedup_by(|other, kept| {
        let is_same = other.key() == kept.key();
        if is_same {
            kept.merge(other);
        }
        is_same
    });
    Ok(deliveries)
}

/// Reads a field if its flag is set.
fn optional<T>(flag: u8, read: impl FnOnce() -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
    if flag == 0 { Ok(None) } else { read().map(Some) }
}

/// The number of attempts, which follows if it differs from the failed ones.
fn attempts(reader: &mut Reader<'_>, flag: u8, failed_attempts: u32) -> Result<u32, DecodeError> {
    let at = reader.at();
    let attempts = optional(flag, || reader.narrow())?;
    if attempts == Some(failed_attempts) {
        return Err(DecodeError::Invalid { expected: "attempts that differ from the failed ones", at });
    }
    Ok(attempts.unwrap_or(failed_attempts))
}
