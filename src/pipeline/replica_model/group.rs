//! The broker: the consumer group of one partition, its committed offset, and the ledger topic's partition.

use crate::dedup::{Record, decode_entry};

/// How long a member lives after the last request that its coordinator has seen.
pub(super) const SESSION: u64 = 30;

/// A member of the group: a process, and how often it has joined.
pub(super) type Member = (usize, u32);

/// One record of the ledger topic.
#[derive(Debug, Clone)]
pub(super) struct Appended {
    pub(super) event: u8,
    pub(super) value: Vec<u8>,
    /// The process and its life.
    pub(super) writer: (usize, u32),
    /// Whether the writer owned the partition when it was appended. It was not late, then.
    pub(super) by_owner: bool,
}

impl Appended {
    pub(super) fn record(&self) -> Record {
        decode_entry(&self.value).unwrap().record
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) generation: u32,
    pub(super) owner: Option<Member>,
    /// The owner has been asked to give the partition up.
    pub(super) revoking: bool,
    pub(super) committed: usize,
    pub(super) topic: Vec<Appended>,
    members: Vec<(Member, u64)>,
}

impl Group {
    pub(super) fn join(&mut self, member: Member, now: u64) {
        self.members.push((member, now + SESSION));
    }

    pub(super) fn has(&self, member: Member) -> bool {
        self.members.iter().any(|(other, _)| *other == member)
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.members.iter().map(|(member, _)| *member).collect()
    }

    /// A request of a member; `false` when it is none any more.
    pub(super) fn heard(&mut self, member: Member, now: u64) -> bool {
        let found = self.members.iter_mut().find(|(other, _)| *other == member);
        found.map(|(_, until)| *until = now + SESSION).is_some()
    }

    /// Removes the members whose sessions have ended.
    pub(super) fn expire(&mut self, now: u64) {
        self.members.retain(|(_, until)| *until >= now);
        if self.owner.is_some_and(|owner| !self.has(owner)) {
            (self.owner, self.revoking) = (None, false);
        }
    }

    pub(super) fn assign(&mut self, member: Member) {
        self.generation += 1;
        (self.owner, self.revoking) = (Some(member), false);
    }

    /// The owner has released the partition.
    pub(super) fn release(&mut self, member: Member, generation: u32) {
        if self.owner == Some(member) && self.generation == generation {
            (self.owner, self.revoking) = (None, false);
        }
    }

    /// The generation in which this member owns the partition.
    pub(super) fn owned_by(&self, member: Member) -> Option<u32> {
        (self.owner == Some(member)).then_some(self.generation)
    }
}
