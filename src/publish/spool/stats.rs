//! What is in the spool, for people and metrics. Reads names and sizes, and the header of the oldest event and of one for
//! each destination; changes nothing.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    time::Duration,
};

use super::{SpoolError, clock::now_ms, dir, entry::Header, folder, listing, name, quarantine, same_destination};

/// A header is read this far for its destination: more than one with a long key and many headers takes.
const HEADER: u64 = 128 * 1024;

/// What is in the spool now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Events that wait or are being drained at the moment.
    pub events: u64,
    /// Those of them that a process has claimed.
    pub claimed: u64,
    /// Their bytes on disk, including unfinished files.
    pub bytes: u64,
    /// How long ago the oldest was spooled.
    pub oldest: Option<Duration>,
    /// The oldest one, unless its file cannot be read.
    pub first: Option<Waiting>,
    /// Events that can never be published.
    pub quarantined: u64,
    /// Their bytes on disk.
    pub quarantined_bytes: u64,
    /// Entries of the folder that are not the spool's.
    pub strangers: u64,
    /// How many events are for which bootstrap servers, as the oldest event of each spells them.
    pub destinations: BTreeMap<String, u64>,
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub event_id: String,
    /// Where it goes.
    pub topic: String,
    /// Why it was spooled.
    pub reason: String,
}

impl SpoolStats {
    /// Events that are for other bootstrap servers than these.
    pub fn elsewhere(&self, bootstrap_servers: &str) -> u64 {
        let others = self.destinations.iter().filter(|(servers, _)| !same_destination(servers, bootstrap_servers));
        others.map(|(_, events)| events).sum()
    }
}

/// Counts what is in the folder. A folder that is absent is empty.
pub(super) fn collect(folder: &Path) -> Result<SpoolStats, SpoolError> {
    if folder::inspect(folder)?.is_none() {
        return Ok(SpoolStats::default());
    }
    let listing = listing::list(folder, None, None)?;
    let (_, bytes) = listing::measure(folder, None)?;
    // A quarantine that cannot be read hides its own number, not the spool's.
    let (quarantined, quarantined_bytes) = quarantine::measure(folder, None).unwrap_or_default();
    let mut spelled: BTreeMap<Option<&str>, String> = BTreeMap::new();
    let mut destinations = BTreeMap::new();
    for found in &listing.events {
        let tag = name::tag(&found.stem);
        let servers = spelled.entry(tag).or_insert_with(|| {
            header(&folder.join(&found.file)).map_or_else(|| "unknown".into(), |header| header.bootstrap_servers)
        });
        *destinations.entry(servers.clone()).or_default() += 1;
    }
    let oldest = listing.events.iter().find(|found| name::spooled_at(&found.stem) > 0);
    let first = oldest.and_then(|found| header(&folder.join(&found.file)));
    let oldest = oldest.map(|found| name::spooled_at(&found.stem));
    Ok(SpoolStats {
        events: listing.events.len() as u64,
        claimed: listing.events.iter().filter(|found| found.claimed.is_some()).count() as u64,
        bytes,
        oldest: oldest.map(|ms| Duration::from_millis(now_ms().saturating_sub(ms))),
        first: first.map(|Header { event_id, topic, reason, .. }| Waiting { event_id, topic, reason }),
        quarantined,
        quarantined_bytes,
        strangers: listing.strangers,
        destinations,
    })
}

/// The header of one file, if it is there and has one.
pub(super) fn header(path: &Path) -> Option<Header> {
    let mut line = Vec::new();
    BufReader::new(dir::open_plain(path, false).ok()?.take(HEADER)).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}
