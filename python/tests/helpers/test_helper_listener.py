"""The listener: what it publishes, of which DAGs, and how long it may take where."""

import pytest
from airflow_integration.listener import WorkflowEventsListener, chosen, switched_on
from recording import Recording, RuntimeTaskInstance, TaskInstance2, dag_run


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("TRUE", True), ("on", True), ("", False), ("0", False), ("x", False)]
)
def test_it_is_off_unless_switched_on(value, on):
    assert switched_on({"WORKFLOW_EVENTS_LISTENER": value}) is on
    assert not switched_on({})


@pytest.mark.parametrize(
    ("globs", "dag_id", "wanted"),
    [
        ("", "any", True),
        ("etl_*", "etl_a", True),
        ("etl_*", "other", False),
        ("a, etl_?", "etl_1", True),
        ("A", "a", False),
    ],
)
def test_globs_choose_the_dags(globs, dag_id, wanted):
    assert chosen(dag_id, {"WORKFLOW_EVENTS_LISTENER_DAGS": globs}) is wanted


def test_dag_runs_only_ever_spool():
    producer = Recording("spooled")
    listener = WorkflowEventsListener({}, producer)
    listener.on_dag_run_running(dag_run=dag_run(), msg="")
    listener.on_dag_run_success(dag_run=dag_run(), msg="done")
    listener.on_dag_run_failed(dag_run=dag_run(), msg="task_failure")
    assert [timeout for _, _, timeout in producer.calls] == [0.0, 0.0, 0.0]
    events = [event for event, _, _ in producer.calls]
    assert [event["event_type"] for event in events] == ["WORKFLOW_TRIGGERED", "WORKFLOW_COMPLETED", "WORKFLOW_FAILED"]
    assert {event["metadata"]["scope"] for event in events} == {"dag"}
    assert events[2]["payload"]["data"]["reason"] == "task_failure"


def test_a_task_waits_only_in_its_own_process():
    here = {"AIRFLOW_CTX_DAG_ID": "etl", "AIRFLOW_CTX_DAG_RUN_ID": "run-1", "AIRFLOW_CTX_TASK_ID": "load"}
    for ti, environ, wanted in (
        (TaskInstance2(running=False), here, 5.0),
        (TaskInstance2(running=False), {}, 0.0),
        (TaskInstance2("other"), here, 0.0),
        (RuntimeTaskInstance(), {}, 5.0),
    ):
        producer = Recording()
        listener = WorkflowEventsListener(environ, producer)
        listener.on_task_instance_success(previous_state=None, task_instance=ti)
        listener.on_task_instance_failed(previous_state=None, task_instance=ti)
        assert [timeout for _, _, timeout in producer.calls] == [wanted, wanted]
        assert producer.calls[0][0]["metadata"]["try_number"] == 1
        assert producer.calls[1][0]["payload"]["data"]["status"] == "failed"


def test_a_dag_that_was_not_chosen_publishes_nothing():
    producer = Recording()
    listener = WorkflowEventsListener({"WORKFLOW_EVENTS_LISTENER_DAGS": "other"}, producer)
    listener.on_dag_run_success(dag_run=dag_run(), msg="")
    listener.on_task_instance_success(previous_state=None, task_instance=RuntimeTaskInstance())
    assert producer.calls == []


def test_no_hook_raises():
    listener = WorkflowEventsListener({}, Recording())
    for odd in (None, object(), 1):
        listener.on_dag_run_success(dag_run=odd, msg=odd)
        listener.on_task_instance_failed(previous_state=odd, task_instance=odd)


class AirflowSensorTimeout(Exception):
    pass


def test_a_failed_attempt_has_the_exception_that_airflow_2_handles_and_airflow_3_passes(producer):
    listener = WorkflowEventsListener({}, producer)
    ti = TaskInstance2()
    try:
        raise AirflowSensorTimeout("late")
    except AirflowSensorTimeout as error:
        listener.on_task_instance_failed("running", ti)
        listener.task_failed(ti, error)
    first, second = (event["payload"]["data"] for event, *_ in producer.calls)
    assert first == second
    assert (first["error_message"], first["error_type"]) == ("late", "AirflowSensorTimeout")
    assert first["will_retry"] is False


@pytest.mark.parametrize(("state", "again"), [("up_for_retry", True), ("failed", False)])
def test_the_state_that_airflow_set_overrides_the_number_of_tries(producer, state, again):
    ti = TaskInstance2(attempt=1, max_tries=2)
    ti.state = state
    WorkflowEventsListener({}, producer).task_failed(ti, ValueError("x"))
    assert producer.event["payload"]["data"]["will_retry"] is again


def test_a_retry_policy_decides_later(producer):
    ti = TaskInstance2(attempt=1, max_tries=2)
    ti.task.retry_policy = object()
    WorkflowEventsListener({}, producer).task_failed(ti, ValueError("x"))
    assert "will_retry" not in producer.event["payload"]["data"]
