"""Which instances of `Exception` must not be swallowed: those that a signal's handler raised.

A signal's handler can raise at any point, also during a publish: Airflow 2 ends a task with an AirflowException from
its handler of SIGTERM. If it were swallowed, a killed task would go on.
"""

from __future__ import annotations

# `_signal` makes no enum of each number: 20 times as fast as `signal`.
import _signal  # type: ignore[import-not-found]
from functools import partial
from types import CodeType, FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, TypeVar, Union

    _Result = TypeVar("_Result")
    _Otherwise = TypeVar("_Otherwise")

# Airflow's own handlers, by module and name: Airflow has installed another handler by the time of this check.
_OF_AIRFLOW = frozenset(
    {("airflow.models.taskinstance", "signal_handler"), ("airflow.utils.timeout", "handle_timeout")}
)
# The native client sets it on an exception that a handler raised during a wait.
MARK = "_workflow_events_interrupt"


def interrupts(error: BaseException) -> bool:
    """Whether a signal's handler raised it: then it must not be swallowed.

    It calls no method of the exception or of a handler: either may raise.
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


def call_or(otherwise: _Otherwise, function: Callable[..., _Result], *args: Any) -> Union[_Result, _Otherwise]:
    """The function's result, or `otherwise` when it raises an `Exception`, except for one of a signal's handler."""
    try:
        return function(*args)
    except Exception as error:
        if interrupts(error):
            raise
        return otherwise


def _code(handler: Any) -> Optional[CodeType]:
    """The code that a handler runs, if it is Python: of a function, a method, a partial or a callable object."""
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
