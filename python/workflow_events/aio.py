"""The producer for asyncio: the same calls, to be awaited, and none of them waits on the event loop.

Owns which calls of the plain producer are under way. Its invariants: an event is turned into bytes when the call is
made, and it is published from then on, whether the call is awaited, cancelled or forgotten; a call's time-out counts
from the call, whatever else is waiting; and the end of the interpreter waits for no call longer than for a producer.
It is imported when its name is first used.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import Future, wait
from functools import partial

from . import wire
from .calls import Call, Threads, to_be_awaited
from .checks import seconds
from .producer import NOT_COPIED, WorkflowEventProducer, ends_with_the_interpreter
from .settings import Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType
    from typing import Any, Callable, Literal, NoReturn, Optional, TypeVar, Union

    from ._native import Outcome
    from .producer import Servers
    from .settings import Path
    from .summary import DrainSummary, PublishSummary

    _Result = TypeVar("_Result")

#: Calls that wait at once. More wait for a thread, and their time-out runs.
THREADS = 16
#: Seconds that the calls have to bring their events onto the disk when their producer has been closed, and that those
#: without an event have to end: a search for a broker may not.
GRACE, BRIEF = 10.0, 0.5


class AsyncWorkflowEventProducer:
    """`WorkflowEventProducer` for asyncio: the same parameters, and the same calls to be awaited.

    The constructor connects to nobody: `start` looks for a broker for at most `connect_timeout` seconds, and may be
    left out. Cancelling a call does not take its event back: it is published, or spooled, all the same.

        async with AsyncWorkflowEventProducer() as producer:
            await producer.publish_event(event)

    Raises KafkaConfigurationError, which names each mistake.
    """

    def __init__(
        self,
        bootstrap_servers: Optional[Servers] = None,
        acks: Union[str, int] = "all",
        retries: int = 3,
        max_in_flight_requests_per_connection: int = 1,
        request_timeout_ms: int = 30000,
        delivery_timeout_ms: int = 120000,
        *,
        connect_timeout: Optional[float] = 2.0,
        topic: Optional[str] = None,
        client_id: Optional[str] = None,
        compression_type: Optional[str] = None,
        linger_ms: Optional[int] = None,
        batch_size: Optional[int] = None,
        security_protocol: Optional[str] = None,
        sasl_mechanism: Optional[str] = None,
        sasl_username: Optional[str] = None,
        sasl_password: Optional[str] = None,
        ssl_cafile: Optional[Path] = None,
        ssl_certfile: Optional[Path] = None,
        ssl_keyfile: Optional[Path] = None,
        properties: Optional[dict[str, str]] = None,
        spool_dir: Union[Path, Literal[False], None] = None,
        spool_max_bytes: Optional[int] = None,
    ) -> None:
        self._stopping = False
        self._pool: Optional[tuple[int, Threads]] = None
        # Of each call: what begins it, and whether it has an event to publish.
        self._under_way: dict[Future[Any], tuple[Callable[[], None], bool]] = {}
        mistakes: list[tuple[str, str]] = []
        resolver = Resolver()
        self._connect_timeout = resolver.connect_timeout(connect_timeout, mistakes)
        if mistakes:
            raise resolver.error(mistakes)
        self._producer = WorkflowEventProducer(
            bootstrap_servers,
            acks,
            retries,
            max_in_flight_requests_per_connection,
            request_timeout_ms,
            delivery_timeout_ms,
            connect_timeout=None,
            topic=topic,
            client_id=client_id,
            compression_type=compression_type,
            linger_ms=linger_ms,
            batch_size=batch_size,
            security_protocol=security_protocol,
            sasl_mechanism=sasl_mechanism,
            sasl_username=sasl_username,
            sasl_password=sasl_password,
            ssl_cafile=ssl_cafile,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            properties=properties,
            spool_dir=spool_dir,
            spool_max_bytes=spool_max_bytes,
        )
        ends_with_the_interpreter(self, instead_of=self._producer)

    async def start(self) -> None:
        """Looks for a broker. Raises NoBrokersAvailable, and the producer is closed then."""
        if self._connect_timeout is not None:
            await self._call(partial(self._producer.connect, self._connect_timeout), publishes=False)

    async def stop(self, timeout: float = 10.0) -> None:
        """Waits for at most `timeout` seconds for the calls that are under way, then closes as
        `WorkflowEventProducer.close` does. What no thread has begun by then goes straight into the spool."""
        if self._stopping:
            return
        until = time.monotonic() + seconds(timeout)
        self._threads()  # First: the calls of the process that this one was forked from are not ours.
        under_way = list(self._under_way)  # A copy: the threads take out what ends meanwhile.
        if under_way:
            waiting = [asyncio.wrap_future(future) for future in under_way]
            await asyncio.wait(waiting, timeout=max(until - time.monotonic(), 0.0))
        self._stopping = True  # What no thread has begun by now is for the spool.
        try:
            # Not on the threads of the calls: each may be waiting for the broker.
            await asyncio.to_thread(self._end, until)
        except RuntimeError:  # The host is at its limit of threads.
            self._end(until)

    def _end(self, until: float) -> None:
        self._stopping = True
        threads = self._threads()  # First: the calls of the process that this one was forked from are not ours.
        calls = list(self._under_way.items())
        for begin in (begin for _, (begin, publishes) in calls if publishes):
            begin()
        self._producer.close(max(until - time.monotonic(), 0.0))
        # What only waits has nothing left to wait for.
        for _, (begin, _) in calls:
            begin()
        wait([future for future, (_, publishes) in calls if publishes], GRACE)
        wait([future for future, _ in calls], BRIEF)
        threads.end()

    @to_be_awaited
    def publish_event(
        self, event: wire.Event, topic: Optional[str] = None, timeout: Optional[float] = 10.0
    ) -> Coroutine[Any, Any, bool]:
        """As `WorkflowEventProducer.publish_event`."""
        frozen, left = wire.freeze(event), self._left(timeout)
        return self._call(lambda: self._producer.publish_event(frozen, topic, left()))

    @to_be_awaited
    def publish_event_outcome(
        self,
        event: wire.Event,
        topic: Optional[str] = None,
        timeout: Optional[float] = 10.0,
        traceparent: Optional[str] = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """As `WorkflowEventProducer.publish_event_outcome`."""
        frozen, left = wire.freeze(event), self._left(timeout)
        return self._call(lambda: self._producer.publish_event_outcome(frozen, topic, left(), traceparent=traceparent))

    @to_be_awaited
    def publish_many(
        self, events: Iterable[wire.Event], topic: Optional[str] = None, timeout: Optional[float] = 10.0
    ) -> Coroutine[Any, Any, PublishSummary]:
        """As `WorkflowEventProducer.publish_many`. All events are turned into bytes before it returns."""
        frozen, left = [wire.freeze(event) for event in events], self._left(timeout)
        return self._call(lambda: self._producer.publish_many(frozen, topic, left()))

    @to_be_awaited
    def enqueue_event(self, event: wire.Event, topic: Optional[str] = None) -> Coroutine[Any, Any, bool]:
        """As `WorkflowEventProducer.enqueue_event`."""
        return self._call(partial(self._producer.enqueue_event, wire.freeze(event), topic))

    async def flush(self, timeout: Optional[float] = None) -> None:
        """As `WorkflowEventProducer.flush`. Raises KafkaTimeoutError."""
        await self._call(partial(self._producer.flush, timeout), publishes=False)

    async def drain_spool(self, max_events: Optional[int] = None, timeout: Optional[float] = None) -> DrainSummary:
        """As `WorkflowEventProducer.drain_spool`. Raises KafkaError."""
        return await self._call(partial(self._producer.drain_spool, max_events, timeout), publishes=False)

    @property
    def closed(self) -> bool:
        """Whether it was stopped: then every event is refused."""
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

    def _call(self, work: Callable[[], _Result], publishes: bool = True) -> Call[_Result]:
        future: Future[_Result] = Future()
        future.set_running_or_notify_cancel()  # From here on nobody can cancel it.
        todo = [work]

        def begin() -> None:
            try:
                mine = todo.pop()  # Whoever comes first: a thread, or the one that stops.
            except IndexError:
                return
            try:
                future.set_result(mine())
            except BaseException as error:
                future.set_exception(error)

        if self._producer.closed:
            begin()  # It says so at once.
            return Call(future)
        threads = self._threads()
        self._under_way[future] = begin, publishes
        future.add_done_callback(self._forget)
        threads.submit(begin)
        return Call(future)

    def _forget(self, future: Future[Any]) -> None:
        self._under_way.pop(future, None)

    def _left(self, timeout: Optional[float]) -> Callable[[], Optional[float]]:
        """What is left of a time-out that begins now; nothing once it is stopping."""
        if timeout is None:
            return lambda: 0.0 if self._stopping else None
        until = time.monotonic() + seconds(timeout)
        # The time-out of 0 is straight into the spool, and one that has passed is too.
        return lambda: 0.0 if self._stopping else max(until - time.monotonic(), 0.0)

    def _threads(self) -> Threads:
        """This process's threads: a forked child has none of its parent's."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), Threads(THREADS)
            self._under_way = {}
        return self._pool[1]
