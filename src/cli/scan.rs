//! Reading topics for a command: it says how far it is on stderr, and ends early when a signal comes.

use std::{ops::ControlFlow, process::ExitCode};

use jiff::Timestamp;

use super::{
    interrupt::Interrupt,
    output::{self, fail},
    progress::Progress,
};
use crate::{
    bridge::Exit,
    config::Config,
    kafka::{ScanError, ScanProgress, Scanned, TopicScan, Visitor},
};

/// What a command does with the records.
pub(super) trait Visit {
    /// Takes a record. The read ends when it breaks.
    fn record(&mut self, record: &Scanned<'_>) -> ControlFlow<()>;

    /// How far it is, for people.
    fn progress(&self, at: ScanProgress) -> String;
}

/// How a read ended.
pub(super) struct ScanEnd {
    /// Every record was visited that there is.
    pub(super) is_complete: bool,
    /// Offsets below the end for which Kafka gave nothing.
    pub(super) withheld: u64,
}

/// Visits the records of the source topics that are not older.
pub(super) fn sources(
    config: &Config,
    since: Timestamp,
    interrupt: &Interrupt,
    visit: &mut impl Visit,
) -> Result<ScanEnd, ExitCode> {
    let scan = TopicScan::open(&config.kafka, since.as_millisecond());
    let mut scan = scan.map_err(|error| failed(&error))?;
    let ended = run(interrupt, Progress::new(), visit, |visitor| scan.read(visitor)).map_err(|error| failed(&error))?;
    Ok(ScanEnd { is_complete: ended.is_continue(), withheld: scan.progress().withheld })
}

/// Visits what `read` reads.
pub(super) fn run(
    interrupt: &Interrupt,
    mut progress: Progress,
    visit: &mut impl Visit,
    read: impl FnOnce(&mut Visitor<'_>) -> Result<ControlFlow<()>, ScanError>,
) -> Result<ControlFlow<()>, ScanError> {
    let read = read(&mut |at, record| {
        progress.tick(|| visit.progress(at));
        if interrupt.is_asked() {
            return ControlFlow::Break(());
        }
        record.map_or(ControlFlow::Continue(()), |record| visit.record(&record))
    });
    progress.end();
    read
}

/// Says that topics cannot be read.
pub(super) fn failed(error: &ScanError) -> ExitCode {
    let exit = if let ScanError::Client(_) = error { Exit::Config } else { Exit::Unavailable };
    fail(exit, error)
}

/// Warns of records that should be there.
pub(super) fn warn_of_withheld(withheld: u64) {
    if withheld > 0 {
        output::warnings(&[format!(
            "Kafka gave nothing for {withheld} offsets before the end: a leader was lost with its records, most likely"
        )]);
    }
}
