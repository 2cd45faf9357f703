"""The calls of the asyncio producer: the threads that run them, and the object that the caller awaits.

Its invariants: a call runs whether or not anybody awaits it; and none of the threads delays the exit of the
interpreter, as those of `concurrent.futures` do.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from queue import SimpleQueue
from typing import Any, Callable, Optional, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future

_Result = TypeVar("_Result")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Call(Coroutine[Any, Any, _Result]):
    """The result of a running call: a coroutine that can be awaited or made a task.

    Unlike a coroutine of Python's own it gives no warning when it is never awaited.
    """

    def __init__(self, future: Future[_Result]) -> None:
        self._future = future
        self._waiting: Optional[Coroutine[Any, Any, _Result]] = None

    def _wait(self) -> Coroutine[Any, Any, _Result]:
        if self._waiting is None:
            self._waiting = _result(self._future)
        return self._waiting

    def __await__(self) -> Generator[Any, Any, _Result]:
        return self._wait().__await__()

    def send(self, value: Any) -> Any:
        return self._wait().send(value)

    def throw(self, *raised: Any) -> Any:
        return self._wait().throw(*raised)

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()


async def _result(future: Future[_Result]) -> _Result:
    # Cancelling this does not cancel the call: a running future cannot be cancelled.
    return await asyncio.wrap_future(future)


def coroutine_function(function: _Function) -> _Function:
    """Marks a function that returns a `Call` as a coroutine function, for frameworks and mocks that ask."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:  # From Python 3.12.
        mark(function)
    else:
        function._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)  # type: ignore[attr-defined]
    return function


class Threads:
    """A pool of daemon threads. It runs the oldest work first.

    or_caller: when not even one thread can be started, the caller of `submit` runs the work. Else `submit` raises
        RuntimeError then, and the work may still run when a later one has got a thread.
    """

    def __init__(self, most: int, *, or_caller: bool = True) -> None:
        self._most = most
        self._or_caller = or_caller
        self._count = 0
        self._work: SimpleQueue[Optional[Callable[[], None]]] = SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if self._count < self._most:
            self._count += 1
            name = f"workflow-events_{self._count}"
            try:
                threading.Thread(target=_serve, args=(self._work,), name=name, daemon=True).start()
            except RuntimeError:  # The limit of threads is reached, or the interpreter is exiting.
                self._count -= 1
                if self._count > 0:
                    return
                if not self._or_caller:
                    raise
                work()

    def end(self) -> None:
        """Ends the threads when they have done the work that was submitted before."""
        count, self._count = self._count, 0
        for _ in range(count):
            self._work.put(None)

    def __del__(self) -> None:
        self.end()


def _serve(submitted: SimpleQueue[Optional[Callable[[], None]]]) -> None:
    while True:
        work = submitted.get()
        if work is None:
            return
        work()
        del work  # It refers to a producer, which must not be kept alive while the thread waits.
