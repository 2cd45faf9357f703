//! What a scan found of a partition, and agents that are added while the bridge runs.

use std::sync::{Arc, atomic::Ordering};

use super::{Found, Parking, SourcePartition, lost::Lost, names::GONE, scan::Scanned};

impl Parking {
    /// There are these agents too. Names stay when their agents are gone. What is parked for agents that were gone is looked up
    /// again where there is any: some of it may be for one of these.
    pub(in crate::pipeline) fn add_agents(&self, agents: impl IntoIterator<Item = Arc<str>>) {
        // Locked throughout: no scan counts that knows the former names.
        let mut names = self.names.lock();
        let Some(more) = names.with(agents) else { return };
        *names = more;
        let partitions = self.partitions();
        for partition in partitions.iter().filter(|partition| partition.state.lock().is_known(GONE)) {
            partition.scan_anew();
        }
        drop(names);
        self.wake();
    }

    /// What a scan found. Agents may have been added since it began: then it is made again.
    pub(in crate::pipeline) fn scanned(&self, partition: &SourcePartition, scanned: Scanned) {
        let names = self.names.lock();
        if names.is(&scanned.names) {
            partition.scanned(scanned.found, (scanned.end, scanned.exists), self.park_after.is_some());
            *self.lost.lock() = Lost::default();
        } else {
            partition.scan_again();
        }
        drop(names);
        self.wake();
    }
}

impl SourcePartition {
    /// What is parked of it, where its parked partition ends and whether there is one.
    pub(in crate::pipeline) fn scanned(
        &self,
        found: impl IntoIterator<Item = (Arc<str>, Found)>,
        (end, exists): (i64, bool),
        may_park: bool,
    ) {
        self.state.lock().scanned(found, end, may_park);
        self.is_absent.store(!exists, Ordering::Release);
        self.modes.send_replace(());
        self.ends.send_replace(());
    }
}
