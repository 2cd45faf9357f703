//! What has to hold.

use crate::dedup::Record;

use super::{
    step::has_ended,
    world::{LOG, Violation, World, agents},
};

/// At the start of an attempt.
pub(super) fn attempt(world: &World, at: usize, event: u8, agent: u8) -> Result<(), Violation> {
    let process = &world.processes[at];
    if !world.is_owner(at) {
        return Err(format!("process {at} delivers event {event}, and the partition is not its own"));
    }
    let end = process.assignment.as_ref().map_or(0, |assignment| assignment.end);
    let seen = process.store.position.max(end);
    for (offset, appended) in world.group.topic.iter().enumerate() {
        if appended.event != event {
            continue;
        }
        let record = appended.record();
        // A late record of a former owner is unknown until it has been read.
        let must_be_known = offset < seen || appended.by_owner;
        if must_be_known && has_ended(&record, agent) {
            return Err(format!(
                "process {at} delivers event {event} to agent {agent}, which has ended by record {offset} of the topic"
            ));
        }
        let own = appended.writer == (at, process.life);
        let adds = |known: &Record| known.clone().merge(&record);
        if offset < seen && !own && process.store.records.get(&event).is_none_or(adds) {
            return Err(format!(
                "the store of process {at} lacks what record {offset} of the topic says of event {event}"
            ));
        }
    }
    Ok(())
}

/// When an offset was committed.
pub(super) fn commit(world: &World) -> Result<(), Violation> {
    for (offset, event) in LOG.iter().enumerate().take(world.group.committed) {
        for agent in agents(*event) {
            let mut records = world.group.topic.iter().filter(|appended| appended.event == *event);
            if !records.any(|appended| has_ended(&appended.record(), *agent)) {
                let committed = world.group.committed;
                return Err(format!(
                    "offset {committed} is committed, and the topic does not know how event {event} at {offset} ended"
                ));
            }
        }
    }
    Ok(())
}
