"""Spans and metrics of OpenTelemetry, where it is installed; without it nothing here does anything.

Owns the span `send <topic>` of each event that is published and the span `process <topic>` of each call of a handler,
the headers that carry the one to the other, and the messaging metrics. Names and attributes are those of the semantic
conventions of `CONVENTIONS`. Its invariant: whatever OpenTelemetry does, what it watches goes on.
"""

from __future__ import annotations

import time
from typing import Any, Optional

from workflow_events.interrupts import call_or

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # It is optional.
    trace = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from workflow_events import Outcome, _native

    from .verdicts import Verdict

#: The version of the semantic conventions.
CONVENTIONS = "1.36.0"
_SCHEMA = f"https://opentelemetry.io/schemas/{CONVENTIONS}"
#: Spans and metrics of one name, whoever imports the package.
_SCOPE = "integration_events"


class _Instruments:
    """The metrics. A provider that is set later gets what is measured from then on."""

    def __init__(self) -> None:
        # Not at the head: whoever only makes events has no need of it.
        from opentelemetry import metrics

        meter = metrics.get_meter(_SCOPE, schema_url=_SCHEMA)
        self.sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Messages that a producer attempted to send."
        )
        self.operation = meter.create_histogram(
            "messaging.client.operation.duration", "s", "Duration of sending a message."
        )
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Messages that were delivered to a handler."
        )
        self.process = meter.create_histogram("messaging.process.duration", "s", "Duration of a call of a handler.")


_instruments: Optional[_Instruments] = None


def prepare() -> None:
    """Makes the instruments, once: an import during the first publish could hang in a forked child."""
    global _instruments
    if trace is not None and _instruments is None:
        _instruments = call_or(None, _Instruments)


def _tracer() -> Any:
    return trace.get_tracer(_SCOPE, schema_url=_SCHEMA)


class SendSpan:
    """The span of one event on its way to Kafka. It is a child of the caller's."""

    def __init__(self, topic: str, event_id: str, key: Optional[str]) -> None:
        self._span: Any = None
        if trace is None:
            return
        self._began = time.monotonic()
        self._labels = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.destination.name": topic,
        }
        attributes = {**self._labels, "messaging.operation.type": "send", "messaging.message.id": event_id}
        if key is not None:
            attributes["messaging.kafka.message.key"] = key
        start = _tracer().start_span
        self._span = call_or(None, lambda: start(f"send {topic}", kind=trace.SpanKind.PRODUCER, attributes=attributes))

    def headers(self) -> list[tuple[str, str]]:
        """`traceparent`, and `tracestate` if there is one; nothing without a trace."""
        if self._span is None:
            return []
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, context=trace.set_span_in_context(self._span))
        return list(carrier.items())

    def end(self, outcome: Optional[Outcome]) -> None:
        """Ends it, with the event's outcome; None: the caller did not wait for that."""
        if self._span is not None:
            call_or(None, self._end, outcome)

    def _end(self, outcome: Optional[Outcome]) -> None:
        labels = dict(self._labels)
        if outcome is not None and outcome.published:
            labels["messaging.destination.partition.id"] = str(outcome.partition)
            self._span.set_attribute("messaging.destination.partition.id", str(outcome.partition))
            self._span.set_attribute("messaging.kafka.offset", outcome.offset)
        elif outcome is not None:
            self._span.set_attribute("workflow_events.status", outcome.status)
            # In the spool it is safe, and has not been sent.
            labels["error.type"] = outcome.kind
            if outcome.status != "spooled":
                self._span.set_attribute("error.type", outcome.kind)
                self._span.set_status(trace.Status(trace.StatusCode.ERROR, outcome.message))
        self._span.end()
        if _instruments is not None:
            _instruments.sent.add(1, labels)
            timed = {**labels, "messaging.operation.type": "send"}
            _instruments.operation.record(time.monotonic() - self._began, timed)


class ProcessSpan:
    """The span of one call of a handler, a child of what the record's headers name, and current from here on in this
    context."""

    def __init__(self, call: _native.Call, handler: str, group: str) -> None:
        self._span: Any = None
        if trace is None:
            return
        self._began = time.monotonic()
        self._labels = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.destination.name": call.topic,
            "messaging.destination.partition.id": str(call.partition),
            "messaging.consumer.group.name": group,
        }
        call_or(None, self._start, call, handler)

    def _start(self, call: _native.Call, handler: str) -> None:
        from opentelemetry import context

        if _instruments is not None:
            _instruments.consumed.add(1, self._labels)
        attributes: dict[str, Any] = {
            **self._labels,
            "messaging.operation.type": "process",
            "messaging.message.id": call.event_id,
            "messaging.kafka.offset": call.offset,
            "workflow_events.handler": handler,
        }
        if call.key is not None:
            attributes["messaging.kafka.message.key"] = call.key.decode("utf-8", "replace")
        carrier = {"traceparent": call.traceparent, "tracestate": call.tracestate}
        # From an empty context: what started the consumer is no cause of the event.
        parent = TraceContextTextMapPropagator().extract(
            {name: value for name, value in carrier.items() if value is not None}, context=context.Context()
        )
        self._span = _tracer().start_span(
            f"process {call.topic}", context=parent, kind=trace.SpanKind.CONSUMER, attributes=attributes
        )
        context.attach(trace.set_span_in_context(self._span, parent))

    def end(self, verdict: Optional[Verdict]) -> None:
        """Ends it, with what the call ended with; None: it was given up."""
        if self._span is not None:
            call_or(None, self._end, verdict)

    def _end(self, verdict: Optional[Verdict]) -> None:
        labels = dict(self._labels)
        if verdict is None or verdict.error_type is None:
            self._span.set_attribute("workflow_events.status", "given_up" if verdict is None else verdict.word)
        else:
            labels["error.type"] = verdict.error_type
            self._span.set_attribute("workflow_events.status", verdict.word)
            self._span.set_attribute("error.type", verdict.error_type)
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, verdict.text))
        self._span.end()
        if _instruments is not None:
            _instruments.process.record(time.monotonic() - self._began, labels)
