"""The producer: publishes events to Kafka from a process that must not be blocked or broken by it.

Owns the results of its calls and their log (the logger `workflow_events`). Its invariants: no `publish_*` and no
`enqueue_event` raises because an event could not be published, whatever the event is; each event that is not in Kafka
is logged with its outcome; and a producer that is open when the interpreter ends is closed. It has no lock and no
thread of its own, so that a forked child can use its parent's producer. Sending and spooling are done in Rust.
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
from .log import ERROR, INFO, get_logger, log, log_outcomes
from .outcomes import complete_outcome, invalid_outcome, refused_outcome, unknown_outcome
from .parameters import ConfigurableProducer
from .settings import Resolver
from .summary import DrainSummary, PublishSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any, NoReturn, Optional

#: Events that `publish_many` passes to the native client at once.
CHUNK = 200
#: Seconds that all open producers share when the interpreter ends, and that one has when it is garbage-collected. What
#: is not acknowledged by then is spooled.
EXIT_TIMEOUT = 5.0
#: Exceptions from signals' handlers that are deferred until the outcomes of a call are logged.
MAX_INTERRUPTS = 10

#: A copy would share the connection, and close it for the other.
NOT_COPIED = "a producer cannot be copied or pickled: share it among threads, and make one in each process"

# The open producers. A set of weak references needs no lock, which a fork could leave locked.
_open: weakref.WeakSet[Any] = weakref.WeakSet()


class WorkflowEventProducer(ConfigurableProducer):
    """Publishes workflow events to Kafka. Make one and reuse it; threads may share it.

    Every parameter that is None takes its variable of the environment, then its default (docs/python.md has the table).

    bootstrap_servers: `host:port`, comma-separated or as a list.
    acks: which replicas must acknowledge an event: "all" in sync, the leader ("1"), or none ("0").
    retries: how often a request that failed for a transient reason is sent again.
    max_in_flight_requests_per_connection: requests in flight on one connection.
    request_timeout_ms: how long the broker has for one request.
    delivery_timeout_ms: how long the client retries one event in the background.
    connect_timeout: how many seconds the constructor looks for a broker; None: it does not look.
    topic: where an event goes that names no topic.
    client_id: the client id that the brokers see.
    compression_type: "gzip", "snappy", "lz4", "zstd" or "none".
    linger_ms, batch_size: how long an event waits for others to share its batch, and the largest batch in bytes.
    security_protocol, sasl_mechanism, sasl_username, sasl_password, ssl_cafile, ssl_certfile, ssl_keyfile: as Kafka has
        them; the files are PEM.
    properties: librdkafka's properties that have no parameter of their own.
    spool_dir: the folder for what Kafka does not take in time; False: no spool.
    spool_max_bytes: what the spool may take on the disk.

    Raises KafkaConfigurationError, which names each mistake, and NoBrokersAvailable, a KafkaError, when no broker
    answers within `connect_timeout`.
    """

    def _configure(self, *, connect_timeout: Optional[float], **parameters: Any) -> None:
        self._closed = True  # Until it is open, so that `__del__` is safe.
        get_logger()
        resolver = Resolver()
        settings, mistakes = resolver.resolve(parameters)
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
        self._longest_delivery = settings["delivery_timeout_ms"] / 1000 + 5
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
        log(INFO, "connected to Kafka at %s", self._native.bootstrap_servers)

    def publish_event(self, event: wire.Event, topic: Optional[str] = None, timeout: Optional[float] = 10.0) -> bool:
        """Publishes an event, and waits for the broker's acknowledgement for at most `timeout` seconds.

        event: a WorkflowEvent, or a dict of the wire format. timeout: 0 is straight into the spool; None is as long as
        `delivery_timeout_ms` allows. True: the broker acknowledged it. False: it did not, and the log says whether
        the event is in the spool, from where it is published later, or lost. Nothing is raised for it.
        """
        return self.publish_event_outcome(event, topic, timeout).published

    def publish_event_outcome(
        self,
        event: wire.Event,
        topic: Optional[str] = None,
        timeout: Optional[float] = 10.0,
        traceparent: Optional[str] = None,
    ) -> Outcome:
        """As `publish_event`, but returns the event's outcome. traceparent: the W3C trace context."""
        return self._publish(event, topic, timeout, traceparent)

    # `accepted`, here and below: the caller took the event on while the producer was open. If it is closed by now, the
    # event is spooled and not refused.
    def _publish(
        self,
        event: wire.Event,
        topic: Optional[str],
        timeout: Optional[float],
        traceparent: Optional[str] = None,
        accepted: bool = False,
    ) -> Outcome:
        deadline = self._deadline(timeout)
        received: list[Outcome] = []
        event_id, encoded = "", b""
        try:
            event_id, encoded = wire.encode(event)
            self._native.publish(
                encoded, received, check_topic(topic), deadline, check_traceparent(traceparent), accepted
            )
        except wire.InvalidEvent as error:
            received.append(invalid_outcome(event, error))
        finally:
            # Also when a signal's handler raises: the event has its outcome by then.
            settled = self._report(lambda: [complete_outcome(outcome, event_id, encoded) for outcome in received])
        return settled[0]

    def publish_many(
        self, events: Iterable[wire.Event], topic: Optional[str] = None, timeout: Optional[float] = 10.0
    ) -> PublishSummary:
        """Publishes many events within one time-out, in their order, and waits for all of the acknowledgements."""
        return self._publish_many(events, topic, timeout)

    def _publish_many(
        self, events: Iterable[wire.Event], topic: Optional[str], timeout: Optional[float], accepted: bool = False
    ) -> PublishSummary:
        deadline = self._deadline(timeout)
        ordered: list[Optional[Outcome]] = []  # None: the next outcome of the native client.
        ids: list[str] = []
        encoded: list[bytes] = []
        received: list[Outcome] = []
        batch = None

        def collect() -> list[Outcome]:
            known = [*received, *map(unknown_outcome, ids[len(received) :], encoded[len(received) :])]
            left = iter(list(map(complete_outcome, known, ids, encoded)))
            settled = [outcome for outcome in (outcome or next(left, None) for outcome in ordered) if outcome]
            return [*settled, *left]

        try:
            for event in events:
                try:
                    # An invalid topic makes every event invalid.
                    batch = batch or self._native.begin_batch(check_topic(topic), deadline, accepted)
                    event_id, value = wire.encode(event)
                except wire.InvalidEvent as error:
                    ordered.append(invalid_outcome(event, error))
                    continue
                ids.append(event_id)
                encoded.append(value)
                ordered.append(None)
                # The first events are sent while the others are encoded.
                if len(encoded) % CHUNK == 0:
                    batch.add(encoded[batch.added :])
        finally:
            # Also when the iterable or a signal's handler raises: every event that was added has an outcome.
            try:
                if batch is not None:
                    try:
                        batch.add(encoded[batch.added :])
                    finally:
                        batch.finish(received)
            finally:
                settled = self._report(collect)
        return PublishSummary(settled)

    def _publish_records(
        self, records: Sequence[wire.Record], timeout: Optional[float], accepted: bool = False
    ) -> list[Outcome]:
        """Publishes events of another kind, which are encoded, within one time-out, and waits for all of the
        acknowledgements. The outcomes are in the order of the records."""
        deadline = self._deadline(timeout)
        received: list[Outcome] = []
        refusal: list[BaseException] = []  # What kept the client from taking any of them.

        def collect() -> list[Outcome]:
            left = (
                refused_outcome(record[1], record[4], refusal[0]) if refusal else unknown_outcome(record[1], record[4])
                for record in records[len(received) :]
            )
            known = zip([*received, *left], records)
            return [complete_outcome(outcome, record[1], record[4]) for outcome, record in known]

        try:
            self._native.publish_records(records, received, deadline, accepted)
        except (TypeError, ValueError) as error:
            # From the conversion of the arguments. A signal's handler is called later.
            if not interrupts(error):
                refusal.append(error)
            raise
        finally:
            settled = self._report(collect)
        return settled

    def enqueue_event(self, event: wire.Event, topic: Optional[str] = None) -> bool:
        """Enqueues an event and does not wait. True: enqueued; `flush` waits for the acknowledgement.

        An event that fails later is spooled and logged. A process that is killed before `flush` or `close` has
        returned loses it: use `publish_event` where that matters.
        """
        return self._enqueue(event, topic)

    def _enqueue(self, event: wire.Event, topic: Optional[str], accepted: bool = False) -> bool:
        received: list[Outcome] = []
        event_id, encoded = "", b""
        try:
            event_id, encoded = wire.encode(event)
            self._native.enqueue(encoded, received, check_topic(topic), None, accepted)
        except wire.InvalidEvent as error:
            received.append(invalid_outcome(event, error))
        finally:
            settled = self._report(lambda: [complete_outcome(outcome, event_id, encoded) for outcome in received])
        return not settled

    def flush(self, timeout: Optional[float] = None) -> None:
        """Waits until every event has its outcome; None: for as long as that takes.

        Raises KafkaTimeoutError after `timeout` seconds; what is pending stays pending.
        """
        within = None if timeout is None else seconds(timeout)
        try:
            pending, reason = self._native.flush(within)
        finally:
            self._log_from(self._native.take_failures)
        if pending:
            plural = "event is" if pending == 1 else "events are"
            raise KafkaTimeoutError(
                f"{pending} {plural} not acknowledged after {timeout} s, and still pending: {reason}", kind="flush"
            )

    def drain_spool(self, max_events: Optional[int] = None, timeout: Optional[float] = None) -> DrainSummary:
        """Publishes the spool's events for these brokers, the oldest first, whichever process spooled them.

        max_events, timeout: how many, and for how many seconds; None: no limit. Raises KafkaError when
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

        A second call does nothing. In a forked child it closes the child's connection and leaves its parent's alone.
        """
        if self._closed:
            return
        within = seconds(timeout)
        self._closed = True
        _open.discard(self)
        try:
            self._native.flush(within)  # Not in `close`, whose wait Ctrl-C does not end.
        finally:
            self._log_from(partial(self._native.close, 0))

    @property
    def closed(self) -> bool:
        """Whether it is closed: then every event is refused."""
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
        return self._longest_delivery if timeout is None else seconds(timeout)

    def _report(self, collect: Callable[[], list[Outcome]]) -> list[Outcome]:
        """Logs the outcomes of a call, and those of enqueued events since the last one.

        Exceptions from signals' handlers are raised after that.
        """
        raised: list[BaseException] = []
        outcomes: Optional[list[Outcome]] = None
        while outcomes is None:
            try:
                outcomes = collect()
            except BaseException as error:
                raised.append(error)
                if len(raised) > MAX_INTERRUPTS:
                    raise
        for step in (partial(log_outcomes, outcomes), partial(self._log_from, self._native.take_failures)):
            try:
                step()
            except BaseException as error:
                raised.append(error)
        if raised:
            raise raised[0]
        return outcomes

    def _log_from(self, call: Callable[[list[Outcome]], None]) -> None:
        """Logs the outcomes that a call appends to its list, also when a signal interrupts it."""
        received: list[Outcome] = []
        try:
            call(received)
        finally:
            log_outcomes(received)


def close_at_exit(owner: Any, instead_of: WorkflowEventProducer) -> None:
    """Closes the owner of a producer at exit instead of that producer. The owner has an `_end`, as a producer has."""
    _open.discard(instead_of)
    _open.add(owner)


def _close_open() -> None:
    """Closes the producers that are open when the interpreter ends. They share one time-out."""
    until = time.monotonic() + EXIT_TIMEOUT
    for producer in list(_open):
        try:
            producer._end(until)
        except Exception:
            log(ERROR, "a producer could not be closed at exit", exc_info=True)


atexit.register(_close_open)
