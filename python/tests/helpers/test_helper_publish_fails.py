"""The helpers when something is wrong: what they log and return, and that nothing makes them raise."""

import datetime
import itertools
import logging
import os
from types import SimpleNamespace
from unittest.mock import MagicMock

import airflow_integration
import pytest
from airflow_integration import (
    dag_failure_callback,
    dag_success_callback,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
    task_failure_callback,
    task_success_callback,
)
from recording import Context, Recording, TaskInstance2, context, dag_run

PUBLISHING = [
    publish_workflow_event,
    publish_task_completion_event,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    dag_success_callback,
    dag_failure_callback,
    task_success_callback,
    task_failure_callback,
]


@pytest.mark.parametrize("status", ["spooled", "lost", "failed", None])
def test_only_an_acknowledged_event_is_true(status, caplog):
    producer = Recording(status)
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer) is False
    wanted = logging.WARNING if status == "spooled" else logging.ERROR
    assert [record.levelno for record in caplog.records if record.name == "airflow_integration"] == [wanted]


def test_an_event_too_large_is_published_without_its_large_values(caplog):
    producer = Recording("published")
    producer.answers.insert(0, SimpleNamespace(status="failed", kind="too_large", message="too large"))
    payload = {"rows": "x" * 5_000, "status": "success"}
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", payload, producer=producer)
    assert producer.ids[0] == producer.ids[1]
    assert producer.calls[1][0]["payload"] == {"data": {"rows": {"omitted_bytes": 5_002}, "status": "success"}}


@pytest.mark.parametrize(
    ("path", "then", "words"),
    [
        ("/spool/quarantine/a", "published", "is published under this id. The original in /spool/quarantine/a is only"),
        (
            "/spool/quarantine/a",
            "spooled",
            "is in the spool under this id. The original in /spool/quarantine/a is only",
        ),
        (None, "published", "is published under this id. The original is not kept"),
    ],
)
def test_the_original_of_a_shortened_event_is_said_to_be_only_for_reading(path, then, words, caplog):
    producer = Recording(then)
    producer.answers.insert(0, SimpleNamespace(status="failed", kind="too_large", message="too large", path=path))
    publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"rows": "x" * 5_000}, producer=producer)
    (line,) = [record for record in caplog.records if "The original" in record.message]
    assert line.levelname == "ERROR"
    assert "event {}: a shortened event {}".format(producer.ids[0], words) in line.message


def test_nothing_is_said_of_a_shortened_event_that_was_not_taken_either(caplog):
    producer = Recording("failed", "too_large")
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"rows": "x"}, producer=producer) is False
    assert len(producer.calls) == 2
    assert "The original" not in caplog.text


class Bad:
    """Raises whatever is done to it."""

    def _raise(self, *_, **__):
        raise RuntimeError("bad")

    __getattr__ = __getitem__ = __str__ = __repr__ = __bool__ = __eq__ = __hash__ = __iter__ = __len__ = _raise
    __float__ = __index__ = __call__ = _raise


@pytest.mark.parametrize("publish", PUBLISHING)
def test_nothing_that_is_passed_makes_a_helper_raise(publish):
    odd = [
        None,
        0,
        -1,
        "",
        "x",
        [],
        {},
        {"a": {1}},
        object(),
        Bad(),
        MagicMock(),
        float("nan"),
        b"\xff",
        print,
        Context(),
    ]
    for one, other in itertools.product(odd, odd):
        for given in (
            (),
            (one,),
            (one, other),
            (one, other, one),
            (one, other, one, other, one, other, one, other, one),
        ):
            assert publish(*given, producer=Recording()) in (True, False)
        names = (
            "dag_id",
            "dag_run",
            "ti",
            "task_instance",
            "run_id",
            "dag",
            "key",
            "timeout",
            "payload",
            "metadata",
            "topic",
        )
        for name in names:
            assert publish(event_type="WORKFLOW_COMPLETED", **{name: one}, producer=other) in (True, False)


def test_a_producer_that_raises_is_logged_with_its_traceback(caplog):
    producer = SimpleNamespace(publish_event_outcome=MagicMock(side_effect=ValueError("boom")))
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer) is False
    assert "ValueError: boom" in caplog.text


def test_a_foreign_exception_passes(producer):
    class Timeout(BaseException):
        """As Airflow's AirflowTaskTimeout, raised by a signal."""

    producer.publish_event_outcome = MagicMock(side_effect=Timeout)
    with pytest.raises(Timeout):
        publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer)


def test_callbacks_publish_the_outcome(producer):
    failed = Context(ti=TaskInstance2(attempt=2, running=False), dag_run=dag_run(), exception=ValueError("boom"))
    task_failure_callback(failed, producer=producer)
    event = producer.event
    assert event["event_type"] == "WORKFLOW_FAILED"
    assert event["metadata"]["try_number"] == 2
    assert event["payload"]["data"] == {
        "task_id": "load",
        "status": "failed",
        "error_message": "boom",
        "error_type": "ValueError",
        "will_retry": True,
    }
    producer.calls.clear()
    run = dag_run()
    run.logical_date = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    dag_failure_callback(Context(dag_run=run, ti=TaskInstance2(), reason="task_failure"), producer=producer)
    assert producer.event["payload"]["data"] == {
        "dag_id": "etl",
        "status": "failed",
        "run_type": "manual",
        "logical_date": "2026-01-02T00:00:00+00:00",
        "reason": "task_failure",
    }
    assert producer.event["metadata"]["scope"] == "dag"


def test_an_invalid_topic_is_replaced_by_the_default(caplog):
    for topic in ("a b", "", ".", 7, Bad()):
        producer = Recording()
        assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, topic=topic, producer=producer)
        assert producer.calls[0][1] is None
        assert "the default topic" in caplog.text
        caplog.clear()


def test_a_scope_or_a_keyword_that_is_none_is_logged_and_ignored(producer, caplog):
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, scope=Bad(), producer=producer)
    assert producer.event["metadata"]["scope"] == "dag"
    producer.calls.clear()
    assert dag_failure_callback(context(), topic="runs", bogus=1, producer=producer)
    assert producer.calls[0][1] == "runs"
    assert task_success_callback(context(), bogus=1, producer=producer)
    assert "bogus: no such keyword" in caplog.text


def test_text_that_is_not_utf8_loses_no_event(spool, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("ENVIRONMENT", os.fsdecode(b"\xff"))
    publish_workflow_event("WORKFLOW_\ud800", "etl\ud800", "run\ud800", {"\ud800": "\ud800"}, timeout=0)
    (event,) = spool.events()
    assert (event["workflow_id"], event["workflow_run_id"], event["metadata"]["environment"]) == ("etl?", "run?", "?")


class Unwritable(logging.Handler):
    """A handler that raises, as no handler of the standard library does."""

    def emit(self, record):
        raise RuntimeError("no line")


def test_a_log_that_raises_loses_no_event(producer, monkeypatch, spool):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    handler = Unwritable()
    for name in ("airflow_integration", "workflow_events"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"at": datetime.date(2026, 1, 2)}, producer=producer)
    assert producer.event["payload"] == {"data": {"at": "2026-01-02"}}
    assert publish_workflow_event("nonsense", "etl", "run-1", {"at": datetime.date(2026, 1, 2)}, timeout=0) is False
    assert len(spool.files()) == 1


def test_the_old_name_of_the_package_warns_and_works():
    with pytest.warns(DeprecationWarning, match="airflow_integration"):
        import workflow_integration
    assert workflow_integration.publish_workflow_event is publish_workflow_event
    assert set(workflow_integration.__all__) == set(airflow_integration.__all__)
