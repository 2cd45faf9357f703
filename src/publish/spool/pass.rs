//! One pass over the spool, the oldest event first.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::Path,
    sync::Arc,
    time::Instant,
};

use tracing::debug;

use super::{
    SpoolError,
    claim::Claimed,
    claimer::{Claimer, Reason, Verdict},
    folder,
    listing::{self, Found},
    lock::TryLock,
    name,
    permissions::Owner,
    stats::header,
    write,
};

/// How many files are read for their topics before a short drain.
const INTERLEAVED: usize = 2_000;

/// One pass over the spool: what was listed at its beginning and not examined yet.
pub(in crate::publish) struct DrainPass {
    claimer: Claimer,
    owner: Option<Owner>,
    found: VecDeque<Found>,
    passed: Passed,
    is_incomplete: bool,
}

/// What a pass found and did not take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::publish) struct Passed {
    /// Events that another process has at the moment.
    pub(in crate::publish) busy: u64,
    /// Events for a topic that is skipped.
    pub(in crate::publish) skipped: u64,
    /// Events that are left where they are, for the reason in `note`.
    pub(in crate::publish) left_alone: u64,
    /// Files that were not events.
    pub(in crate::publish) quarantined: u64,
    /// Why events are left alone, or were quarantined: the last of the reasons.
    pub(in crate::publish) note: Option<String>,
}

impl DrainPass {
    pub(super) fn open(
        folder: &Path,
        try_lock: TryLock,
        destination: Option<&str>,
        until: Option<Instant>,
    ) -> Result<Self, SpoolError> {
        let claimer = Claimer {
            folder: folder.to_owned(),
            try_lock,
            destination: destination.map(name::normalised),
            skipped: HashSet::new(),
        };
        let owner = folder::inspect(folder)?;
        let mut pass = Self { claimer, owner, found: VecDeque::new(), passed: Passed::default(), is_incomplete: false };
        let Some(owner) = owner else { return Ok(pass) };
        let tag = destination.map(name::destination_tag);
        let listing = listing::list(folder, tag.as_deref(), until)?;
        for temporary in &listing.temporary {
            if listing::is_late(until) {
                break;
            }
            write::sweep(folder, owner, temporary, try_lock);
        }
        pass.found = listing.events.into();
        pass.is_incomplete = listing.is_incomplete;
        Ok(pass)
    }

    /// Orders the files so that the topics alternate, the oldest of each first: no topic gets all of a short drain. Reads
    /// the headers of the oldest [`INTERLEAVED`] files, and no longer than until then.
    pub(in crate::publish) fn interleave_topics(&mut self, until: Instant) {
        let end = self.found.len().min(INTERLEAVED);
        let mut interleaved = Vec::with_capacity(end);
        let mut rounds: HashMap<Option<String>, usize> = HashMap::new();
        for found in self.found.iter().take(end) {
            if Instant::now() >= until {
                return;
            }
            let round =
                rounds.entry(header(&self.claimer.folder.join(&found.file)).map(|header| header.topic)).or_default();
            interleaved.push((*round, found.clone()));
            *round += 1;
        }
        // Stable: within a round, and so within a topic, the oldest stays first.
        interleaved.sort_by_key(|(round, _)| *round);
        self.found.drain(..end);
        interleaved.into_iter().rev().for_each(|(_, found)| self.found.push_front(found));
    }

    /// Whether there was no time to list all of the folder.
    pub(in crate::publish) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// How many files were not examined yet.
    pub(in crate::publish) fn remaining(&self) -> u64 {
        self.found.len() as u64
    }

    /// What was not taken so far.
    pub(in crate::publish) fn passed(&self) -> &Passed {
        &self.passed
    }

    /// Leaves out events for this topic from now on.
    pub(in crate::publish) fn skip(&mut self, topic: Arc<str>) {
        self.claimer.skipped.insert(topic);
    }

    /// Claims the next events: at most `limit`, and no further one once they have `bytes` together, or after `until`.
    /// Fewer, or none, if there are no more.
    ///
    /// # Errors
    /// The folder itself is at fault, or this process can open no more files. If some events were taken before that, it
    /// returns them, and the error the next time, if it persists.
    pub(in crate::publish) fn take(
        &mut self,
        limit: usize,
        bytes: usize,
        until: Option<Instant>,
    ) -> Result<Vec<Claimed>, SpoolError> {
        let mut taken = Vec::new();
        let mut size = 0;
        let Some(owner) = self.owner else { return Ok(taken) };
        while taken.len() < limit && size < bytes && !listing::is_late(until) {
            let Some(found) = self.found.pop_front() else { break };
            match self.claimer.claim(owner, &found) {
                Verdict::Take(claimed) => {
                    size += claimed.record.value.len();
                    taken.push(*claimed);
                }
                Verdict::Pass(reason) => self.count(&found, reason),
                Verdict::Stop(error) => {
                    self.found.push_front(found);
                    if taken.is_empty() {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        Ok(taken)
    }

    fn count(&mut self, found: &Found, reason: Reason) {
        let passed = &mut self.passed;
        let path = self.claimer.folder.join(&found.file);
        match reason {
            Reason::Gone | Reason::Elsewhere => {}
            Reason::Busy => passed.busy += 1,
            Reason::Skipped => passed.skipped += 1,
            Reason::LeftAlone(reason) => {
                // Only debug: every pass finds it again, and its caller logs the note once.
                debug!(file = found.file, reason, "an event in the spool was left alone");
                passed.left_alone += 1;
                passed.note = Some(format!("{}: {reason}", path.display()));
            }
            Reason::Quarantined(reason) => {
                passed.quarantined += 1;
                passed.note = Some(format!("{}: {reason}", path.display()));
            }
        }
    }
}
