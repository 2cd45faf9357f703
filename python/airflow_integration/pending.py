"""What a function returns before its work is done: something to be awaited, or to be iterated.

Its invariant: whoever awaits or iterates it sees what it would have seen without this, and one of two functions is
called when the work ends: ``returned`` with its value, or ``raised`` with its exception. Neither is called for what is
thrown away before its end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# inspect.CO_ITERABLE_COROUTINE: of a generator that types.coroutine has made awaitable.
_ITERABLE_COROUTINE = 0x100


def is_pending(value: Any) -> bool:
    """Whether its work is still to be done."""
    kind = type(value)
    return issubclass(kind, (Awaitable, Generator, AsyncGenerator)) or _is_future(value)


def tell_of(value: Any, returned: Callable[[Any], Any], raised: Callable[[BaseException], Any]) -> Any:
    """The value, or what stands for it, which tells of its end."""
    if _is_future(value):
        # It goes on by itself, and may be cancelled: it stays what it is.
        value.add_done_callback(lambda future: _future_done(future, returned, raised))
        return value
    kind = type(value)
    if issubclass(kind, Generator):
        flags = getattr(getattr(value, "gi_code", None), "co_flags", 0)
        return _await(value, returned, raised) if flags & _ITERABLE_COROUTINE else _iterate(value, returned, raised)
    if issubclass(kind, AsyncGenerator):
        return _iterate_async(value, returned, raised)
    return _await(value, returned, raised)


def _is_future(value: Any) -> bool:
    kind = type(value)
    return callable(getattr(kind, "add_done_callback", None)) and callable(getattr(kind, "exception", None))


def _future_done(future: Any, returned: Callable[[Any], Any], raised: Callable[[BaseException], Any]) -> None:
    try:
        value = future.result()
    except BaseException as error:
        raised(error)
        return
    returned(value)


async def _await(awaitable: Any, returned: Callable[[Any], Any], raised: Callable[[BaseException], Any]) -> Any:
    try:
        value = await awaitable
    except GeneratorExit:
        raise  # It is thrown away, and may not wait for anything.
    except BaseException as error:
        await beside_the_loop(raised, error)
        raise
    await beside_the_loop(returned, value)
    return value


def _iterate(
    generator: Any, returned: Callable[[Any], Any], raised: Callable[[BaseException], Any]
) -> Generator[Any, Any, Any]:
    try:
        value = yield from generator
    except GeneratorExit:
        raise
    except BaseException as error:
        raised(error)
        raise
    returned(value)
    return value


async def _iterate_async(
    generator: Any, returned: Callable[[Any], Any], raised: Callable[[BaseException], Any]
) -> AsyncGenerator[Any, Any]:
    try:
        item = await generator.__anext__()
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                await generator.aclose()
                raise
            except BaseException as error:
                item = await generator.athrow(error)
            else:
                item = await generator.asend(sent)
    except StopAsyncIteration:
        pass
    except GeneratorExit:
        raise
    except BaseException as error:
        await beside_the_loop(raised, error)
        raise
    await beside_the_loop(returned, None)


async def beside_the_loop(work: Callable[..., Any], *args: Any) -> None:
    """The work in a thread, with this task's context variables, so that other coroutines go on meanwhile."""
    import asyncio

    try:
        await asyncio.to_thread(work, *args)
    except RuntimeError:  # No loop of asyncio runs this, or it takes no more work.
        work(*args)
