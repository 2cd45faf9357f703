"""The helpers: shapes, scopes, deadlines, and that nothing whatever makes them raise."""

import datetime
import enum
import itertools
import logging
import os
import re
from pathlib import Path
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
    shaping,
    task_failure_callback,
    task_success_callback,
)
from recording import Context, Recording, RuntimeTaskInstance, TaskInstance2, context, dag_run

AIRFLOW_PAGE = Path(__file__).parents[3] / "docs" / "airflow.md"

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


class EventType(str, enum.Enum):
    WORKFLOW_COMPLETED = "WORKFLOW_COMPLETED"


class Model:
    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, **_):
        return self.fields


def test_an_event_has_the_wire_format(producer):
    assert publish_workflow_event(
        EventType.WORKFLOW_COMPLETED,
        "etl",
        "run-1",
        {"status": "success"},
        {"team": "x"},
        "my-topic",
        producer=producer,
    )
    ((event, topic, timeout),) = producer.calls
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", event.pop("event_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("timestamp"))
    assert event == {
        "event_type": "WORKFLOW_COMPLETED",
        "source": "AIRFLOW",
        "workflow_id": "etl",
        "workflow_run_id": "run-1",
        "payload": {"data": {"status": "success"}},
        "metadata": {"environment": "dev", "version": "1.0", "scope": "dag", "team": "x"},
    }
    assert (topic, timeout) == ("my-topic", 5.0)


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        ({"a": 1}, {"a": 1}),
        ({"data": {"a": 1}}, {"a": 1}),
        (Model(data={"a": 1}), {"a": 1}),
        ({"data": [1]}, {"data": [1]}),
        ({"data": {"a": 1}, "b": 2}, {"data": {"a": 1}, "b": 2}),
        (None, {}),
        ([1, 2], {"value": [1, 2]}),
        ("x", {"value": "x"}),
    ],
)
def test_a_payload_is_wrapped_exactly_once(payload, data, producer):
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", payload, producer=producer)
    assert producer.event["payload"] == {"data": data}


@pytest.mark.parametrize("ti", [TaskInstance2(attempt=2), RuntimeTaskInstance(attempt=2)])
def test_a_task_is_named_in_the_metadata(ti, producer, monkeypatch):
    monkeypatch.setenv("ENVIRONMENT", "prod")
    monkeypatch.setenv("EVENT_SCHEMA_VERSION", "2.0")
    one = context(ti)
    publish_event_from_taskflow_context("workflow.completed", {"a": 1}, producer=producer, context=one)
    publish_task_completion_event(producer=producer, task_result={"n": 1}, context=one)
    generic, completion = (event for event, _, _ in producer.calls)
    expected = {
        "environment": "prod",
        "version": "2.0",
        "scope": "task",
        "task_id": "load",
        "map_index": -1,
        "try_number": 2,
    }
    assert generic["metadata"] == completion["metadata"] == expected
    assert generic["event_type"] == "WORKFLOW_COMPLETED"
    assert completion["payload"] == {"data": {"task_id": "load", "status": "success", "result": {"n": 1}}}


def test_a_dag_completion_says_dag_also_from_within_a_task(producer):
    publish_dag_completion_event("etl", "run-1", "success", {"t": "success"}, producer=producer, context=context())
    publish_event_from_taskflow_context("WORKFLOW_COMPLETED", scope="dag", producer=producer, context=context())
    for event, _, _ in producer.calls:
        assert event["metadata"] == {"environment": "dev", "version": "1.0", "scope": "dag"}
    assert producer.calls[0][0]["payload"] == {
        "data": {"dag_id": "etl", "status": "success", "task_results": {"t": "success"}}
    }


@pytest.mark.parametrize(
    ("status", "event_type"),
    [
        ("success", "WORKFLOW_COMPLETED"),
        ("Failed", "WORKFLOW_FAILED"),
        ("running", "WORKFLOW_TRIGGERED"),
        ("upstream_failed", "WORKFLOW_FAILED"),
        ("skipped", "WORKFLOW_FAILED"),
        (7, "WORKFLOW_FAILED"),
        (EventType.WORKFLOW_COMPLETED, "WORKFLOW_COMPLETED"),
        ("WORKFLOW_COMPLETED", "WORKFLOW_COMPLETED"),
        ("workflow.completed", "WORKFLOW_COMPLETED"),
        ("WORKFLOW_FAILED", "WORKFLOW_FAILED"),
        ("WORKFLOW_TRIGGERED", "WORKFLOW_TRIGGERED"),
    ],
)
def test_the_status_decides_the_type(status, event_type, producer):
    publish_task_completion_event("load", "etl", "run-1", task_status=status, error_message="boom", producer=producer)
    publish_dag_completion_event("etl", "run-1", dag_status=status, error_message="boom", producer=producer)
    for event, _, _ in producer.calls:
        assert event["event_type"] == event_type
        assert event["payload"]["data"]["error_message"] == "boom"


def test_the_page_lists_what_each_status_becomes():
    rows = re.findall(
        r"^\| (`success`.*|`failed`.*|`triggered`.*) \| (WORKFLOW_\w+) \|$", AIRFLOW_PAGE.read_text(), re.M
    )
    listed = {word: event_type for words, event_type in rows for word in re.findall("`(.*?)`", words)}
    assert {**listed, **{name.lower(): name for name in shaping.EVENT_TYPES}} == shaping._TYPE_OF_STATUS


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("succes", "status 'succes' is not known (did you mean 'success'?); it is published as WORKFLOW_FAILED"),
        (
            "skipped",
            "status 'skipped' is not known (success, failed or running are); it is published as WORKFLOW_FAILED",
        ),
    ],
)
def test_a_status_that_is_not_known_is_named_with_the_one_it_may_be(status, line, producer, caplog):
    assert publish_dag_completion_event("etl", "run-1", dag_status=status, producer=producer)
    assert [(record.levelname, record.message) for record in caplog.records if "status" in record.message] == [
        ("WARNING", line)
    ]


def test_ids_come_from_arguments_then_dag_run_then_ti_then_dag_then_environment(producer, monkeypatch):
    def seen(**given):
        recorder = Recording()
        assert publish_event_from_taskflow_context("WORKFLOW_COMPLETED", producer=recorder, **given)
        return recorder.event["workflow_id"], recorder.event["workflow_run_id"]

    run, ti = dag_run(dag_id="of-run", run_id="run-r"), TaskInstance2()
    dag = SimpleNamespace(dag_id="of-dag")
    assert seen(dag_id="given", dag_run_id="run-g", dag_run=run, ti=ti) == ("given", "run-g")
    assert seen(dag_run=run, ti=ti, dag=dag, run_id="run-c") == ("of-run", "run-r")
    assert seen(task_instance=ti, dag=dag, run_id="run-c") == ("etl", "run-1")
    assert seen(dag=dag, run_id="run-c") == ("of-dag", "run-c")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "of-env")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "run-e")
    assert seen() == ("of-env", "run-e")


def test_both_names_of_the_run_are_accepted(producer):
    publish_task_completion_event(task_id="t", dag_id="d", run_id="r", producer=producer)
    publish_task_completion_event(task_id="t", dag_id="d", dag_run_id="r", producer=producer)
    publish_dag_completion_event(dag_id="d", run_id="r", producer=producer)
    publish_workflow_event("WORKFLOW_COMPLETED", dag_id="d", dag_run_id="r", producer=producer)
    publish_workflow_event("WORKFLOW_COMPLETED", dag_id="d", run_id="r", producer=producer)
    assert {event["workflow_run_id"] for event, _, _ in producer.calls} == {"r"}


def test_a_missing_context_is_logged_and_false(producer, caplog):
    assert publish_event_from_taskflow_context("WORKFLOW_COMPLETED", {"a": 1}, producer=producer) is False
    assert producer.calls == []
    assert "pass **context" in caplog.text


def test_a_wrong_environment_is_named_and_the_event_is_published(producer, monkeypatch, caplog):
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer)
    assert producer.event["metadata"]["environment"] == "production"
    assert [record.levelname for record in caplog.records if "ENVIRONMENT" in record.message] == ["ERROR"]
    assert "dev, staging, prod" in caplog.text


def test_the_deadlines_are_those_of_the_place(producer):
    publish_task_completion_event("t", "etl", "run-1", producer=producer)
    task_success_callback(context(), producer=producer)
    dag_success_callback(context(), producer=producer)
    publish_task_completion_event("t", "etl", "run-1", producer=producer, timeout=0.5)
    publish_task_completion_event("t", "etl", "run-1", producer=producer, timeout="soon")
    publish_task_completion_event("t", "etl", "run-1", producer=producer, timeout=float("nan"))
    publish_task_completion_event("t", "etl", "run-1", producer=producer, timeout=-1)
    assert [timeout for _, _, timeout in producer.calls] == [5.0, 5.0, 1.0, 0.5, 5.0, 5.0, 5.0]


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
        (None, "published", "is published under this id. The original is kept nowhere"),
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


def test_an_exception_that_is_none_of_ours_passes(producer):
    class Timeout(BaseException):
        """As Airflow's AirflowTaskTimeout, raised by a signal."""

    producer.publish_event_outcome = MagicMock(side_effect=Timeout)
    with pytest.raises(Timeout):
        publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer)


def test_callbacks_say_what_happened(producer):
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


def test_a_topic_that_is_none_is_the_default_one(caplog):
    for topic in ("a b", "", ".", 7, Bad()):
        producer = Recording()
        assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, topic=topic, producer=producer)
        assert producer.calls[0][1] is None
        assert "the default one" in caplog.text
        caplog.clear()


def test_a_scope_or_a_keyword_that_is_none_is_told_and_left_out(producer, caplog):
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, scope=Bad(), producer=producer)
    assert producer.event["metadata"]["scope"] == "dag"
    producer.calls.clear()
    assert dag_failure_callback(context(), topic="runs", bogus=1, producer=producer)
    assert producer.calls[0][1] == "runs"
    assert task_success_callback(context(), bogus=1, producer=producer)
    assert "bogus: no such keyword" in caplog.text


def test_what_utf8_cannot_carry_loses_no_event(spool, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("ENVIRONMENT", os.fsdecode(b"\xff"))
    publish_workflow_event("WORKFLOW_\ud800", "etl\ud800", "run\ud800", {"\ud800": "\ud800"}, timeout=0)
    (event,) = spool.events()
    assert (event["workflow_id"], event["workflow_run_id"], event["metadata"]["environment"]) == ("etl?", "run?", "?")


class Unwritable(logging.Handler):
    """A handler that raises, as no handler of the standard library does."""

    def emit(self, record):
        raise RuntimeError("no line")


def test_a_log_that_raises_costs_no_event(producer, monkeypatch, spool):
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
