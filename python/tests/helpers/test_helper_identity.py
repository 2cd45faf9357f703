"""Which publishes are one event, and which are two."""

import uuid

import numpy
import pytest
from airflow_integration import (
    dag_success_callback,
    identity,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
    task_failure_callback,
    task_success_callback,
)
from airflow_integration.identity import Attempt
from recording import Recording, RuntimeTaskInstance, TaskInstance2, context, dag_run


def ids(publish, *contexts, **arguments):
    producer = Recording()
    for one in contexts:
        publish(**arguments, producer=producer, **{key: dict.__getitem__(one, key) for key in dict.keys(one)})
    return producer.ids


def test_the_parts_of_an_id_are_the_documented_ones_in_order():
    task = Attempt("etl", "run-1", "load", -1, 2, 3)
    assert identity.parts("task", "etl", "run-1", "WORKFLOW_FAILED", task=task) == [
        "airflow-1", "task", "etl", "run-1", "WORKFLOW_FAILED", "", "load", "-1", "2", "3", "",
    ]  # fmt: skip
    assert identity.parts("dag", "etl", "run-1", "WORKFLOW_COMPLETED", clear_number=1, publisher=task) == [
        "airflow-1", "dag", "etl", "run-1", "WORKFLOW_COMPLETED", "1", "", "", "", "", "",
        "etl", "run-1", "load[-1]", "2",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [TaskInstance2, RuntimeTaskInstance])
def test_an_automatic_retry_repeats_the_id_and_a_clear_does_not(kind):
    tries = [context(kind(attempt=1)), context(kind(attempt=2)), context(kind(attempt=3, max_tries=4))]
    for publish, arguments in (
        (publish_task_completion_event, {"task_status": "success"}),
        (publish_event_from_taskflow_context, {"event_type": "WORKFLOW_COMPLETED", "payload": {"a": 1}}),
        (publish_workflow_event, {"event_type": "WORKFLOW_COMPLETED", "payload": {"a": 1}}),
    ):
        first, retried, cleared = ids(publish, *tries, **arguments)
        assert first == retried
        assert cleared != first


@pytest.mark.parametrize("kind", [TaskInstance2, RuntimeTaskInstance])
def test_each_failed_attempt_is_an_event(kind):
    tries = [context(kind(attempt=1)), context(kind(attempt=2))]
    assert len(set(ids(publish_task_completion_event, *tries, task_status="failed"))) == 2


def test_mapped_instances_and_tasks_have_different_ids():
    several = [
        context(TaskInstance2(map_index=0)),
        context(TaskInstance2(map_index=1)),
        context(TaskInstance2("other")),
    ]
    assert len(set(ids(publish_task_completion_event, *several))) == 3
    generic = ids(publish_event_from_taskflow_context, *several, event_type="WORKFLOW_COMPLETED")
    assert len(set(generic)) == 3


def test_generic_publishes_differ_by_payload_or_key():
    def publish(**arguments):
        return ids(publish_event_from_taskflow_context, context(), event_type="WORKFLOW_TRIGGERED", **arguments)[0]

    assert publish(payload={"a": 1, "b": 2}) == publish(payload={"data": {"b": 2, "a": 1}})
    assert publish(payload={"a": 1}) != publish(payload={"a": 2})
    assert (
        publish(payload={"at": 1}, key="x")
        == publish(payload={"at": 2}, key="x")
        != publish(payload={"at": 1}, key="y")
    )


def test_a_task_completion_is_one_event_for_all_publishers(producer):
    publish_task_completion_event(producer=producer, ti=TaskInstance2())
    task_success_callback(context(TaskInstance2(running=False)), producer=producer)
    publish_task_completion_event(task_status="failed", producer=producer, ti=TaskInstance2())
    task_failure_callback(context(TaskInstance2(running=False)), producer=producer)
    assert producer.ids[0] == producer.ids[1]
    assert producer.ids[2] == producer.ids[3] != producer.ids[0]


def test_a_dag_completion_is_one_event_per_clear_for_all_publishers(producer):
    publish_dag_completion_event(
        dag_id="etl", dag_run_id="run-1", producer=producer, dag_run=dag_run(0), ti=TaskInstance2()
    )
    dag_success_callback(context(TaskInstance2("last"), dag_run(0)), producer=producer)
    dag_success_callback(context(TaskInstance2("last"), dag_run(1)), producer=producer)
    assert producer.ids[0] == producer.ids[1] != producer.ids[2]


def test_an_event_about_another_run_keeps_the_attempt_that_publishes_it(producer):
    for attempt, max_tries in ((1, 2), (2, 2), (3, 4)):
        ti = TaskInstance2(attempt=attempt, max_tries=max_tries)
        publish_dag_completion_event(dag_id="other", dag_run_id="r", producer=producer, ti=ti)
    assert producer.ids[0] == producer.ids[1] != producer.ids[2]


def test_without_its_task_instance_a_task_process_makes_ids_of_their_own(producer, monkeypatch):
    for name, value in (("DAG_ID", "etl"), ("DAG_RUN_ID", "run-1"), ("TASK_ID", "load"), ("TRY_NUMBER", "2")):
        monkeypatch.setenv("AIRFLOW_CTX_" + name, value)
    for _ in range(2):
        publish_task_completion_event(producer=producer)
        publish_task_completion_event(producer=producer, key="mine")
        publish_task_completion_event(producer=producer, max_tries=1, map_index=-1)
    assert len(set(producer.ids)) == 4
    assert producer.calls[0][0]["metadata"]["try_number"] == 2


def test_outside_airflow_the_same_arguments_are_the_same_event(producer):
    for _ in range(2):
        publish_dag_completion_event(dag_id="etl", dag_run_id="run-1", producer=producer)
    publish_dag_completion_event(dag_id="etl", dag_run_id="run-1", clear_number=1, producer=producer)
    assert producer.ids[0] == producer.ids[1] != producer.ids[2]


def test_a_dag_callback_that_sees_no_dag_run_never_repeats_an_id(producer):
    bare = {"dag": type("Dag", (), {"dag_id": "etl"})(), "run_id": "run-1", "reason": "success"}
    for _ in range(2):
        assert dag_success_callback(bare, producer=producer)
    assert len(set(producer.ids)) == 2
    assert producer.calls[0][0]["payload"]["data"] == {"dag_id": "etl", "status": "success", "reason": "success"}


def test_a_helper_in_a_dag_callback_speaks_of_the_run_and_not_of_its_last_task(producer):
    for clear_number in (0, 1):
        ti = RuntimeTaskInstance("last")
        one = {"ti": ti, "dag_run": dag_run(clear_number), "run_id": "run-1", "reason": "success"}
        publish_event_from_taskflow_context("WORKFLOW_COMPLETED", {"a": 1}, producer=producer, **one)
        publish_dag_completion_event(producer=producer, **one)
    assert len(set(producer.ids)) == 4
    assert {event["metadata"]["scope"] for event, _, _ in producer.calls} == {"dag"}
    assert {timeout for _, _, timeout in producer.calls} == {1.0}


def test_explicit_arguments_of_another_type_count():
    run = uuid.UUID(int=7)
    ti = TaskInstance2()
    tries = [
        ids(publish_task_completion_event, {"ti": ti}, task_status="failed", **given)[0]
        for given in (
            {"try_number": "1"},
            {"try_number": "2"},
            {"map_index": "0"},
            {"map_index": 1},
            {"map_index": numpy.int64(2)},
            {"max_tries": "7"},
            {"dag_run_id": run},
            {"task_id": 12},
        )
    ]
    assert len(set(tries)) == 8
    assert tries[0] == ids(publish_task_completion_event, {"ti": ti}, task_status="failed", try_number=1)[0]
    producer = Recording()
    publish_workflow_event("WORKFLOW_COMPLETED", 12, run, {}, producer=producer, ti=ti)
    publish_dag_completion_event("d", "r", clear_number="3", producer=producer)
    publish_dag_completion_event("d", "r", clear_number=3, producer=producer)
    assert (producer.calls[0][0]["workflow_id"], producer.calls[0][0]["workflow_run_id"]) == ("12", str(run))
    assert producer.ids[1] == producer.ids[2]


@pytest.mark.parametrize("odd", ["one", True, 1.5, object(), Recording])
def test_an_invalid_number_is_logged_and_the_event_is_published(odd, producer, caplog):
    assert publish_task_completion_event("load", map_index=odd, producer=producer, ti=TaskInstance2(map_index=3))
    assert producer.event["metadata"]["map_index"] == 3
    assert [record.levelname for record in caplog.records if "map_index" in record.getMessage()] == ["ERROR"]
