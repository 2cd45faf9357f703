"""Functions that return before their work is done: an awaitable, a generator or a future.

Its invariant: the awaiting or iterating code sees no difference, and one of two functions is called when the work ends:
``returned`` with its value, or ``raised`` with its exception. Neither is called for work that is abandoned before its
end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# inspect.CO_ITERABLE_COROUTINE: set on a generator that types.coroutine made awaitable.
_ITERABLE_COROUTINE = 0x100


def is_pending(value: Any) -> bool:
    """Whether its work is still to be done."""
    kind = type(value)
    return issubclass(kind, (Awaitable, Generator, AsyncGenerator)) or _is_future(value)


def report_end(value: Any, returned: Callable[[Any], Any], raised: Callable[[BaseException], Any]) -> Any:
    """The value or a wrapper of it, which calls ``returned`` or ``raised`` at its end."""
    if _is_future(value):
        # Returned as it is, because it runs by itself and may be cancelled.
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
        raise  # It is abandoned, and must not await anything.
    except BaseException as error:
        await run_in_thread(raised, error)
        raise
    await run_in_thread(returned, value)
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
        await run_in_thread(raised, error)
        raise
    await run_in_thread(returned, None)


async def run_in_thread(work: Callable[..., Any], *args: Any) -> None:
    """Runs the work in a thread, with this task's context variables, so that it does not block the event loop."""
    import asyncio

    try:
        await asyncio.to_thread(work, *args)
    except RuntimeError:  # No asyncio loop is running, or it accepts no more work.
        work(*args)
