"""Publishes integration events, on the client of `workflow_events`.

Owns the record of an event (topic, key, headers, value), and what its outcome means to the caller. Its invariants: no
call blocks the event loop, whatever the broker does; when `publish` returns, Kafka has the event or the spool has it;
and an event that cannot be encoded keeps no other from being published. An event that has been handed over is published
or spooled also when its caller is cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Optional, Union
from uuid import UUID

from pydantic import BaseModel
from workflow_events import AsyncWorkflowEventProducer, NoBrokersAvailable, Outcome, PublishSummary
from workflow_events.checks import check_topic
from workflow_events.interrupts import interrupts
from workflow_events.text import sound, text_of
from workflow_events.wire import InvalidEvent, encode_json

from . import tracing
from .config import KafkaConfig
from .current import inherited
from .errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from .events import IntegrationEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Record(NamedTuple):
    """An encoded event, as the client takes it."""

    topic: str
    event_id: str
    key: Optional[str]
    headers: list[tuple[str, str]]
    value: bytes


class KafkaIntegrationEventPublisher:
    """Publishes integration events. Make one for each process, and start it.

    config: `KafkaConfig()` when absent.
    """

    def __init__(self, config: Optional[KafkaConfig] = None) -> None:
        self.config = config if config is not None else KafkaConfig()
        self._producer: Optional[AsyncWorkflowEventProducer] = None
        self._is_starting = False
        # Until a stop has returned: one that is cancelled can be repeated.
        self._stopping: list[AsyncWorkflowEventProducer] = []
        tracing.prepare()

    @property
    def is_started(self) -> bool:
        """Whether it takes events."""
        return self._producer is not None and not self._producer.closed

    async def start(self) -> None:
        """Looks for a broker for at most `connect_timeout` seconds; does nothing when it is started.

        Raises KafkaConnectionError when none answers. With `connect_timeout=None` it does not look, and events wait in
        the spool while no broker can be reached.
        """
        if self._is_starting:
            raise RuntimeError("the publisher is being started: await the first call of start()")
        if self.is_started:
            return
        self._is_starting = True
        try:
            producer = AsyncWorkflowEventProducer(**self.config.producer_parameters())
            try:
                await producer.start()
            except BaseException as error:
                await producer.stop(timeout=0)
                if isinstance(error, NoBrokersAvailable):
                    raise KafkaConnectionError(str(error), kind=error.kind) from None
                raise
            self._producer = producer
        finally:
            self._is_starting = False

    async def stop(self, timeout: float = 10.0) -> None:
        """Waits for at most `timeout` seconds for what is being published, spools the rest, and ends the connection.

        A second call does nothing, unless the first was cancelled: then it goes on with that. `start` begins anew.
        """
        if self._producer is not None:
            self._stopping.append(self._producer)
            self._producer = None
        for producer in list(self._stopping):
            await producer.stop(timeout)
            if producer in self._stopping:
                self._stopping.remove(producer)

    async def publish(self, event: IntegrationEvent) -> Outcome:
        """Publishes an event, and waits for the broker's acknowledgement for at most `publish_timeout` seconds.

        Returns its outcome: `published`, or `spooled`, which is a success with a warning in the log: the event reaches
        Kafka later. Raises KafkaError when it is in neither (MessageSizeTooLargeError when its topic will never take
        it), ValueError when it cannot be encoded, and RuntimeError when the publisher is not started.
        """
        (outcome,) = await self._publish([event])
        if not _is_kept(outcome):
            raise _error(outcome)
        return outcome

    async def publish_many(self, events: Union[IntegrationEvent, Iterable[IntegrationEvent]]) -> PublishSummary:
        """Publishes many events within one `publish_timeout`, in their order, and waits for all acknowledgements.

        events: one event is as a list of it.

        Raises as `publish` does when one of them is in neither place, after all of them were tried: the error's
        `summary` has all the outcomes.
        """
        # A model could be iterated: over its fields.
        listed: list[Any] = [events] if isinstance(events, BaseModel) else list(events)
        summary = PublishSummary(await self._publish(listed))
        failed = next((outcome for outcome in summary.outcomes if not _is_kept(outcome)), None)
        if failed is not None:
            error = _error(failed, summary)
            error.summary = summary  # type: ignore[attr-defined]
            raise error
        return summary

    async def _publish(self, events: list[IntegrationEvent]) -> list[Outcome]:
        if self._producer is None or self._producer.closed:
            raise RuntimeError("the publisher is not started: await start() first, or use `async with`")
        # For each event its record, or the outcome of one that cannot be encoded.
        encoded = [_encoded(event, self.config.service_name) for event in events]
        records = [record for record in encoded if isinstance(record, Record)]
        spans = [tracing.SendSpan(record.topic, record.event_id, record.key) for record in records]
        for record, span in zip(records, spans):
            record.headers.extend(span.headers())
        sent: list[Outcome] = []
        try:
            if records:
                sent = await self._producer._publish_records(records, self.config.publish_timeout)
        finally:
            for index, span in enumerate(spans):
                span.end(sent[index] if index < len(sent) else None)
        answers = iter(sent)
        return [next(answers) if isinstance(event, Record) else event for event in encoded]

    async def __aenter__(self) -> KafkaIntegrationEventPublisher:
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
        return f"KafkaIntegrationEventPublisher(bootstrap_servers={self.config.bootstrap_servers!r}, {state})"


def _encoded(event: IntegrationEvent, service: Optional[str]) -> Union[Record, Outcome]:
    try:
        return _record(event, service)
    except InvalidEvent as error:
        problem = str(error)
    except Exception as error:  # From the event's own methods.
        if interrupts(error):
            raise
        problem = f"the event cannot be read: {type(error).__name__}: {text_of(error)}"
    event_id = text_of(getattr(event, "event_id", "")) if isinstance(event, IntegrationEvent) else ""
    message = f"event {event_id or 'without an id'} cannot be published: {problem}"
    return Outcome("failed", "invalid", event_id, sound(message))


def _record(event: IntegrationEvent, service: Optional[str]) -> Record:
    if not isinstance(event, IntegrationEvent):
        raise InvalidEvent(f"expected an IntegrationEvent, found {type(event).__name__}")
    missing = inherited(event)
    if event.source_service is None and service is not None:
        missing["source_service"] = service
    if missing:
        event = event.model_copy(update=missing)
    topic = check_topic(event.get_topic_name())
    if topic is None:
        raise InvalidEvent(f"{type(event).__name__}.get_topic_name() returned None: expected the name of a topic")
    key = event.get_partition_key()
    key = None if key is None else _header(f"{type(event).__name__}.get_partition_key()", key)
    headers = [
        ("event_type", _header("event_type", event.event_type)),
        ("event_version", _header("event_version", event.event_version)),
        ("content-type", "application/json"),
    ]
    if event.correlation_id is not None:
        headers.append(("correlation_id", _header("correlation_id", event.correlation_id)))
    return Record(topic, _header("event_id", event.event_id), key, headers, encode_json(event.to_dict()))


def _header(name: str, value: object) -> str:
    """The text of an id, a key or a version. An assignment to a field is not checked, so it may be anything."""
    if not isinstance(value, (str, UUID, int)) or isinstance(value, bool):
        raise InvalidEvent(f"{name}: expected text, a UUID or a whole number, found {type(value).__name__}")
    text = str.__str__(value) if isinstance(value, str) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidEvent(f"{name}: expected text, found a lone surrogate, which has no form in UTF-8") from None
    return text


def _is_kept(outcome: Outcome) -> bool:
    return outcome.status in ("published", "spooled")


def _error(outcome: Outcome, summary: Optional[PublishSummary] = None) -> Exception:
    message = outcome.message
    if summary is not None and len(summary.outcomes) > 1:
        message = f"{summary.failed} of {len(summary.outcomes)} events are not published; the first: {message}"
    if outcome.kind == "invalid":
        return InvalidEvent(message)
    kind = MessageSizeTooLargeError if outcome.kind == "too_large" else KafkaError
    return kind(message, kind=outcome.kind)
