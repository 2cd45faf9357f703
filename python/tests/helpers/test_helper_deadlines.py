"""The callback of a missed deadline: its DAG run is a mapping where other callbacks get an object."""

from collections import UserDict
from types import MappingProxyType, SimpleNamespace

import pytest
from airflow_integration import (
    dag_failure_callback,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
)

# As Airflow 3.3.2 makes it: a DAGRunResponse, dumped.
RUN = {
    "dag_run_id": "run-1",
    "dag_id": "etl",
    "logical_date": "2026-01-02T00:00:00Z",
    "run_type": "manual",
    "state": "running",
    "conf": {},
}


def context(missed="d-1", run=RUN):
    return {"dag_run": run, "deadline": {"id": missed, "deadline_time": "2026-01-02T01:00:00Z"}}


@pytest.mark.parametrize("kind", [dict, UserDict, MappingProxyType, lambda run: SimpleNamespace(**run)])
def test_the_dag_run_of_a_missed_deadline_may_be_any_mapping(kind, producer):
    given = context(run=kind(RUN))
    assert publish_event_from_taskflow_context("WORKFLOW_FAILED", {"late": 1}, producer=producer, **given)
    assert (producer.event["workflow_id"], producer.event["workflow_run_id"]) == ("etl", "run-1")
    assert producer.event["metadata"]["scope"] == "dag"


@pytest.mark.parametrize(
    "publish",
    [
        lambda given, producer: publish_workflow_event("WORKFLOW_FAILED", payload={}, context=given, producer=producer),
        lambda given, producer: publish_workflow_event("WORKFLOW_FAILED", payload={}, producer=producer, **given),
        lambda given, producer: publish_dag_completion_event(dag_status="failed", producer=producer, **given),
        lambda given, producer: dag_failure_callback(context=given, producer=producer),
    ],
)
def test_each_missed_deadline_is_one_event_however_often_its_callback_runs(publish, producer):
    for missed in ("d-1", "d-1", "d-2"):
        assert publish(context(missed), producer)
    first, again, other = producer.ids
    assert first == again != other


def test_the_callback_publishes_the_facts_of_a_run_from_a_mapping(producer):
    assert dag_failure_callback(context(), producer=producer)
    data = producer.event["payload"]["data"]
    assert (data["run_type"], data["logical_date"]) == ("manual", "2026-01-02T00:00:00Z")


def test_a_task_instance_may_be_a_mapping_too(producer):
    ti = {"dag_id": "etl", "run_id": "run-1", "task_id": "load", "map_index": -1, "max_tries": 1, "try_number": 1}
    assert publish_task_completion_event(ti=ti, producer=producer)
    assert producer.event["metadata"]["task_id"] == "load"
    assert producer.event["metadata"]["try_number"] == 1
