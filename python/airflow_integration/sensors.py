"""Sensors: only the last poke is a completion, and not every failure comes from a poke.

Owns how a sensor is recognised (it has a ``poke``; Airflow is not imported), when it is done, and the failures that
only Airflow sees: the sensor's timeout, ``execution_timeout`` between two pokes, SIGTERM, and exceptions where
``soft_fail``, ``silent_fail`` or ``never_fail`` is set, which Airflow's versions handle differently. For those it adds
a callback to the task object of this process. Its invariant: a failed attempt has one event.
"""

from __future__ import annotations

import logging

from workflow_events.interrupts import interrupts

from .callbacks import failure_of
from .context import CallArgs, current_context, look_up, read, task_instance
from .event_types import FAILED
from .events import publish_task
from .log import log
from .sending import SendOptions, never_raises

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_WATCH = "_workflow_events_watch"
_CALLBACKS = ("on_failure_callback", "on_retry_callback")
# With each of these Airflow continues or skips when a poke raises.
_LENIENT = ("soft_fail", "silent_fail", "never_fail")


class Poke:
    """One call of a function that is a sensor's poke, or the poke itself."""

    def __init__(self, task: Any, watch: dict[str, Any]) -> None:
        self._task = task
        self._watch = watch

    def ends_attempt(self) -> bool:
        """Whether an exception of the function fails this attempt. If not, Airflow decides and calls the callback."""
        return not any(read(self._task, name) for name in _LENIENT)

    def has_published(self, error: BaseException) -> None:
        """Remembers the exception, so that the callback does not publish it again."""
        self._watch["published"] = error


def begin_poke(function: Callable[..., Any], options: SendOptions) -> Poke | None:
    """The poke of this call of the function; ``None`` when the task is no sensor. Raises nothing of its own."""
    try:
        context = current_context()
        task = look_up(context, "task")
        task = read(task_instance(context), "task") if task is None else task
        # A decorated `execute` is the whole task, not one poke.
        if not _has_poke(task) or read(function, "__name__") == "execute":
            return None
        return Poke(task, _watched(task, options))
    except Exception as error:
        if interrupts(error):
            raise
        log(
            logging.ERROR,
            "could not determine whether this task is a sensor: treated as an ordinary task",
            exc_info=True,
        )
        return None


def _has_poke(task: Any) -> bool:
    """Looks at the instance's dict and the class, because a mock has every attribute."""
    own = read(task, "__dict__")
    return callable(read(type(task), "poke")) or (isinstance(own, dict) and callable(own.get("poke")))


def is_done(value: Any) -> bool:
    """Whether a poke that returned this is the last one: Airflow tests its truth."""
    return bool(value)


def poke_result(value: Any) -> Any:
    """What the sensor returns: the ``xcom_value`` of a PokeReturnValue, and ``None`` for a mere ``True``."""
    if any(kind.__name__ == "PokeReturnValue" for kind in type(value).__mro__):
        return read(value, "xcom_value")
    return None if value is True else value


def _watched(task: Any, options: SendOptions) -> dict[str, Any]:
    """Adds the callback once to the task object. Each process, and so each rescheduled poke, has its own task
    object."""
    watch = read(task, _WATCH)
    if isinstance(watch, dict):
        return watch
    watch = {"published": None}

    def publish_failure(context: Any) -> None:
        _publish_failure(context, watch, options)

    try:
        setattr(task, _WATCH, watch)
        for name in _CALLBACKS:
            own = read(task, name)
            callbacks = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
            setattr(task, name, [*callbacks, publish_failure])
    except Exception as error:
        if interrupts(error):
            raise
        log(
            logging.WARNING,
            "no callback could be added to this sensor: its timeout will publish no WORKFLOW_FAILED",
            exc_info=True,
        )
    return watch


@never_raises
def _publish_failure(context: Any, watch: dict[str, Any], options: SendOptions) -> bool:
    error = look_up(context, "exception")
    if error is not None and error is watch["published"]:
        return False
    return publish_task(FAILED, None, CallArgs(context=context, alone=True), failure_of(error, context), options)
