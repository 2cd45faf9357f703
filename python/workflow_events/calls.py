"""What a call of the asyncio producer is made of: the threads that carry it out, and what its caller awaits.

Its invariants: a call is under way from the moment at which it was made, whether or not anybody awaits it; and no
thread of these holds up the end of the interpreter, as those of `concurrent.futures` do.
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
    """The answer of a call that is under way: a coroutine to whoever awaits it, or makes a task of it.

    Nobody has to: unlike a coroutine of Python's own it complains of nothing then.
    """

    def __init__(self, future: Future[_Result]) -> None:
        self._future = future
        self._waiting: Optional[Coroutine[Any, Any, _Result]] = None

    def _wait(self) -> Coroutine[Any, Any, _Result]:
        if self._waiting is None:
            self._waiting = _answer(self._future)
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


async def _answer(future: Future[_Result]) -> _Result:
    # Who cancels this cancels nothing else: a future that runs cannot be cancelled.
    return await asyncio.wrap_future(future)


def to_be_awaited(function: _Function) -> _Function:
    """Marks a function that gives back a `Call` as one that is to be awaited, for frameworks and mocks that ask."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:  # From Python 3.12.
        mark(function)
    else:
        function._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)  # type: ignore[attr-defined]
    return function


class Threads:
    """So many threads at most, which carry out what they are handed, the oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._work: SimpleQueue[Optional[Callable[[], None]]] = SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if self._count < self._most:
            self._count += 1
            name = f"workflow-events_{self._count}"
            try:
                threading.Thread(target=_serve, args=(self._work,), name=name, daemon=True).start()
            except RuntimeError:  # There is no room for another, or the interpreter is ending.
                self._count -= 1
                if self._count == 0:
                    work()

    def end(self) -> None:
        """They end when they have done what they were handed before."""
        count, self._count = self._count, 0
        for _ in range(count):
            self._work.put(None)

    def __del__(self) -> None:
        self.end()


def _serve(handed: SimpleQueue[Optional[Callable[[], None]]]) -> None:
    while True:
        work = handed.get()
        if work is None:
            return
        work()
        del work  # While it waits for the next one, it keeps nobody's producer.
