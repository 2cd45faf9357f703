//! What must not be sent again because the replica has it in its own data folder, whatever the ledger topic lost.
//!
//! A replica knows what it delivered itself once the topic has it, since it writes the folder first. It knows what others
//! delivered when it delivers something of the partition: it has read the topic before. It forgets nothing as long as nobody
//! touches its folder.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        fault::{Fault, Lane},
        history::{AUDIT, History, LedgerEntry, Request},
    },
    KNOWN_FOR, Violation, places, requests, violation,
};

/// The requests of each replica for the events of each partition, by when they were sent.
type Owned = BTreeMap<(usize, i32), BTreeSet<u64>>;

/// A request for a delivery that its replica's folder has as delivered.
pub(super) fn repeats_despite_folder(history: &History) -> Vec<Violation> {
    let owned = owned(history);
    let requests = requests(history);
    let mut known: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
    for entry in history.ledger.iter().flatten().filter(|entry| entry.delivered_to(AUDIT)) {
        known.entry(&entry.id).or_default().push(entry);
    }
    let mut wrong = Vec::new();
    for (id, entries) in known {
        let sent = requests.get(id).map_or(&[][..], Vec::as_slice);
        for request in sent {
            let first = entries.iter().map(|entry| entry.seen).min();
            let learned = entries.iter().find_map(|entry| {
                let is_first = Some(entry.seen) == first;
                let at = learned(history, &owned, (sent, is_first), entry, request)?;
                (at + KNOWN_FOR < request.sent && keeps_folder(history, request.replica, at, request.sent))
                    .then_some((entry, at))
            });
            if let Some((entry, at)) = learned {
                let (replica, sent) = (request.replica, request.sent);
                let (partition, offset) = (entry.partition, entry.offset);
                let text = format!(
                    "r{replica} sent it at {sent} ms, and its folder had it as delivered at {at} ms (ledger topic: partition \
                     {partition}, offset {offset})"
                );
                wrong.push(violation(id, text));
            }
        }
    }
    wrong
}

fn owned(history: &History) -> Owned {
    let places = places(history);
    let mut owned = Owned::new();
    for request in &history.requests {
        if let Some((partition, _)) = places.get(&*request.id) {
            owned.entry((request.replica, *partition)).or_default().insert(request.sent);
        }
    }
    owned
}

/// When the replica of a request had learned of this record, at the latest, if that was before the request.
fn learned(
    history: &History,
    owned: &Owned,
    (sent, is_first): (&[&Request], bool),
    entry: &LedgerEntry,
    request: &Request,
) -> Option<u64> {
    // Nobody else can have written the first record of a delivery that one replica has made. Any may write it again.
    let mut before = sent.iter().filter(|other| other.acted() && other.sent <= entry.seen).peekable();
    let is_own = is_first && before.peek().is_some() && before.all(|other| other.replica == request.replica);
    if is_own {
        return Some(entry.seen);
    }
    let known_at = entry.seen + KNOWN_FOR;
    if known_at >= request.sent {
        return None;
    }
    let others = owned.get(&(request.replica, entry.partition))?;
    let read = others.range(known_at + 1..request.sent).next().copied()?;
    // A replica that does not reach a broker may deliver for a while, and not hear of what others write meanwhile.
    let is_cut = history.faults.iter().any(|fault| {
        fault.lane == Lane::Network(request.replica)
            && !matches!(fault.fault, Fault::Agents(_))
            && fault.overlaps(entry.seen, read)
    });
    let removed = history.losses.iter().any(|loss| loss.removed(entry, read));
    (!is_cut && !removed).then_some(read)
}

/// Whether what a replica's folder had at this time was there later, too.
fn keeps_folder(history: &History, replica: usize, from: u64, to: u64) -> bool {
    let is_touched =
        history.faults.iter().filter(|fault| fault.lane == Lane::Replica(replica)).any(|fault| match fault.fault {
            // It begins with an empty folder.
            Fault::Join => (from..=to).contains(&fault.from),
            Fault::LoseData | Fault::LoseUnacknowledged(_) | Fault::FlipBits => {
                fault.overlaps(from.saturating_sub(KNOWN_FOR), to)
            }
            // What it wrote last may not have been flushed.
            Fault::Kill => fault.overlaps(from.saturating_sub(KNOWN_FOR), from + KNOWN_FOR),
            _ => false,
        });
    let ended = history.exits.iter().any(|exit| exit.replica == replica && (from..=to).contains(&exit.at));
    !is_touched && !ended
}
