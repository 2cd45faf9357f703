"""What a service is told when the native consumer ends by itself: with one that does, in place of the real one."""

import asyncio
import logging
import threading
from typing import Iterator

import pytest
from integration_events import IntegrationEvent, KafkaConfig, KafkaError, KafkaIntegrationEventConsumer
from kit.native import Ends
from workflow_events import _native


class Noted(IntegrationEvent):
    text: str = ""


async def note(event: Noted) -> None:
    """Nothing."""


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaIntegrationEventConsumer]:
    made = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests"))
    made.register_handler_function(Noted, note)
    monkeypatch.setattr(_native, "Consumer", Ends)
    monkeypatch.setattr(Ends, "made", [])
    yield made
    Ends.close()


def test_a_consumer_that_ends_by_itself_is_seen_by_whoever_waits_asks_or_reads_the_log(
    consumer: KafkaIntegrationEventConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        await consumer.start()
        closed = asyncio.ensure_future(consumer.wait_closed())
        await asyncio.sleep(0)
        assert consumer.is_started and not closed.done()
        Ends.made[0].end(("ledger", "the folder /data is damaged"))
        with pytest.raises(KafkaError, match="the folder /data is damaged") as caught:
            await asyncio.wait_for(closed, 60)
        assert caught.value.kind == "ledger"
        assert not consumer.is_started
        # The lifespan of an application goes on to its end.
        await consumer.stop()
        await consumer.stop()
        # It can be started anew, also without a stop.
        for _ in range(2):
            await consumer.start()
            assert consumer.is_started
            Ends.made[-1].end(("kafka", "not allowed"))
            with pytest.raises(KafkaError, match="not allowed"):
                await consumer.wait_closed()
        await consumer.stop()

    with caplog.at_level(logging.WARNING, "integration_events"):
        asyncio.run(scene())
    found = [record for record in caplog.records if record.name == "integration_events"]
    assert [record.levelno for record in found] == [logging.CRITICAL] * 3
    assert "the folder /data is damaged (ledger)" in found[0].getMessage()
    assert len(Ends.made) == 3


def test_one_that_ends_while_it_starts_is_an_error_of_start(
    consumer: KafkaIntegrationEventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Ends.start

    def ends(self: Ends) -> int:
        self.end(("ledger", "in use"))
        return start(self)

    monkeypatch.setattr(Ends, "start", ends)

    async def scene() -> None:
        with pytest.raises(KafkaError, match="in use"):
            await consumer.start()
        assert not consumer.is_started

    asyncio.run(scene())


def test_a_start_that_is_cancelled_leaves_nothing_running(
    consumer: KafkaIntegrationEventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, "is_assigned", lambda self: False)

    async def scene() -> None:
        starting = asyncio.ensure_future(consumer.start())
        while not Ends.made:
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="is being started"):
            await consumer.start()
        with pytest.raises(RuntimeError, match="register handlers before"):
            consumer.register_handler_function(Noted, note, name="late")
        while consumer._running is None:
            await asyncio.sleep(0.001)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert Ends.made[0].ended and not consumer.is_started

    asyncio.run(scene())


def test_a_stop_that_is_cancelled_can_be_repeated(
    consumer: KafkaIntegrationEventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, "ends_at_stop", False)

    async def scene() -> None:
        await consumer.start()
        stopping = asyncio.ensure_future(consumer.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert not consumer.is_started
        again = asyncio.ensure_future(consumer.stop())
        await asyncio.sleep(0)
        Ends.made[0].end()
        await asyncio.wait_for(again, 60)
        await consumer.start()
        assert consumer.is_started and len(Ends.made) == 2
        Ends.made[1].end()

    asyncio.run(scene())


def test_stops_that_overlap_end_together_and_a_later_one_makes_the_time_only_shorter(
    consumer: KafkaIntegrationEventConsumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Ends, "ends_at_stop", False)
    monkeypatch.setattr("integration_events.consumer.STOP_GRACE", 0.05)

    async def scene() -> None:
        await consumer.start()
        closed = asyncio.ensure_future(consumer.wait_closed())
        stops = [asyncio.ensure_future(consumer.stop(timeout)) for timeout in (600.0, 900.0, 0.0)]
        await asyncio.wait_for(asyncio.gather(closed, *stops), 60)
        assert Ends.made[0].stops == [600.0, 0.0]
        # Whoever asks later hears the same.
        await consumer.wait_closed()
        Ends.made[0].end()
        await consumer.start()
        stopping = asyncio.ensure_future(consumer.stop(600))
        await asyncio.sleep(0)
        starting = asyncio.ensure_future(consumer.start())
        await asyncio.sleep(0.1)
        assert not starting.done() and not stopping.done()
        Ends.made[1].end()
        await asyncio.wait_for(asyncio.gather(stopping, starting), 60)
        assert consumer.is_started and len(Ends.made) == 3 and Ends.made[1].stops == [600.0]
        Ends.made[2].end()
        await consumer.stop()

    with caplog.at_level(logging.WARNING, "integration_events"):
        asyncio.run(scene())
    assert [one.getMessage() for one in caplog.records if one.name == "integration_events"] == [
        "the consumer is still leaving its group after the time of its stop"
    ]


def test_two_starts_after_an_end_by_itself_make_one_consumer(consumer: KafkaIntegrationEventConsumer) -> None:
    async def scene() -> None:
        await consumer.start()
        Ends.made[0].end(("kafka", "not allowed"))
        with pytest.raises(KafkaError):
            await consumer.wait_closed()
        found = await asyncio.gather(consumer.start(), consumer.start(), return_exceptions=True)
        assert found[0] is None and isinstance(found[1], RuntimeError)
        assert consumer.is_started and len(Ends.made) == 2
        await consumer.stop()

    asyncio.run(scene())


@pytest.mark.parametrize("is_native_up", [False, True])
def test_a_stop_during_the_start_is_not_forgotten(
    is_native_up: bool, consumer: KafkaIntegrationEventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, "is_assigned", lambda self: False)
    begun, freed = threading.Event(), threading.Event()
    start = Ends.start

    def starts(self: Ends) -> int:
        begun.set()
        freed.wait(60)
        return start(self)

    monkeypatch.setattr(Ends, "start", starts)

    async def scene() -> None:
        starting = asyncio.ensure_future(consumer.start())
        while not begun.is_set():
            await asyncio.sleep(0.001)
        if is_native_up:
            freed.set()
            while consumer._running is None:
                await asyncio.sleep(0.001)
        stopping = asyncio.ensure_future(consumer.stop())
        await asyncio.sleep(0)
        freed.set()
        with pytest.raises(RuntimeError, match="the consumer was stopped while it started"):
            await asyncio.wait_for(starting, 60)
        await asyncio.wait_for(stopping, 60)
        assert not consumer.is_started and Ends.made[0].ended
        await consumer.wait_closed()
        # It is over for whoever has awaited the stop.
        monkeypatch.setattr(Ends, "is_assigned", lambda self: True)
        await consumer.start()
        await consumer.stop()

    asyncio.run(scene())


def test_a_loop_that_cannot_watch_leaves_nothing_running(
    consumer: KafkaIntegrationEventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watches_nothing(*_: object) -> None:
        raise NotImplementedError("add_reader")

    async def scene() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.get_running_loop(), "add_reader", watches_nothing)
            with pytest.raises(NotImplementedError):
                await consumer.start()
        assert Ends.made[0].ended and not consumer.is_started
        await consumer.start()
        assert consumer.is_started

    asyncio.run(scene())
    # Its loop was closed without a stop.
    assert not consumer.is_started


def test_a_consumer_keeps_no_password_beside_that_of_its_settings() -> None:
    config = KafkaConfig(
        service_name="tests",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password="hunter2",
    )
    made = KafkaIntegrationEventConsumer(config)
    assert "hunter2" not in repr({**vars(made), "config": None})
