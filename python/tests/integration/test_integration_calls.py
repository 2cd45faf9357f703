"""The calls of handlers without a Kafka: what is settled, and what is in the log, when they end in odd ways."""

import asyncio
import functools
import logging
import threading
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List

import pytest
from integration_events import IntegrationEvent, KafkaConfig, KafkaIntegrationEventConsumer, RetryLater, dispatch
from integration_events.tracing import ProcessSpan
from kit.native import Ends
from pydantic import BaseModel
from workflow_events import _native

SECRET = "hunter2"


class Noted(IntegrationEvent):
    text: str = ""


class Strict(BaseModel):
    password: int


class Odd(BaseException):
    """No `Exception`, as `CancelledError`s of other libraries are."""


class Unreadable(Exception):
    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise ValueError("no cause")


@pytest.fixture(autouse=True)
def natives(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_native, "Consumer", Ends)
    monkeypatch.setattr(Ends, "made", [])
    yield
    Ends.close()


@asynccontextmanager
async def running(handler: Any, **settings: Any) -> AsyncIterator[Ends]:
    consumer = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests", **settings))
    consumer.register_handler_function(Noted, handler, name="notes")
    async with consumer:
        yield Ends.made[-1]


async def until(settled: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not settled():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), 60)


def verdicts_of(handler: Any, *texts: str, **settings: Any) -> List[Any]:
    """What calls with these texts are settled with."""
    found: Dict[int, Any] = {}

    async def scene() -> None:
        async with running(handler, **settings) as native:
            native.give(*({"text": text} for text in texts))
            await until(lambda: len(native.settled) == len(texts))
            found.update(native.settled)

    asyncio.run(scene())
    return [found[token] for token in range(len(texts))]


def logged(caplog: pytest.LogCaptureFixture) -> List[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "integration_events"]


def test_a_handler_that_returns_a_generator_has_not_handled_its_event() -> None:
    def yields(event: Noted) -> Iterator[None]:
        yield

    async def yields_soon(event: Noted) -> AsyncIterator[None]:
        yield

    def wraps(event: Noted) -> Any:
        return yields(event) if event.text == "sync" else yields_soon(event)

    for verdict in verdicts_of(wraps, "sync", "async"):
        assert verdict[0] == "retry" and "generator, and nothing of it has run" in verdict[1]


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(
    ("error", "text"),
    [(Odd("gone"), "Odd: gone"), (GeneratorExit("no"), "GeneratorExit: no"), (Unreadable(), "whose text cannot be")],
)
def test_whatever_is_raised_counts_as_a_failure(in_thread: bool, error: BaseException, text: str) -> None:
    def fails(event: Noted) -> None:
        raise error

    async def fails_soon(event: Noted) -> None:
        raise error

    ((word, found, _),) = verdicts_of(fails if in_thread else fails_soon, "one")
    assert word == "retry" and text in found


def test_a_value_that_pydantic_refused_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(event: Noted) -> None:
        if event.text == "other":
            raise ValueError("no mail server")
        try:
            Strict.model_validate({"password": SECRET})
        except ValueError as error:
            if event.text == "hidden":
                raise KeyError("no") from None
            if event.text == "caused":
                raise RetryLater("soon") from error  # type: ignore[arg-type]
            raise

    with caplog.at_level(logging.INFO, "integration_events"):
        verdicts_of(fails, "raised", "hidden", "caused", "other")
    records = logged(caplog)
    assert len(records) == 4 and SECRET not in caplog.text
    for record in records[:3]:
        text = record.getMessage()
        assert not record.exc_info and "Where it was raised, without the values that pydantic refused:" in text
        assert "in fails" in text
    assert "password: not valid (int_parsing)" in records[0].getMessage()
    assert "Traceback" in caplog.text and records[3].exc_info is not None


def test_a_plain_function_that_no_thread_was_free_for_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    freed = threading.Event()
    called: List[str] = []

    def blocks(event: Noted) -> None:
        called.append(event.text)
        freed.wait(60)

    try:
        with caplog.at_level(logging.WARNING, "integration_events"):
            first, *others = verdicts_of(blocks, *"abcd", handler_concurrency=1, handler_timeout=0.2)
    finally:
        freed.set()
    assert first == ("retry", "the call took longer than handler_timeout, 0.2 s", 0.0)
    # One has waited. The last ones were not even queued: what waits for a thread is bounded.
    assert [(word, seconds) for word, _, seconds in others] == [("later", 1.0)] * 3
    assert called == ["a"]
    assert sum("no thread is free" in record.getMessage() for record in logged(caplog)) == 3


def test_a_plain_function_never_runs_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    called: List[str] = []

    def notes(event: Noted) -> None:
        called.append(event.text)

    def starts_none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scene() -> None:
        async with running(notes, handler_concurrency=1) as native:
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", starts_none)
                native.give({}, {}, {})
                await until(lambda: len(native.settled) == 3)
            native.give({"text": "b"})
            await until(lambda: len(native.settled) == 4)
        failed = ("retry", "RuntimeError: can't start new thread", 0.0)
        assert [native.settled[token] for token in range(4)] == [failed] * 3 + [("done", "", 0.0)]

    asyncio.run(scene())
    assert called == ["b"]


@pytest.mark.parametrize("limit", [None, 60.0])
def test_a_stop_in_a_handler_is_refused(limit: Any) -> None:
    async def scene() -> None:
        consumer = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests", handler_timeout=limit))

        async def stops(event: Noted) -> None:
            await consumer.stop(0)

        consumer.register_handler_function(Noted, stops)
        async with consumer:
            native = Ends.made[-1]
            native.give({})
            await until(lambda: 0 in native.settled)
            assert native.settled[0][0] == "retry" and "stop() in a handler" in native.settled[0][1]
            assert consumer.is_started

    asyncio.run(scene())


def test_a_log_that_raises_loses_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(BaseException):
        """From a signal's handler."""

    def raises(*_: Any, **__: Any) -> None:
        raise Interrupted

    async def notes(event: Noted) -> None:
        """Nothing."""

    async def scene() -> None:
        consumer = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests"))
        consumer.register_handler_function(Noted, notes)
        async with consumer:
            native, dispatcher = Ends.made[-1], consumer._running.dispatcher  # type: ignore[union-attr]
            asyncio.get_running_loop().remove_reader(native.ours.fileno())
            with monkeypatch.context() as patched:
                patched.setattr(dispatch, "log", raises)
                native.give({}, {}, notices=((30, "a warning"),))
                with pytest.raises(Interrupted):
                    dispatcher._take()
                native.give(notices=((30, "a warning"),))
                native.end()
                with pytest.raises(Interrupted):
                    dispatcher._take()
            assert dispatcher.ended.is_set()
            await until(lambda: len(native.settled) == 2)
            assert set(native.settled.values()) == {("done", "", 0.0)}

    asyncio.run(scene())


def test_a_call_that_is_cancelled_before_it_begins_and_one_whose_span_fails_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(span: ProcessSpan, verdict: Any) -> None:
        raise RuntimeError("no span")

    async def notes(event: Noted) -> None:
        """Nothing."""

    async def scene() -> None:
        consumer = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests"))
        consumer.register_handler_function(Noted, notes)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with consumer:
            native, dispatcher = Ends.made[-1], consumer._running.dispatcher  # type: ignore[union-attr]
            native.give({})
            dispatcher._take()
            (task,) = dispatcher._tasks.values()
            task.cancel()
            await until(lambda: 0 in native.settled)
            assert native.settled[0] == ("later", "the call was cancelled", 1.0)
            with monkeypatch.context() as patched:
                patched.setattr(ProcessSpan, "end", fails)
                native.give({})
                await until(lambda: 1 in native.settled and not dispatcher._tasks)
            assert native.settled[1] == ("done", "", 0.0)

    asyncio.run(scene())


def test_a_call_that_a_stop_gives_up_is_not_settled() -> None:
    async def scene() -> None:
        has_begun = asyncio.Event()

        async def waits(event: Noted) -> None:
            has_begun.set()
            await asyncio.sleep(3600)

        async with running(waits) as native:
            native.give({}, {})
            await has_begun.wait()
        assert native.settled == {}

    asyncio.run(scene())


def test_a_generator_function_is_no_handler() -> None:
    class Yields:
        async def handle(self, event: Noted) -> AsyncIterator[None]:
            yield

        def __call__(self, event: Noted) -> Iterator[None]:
            yield

    async def yields(event: Noted) -> AsyncIterator[None]:
        yield

    consumer = KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests"))
    with pytest.raises(TypeError, match="is a generator function.*use no `yield`"):
        consumer.register_handler(Noted, Yields())
    for wrong in (Yields(), yields, functools.partial(yields)):
        with pytest.raises(TypeError, match="is a generator function.*use no `yield`"):
            consumer.register_handler_function(Noted, wrong, name="yields")
    assert consumer._handlers == {}
