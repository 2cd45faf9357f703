use std::{
    collections::BTreeSet,
    sync::{Barrier, Mutex},
    thread,
};

use super::*;

#[test]
fn a_claimed_event_is_nobody_elses_until_it_is_put_back() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let mut claimed = fixture.spool.claim(None, 10).unwrap();
    assert!(fixture.again().claim(None, 10).unwrap().is_empty());
    let stats = fixture.spool.stats().unwrap();
    assert_eq!((stats.events, stats.claimed), (1, 1));
    claimed.remove(0).claim.release().unwrap();
    assert_eq!(fixture.again().claim(None, 10).unwrap().len(), 1);
}

#[test]
fn a_claim_that_is_dropped_is_put_back() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    drop(fixture.spool.claim(None, 10).unwrap());
    assert_eq!(fixture.ends(".event"), 1);
    assert_eq!(fixture.ends(".claim"), 0);
}

#[test]
fn a_dead_process_s_claim_is_taken_over_at_once() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    kill(fixture.spool.claim(None, 10).unwrap());
    assert_eq!(fixture.ends(".claim"), 1);
    let claimed = fixture.again().claim(None, 10).unwrap();
    assert_eq!(ids(&claimed), ["e-1"]);
    // And it is a live claim now.
    assert!(fixture.spool.claim(None, 10).unwrap().is_empty());
}

#[test]
fn a_claim_whose_lock_lives_on_in_a_forked_child_is_taken_over_when_it_is_old() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let held = fixture.spool.claim(None, 10).unwrap();
    age_claims(&fixture, STALE - 60_000);
    assert!(fixture.again().claim(None, 10).unwrap().is_empty());
    age_claims(&fixture, 120_000);
    let taken = fixture.again().claim(None, 10).unwrap();
    assert_eq!(ids(&taken), ["e-1"]);
    // The old owner may say what it likes: the file is not its any more.
    drop(held);
    assert_eq!((fixture.ends(".claim"), fixture.ends(".event")), (1, 0));
}

#[test]
fn a_clock_that_jumps_makes_a_claim_old_in_either_direction() {
    for ahead in [true, false] {
        let fixture = Fixture::with(DEFAULT_MAX_BYTES, no_locks);
        fixture.put("e-1");
        kill(fixture.spool.claim(None, 10).unwrap());
        let stem = fixture.files()[0].split('.').next().unwrap().to_owned();
        let since = if ahead { now_ms() + 2 * STALE } else { now_ms() - 2 * STALE };
        let to = fixture.spool.folder().join(name::claim(&stem, since, 1, 0));
        fs::rename(fixture.spool.folder().join(&fixture.files()[0]), to).unwrap();
        assert_eq!(fixture.spool.claim(None, 10).unwrap().len(), 1, "ahead: {ahead}");
    }
}

#[test]
fn without_locks_a_claim_is_taken_by_its_age() {
    let fixture = Fixture::with(DEFAULT_MAX_BYTES, no_locks);
    fixture.put("e-1");
    kill(fixture.spool.claim(None, 10).unwrap());
    assert!(fixture.spool.claim(None, 10).unwrap().is_empty(), "it may be a live process's");
    age_claims(&fixture, STALE + 1);
    let claimed = fixture.spool.claim(None, 10).unwrap();
    assert_eq!(ids(&claimed), ["e-1"]);
    for claimed in claimed {
        claimed.claim.done().unwrap();
    }
    assert!(fixture.files().is_empty(), "{:?}", fixture.files());
}

#[test]
fn many_at_once_take_every_event_exactly_once() {
    let fixture = Fixture::new();
    let all: BTreeSet<String> = (0..400).map(|n| format!("e-{n}")).collect();
    for id in &all {
        fixture.put(id);
    }
    let seen = Mutex::new(Vec::new());
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let spool = fixture.again();
                barrier.wait();
                loop {
                    let claimed = spool.claim(None, 7).unwrap();
                    if claimed.is_empty() && spool.stats().unwrap().events == 0 {
                        break;
                    }
                    for claimed in claimed {
                        seen.lock().unwrap().push(claimed.record.event_id.to_string());
                        claimed.claim.done().unwrap();
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 400, "an event was taken twice, or not at all");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn what_another_process_finished_meanwhile_is_no_error() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    let mut claimed = fixture.spool.claim(None, 10).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    claimed.remove(0).claim.done().unwrap();
    fixture.put("e-2");
    let mut claimed = fixture.spool.claim(None, 10).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    claimed.remove(0).claim.release().unwrap();
}

/// Lets claims become older, by their names.
fn age_claims(fixture: &Fixture, by_ms: u64) {
    for file in fixture.files() {
        if let name::Named::Claimed { stem, since } = name::read(&file) {
            let folder = fixture.spool.folder();
            fs::rename(folder.join(&file), folder.join(name::claim(stem, since - by_ms, 1, 0))).unwrap();
        }
    }
}
