"""Spans of OpenTelemetry, where it is installed; without it nothing here does anything.

Owns the span `send <topic>` of each event: its attributes, and the headers that carry it to whoever consumes the event.
"""

from __future__ import annotations

from typing import Any, Optional

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # It is optional.
    trace = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from workflow_events import Outcome

#: Spans of one name, whoever imports the package.
_TRACER = "integration_events"


class SendSpan:
    """The span of one event on its way to Kafka. It is a child of the caller's."""

    def __init__(self, topic: str, event_id: str, key: Optional[str]) -> None:
        self._span: Any = None
        if trace is None:
            return
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.message.id": event_id,
        }
        if key is not None:
            attributes["messaging.kafka.message.key"] = key
        tracer = trace.get_tracer(_TRACER)
        self._span = tracer.start_span(f"send {topic}", kind=trace.SpanKind.PRODUCER, attributes=attributes)

    def headers(self) -> list[tuple[str, str]]:
        """`traceparent`, and `tracestate` if there is one; nothing without a trace."""
        if self._span is None:
            return []
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, context=trace.set_span_in_context(self._span))
        return list(carrier.items())

    def end(self, outcome: Optional[Outcome]) -> None:
        """Ends it, with the event's outcome; None: the caller did not wait for that."""
        if self._span is None:
            return
        if outcome is not None and outcome.published:
            self._span.set_attribute("messaging.destination.partition.id", str(outcome.partition))
            self._span.set_attribute("messaging.kafka.offset", outcome.offset)
        elif outcome is not None:
            self._span.set_attribute("workflow_events.status", outcome.status)
            if outcome.status != "spooled":
                self._span.set_attribute("error.type", outcome.kind)
                self._span.set_status(trace.Status(trace.StatusCode.ERROR, outcome.message))
        self._span.end()
