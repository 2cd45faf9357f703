"""The calls of a running consumer: what the native client hands over becomes a task of the event loop each.

Owns the tasks, and what the native client is told of each: the verdict of a call that ended, and nothing of one that
was cancelled by a stop. Its invariants: nothing here blocks the loop, however slow a handler, the disk or a broker is;
each call is settled once, or its event comes again; and no call that was taken is forgotten, whatever raises. Kafka is
polled by the native client on threads of its own, none of which runs Python.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
import traceback
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Callable, Optional

from workflow_events.calls import Threads
from workflow_events.interrupts import call_or, interrupts
from workflow_events.log import log, log_lost
from workflow_events.text import type_name

from . import current
from .handlers import Handler, NotOfClass
from .tracing import ProcessSpan
from .verdicts import CANCELLED, DONE, NO_THREAD, Verdict, refused_values, timed_out, unreadable, verdict_of

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


class _NoThread(Exception):
    """The threads of a plain function are kept by calls that were cancelled."""


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
        # The calls of plain functions that are queued for a thread or have one, also those that were cancelled since.
        self._in_threads: dict[str, set[Future[Any]]] = {}
        self._tasks: dict[int, _Task] = {}
        # Tokens of calls that have no verdict yet.
        self._open: set[int] = set()
        # Tokens of calls that the native consumer has given up: they are not settled.
        self._dropped: set[int] = set()
        # The tasks that handlers run in: below Python 3.12 `wait_for` makes one of its own.
        self._callers: set[Optional[asyncio.Task[Any]]] = set()
        self._descriptor: Optional[int] = None

    def watch(self, descriptor: int) -> None:
        """Begins to take calls."""
        self.loop.add_reader(descriptor, self._take)
        self._descriptor = descriptor
        self._take()

    @property
    def is_watching(self) -> bool:
        """Whether it would see the end of the native consumer."""
        return self._descriptor is not None

    def is_handling(self) -> bool:
        """Whether the current task is a handler's."""
        return asyncio.current_task() in self._callers

    async def end(self) -> None:
        """Cancels the calls that are left, takes no more, and lets go whoever waits."""
        try:
            if self._descriptor is not None:
                descriptor, self._descriptor = self._descriptor, None
                try:
                    self._take()
                finally:
                    self.loop.remove_reader(descriptor)
        finally:
            tasks = dict(self._tasks)
            self._dropped.update(tasks)
            for task in tasks.values():
                task.cancel()
            try:
                if tasks:
                    await asyncio.wait(tasks.values(), timeout=CANCEL_GRACE)
            finally:
                for threads in self._threads.values():
                    threads.end()
                self.changed.set()
                self.ended.set()

    def _take(self) -> None:
        calls, dropped, notices = self._native.take(AT_ONCE)
        steps: list[Callable[[], None]] = [partial(self._begin, call) for call in calls]
        steps += [partial(self._drop, token) for token in dropped]
        steps += [self._look, *(partial(_notice, *notice) for notice in notices)]
        raised: list[BaseException] = []
        for step in steps:
            try:
                step()
            except BaseException as error:  # From a signal's handler: it is raised after the last step.
                raised.append(error)
        if raised:
            raise raised[0]

    def _begin(self, call: _native.Call) -> None:
        token = call.token
        self._open.add(token)
        try:
            task = _Task(self._handle(call, self._handlers[call.handler]), loop=self.loop)
            task.add_done_callback(lambda _: self._forget(token))
            self._tasks[token] = task
        except BaseException:
            self._settle(token, CANCELLED)
            raise

    def _drop(self, token: int) -> None:
        if token in self._tasks:
            self._dropped.add(token)
            self._tasks[token].cancel()

    def _look(self) -> None:
        """Sees how far the native consumer is."""
        has_ended = self._native.has_ended()
        if has_ended or self._native.is_assigned():
            self.changed.set()
        if has_ended and not self.ended.is_set():
            self.ended.set()
            self._on_end()

    def _settle(self, token: int, verdict: Verdict) -> None:
        if token in self._open:
            self._open.discard(token)
            self._native.settle(token, verdict.word, verdict.text, verdict.seconds)

    def _forget(self, token: int) -> None:
        self._tasks.pop(token, None)
        if token in self._dropped:
            self._dropped.discard(token)
            self._open.discard(token)
        # Nothing of a task runs that is cancelled before its first step.
        self._settle(token, CANCELLED)

    async def _handle(self, call: _native.Call, handler: Handler) -> None:
        span = ProcessSpan(call, handler.name, self._group)
        # Of SystemExit and KeyboardInterrupt, which end the loop.
        verdict: Optional[Verdict] = CANCELLED
        failed_by: Optional[BaseException] = None
        try:
            verdict, failed_by = await self._verdict(call, handler)
        finally:
            try:
                if verdict is not None:
                    self._settle(call.token, verdict)
            finally:
                span.end(verdict)
        # The native consumer logs the dead letter of what is no event of the class.
        if verdict is not None and failed_by is not None and not isinstance(failed_by, NotOfClass):
            _log(call, handler, verdict, failed_by)

    async def _verdict(self, call: _native.Call, handler: Handler) -> tuple[Optional[Verdict], Optional[BaseException]]:
        """What the call ended with, and its exception. No verdict: it was given up, and its event comes again."""
        began = time.monotonic()
        # What a plain function's call waits for its thread with.
        queued: Future[Any] = Future()
        try:
            event = handler.read(call.value)
            current.is_handled(event)
            called = self._called(handler, event, queued)
            await (called if self._timeout is None else asyncio.wait_for(called, self._timeout))
            return DONE, None
        except BaseException as error:
            if self._ends_the_loop(error):
                raise
            try:
                return self._failed(call, error, time.monotonic() - began, queued), error
            except Exception as problem:  # An exception's own attributes may raise.
                if interrupts(problem):
                    raise
                return unreadable(error), error

    def _ends_the_loop(self, error: BaseException) -> bool:
        """Whether it is no failure of the handler. A task that is left over when its loop ends gets GeneratorExit."""
        closed = isinstance(error, GeneratorExit) and not self.loop.is_running()
        return closed or isinstance(error, (SystemExit, KeyboardInterrupt))

    def _failed(self, call: _native.Call, error: BaseException, took: float, queued: Future[Any]) -> Optional[Verdict]:
        if isinstance(error, NotOfClass):
            return error.verdict
        if isinstance(error, _NoThread):
            return NO_THREAD
        if isinstance(error, asyncio.CancelledError):
            if call.token in self._dropped:
                return None
            task = self._tasks.get(call.token)
            return CANCELLED if task is not None and task.was_cancelled else verdict_of(error)
        if isinstance(error, asyncio.TimeoutError) and self._timeout is not None and took >= self._timeout:
            # It is cancelled if no thread has begun it.
            return NO_THREAD if queued.cancelled() else timed_out(self._timeout)
        return verdict_of(error)

    async def _called(self, handler: Handler, event: Any, queued: Future[Any]) -> None:
        caller = asyncio.current_task()
        self._callers.add(caller)
        try:
            result = handler.call(event) if handler.runs_on_loop else await self._in_thread(handler, event, queued)
            if inspect.isawaitable(result):
                await result
            elif inspect.isgenerator(result) or inspect.isasyncgen(result):
                raise TypeError(f"the handler returned {type_name(result)}, and nothing of it has run: use no `yield`")
        finally:
            self._callers.discard(caller)

    def _in_thread(self, handler: Handler, event: Any, future: Future[Any]) -> Awaitable[Any]:
        """A plain function's result. Nothing stops one: when its call is cancelled it goes on, and keeps its thread."""
        threads = self._threads.get(handler.name)
        if threads is None:
            threads = self._threads[handler.name] = Threads(self._concurrency, or_caller=False)
        begun = self._in_threads.setdefault(handler.name, set())
        # As many as there may be calls were cancelled: they have all threads, and others in front of them are no use.
        if len(begun) >= 2 * self._concurrency:
            raise _NoThread
        begun.add(future)
        context = contextvars.copy_context()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                begun.discard(future)
                return
            try:
                result = context.run(handler.call, event)
            except (StopIteration, GeneratorExit) as error:
                # They mean something else to whoever awaits a future.
                future.set_exception(RuntimeError(f"the handler raised {type(error).__name__}: {error}"))
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            begun.discard(future)

        try:
            threads.submit(work)
        except RuntimeError:
            future.cancel()
            begun.discard(future)
            raise
        return asyncio.wrap_future(future)


def _notice(level: int, text: str) -> None:
    if level >= logging.CRITICAL:
        log_lost("%s", text, logger=logger)
    else:
        log(level, "%s", text, logger=logger)


def _log(call: _native.Call, handler: Handler, verdict: Verdict, error: BaseException) -> None:
    """What a call failed with."""
    text = {
        "retry": "handler %s has failed on event %s (%s/%s/%s): %s",
        "reject": "handler %s has rejected event %s (%s/%s/%s): %s",
        "later": "handler %s wants event %s (%s/%s/%s) later: %s",
    }[verdict.word]
    level = logging.INFO if verdict.error_type is None else logging.WARNING
    about = (handler.name, call.event_id, call.topic, call.partition, call.offset, verdict.text)
    if verdict.word != "retry":
        log(level, text, *about, logger=logger)
    elif call_or(True, refused_values, error):
        frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
        text += "\nWhere it was raised, without the values that pydantic refused:\n%s"
        log(level, text, *about, frames, logger=logger)
    else:
        log(level, text, *about, exc_info=error, logger=logger)
