"""Which exceptions are not ours to swallow although they are an `Exception`.

A signal's handler raises wherever the process happens to be, so also in the middle of a publish: Airflow 2 ends a task
with an AirflowException out of its handler of SIGTERM. Whoever swallowed it would let a killed task go on.
"""

from __future__ import annotations

# The plain half of `signal`: it makes no enum of each number, 20 times as fast.
import _signal  # type: ignore[import-not-found]
from functools import partial
from types import CodeType, FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

# Airflow's own, by module and name: it has put another handler in place by the time that it is asked for.
_OF_AIRFLOW = frozenset(
    {("airflow.models.taskinstance", "signal_handler"), ("airflow.utils.timeout", "handle_timeout")}
)
# What the native half puts on an exception that a handler raised while it waited.
MARK = "_workflow_events_interrupt"


def interrupts(error: BaseException) -> bool:
    """Whether it comes out of a signal's handler: then it has to pass.

    Nothing of the exception's own is run for it, nor of a handler's: either may raise.
    """
    try:
        if BaseException.__getattribute__(error, MARK) is True:
            return True
    except AttributeError:
        pass
    frames = []
    traceback = BaseException.__dict__["__traceback__"].__get__(error)
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    handlers = {_code(_signal.getsignal(number)) for number in range(1, _signal.NSIG)}
    return any(
        frame.f_code in handlers or (frame.f_globals.get("__name__"), frame.f_code.co_name) in _OF_AIRFLOW
        for frame in frames
    )


def _code(handler: Any) -> Optional[CodeType]:
    """The code that a handler runs, if it is Python's: of a function, a method, a partial, an object to be called."""
    for _ in range(10):
        kind = type(handler)
        if kind is FunctionType:
            return handler.__code__  # type: ignore[no-any-return]
        if kind is MethodType:
            handler = handler.__func__
        elif issubclass(kind, partial):
            handler = partial.__dict__["func"].__get__(handler)
        else:
            kinds = type.__dict__["__mro__"].__get__(kind)
            handler = next((vars(each)["__call__"] for each in kinds if "__call__" in vars(each)), None)
            if type(handler) is not FunctionType:
                return None
    return None
