"""publishes_completion in a sensor: the last poke is its completion, and failures outside a poke are published too."""

import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
from airflow_integration import publishes_completion, sensors
from recording import RuntimeTaskInstance, TaskInstance2, context


class AirflowSensorTimeout(Exception):
    pass


class AirflowFailException(Exception):
    pass


class PokeReturnValue:
    def __init__(self, is_done, xcom_value=None):
        self.is_done, self.xcom_value = is_done, xcom_value

    def __bool__(self):
        return self.is_done


def theirs(context):
    raise AssertionError("only Airflow calls this")


@pytest.fixture(params=["airflow.sdk", "airflow.operators.python"])
def sensor(request, monkeypatch):
    """The task that runs: a sensor, as far as it has a poke, with its callbacks as each version has them."""
    is_3 = request.param == "airflow.sdk"
    ti = RuntimeTaskInstance("wait") if is_3 else TaskInstance2("wait")
    own = [theirs] if is_3 else theirs
    ti.task = SimpleNamespace(poke=lambda context: None, retries=2, on_failure_callback=own, on_retry_callback=None)
    running = context(ti)
    module = ModuleType(request.param)
    module.get_current_context = lambda: running
    monkeypatch.setitem(sys.modules, request.param, module)
    return ti.task


def airflow_fails(sensor, error, name="on_failure_callback"):
    """What Airflow does at the end of a failed attempt: it calls the callbacks of the task object."""
    ti = TaskInstance2("wait", running=False)
    ti.state = "failed" if name == "on_failure_callback" else "up_for_retry"
    ti.task = sensor
    failed = {"ti": ti, "exception": error}
    for callback in getattr(sensor, name):
        if callback is not theirs:
            callback(failed)


@pytest.mark.parametrize(
    ("last", "data"),
    [
        (True, {}),
        (PokeReturnValue(True), {}),
        (PokeReturnValue(True, {"rows": 3}), {"result": {"rows": 3}}),
        (["a file"], {"result": ["a file"]}),
    ],
)
def test_a_poke_that_is_not_the_last_one_publishes_nothing(sensor, producer, last, data):
    answers = [False, None, PokeReturnValue(False, "not yet"), [], last]

    @publishes_completion(producer=producer)
    def wait():
        return answers.pop(0)

    for _ in range(4):
        assert not wait()
        assert producer.calls == []
    assert wait() is last
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"
    assert producer.event["payload"]["data"] == {"task_id": "wait", "status": "success", **data}


def test_a_poke_that_raises_is_one_failure(sensor, producer):
    error = ValueError("boom")

    @publishes_completion(producer=producer)
    def wait():
        raise error

    with pytest.raises(ValueError):
        wait()
    airflow_fails(sensor, error, "on_retry_callback")
    assert producer.event["event_type"] == "WORKFLOW_FAILED"
    assert producer.event["payload"]["data"]["will_retry"] is True


def test_a_timeout_of_the_sensor_is_a_failure_that_is_not_retried(sensor, producer):
    @publishes_completion(producer=producer)
    def wait():
        return False

    for _ in range(3):
        wait()
    airflow_fails(sensor, AirflowSensorTimeout("Sensor has timed out"))
    data = producer.event["payload"]["data"]
    assert producer.event["event_type"] == "WORKFLOW_FAILED"
    assert (data["error_type"], data["will_retry"]) == ("AirflowSensorTimeout", False)
    assert data["error_message"] == "Sensor has timed out"


@pytest.mark.parametrize("error", [AirflowSensorTimeout("late"), AirflowFailException("never")])
def test_a_failure_that_airflow_does_not_retry_has_will_retry_false(sensor, producer, error):
    @publishes_completion(producer=producer)
    def wait():
        raise error

    with pytest.raises(type(error)):
        wait()
    assert producer.event["payload"]["data"]["will_retry"] is False


@pytest.mark.parametrize("lenient", ["soft_fail", "silent_fail", "never_fail"])
def test_airflow_decides_about_failures_of_a_lenient_sensor(sensor, producer, lenient):
    setattr(sensor, lenient, True)
    error = ValueError("boom")

    @publishes_completion(producer=producer)
    def wait():
        raise error

    with pytest.raises(ValueError):
        wait()
    assert producer.calls == [], "it may be skipped, or go on"
    airflow_fails(sensor, error)
    assert producer.event["event_type"] == "WORKFLOW_FAILED"


@pytest.mark.parametrize("name", ["AirflowRescheduleException", "TaskDeferred", "AirflowSkipException"])
def test_the_end_of_a_poke_that_is_not_the_last_publishes_nothing(sensor, producer, name):
    error = type(name, (BaseException,), {})()

    @publishes_completion(producer=producer)
    def wait():
        raise error

    with pytest.raises(type(error)):
        wait()
    assert producer.calls == []


def test_a_decorated_execute_is_the_whole_sensor(sensor, producer):
    @publishes_completion(producer=producer)
    def execute(self, context):
        return None

    execute(sensor, {})
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"


def test_a_mock_of_a_task_is_no_sensor(producer, monkeypatch):
    module = ModuleType("airflow.sdk")
    module.get_current_context = lambda: {"ti": TaskInstance2("wait"), "task": MagicMock()}
    monkeypatch.setitem(sys.modules, "airflow.sdk", module)

    @publishes_completion(producer=producer)
    def load():
        return None

    load()
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"


def test_a_sensor_that_takes_no_callback_still_completes(sensor, producer, caplog):
    class Frozen:
        __slots__ = ()

        def poke(self, context):
            pass

    module = next(module for name, module in sys.modules.items() if name in ("airflow.sdk", "airflow.operators.python"))
    ti = TaskInstance2("wait")
    ti.task = Frozen()
    module.get_current_context = lambda: context(ti)

    @publishes_completion(producer=producer)
    def wait():
        return True

    assert wait() is True
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"
    assert "no callback could be added to this sensor: its timeout will publish no WORKFLOW_FAILED" in caplog.text


def test_a_task_that_cannot_be_looked_at_is_an_ordinary_one(sensor, producer, caplog, monkeypatch):
    def unreadable(task):
        raise RuntimeError("no")

    monkeypatch.setattr(sensors, "_has_poke", unreadable)

    @publishes_completion(producer=producer)
    def wait():
        return False

    assert wait() is False
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"
    assert "could not determine whether this task is a sensor: treated as an ordinary task" in caplog.text
