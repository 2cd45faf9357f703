"""A signal during a call: its handler runs soon, and every event that was passed on has an outcome, which is logged."""

import logging
import signal
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Literal, Union

import pytest
from armed import Armed
from kit.events import an_event
from kit.poll import poll
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from workflow_events import WorkflowEventProducer

# Far more than 700 files take on a slow disk.
LONG = 600.0


class Interrupted(Exception):
    """What the handler raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The handler of SIGALRM raises."""

    def raises(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, raises)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def a_producer(silent: SilentServer, folder: Union[Path, Literal[False]]) -> WorkflowEventProducer:
    return WorkflowEventProducer(silent.bootstrap, connect_timeout=None, spool_dir=folder)


def one(producer: WorkflowEventProducer) -> None:
    producer.publish_event(an_event("e-0"), timeout=LONG)


def many(producer: WorkflowEventProducer) -> None:
    producer.publish_many([an_event("e-{}".format(number)) for number in range(3)], timeout=LONG)


def very_many(producer: WorkflowEventProducer) -> None:
    producer.publish_many([an_event("e-{}".format(number)) for number in range(700)], timeout=LONG)


def interrupted(producer: WorkflowEventProducer, call: Callable[[WorkflowEventProducer], object]) -> None:
    """The call is interrupted after it has waited for 0.4 s."""
    native = producer._native
    producer._native = Armed(native)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        call(producer)
    assert time.monotonic() - began < LONG / 2, "the signal waited for the call"
    producer._native = native


@pytest.mark.parametrize(("publish", "events"), [(one, 1), (many, 3), (very_many, 700)])
def test_an_interrupted_publish_spools_and_logs_its_events(
    publish: Callable[[WorkflowEventProducer], None],
    events: int,
    silent: SilentServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer = a_producer(silent, tmp_path / "spool")
    interrupted(producer, publish)
    assert len(list((tmp_path / "spool").glob("*.event"))) == events
    (line,) = [record.getMessage() for record in caplog.records if "but safe" in record.getMessage()]
    assert "e-0" in line
    assert events == 1 or "(and {} more)".format(events - 1) in line
    producer.close(timeout=0)


@pytest.mark.parametrize(("publish", "events"), [(one, 1), (many, 3)])
def test_without_a_spool_each_of_them_is_in_the_log_whole(
    publish: Callable[[WorkflowEventProducer], None],
    events: int,
    silent: SilentServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer = a_producer(silent, False)
    interrupted(producer, publish)
    lost: List[str] = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(lost) == events
    assert all("Grüße" in line for line in lost)
    began = time.monotonic()
    producer.close(timeout=LONG)
    assert time.monotonic() - began < LONG / 2, "a close does not wait for an event that was logged as lost"


def test_a_signal_between_two_chunks_leaves_no_event_out(
    silent: SilentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when all events are encoded and none was added: the outcomes belong to the right events."""
    producer = a_producer(silent, tmp_path / "spool")
    native = producer._native

    class Batch:
        calls = 0

        def __init__(self, *arguments: Any) -> None:
            self.native = native.begin_batch(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.native, name)

        def add(self, events: List[bytes]) -> None:
            Batch.calls += 1
            if Batch.calls == 2:
                raise Interrupted
            self.native.add(events)

    class Native:
        begin_batch = Batch

        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

    monkeypatch.setattr(producer, "_native", Native())
    with pytest.raises(Interrupted):
        producer.publish_many([an_event("e-{}".format(number)) for number in range(700)], timeout=0.2)
    kept = SpoolFolder(tmp_path / "spool").event_ids()
    assert sorted(kept) == sorted("e-{}".format(number) for number in range(400))
    producer.close(timeout=0)


def test_the_search_for_a_broker_ends(silent: SilentServer) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted):
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        WorkflowEventProducer(silent.bootstrap, connect_timeout=LONG, spool_dir=False)
    assert time.monotonic() - began < LONG / 2, "the signal waited for the call"


def test_a_drain_ends_and_the_events_wait_again(silent: SilentServer, tmp_path: Path) -> None:
    producer = a_producer(silent, tmp_path / "spool")
    producer.publish_event(an_event("e-0"), timeout=0)
    interrupted(producer, lambda producer: producer.drain_spool(timeout=LONG))
    producer.close(timeout=0)
    assert len(list((tmp_path / "spool").glob("*.event"))) == 1


def test_a_signal_during_logging_drops_no_line(silent: SilentServer, caplog: pytest.LogCaptureFixture) -> None:
    """Two signals: one ends the wait, and one comes from within the first line of the log."""
    producer = a_producer(silent, False)

    class Raises(logging.Filter):
        lines = 0

        def filter(self, record: logging.LogRecord) -> bool:
            Raises.lines += 1
            if Raises.lines == 1:
                signal.raise_signal(signal.SIGALRM)
            return True

    logger = logging.getLogger("workflow_events")
    raises = Raises()
    logger.addFilter(raises)
    try:
        interrupted(producer, many)
    finally:
        logger.removeFilter(raises)
    # The line in which it came is on the standard error instead.
    assert len([record for record in caplog.records if record.levelno == logging.CRITICAL]) == 2
    producer.close(timeout=0)


def test_a_quick_drain_ends_too(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    spool = SpoolFolder(tmp_path / "spool")
    producer = WorkflowEventProducer(kafka.bootstrap, topic=topic, spool_dir=spool.path, connect_timeout=60)
    # Together, or a slow disk would take minutes for them.
    producer.publish_many([an_event("e-{}".format(number)) for number in range(3000)], timeout=0)

    def soon(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, soon)
    with pytest.raises(Interrupted):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        producer.drain_spool()
    signal.signal(signal.SIGALRM, before)
    # What was sent before the signal may be acknowledged after it, and leaves the spool then by itself.
    assert len(kafka.read(topic)) < 3000, "all of it was drained first"

    def left() -> List[str]:
        # One drain is enough, but for a machine that needs more than half a minute for a hundred of them.
        producer.drain_spool()
        return spool.everything()

    poll(120, "the spool is empty", left, lambda files: files == [])
    producer.close()
    assert set(kafka.event_ids(topic)) == {"e-{}".format(number) for number in range(3000)}
