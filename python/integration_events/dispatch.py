"""The calls of a running consumer: what the native client hands over becomes a task of the event loop each.

Owns the tasks, and what the native client is told of each: the verdict of a call that ended, and nothing of one that
was cancelled by a stop. Its invariants: nothing here blocks the loop, however slow a handler, the disk or a broker is;
and each call is settled once, or its event comes again. Kafka is polled by the native client on threads of its own,
none of which runs Python.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from typing import Any, Callable, Optional

from workflow_events.calls import Threads
from workflow_events.log import log, log_lost

from . import current
from .handlers import Handler, NotOfClass
from .tracing import ProcessSpan
from .verdicts import CANCELLED, DONE, Verdict, timed_out, verdict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from workflow_events import _native

logger = logging.getLogger("integration_events")

#: Calls that are taken before the loop does something else.
AT_ONCE = 64
#: Seconds that a cancelled call has to end before a stop returns without it.
CANCEL_GRACE = 1.0


class _Task(asyncio.Task):  # type: ignore[type-arg]
    """A call. It knows whether somebody cancelled it, or the handler itself raised CancelledError."""

    was_cancelled = False

    def cancel(self, *args: Any, **kwargs: Any) -> bool:
        self.was_cancelled = True
        return super().cancel(*args, **kwargs)

    # From Python 3.11. A time-out in the handler cancels its task, and takes that back.
    def uncancel(self) -> int:
        left: int = super().uncancel()  # type: ignore[misc]
        self.was_cancelled = left > 0
        return left


class Dispatcher:
    """Runs the calls of one native consumer on the running event loop.

    changed: set when partitions are assigned, and when the native consumer has ended.
    on_end: called once, when it has ended.
    """

    def __init__(
        self,
        native: _native.Consumer,
        handlers: Sequence[Handler],
        *,
        group: str,
        concurrency: int,
        timeout: Optional[float],
        on_end: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self._native = native
        self._handlers = handlers
        self._group = group
        self._concurrency = concurrency
        self._timeout = timeout
        self._on_end = on_end
        self._threads: dict[str, Threads] = {}
        self._tasks: dict[int, _Task] = {}
        # Tokens of calls that the native consumer has given up: they are not settled.
        self._dropped: set[int] = set()
        self._descriptor: Optional[int] = None

    def watch(self, descriptor: int) -> None:
        """Begins to take calls."""
        self._descriptor = descriptor
        self.loop.add_reader(descriptor, self._take)
        self._take()

    def is_handling(self) -> bool:
        """Whether the current task is one of the calls."""
        return asyncio.current_task() in self._tasks.values()

    async def end(self) -> None:
        """Cancels the calls that are left, and takes no more."""
        if self._descriptor is not None:
            self._take()
            self.loop.remove_reader(self._descriptor)
            self._descriptor = None
        tasks = dict(self._tasks)
        self._dropped.update(tasks)
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=CANCEL_GRACE)
        for threads in self._threads.values():
            threads.end()

    def _take(self) -> None:
        calls, dropped, notices = self._native.take(AT_ONCE)
        for level, text in notices:
            if level >= logging.CRITICAL:
                log_lost("%s", text, logger=logger)
            else:
                log(level, "%s", text, logger=logger)
        for call in calls:
            task = _Task(self._handle(call, self._handlers[call.handler]), loop=self.loop)
            self._tasks[call.token] = task
            task.add_done_callback(lambda _, token=call.token: self._forget(token))  # type: ignore[misc]
        for token in dropped:
            if token in self._tasks:
                self._dropped.add(token)
                self._tasks[token].cancel()
        has_ended = self._native.has_ended()
        if has_ended or self._native.is_assigned():
            self.changed.set()
        if has_ended and not self.ended.is_set():
            self.ended.set()
            self._on_end()

    def _forget(self, token: int) -> None:
        self._tasks.pop(token, None)
        self._dropped.discard(token)

    async def _handle(self, call: _native.Call, handler: Handler) -> None:
        span = ProcessSpan(call, handler.name, self._group)
        # Of SystemExit and KeyboardInterrupt, which end the loop.
        verdict: Optional[Verdict] = CANCELLED
        try:
            verdict = await self._verdict(call, handler)
        finally:
            span.end(verdict)
            if verdict is not None:
                self._native.settle(call.token, verdict.word, verdict.text, verdict.seconds)

    async def _verdict(self, call: _native.Call, handler: Handler) -> Optional[Verdict]:
        """None: the call was given up, and its event comes again."""
        began = time.monotonic()
        try:
            event = handler.read(call.value)
            current.is_handled(event)
            if self._timeout is None:
                await self._called(handler, event)
            else:
                await asyncio.wait_for(self._called(handler, event), self._timeout)
            return DONE
        except (Exception, asyncio.CancelledError) as error:
            verdict = self._failed(call, error, time.monotonic() - began)
            # The native consumer logs the dead letter of what is no event of the class.
            if verdict is not None and not isinstance(error, NotOfClass):
                _log(call, handler, verdict)
            return verdict

    def _failed(self, call: _native.Call, error: BaseException, took: float) -> Optional[Verdict]:
        if isinstance(error, NotOfClass):
            return error.verdict
        if isinstance(error, asyncio.CancelledError):
            if call.token in self._dropped:
                return None
            task = self._tasks.get(call.token)
            return CANCELLED if task is not None and task.was_cancelled else verdict_of(error)
        if isinstance(error, asyncio.TimeoutError) and self._timeout is not None and took >= self._timeout:
            return timed_out(self._timeout)
        return verdict_of(error)

    async def _called(self, handler: Handler, event: Any) -> None:
        result = handler.call(event) if handler.runs_on_loop else await self._in_thread(handler, event)
        if inspect.isawaitable(result):
            await result

    def _in_thread(self, handler: Handler, event: Any) -> Awaitable[Any]:
        """A plain function's result. Nothing stops one: when its call is cancelled it goes on, and keeps its thread."""
        threads = self._threads.get(handler.name)
        if threads is None:
            threads = self._threads[handler.name] = Threads(self._concurrency)
        future: Future[Any] = Future()
        context = contextvars.copy_context()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = context.run(handler.call, event)
            except StopIteration as error:
                # No future takes it.
                future.set_exception(RuntimeError(f"the handler raised StopIteration: {error}"))
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threads.submit(work)
        return asyncio.wrap_future(future)


def _log(call: _native.Call, handler: Handler, verdict: Verdict) -> None:
    """What a call ended with. It is called in the handler of its exception."""
    level, text = {
        "retry": (logging.WARNING, "handler %s has failed on event %s (%s/%s/%s): %s"),
        "reject": (logging.WARNING, "handler %s has rejected event %s (%s/%s/%s): %s"),
        "later": (logging.INFO, "handler %s wants event %s (%s/%s/%s) later: %s"),
    }[verdict.word]
    where = (call.topic, call.partition, call.offset)
    with_traceback = verdict.word == "retry"
    log(level, text, handler.name, call.event_id, *where, verdict.text, exc_info=with_traceback, logger=logger)
