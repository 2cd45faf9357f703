"""publishes_completion over work that has only begun when the function returns: it completes when the work ends."""

import asyncio
import functools
import gc
import inspect
import types
from concurrent.futures import Future

import pytest
from airflow_integration import publishes_completion
from test_helper_decorator import running  # noqa: F401


def wrapped(function):
    """A decorator that knows nothing of coroutines and generators, as most do."""

    @functools.wraps(function)
    def called(*args, **kwargs):
        return function(*args, **kwargs)

    return called


class Callable:
    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


class AsyncCallable:
    def __init__(self, function):
        self.function = function

    async def __call__(self, *args):
        return await self.function(*args)


class Awaitable:
    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()


def awaitable(function):
    return lambda *args: Awaitable(function(*args))


def of_a_generator(function):
    @types.coroutine
    def called(*args):
        return (yield from function(*args).__await__())

    return called


def future(function):
    return lambda *args: asyncio.ensure_future(function(*args))


ASYNC = [wrapped, Callable, AsyncCallable, lambda f: functools.partial(f), awaitable, of_a_generator, future]


@pytest.mark.parametrize("way", ASYNC)
@pytest.mark.parametrize("fails", [False, True])
def test_an_awaitable_completes_when_its_work_ends(running, producer, way, fails):  # noqa: F811
    seen = []

    async def load(rows):
        await asyncio.sleep(0)
        seen.append(list(producer.calls))
        if fails:
            raise ValueError("boom")
        return {"rows": rows}

    async def main():
        work = publishes_completion(producer=producer)(way(load))(3)
        assert producer.calls == [], "before it began"
        if not fails:
            return await work
        with pytest.raises(ValueError, match="boom"):
            await work

    assert asyncio.run(main()) == (None if fails else {"rows": 3})
    assert seen == [[]], "while it ran"
    assert producer.event["event_type"] == ("WORKFLOW_FAILED" if fails else "WORKFLOW_COMPLETED")
    if not fails:
        assert producer.event["payload"]["data"]["result"] == {"rows": 3}


def numbers(fails):
    got = yield 1
    yield got
    if fails:
        raise ValueError("boom")
    return "end"


@pytest.mark.parametrize("way", [lambda f: f, wrapped, Callable, lambda f: functools.partial(f)])
@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_completes_when_it_is_exhausted(running, producer, way, fails):  # noqa: F811
    generator = publishes_completion(producer=producer)(way(numbers))(fails)
    assert next(generator) == 1
    assert generator.send("sent") == "sent"
    assert producer.calls == []
    with pytest.raises(ValueError if fails else StopIteration) as raised:
        next(generator)
    assert producer.event["event_type"] == ("WORKFLOW_FAILED" if fails else "WORKFLOW_COMPLETED")
    if not fails:
        assert raised.value.value == producer.event["payload"]["data"]["result"] == "end"


async def async_numbers(fails):
    try:
        got = yield 1
    except KeyError:
        got = "caught"
    yield got
    if fails:
        raise ValueError("boom")


@pytest.mark.parametrize("way", [lambda f: f, wrapped, Callable, lambda f: functools.partial(f)])
@pytest.mark.parametrize("fails", [False, True])
def test_an_async_generator_completes_when_it_is_exhausted(running, producer, way, fails):  # noqa: F811
    async def main():
        generator = publishes_completion(producer=producer)(way(async_numbers))(fails)
        assert await generator.__anext__() == 1
        assert (await generator.athrow(KeyError())) == "caught" if fails else (await generator.asend("x")) == "x"
        assert producer.calls == []
        with pytest.raises(ValueError if fails else StopAsyncIteration):
            await generator.__anext__()

    asyncio.run(main())
    assert producer.event["event_type"] == ("WORKFLOW_FAILED" if fails else "WORKFLOW_COMPLETED")


def test_abandoned_work_publishes_nothing(running, producer):  # noqa: F811
    decorated = publishes_completion(producer=producer)
    closed = decorated(numbers)(False)
    next(closed)
    closed.close()

    async def main():
        generator = decorated(async_numbers)(False)
        await generator.__anext__()
        await generator.aclose()

    asyncio.run(main())
    never_begun = decorated(numbers)(False)
    del never_begun
    gc.collect()
    assert producer.calls == []


def test_a_future_stays_what_it_is_and_completes_when_it_is_done(running, producer):  # noqa: F811
    done, failed = Future(), Future()
    assert publishes_completion(producer=producer)(lambda: done)() is done
    assert publishes_completion(producer=producer)(lambda: failed)() is failed
    assert producer.calls == []
    done.set_result(3)
    failed.set_exception(ValueError("boom"))
    assert [event["event_type"] for event, *_ in producer.calls] == ["WORKFLOW_COMPLETED", "WORKFLOW_FAILED"]


def test_wrong_arguments_of_a_coroutine_function_are_a_failure(running, producer):  # noqa: F811
    @publishes_completion(producer=producer)
    async def load():
        pass

    assert inspect.iscoroutinefunction(load)
    with pytest.raises(TypeError):
        asyncio.run(load("one too many"))
    assert producer.event["event_type"] == "WORKFLOW_FAILED"
