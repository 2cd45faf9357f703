//! Every row of the protocol, one test each.

use std::time::Duration;

use super::*;

const S: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
const LIFETIME: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(20);
const TAKEOVER: Duration = Duration::from_secs(80);

fn at(seconds: u64) -> Boottime {
    Boottime::new(Duration::from_secs(1_000 + seconds))
}

fn claim() -> Claim {
    Claim::new(Timing::new(TIMEOUT, LIFETIME))
}

/// A session that sent its run request at 1 s, got no answer by 11 s, and saw no run.
fn after_an_ambiguous_post() -> Claim {
    let mut claim = claim();
    assert_eq!(claim.start_attempt(at(0)), ClaimStep::Claim(0));
    assert_eq!(claim.observe(Observed::Claimed, at(1)), ClaimStep::CreateRun { until: at(20) });
    assert_eq!(claim.observe(Observed::Ambiguous { sent_at: at(1) }, at(11)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(11)), ClaimStep::Fail(FailReason::RunRequest));
    claim
}

/// A session that saw another's claim at 1 s.
fn after_anothers_claim() -> Claim {
    let mut claim = claim();
    assert_eq!(claim.start_attempt(at(0)), ClaimStep::Claim(0));
    assert_eq!(claim.observe(Observed::Taken, at(1)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(1)), ClaimStep::ReadOwner(0));
    assert_eq!(claim.observe(Observed::Owner { ours: false }, at(1)), ClaimStep::ReadOwner(1));
    assert_eq!(claim.observe(Observed::NoThread, at(1)), ClaimStep::Wait(TAKEOVER));
    claim
}

#[test]
fn a_fresh_claim_is_posted_at_once() {
    let mut claim = claim();
    assert_eq!(claim.start_attempt(at(0)), ClaimStep::Claim(0));
    assert_eq!(claim.observe(Observed::Claimed, at(1)), ClaimStep::CreateRun { until: at(0) + LEASE });
    let accepted = ClaimStep::Accepted { run_id: Some("r".into()), found: false };
    assert_eq!(claim.observe(Observed::Created(Some("r".into())), at(2)), accepted);
}

#[test]
fn there_may_be_a_run_once_a_claim_of_another_or_an_ambiguous_post_was_observed() {
    let mut fresh = claim();
    fresh.start_attempt(at(0));
    assert!(!fresh.may_have_run());
    fresh.observe(Observed::Claimed, at(1));
    fresh.observe(Observed::Refused, at(1));
    assert!(!fresh.may_have_run(), "the claim is ours, and nothing was posted");
    let mut taken = claim();
    taken.start_attempt(at(0));
    taken.observe(Observed::Taken, at(1));
    assert_eq!(taken.observe(Observed::Failed, at(1)), ClaimStep::Fail(FailReason::Request));
    assert!(taken.may_have_run(), "the runs of whoever has claimed it were not listed");
    assert!(after_an_ambiguous_post().may_have_run() && after_anothers_claim().may_have_run());
}

#[test]
fn a_taken_claim_with_a_run_is_accepted() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    assert_eq!(claim.observe(Observed::Taken, at(1)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::Run(None), at(1)), ClaimStep::Accepted { run_id: None, found: true });
}

#[test]
fn a_claim_whose_answer_was_lost_is_posted_at_once() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    assert_eq!(claim.observe(Observed::Failed, at(10)), ClaimStep::Fail(FailReason::Request));
    assert_eq!(claim.start_attempt(at(11)), ClaimStep::Claim(0));
    assert_eq!(claim.observe(Observed::Taken, at(11)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(11)), ClaimStep::ReadOwner(0));
    assert_eq!(claim.observe(Observed::Owner { ours: true }, at(11)), ClaimStep::CreateRun { until: at(0) + LEASE });
}

#[test]
fn anothers_claim_is_left_alone_until_nothing_of_it_can_arrive() {
    let mut claim = after_anothers_claim();
    assert_eq!(claim.start_attempt(at(50)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(50)), ClaimStep::Wait(31 * S));
    assert_eq!(claim.start_attempt(at(81)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(81)), ClaimStep::Claim(1));
    assert_eq!(claim.observe(Observed::Claimed, at(82)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(83)), ClaimStep::CreateRun { until: at(81) + LEASE });
}

#[test]
fn anothers_run_ends_the_wait() {
    let mut claim = after_anothers_claim();
    assert_eq!(claim.start_attempt(at(81)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::Run(None), at(81)), ClaimStep::Accepted { run_id: None, found: true });
}

#[test]
fn a_run_that_arrives_while_the_round_is_taken_over_is_found() {
    let mut claim = after_anothers_claim();
    claim.start_attempt(at(81));
    assert_eq!(claim.observe(Observed::NoRun, at(81)), ClaimStep::Claim(1));
    assert_eq!(claim.observe(Observed::Claimed, at(82)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::Run(None), at(83)), ClaimStep::Accepted { run_id: None, found: true });
}

#[test]
fn a_round_that_a_third_process_took_is_left_alone_as_well() {
    let mut claim = after_anothers_claim();
    claim.start_attempt(at(81));
    assert_eq!(claim.observe(Observed::NoRun, at(81)), ClaimStep::Claim(1));
    assert_eq!(claim.observe(Observed::Taken, at(82)), ClaimStep::ReadOwner(1));
    assert_eq!(claim.observe(Observed::Owner { ours: false }, at(82)), ClaimStep::ReadOwner(2));
    assert_eq!(claim.observe(Observed::NoThread, at(82)), ClaimStep::Wait(TAKEOVER));
    assert_eq!(claim.start_attempt(at(162)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(162)), ClaimStep::Claim(2));
}

#[test]
fn a_new_process_walks_to_the_latest_round_before_it_waits() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Taken, at(0));
    claim.observe(Observed::NoRun, at(0));
    for round in 0..5 {
        assert_eq!(
            claim.observe(Observed::Owner { ours: false }, at(u64::from(round))),
            ClaimStep::ReadOwner(round + 1)
        );
    }
    assert_eq!(claim.observe(Observed::NoThread, at(5)), ClaimStep::Wait(79 * S));
}

#[test]
fn an_ambiguous_post_with_a_run_is_accepted() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Claimed, at(1));
    assert_eq!(claim.observe(Observed::Ambiguous { sent_at: at(1) }, at(11)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::Run(None), at(11)), ClaimStep::Accepted { run_id: None, found: true });
}

#[test]
fn an_ambiguous_post_is_not_repeated_until_its_lifetime_has_passed_since_it_began() {
    let mut claim = after_an_ambiguous_post();
    assert_eq!(claim.start_attempt(at(12)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(12)), ClaimStep::Wait(49 * S));
    assert_eq!(claim.start_attempt(at(61)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(61)), ClaimStep::Claim(1));
    assert_eq!(claim.observe(Observed::Claimed, at(61)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(61)), ClaimStep::CreateRun { until: at(61) + LEASE });
}

#[test]
fn a_post_that_arrives_at_the_last_moment_is_found() {
    let mut claim = after_an_ambiguous_post();
    assert_eq!(claim.start_attempt(at(61)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::Run(None), at(61)), ClaimStep::Accepted { run_id: None, found: true });
}

#[test]
fn a_listing_that_fails_after_an_ambiguous_post_reports_the_failure_of_the_post() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Claimed, at(1));
    claim.observe(Observed::Ambiguous { sent_at: at(1) }, at(11));
    assert_eq!(claim.observe(Observed::Failed, at(21)), ClaimStep::Fail(FailReason::RunRequest));
    assert_eq!(claim.start_attempt(at(22)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(22)), ClaimStep::Wait(39 * S));
}

#[test]
fn a_post_of_an_attempt_that_was_dropped_counts_as_ambiguous() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Claimed, at(1));
    claim.run_request_dropped(at(1));
    assert_eq!(claim.start_attempt(at(2)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(2)), ClaimStep::Wait(59 * S));
}

#[test]
fn a_conflict_alone_is_never_acceptance() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Claimed, at(1));
    assert_eq!(claim.observe(Observed::Conflict, at(2)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(2)), ClaimStep::Fail(FailReason::Busy));
}

#[test]
fn a_conflict_with_our_run_is_accepted() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Claimed, at(1));
    claim.observe(Observed::Conflict, at(2));
    assert_eq!(claim.observe(Observed::Run(None), at(2)), ClaimStep::Accepted { run_id: None, found: true });
}

#[test]
fn a_refused_post_is_repeated_without_a_wait() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Claimed, at(1));
    assert_eq!(claim.observe(Observed::Refused, at(2)), ClaimStep::Fail(FailReason::RunRequest));
    assert_eq!(claim.start_attempt(at(3)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(3)), ClaimStep::CreateRun { until: at(0) + LEASE });
    assert_eq!(claim.observe(Observed::Refused, at(3)), ClaimStep::Fail(FailReason::RunRequest));
    assert_eq!(claim.start_attempt(at(30)), ClaimStep::FindRun);
    assert_eq!(
        claim.observe(Observed::NoRun, at(30)),
        ClaimStep::Claim(1),
        "the lease has ended, and no run request is under way"
    );
}

#[test]
fn a_process_that_was_stopped_before_its_post_claims_and_lists_again() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    assert_eq!(
        claim.observe(Observed::Claimed, at(500)),
        ClaimStep::Claim(1),
        "stopped while the answer was on its way"
    );
    assert_eq!(claim.observe(Observed::Claimed, at(501)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(501)), ClaimStep::CreateRun { until: at(500) + LEASE });
    assert_eq!(
        claim.observe(Observed::TooLate, at(900)),
        ClaimStep::FindRun,
        "stopped before the first byte was written"
    );
    assert_eq!(claim.observe(Observed::NoRun, at(901)), ClaimStep::Claim(2));
}

#[test]
fn posts_that_come_too_late_again_and_again_end_the_attempt() {
    let mut claim = claim();
    let mut step = claim.start_attempt(at(0));
    for second in 0..1_000 {
        let observed = match step {
            ClaimStep::Claim(_) => Observed::Claimed,
            ClaimStep::FindRun => Observed::NoRun,
            ClaimStep::CreateRun { .. } => Observed::TooLate,
            end => return assert_eq!(end, ClaimStep::Fail(FailReason::Contended)),
        };
        step = claim.observe(observed, at(second * 100));
    }
    panic!("the attempt does not end");
}

#[test]
fn a_claim_that_nobody_can_see_ends_the_attempt() {
    let mut claim = claim();
    for _ in 0..3 {
        let mut step = claim.start_attempt(at(0));
        let mut steps = Vec::new();
        for _ in 0..10 {
            steps.push(step.clone());
            step = match step {
                ClaimStep::Claim(0) => claim.observe(Observed::Taken, at(0)),
                ClaimStep::FindRun => claim.observe(Observed::NoThread, at(0)),
                _ => break,
            };
        }
        assert_eq!(steps.last(), Some(&ClaimStep::Fail(FailReason::Invisible)), "{steps:?}");
    }
}

#[test]
fn a_deleted_thread_is_claimed_anew_but_a_post_on_its_way_is_waited_for() {
    let mut claim = after_an_ambiguous_post();
    assert_eq!(claim.start_attempt(at(12)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoThread, at(12)), ClaimStep::Claim(0));
    assert_eq!(claim.observe(Observed::Claimed, at(12)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(12)), ClaimStep::Wait(49 * S));
}

#[test]
fn a_thread_that_is_once_not_found_renews_no_lease() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    assert_eq!(claim.observe(Observed::Failed, at(10)), ClaimStep::Fail(FailReason::Request));
    claim.start_attempt(at(500));
    claim.observe(Observed::Taken, at(500));
    claim.observe(Observed::NoRun, at(500));
    assert_eq!(claim.observe(Observed::Owner { ours: true }, at(500)), ClaimStep::Claim(1), "the lease has ended");
    assert_eq!(claim.observe(Observed::Failed, at(510)), ClaimStep::Fail(FailReason::Request));
    assert_eq!(claim.start_attempt(at(511)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoThread, at(511)), ClaimStep::Claim(0), "this time it is not shown");
    claim.observe(Observed::Taken, at(511));
    assert_eq!(claim.observe(Observed::NoRun, at(511)), ClaimStep::ReadOwner(0));
    assert_eq!(
        claim.observe(Observed::Owner { ours: true }, at(511)),
        ClaimStep::Claim(1),
        "it was first requested at 0"
    );
}

#[test]
fn a_claim_counts_from_when_it_was_first_asked_for_unless_that_was_never_sent() {
    let mut sent = claim();
    sent.start_attempt(at(0));
    sent.observe(Observed::Failed, at(10));
    sent.start_attempt(at(500));
    assert_eq!(
        sent.observe(Observed::Claimed, at(500)),
        ClaimStep::Claim(1),
        "it may be the thread of the first request"
    );

    let mut unsent = claim();
    unsent.start_attempt(at(0));
    assert_eq!(unsent.observe(Observed::Unsent, at(0)), ClaimStep::Fail(FailReason::Request));
    unsent.start_attempt(at(500));
    assert_eq!(unsent.observe(Observed::Claimed, at(500)), ClaimStep::CreateRun { until: at(500) + LEASE });

    let mut both = claim();
    both.start_attempt(at(0));
    both.observe(Observed::Failed, at(10));
    both.start_attempt(at(11));
    both.observe(Observed::Unsent, at(11));
    both.start_attempt(at(500));
    assert_eq!(both.observe(Observed::Claimed, at(500)), ClaimStep::Claim(1), "the first was sent");
}

#[test]
fn an_unknown_run_ends_the_attempt_unless_none_of_ours_can_exist() {
    let mut ambiguous = after_an_ambiguous_post();
    ambiguous.start_attempt(at(12));
    assert_eq!(ambiguous.observe(Observed::UnknownRun, at(12)), ClaimStep::Fail(FailReason::UnknownRun));

    let mut anothers = after_anothers_claim();
    anothers.start_attempt(at(50));
    assert_eq!(anothers.observe(Observed::UnknownRun, at(50)), ClaimStep::Fail(FailReason::UnknownRun));

    let mut unposted = claim();
    unposted.start_attempt(at(0));
    unposted.observe(Observed::Claimed, at(1));
    unposted.observe(Observed::Conflict, at(2));
    assert_eq!(
        unposted.observe(Observed::UnknownRun, at(2)),
        ClaimStep::Fail(FailReason::Busy),
        "somebody else's run is in the way"
    );
    unposted.start_attempt(at(3));
    assert_eq!(unposted.observe(Observed::UnknownRun, at(3)), ClaimStep::CreateRun { until: at(0) + LEASE });
}

#[test]
fn what_an_attempt_did_not_observe_the_next_one_asks() {
    let mut claim = claim();
    claim.start_attempt(at(0));
    claim.observe(Observed::Taken, at(1));
    claim.observe(Observed::NoRun, at(1));
    assert_eq!(claim.observe(Observed::Failed, at(11)), ClaimStep::Fail(FailReason::Request));
    assert_eq!(claim.start_attempt(at(12)), ClaimStep::FindRun);
    assert_eq!(claim.observe(Observed::NoRun, at(12)), ClaimStep::ReadOwner(0));
}
