"""The consumer on a real Kafka: what follows each end of a call, order, dedup, stops, threads, the event loop."""

import asyncio
import json
import logging
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple

import pytest
from integration_events import (
    IntegrationEvent,
    KafkaConfig,
    KafkaError,
    KafkaIntegrationEventConsumer,
    Reject,
    RetryLater,
)
from kit.consuming import Lag, Writer, committed, envelope, eventually, group_name, write
from kit.reader import Kafka, Stored
from kit.silent import SilentServer
from workflow_events import EventSource, EventType, WorkflowEvent, WorkflowEventProducer

# What may stand still on a busy machine, and what would if a call held the loop.
MOMENT, LONG = 1.5, 4.0


class Noted(IntegrationEvent):
    text: str
    number: int = 0


def settings(kafka: Kafka, group: Optional[str] = None, **more: Any) -> KafkaConfig:
    quick: Dict[str, Any] = {"retry_backoff_ms": 10, "retry_backoff_max_ms": 50, "consumer_session_timeout_ms": 6000}
    quick.update(consumer_heartbeat_interval_ms=500)
    return KafkaConfig(bootstrap_servers=kafka.bootstrap, consumer_group_id=group or group_name(), **{**quick, **more})


def consumer(config: KafkaConfig, *handlers: Any, **named: Any) -> KafkaIntegrationEventConsumer:
    """With handlers of `Noted`."""
    made = KafkaIntegrationEventConsumer(config)
    for function in handlers:
        made.register_handler_function(Noted, function)
    for name, function in named.items():
        made.register_handler_function(Noted, function, name=name)
    return made


def letters(kafka: Kafka, topic: str) -> List[Stored]:
    return kafka.read(f"{topic}.dlq")


def notes(*texts: str, **more: Any) -> List[Dict[str, Any]]:
    return [envelope("Noted", text=text, **more) for text in texts]


@pytest.fixture
def topic(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> str:
    """The topic of `Noted` in this test, with one partition, and that of its dead letters."""
    name = kafka.topic("notes")
    kafka.create_topic(f"{name}.dlq")
    monkeypatch.setattr(Noted, "get_topic_name", lambda _: name)
    return name


def test_what_follows_each_end_of_a_call(kafka: Kafka, topic: str) -> None:
    calls: List[str] = []

    async def note(event: Noted) -> None:
        calls.append(event.text)
        count = calls.count(event.text)
        if event.text == "fails" or (event.text == "fails twice" and count <= 2):
            raise ValueError(f"call {count}")
        if event.text == "rejected":
            raise Reject("not wanted")
        if event.text == "later" and count <= 4:
            raise RetryLater(0.01, "not yet")
        if event.text == "awaits what was cancelled" and count == 1:
            cancelled = asyncio.get_running_loop().create_future()
            cancelled.cancel()
            await cancelled

    texts = ("done", "fails", "fails twice", "rejected", "later", "awaits what was cancelled", "last")
    config = settings(kafka, max_retry_attempts=2)
    write(kafka, topic, *notes(*texts), {**envelope("Unhandled"), "payload": {}})

    async def scene() -> None:
        async with consumer(config, note):
            group = config.consumer_group_id or ""
            await eventually("everything is committed", lambda: committed(kafka, group, topic), lambda at: at == [8])

    asyncio.run(scene())
    expected = {"done": 1, "fails": 3, "fails twice": 3, "rejected": 1, "later": 5, "last": 1}
    assert Counter(calls) == {**expected, "awaits what was cancelled": 2}
    found = {letter.event["payload"]["text"]: letter.headers for letter in letters(kafka, topic)}
    assert set(found) == {"fails", "rejected"}
    for text, reason, attempts, error in (
        ("fails", "max_attempts", "3", "ValueError: call 3"),
        ("rejected", "refused", "1", "not wanted"),
    ):
        headers = found[text]
        assert (headers["dlq-reason"], headers["dlq-attempts"]) == (reason, attempts)
        assert (headers["dlq-rule"], headers["dlq-agent"]) == ("Noted", "note")
        assert error in headers["dlq-error"]


def test_a_dead_letter_is_the_record_byte_for_byte(kafka: Kafka, topic: str) -> None:
    async def note(event: Noted) -> None:
        raise Reject("no")

    value = json.dumps(notes("Grüße")[0], ensure_ascii=False, indent=3).encode() + b"\n"
    headers = [("content-type", b"application/json"), ("x-own", "ü".encode()), ("x-own-2", b"")]
    writer = Writer(kafka)
    writer.write(topic, value, key="schlüssel", headers=headers)
    writer.flush()

    async def scene() -> None:
        async with consumer(settings(kafka), note):
            await eventually("the letter is there", lambda: letters(kafka, topic))

    asyncio.run(scene())
    (letter,) = letters(kafka, topic)
    assert (letter.value, letter.key) == (value, "schlüssel")
    assert {name: found.encode() for name, found in letter.headers.items() if name in dict(headers)} == dict(headers)


def test_a_record_that_is_no_event_of_the_class_is_a_dead_letter_with_its_field(kafka: Kafka, topic: str) -> None:
    seen: List[str] = []

    async def note(event: Noted) -> None:
        seen.append(event.text)

    missing, wrong = envelope("Noted", number=1), envelope("Noted", text="t", number="hunter2")
    write(kafka, topic, missing, wrong, *notes("fine"))

    async def scene() -> None:
        async with consumer(settings(kafka), note):
            await eventually("the letters are there", lambda: letters(kafka, topic), lambda found: len(found) == 2)
            await eventually("the last is handled", lambda: seen)

    asyncio.run(scene())
    headers = {letter.event_id: letter.headers for letter in letters(kafka, topic)}
    for value, reason, field in ((missing, "missing_field", "text"), (wrong, "invalid_value", "number")):
        found = headers[value["event_id"]]
        assert (found["dlq-reason"], found["dlq-attempts"]) == (reason, "1")
        assert field in found["dlq-error"] and "hunter2" not in found["dlq-error"]
    assert seen == ["fine"]


def test_order_is_kept_per_aggregate_over_retries_and_others_go_on(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("notes", partitions=2)
    monkeypatch.setattr(Noted, "get_topic_name", lambda _: topic)
    begun: List[Tuple[str, int]] = []
    done: List[Tuple[str, int]] = []
    failed = set()

    async def note(event: Noted) -> None:
        about = (event.text, event.number)
        begun.append(about)
        if event.number % 3 == 0 and about not in failed:
            failed.add(about)
            raise ValueError("once")
        done.append(about)

    writer = Writer(kafka)
    for number in range(30):
        for key in ("a", "b", "c", "d"):
            writer.write(topic, envelope("Noted", text=key, number=number, aggregate_id=key), key=key)
    writer.flush()

    async def scene() -> None:
        async with consumer(settings(kafka, retry_backoff_ms=100, retry_backoff_max_ms=100), note) as running:
            await eventually("all are done", lambda: len(done), lambda count: count >= 120)
            assert running.is_started

    asyncio.run(scene())
    for key in "abcd":
        assert [number for name, number in done if name == key] == list(range(30))
    assert len(begun) == 120 + 40
    assert len({key for key, _ in done[:12]}) > 1, "one that waits for its retry held the others"


def test_what_was_handled_is_not_handled_again_also_after_a_restart(kafka: Kafka, topic: str) -> None:
    seen: List[str] = []

    async def note(event: Noted) -> None:
        seen.append(event.text)

    first, second = notes("first", "second")
    write(kafka, topic, first, first)
    config = settings(kafka)

    async def scene() -> None:
        used = consumer(config, note)
        group = config.consumer_group_id or ""
        async with used:
            await eventually("both are committed", lambda: committed(kafka, group, topic), lambda at: at == [2])
            with pytest.raises(RuntimeError, match="register handlers before"):
                used.register_handler_function(Noted, note, name="late")
        assert not used.is_started
        write(kafka, topic, first, second)
        async with used:
            await eventually("both are committed", lambda: committed(kafka, group, topic), lambda at: at == [4])

    asyncio.run(scene())
    assert seen == ["first", "second"]


def test_handlers_of_one_type_are_independent_and_plain_functions_run_in_threads(kafka: Kafka, topic: str) -> None:
    seen: List[Tuple[str, bool]] = []
    at_once: List[int] = []
    under_way = 0
    lock = threading.Lock()

    class Sends:
        def handle(self, event: Noted) -> None:
            nonlocal under_way
            with lock:
                under_way += 1
                at_once.append(under_way)
            time.sleep(0.1)
            with lock:
                under_way -= 1
            seen.append(("sync", threading.current_thread() is threading.main_thread()))

    async def note(event: Noted) -> None:
        seen.append(("async", threading.current_thread() is threading.main_thread()))

    def wraps(event: Noted) -> Awaitable[None]:
        return note(event)

    async def refuses(event: Noted) -> None:
        raise Reject("never")

    write(kafka, topic, *notes(*"abcdefghij"))

    async def scene() -> None:
        used = consumer(settings(kafka, handler_concurrency=3), note, wraps, refuses)
        used.register_handler(Noted, Sends())
        async with used:
            await eventually("all are handled", lambda: len(seen), lambda count: count == 30)
            await eventually("the letters are there", lambda: letters(kafka, topic), lambda found: len(found) == 10)

    asyncio.run(scene())
    assert Counter(seen) == {("sync", False): 10, ("async", True): 20}
    assert 1 < max(at_once) <= 3
    assert {letter.headers["dlq-agent"] for letter in letters(kafka, topic)} == {"refuses"}


def test_a_call_that_takes_too_long_has_failed(kafka: Kafka, topic: str) -> None:
    ends: List[str] = []
    freed = threading.Event()

    async def hangs(event: Noted) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    def blocks(event: Noted) -> None:
        freed.wait(300)
        ends.append("went on")

    async def raises_its_own(event: Noted) -> None:
        raise asyncio.TimeoutError("the mail server's")

    write(kafka, topic, *notes("one"))

    async def scene() -> None:
        config = settings(kafka, handler_timeout=0.3, max_retry_attempts=1)
        async with consumer(config, hangs, blocks, raises_its_own):
            await eventually("the letters are there", lambda: letters(kafka, topic), lambda found: len(found) == 3)
        freed.set()

    asyncio.run(scene())
    errors = {letter.headers["dlq-agent"]: letter.headers["dlq-error"] for letter in letters(kafka, topic)}
    for name in ("hangs", "blocks"):
        assert "the call took longer than handler_timeout, 0.3 s" in errors[name]
    assert "TimeoutError: the mail server's" in errors["raises_its_own"]
    assert ends.count("cancelled") == 2


@pytest.mark.parametrize("sync", [False, True])
def test_a_stop_cancels_a_call_and_its_event_comes_again(sync: bool, kafka: Kafka, topic: str) -> None:
    begun: List[str] = []
    cancelled: List[bool] = []
    freed = threading.Event()
    is_first = True

    async def waits(event: Noted) -> None:
        begun.append(event.text)
        if is_first:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    def blocks(event: Noted) -> None:
        begun.append(event.text)
        if is_first:
            freed.wait(300)

    write(kafka, topic, *notes("one"))
    config = settings(kafka)

    async def scene() -> None:
        nonlocal is_first
        used = consumer(config, note=blocks if sync else waits)
        await used.start()
        closed = asyncio.ensure_future(used.wait_closed())
        await eventually("the call has begun", lambda: begun)
        began = time.monotonic()
        async with Lag() as lag:
            stopping = asyncio.ensure_future(used.stop(timeout=2.0))
            await asyncio.sleep(0)
            assert not used.is_started
            await stopping
        assert 1.0 < time.monotonic() - began < 60
        assert lag.longest < MOMENT
        await closed
        await used.stop()
        is_first = False
        async with used:
            await eventually("it comes again", lambda: begun, lambda texts: len(texts) == 2)
            group = config.consumer_group_id or ""
            await eventually("it is committed", lambda: committed(kafka, group, topic), lambda at: at == [1])
        freed.set()

    asyncio.run(scene())
    assert begun == ["one", "one"] and cancelled == ([] if sync else [True])


def test_a_handler_that_blocks_its_thread_does_not_hold_the_loop(kafka: Kafka, topic: str) -> None:
    done: List[str] = []

    def blocks(event: Noted) -> None:
        time.sleep(LONG)
        done.append(event.text)

    write(kafka, topic, *notes("a", "b"))

    async def scene() -> float:
        async with Lag() as lag, consumer(settings(kafka), blocks):
            await eventually("both are done", lambda: done, lambda texts: len(texts) == 2)
        return lag.longest

    assert asyncio.run(scene()) < MOMENT


def test_a_broker_that_does_not_answer_holds_neither_the_loop_nor_a_stop(
    silent: SilentServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("integration_events.consumer.ASSIGNED_WITHIN", 2.0)

    async def note(event: Noted) -> None:
        """Nothing."""

    async def scene() -> float:
        used = consumer(KafkaConfig(bootstrap_servers=silent.bootstrap, consumer_group_id="group"), note)
        async with Lag() as lag:
            with caplog.at_level(logging.WARNING, "integration_events"):
                await used.start()
            assert used.is_started and silent.accepted
            began = time.monotonic()
            await used.stop(timeout=1.0)
            assert time.monotonic() - began < 60
        return lag.longest

    assert asyncio.run(scene()) < MOMENT
    assert "no partition of integration-events.noted is assigned after 2 s" in caplog.text


def test_slow_calls_and_a_loop_that_stands_still_cause_no_rebalance(kafka: Kafka, topic: str) -> None:
    from confluent_kafka.admin import AdminClient

    calls: List[str] = []
    done: List[str] = []

    async def slow(event: Noted) -> None:
        calls.append(event.text)
        if event.text == "0":
            time.sleep(LONG)  # It should not, and is not punished for it.
        await asyncio.sleep(LONG)
        done.append(event.text)

    write(kafka, topic, *notes(*map(str, range(200))))
    group = group_name()
    config = settings(
        kafka, group, handler_concurrency=200, consumer_session_timeout_ms=2000, consumer_heartbeat_interval_ms=300
    )

    admin = AdminClient(kafka.client)

    def members() -> List[str]:
        described = admin.describe_consumer_groups([group])[group].result(60)
        return [member.member_id for member in described.members]

    async def scene() -> None:
        async with consumer(config, slow):
            before = await asyncio.to_thread(members)
            await eventually("all are done", lambda: len(done), lambda count: count == 200)
            await eventually("they are committed", lambda: committed(kafka, group, topic), lambda at: at == [200])
            assert await asyncio.to_thread(members) == before and len(before) == 1

    asyncio.run(scene())
    assert Counter(calls) == {str(number): 1 for number in range(200)}


def test_without_dead_letters_an_event_is_whole_in_the_log_and_passed(
    kafka: Kafka, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def note(event: Noted) -> None:
        raise ValueError("no mail server")

    value = notes("to be kept")[0]
    write(kafka, topic, value)
    config = settings(kafka, enable_dlq=False, max_retry_attempts=1)

    async def scene() -> None:
        async with consumer(config, note):
            group = config.consumer_group_id or ""
            await eventually("it is passed", lambda: committed(kafka, group, topic), lambda at: at == [1])

            def whole() -> List[str]:
                found = [one.getMessage() for one in caplog.records if one.levelno == logging.CRITICAL]
                return [text for text in found if json.dumps(value) in text]

            await eventually("the log has it", whole)

    with caplog.at_level(logging.WARNING, "integration_events"):
        asyncio.run(scene())
    assert letters(kafka, topic) == []
    assert "handler note has failed on event" in caplog.text and "ValueError: no mail server" in caplog.text


def test_handlers_of_workflow_events_get_them(kafka: Kafka, topic: str) -> None:
    seen: List[WorkflowEvent] = []

    async def completed(event: WorkflowEvent) -> None:
        seen.append(event)

    with WorkflowEventProducer(kafka.bootstrap, connect_timeout=60.0) as producer:
        for kind in (EventType.WORKFLOW_FAILED, EventType.WORKFLOW_COMPLETED):
            event = WorkflowEvent(
                event_type=kind,
                source=EventSource.AIRFLOW,
                workflow_id="etl",
                workflow_run_id="run",
                payload={"rows": 7},
            )
            assert producer.publish_event(event, topic=topic, timeout=60)

    async def scene() -> None:
        used = KafkaIntegrationEventConsumer(settings(kafka))
        used.register_handler_function(EventType.WORKFLOW_COMPLETED, completed)
        await used.start(topic)
        await eventually("it is handled", lambda: seen)
        await used.stop()

    asyncio.run(scene())
    assert [(event.event_type, event.payload.data) for event in seen] == [(EventType.WORKFLOW_COMPLETED, {"rows": 7})]


def test_latest_misses_nothing_that_comes_after_start_and_an_absent_topic_is_waited_for(kafka: Kafka) -> None:
    topic, absent = kafka.topic("notes"), "notes-" + uuid.uuid4().hex
    seen: List[str] = []

    async def note(event: Noted) -> None:
        seen.append(event.text)

    write(kafka, topic, *notes("before"))

    async def scene() -> None:
        used = consumer(settings(kafka, consumer_auto_offset_reset="latest"), note)
        await used.start([topic, absent])
        await used.start([topic, absent])
        await asyncio.to_thread(write, kafka, topic, *notes("after"))
        await eventually("it is handled", lambda: list(seen))
        await asyncio.to_thread(kafka.create_topic, absent)
        await asyncio.to_thread(write, kafka, absent, *notes("at last"))
        await eventually("it is handled too", lambda: list(seen), lambda texts: len(texts) == 2)
        await used.stop()

    asyncio.run(scene())
    assert seen == ["after", "at last"]


def test_a_consumer_that_cannot_begin_or_is_used_wrongly_says_so(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    async def note(event: Noted) -> None:
        """Nothing."""

    def elsewhere(call: Callable[[], Awaitable[Any]]) -> Exception:
        async def scene() -> None:
            await call()

        try:
            asyncio.run(scene())
        except Exception as error:
            return error
        raise AssertionError("nothing was raised")

    async def scene() -> None:
        used = consumer(settings(kafka))
        await used.stop()
        with pytest.raises(RuntimeError, match="no handler is registered"):
            await used.start()
        with pytest.raises(RuntimeError, match="is not started"):
            await used.wait_closed()
        shared = str(tmp_path / "data")
        used = consumer(settings(kafka, data_dir=shared), note)
        async with used:
            for call in (used.stop, used.start, used.wait_closed):
                error = await asyncio.to_thread(elsewhere, call)
                assert isinstance(error, RuntimeError) and "another event loop" in str(error)
            assert used.is_started
            another = consumer(settings(kafka, data_dir=shared), note)
            # Its folder is in use.
            with pytest.raises(KafkaError, match="data"):
                await another.start(topic)
            assert not another.is_started
            await another.stop()

    asyncio.run(scene())


def test_system_exit_in_a_handler_ends_the_loop_and_the_event_comes_again(kafka: Kafka, topic: str) -> None:
    calls: List[str] = []

    async def note(event: Noted) -> None:
        calls.append(event.text)
        if len(calls) == 1:
            raise SystemExit(7)

    write(kafka, topic, *notes("one"))
    config = settings(kafka)

    async def scene() -> None:
        async with consumer(config, note):
            await eventually("it is handled", lambda: calls, lambda texts: len(texts) == 2)

    with pytest.raises(SystemExit, match="7"):
        asyncio.run(scene())
    asyncio.run(scene())
    assert calls == ["one", "one"]
