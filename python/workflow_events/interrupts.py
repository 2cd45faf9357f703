"""Which exceptions are not ours to swallow although they are an `Exception`.

A signal's handler raises wherever the process happens to be, so also in the middle of a publish: Airflow 2 ends a task
with an AirflowException out of its handler of SIGTERM. Whoever swallowed it would let a killed task go on.
"""

from __future__ import annotations

# The plain half of `signal`: it makes no enum of each number, 20 times as fast.
import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

# Airflow's own, by module and name: it has put another handler in place by the time that it is asked for.
_OF_AIRFLOW = frozenset(
    {("airflow.models.taskinstance", "signal_handler"), ("airflow.utils.timeout", "handle_timeout")}
)


def interrupts(error: BaseException) -> bool:
    """Whether it comes out of a signal's handler: then it has to pass."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    handlers = _handlers()
    return any(
        frame.f_code in handlers or (frame.f_globals.get("__name__"), frame.f_code.co_name) in _OF_AIRFLOW
        for frame in frames
    )


def _handlers() -> set[CodeType]:
    """The code of the handlers that are in place."""
    handlers: set[CodeType] = set()
    for number in range(1, _signal.NSIG):
        handler = _signal.getsignal(number)
        code: Any = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if type(code).__name__ == "code":
            handlers.add(code)
    return handlers
