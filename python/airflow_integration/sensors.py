"""What a poke of a sensor means: one that is not the last is no completion, and not every failure comes from a poke.

Owns how a sensor is told from another task (it has a ``poke``; nothing of Airflow is imported), when it is done, and
the failures that only Airflow sees: the sensor's timeout, ``execution_timeout`` between two pokes, SIGTERM, and what it
makes of an exception where ``soft_fail``, ``silent_fail`` or ``never_fail`` is set, which differs between its versions.
For those it adds a callback to the task object of this process. Its invariant: a failed attempt has one event.
"""

from __future__ import annotations

import logging

from workflow_events.interrupts import interrupts

from . import shaping
from .callbacks import failure_of
from .context import Given, current_context, look_up, read, task_instance
from .events import publish_task
from .log import say
from .sending import How, never_raises

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_WATCH = "_workflow_events_watch"
_CALLBACKS = ("on_failure_callback", "on_retry_callback")
# Each lets Airflow go on, or skip, where a poke raises.
_LENIENT = ("soft_fail", "silent_fail", "never_fail")


class Poke:
    """One call of a function that is a sensor's poke, or the poke itself."""

    def __init__(self, task: Any, watch: dict[str, Any]) -> None:
        self._task = task
        self._watch = watch

    def decides(self) -> bool:
        """Whether an exception of the function is the end of this attempt; else Airflow tells the callback."""
        return not any(read(self._task, name) for name in _LENIENT)

    def has_published(self, error: BaseException) -> None:
        """The callback gets the same exception and publishes nothing more."""
        self._watch["published"] = error


def begin_poke(function: Callable[..., Any], how: How) -> Poke | None:
    """The poke that this call of the function is; ``None`` when the task is no sensor. Raises nothing of its own."""
    try:
        context = current_context()
        task = look_up(context, "task")
        task = read(task_instance(context), "task") if task is None else task
        # Whoever decorates `execute` itself decorates the whole of it.
        if not _has_poke(task) or read(function, "__name__") == "execute":
            return None
        return Poke(task, _watched(task, how))
    except Exception as error:
        if interrupts(error):
            raise
        say(
            logging.ERROR,
            "could not determine whether this task is a sensor: treated as an ordinary task",
            exc_info=True,
        )
        return None


def _has_poke(task: Any) -> bool:
    """Of its own or of its class: a mock has whatever it is asked for."""
    own = read(task, "__dict__")
    return callable(read(type(task), "poke")) or (isinstance(own, dict) and callable(own.get("poke")))


def is_done(value: Any) -> bool:
    """Whether a poke that returned this is the last one: as Airflow asks, by its truth."""
    return bool(value)


def result_of(value: Any) -> Any:
    """What the sensor returns: the ``xcom_value`` of a PokeReturnValue, and ``None`` for a mere ``True``."""
    if any(kind.__name__ == "PokeReturnValue" for kind in type(value).__mro__):
        return read(value, "xcom_value")
    return None if value is True else value


def _watched(task: Any, how: How) -> dict[str, Any]:
    """Adds the callback once to the task object: each process, and so each rescheduled poke, has one of its own."""
    watch = read(task, _WATCH)
    if isinstance(watch, dict):
        return watch
    watch = {"published": None}

    def publish_failure(context: Any) -> None:
        _publish_failure(context, watch, how)

    try:
        setattr(task, _WATCH, watch)
        for name in _CALLBACKS:
            own = read(task, name)
            callbacks = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
            setattr(task, name, [*callbacks, publish_failure])
    except Exception as error:
        if interrupts(error):
            raise
        say(
            logging.WARNING,
            "no callback could be added to this sensor: its timeout will publish no WORKFLOW_FAILED",
            exc_info=True,
        )
    return watch


@never_raises
def _publish_failure(context: Any, watch: dict[str, Any], how: How) -> bool:
    error = look_up(context, "exception")
    if error is not None and error is watch["published"]:
        return False
    return publish_task(shaping.FAILED, None, Given(context=context, alone=True), failure_of(error, context), how)
