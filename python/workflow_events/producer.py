"""The producer: an event into Kafka, from a process that must not be held up or broken by it.

Owns what the caller is told, and the log of it (the logger `workflow_events`). Its invariants: no `publish_*` and no
`enqueue_event` raises because an event could not be published, whatever the event is; each event that is not in Kafka
is in the log, with what became of it; and what is still open when the interpreter ends is closed. It keeps no lock and
no thread of its own, so that a forked child can go on with its parent's producer. What happens to the bytes is Rust's.
"""

from __future__ import annotations

import atexit
import time
import weakref
from functools import partial

from . import _native, wire
from ._native import Outcome
from .checks import check_topic, check_traceparent, seconds
from .errors import KafkaConfigurationError, KafkaError, KafkaTimeoutError, NoBrokersAvailable
from .interrupts import interrupts
from .log import ERROR, INFO, prepare, report, say
from .settings import Resolver
from .summary import DrainSummary, PublishSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Literal, NoReturn, Optional, Union

    from .settings import Path

    Servers = Union[str, list[str], tuple[str, ...]]

#: Events that `publish_many` hands over together.
AT_ONCE = 200
#: Seconds that everything that is still open has together when the interpreter ends, and one producer alone that nobody
#: holds any more; what is not acknowledged by then goes to the spool.
EXIT_TIMEOUT = 5.0
#: Exceptions out of signals' handlers that an outcome waits for at most, before it is told.
PATIENT = 10

#: A copy would share the connection, and close it for the other.
NOT_COPIED = "a producer cannot be copied or pickled: share it among threads, and make one in each process"

# Those that are not closed. A set of weak references needs no lock of ours, which a fork could leave locked.
_open: weakref.WeakSet[Any] = weakref.WeakSet()


class WorkflowEventProducer:
    """Publishes workflow events to Kafka. Threads may share one; make one, and use it again.

    Every parameter that is None takes its variable of the environment, then its default (docs/python.md has the table).

    bootstrap_servers: `host:port`, comma-separated or as a list.
    acks: who has to have an event before it counts: "all" in-sync replicas, the leader ("1"), or nobody ("0").
    retries: how often a request that failed for a passing reason is sent again.
    max_in_flight_requests_per_connection: requests under way at once.
    request_timeout_ms: how long the broker has for one request.
    delivery_timeout_ms: how long the client goes on trying with one event in the background.
    connect_timeout: how many seconds the constructor looks for a broker; None: it does not look.
    topic: where an event goes that names no topic.
    client_id: how the producer introduces itself to the brokers.
    compression_type: "gzip", "snappy", "lz4", "zstd" or "none".
    linger_ms, batch_size: how long an event waits for company in its batch, and the largest batch in bytes.
    security_protocol, sasl_mechanism, sasl_username, sasl_password, ssl_cafile, ssl_certfile, ssl_keyfile: as Kafka has
        them; the files are PEM.
    properties: librdkafka's properties that have no parameter of their own.
    spool_dir: the folder for what Kafka does not take in time; False: no spool.
    spool_max_bytes: what the spool may take on the disk.

    Raises KafkaConfigurationError, which names each mistake, and NoBrokersAvailable, a KafkaError, when no broker
    answers within `connect_timeout`.
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
        self._closed = True  # Until it is open, so that `__del__` is safe.
        prepare()
        resolver = Resolver()
        settings, mistakes = resolver.resolve(
            {
                "bootstrap_servers": bootstrap_servers,
                "acks": acks,
                "retries": retries,
                "max_in_flight_requests_per_connection": max_in_flight_requests_per_connection,
                "request_timeout_ms": request_timeout_ms,
                "delivery_timeout_ms": delivery_timeout_ms,
                "topic": topic,
                "client_id": client_id,
                "compression_type": compression_type,
                "linger_ms": linger_ms,
                "batch_size": batch_size,
                "security_protocol": security_protocol,
                "sasl_mechanism": sasl_mechanism,
                "sasl_username": sasl_username,
                "sasl_password": sasl_password,
                "ssl_cafile": ssl_cafile,
                "ssl_certfile": ssl_certfile,
                "ssl_keyfile": ssl_keyfile,
                "properties": properties,
                "spool_dir": spool_dir,
                "spool_max_bytes": spool_max_bytes,
            }
        )
        within = resolver.connect_timeout(connect_timeout, mistakes)
        try:
            native = _native.Publisher(**settings)
        except _native.SettingsError as error:
            named = {setting for setting, _ in mistakes}
            mistakes += [(setting, problem) for setting, problem in error.args[0] if setting not in named]
        if mistakes:
            raise resolver.error(mistakes) from None
        self._native = native
        self.spool_dir: Optional[str] = settings.get("spool_dir")
        """Where events wait that Kafka did not take in time; None: nowhere."""
        self._patience = settings["delivery_timeout_ms"] / 1000 + 5
        self._closed = False
        _open.add(self)
        if within is not None:
            self.connect(within)

    def connect(self, timeout: float = 2.0) -> None:
        """Looks for a broker for at most `timeout` seconds. Raises NoBrokersAvailable, and closes the producer then."""
        try:
            self._native.connect(seconds(timeout))
        except _native.SettingsError as error:
            self.close(timeout=0)
            problems = "; ".join(problem for _, problem in error.args[0])
            raise KafkaConfigurationError(f"the producer's settings are wrong: {problems}", kind="settings") from None
        except _native.NativeError as error:
            kind, message = error.args
            self.close(timeout=0)
            raise (NoBrokersAvailable if kind == "no_broker" else KafkaError)(message, kind=kind) from None
        say(INFO, "connected to Kafka at %s", self._native.bootstrap_servers)

    def publish_event(self, event: wire.Event, topic: Optional[str] = None, timeout: Optional[float] = 10.0) -> bool:
        """Publishes an event, and waits for the broker's acknowledgement for at most `timeout` seconds.

        event: a WorkflowEvent, or a dict of the wire format. timeout: 0 is straight into the spool; None is as long as
        `delivery_timeout_ms` allows. True: the broker acknowledged it. False: it did not, and the log says where the
        event is: in the spool, from where it is published later, or lost. Nothing is raised for it.
        """
        return self.publish_event_outcome(event, topic, timeout).published

    def publish_event_outcome(
        self,
        event: wire.Event,
        topic: Optional[str] = None,
        timeout: Optional[float] = 10.0,
        traceparent: Optional[str] = None,
    ) -> Outcome:
        """As `publish_event`, but says what became of the event. traceparent: the W3C trace context."""
        deadline = self._deadline(timeout)
        told: list[Outcome] = []
        event_id, encoded = "", b""
        try:
            event_id, encoded = wire.encode(event)
            self._native.publish(encoded, told, check_topic(topic), deadline, check_traceparent(traceparent))
        except wire.InvalidEvent as error:
            told.append(_invalid(event, error))
        finally:
            # Also when a signal's handler raises: what was handed over has its outcome by then.
            settled = self._settle(lambda: [_complete(outcome, event_id, encoded) for outcome in told])
        return settled[0]

    def publish_many(
        self, events: Iterable[wire.Event], topic: Optional[str] = None, timeout: Optional[float] = 10.0
    ) -> PublishSummary:
        """Publishes many events within one time-out, in their order, and waits for all of the acknowledgements."""
        deadline = self._deadline(timeout)
        outcomes: list[Optional[Outcome]] = []
        ids: list[str] = []
        encoded: list[bytes] = []
        told: list[Outcome] = []
        many = None

        def settle() -> list[Outcome]:
            known = [*told, *map(_untold, ids[len(told) :], encoded[len(told) :])]
            left = iter(list(map(_complete, known, ids, encoded)))
            settled = [outcome for outcome in (outcome or next(left, None) for outcome in outcomes) if outcome]
            return [*settled, *left]

        try:
            for event in events:
                try:
                    # Before a topic that is none gets as far as the client.
                    many = many or self._native.many(check_topic(topic), deadline)
                    event_id, value = wire.encode(event)
                except wire.InvalidEvent as error:
                    outcomes.append(_invalid(event, error))
                    continue
                ids.append(event_id)
                encoded.append(value)
                outcomes.append(None)
                # The first events are on their way while the others are encoded.
                if len(encoded) % AT_ONCE == 0:
                    many.add(encoded[many.handed :])
        finally:
            # Also when the iterable raises, or a signal's handler: what was handed over has its outcome.
            try:
                if many is not None:
                    try:
                        many.add(encoded[many.handed :])
                    finally:
                        many.finish(told)
            finally:
                settled = self._settle(settle)
        return PublishSummary(settled)

    def enqueue_event(self, event: wire.Event, topic: Optional[str] = None) -> bool:
        """Hands an event over and does not wait. True: taken; `flush` waits for the acknowledgement.

        What fails later goes to the spool and into the log. A process that is killed before `flush` or `close` has
        returned loses it: use `publish_event` where that matters.
        """
        told: list[Outcome] = []
        event_id, encoded = "", b""
        try:
            event_id, encoded = wire.encode(event)
            self._native.enqueue(encoded, told, check_topic(topic))
        except wire.InvalidEvent as error:
            told.append(_invalid(event, error))
        finally:
            settled = self._settle(lambda: [_complete(outcome, event_id, encoded) for outcome in told])
        return not settled

    def flush(self, timeout: Optional[float] = None) -> None:
        """Waits until everything that was handed over has its answer; None: for as long as that takes.

        Raises KafkaTimeoutError after `timeout` seconds; what is pending stays pending.
        """
        within = None if timeout is None else seconds(timeout)
        try:
            pending, reason = self._native.flush(within)
        finally:
            self._tell(self._native.take_failures)
        if pending:
            plural = "event is" if pending == 1 else "events are"
            raise KafkaTimeoutError(
                f"{pending} {plural} not acknowledged after {timeout} s, and still under way: {reason}", kind="flush"
            )

    def drain_spool(self, max_events: Optional[int] = None, timeout: Optional[float] = None) -> DrainSummary:
        """Publishes what waits in the spool for these brokers, the oldest first, whoever put it there.

        max_events, timeout: how much and for how many seconds; None: everything that is there. Raises KafkaError when
        the spool cannot be read; what cannot be published stays, and the summary says why.
        """
        within = None if timeout is None else seconds(timeout)
        if max_events is not None and not (isinstance(max_events, int) and 0 <= max_events < 2**63):
            raise ValueError(f"max_events: expected a whole number from 0, or None, found {max_events!r}")
        if self._closed:
            raise KafkaError("the producer is closed: make a new one to drain the spool", kind="closed")
        try:
            return DrainSummary(**self._native.drain(max_events, within))
        except _native.NativeError as error:
            kind, message = error.args
            raise KafkaError(message, kind=kind) from None

    def close(self, timeout: float = 10.0) -> None:
        """Flushes for at most `timeout` seconds, spools what is not acknowledged by then, and ends the connection.

        Closing twice is nothing. In a forked child it closes what the child has used, and nothing of its parent's.
        """
        if self._closed:
            return
        within = seconds(timeout)
        self._closed = True
        _open.discard(self)
        try:
            self._native.flush(within)  # Here, because Ctrl-C ends this wait and not the other.
        finally:
            self._tell(partial(self._native.close, 0))

    @property
    def closed(self) -> bool:
        """Whether it was closed: then every event is refused."""
        return self._closed

    def __enter__(self) -> WorkflowEventProducer:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close(timeout=EXIT_TIMEOUT)

    def __repr__(self) -> str:
        native = getattr(self, "_native", None)
        if native is None:
            return "WorkflowEventProducer(not made)"
        state = ", closed" if self._closed else ""
        return f"WorkflowEventProducer(bootstrap_servers={native.bootstrap_servers!r}, topic={native.topic!r}{state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_COPIED)

    def _end(self, until: float) -> None:
        self.close(timeout=until - time.monotonic())

    def _deadline(self, timeout: Optional[float]) -> float:
        return self._patience if timeout is None else seconds(timeout)

    def _settle(self, collect: Callable[[], list[Outcome]]) -> list[Outcome]:
        """Logs the outcomes of a call, and those of enqueued events since the last one.

        What a signal's handler raises meanwhile passes when all is told.
        """
        raised: list[BaseException] = []
        outcomes: Optional[list[Outcome]] = None
        while outcomes is None:
            try:
                outcomes = collect()
            except BaseException as error:
                raised.append(error)
                if len(raised) > PATIENT:
                    raise
        for tell in (partial(report, outcomes), partial(self._tell, self._native.take_failures)):
            try:
                tell()
            except BaseException as error:
                raised.append(error)
        if raised:
            raise raised[0]
        return outcomes

    def _tell(self, call: Callable[[list[Outcome]], None]) -> None:
        """Logs what a call tells, also when a signal comes at its end."""
        told: list[Outcome] = []
        try:
            call(told)
        finally:
            report(told)


def _invalid(event: object, error: wire.InvalidEvent) -> Outcome:
    event_id = ""
    try:
        found = event.get("event_id") if isinstance(event, dict) else getattr(event, "event_id", None)
        if isinstance(found, str):
            event_id = str.encode(found, "utf-8", "replace").decode()
    except Exception as raised:  # Whatever the event's own methods raise.
        if interrupts(raised):
            raise
    message = f"event {event_id or 'without an id'} cannot be published: {error}"
    return Outcome("failed", "invalid", event_id, message.encode("utf-8", "replace").decode())


def _untold(event_id: str, encoded: bytes) -> Outcome:
    """The outcome of an event for a process that was forked while its parent published it among others."""
    message = (
        f"event {event_id} has no outcome in this process, which was forked during publish_many (its parent publishes "
        "what it had made by then), or whose client failed"
    )
    return Outcome("failed", "closed", event_id, message, event=encoded.decode())


def _complete(outcome: Outcome, event_id: str, encoded: bytes) -> Outcome:
    """The outcome; one of an event that is in neither place says which event, and what was in it."""
    # Without bytes it was none from the beginning, and its outcome says so already. What has a path is there, whole.
    if outcome.status != "failed" or outcome.path is not None or not encoded:
        return outcome
    message = outcome.message
    if event_id not in message:
        message = f"event {event_id} cannot be published: {message}"
    return Outcome("failed", outcome.kind, event_id, message, event=encoded.decode())


def ends_with_the_interpreter(owner: Any, instead_of: WorkflowEventProducer) -> None:
    """Whoever carries out calls of a producer of its own ends them first: it has an `_end`, as a producer has."""
    _open.discard(instead_of)
    _open.add(owner)


def _close_open() -> None:
    """What is still open when the interpreter ends: it has the time-out together."""
    until = time.monotonic() + EXIT_TIMEOUT
    for producer in list(_open):
        try:
            producer._end(until)
        except Exception:
            say(ERROR, "a producer could not be closed at exit", exc_info=True)


atexit.register(_close_open)
