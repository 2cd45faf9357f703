"""The publisher on a real Kafka: records, outcomes, errors, the event loop, traces."""

import asyncio
import json
import logging
import re
import secrets
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Callable, List, Optional, Type

import aiokafka.errors
import pytest
from integration_events import (
    DomainEvent,
    IntegrationEvent,
    KafkaConfig,
    KafkaConnectionError,
    KafkaError,
    KafkaIntegrationEventPublisher,
    MessageSizeTooLargeError,
)
from kit.broker import Broker
from kit.poll import poll
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# How long a publish here waits for a broker that does not answer, and what it may take beyond that on a busy machine.
WAIT, LATE = 2.0, 60.0


class Noted(IntegrationEvent):
    text: str = ""
    value: Any = None
    to: str = ""

    def get_topic_name(self) -> str:
        return self.to


@pytest.fixture(autouse=True)
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop waits for the events of its calls as long as a slow disk takes for them."""
    monkeypatch.setattr("workflow_events.aio.SPOOL_GRACE", 300.0)


def patient(kafka: Kafka, **more: Any) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers=kafka.bootstrap, connect_timeout=60.0, publish_timeout=60.0, **more)


def lazy(servers: str, **more: Any) -> KafkaConfig:
    return KafkaConfig(**{"bootstrap_servers": servers, "connect_timeout": None, "publish_timeout": WAIT, **more})


def published(config: KafkaConfig, *events: Any) -> Any:
    """The outcomes of the events, one call for each."""

    async def scene() -> List[Any]:
        async with KafkaIntegrationEventPublisher(config) as publisher:
            return [await publisher.publish(event) for event in events]

    return asyncio.run(scene())


def test_a_record_has_the_topic_the_key_the_headers_and_the_envelope_of_its_event(kafka: Kafka, topic: str) -> None:
    keyed = Noted(to=topic, text="Grüße", aggregate_id=7, correlation_id="c-1", event_version="2.0")
    plain = Noted(to=topic, source_service="another")
    first, second = published(patient(kafka, service_name="users"), keyed, plain)
    assert (first.status, first.event_id, first.partition, first.offset) == ("published", str(keyed.event_id), 0, 0)
    assert second.offset == 1
    one, two = kafka.read(topic)
    assert (one.key, two.key) == ("7", None)
    assert one.headers == {
        "event_id": str(keyed.event_id),
        "event_type": "Noted",
        "event_version": "2.0",
        "content-type": "application/json",
        "correlation_id": "c-1",
    }
    assert set(two.headers) == {"event_id", "event_type", "event_version", "content-type"}
    assert one.event == keyed.model_copy(update={"source_service": "users"}).to_dict()
    assert keyed.source_service is None, "the caller's own event stays as it is"
    assert two.event == plain.to_dict()
    assert Noted.from_dict(one.event).text == "Grüße"


def test_the_topic_of_the_class_is_where_it_goes(kafka: Kafka) -> None:
    name = "Made" + secrets.token_hex(4).capitalize()
    kind: Type[IntegrationEvent] = type(name, (IntegrationEvent,), {"__module__": __name__})
    event = kind(aggregate_id="a")
    kafka.create_topic(event.get_topic_name())
    published(patient(kafka), event)
    (record,) = kafka.read(event.get_topic_name())
    assert (record.event_id, record.key, record.headers["event_type"]) == (str(event.event_id), "a", name)


def test_events_of_one_aggregate_are_in_one_partition_in_order(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=4)
    events = [Noted(to=topic, text=str(number), aggregate_id=f"user-{number % 8}") for number in range(200)]

    async def scene() -> Any:
        async with KafkaIntegrationEventPublisher(patient(kafka)) as publisher:
            return await publisher.publish_many(events)

    summary = asyncio.run(scene())
    assert (summary.published, summary.spooled, summary.failed) == (200, 0, 0)
    assert [outcome.event_id for outcome in summary.outcomes] == [str(event.event_id) for event in events]
    records = kafka.read(topic)
    for number in range(8):
        mine = [record for record in records if record.key == f"user-{number}"]
        assert len({record.partition for record in mine}) == 1
        texts = [int(record.event["payload"]["text"]) for record in mine]
        assert texts == sorted(texts) and len(texts) == 25


def test_what_is_spooled_is_a_success_with_a_warning_and_arrives_as_it_would_have(
    kafka: Kafka, topic: str, spool: SpoolFolder, caplog: pytest.LogCaptureFixture
) -> None:
    keyed, plain = Noted(to=topic, aggregate_id="user-7", correlation_id="c-1"), Noted(to=topic)
    with caplog.at_level(logging.WARNING):
        outcomes = published(lazy(kafka.bootstrap, publish_timeout=0), keyed, plain)
    assert [outcome.status for outcome in outcomes] == ["spooled", "spooled"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert outcomes[0].path is not None and outcomes[0].path in caplog.text
    header = json.loads(Path(outcomes[0].path).read_text().splitlines()[0])
    assert (header["format"], header["topic"], header["record"]["key"]) == (2, topic, "user-7")

    command = [sys.executable, "-m", "workflow_events", "drain", "--bootstrap-servers", kafka.bootstrap]
    drained = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert drained.returncode == 0, drained.stdout + drained.stderr
    assert spool.everything() == []
    one, two = sorted(kafka.read(topic), key=lambda record: record.key is None)
    assert (one.key, two.key) == ("user-7", None)
    assert (one.event, two.event) == (keyed.to_dict(), plain.to_dict())
    assert one.headers["correlation_id"] == "c-1" and one.headers["event_type"] == "Noted"
    assert list(two.headers) == ["event_id", "event_type", "event_version", "content-type"]


def test_a_later_publish_empties_the_spool_beside_workflow_events(kafka: Kafka, topic: str, spool: SpoolFolder) -> None:
    late = Noted(to=topic, aggregate_id="late")
    published(lazy(kafka.bootstrap, publish_timeout=0), late)
    assert len(spool.files()) == 1

    def look() -> List[str]:
        published(patient(kafka), Noted(to=topic))
        return spool.everything()

    poll(300, "the spool is empty", look, lambda files: files == [])
    assert "late" in {record.key for record in kafka.read(topic)}


def test_an_event_in_neither_place_is_an_error_of_ours_and_of_aiokafka(
    silent: SilentServer, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "no-folder"
    blocked.write_text("a file")
    for config in (lazy(silent.bootstrap, spool_dir=False), lazy(silent.bootstrap, spool_dir=blocked)):
        event = Noted(to=topic, text="keep me")
        with pytest.raises(KafkaError) as caught:
            published(config, event)
        assert isinstance(caught.value, aiokafka.errors.KafkaError)
        assert caught.value.kind in ("not_acknowledged", "lost")
        assert str(event.event_id) in str(caught.value)
        assert "EVENT LOST" in caplog.text and "keep me" in caplog.text
        caplog.clear()


def test_an_event_that_its_topic_never_takes_is_in_the_quarantine(kafka: Kafka, spool: SpoolFolder) -> None:
    topic = "small-" + secrets.token_hex(6)
    kafka.create_topic(topic, settings={"max.message.bytes": "10000"})
    large = Noted(to=topic, text="x" * 20_000, aggregate_id="a")
    with pytest.raises(MessageSizeTooLargeError, match="max.message.bytes") as caught:
        published(patient(kafka), large)
    assert isinstance(caught.value, aiokafka.errors.MessageSizeTooLargeError)
    assert str(spool.path / "quarantine") in str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda topic: Noted(to="no topic"), "topic: expected 1 to 249 of letters"),
        (lambda topic: Noted(to=topic, value=object()), "Unable to serialize"),
        (lambda topic: Noted(to=topic, aggregate_id="k" * 5_000), "key: expected at most 4096 bytes, found 5000"),
        (lambda topic: Noted(to=topic, correlation_id="c" * 9_000), "headers: expected at most 8192 bytes"),
        (lambda topic: {"event_id": "a dict"}, "expected an IntegrationEvent, found dict"),
    ],
)
def test_an_event_that_cannot_be_encoded_is_a_value_error_and_keeps_no_other_back(
    make: Callable[[str], Any], said: str, kafka: Kafka, topic: str
) -> None:
    good = Noted(to=topic)

    async def scene() -> None:
        async with KafkaIntegrationEventPublisher(patient(kafka)) as publisher:
            with pytest.raises(ValueError, match=said):
                await publisher.publish(make(topic))
            with pytest.raises(ValueError, match="1 of 2 events are not published; the first: .*" + said) as caught:
                await publisher.publish_many([make(topic), good])
            summary = caught.value.summary  # type: ignore[attr-defined]
            assert [outcome.status for outcome in summary.outcomes] == ["failed", "published"]

    asyncio.run(scene())
    assert kafka.event_ids(topic) == [str(good.event_id)]


class Raising(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Faulty(Noted):
    def get_partition_key(self) -> Optional[str]:
        raise Raising


def assigned(**values: Any) -> Callable[[str], IntegrationEvent]:
    """An event with fields that were assigned later, which pydantic does not check."""

    def make(topic: str) -> IntegrationEvent:
        event = Noted(to=topic)
        for name, value in values.items():
            setattr(event, name, value)
        return event

    return make


def many(*events: IntegrationEvent) -> Any:
    """The outcomes of the events in one call, which spools them, or those of its error."""

    async def scene() -> Any:
        async with KafkaIntegrationEventPublisher(lazy("127.0.0.1:1", publish_timeout=0)) as publisher:
            try:
                return (await publisher.publish_many(events)).outcomes
            except ValueError as error:
                return error.summary.outcomes  # type: ignore[attr-defined]

    return asyncio.run(scene())


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_uuid_or_a_number_that_was_assigned_is_the_text_of_its_header(spool: SpoolFolder) -> None:
    correlation = uuid.uuid4()
    events = [assigned(correlation_id=correlation, event_version=2)("t"), Noted(to="t")]
    outcomes = many(*events)
    assert [outcome.status for outcome in outcomes] == ["spooled", "spooled"], outcomes
    headers = dict(json.loads(Path(outcomes[0].path).read_text().splitlines()[0])["record"]["headers"])
    assert (headers["correlation_id"], headers["event_version"]) == (str(correlation), "2")


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (assigned(correlation_id=object()), "correlation_id: expected text, a UUID or a whole number, found object"),
        (assigned(event_version=1.5), "event_version: expected text, a UUID or a whole number, found float"),
        (assigned(event_type=None), "event_type: expected text, a UUID or a whole number, found NoneType"),
        (assigned(event_id=None), "event_id: expected text, a UUID or a whole number, found NoneType"),
        (assigned(correlation_id="\ud800"), "correlation_id: expected text, found a lone surrogate"),
        (assigned(event_id="\ud800"), "event_id: expected text, found a lone surrogate"),
        (assigned(aggregate_id="\ud800"), r"Noted.get_partition_key\(\): expected text, found a lone surrogate"),
        (lambda topic: Faulty(to=topic), "the event cannot be read: Raising: <.*Raising>"),
    ],
)
def test_an_event_whose_key_or_headers_are_no_text_keeps_no_other_back(
    make: Callable[[str], IntegrationEvent], said: str, spool: SpoolFolder, caplog: pytest.LogCaptureFixture
) -> None:
    good = Noted(to="t")
    first, second = many(make("t"), good)
    assert (first.status, first.kind, second.status) == ("failed", "invalid", "spooled")
    assert re.search(said, first.message), first.message
    assert spool.event_ids() == [str(good.event_id)]
    assert "forked" not in caplog.text


def test_a_publisher_takes_events_between_start_and_stop(kafka: Kafka, topic: str) -> None:
    async def scene() -> None:
        publisher = KafkaIntegrationEventPublisher(patient(kafka))
        for _ in range(2):
            assert not publisher.is_started and "not started" in repr(publisher)
            with pytest.raises(RuntimeError, match="the publisher is not started: await start"):
                await publisher.publish(Noted(to=topic))
            with pytest.raises(RuntimeError, match="not started"):
                await publisher.publish_many([])
            starting = asyncio.ensure_future(publisher.start())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="is being started"):
                await publisher.start()
            await starting
            await publisher.start()
            assert publisher.is_started
            assert (await publisher.publish_many([])).outcomes == []
            assert (await publisher.publish(Noted(to=topic))).published
            await publisher.stop()
            await publisher.stop()

    asyncio.run(scene())
    assert len(kafka.read(topic)) == 2


def test_no_broker_is_a_connection_error_and_the_publisher_is_not_started(spool: SpoolFolder) -> None:
    async def scene() -> None:
        publisher = KafkaIntegrationEventPublisher(KafkaConfig(bootstrap_servers="127.0.0.1:1", connect_timeout=0.5))
        with pytest.raises(KafkaConnectionError, match="no broker at 127.0.0.1:1 answered") as caught:
            await publisher.start()
        assert isinstance(caught.value, aiokafka.errors.KafkaConnectionError)
        assert not publisher.is_started
        await publisher.stop()

    asyncio.run(scene())
    assert spool.everything() == []


async def asked(silent: SilentServer) -> None:
    """Waits until a client has connected: then what it publishes is on its way."""
    await asyncio.to_thread(poll, 60, "the client connects", lambda: silent.accepted)


def test_a_silent_broker_blocks_no_loop_and_a_cancelled_call_loses_nothing(
    silent: SilentServer, topic: str, spool: SpoolFolder
) -> None:
    events = [Noted(to=topic) for _ in range(8)]
    cancelled = Noted(to=topic)
    gaps: List[float] = []

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before)

    async def scene() -> float:
        ticking = asyncio.ensure_future(tick())
        began = time.monotonic()
        async with KafkaIntegrationEventPublisher(lazy(silent.bootstrap)) as publisher:
            abandoned = asyncio.ensure_future(publisher.publish(cancelled))
            await asked(silent)
            abandoned.cancel()
            outcomes = await asyncio.gather(*(publisher.publish(event) for event in events))
            assert [outcome.status for outcome in outcomes] == ["spooled"] * 8
        seconds = time.monotonic() - began
        ticking.cancel()
        return seconds

    seconds = asyncio.run(scene())
    print(f"8 publishes to a silent broker in {seconds:.3f} s, {len(gaps)} ticks, the longest gap {max(gaps):.3f} s")
    assert seconds < WAIT + LATE
    # A loop that is held up does not tick until its publishes are done.
    assert len(gaps) > 2 * seconds
    assert set(spool.event_ids()) == {str(event.event_id) for event in [*events, cancelled]}


def test_a_stop_spools_what_is_on_its_way(silent: SilentServer, topic: str, spool: SpoolFolder) -> None:
    events = [Noted(to=topic) for _ in range(4)]

    async def scene() -> List[Any]:
        publisher = KafkaIntegrationEventPublisher(lazy(silent.bootstrap, publish_timeout=600.0))
        await publisher.start()
        calls = [asyncio.ensure_future(publisher.publish(event)) for event in events]
        await asked(silent)
        await publisher.stop(timeout=0.5)
        return list(await asyncio.gather(*calls))

    assert [outcome.status for outcome in asyncio.run(scene())] == ["spooled"] * 4
    assert set(spool.event_ids()) == {str(event.event_id) for event in events}


def test_a_stop_that_was_cancelled_can_be_repeated(silent: SilentServer, topic: str, spool: SpoolFolder) -> None:
    event = Noted(to=topic)

    async def scene() -> Any:
        publisher = KafkaIntegrationEventPublisher(lazy(silent.bootstrap, publish_timeout=600.0))
        await publisher.start()
        call = asyncio.ensure_future(publisher.publish(event))
        await asked(silent)
        stopping = asyncio.ensure_future(publisher.stop(timeout=600.0))
        # It has begun when the loop comes back, and waits for the broker.
        await asyncio.sleep(0)
        assert not publisher.is_started and not stopping.done()
        stopping.cancel()
        await publisher.stop(timeout=0.1)
        assert call.done() or await asyncio.wait({call}, timeout=LATE) == ({call}, set())
        return call.result()

    assert asyncio.run(scene()).status == "spooled"
    assert spool.event_ids() == [str(event.event_id)]


def test_one_event_is_published_as_a_list_of_it(spool: SpoolFolder) -> None:
    event = Noted(to="t")

    async def scene() -> Any:
        async with KafkaIntegrationEventPublisher(lazy("127.0.0.1:1", publish_timeout=0)) as publisher:
            with pytest.raises(ValueError, match="expected an IntegrationEvent, found DomainEvent"):
                await publisher.publish_many(DomainEvent())  # type: ignore[arg-type]
            return await publisher.publish_many(event)

    assert [outcome.event_id for outcome in asyncio.run(scene()).outcomes] == [str(event.event_id)]


def test_without_idempotence_and_with_other_settings_it_publishes_too(kafka: Kafka, topic: str) -> None:
    config = patient(
        kafka,
        enable_idempotence=False,
        producer_batch_size=32768,
        producer_linger_ms=5,
        producer_compression_type="zstd",
        producer_retries=5,
    )
    assert published(config, Noted(to=topic))[0].offset == 0
    assert published(patient(kafka, producer_acks=1), Noted(to=topic))[0].offset == 1


def test_the_settings_of_the_configuration_hold_and_not_the_environments(
    secured: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kit import broker as users

    there = secured.kafka.topic()
    config = KafkaConfig(
        bootstrap_servers=secured.sasl_ssl,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=users.SCRAM_USER,
        sasl_password=users.SCRAM_PASSWORD,
        ssl_cafile=secured.certs.ca,
        connect_timeout=60.0,
        publish_timeout=60.0,
    )
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "KAFKA_SASL_PASSWORD": "wrong",
        "KAFKA_SSL_CERTFILE": "/nowhere",
        "KAFKA_TOPIC": "not a topic",
    }.items():
        monkeypatch.setenv(name, value)
    assert published(config, Noted(to=there))[0].published


PROVIDER = TracerProvider()
EXPORTER = InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of this test: its provider is asked for in place of the global one, which cannot be put back."""
    monkeypatch.setattr(trace, "get_tracer", lambda name, **_: PROVIDER.get_tracer(name))
    EXPORTER.clear()
    return EXPORTER


def traceparent(span: Any) -> str:
    context = span.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def test_each_event_has_a_span_whose_context_is_in_its_headers(
    kafka: Kafka, topic: str, spans: InMemorySpanExporter
) -> None:
    events = [Noted(to=topic, aggregate_id="a"), Noted(to=topic)]

    async def scene() -> None:
        async with KafkaIntegrationEventPublisher(patient(kafka)) as publisher:
            with trace.get_tracer("test").start_as_current_span("caller"):
                await publisher.publish_many(events)

    asyncio.run(scene())
    (caller,) = [span for span in spans.get_finished_spans() if span.name == "caller"]
    sent = [span for span in spans.get_finished_spans() if span.name == f"send {topic}"]
    assert len(sent) == 2
    for event, span, record in zip(events, sent, kafka.read(topic)):
        assert span.kind is trace.SpanKind.PRODUCER
        assert span.parent is not None and span.parent.span_id == caller.context.span_id
        assert record.headers["traceparent"] == traceparent(span)
        assert span.attributes["messaging.system"] == "kafka"
        assert span.attributes["messaging.operation.name"] == "send"
        assert span.attributes["messaging.operation.type"] == "send"
        assert span.attributes["messaging.destination.name"] == topic
        assert span.attributes["messaging.message.id"] == str(event.event_id)
        assert span.attributes.get("messaging.kafka.message.key") == event.get_partition_key()
        assert span.attributes["messaging.destination.partition.id"] == "0"
        assert span.attributes["messaging.kafka.offset"] == record.offset


def test_the_span_of_an_event_that_is_not_published_says_so(
    silent: SilentServer, topic: str, spans: InMemorySpanExporter
) -> None:
    published(lazy(silent.bootstrap, publish_timeout=0), Noted(to=topic))
    with pytest.raises(KafkaError):
        published(lazy(silent.bootstrap, publish_timeout=0, spool_dir=False), Noted(to=topic))
    spooled, failed = spans.get_finished_spans()
    assert spooled.attributes["workflow_events.status"] == "spooled" and spooled.status.is_unset
    assert failed.attributes["error.type"] == "not_acknowledged"
    assert failed.status.status_code is trace.StatusCode.ERROR


def test_the_traceparent_survives_the_spool(kafka: Kafka, topic: str, spans: InMemorySpanExporter) -> None:
    (outcome,) = published(lazy(kafka.bootstrap, publish_timeout=0), Noted(to=topic))
    (span,) = spans.get_finished_spans()
    header = json.loads(Path(outcome.path).read_text().splitlines()[0])
    headers = dict(header["record"]["headers"])
    assert headers["traceparent"] == traceparent(span)


PROGRAM = """
import asyncio, os, sys
sys.modules["opentelemetry"] = None  # As if it were not installed.
from integration_events import IntegrationEvent, KafkaConfig, KafkaIntegrationEventPublisher
assert "aiokafka" not in sys.modules

class Noted(IntegrationEvent):
    def get_topic_name(self):
        return sys.argv[2]

config = KafkaConfig(bootstrap_servers=sys.argv[1], connect_timeout=60, publish_timeout=60, service_name=sys.argv[3])

def say(status):
    os.write(1, f"{status}\\n".encode())  # One write: parent and child share the pipe.

async def publish():
    async with KafkaIntegrationEventPublisher(config) as publisher:
        say((await publisher.publish(Noted(aggregate_id=os.getpid()))).status)
        if len(sys.argv) == 5:
            say((await publisher.publish(Noted(aggregate_id=os.getpid()))).status)
            os._exit(0)  # What was published needs no end of the interpreter.

if len(sys.argv) == 5:
    asyncio.run(publish())
child = os.fork()
asyncio.run(publish())
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize(("more", "statuses"), [([], 2), (["exit"], 2)])
def test_without_opentelemetry_in_forked_children_and_at_a_sudden_end(
    more: List[str], statuses: int, kafka: Kafka, topic: str
) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, kafka.bootstrap, topic, "forking", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "published\n" * statuses, "")
    records = kafka.read(topic)
    assert len(records) == 2
    assert {record.event["source_service"] for record in records} == {"forking"}
    assert all("traceparent" not in record.headers for record in records)


def test_an_inherited_publisher_publishes_in_a_child_over_a_connection_of_its_own(kafka: Kafka, topic: str) -> None:
    program = """
import asyncio, os, sys
from integration_events import IntegrationEvent, KafkaConfig, KafkaIntegrationEventPublisher

class Noted(IntegrationEvent):
    def get_topic_name(self):
        return sys.argv[2]

publisher = KafkaIntegrationEventPublisher(
    KafkaConfig(bootstrap_servers=sys.argv[1], connect_timeout=60, publish_timeout=60)
)

async def start():
    await publisher.start()
    assert (await publisher.publish(Noted(aggregate_id="parent"))).published

async def more(name):
    assert (await publisher.publish(Noted(aggregate_id=name))).published
    await publisher.stop()

asyncio.run(start())
child = os.fork()
asyncio.run(more("later" if child else "child"))
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    # Python 3.12 warns of a fork beside threads, which this is.
    command = [sys.executable, "-c", program, kafka.bootstrap, topic]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(str(record.key) for record in kafka.read(topic)) == ["child", "later", "parent"]


def test_the_ids_of_events_are_uuids_in_the_outcome_too(silent: SilentServer, topic: str) -> None:
    event = Noted(to=topic, event_id=uuid.UUID(int=5))
    (outcome,) = published(lazy(silent.bootstrap, publish_timeout=0), event)
    found: Optional[str] = outcome.event_id
    assert found == "00000000-0000-0000-0000-000000000005"
