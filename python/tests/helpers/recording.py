"""Test doubles for the helpers: a producer that records, and Airflow's objects of both versions.

A producer is passed as ``producer=``, as anybody may; the objects have the attributes that were measured on Airflow
2.8.4 and 3.3.2, and raise for those that a version does not have.
"""

from types import SimpleNamespace


class Recording:
    """A producer that keeps what it was given, and answers ``status``."""

    def __init__(self, status="published", kind=None):
        self.calls = []
        self.answers = [SimpleNamespace(status=status, kind=kind, message=status)]

    def publish_event_outcome(self, event, topic=None, timeout=10.0):
        self.calls.append((event, topic, timeout))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def event(self):
        assert len(self.calls) == 1, self.calls
        return self.calls[0][0]

    @property
    def ids(self):
        return [event["event_id"] for event, _, _ in self.calls]


class TaskInstance2:
    """A task instance of 2.8: ``try_number`` is one more than the attempt unless the task runs."""

    def __init__(self, task_id="load", attempt=1, max_tries=2, map_index=-1, running=True, retries=2):
        self.dag_id, self.run_id, self.task_id = "etl", "run-1", task_id
        self.map_index, self.max_tries, self._try_number = map_index, max_tries, attempt
        self.running = running
        self.task = SimpleNamespace(retries=retries)

    @property
    def try_number(self):
        return self._try_number if self.running else self._try_number + 1


class RuntimeTaskInstance:
    """A task instance of 3.x: no ``_try_number``, no ``dag_run``."""

    def __init__(self, task_id="load", attempt=1, max_tries=2, map_index=-1, retries=2):
        self.dag_id, self.run_id, self.task_id = "etl", "run-1", task_id
        self.map_index, self.max_tries, self.try_number = map_index, max_tries, attempt
        self.task = SimpleNamespace(retries=retries)


class Context(dict):
    """A context that fails whoever unpacks it or asks it for more than a key."""

    def _no(self, *_):
        raise AssertionError("the context was iterated")

    __iter__ = keys = items = values = copy = _no


def dag_run(clear_number=0, dag_id="etl", run_id="run-1"):
    """A DAG run of either version."""
    return SimpleNamespace(dag_id=dag_id, run_id=run_id, clear_number=clear_number, run_type="manual")


def context(ti=None, run=None):
    """A task's context."""
    ti = ti or TaskInstance2()
    return Context(ti=ti, task_instance=ti, dag_run=run or dag_run(), run_id="run-1")
