use super::{super::super::super::offsets::Frontier, *};
use crate::kafka::{anchor::CommitNote, partition::Partition, testing::owned};

struct Case {
    followed: Followed,
    following: Following,
    source: Arc<Partition>,
    now: Instant,
}

/// A ledger partition with one source partition that waits for it.
fn case() -> Case {
    let now = Instant::now();
    let following = Following::new("ledger");
    let note = CommitNote::default();
    let source = Arc::new(Partition::new("events".into(), 3, Frontier::new(None), None, note, owned()));
    following.assigned(&source);
    let mut followed = Followed::new(3, now);
    followed.add(Arc::clone(&source), now);
    Case { followed, following, source, now }
}

impl Case {
    fn begin(&mut self, offset: i64, anchor: u64, compare: bool, end: i64) -> i64 {
        let first = self.followed.begin(LedgerPosition { offset, anchor }, 0, compare);
        self.followed.set_end(end, self.now);
        self.followed.release(None, &self.following);
        first
    }

    fn receive(&mut self, offset: i64) -> Received {
        self.followed.receive(offset, Some(b"key"), Some(format!("value {offset}").as_bytes()))
    }

    fn apply(&mut self) -> Option<(usize, LedgerPosition)> {
        let (entries, position) = self.followed.batch()?;
        let count = entries.len();
        self.followed.batch_applied(position);
        self.followed.release(None, &self.following);
        Some((count, position))
    }

    /// Whether the source partition was let go.
    fn is_released(&self) -> bool {
        self.source.status().ledger.is_none()
    }
}

fn digest_of(offset: i64) -> u64 {
    digest(offset, Some(b"key"), Some(format!("value {offset}").as_bytes()))
}

#[test]
fn a_source_partition_is_released_when_its_end_was_applied_and_not_when_it_was_received() {
    let mut case = case();
    assert_eq!(case.begin(0, 0, false, 3), 0);
    for offset in 0..3 {
        assert_eq!(case.receive(offset), Received::Taken);
        case.followed.release(None, &case.following);
        assert!(!case.is_released(), "received, not applied");
    }
    assert_eq!(case.apply(), Some((3, LedgerPosition { offset: 3, anchor: digest_of(2) })));
    assert!(case.is_released());
    assert!(case.following.take_caught_up());
    assert!(case.source.open_after_ledger() && !case.source.is_held());
}

#[test]
fn an_empty_log_is_read_at_once() {
    let mut case = case();
    case.begin(5, 0, false, 5);
    assert!(case.is_released());
}

#[test]
fn a_warm_store_waits_for_the_record_before_its_position() {
    let mut case = case();
    assert_eq!(case.begin(5, digest_of(4), true, 5), 4);
    assert!(!case.is_released(), "not compared yet");
    assert_eq!(case.receive(4), Received::Taken);
    case.followed.release(None, &case.following);
    assert!(case.is_released());
    assert_eq!(case.apply(), None, "it was applied before");
}

#[test]
fn another_record_before_the_position_is_another_topic() {
    let mut case = case();
    case.begin(5, digest_of(4) ^ 1, true, 5);
    assert_eq!(case.receive(4), Received::Another(0));
    assert!(!case.is_released());
}

#[test]
fn a_record_before_the_position_that_is_never_there_is_another_topic_and_does_not_hold_the_partition() {
    let mut case = case();
    assert_eq!(case.begin(5, digest_of(4), true, 5), 4);
    assert_eq!(case.followed.at_end(), AtEnd::Missing, "a new leader may show it in a moment");
    case.followed.close();
    case.begin(5, digest_of(4), true, 5);
    assert_eq!(case.followed.at_end(), AtEnd::Another(0));
    case.begin(0, 0, false, 0);
    assert!(case.is_released());
}

#[test]
fn a_record_before_the_position_that_is_shown_late_is_compared() {
    let mut case = case();
    case.begin(5, digest_of(4), true, 5);
    assert_eq!(case.followed.at_end(), AtEnd::Missing);
    case.followed.close();
    case.begin(5, digest_of(4), true, 5);
    assert_eq!(case.receive(4), Received::Taken);
    assert_eq!(case.followed.at_end(), AtEnd::Reached);
    case.followed.close();
    case.begin(5, digest_of(4), true, 5);
    assert_eq!(case.followed.at_end(), AtEnd::Missing, "counted from the last comparison");
}

#[test]
fn a_record_that_left_before_it_was_compared_does_not_make_another_topic() {
    let mut case = case();
    case.begin(5, digest_of(4) ^ 1, true, 7);
    assert_eq!(case.receive(6), Received::Taken);
    assert_eq!(case.apply(), Some((1, LedgerPosition { offset: 7, anchor: digest_of(6) })));
    assert!(case.is_released());
}

#[test]
fn an_end_that_no_record_reaches_is_reached_by_the_position_of_the_client() {
    let mut case = case();
    case.begin(0, 0, false, 3);
    case.receive(0);
    case.followed.release(Some(3), &case.following);
    assert!(!case.is_released(), "a record is not applied yet");
    case.apply();
    assert!(!case.is_released());
    case.followed.release(Some(3), &case.following);
    assert!(case.is_released(), "marks of transactions are no records");
}

#[test]
fn an_end_that_was_asked_for_again_moves_down_and_not_up() {
    let mut case = case();
    case.begin(0, 0, false, 3);
    assert!(!case.followed.is_due(case.now), "it is known");
    case.followed.ask_again();
    assert!(case.followed.is_due(case.now + Duration::from_secs(1)));
    case.followed.set_end(100, case.now);
    assert_eq!(case.followed.progress(), Some((0, Some(3))), "one day it is reached");
    case.followed.set_end(2, case.now);
    assert_eq!(case.followed.progress(), Some((0, Some(2))), "the log became shorter");
}

#[test]
fn a_second_source_partition_waits_for_the_end_as_of_its_own_assignment() {
    let mut case = case();
    case.begin(0, 0, false, 0);
    assert!(case.is_released());
    let other = Arc::new(Partition::new("other".into(), 3, Frontier::new(None), None, CommitNote::default(), owned()));
    case.following.assigned(&other);
    case.followed.add(Arc::clone(&other), case.now);
    assert!(case.followed.is_due(case.now), "its end is not known");
    case.followed.set_end(1, case.now);
    case.followed.release(None, &case.following);
    assert!(other.status().ledger.is_some());
    case.receive(0);
    case.apply();
    assert!(other.status().ledger.is_none());
    assert!(case.followed.remove(&other) && !case.followed.remove(&case.source));
}

#[test]
fn records_without_a_value_and_those_that_are_too_large_are_passed_over() {
    let mut case = case();
    case.begin(0, 0, false, 3);
    case.receive(0);
    assert_eq!(case.followed.receive(1, None, None), Received::Taken);
    assert_eq!(case.apply(), Some((1, LedgerPosition { offset: 2, anchor: digest(1, None, None) })));
    let large = vec![b'x'; MAX_RECORD_BYTES + 1];
    assert_eq!(case.followed.receive(2, None, Some(&large)), Received::TooLarge);
    assert_eq!(case.followed.batch_bytes(), 0, "nothing of it is kept");
    assert_eq!(case.apply(), Some((0, LedgerPosition { offset: 3, anchor: digest(2, None, Some(&large)) })));
    assert!(case.is_released());
}

#[test]
fn what_was_closed_takes_nothing_and_begins_at_what_was_applied() {
    let mut case = case();
    case.begin(0, 0, false, 9);
    case.receive(0);
    case.followed.close();
    assert_eq!((case.receive(1), case.apply()), (Received::Taken, None));
    case.begin(0, 0, false, 9);
    case.receive(0);
    assert_eq!(case.apply(), Some((1, LedgerPosition { offset: 1, anchor: digest_of(0) })), "read again");
}

#[test]
fn a_batch_is_full_by_records_or_by_bytes() {
    let mut case = case();
    case.begin(0, 0, false, 100_000);
    let full = (0..30_000).find(|offset| case.receive(*offset) == Received::Full);
    assert_eq!(full, Some(19_999));
    case.apply();
    let value = vec![b'x'; 1 << 20];
    let full = (20_000..20_020).find(|offset| case.followed.receive(*offset, None, Some(&value)) == Received::Full);
    assert_eq!(full, Some(20_007));
}

#[test]
fn a_problem_is_shown_until_what_failed_works_again() {
    let mut case = case();
    let problem = |case: &Case| case.source.status().ledger.and_then(|progress| progress.problem);
    case.followed.end_unknown("no leader", case.now);
    assert_eq!(problem(&case).as_deref(), Some("no leader"));
    assert!(!case.followed.is_due(case.now), "not at once again");
    case.begin(0, 0, false, 9);
    assert_eq!(problem(&case), None);
    case.followed.not_read("not authorized", case.now);
    case.followed.set_end(9, case.now);
    case.followed.release(None, &case.following);
    case.receive(0);
    assert_eq!(problem(&case).as_deref(), Some("not authorized"), "the end is known and nothing is applied");
    case.apply();
    assert_eq!(problem(&case), None);
}
