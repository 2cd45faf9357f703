"""The helpers: shapes, scopes, ids and deadlines of what they publish."""

import enum
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow_integration import (
    dag_success_callback,
    event_types,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
    task_success_callback,
)
from recording import Recording, RuntimeTaskInstance, TaskInstance2, context, dag_run

AIRFLOW_PAGE = Path(__file__).parents[3] / "docs" / "airflow.md"


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


def test_a_dag_completion_has_the_scope_dag_also_inside_a_task(producer):
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


def test_the_page_lists_the_event_type_of_each_status():
    rows = re.findall(
        r"^\| (`success`.*|`failed`.*|`triggered`.*) \| (WORKFLOW_\w+) \|$", AIRFLOW_PAGE.read_text(), re.M
    )
    listed = {word: event_type for words, event_type in rows for word in re.findall("`(.*?)`", words)}
    assert {**listed, **{name.lower(): name for name in event_types.EVENT_TYPES}} == event_types._TYPE_OF_STATUS


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
