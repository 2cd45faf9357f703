"""publishes_completion: what passes through it, and what it publishes."""

import asyncio
import inspect
import sys
import threading
from types import ModuleType

import pytest
from airflow_integration import publish_task_completion_event, publishes_completion
from recording import Recording, RuntimeTaskInstance, TaskInstance2, context


@pytest.fixture(params=["airflow.sdk", "airflow.operators.python"])
def running(request, monkeypatch):
    """A task of either version runs in this process, as far as Airflow's own get_current_context says."""
    ti = RuntimeTaskInstance() if request.param == "airflow.sdk" else TaskInstance2()
    module = ModuleType(request.param)
    module.get_current_context = lambda: context(ti)
    monkeypatch.setitem(sys.modules, request.param, module)
    return ti


def test_it_publishes_the_result_and_gives_it_back(running, producer):
    @publishes_completion(producer=producer, topic="t", metadata={"team": "x"}, timeout=2)
    def load(rows: int, *, extra: str = "") -> dict:
        """Loads."""
        return {"rows": rows}

    assert load(3) == {"rows": 3}
    ((event, topic, timeout),) = producer.calls
    assert event["event_type"] == "WORKFLOW_COMPLETED"
    assert event["payload"] == {"data": {"task_id": "load", "status": "success", "result": {"rows": 3}}}
    assert event["metadata"]["team"] == "x"
    assert (topic, timeout) == ("t", 2.0)
    assert str(inspect.signature(load)) == "(rows: int, *, extra: str = '') -> dict"
    assert (load.__name__, load.__doc__) == ("load", "Loads.")


def test_an_operator_of_airflow_2_that_is_no_python_operator_has_its_attempt_too(producer, monkeypatch):
    module = ModuleType("airflow.models.taskinstance")
    module._CURRENT_CONTEXT = [context(TaskInstance2("outer")), context(TaskInstance2("classic"))]
    monkeypatch.setitem(sys.modules, "airflow.models.taskinstance", module)
    for name, value in (("DAG_ID", "etl"), ("DAG_RUN_ID", "run-1"), ("TASK_ID", "classic")):
        monkeypatch.setenv("AIRFLOW_CTX_" + name, value)
    for _ in range(2):
        assert publish_task_completion_event(producer=producer)
    assert producer.ids[0] == producer.ids[1]
    assert producer.calls[0][0]["metadata"]["task_id"] == "classic"
    module._CURRENT_CONTEXT.clear()
    assert publish_task_completion_event(producer=producer)


def test_it_works_without_parentheses(caplog):
    @publishes_completion
    def load():
        return 1

    assert load() == 1
    assert "nothing was published" in caplog.text


def test_the_exception_passes_through_and_is_published(running, producer):
    error = ValueError("boom")

    @publishes_completion(producer=producer)
    def load():
        raise error

    with pytest.raises(ValueError) as raised:
        load()
    assert raised.value is error
    assert producer.event["event_type"] == "WORKFLOW_FAILED"
    data = producer.event["payload"]["data"]
    assert data == {
        "task_id": "load",
        "status": "failed",
        "error_message": "boom",
        "error_type": "ValueError",
        "will_retry": True,
    }


@pytest.mark.parametrize("name", ["AirflowSkipException", "AirflowRescheduleException", "TaskDeferred"])
@pytest.mark.parametrize("base", [Exception, BaseException])
def test_a_skip_a_reschedule_and_a_deferral_are_no_failures(running, producer, name, base):
    kind = type("Mine", (type(name, (base,), {}),), {})

    @publishes_completion(producer=producer)
    def load():
        raise kind()

    with pytest.raises(kind):
        load()
    assert producer.calls == []


@pytest.mark.parametrize(
    ("raised", "event_type"),
    [
        (SystemExit(0), "COMPLETED"),
        (SystemExit(3), "FAILED"),
        (type("AirflowTaskTimeout", (BaseException,), {})(), "FAILED"),
    ],
)
def test_an_exit_and_a_timeout_have_the_outcome_that_airflow_gives_them(running, producer, raised, event_type):
    @publishes_completion(producer=producer)
    def load():
        raise raised

    with pytest.raises(type(raised)):
        load()
    assert producer.event["event_type"] == "WORKFLOW_" + event_type


def test_a_large_result_is_left_out_and_the_task_still_returns_it(running, producer):
    @publishes_completion(producer=producer, max_result_bytes=10)
    def load():
        return "x" * 100

    assert load() == "x" * 100
    assert producer.event["payload"]["data"]["result_omitted"]["bytes"] == 102


def test_a_coroutine_function_stays_one(running, producer):
    @publishes_completion(producer=producer)
    async def load():
        return 1

    assert inspect.iscoroutinefunction(load)
    assert asyncio.run(load()) == 1
    assert producer.event["payload"]["data"]["result"] == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_coroutine_function_does_not_block_the_loop(running, producer, fails):
    """The publish returns only when another coroutine of the same loop has gone on."""
    went_on = threading.Event()
    publish = producer.publish_event_outcome

    def waits(*args, **kwargs):
        assert went_on.wait(30), "the loop stood still"
        return publish(*args, **kwargs)

    producer.publish_event_outcome = waits

    @publishes_completion(producer=producer)
    async def load():
        if fails:
            raise ValueError("boom")

    async def both():
        loading = asyncio.ensure_future(load())
        while not loading.done():
            await asyncio.sleep(0.01)
            went_on.set()
        return loading.exception()

    assert (asyncio.run(both()) is not None) is fails
    assert producer.event["event_type"] == ("WORKFLOW_FAILED" if fails else "WORKFLOW_COMPLETED")


def test_a_coroutine_that_no_loop_runs_publishes_too(running, producer):
    @publishes_completion(producer=producer)
    async def load():
        return 1

    with pytest.raises(StopIteration):
        load().send(None)
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"


def test_an_abandoned_coroutine_publishes_nothing(running, producer):
    @publishes_completion(producer=producer)
    async def load():
        await asyncio.sleep(60)

    async def throw_away():
        coroutine = load()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(throw_away())
    assert producer.calls == []


def test_a_broken_producer_changes_nothing(running):
    producer = Recording()
    producer.publish_event_outcome = None

    @publishes_completion(producer=producer)
    def load():
        return 1

    assert load() == 1
