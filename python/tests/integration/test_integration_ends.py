"""What a service is told when the native consumer ends by itself: with one that does, in place of the real one."""

import asyncio
import logging
import socket
from typing import Any, Iterator, List, Optional, Tuple

import pytest
from integration_events import IntegrationEvent, KafkaConfig, KafkaError, KafkaIntegrationEventConsumer
from workflow_events import _native


class Noted(IntegrationEvent):
    text: str = ""


class Ends:
    """A native consumer that is assigned at once and ends when it is told to."""

    made: List["Ends"] = []

    def __init__(self, handlers: Any, **settings: Any) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.problem: Optional[Tuple[str, str]] = None
        self.ended = False
        Ends.made.append(self)

    def start(self) -> int:
        return self.ours.fileno()

    def end(self, problem: Optional[Tuple[str, str]] = None) -> None:
        self.problem, self.ended = problem, True
        self.theirs.send(b"!")

    def take(self, limit: int) -> Tuple[List[Any], List[int], List[Tuple[int, str]]]:
        try:
            self.ours.recv(64)
        except BlockingIOError:
            pass
        return [], [], []

    def is_assigned(self) -> bool:
        return True

    def error(self) -> Optional[Tuple[str, str]]:
        return self.problem

    def stop(self, timeout: float) -> None:
        if not self.ended:
            self.end()

    def has_ended(self) -> bool:
        return self.ended


async def note(event: Noted) -> None:
    """Nothing."""


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaIntegrationEventConsumer]:
    made = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests"))
    made.register_handler_function(Noted, note)
    monkeypatch.setattr(_native, "Consumer", Ends)
    monkeypatch.setattr(Ends, "made", [])
    yield made
    for native in Ends.made:
        native.ours.close()
        native.theirs.close()


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
    monkeypatch.setattr(Ends, "stop", lambda self, timeout: None)

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
