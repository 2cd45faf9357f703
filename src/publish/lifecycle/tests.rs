//! The whole table: every state of both owners, with every event.

use super::*;

const ACK: Ack = Ack { partition: 1, offset: 7 };
/// What librdkafka reports with acks=0.
const UNHEARD: Ack = Ack { partition: 1, offset: -1 };

fn failure() -> Failure {
    Failure::new("no broker")
}

fn too_large() -> Failure {
    Failure::caused_by(crate::publish::failure::Cause::RecordTooLarge, "too large")
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(name)
}

fn spooled(report: Report) -> State {
    State::Spooled { path: file("old"), report }
}

fn states() -> Vec<State> {
    vec![
        State::Pending,
        State::Acknowledged(ACK),
        State::Acknowledged(UNHEARD),
        State::Failed(failure()),
        State::Failed(too_large()),
        State::Abandoned,
        spooled(Report::Due),
        spooled(Report::Arrived),
        State::Quarantined,
        State::Lost { report: Report::Due },
        State::Lost { report: Report::Arrived },
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Acknowledged(ACK),
        Event::Acknowledged(UNHEARD),
        Event::Failed(failure()),
        Event::Failed(too_large()),
        Event::DeadlinePassed,
        Event::Retried,
        Event::Spooled(file("new")),
        Event::Quarantined,
        Event::NotKept,
    ]
}

/// What the table says; `None` where nothing changes and nothing has to be done.
#[expect(clippy::match_same_arms, reason = "one line for each cell of the table")]
fn expected(owner: Owner, state: &State, event: &Event) -> Option<(State, Action)> {
    use State as S;

    let new = |report| S::Spooled { path: file("new"), report };
    let in_spool = |failure: Option<Failure>| Action::Keep(Keep::InSpool, failure);
    let cell = match (state, event) {
        (S::Pending, Event::Acknowledged(ack)) => (S::Acknowledged(*ack), Action::Wake),
        (S::Pending, Event::Failed(failure)) => match owner {
            Owner::Caller => (S::Failed(failure.clone()), Action::Wake),
            Owner::Client => (S::Failed(failure.clone()), in_spool(Some(failure.clone()))),
        },
        (S::Pending | S::Abandoned, Event::DeadlinePassed) => (S::Abandoned, in_spool(None)),

        (S::Acknowledged(ack), Event::DeadlinePassed | Event::NotKept) => (state.clone(), Action::Return(*ack)),
        (S::Acknowledged(ack), Event::Spooled(_)) if *ack == ACK => (state.clone(), Action::Withdraw(file("new"), ACK)),
        (S::Acknowledged(_), Event::Spooled(_)) => (new(Report::Arrived), Action::None),

        (S::Failed(found), Event::DeadlinePassed) if *found == too_large() => (state.clone(), Action::SendAlone),
        (S::Failed(found), Event::DeadlinePassed) => (state.clone(), in_spool(Some(found.clone()))),
        (S::Failed(_), Event::Retried) => (S::Pending, Action::None),
        (S::Failed(_), Event::Spooled(_)) => (new(Report::Arrived), Action::None),
        (S::Failed(_), Event::Quarantined) => (S::Quarantined, Action::None),
        (S::Failed(_), Event::NotKept) => (S::Lost { report: Report::Arrived }, Action::None),

        (S::Abandoned, Event::Acknowledged(ack)) => (S::Acknowledged(*ack), Action::None),
        (S::Abandoned, Event::Failed(failure)) => (S::Failed(failure.clone()), Action::None),
        (S::Abandoned, Event::Spooled(_)) => (new(Report::Due), Action::None),
        (S::Abandoned, Event::NotKept) => (S::Lost { report: Report::Due }, Action::None),

        (S::Spooled { report: Report::Due, .. }, Event::Acknowledged(ack)) if *ack == ACK => {
            (S::Acknowledged(ACK), Action::Withdraw(file("old"), ACK))
        }
        (S::Spooled { report: Report::Due, .. }, Event::Acknowledged(_) | Event::Failed(_)) => {
            (spooled(Report::Arrived), Action::None)
        }

        (S::Lost { report: Report::Due }, Event::Acknowledged(ack)) => (S::Acknowledged(*ack), Action::None),
        (S::Lost { report: Report::Due }, Event::Failed(_)) => (S::Lost { report: Report::Arrived }, Action::None),
        _ => return None,
    };
    Some(cell)
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    for owner in [Owner::Caller, Owner::Client] {
        for state in states() {
            for event in events() {
                let mut life = RecordLife { owner, state: state.clone(), is_retried: false };
                let (action, change) = life.on(event.clone());
                let case = format!("{owner:?} {state:?} {event:?}");
                let (next, expected) = expected(owner, &state, &event).unwrap_or((state.clone(), Action::None));
                assert_eq!((&life.state, action), (&next, expected), "{case}");
                let counts = [counted(owner, &state), counted(owner, &next)];
                assert_eq!([change.from, change.to], counts, "{case}");
            }
        }
    }
}

fn counted(owner: Owner, state: &State) -> Counted {
    match (state, owner) {
        (State::Pending | State::Abandoned, _) | (State::Failed(_), Owner::Client) => Counted::Pending,
        (State::Spooled { report: Report::Due, .. } | State::Lost { report: Report::Due }, _) => Counted::Settled,
        _ => Counted::No,
    }
}

#[test]
fn nothing_is_counted_out_before_a_report_and_twice_in_no_history() {
    // From `pending` every history of four events ends with at most one step out of the counts, and a retry is counted
    // in by whoever sends it.
    for owner in [Owner::Caller, Owner::Client] {
        let mut lives = vec![(RecordLife { owner, state: State::Pending, is_retried: false }, 0)];
        for _ in 0..4 {
            lives = lives
                .into_iter()
                .flat_map(|(life, out)| events().into_iter().map(move |event| (life.clone(), out, event)))
                .map(|(mut life, out, event)| {
                    let is_report = matches!(event, Event::Acknowledged(_) | Event::Failed(_));
                    let (_, change) = life.on(event);
                    let is_out = change.from != Counted::No && change.to == Counted::No;
                    let is_in = change.from == Counted::No && change.to != Counted::No;
                    if is_out && owner == Owner::Caller {
                        assert!(is_report, "{life:?}");
                    }
                    (life, out + i32::from(is_out) - i32::from(is_in))
                })
                .collect();
            assert!(lives.iter().all(|(_, out)| (0..=1).contains(out)));
        }
    }
}

#[test]
fn a_record_that_is_too_large_alone_goes_to_the_quarantine() {
    let mut life = RecordLife::awaited();
    life.on(Event::Failed(too_large()));
    assert_eq!(life.on(Event::DeadlinePassed).0, Action::SendAlone);
    life.on(Event::Retried);
    assert_eq!(life.on(Event::Failed(too_large())).0, Action::Wake);
    assert_eq!(life.on(Event::DeadlinePassed).0, Action::Keep(Keep::InQuarantine, Some(too_large())));
    life.on(Event::Quarantined);
    assert_eq!(life.state, State::Quarantined);
}

#[test]
fn a_verdict_too_large_after_the_deadline_is_tried_alone_before_the_quarantine() {
    let mut life = RecordLife::awaited();
    assert_eq!(life.on(Event::DeadlinePassed).0, Action::Keep(Keep::InSpool, None));
    // It was sent in company, and the report comes while the caller tries another record alone.
    life.on(Event::Failed(too_large()));
    assert_eq!(life.on(Event::DeadlinePassed).0, Action::SendAlone);
    life.on(Event::Retried);
    life.on(Event::Failed(too_large()));
    assert_eq!(life.on(Event::DeadlinePassed).0, Action::Keep(Keep::InQuarantine, Some(too_large())));
}

#[test]
fn an_enqueued_record_that_is_too_large_is_spooled_for_a_drain_that_sends_it_alone() {
    let mut life = RecordLife::enqueued();
    let (action, change) = life.on(Event::Failed(too_large()));
    assert_eq!(action, Action::Keep(Keep::InSpool, Some(too_large())));
    assert_eq!(change, CountChange { from: Counted::Pending, to: Counted::Pending }, "a flush waits for the disk");
    let (_, change) = life.on(Event::Spooled(file("new")));
    assert_eq!(change, CountChange { from: Counted::Pending, to: Counted::No });
}

#[test]
fn what_a_drain_does_with_a_file_depends_on_the_error_alone() {
    let (event_id, topic, event) = (String::new(), String::new(), String::new());
    let too_large = PublishError::TooLarge { event_id, topic, bytes: 1, kept: super::super::Kept::ByCaller, event };
    assert_eq!(Keep::after(&too_large), Keep::InQuarantine);
    assert_eq!(Keep::after(&PublishError::Closed), Keep::InSpool);
}
