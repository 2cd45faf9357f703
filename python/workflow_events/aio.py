"""The producer for asyncio: the same calls, to be awaited; none of them blocks the event loop.

Owns the pending calls of the plain producer. Its invariants: an event is encoded when the call is made, and is
published whether the call is awaited, cancelled or forgotten; a call's time-out begins with the call, whatever else is
waiting; and the exit of the interpreter waits for no call longer than for a producer. It is imported when its name is
first used.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import Future, wait
from functools import partial

from . import wire
from .calls import Call, Threads, coroutine_function
from .checks import seconds
from .parameters import ConfigurableProducer
from .producer import NOT_COPIED, WorkflowEventProducer, close_at_exit
from .settings import Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from types import TracebackType
    from typing import Any, Callable, NoReturn, Optional, TypeVar

    from ._native import Outcome
    from .summary import DrainSummary, PublishSummary

    _Result = TypeVar("_Result")

#: Calls that wait at once. Further calls wait for a thread, and their time-out runs.
THREADS = 16
#: Seconds that the calls have to spool their events after their producer was closed.
SPOOL_GRACE = 10.0
#: Seconds that the other calls have to end: a search for a broker may take longer.
CALL_GRACE = 0.5


class AsyncWorkflowEventProducer(ConfigurableProducer):
    """`WorkflowEventProducer` for asyncio: the same parameters, and the same calls to be awaited.

    The constructor does not connect: `start` looks for a broker for at most `connect_timeout` seconds, and is
    optional. A cancelled call still publishes or spools its event.

        async with AsyncWorkflowEventProducer() as producer:
            await producer.publish_event(event)

    Raises KafkaConfigurationError, which names each mistake.
    """

    def _configure(self, *, connect_timeout: Optional[float], **settings: Any) -> None:
        self._stopping = False
        self._pool: Optional[tuple[int, Threads]] = None
        # For each call: what begins it, and whether it publishes an event.
        self._pending: dict[Future[Any], tuple[Callable[[], None], bool]] = {}
        mistakes: list[tuple[str, str]] = []
        resolver = Resolver()
        self._connect_timeout = resolver.connect_timeout(connect_timeout, mistakes)
        if mistakes:
            raise resolver.error(mistakes)
        self._producer = WorkflowEventProducer(connect_timeout=None, **settings)
        close_at_exit(self, instead_of=self._producer)

    async def start(self) -> None:
        """Looks for a broker. Raises NoBrokersAvailable, and the producer is closed then."""
        within = self._connect_timeout
        if within is not None:
            await self._call(lambda _: self._producer.connect(within), publishes=False)

    async def stop(self, timeout: float = 10.0) -> None:
        """Waits for at most `timeout` seconds for the pending calls, then closes as `WorkflowEventProducer.close` does.
        Events of calls that no thread has begun by then go straight into the spool."""
        if self._stopping:
            return
        until = time.monotonic() + seconds(timeout)
        self._threads()  # First: it drops the calls of a parent process.
        pending = list(self._pending)  # A copy: the threads remove calls that end meanwhile.
        if pending:
            waiting = [asyncio.wrap_future(future) for future in pending]
            await asyncio.wait(waiting, timeout=max(until - time.monotonic(), 0.0))
        self._stopping = True  # Calls that no thread has begun are spooled.
        try:
            # Not on the calls' threads: each may be waiting for the broker.
            await asyncio.to_thread(self._end, until)
        except RuntimeError:  # The host is at its limit of threads.
            self._end(until)

    def _end(self, until: float) -> None:
        self._stopping = True
        threads = self._threads()  # First: it drops the calls of a parent process.
        calls = list(self._pending.items())
        for begin in (begin for _, (begin, publishes) in calls if publishes):
            begin()
        self._producer.close(max(until - time.monotonic(), 0.0))
        # The other calls end at once: the producer is closed.
        for _, (begin, _) in calls:
            begin()
        wait([future for future, (_, publishes) in calls if publishes], SPOOL_GRACE)
        wait([future for future, _ in calls], CALL_GRACE)
        threads.end()

    @coroutine_function
    def publish_event(
        self, event: wire.Event, topic: Optional[str] = None, timeout: Optional[float] = 10.0
    ) -> Coroutine[Any, Any, bool]:
        """As `WorkflowEventProducer.publish_event`."""
        frozen, left = wire.freeze(event), self._left(timeout)
        return self._call(lambda accepted: self._producer._publish(frozen, topic, left(), None, accepted).published)

    @coroutine_function
    def publish_event_outcome(
        self,
        event: wire.Event,
        topic: Optional[str] = None,
        timeout: Optional[float] = 10.0,
        traceparent: Optional[str] = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """As `WorkflowEventProducer.publish_event_outcome`."""
        frozen, left = wire.freeze(event), self._left(timeout)
        return self._call(lambda accepted: self._producer._publish(frozen, topic, left(), traceparent, accepted))

    @coroutine_function
    def publish_many(
        self, events: Iterable[wire.Event], topic: Optional[str] = None, timeout: Optional[float] = 10.0
    ) -> Coroutine[Any, Any, PublishSummary]:
        """As `WorkflowEventProducer.publish_many`. All events are encoded before it returns."""
        frozen, left = [wire.freeze(event) for event in events], self._left(timeout)
        return self._call(lambda accepted: self._producer._publish_many(frozen, topic, left(), accepted))

    def _publish_records(
        self, records: Sequence[wire.Record], timeout: Optional[float]
    ) -> Coroutine[Any, Any, list[Outcome]]:
        left = self._left(timeout)
        return self._call(lambda accepted: self._producer._publish_records(records, left(), accepted))

    @coroutine_function
    def enqueue_event(self, event: wire.Event, topic: Optional[str] = None) -> Coroutine[Any, Any, bool]:
        """As `WorkflowEventProducer.enqueue_event`."""
        return self._call(partial(self._producer._enqueue, wire.freeze(event), topic))

    async def flush(self, timeout: Optional[float] = None) -> None:
        """As `WorkflowEventProducer.flush`. Raises KafkaTimeoutError."""
        await self._call(lambda _: self._producer.flush(timeout), publishes=False)

    async def drain_spool(self, max_events: Optional[int] = None, timeout: Optional[float] = None) -> DrainSummary:
        """As `WorkflowEventProducer.drain_spool`. Raises KafkaError."""
        return await self._call(lambda _: self._producer.drain_spool(max_events, timeout), publishes=False)

    @property
    def closed(self) -> bool:
        """Whether it is stopped: then every event is refused."""
        return self._producer.closed

    async def __aenter__(self) -> AsyncWorkflowEventProducer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"Async{self._producer!r}"

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_COPIED)

    # `work` is told whether the call was made before the producer was closed: a thread that begins it may stand still
    # until after that.
    def _call(self, work: Callable[[bool], _Result], publishes: bool = True) -> Call[_Result]:
        future: Future[_Result] = Future()
        future.set_running_or_notify_cancel()  # Nobody can cancel it from here on.
        todo = [partial(work, not self._producer.closed)]

        def begin() -> None:
            try:
                mine = todo.pop()  # A thread or `_end`, whichever comes first.
            except IndexError:
                return
            try:
                future.set_result(mine())
            except BaseException as error:
                future.set_exception(error)

        if self._producer.closed:
            begin()  # It fails at once.
            return Call(future)
        threads = self._threads()
        self._pending[future] = begin, publishes
        future.add_done_callback(self._forget)
        threads.submit(begin)
        return Call(future)

    def _forget(self, future: Future[Any]) -> None:
        self._pending.pop(future, None)

    def _left(self, timeout: Optional[float]) -> Callable[[], Optional[float]]:
        """The rest of a time-out that begins now; 0 once the producer is stopping."""
        if timeout is None:
            return lambda: 0.0 if self._stopping else None
        until = time.monotonic() + seconds(timeout)
        # With 0 the event goes straight into the spool.
        return lambda: 0.0 if self._stopping else max(until - time.monotonic(), 0.0)

    def _threads(self) -> Threads:
        """This process's threads: a forked child makes its own."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), Threads(THREADS)
            self._pending = {}
        return self._pool[1]
