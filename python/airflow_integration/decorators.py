"""``@publishes_completion``: put under ``@task``, it publishes how the task ended.

Its invariant: the task's value and its exception pass through untouched, whatever becomes of the event. It reads the
attempt from the running task's context and knows nothing of how an event is sent.
"""

from __future__ import annotations

import functools

from . import pending, shaping
from .callbacks import failure_of
from .context import Given, current_context
from .events import publish_task
from .sending import How, never_raises
from .sensors import Poke, begin_poke, is_done, result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MAX_RESULT_BYTES = 65_536
"""How much of what a task returned goes into its event."""

# Airflow's ways to leave a task that are no failure of it, by the name of their class: nothing of Airflow is imported.
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
    how = How(metadata, topic, key, timeout, producer)

    def begin() -> tuple[Callable[[Any], Any], Callable[[BaseException], Any]]:
        """What is called at the end of this call: one with what the function returned, one with what it raised."""
        poke = begin_poke(function, how)
        return (
            lambda value: _returned(value, include_result, max_result_bytes, how, poke),
            lambda error: _raised(error, how, poke),
        )

    if _is_coroutine_function(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            returned, raised = begin()
            try:
                value = function(*args, **kwargs)
            except BaseException as error:  # Wrong arguments.
                await pending.beside_the_loop(raised, error)
                raise
            return await pending.tell_of(value, returned, raised)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        returned, raised = begin()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            raised(error)
            raise
        # A plain function may return the work of one that is not.
        if pending.is_pending(value):
            return pending.tell_of(value, returned, raised)
        returned(value)
        return value

    return called


@never_raises
def _returned(value: Any, include_result: bool, max_result_bytes: int, how: How, poke: Poke | None) -> bool:
    if poke is not None:
        if not is_done(value):
            return False
        value = result_of(value)
    data: dict[str, Any] = {"status": "success"}
    if include_result and value is not None:
        data.update(shaping.result_of(value, max_result_bytes))
    return publish_task(shaping.COMPLETED, None, Given(context=current_context()), data, how)


@never_raises
def _raised(error: BaseException, how: How, poke: Poke | None) -> bool:
    if any(kind.__name__ in _NO_FAILURE for kind in type(error).__mro__):
        return False
    if issubclass(type(error), SystemExit) and error.code in (None, 0):
        return _returned(None, False, 0, how, None)
    if poke is not None:
        if not poke.decides():
            return False
        poke.has_published(error)
    context = current_context()
    return publish_task(shaping.FAILED, None, Given(context=context), failure_of(error, context), how)


def _is_coroutine_function(function: Any) -> bool:
    import inspect  # 5 ms that a module level import would cost every DAG file

    # Of a callable object, what it does when it is called.
    call = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
