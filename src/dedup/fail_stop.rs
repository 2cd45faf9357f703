//! The store behind a fail-stop guard: after its first failure every call fails the same way.
//!
//! Owns the store's health and the number of its records. Invariant: nothing is confirmed on a store
//! that has failed once.

use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use metrics::{gauge, histogram};

use super::{
    error::LedgerError,
    store::{Store, StoreError},
};
use crate::telemetry;

/// A store, and whether it can still be used.
pub(super) struct FailStopStore {
    dir: PathBuf,
    store: Store,
    records: AtomicU64,
    failure: OnceLock<LedgerError>,
}

impl FailStopStore {
    pub(super) fn new(dir: &Path, store: Store, records: u64) -> Self {
        let guarded = Self { dir: dir.to_owned(), store, records: AtomicU64::new(records), failure: OnceLock::new() };
        guarded.report_records();
        guarded
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Uses the store, unless it has failed before.
    pub(super) fn attempt<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<T, LedgerError> {
        self.check()?;
        work(&self.store).map_err(|error| self.fail(operation, error))
    }

    /// The failure, if there was one.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Marks the store as failed. The first failure stands for all later ones.
    pub(super) fn fail(&self, operation: &'static str, error: StoreError) -> LedgerError {
        self.failure.get_or_init(|| LedgerError::from_store(&self.dir, operation, error)).clone()
    }

    pub(super) fn flush(&self) -> Result<(), LedgerError> {
        let began = Instant::now();
        self.attempt("flush", Store::flush)?;
        histogram!(telemetry::DEDUP_FLUSH_DURATION).record(began.elapsed());
        self.report_records();
        Ok(())
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn count_added(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_removed(&self, records: u64) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.report_records();
    }

    fn report_records(&self) {
        gauge!(telemetry::DEDUP_RECORDS).set(self.records() as f64);
    }
}
