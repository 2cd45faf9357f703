use std::time::Duration;

use super::{super::testing::owned, *};

fn partition(committed: Option<i64>) -> Partition {
    Partition::new("events".into(), 0, Frontier::new(committed), committed, CommitNote::default(), owned())
}

/// The record at an offset of a log.
fn record(log: &str, offset: i64) -> Anchor {
    Anchor::of(offset, Some(1_000 + offset), Some(b"key"), Some(format!("{log} {offset}").as_bytes()))
}

fn receive(partition: &Partition, log: &str, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let (epoch, _) = partition.receive(offset, || record(log, offset)).unwrap();
        partition.complete(epoch, offset);
    }
}

/// One comparison as the watermark thread makes it; `true` when the log is another one.
fn check(partition: &Partition, found: impl FnOnce(Anchor) -> Found) -> bool {
    let (anchor, known) = partition.begin_check().unwrap();
    let next = partition.next_anchor();
    let found = known.unwrap_or_else(|| found(anchor));
    partition.end_check(anchor, next, found) != Verdict::Ours
}

fn stands(log: &str) -> impl Fn(Anchor) -> Found + '_ {
    move |anchor| Found::Record(record(log, anchor.offset))
}

#[test]
fn a_committed_offset_below_the_low_watermark_is_a_loss_counted_once() {
    let partition = partition(Some(100));
    assert_eq!(partition.update_watermarks(600, 1_000, 0), Some(Lost { from: 100, to: 600 }));
    assert_eq!(partition.update_watermarks(600, 1_000, 0), None);
    receive(&partition, "old", 600..601);
    assert_eq!(partition.update_watermarks(600, 1_000, 0), None);
}

#[test]
fn a_loss_is_found_even_after_the_first_records_beyond_it_were_read() {
    let partition = partition(Some(100));
    receive(&partition, "old", 600..601);
    receive(&partition, "old", 601..602);
    assert_eq!(partition.update_watermarks(600, 1_000, 0), Some(Lost { from: 100, to: 600 }));
    assert_eq!(partition.update_watermarks(602, 1_000, 0), None, "read before it was dropped");
}

#[test]
fn a_log_that_outruns_a_paused_reader_is_a_loss() {
    let partition = partition(None);
    receive(&partition, "old", 0..1);
    assert_eq!(partition.update_watermarks(0, 50, 0), None);
    assert_eq!(partition.update_watermarks(30, 50, 0), Some(Lost { from: 1, to: 30 }));
}

#[test]
fn a_partition_without_records_counts_as_read_once_its_part_of_the_ledger_topic_was() {
    let partition = partition(Some(7));
    partition.await_ledger();
    assert_eq!(partition.update_watermarks(7, 7, 1_000), None);
    assert_eq!(partition.read_through_ms(), None);
    partition.ledger_caught_up();
    assert_eq!(partition.read_through_ms(), None, "the consumer does not call it owned yet");
    assert!(partition.open_after_ledger());
    assert_eq!(partition.read_through_ms(), Some(1_000));
}

#[test]
fn compaction_is_no_loss() {
    let partition = partition(Some(3));
    receive(&partition, "old", 990..991);
    assert_eq!(partition.update_watermarks(0, 1_000, 0), None);
}

#[test]
fn lag_is_the_end_less_what_is_committed() {
    let partition = partition(Some(40));
    partition.receive(40, || record("old", 40)).unwrap();
    partition.update_watermarks(0, 100, 0);
    let status = partition.status();
    assert_eq!((status.lag, status.position, status.committed, status.span), (Some(60), Some(41), Some(40), 1));
}

#[test]
fn marks_of_transactions_are_neither_lag_nor_loss() {
    let partition = partition(None);
    receive(&partition, "old", 0..3);
    partition.update_watermarks(0, 4, 0);
    assert_eq!(partition.status().unread, Some(1));
    partition.advance_to(4);
    assert_eq!(partition.take_commit().unwrap().0, 4, "the mark is committed with what stands before it");
    partition.committed(Some(4));
    let status = partition.status();
    assert_eq!((status.lag, status.unread), (Some(0), Some(0)));
    assert_eq!(partition.update_watermarks(4, 4, 0), None, "retention took what was read");
}

#[test]
fn a_mark_behind_an_open_record_is_committed_after_it() {
    let partition = partition(Some(10));
    let (epoch, _) = partition.receive(10, || record("old", 10)).unwrap();
    partition.advance_to(12);
    assert_eq!(partition.take_commit(), None);
    partition.complete(epoch, 10);
    assert_eq!(partition.take_commit().unwrap().0, 12);
}

#[test]
fn a_partition_of_nothing_but_aborted_records_has_no_lag() {
    let partition = partition(None);
    partition.update_watermarks(0, 9, 0);
    partition.advance_to(9);
    assert_eq!(partition.take_commit().unwrap().0, 9);
}

#[test]
fn an_empty_partition_counts_as_read() {
    let partition = partition(None);
    partition.update_watermarks(7, 7, 0);
    assert_eq!(partition.status().unread, Some(0));
}

#[test]
fn a_loss_is_committed_so_that_no_restart_counts_it_again() {
    let partition = partition(Some(10));
    assert_eq!(partition.update_watermarks(11, 11, 0), Some(Lost { from: 10, to: 11 }));
    assert_eq!(partition.take_commit().unwrap().0, 11);
}

#[test]
fn another_log_with_more_records_is_read_from_its_start() {
    let partition = partition(None);
    receive(&partition, "old", 0..20);
    partition.update_watermarks(0, 20, 0);
    assert!(!check(&partition, stands("old")));
    receive(&partition, "new", 20..30);
    partition.update_watermarks(0, 50, 0);
    assert!(check(&partition, stands("new")));
    assert!(partition.receive(30, || record("new", 30)).is_none(), "it is read again");
    assert_eq!(partition.take_commit(), None, "nothing of the old log is committed on the new one");
    partition.begin_again();
    partition.advance_to(30);
    assert_eq!(partition.take_commit(), None, "librdkafka's position is still the old one");
    receive(&partition, "new", 0..50);
    partition.update_watermarks(0, 50, 0);
    assert!(!check(&partition, stands("new")));
    assert_eq!(partition.take_commit().unwrap().0, 50);
}

#[test]
fn a_restart_finds_another_log_by_what_the_last_commit_carried() {
    let first = partition(None);
    receive(&first, "old", 0..20);
    let (offset, note) = first.take_commit().unwrap();
    let second = Partition::new(
        "events".into(),
        0,
        Frontier::new(Some(offset)),
        Some(offset),
        CommitNote::parse(&note),
        owned(),
    );
    // It reads on before it compares, and commits: the note must still be that of the old log.
    receive(&second, "new", 20..25);
    let (_, note) = second.take_commit().unwrap();
    assert_eq!(CommitNote::parse(&note).anchor, Some(record("old", 0)));
    second.update_watermarks(0, 50, 0);
    assert!(check(&second, stands("new")));
}

#[test]
fn an_anchor_follows_only_after_a_comparison_that_vouches_for_it() {
    let partition = partition(None);
    receive(&partition, "old", 0..10);
    partition.update_watermarks(0, 10, 0);
    assert!(!check(&partition, stands("old")), "from here on the next record may become the anchor");
    receive(&partition, "old", 10..20);
    partition.update_watermarks(0, 20, 0);
    assert!(!check(&partition, stands("old")));
    assert_eq!(partition.begin_check().unwrap().0, record("old", 10));
    receive(&partition, "new", 20..25);
    partition.update_watermarks(0, 25, 0);
    assert!(check(&partition, stands("new")), "the record of the new log did not become the anchor unseen");
}

#[test]
fn retention_and_compaction_are_no_other_log() {
    let partition = partition(None);
    receive(&partition, "old", 0..20);
    partition.update_watermarks(10, 20, 0);
    assert!(!check(&partition, |_| unreachable!("it lies below the low watermark")));
    receive(&partition, "old", 20..21);
    partition.update_watermarks(10, 21, 0);
    assert!(!check(&partition, |_| Found::Gone));
    assert!(!check(&partition, |_| Found::Gone));
}

#[test]
fn a_log_that_ends_below_what_was_read_is_asked_twice() {
    let partition = partition(None);
    receive(&partition, "old", 0..5);
    partition.update_watermarks(0, 5, 0);
    assert!(!check(&partition, stands("old")));
    receive(&partition, "old", 5..20);
    partition.update_watermarks(0, 20, 0);
    assert!(!check(&partition, stands("old")));
    assert_eq!(partition.begin_check().unwrap().0.offset, 5);
    partition.update_watermarks(0, 3, 0);
    assert!(!check(&partition, stands("new")));
    partition.update_watermarks(0, 3, 0);
    assert!(check(&partition, |_| unreachable!("the watermarks say it")));
}

#[test]
fn watermarks_that_are_no_longer_answered_make_no_other_log() {
    let partition = partition(None);
    receive(&partition, "old", 0..5);
    partition.update_watermarks(0, 5, 0);
    assert!(!check(&partition, stands("old")));
    // From here on a leader is silent, and this partition is read on.
    receive(&partition, "old", 5..20);
    for _ in 0..10 {
        assert!(!check(&partition, stands("old")));
    }
    assert_eq!(partition.begin_check().unwrap().0.offset, 5, "the anchor has moved past the last watermarks");
}

#[test]
fn the_start_of_a_log_that_took_anothers_place_is_committed_before_anything_is_received() {
    let partition = partition(None);
    receive(&partition, "old", 0..20);
    partition.update_watermarks(0, 20, 0);
    assert!(check(&partition, stands("new")));
    partition.begin_again();
    partition.update_watermarks(0, 7, 0);
    assert_eq!(partition.take_commit().map(|(offset, _)| offset), Some(0));
    partition.committed(Some(0));
    let (epoch, _) = partition.receive(0, || record("new", 0)).unwrap();
    partition.complete(epoch, 0);
    assert_eq!(partition.take_commit().map(|(offset, _)| offset), Some(1));
}

#[test]
fn what_the_old_log_still_held_unread_is_reported() {
    let partition = partition(None);
    receive(&partition, "old", 0..5);
    partition.update_watermarks(0, 20, 0);
    assert!(!check(&partition, stands("old")));
    partition.update_watermarks(0, 50, 0);
    let (anchor, _) = partition.begin_check().unwrap();
    let found = Found::Record(record("new", anchor.offset));
    assert_eq!(partition.end_check(anchor, None, found), Verdict::Another { lost: Some(Lost { from: 5, to: 20 }) });
}

#[test]
fn a_partition_that_gets_only_errors_is_stuck_until_it_moves() {
    let partition = partition(None);
    receive(&partition, "old", 0..5);
    partition.update_watermarks(0, 10, 0);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let error_at = |offset: i64, _| (offset == 5).then(|| "bad batch".to_owned());
    assert_eq!(partition.check_progress(at(0), true, error_at), None);
    assert_eq!(partition.check_progress(at(14), true, error_at), None, "not yet");
    assert_eq!(partition.check_progress(at(15), true, |_, _| None), None, "slow, but without an error");
    let Some(StuckChange::Stuck(stuck)) = partition.check_progress(at(16), true, error_at) else {
        panic!("it is stuck");
    };
    assert_eq!((stuck.offset, stuck.reason.as_str()), (5, "bad batch"));
    assert_eq!(partition.check_progress(at(20), true, error_at), None, "reported once");
    assert!(partition.status().stuck.is_some());
    receive(&partition, "old", 5..6);
    assert_eq!(partition.check_progress(at(21), true, error_at), Some(StuckChange::Moves));
    assert_eq!(partition.status().stuck, None);
}

#[test]
fn a_paused_or_a_finished_partition_is_not_stuck() {
    let partition = partition(None);
    receive(&partition, "old", 0..5);
    partition.update_watermarks(0, 10, 0);
    let start = Instant::now();
    let error_at = |_, _| Some("bad batch".to_owned());
    for seconds in [0, 20, 40] {
        assert_eq!(partition.check_progress(start + Duration::from_secs(seconds), false, error_at), None);
    }
    receive(&partition, "old", 5..10);
    for seconds in [60, 80, 100] {
        assert_eq!(partition.check_progress(start + Duration::from_secs(seconds), true, error_at), None);
    }
}
