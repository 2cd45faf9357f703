"""An exception of a signal's handler ends the task, although it is an ``Exception``; the event is safe before that."""

import functools
import os
import signal

import pytest
from airflow_integration import (
    publish_workflow_event,
    publishes_completion,
    task_success_callback,
)
from airflow_integration.producer import get_kafka_producer
from armed import Armed
from kit.spool import SpoolFolder
from recording import Recording, context
from workflow_events import WorkflowEventProducer


class Ended(Exception):
    """As Airflow 2's AirflowException out of its handler of SIGTERM."""


class Killed:
    """A producer in whose process a SIGTERM arrives when the event has gone where it goes."""

    def publish_event_outcome(self, event, topic=None, timeout=None):
        outcome = get_kafka_producer().publish_event_outcome(event, timeout=0)
        os.kill(os.getpid(), signal.SIGTERM)
        return outcome


@pytest.fixture(autouse=True)
def handler(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    def on_sigterm(number, frame):
        raise Ended()

    before = signal.signal(signal.SIGTERM, on_sigterm)
    yield on_sigterm
    signal.signal(signal.SIGTERM, before)


def decorated(**how):
    publishes_completion(**how)(lambda: 1)()


@pytest.mark.parametrize(
    "publish",
    [
        lambda producer: publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer),
        lambda producer: task_success_callback(context(), producer=producer),
        lambda producer: decorated(producer=producer),
    ],
    ids=["a helper", "a callback", "the decorator"],
)
def test_a_killed_task_does_not_go_on_and_its_event_is_safe(publish, spool: SpoolFolder, monkeypatch):
    for name, value in (("DAG_ID", "etl"), ("DAG_RUN_ID", "run-1"), ("TASK_ID", "load")):
        monkeypatch.setenv("AIRFLOW_CTX_" + name, value)
    with pytest.raises(Ended):
        publish(Killed())
    assert len(spool.files()) == 1


@pytest.mark.parametrize(
    ("module", "name"), [("airflow.models.taskinstance", "signal_handler"), ("airflow.utils.timeout", "handle_timeout")]
)
def test_airflows_handlers_are_recognised_by_name_after_they_were_replaced(module, name):
    namespace = {"__name__": module, "Ended": Ended}
    exec(f"def {name}(*_, **__):\n    raise Ended()", namespace)
    producer = Recording()
    producer.publish_event_outcome = namespace[name]
    with pytest.raises(Ended):
        publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer)


def test_our_own_exception_is_not_taken_for_a_handlers():
    producer = Recording()
    producer.publish_event_outcome = None
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer) is False


class Late:
    """The signal arrives while this is looked at."""

    def __str__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return "late"

    @property
    def model_dump(self):
        os.kill(os.getpid(), signal.SIGTERM)

    dag_id = tolist = model_dump


@pytest.mark.parametrize("given", [{"payload": Late()}, {"metadata": {Late(): 1}}, {"ti": Late()}, {"key": Late()}])
def test_it_passes_wherever_it_arrives(given, producer):
    with pytest.raises(Ended):
        publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", producer=producer, **given)


def test_it_passes_through_the_producer():
    with WorkflowEventProducer(connect_timeout=None) as producer:
        for event in (Late(), {"payload": {"data": Late()}}):
            with pytest.raises(Ended):
                producer.publish_event(event, timeout=0)


class Handler:
    """What may be in place of a function: an object to be called."""

    def __call__(self, number, frame):
        raise Ended()

    def method(self, number, frame):
        raise Ended()


class Called(functools.partial):
    """A partial of somebody's own."""


def says_why(why, number, frame):
    raise Ended(why)


def resets_itself(number, frame):
    signal.signal(number, signal.SIG_DFL)
    raise Ended()


@pytest.mark.parametrize(
    "handler",
    [
        Handler(),
        Handler().method,
        functools.partial(says_why, "a partial"),
        functools.partial(Called(functools.partial(says_why, "within"))),
        resets_itself,
    ],
    ids=["an object", "a method", "a partial", "a partial of an object", "one that resets itself"],
)
def test_it_passes_out_of_a_wait_whatever_the_handler_is(handler, silent, spool: SpoolFolder, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", silent.bootstrap)
    producer = get_kafka_producer()  # The one that the helper uses.
    monkeypatch.setattr(producer, "_native", Armed(producer._native))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(Ended):
            publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(spool.files()) == 1


class Untraceable(Exception):
    """An error whose own attribute raises."""

    @property
    def __traceback__(self):
        raise ValueError("no traceback")


class Lazy:
    """A handler that stands for another, and cannot be asked for anything as yet."""

    def __getattribute__(self, name):
        raise RuntimeError("too early")

    def __call__(self, number, frame):
        pass


@pytest.mark.parametrize(
    "made", [lambda: Lazy(), lambda: functools.partial(Lazy()), lambda: Lazy], ids=["lazy", "of a lazy", "a class"]
)
@pytest.mark.parametrize("error", [Untraceable, ValueError])
def test_no_error_and_no_handler_makes_a_helper_raise(made, error, caplog):
    producer = Recording()

    def fails(event, topic=None, timeout=None):
        raise error()

    producer.publish_event_outcome = fails
    before = signal.signal(signal.SIGUSR1, made())
    try:
        assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {}, producer=producer) is False
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "published nothing" in caplog.text
