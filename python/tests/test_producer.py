"""The producer without a broker: results, log lines, and the close."""

import gc
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from kit.events import an_event
from kit.poll import poll
from kit.timing import LATE
from workflow_events import (
    EventSource,
    EventType,
    KafkaTimeoutError,
    NoBrokersAvailable,
    Outcome,
    WorkflowEvent,
    WorkflowEventProducer,
)

NOWHERE = "127.0.0.1:1"


def producer(folder: Any, **settings: Any) -> WorkflowEventProducer:
    return WorkflowEventProducer(NOWHERE, connect_timeout=None, spool_dir=folder, **settings)


def spooled(folder: Path) -> List[Dict[str, Any]]:
    """By their ids: two files of one millisecond do not have their order in their names."""
    events = [json.loads(path.read_text().splitlines()[1]) for path in folder.glob("*.event")]
    return sorted(events, key=lambda event: str(event["event_id"]))


def lines(caplog: pytest.LogCaptureFixture) -> List["tuple[str, str]"]:
    found = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "workflow_events"]
    caplog.clear()
    return found


def complain(used: WorkflowEventProducer, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Publishes until librdkafka has said that nobody is there, which takes a slow machine its time. From then on every
    outcome says it. What this left in the spool and the log is taken away."""

    def message() -> str:
        return used.publish_event_outcome(an_event(), timeout=0.2).message

    poll(120, "the refused connection is told", message, lambda text: "Connection refused" in text)
    for path in folder.glob("*.event"):
        path.unlink()
    lines(caplog)


def test_no_broker_is_an_error_of_the_constructor_within_its_time() -> None:
    # It always takes the whole time. The longer one is for a machine that stood still during the shorter.
    for within in (5, 60):
        began = time.monotonic()
        with pytest.raises(NoBrokersAvailable, match=r"127\.0\.0\.1:1") as caught:
            WorkflowEventProducer(NOWHERE, connect_timeout=within)
        assert time.monotonic() - began < within + LATE
        assert caught.value.kind == "no_broker"
        if "Connection refused" in str(caught.value):
            return
    raise caught.value


def test_a_spooled_event_is_false_a_warning_and_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with producer(tmp_path) as used:
        complain(used, tmp_path, caplog)
        assert used.publish_event(an_event("6f1c"), timeout=0.2) is False
        ((level, line),) = lines(caplog)
        (path,) = tmp_path.glob("*.event")
        assert level == "WARNING"
        assert str(path) in line
        assert "python -m workflow_events drain" in line
        assert "Connection refused" in line
        outcome = used.publish_event_outcome(an_event("second"), timeout=0)
    assert (outcome.status, outcome.kind, outcome.event_id, outcome.published) == (
        "spooled",
        "spooled",
        "second",
        False,
    )
    assert outcome.path is not None
    assert Path(outcome.path).exists()
    assert (outcome.partition, outcome.offset, outcome.event) == (None, None, None)
    assert [event["event_id"] for event in spooled(tmp_path)] == ["6f1c", "second"]
    assert spooled(tmp_path)[0] == an_event("6f1c")


def test_a_model_and_its_dict_are_spooled_as_the_same_bytes(tmp_path: Path) -> None:
    event = WorkflowEvent(
        event_type=EventType.WORKFLOW_FAILED,
        source=EventSource.FASTAPI,
        workflow_id="d",
        workflow_run_id="r",
        payload={"rows": [1, 2.5, None, True, "Grüße"]},
    )
    with producer(tmp_path) as used:
        used.publish_event(event, timeout=0)
        used.publish_event(event.model_dump(), timeout=0)
    first, second = (path.read_bytes().splitlines()[1] for path in tmp_path.glob("*.event"))
    assert first == second == event.model_dump_json().encode()


@pytest.mark.parametrize("folder", ["/proc/none/spool", False])
def test_a_lost_event_is_critical_and_whole_in_the_log(folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    with producer(folder) as used:
        outcome = used.publish_event_outcome(an_event("6f1c"), timeout=0.1)
    ((level, line),) = lines(caplog)
    assert level == "CRITICAL"
    assert outcome.event is not None
    assert line.endswith(outcome.event)
    assert json.loads(outcome.event) == an_event("6f1c")
    assert (outcome.status, outcome.path) == ("failed" if folder is False else "lost", None)


class Nothing:
    pass


@pytest.mark.parametrize(
    ("event", "topic", "complaint"),
    [
        (None, None, "event without an id cannot be published: expected a WorkflowEvent or a dict, found NoneType"),
        (Nothing(), None, "expected a WorkflowEvent or a dict, found Nothing"),
        ({"event_id": "x"}, None, "event x cannot be published: field `event_type` is missing"),
        (an_event(event_id=""), None, "field `event_id`: is empty"),
        (an_event("6f1c", payload=[1]), None, "field `payload`: expected an object, found an array"),
        (
            an_event("6f1c", payload={"data": {"a": Nothing()}}),
            None,
            "event 6f1c cannot be published: event.payload.data.a: a value of type",
        ),
        (an_event("6f1c"), "a/b", "topic: expected 1 to 249 of letters"),
        (an_event("6f1c"), "\ud800", "topic: expected 1 to 249 of letters"),
        (an_event("6f1c"), 5, "topic: expected 1 to 249 of letters"),
    ],
)
def test_an_invalid_event_returns_false_and_logs_an_error_and_raises_nothing(
    event: Any, topic: Any, complaint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with producer(tmp_path) as used:
        outcome = used.publish_event_outcome(event, topic, timeout=0)
        assert (outcome.status, outcome.kind) == ("failed", "invalid")
        assert complaint in outcome.message
        assert outcome.event != ""
        assert outcome.event_id in ("", "x", "6f1c") and outcome.event_id in outcome.message
        assert used.publish_event(event, topic, timeout=0) is False
        assert used.enqueue_event(event, topic) is False
        assert used.publish_many([event], topic).failed == 1
    logged = lines(caplog)
    assert len(logged) == 4
    assert all(level == "ERROR" and complaint in line for level, line in logged)
    assert spooled(tmp_path) == []


def test_many_events_have_their_outcomes_in_order_and_one_line_for_each_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with producer(tmp_path) as used:
        events: Any = (an_event("a"), None, an_event("b"), {}, an_event("c"))
        summary = used.publish_many(events, timeout=0)
        assert used.publish_many([]).outcomes == []
    assert (summary.published, summary.spooled, summary.failed) == (0, 3, 2)
    assert [outcome.status for outcome in summary.outcomes] == ["spooled", "failed", "spooled", "failed", "spooled"]
    assert [outcome.event_id for outcome in summary.outcomes if outcome.status == "spooled"] == ["a", "b", "c"]
    assert repr(summary) == "PublishSummary(published=0, spooled=3, failed=2)"
    assert [(level, line.count("more)")) for level, line in lines(caplog)] == [("WARNING", 1), ("ERROR", 1)]
    assert len(spooled(tmp_path)) == 3


def test_an_enqueued_event_is_pending_until_close_spools_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used = producer(tmp_path)
    complain(used, tmp_path, caplog)
    assert used.enqueue_event(an_event("6f1c")) is True
    assert used.enqueue_event(an_event("second")) is True
    with pytest.raises(KafkaTimeoutError, match=r"^2 events are not acknowledged after 0\.2 s.*Connection refused"):
        used.flush(timeout=0.2)
    assert (spooled(tmp_path), lines(caplog)) == ([], [])
    used.close(timeout=0.1)
    assert {event["event_id"] for event in spooled(tmp_path)} == {"6f1c", "second"}
    assert [level for level, _ in lines(caplog)] == ["WARNING"]


def test_the_failure_of_an_enqueued_event_is_logged_by_the_next_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with producer(tmp_path, delivery_timeout_ms=200) as used:
        used.enqueue_event(an_event("6f1c"))
        used.flush()
        assert [event["event_id"] for event in spooled(tmp_path)] == ["6f1c"]
        ((level, line),) = lines(caplog)
    assert (level, "6f1c" in line) == ("WARNING", True)


def test_a_closed_producer_refuses_and_logs_every_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used = producer(tmp_path)
    assert used.closed is False
    used.close()
    used.close()
    assert used.closed is True
    assert used.publish_event(an_event("6f1c")) is False
    assert used.enqueue_event(an_event("6f1c")) is False
    assert used.publish_many([an_event("6f1c")]).failed == 1
    used.flush()
    logged = lines(caplog)
    assert [level for level, _ in logged] == ["CRITICAL"] * 3
    assert all("6f1c" in line and "closed" in line and "Grüße" in line for _, line in logged)
    assert "closed" in repr(used)


def test_an_event_that_is_kept_in_the_quarantine_is_an_error_and_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    from workflow_events.log import log_outcomes

    message = "event 6f1c is too large for topic t. It is kept in /spool/quarantine/1.event"
    log_outcomes([Outcome("failed", "too_large", "6f1c", message, path="/spool/quarantine/1.event")])
    assert lines(caplog) == [("ERROR", f"event not published: {message}")]


def test_a_publish_is_logged_as_info_only_when_somebody_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from workflow_events.log import log_outcomes

    acknowledged = Outcome("published", "published", "6f1c", "event 6f1c is in topic t, partition 0, offset 7")
    with caplog.at_level(logging.INFO, "workflow_events"):
        log_outcomes([acknowledged])
        log_outcomes([acknowledged, acknowledged])
        assert lines(caplog) == [
            ("INFO", "event published: event 6f1c is in topic t, partition 0, offset 7"),
            ("INFO", "event published: event 6f1c is in topic t, partition 0, offset 7 (and 1 more)"),
        ]
    log_outcomes([acknowledged])
    assert lines(caplog) == []


@pytest.mark.parametrize("timeout", [-1, float("nan"), 0, 0.0])
def test_a_timeout_that_has_passed_is_straight_into_the_spool(timeout: float, tmp_path: Path) -> None:
    with producer(tmp_path) as used:
        began = time.monotonic()
        assert used.publish_event_outcome(an_event("6f1c"), timeout=timeout).status == "spooled"
        # Far less than the two minutes for which the client tries to deliver.
        assert time.monotonic() - began < 60


def test_a_timeout_of_none_is_the_delivery_timeout(tmp_path: Path) -> None:
    with producer(tmp_path, delivery_timeout_ms=300) as used:
        assert used.publish_event_outcome(an_event("6f1c"), timeout=None).status == "spooled"
        assert used.publish_event_outcome(an_event("6f1c"), timeout=float("inf")).status == "spooled"
        with pytest.raises(TypeError, match="timeout: expected seconds as a number, found 'soon'"):
            used.publish_event(an_event("6f1c"), timeout="soon")  # type: ignore[arg-type]


def test_other_threads_go_on_while_one_waits(tmp_path: Path) -> None:
    with producer(tmp_path) as used:
        waiting = threading.Thread(target=used.publish_event, args=(an_event("6f1c"),), kwargs={"timeout": 600.0})
        began = time.monotonic()
        waiting.start()

        def pending() -> int:
            return int(used._native.flush(0)[0])

        # With the interpreter's lock held this would come to its end after the wait, which is two minutes.
        poll(60, "the event is on its way", pending, lambda count: count == 1)
        for _ in range(100):
            time.sleep(0.001)
        assert time.monotonic() - began < 60
        assert waiting.is_alive()
        used.close(timeout=0)
        waiting.join()
    assert len(spooled(tmp_path)) == 1


def test_a_signal_ends_a_flush_and_pending_events_stay_pending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used = producer(tmp_path)
    # The client is made then: an event that is enqueued before may go straight into the spool.
    complain(used, tmp_path, caplog)
    assert used.enqueue_event(an_event("6f1c")) is True

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            used.flush(timeout=600)
        assert time.monotonic() - began < 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(KafkaTimeoutError, match="1 event is not"):
        used.flush(timeout=0)
    used.close(timeout=0)
    assert len(spooled(tmp_path)) == 1


def test_a_garbage_collected_producer_spools_its_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow_events.producer.EXIT_TIMEOUT", 0.1)
    used = producer(tmp_path)
    used.enqueue_event(an_event("6f1c"))
    del used
    gc.collect()
    assert len(spooled(tmp_path)) == 1


PROGRAM = """
import sys, workflow_events.producer as made
made.EXIT_TIMEOUT = 0.3
producers = [made.WorkflowEventProducer("127.0.0.1:1", connect_timeout=None, spool_dir=sys.argv[1]) for _ in range(3)]
for number, producer in enumerate(producers):
    producer.enqueue_event({"event_id": str(number), "event_type": "WORKFLOW_COMPLETED", "source": "AIRFLOW",
                            "workflow_id": "d", "workflow_run_id": "r", "payload": {"data": {}}})
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise SystemExit(3)", "1 / 0"])
def test_the_end_of_the_interpreter_spools_what_is_pending(end: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + end, str(tmp_path)], capture_output=True, text=True, timeout=180
    )
    assert {event["event_id"] for event in spooled(tmp_path)} == {"0", "1", "2"}, ran.stderr
    assert ran.stderr.count("event not in Kafka yet, but safe") == 3
    assert ran.returncode == {"": 0, "1 / 0": 1}.get(end, 3)


def test_a_forked_child_that_ends_takes_nothing_of_its_parents_with_it(tmp_path: Path) -> None:
    program = (
        PROGRAM
        + """
import os, time
def spooled():
    return sorted(name for name in os.listdir(sys.argv[1]) if name.endswith(".event"))
os.makedirs(sys.argv[1], exist_ok=True)
# Nothing, unless the making of a client took so long that its event went straight there.
before = spooled()
child = os.fork()
if child == 0:
    sys.exit(0)  # Runs what stands in atexit: the producers are the parent's.
until = time.monotonic() + 100
while os.waitpid(child, os.WNOHANG) == (0, 0):
    assert time.monotonic() < until, "the child hangs"
    time.sleep(0.01)
assert spooled() == before
"""
    )
    folder = tmp_path / "spool"
    ran = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stderr
    assert len(spooled(folder)) == 3


def test_a_subclass_and_a_thread_pool_may_share_one_producer(tmp_path: Path) -> None:
    class Mine(WorkflowEventProducer):
        pass

    with Mine(NOWHERE, connect_timeout=None, spool_dir=tmp_path) as used:
        threads = [
            threading.Thread(target=used.publish_event, args=(an_event(str(number)),), kwargs={"timeout": 0})
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {event["event_id"] for event in spooled(tmp_path)} == {str(number) for number in range(8)}


def test_records_that_the_client_does_not_take_are_whole_in_the_log_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records: Any = [("t", "e-1", None, [], b'{"n":1}'), ("t", "e-2", None, [("event_version", 2)], b'{"n":2}')]
    with producer(tmp_path / "spool") as used:
        with pytest.raises(TypeError):
            used._publish_records(records, 0)
        found = lines(caplog)
    assert [level for level, _ in found] == ["CRITICAL"] * 2
    for number, (_, text) in enumerate(found, 1):
        assert f"event e-{number} was not handed over: TypeError: " in text and f'{{"n":{number}}}' in text
        assert "forked" not in text
