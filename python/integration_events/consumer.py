"""Consumes integration events: has handlers called for them, on the consumer of the bridge.

Owns the life of a consumer, and who may use it: the event loop and the process that started it. What follows a call is
decided by the native client: retries, dead letters, order, the ledger of what has been handled, commits.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import Any, Callable, Optional, Union

from workflow_events import _native
from workflow_events.checks import check_topic, seconds
from workflow_events.log import log, log_lost

from . import tracing
from .config import KafkaConfig, consumer_error
from .dispatch import Dispatcher
from .errors import KafkaError
from .handlers import Handled, Handler, registered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("integration_events")

#: Seconds that `start` waits for partitions.
ASSIGNED_WITHIN = 10.0
#: Seconds that a stop may take beyond its time-out: for the last commit, and for leaving the group.
STOP_GRACE = 5.0
#: The process that has started a consumer, which its forks know too: what a consumer runs on does not survive a fork.
_started_in: Optional[int] = None
_LONGEST_STOP = 86_400.0


def _forked(parent: int) -> RuntimeError:
    return RuntimeError(
        f"this is a fork of process {parent}, which has started a consumer: a consumer cannot be used after a fork, "
        "and no other one can be started. Fork first and consume then, or start processes by `spawn`"
    )


def _stopped() -> RuntimeError:
    return RuntimeError("the consumer was stopped while it started")


def _error(found: Optional[tuple[str, str]]) -> Optional[KafkaError]:
    return None if found is None else KafkaError(found[1], kind=found[0])


class _Life:
    """Of a consumer: the process and the event loop that it belongs to."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.get_running_loop()

    def check_caller(self) -> None:
        """Raises RuntimeError in another process and on another event loop."""
        if self.process != os.getpid():
            raise _forked(self.process)
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError(
                "this consumer was started on another event loop: use it there, or make one for this loop"
            )


class _Starting(_Life):
    """A call of `start`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stopped = False
        self.over = asyncio.Event()


class _Running(_Life):
    """A consumer between its start and its end."""

    def __init__(self, native: _native.Consumer, handlers: list[Handler], config: KafkaConfig, group: str) -> None:
        super().__init__()
        self.native = native
        self.dispatcher = Dispatcher(
            native,
            handlers,
            group=group,
            concurrency=config.handler_concurrency,
            timeout=config.handler_timeout,
            on_end=self._on_end,
        )
        #: When whoever waits for its end goes on without it, by the loop's clock; None: it is not being stopped.
        self.stop_by: Optional[float] = None

    @property
    def is_stopping(self) -> bool:
        return self.stop_by is not None

    def check_stop(self) -> None:
        """As `check_caller`, and in a handler."""
        self.check_caller()
        if self.dispatcher.is_handling():
            raise RuntimeError("stop() in a handler would wait for itself: have something else stop the consumer")

    def begin_stop(self, within: float) -> None:
        """Begins the stop. A later one may make its time shorter, and not longer."""
        stop_by = self.loop.time() + within + STOP_GRACE
        if self.stop_by is None or stop_by < self.stop_by:
            self.native.stop(within)
            self.stop_by = stop_by

    async def wait_stopped(self) -> None:
        """Returns when it has ended, or the stop has taken its time."""
        ended = self.dispatcher.ended
        while self.dispatcher.is_watching and not ended.is_set():
            # Another stop may have made it shorter meanwhile; who waits for that one ends this wait.
            left = (self.stop_by or 0.0) - self.loop.time()
            if left <= 0:
                log(
                    logging.WARNING, "the consumer is still leaving its group after the time of its stop", logger=logger
                )
                break
            try:
                await asyncio.wait_for(ended.wait(), left)
            except asyncio.TimeoutError:
                continue
        await self.dispatcher.end()

    def error(self) -> Optional[KafkaError]:
        """Why it ended by itself."""
        return _error(self.native.error())

    def _on_end(self) -> None:
        """Says in the log when the consumer ends by itself, whoever waits for that or not."""
        error = self.error()
        if error is not None and not self.is_stopping:
            text = (
                "THE CONSUMER HAS ENDED, and nothing is handled: %s (%s). What is not handled stays in Kafka. Put this "
                "right, and restart the service, or call stop() and start()"
            )
            log_lost(text, error, error.kind, logger=logger)


class KafkaIntegrationEventConsumer:
    """Has handlers called for the events of their types. Register them, then start it.

    config: `KafkaConfig()` when absent. It names the group: `consumer_group_id`, else `service_name`.

        consumer = KafkaIntegrationEventConsumer(config)
        consumer.register_handler(UserCreated, SendWelcome())
        async with consumer:
            await consumer.wait_closed()

    Raises KafkaConfigurationError without a group.
    """

    def __init__(self, config: Optional[KafkaConfig] = None) -> None:
        self.config = config if config is not None else KafkaConfig()
        # Not all of them, which have the password in plain text.
        self._group: str = self.config.consumer_parameters()["group_id"]
        self._handlers: dict[str, Handler] = {}
        self._starting: Optional[_Starting] = None
        self._running: Optional[_Running] = None
        # Why the last one that was stopped had ended before, if it had.
        self._was_stopped = False
        self._ended_by: Optional[tuple[str, str]] = None
        tracing.prepare()

    @property
    def is_started(self) -> bool:
        """Whether handlers are called: it is started, is not being stopped, and has not ended by itself."""
        running = self._running
        if running is None or running.is_stopping or running.process != os.getpid() or running.loop.is_closed():
            return False
        return not running.native.has_ended()

    def register_handler(self, event_type: Handled, handler: Any, *, name: Optional[str] = None) -> None:
        """Has `handler.handle(event)` called for each event of a type, before `start`.

        event_type: a class of IntegrationEvent, or a workflow `EventType`, whose handlers get a WorkflowEvent.
        name: what the handler is known by in the ledger, so it stays the same over versions of the program; the name of
            its class when absent.

        Raises ValueError for a name that is taken, and RuntimeError after `start`.
        """
        call = getattr(handler, "handle", None)
        if not callable(call):
            raise TypeError(f"handler: expected an object with a `handle` method, found {handler!r:.200}")
        if isinstance(handler, type):
            raise TypeError(f"handler: expected an object, found the class {handler.__name__}: make one of it")
        self._register(event_type, handler, call, name)

    def register_handler_function(
        self, event_type: Handled, function: Callable[[Any], Any], *, name: Optional[str] = None
    ) -> None:
        """Has `function(event)` called for each event of a type. As `register_handler`; the name is the function's."""
        self._register(event_type, function, function, name)

    def _register(self, event_type: Handled, called: Any, call: Any, name: Optional[str]) -> None:
        if self._running is not None or self._starting is not None:
            raise RuntimeError("the consumer is started: register handlers before, or stop it first")
        handler = registered(event_type, called, call, name, self._handlers)
        self._handlers[handler.name] = handler

    async def start(self, topics: Union[str, Iterable[str], None] = None) -> None:
        """Joins the group, and returns once partitions are assigned, or after 10 s with a warning; it goes on trying
        then. Does nothing when it is started. A topic that is absent is waited for.

        topics: what to read; one name is as a list of it. When absent, the topics of the registered types.

        Raises RuntimeError without a handler and when it is stopped meanwhile, ValueError for topics,
        KafkaConfigurationError for settings, and KafkaError when it cannot begin: its folder is in use or damaged.
        """
        if self._starting is not None:
            raise RuntimeError("the consumer is being started: await the first call of start()")
        if self._running is not None:
            self._running.check_caller()
            if self.is_started:
                return
        starting = self._starting = _Starting()
        try:
            if self._running is not None:
                # It has ended by itself, or is being stopped: then it has the time that the stop gave it.
                await self._stop(self._running)
            if not self._handlers:
                raise RuntimeError("no handler is registered: call register_handler or register_handler_function first")
            await self._start(self._topics(topics), starting)
        finally:
            self._starting = None
            starting.over.set()

    async def _start(self, topics: list[str], starting: _Starting) -> None:
        global _started_in
        if starting.is_stopped:
            raise _stopped()
        if _started_in not in (None, os.getpid()):
            raise _forked(_started_in or 0)
        handlers = list(self._handlers.values())
        options = self.config.handler_options()
        listed = [(handler.name, handler.event_type, options) for handler in handlers]
        try:
            native = _native.Consumer(listed, topics=topics, **self.config.consumer_parameters())
        except _native.SettingsError as error:
            raise consumer_error(error.args[0]) from None
        _started_in = os.getpid()
        try:
            # It makes a folder, which a slow disk takes time for.
            descriptor = await asyncio.to_thread(native.start)
        except _native.NativeError as error:
            raise KafkaError(error.args[1], kind=error.args[0]) from None
        except BaseException:
            native.stop(0)
            raise
        running = self._running = _Running(native, handlers, self.config, self._group)
        try:
            running.dispatcher.watch(descriptor)
            if starting.is_stopped:
                raise _stopped()
            await asyncio.wait_for(running.dispatcher.changed.wait(), ASSIGNED_WITHIN)
        except asyncio.TimeoutError:
            text = "no partition of %s is assigned after %g s: is a broker of %s there? The consumer goes on trying"
            about = (", ".join(topics), ASSIGNED_WITHIN, self.config.bootstrap_servers)
            log(logging.WARNING, text, *about, logger=logger)
        except BaseException:
            await self._stop(running)
            raise
        if running.is_stopping:
            raise _stopped()
        ended_by = running.error()
        if ended_by is not None:
            await self._stop(running)
            raise ended_by

    async def wait_closed(self) -> None:
        """Returns when it has been stopped. Raises KafkaError when it ended by itself, and RuntimeError before `start`.

        A service whose work is to consume awaits this, so that it ends with its consumer, and is restarted.
        """
        running = self._running
        if running is None and self._was_stopped and self._starting is None:
            error = _error(self._ended_by)
        elif running is None:
            raise RuntimeError("the consumer is not started: await start() first")
        else:
            running.check_caller()
            await running.dispatcher.ended.wait()
            error = running.error()
        if error is not None:
            raise error

    async def stop(self, timeout: float = 8.0) -> None:
        """Takes no more events, waits for the calls under way for at most three quarters of `timeout` seconds, cancels
        the others, commits, and leaves the group. The events of cancelled calls come again.

        A second call waits for the same end; it may make the time shorter, and not longer. It also goes on with one
        that was cancelled. A `start` that is under way raises RuntimeError then. `start` begins anew.
        """
        within = min(seconds(timeout), _LONGEST_STOP)
        starting, running = self._starting, self._running
        if running is not None:
            running.check_stop()
        if starting is not None:
            starting.check_caller()
            starting.is_stopped = True
        if running is not None:
            await self._stop(running, within)
        if starting is not None:
            try:
                await asyncio.wait_for(starting.over.wait(), within + STOP_GRACE)
            except asyncio.TimeoutError:
                text = "the consumer has not ended its start within %g s, and is stopped then"
                log(logging.WARNING, text, within + STOP_GRACE, logger=logger)

    async def _stop(self, running: _Running, within: Optional[float] = None) -> None:
        """within: when absent, it ends at once, or within the time that a stop has given it."""
        running.check_stop()
        if within is not None or not running.is_stopping:
            running.begin_stop(within or 0.0)
        await running.wait_stopped()
        if self._running is running:
            self._running = None
            self._was_stopped, self._ended_by = True, running.native.error()

    def _topics(self, given: Union[str, Iterable[str], None]) -> list[str]:
        if given is None:
            return sorted({handler.topic() for handler in self._handlers.values()})
        listed = [given] if isinstance(given, str) else list(given)
        if not listed:
            raise ValueError(
                "topics: expected at least one; without the argument they are those of the registered types"
            )
        for topic in listed:
            if check_topic(topic) is None:
                raise ValueError("topics: expected the name of a topic, found None")
        return list(dict.fromkeys(listed))

    async def __aenter__(self) -> KafkaIntegrationEventConsumer:
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
        state = "started" if self.is_started else "not started"
        return f"KafkaIntegrationEventConsumer(group={self._group!r}, {state})"
