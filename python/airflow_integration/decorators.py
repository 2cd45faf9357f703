"""``@publishes_completion``: under ``@task``, it publishes the end of the task.

Its invariant: the task's value and its exception pass through unchanged, whether or not the event is published. It
reads the attempt from the running task's context and does not know how an event is sent.
"""

from __future__ import annotations

import functools

from . import pending
from .callbacks import failure_of
from .context import CallArgs, current_context
from .event_types import COMPLETED, FAILED
from .events import publish_task
from .payload import result_data
from .sending import SendOptions, never_raises
from .sensors import Poke, begin_poke, is_done, poke_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MAX_RESULT_BYTES = 65_536
"""The largest result that goes into an event."""

# Airflow's exceptions that end a task without failing it, by class name: Airflow is not imported.
_NO_FAILURE = frozenset(
    (
        "AirflowSkipException",
        "AirflowRescheduleException",
        "TaskDeferred",
        "TaskAwaitingInput",
        "DownstreamTasksSkipped",
        "DagRunTriggerException",
        "GeneratorExit",
    )
)


def publishes_completion(
    function: Callable[..., Any] | None = None,
    *,
    topic: str | None = None,
    metadata: Any = None,
    key: str | None = None,
    timeout: float | None = None,
    include_result: bool = True,
    max_result_bytes: int = MAX_RESULT_BYTES,
    producer: Any = None,
) -> Callable[..., Any]:
    """Publishes WORKFLOW_COMPLETED (scope ``task``) when the function returns, WORKFLOW_FAILED when it raises.

    With and without parentheses, under ``@task``::

        @task
        @publishes_completion
        def load(rows): ...

    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    key: a part of the event's id, for where the attempt is not known: a retry keeps the id then.
    timeout: seconds to wait for Kafka, 5 by default; 0: straight into the spool.
    include_result, max_result_bytes: what the function returned is ``payload.data.result`` when JSON can carry it in so
        many bytes (65,536); else it is left out and ``payload.data.result_omitted`` says why.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.

    The payload of a failed attempt has ``status``, ``error_message``, ``error_type`` and, where it is known,
    ``will_retry``. A task that skips, defers or reschedules itself publishes nothing. Under ``@task.sensor``, or as the
    ``python_callable`` of a PythonSensor, a poke publishes nothing until it is the last one: when it returns ``True``
    (or a PokeReturnValue that is done, whose ``xcom_value`` is the result), or when Airflow fails the attempt, a
    timeout included. What is to be awaited or iterated, a coroutine or a generator, completes at its end.

    No publish raises anything: what Kafka did not acknowledge is in the spool, and the log says so. What the function
    returns, or raises, passes through; only the log says whether the event was published.
    """
    if function is None:
        return functools.partial(
            publishes_completion,
            topic=topic,
            metadata=metadata,
            key=key,
            timeout=timeout,
            include_result=include_result,
            max_result_bytes=max_result_bytes,
            producer=producer,
        )
    options = SendOptions(metadata, topic, key, timeout, producer)

    def begin() -> tuple[Callable[[Any], Any], Callable[[BaseException], Any]]:
        """The callbacks for the end of this call: for the returned value, and for the exception."""
        poke = begin_poke(function, options)
        return (
            lambda value: _returned(value, include_result, max_result_bytes, options, poke),
            lambda error: _raised(error, options, poke),
        )

    if _is_coroutine_function(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            returned, raised = begin()
            try:
                value = function(*args, **kwargs)
            except BaseException as error:  # Wrong arguments.
                await pending.run_in_thread(raised, error)
                raise
            return await pending.report_end(value, returned, raised)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        returned, raised = begin()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            raised(error)
            raise
        # A plain function may return a coroutine, a generator or a future.
        if pending.is_pending(value):
            return pending.report_end(value, returned, raised)
        returned(value)
        return value

    return called


@never_raises
def _returned(value: Any, include_result: bool, max_result_bytes: int, options: SendOptions, poke: Poke | None) -> bool:
    if poke is not None:
        if not is_done(value):
            return False
        value = poke_result(value)
    data: dict[str, Any] = {"status": "success"}
    if include_result and value is not None:
        data.update(result_data(value, max_result_bytes))
    return publish_task(COMPLETED, None, CallArgs(context=current_context()), data, options)


@never_raises
def _raised(error: BaseException, options: SendOptions, poke: Poke | None) -> bool:
    if any(kind.__name__ in _NO_FAILURE for kind in type(error).__mro__):
        return False
    if issubclass(type(error), SystemExit) and error.code in (None, 0):
        return _returned(None, False, 0, options, None)
    if poke is not None:
        if not poke.ends_attempt():
            return False
        poke.has_published(error)
    context = current_context()
    return publish_task(FAILED, None, CallArgs(context=context), failure_of(error, context), options)


def _is_coroutine_function(function: Any) -> bool:
    import inspect  # It takes 5 ms, which every DAG file would pay at module level.

    # For a callable object, its `__call__`.
    call = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
