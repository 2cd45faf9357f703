"""Events, arguments and log handlers that raise: the caller learns of it, and no event is lost."""

import logging
from datetime import datetime, timedelta, timezone
from typing import Any, Dict

import pytest
from kit.events import an_event
from kit.spool import SpoolFolder
from workflow_events import Outcome, WorkflowEventProducer
from workflow_events.checks import seconds
from workflow_events.log import log_outcomes
from workflow_events.outcomes import complete_outcome

NOBODY = "127.0.0.1:1"


class Hostile:
    """Raises whatever is asked of it."""

    def _no(self, *_: object) -> Any:
        raise RuntimeError("no")

    __getattr__ = __str__ = __repr__ = __iter__ = _no


HOSTILE: Dict[str, Any] = {
    "an id that UTF-8 cannot carry": {"event_id": "\ud800"},
    "an id that has no text": {"event_id": Hostile()},
    "a time before the first": {"timestamp": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))},
    "an object that raises": Hostile(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_event_makes_a_publish_raise(what: str, spool: SpoolFolder) -> None:
    with WorkflowEventProducer(NOBODY, connect_timeout=None) as producer:
        assert producer.publish_event_outcome(HOSTILE[what], timeout=0).kind == "invalid"
        assert producer.enqueue_event(HOSTILE[what]) is False
        summary = producer.publish_many([HOSTILE[what], an_event()], timeout=0)
        assert (summary.spooled, summary.failed) == (1, 1)
        assert producer.publish_event_outcome(an_event(), topic=Hostile(), timeout=0).kind == "invalid"  # type: ignore
    assert len(spool.files()) == 1


def test_a_time_out_longer_than_any_clock_is_the_longest() -> None:
    assert seconds(10**400) == float("inf")
    assert seconds(-(10**400)) == 0


def test_a_handler_that_raises_does_not_affect_the_caller(
    monkeypatch: pytest.MonkeyPatch, spool: SpoolFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unwritable(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no line")

    logger = logging.getLogger("workflow_events")
    monkeypatch.setattr(logger, "handlers", [Unwritable()])
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handler would write it.
    with WorkflowEventProducer(NOBODY, connect_timeout=None) as producer:
        assert producer.publish_event(an_event(), timeout=0) is False
    assert len(spool.files()) == 1
    with WorkflowEventProducer(NOBODY, connect_timeout=None, spool_dir=False) as producer:
        assert producer.publish_event({**an_event(), "event_id": "lost-id"}, timeout=0) is False
    assert "EVENT LOST" in capsys.readouterr().err


def test_a_quarantined_event_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    aside = Outcome("failed", "too_large", "id", "event id is too large: it is in /q", path="/q")
    done = complete_outcome(aside, "id", b"{}")
    assert (done.path, done.kind, done.event) == ("/q", "too_large", None)
    log_outcomes([done])
    assert [record.levelname for record in caplog.records] == ["ERROR"]
