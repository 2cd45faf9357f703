//! Every row of the protocol, one test each.

use super::*;

const S: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(60);
const RIGHT: Duration = Duration::from_secs(20);
const TAKEOVER: Duration = Duration::from_secs(80);

fn at(seconds: u64) -> Boottime {
    Boottime::new(Duration::from_secs(1_000 + seconds))
}

fn claim() -> Claim {
    Claim::new(Rules::new(TIMEOUT, SETTLE, ClaimPolicy::default()))
}

/// A session that posted at 1 s, got no answer by 11 s, and saw no run.
fn after_an_ambiguous_post() -> Claim {
    let mut claim = claim();
    assert_eq!(claim.begin(at(0)), Step::Claim(0));
    assert_eq!(claim.saw(Seen::Claimed, at(1)), Step::Post { until: at(20) });
    assert_eq!(claim.saw(Seen::Unknown { at: at(1) }, at(11)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(11)), Step::Fail(Why::Post));
    claim
}

/// A session that saw another's claim at 1 s.
fn after_anothers_claim() -> Claim {
    let mut claim = claim();
    assert_eq!(claim.begin(at(0)), Step::Claim(0));
    assert_eq!(claim.saw(Seen::Taken, at(1)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(1)), Step::Whose(0));
    assert_eq!(claim.saw(Seen::Thread { ours: false }, at(1)), Step::Whose(1));
    assert_eq!(claim.saw(Seen::NoThread, at(1)), Step::Wait(TAKEOVER));
    claim
}

#[test]
fn a_fresh_claim_is_posted_at_once() {
    let mut claim = claim();
    assert_eq!(claim.begin(at(0)), Step::Claim(0));
    assert_eq!(claim.saw(Seen::Claimed, at(1)), Step::Post { until: at(0) + RIGHT });
    let accepted = Step::Accepted { run_id: Some("r".into()), found: false };
    assert_eq!(claim.saw(Seen::Posted(Some("r".into())), at(2)), accepted);
}

#[test]
fn a_taken_claim_with_a_run_is_accepted() {
    let mut claim = claim();
    claim.begin(at(0));
    assert_eq!(claim.saw(Seen::Taken, at(1)), Step::Look);
    assert_eq!(claim.saw(Seen::Run(None), at(1)), Step::Accepted { run_id: None, found: true });
}

#[test]
fn a_claim_whose_answer_was_lost_is_posted_at_once() {
    let mut claim = claim();
    claim.begin(at(0));
    assert_eq!(claim.saw(Seen::Failed, at(10)), Step::Fail(Why::Request));
    assert_eq!(claim.begin(at(11)), Step::Claim(0));
    assert_eq!(claim.saw(Seen::Taken, at(11)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(11)), Step::Whose(0));
    assert_eq!(claim.saw(Seen::Thread { ours: true }, at(11)), Step::Post { until: at(0) + RIGHT });
}

#[test]
fn anothers_claim_is_left_alone_until_nothing_of_it_can_arrive() {
    let mut claim = after_anothers_claim();
    assert_eq!(claim.begin(at(50)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(50)), Step::Wait(31 * S));
    assert_eq!(claim.begin(at(81)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(81)), Step::Claim(1));
    assert_eq!(claim.saw(Seen::Claimed, at(82)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(83)), Step::Post { until: at(81) + RIGHT });
}

#[test]
fn anothers_run_ends_the_wait() {
    let mut claim = after_anothers_claim();
    assert_eq!(claim.begin(at(81)), Step::Look);
    assert_eq!(claim.saw(Seen::Run(None), at(81)), Step::Accepted { run_id: None, found: true });
}

#[test]
fn a_run_that_arrives_while_the_turn_is_taken_over_is_found() {
    let mut claim = after_anothers_claim();
    claim.begin(at(81));
    assert_eq!(claim.saw(Seen::NoRun, at(81)), Step::Claim(1));
    assert_eq!(claim.saw(Seen::Claimed, at(82)), Step::Look);
    assert_eq!(claim.saw(Seen::Run(None), at(83)), Step::Accepted { run_id: None, found: true });
}

#[test]
fn a_turn_that_a_third_process_took_is_left_alone_in_its_turn() {
    let mut claim = after_anothers_claim();
    claim.begin(at(81));
    assert_eq!(claim.saw(Seen::NoRun, at(81)), Step::Claim(1));
    assert_eq!(claim.saw(Seen::Taken, at(82)), Step::Whose(1));
    assert_eq!(claim.saw(Seen::Thread { ours: false }, at(82)), Step::Whose(2));
    assert_eq!(claim.saw(Seen::NoThread, at(82)), Step::Wait(TAKEOVER));
    assert_eq!(claim.begin(at(162)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(162)), Step::Claim(2));
}

#[test]
fn a_new_process_walks_to_the_latest_turn_before_it_waits() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Taken, at(0));
    claim.saw(Seen::NoRun, at(0));
    for turn in 0..5 {
        assert_eq!(claim.saw(Seen::Thread { ours: false }, at(u64::from(turn))), Step::Whose(turn + 1));
    }
    assert_eq!(claim.saw(Seen::NoThread, at(5)), Step::Wait(79 * S));
}

#[test]
fn an_ambiguous_post_with_a_run_is_accepted() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Claimed, at(1));
    assert_eq!(claim.saw(Seen::Unknown { at: at(1) }, at(11)), Step::Look);
    assert_eq!(claim.saw(Seen::Run(None), at(11)), Step::Accepted { run_id: None, found: true });
}

#[test]
fn an_ambiguous_post_is_not_repeated_until_settle_has_passed_since_it_began() {
    let mut claim = after_an_ambiguous_post();
    assert_eq!(claim.begin(at(12)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(12)), Step::Wait(49 * S));
    assert_eq!(claim.begin(at(61)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(61)), Step::Claim(1));
    assert_eq!(claim.saw(Seen::Claimed, at(61)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(61)), Step::Post { until: at(61) + RIGHT });
}

#[test]
fn a_post_that_arrives_at_the_last_moment_is_found() {
    let mut claim = after_an_ambiguous_post();
    assert_eq!(claim.begin(at(61)), Step::Look);
    assert_eq!(claim.saw(Seen::Run(None), at(61)), Step::Accepted { run_id: None, found: true });
}

#[test]
fn a_look_that_fails_after_an_ambiguous_post_leaves_the_post_the_failure() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Claimed, at(1));
    claim.saw(Seen::Unknown { at: at(1) }, at(11));
    assert_eq!(claim.saw(Seen::Failed, at(21)), Step::Fail(Why::Post));
    assert_eq!(claim.begin(at(22)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(22)), Step::Wait(39 * S));
}

#[test]
fn a_post_of_an_attempt_that_was_dropped_counts_as_ambiguous() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Claimed, at(1));
    claim.dropped_post(at(1));
    assert_eq!(claim.begin(at(2)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(2)), Step::Wait(59 * S));
}

#[test]
fn a_conflict_alone_is_never_acceptance() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Claimed, at(1));
    assert_eq!(claim.saw(Seen::Conflict, at(2)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(2)), Step::Fail(Why::Busy));
}

#[test]
fn a_conflict_with_our_run_is_accepted() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Claimed, at(1));
    claim.saw(Seen::Conflict, at(2));
    assert_eq!(claim.saw(Seen::Run(None), at(2)), Step::Accepted { run_id: None, found: true });
}

#[test]
fn a_refused_post_is_repeated_without_a_wait() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Claimed, at(1));
    assert_eq!(claim.saw(Seen::Refused, at(2)), Step::Fail(Why::Post));
    assert_eq!(claim.begin(at(3)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(3)), Step::Post { until: at(0) + RIGHT });
    assert_eq!(claim.saw(Seen::Refused, at(3)), Step::Fail(Why::Post));
    assert_eq!(claim.begin(at(30)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(30)), Step::Claim(1), "the right has run out, and nothing has to settle");
}

#[test]
fn a_process_that_was_stopped_before_its_post_claims_and_looks_again() {
    let mut claim = claim();
    claim.begin(at(0));
    assert_eq!(claim.saw(Seen::Claimed, at(500)), Step::Claim(1), "stopped while the answer was on its way");
    assert_eq!(claim.saw(Seen::Claimed, at(501)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(501)), Step::Post { until: at(500) + RIGHT });
    assert_eq!(claim.saw(Seen::TooLate, at(900)), Step::Look, "stopped before the first byte was written");
    assert_eq!(claim.saw(Seen::NoRun, at(901)), Step::Claim(2));
}

#[test]
fn posts_that_come_too_late_again_and_again_end_the_attempt() {
    let mut claim = claim();
    let mut step = claim.begin(at(0));
    for second in 0..1_000 {
        let seen = match step {
            Step::Claim(_) => Seen::Claimed,
            Step::Look => Seen::NoRun,
            Step::Post { .. } => Seen::TooLate,
            end => return assert_eq!(end, Step::Fail(Why::Unsettled)),
        };
        step = claim.saw(seen, at(second * 100));
    }
    panic!("no end of it");
}

#[test]
fn a_claim_that_nobody_can_see_ends_the_attempt() {
    let mut claim = claim();
    for _ in 0..3 {
        let mut step = claim.begin(at(0));
        let mut steps = Vec::new();
        for _ in 0..10 {
            steps.push(step.clone());
            step = match step {
                Step::Claim(0) => claim.saw(Seen::Taken, at(0)),
                Step::Look => claim.saw(Seen::NoThread, at(0)),
                _ => break,
            };
        }
        assert_eq!(steps.last(), Some(&Step::Fail(Why::Invisible)), "{steps:?}");
    }
}

#[test]
fn a_deleted_thread_is_claimed_anew_but_a_post_on_its_way_is_waited_for() {
    let mut claim = after_an_ambiguous_post();
    assert_eq!(claim.begin(at(12)), Step::Look);
    assert_eq!(claim.saw(Seen::NoThread, at(12)), Step::Claim(0));
    assert_eq!(claim.saw(Seen::Claimed, at(12)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(12)), Step::Wait(49 * S));
}

#[test]
fn a_thread_that_is_once_not_found_renews_no_right() {
    let mut claim = claim();
    claim.begin(at(0));
    assert_eq!(claim.saw(Seen::Failed, at(10)), Step::Fail(Why::Request));
    claim.begin(at(500));
    claim.saw(Seen::Taken, at(500));
    claim.saw(Seen::NoRun, at(500));
    assert_eq!(claim.saw(Seen::Thread { ours: true }, at(500)), Step::Claim(1), "the right has run out");
    assert_eq!(claim.saw(Seen::Failed, at(510)), Step::Fail(Why::Request));
    assert_eq!(claim.begin(at(511)), Step::Look);
    assert_eq!(claim.saw(Seen::NoThread, at(511)), Step::Claim(0), "for once it is not shown");
    claim.saw(Seen::Taken, at(511));
    assert_eq!(claim.saw(Seen::NoRun, at(511)), Step::Whose(0));
    assert_eq!(claim.saw(Seen::Thread { ours: true }, at(511)), Step::Claim(1), "it was first asked for at 0");
}

#[test]
fn a_claim_counts_from_when_it_was_first_asked_for_unless_that_was_never_sent() {
    let mut sent = claim();
    sent.begin(at(0));
    sent.saw(Seen::Failed, at(10));
    sent.begin(at(500));
    assert_eq!(sent.saw(Seen::Claimed, at(500)), Step::Claim(1), "it may be the thread of the first request");

    let mut unsent = claim();
    unsent.begin(at(0));
    assert_eq!(unsent.saw(Seen::Unsent, at(0)), Step::Fail(Why::Request));
    unsent.begin(at(500));
    assert_eq!(unsent.saw(Seen::Claimed, at(500)), Step::Post { until: at(500) + RIGHT });

    let mut both = claim();
    both.begin(at(0));
    both.saw(Seen::Failed, at(10));
    both.begin(at(11));
    both.saw(Seen::Unsent, at(11));
    both.begin(at(500));
    assert_eq!(both.saw(Seen::Claimed, at(500)), Step::Claim(1), "the first was sent");
}

#[test]
fn an_unknown_run_ends_the_attempt_unless_none_of_ours_can_exist() {
    let mut ambiguous = after_an_ambiguous_post();
    ambiguous.begin(at(12));
    assert_eq!(ambiguous.saw(Seen::UnknownRun, at(12)), Step::Fail(Why::UnknownRun));

    let mut anothers = after_anothers_claim();
    anothers.begin(at(50));
    assert_eq!(anothers.saw(Seen::UnknownRun, at(50)), Step::Fail(Why::UnknownRun));

    let mut unposted = claim();
    unposted.begin(at(0));
    unposted.saw(Seen::Claimed, at(1));
    unposted.saw(Seen::Conflict, at(2));
    assert_eq!(unposted.saw(Seen::UnknownRun, at(2)), Step::Fail(Why::Busy), "somebody else's run is in the way");
    unposted.begin(at(3));
    assert_eq!(unposted.saw(Seen::UnknownRun, at(3)), Step::Post { until: at(0) + RIGHT });
}

#[test]
fn what_an_attempt_did_not_learn_the_next_one_asks() {
    let mut claim = claim();
    claim.begin(at(0));
    claim.saw(Seen::Taken, at(1));
    claim.saw(Seen::NoRun, at(1));
    assert_eq!(claim.saw(Seen::Failed, at(11)), Step::Fail(Why::Request));
    assert_eq!(claim.begin(at(12)), Step::Look);
    assert_eq!(claim.saw(Seen::NoRun, at(12)), Step::Whose(0));
}

#[test]
fn the_tests_can_switch_off_the_look_and_settle() {
    let mut blind = Claim::new(Rules::new(TIMEOUT, SETTLE, ClaimPolicy { look: false, settle: true }));
    blind.begin(at(0));
    blind.saw(Seen::Claimed, at(1));
    assert_eq!(blind.saw(Seen::Unknown { at: at(1) }, at(11)), Step::Fail(Why::Post));
    assert_eq!(blind.begin(at(12)), Step::Wait(49 * S));

    let mut hasty = Claim::new(Rules::new(TIMEOUT, SETTLE, ClaimPolicy { look: true, settle: false }));
    hasty.begin(at(0));
    hasty.saw(Seen::Claimed, at(1));
    hasty.saw(Seen::Unknown { at: at(1) }, at(11));
    hasty.saw(Seen::NoRun, at(11));
    assert_eq!(hasty.begin(at(12)), Step::Look);
    assert_eq!(hasty.saw(Seen::NoRun, at(12)), Step::Claim(1));
}
