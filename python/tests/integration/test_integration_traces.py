"""What goes from one service to the next: the trace, the correlation and the cause; and the metrics of both."""

import asyncio
from typing import Any, Dict, List, Optional

import pytest
from integration_events import (
    IntegrationEvent,
    KafkaConfig,
    KafkaIntegrationEventConsumer,
    KafkaIntegrationEventPublisher,
    Reject,
    RetryLater,
    tracing,
)
from kit.consuming import eventually, group_name
from kit.reader import Kafka, Stored
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Asked(IntegrationEvent):
    text: str = ""
    to: str = ""

    def get_topic_name(self) -> str:
        return self.to


class Answered(Asked):
    pass


class Watched:
    """What OpenTelemetry has got."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans_of = TracerProvider()
        self.spans_of.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.metrics_of = MeterProvider([self.reader])

    def spans(self, name: str) -> List[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def points(self, name: str) -> List[Any]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else []) for scope in resource.scope_metrics]
        assert {scope.scope.name for scope in scopes} <= {"integration_events"}
        found = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [point for metric in found for point in metric.data.data_points]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Providers of this test's own: the global ones cannot be put back."""
    made = Watched()
    monkeypatch.setattr(trace, "get_tracer", lambda name, **more: made.spans_of.get_tracer(name, **more))
    monkeypatch.setattr(metrics, "get_meter", lambda name, **more: made.metrics_of.get_meter(name, **more))
    monkeypatch.setattr(tracing, "_instruments", None)
    return made


def config(kafka: Kafka, **more: Any) -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=kafka.bootstrap,
        consumer_group_id=group_name(),
        service_name="tests",
        connect_timeout=60.0,
        publish_timeout=60.0,
        retry_backoff_ms=10,
        **more,
    )


def attributes(span: ReadableSpan) -> Dict[str, Any]:
    return dict(span.attributes or {})


def test_a_trace_goes_from_the_publisher_over_the_handler_to_what_that_publishes(
    kafka: Kafka, watched: Watched
) -> None:
    asked_to, answers_to = kafka.topic("asked"), kafka.topic("answered")
    asked = Asked(to=asked_to, text="from outside", aggregate_id="a")
    used = config(kafka)

    async def scene() -> None:
        async with KafkaIntegrationEventPublisher(used) as publisher:

            async def answers(event: Asked) -> None:
                # Within a task, and in one that outlives the call's own function.
                await asyncio.gather(
                    publisher.publish(Answered(to=answers_to, text="first")),
                    asyncio.create_task(publisher.publish(Answered(to=answers_to, text="second"))),
                )

            consumer = KafkaIntegrationEventConsumer(used)
            consumer.register_handler_function(Asked, answers)
            # What starts the consumer is no cause of what it handles.
            with trace.get_tracer("test").start_as_current_span("start"):
                await consumer.start(asked_to)
            with trace.get_tracer("test").start_as_current_span("caller"):
                await publisher.publish(asked)
            await eventually("it is answered", lambda: kafka.read(answers_to), lambda found: len(found) == 2)
            await consumer.stop()

    asyncio.run(scene())
    (caller,), (sent,), (processed,) = (
        watched.spans(name) for name in ("caller", f"send {asked_to}", f"process {asked_to}")
    )
    answered = watched.spans(f"send {answers_to}")
    assert processed.parent is not None and processed.parent.span_id == sent.context.span_id
    assert processed.parent.is_remote
    assert len(answered) == 2
    for span in answered:
        assert span.parent is not None and span.parent.span_id == processed.context.span_id
    assert {span.context.trace_id for span in (caller, sent, processed, *answered)} == {caller.context.trace_id}
    assert processed.kind is trace.SpanKind.CONSUMER and processed.status.is_unset
    assert attributes(processed) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": asked_to,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.kafka.message.key": "a",
        "messaging.message.id": str(asked.event_id),
        "messaging.consumer.group.name": used.consumer_group_id,
        "workflow_events.handler": "answers",
        "workflow_events.status": "done",
    }
    scope = processed.instrumentation_scope
    assert scope is not None and scope.schema_url == f"https://opentelemetry.io/schemas/{tracing.CONVENTIONS}"


def answers_of(kafka: Kafka, asked: Asked, answer: Answered, **more: Any) -> Stored:
    """The record that a handler of one event publishes, from a thread as well."""
    asked_to, answers_to = kafka.topic("asked"), kafka.topic("answered")
    asked, answer = (one.model_copy(update={"to": to}) for one, to in ((asked, asked_to), (answer, answers_to)))

    async def scene() -> None:
        async with KafkaIntegrationEventPublisher(config(kafka)) as publisher:
            loop = asyncio.get_running_loop()

            def answers(event: Asked) -> None:
                asyncio.run_coroutine_threadsafe(publisher.publish(answer), loop).result(60)

            consumer = KafkaIntegrationEventConsumer(config(kafka))
            consumer.register_handler_function(Asked, answers)
            await publisher.publish(asked)
            await consumer.start(asked_to)
            await eventually("it is answered", lambda: kafka.read(answers_to))
            await consumer.stop()
            # Outside of a handler nothing is inherited.
            await publisher.publish(Answered(to=answers_to, text="alone"))

    asyncio.run(scene())
    first, alone = kafka.read(answers_to)
    assert alone.event["causation_id"] is None and alone.event["correlation_id"] is None
    return first


@pytest.mark.parametrize("correlation", [None, "order-7"])
def test_what_a_handler_publishes_inherits_the_correlation_and_the_cause(
    correlation: Optional[str], kafka: Kafka
) -> None:
    asked = Asked(correlation_id=correlation)
    inherited = answers_of(kafka, asked, Answered())
    expected = correlation or str(asked.event_id)
    assert (inherited.event["correlation_id"], inherited.event["causation_id"]) == (expected, str(asked.event_id))
    assert inherited.headers["correlation_id"] == expected
    assert inherited.event["payload"]["causation_id"] == str(asked.event_id)


def test_what_an_event_has_it_keeps(kafka: Kafka) -> None:
    own = answers_of(kafka, Asked(correlation_id="order-7"), Answered(correlation_id="own", causation_id="cause"))
    assert (own.event["correlation_id"], own.event["causation_id"]) == ("own", "cause")


def test_spans_and_metrics_say_how_calls_end(kafka: Kafka, watched: Watched) -> None:
    topic = kafka.topic("asked")
    kafka.create_topic(f"{topic}.dlq")
    calls: List[str] = []

    async def answers(event: Asked) -> None:
        calls.append(event.text)
        if event.text == "fails":
            raise ValueError("no mail server")
        if event.text == "rejected":
            raise Reject("not wanted")
        if event.text == "later" and calls.count("later") == 1:
            raise RetryLater(0.01)

    used = config(kafka, max_retry_attempts=1)

    async def scene() -> None:
        async with KafkaIntegrationEventPublisher(used) as publisher:
            await publisher.publish_many(
                [Asked(to=topic, text=text) for text in ("done", "fails", "rejected", "later")]
            )
            consumer = KafkaIntegrationEventConsumer(used)
            consumer.register_handler_function(Asked, answers)
            await consumer.start(topic)
            await eventually("all calls have ended", lambda: watched.spans(f"process {topic}"), lambda s: len(s) == 6)
            await consumer.stop()

    asyncio.run(scene())
    ends = sorted(
        (attributes(span)["workflow_events.status"], attributes(span).get("error.type"), span.status.description)
        for span in watched.spans(f"process {topic}")
    )
    assert [(status, error) for status, error, _ in ends] == [
        ("done", None),
        ("done", None),
        ("later", None),
        ("reject", "integration_events.verdicts.Reject"),
        ("retry", "ValueError"),
        ("retry", "ValueError"),
    ]
    assert [description for *_, description in ends] == [None] * 3 + ["not wanted"] + ["ValueError: no mail server"] * 2

    labels = {"messaging.system": "kafka", "messaging.destination.name": topic}
    consumed = {**labels, "messaging.operation.name": "process", "messaging.destination.partition.id": "0"}
    consumed["messaging.consumer.group.name"] = used.consumer_group_id
    (count,) = watched.points("messaging.client.consumed.messages")
    assert (dict(count.attributes), count.value) == (consumed, 6)
    durations = {
        dict(point.attributes).get("error.type"): point for point in watched.points("messaging.process.duration")
    }
    assert {error: point.count for error, point in durations.items()} == {
        None: 3,
        "ValueError": 2,
        "integration_events.verdicts.Reject": 1,
    }
    assert dict(durations[None].attributes) == consumed
    sent = {**labels, "messaging.operation.name": "send", "messaging.destination.partition.id": "0"}
    (count,) = watched.points("messaging.client.sent.messages")
    assert (dict(count.attributes), count.value) == (sent, 4)
    (duration,) = watched.points("messaging.client.operation.duration")
    assert (dict(duration.attributes), duration.count) == ({**sent, "messaging.operation.type": "send"}, 4)
